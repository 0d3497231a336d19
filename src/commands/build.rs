//! `crieur build`: publishes feeds and pages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Failure, Opened, Outcome, Result, Shell, Texts, configuration, outcome, temporary};
use crate::cache;
use crate::cli;
use crate::diagnostics::{Code, Diagnostic, Severity, Tally, plural};
use crate::edition::{self, Edition, Means};
use crate::feeds::Format;
use crate::history;
use crate::key::Key;
use crate::outline::next_change;
use crate::posting::load::Loaded;
use crate::posting::{Moment, Posting};
use crate::private;
use crate::publish::{self, Changes, Record};
use crate::site::Site;
use crate::websub;

mod press;

use press::{Done, Press, Run};

pub(super) fn run(shell: &Shell, arguments: &cli::Build) -> Result {
    let opened = shell.site()?;
    let order = Order { out: arguments.out.clone(), strict: arguments.strict, is_last_act: true };
    let built = build(shell, &opened, &order)?;
    shell.say(&built.line);
    tell_hub(shell, &opened.site, &built.changed);
    let outcome = built.outcome;
    std::mem::forget(built);
    Ok(outcome)
}

/// What is to be built.
pub(super) struct Order {
    /// Where, if not where the site says.
    pub(super) out: Option<PathBuf>,
    /// Whether one mistake keeps everything from being published.
    pub(super) strict: bool,
    /// Whether the program is over afterwards.
    pub(super) is_last_act: bool,
}

impl Order {
    /// What is not needed any more. At the end of the program a large site is not taken apart piece by
    /// piece.
    fn done_with<T>(&self, value: T) {
        if self.is_last_act {
            std::mem::forget(value);
        }
    }
}

/// What a build leaves for what comes next.
pub(super) struct Built {
    pub(super) outcome: Outcome,
    /// What was done, on one line.
    pub(super) line: String,
    /// Nothing where they did not have to be understood.
    pub(super) postings: Option<Vec<Posting>>,
    /// The feeds that changed.
    pub(super) changed: Vec<Url>,
}

/// What a build found, for the next one: while nothing changes that it was made from, and the time
/// is one at which all of it is still so, another build would find the same.
#[derive(Serialize, Deserialize)]
struct Standing {
    input: Key,
    /// When it was made, and when it may be otherwise for the first time.
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    open: usize,
    feeds: usize,
    diagnostics: Vec<Diagnostic>,
}

impl Standing {
    fn holds(&self, input: Option<Key>, now: DateTime<Utc>) -> bool {
        Some(self.input) == input && (self.from..self.until).contains(&now)
    }

    /// Until when what is published now stays as it is.
    fn until(opened: &Opened, loaded: &Loaded) -> DateTime<Utc> {
        let (site, now) = (&opened.site, opened.now);
        let postings = loaded.postings.par_iter().chain(&loaded.left_out);
        let changes = postings.filter_map(|p| next_change(p, site, now)).min();
        // Lists count the days.
        let today = Moment::Day(now.with_timezone(&site.timezone).date_naive());
        let tomorrow = today.end(site.timezone);
        changes.into_iter().chain(loaded.until).fold(tomorrow, DateTime::min)
    }
}

/// How often a build begins anew because a file is not any more what it was when it began.
const ATTEMPTS: usize = 3;

/// Builds a site that is open already.
pub(super) fn build(shell: &Shell, opened: &Opened, order: &Order) -> Result<Built> {
    shell.refuse_broken(opened)?;
    let mut written = BTreeSet::new();
    for _ in 0..ATTEMPTS {
        if let Some(built) = attempt(shell, opened, order, &mut written)? {
            return Ok(built);
        }
    }
    let folder = opened.layout.postings();
    Err(temporary(anyhow!("the files in `{}` change while they are read", folder.display())))
}

/// Builds a site, unless the files of its postings change meanwhile. `written` are the files that earlier
/// attempts wrote.
fn attempt(
    shell: &Shell,
    opened: &Opened,
    order: &Order,
    written: &mut BTreeSet<String>,
) -> Result<Option<Built>> {
    let strict = order.strict;
    let out = order.out.clone().unwrap_or_else(|| opened.layout.out());
    let (record, standing) = (opened.layout.record(&out), opened.layout.standing(&out));
    // What is shown to be sound is shown whole.
    let texts = if strict { Texts::All } else { Texts::Few };
    let (files, last) = rayon::join(|| opened.files(texts), || Record::load(&record));
    let (files, known) = files?;
    // Without git's answer there is a warning, but nothing to compare it with.
    let head = history::head(&opened.layout.postings()).ok();
    let input = head.as_ref().map(|head| {
        let head = format!("{head:?}");
        Key::join([opened.key.bytes(), files.key().bytes(), head.as_bytes()])
    });
    refuse_private(opened, &out)?;
    let still = cache::load(&standing).filter(|last: &Standing| last.holds(input, opened.now));
    if let Some(last_time) = still.filter(|_| !strict)
        && publish::is_as_left(&out, &last).map_err(refused)?
    {
        order.done_with((files, known, last));
        let Standing { open, feeds, diagnostics, .. } = last_time;
        let built = report(shell, opened, &Changes::default(), (open, feeds), &diagnostics);
        return Ok(Some(built));
    }
    let mut loaded = opened.as_of_now(opened.understand((files, known), opened.now));
    let learned = loaded.learned.take();
    if strict {
        loaded.diagnostics.extend(rehearse(opened, &loaded.postings));
    }
    let valid = outcome(&loaded.diagnostics, true) == Outcome::Done;
    if strict && !valid {
        opened.remember(learned);
        shell.report(&loaded.diagnostics);
        let tally = Tally::of(&loaded.diagnostics);
        return Ok(Some(Built {
            outcome: Outcome::Attention,
            line: format!("nothing was published: {tally}; see `crieur check`"),
            postings: Some(loaded.postings),
            changed: Vec::new(),
        }));
    }
    let until = Standing::until(opened, &loaded);
    // A run that is killed from here on must not leave an answer to another question.
    cache::forget(&standing);
    let publish = || publish_all(opened, &loaded.postings, (order, &out), &last, written);
    let (published, ()) = rayon::join(publish, || opened.remember(learned));
    let Some(published) = published? else { return Ok(None) };
    let mut diagnostics = loaded.diagnostics;
    diagnostics.extend(published.diagnostics);
    let Published { done, open, feeds, .. } = published;
    let Done { changes, record: done, lock, unmade } = *done;
    if let Some(done) = done {
        cache::save(&record, &done);
        order.done_with(done);
    }
    order.done_with(last);
    if let Some(error) = unmade {
        return Err(configuration(error));
    }
    // What is somebody else's may be gone the next time; and a commit may have come meanwhile.
    let is_certain = changes.foreign.is_empty() && head.as_ref() == Some(&loaded.head);
    if let Some(input) = input.filter(|_| is_certain) {
        let from = opened.now;
        let diagnostics = diagnostics.clone();
        cache::save(&standing, &Standing { input, from, until, open, feeds, diagnostics });
    }
    drop(lock);
    for (path, why) in &changes.foreign {
        diagnostics.push(
            Diagnostic::new(
                Severity::Error,
                Code::ForeignFile,
                opened.layout.relative(&out.join(path)),
                format!("was not written: {why}"),
            )
            .help("move it out of the way, or build into another folder"),
        );
    }
    let built = report(shell, opened, &changes, (open, feeds), &diagnostics);
    Ok(Some(Built { postings: Some(loaded.postings), ..built }))
}

/// Says what was published and what changed.
fn report(
    shell: &Shell,
    opened: &Opened,
    changes: &Changes,
    (open, feeds): (usize, usize),
    diagnostics: &[Diagnostic],
) -> Built {
    shell.report(diagnostics);
    let tally = Tally::of(diagnostics);
    let mut line =
        format!("published {} in {}", plural(open, "open posting"), plural(feeds, "feed"));
    line.push_str(&match (changes.written.len(), changes.removed.len()) {
        (0, 0) => ": nothing changed".to_owned(),
        (written, 0) => format!(": {} written", plural(written, "file")),
        (written, removed) => format!(": {} written, {removed} removed", plural(written, "file")),
    });
    if tally.errors + tally.warnings > 0 {
        // What stands in the way of a build is no mistake in a site.
        let is_checked = diagnostics.iter().any(|problem| problem.code != Code::ForeignFile);
        let hint = if is_checked { "; see `crieur check`" } else { "" };
        line.push_str(&format!(" ({tally}{hint})"));
    }
    let is_feed = |path: &&String| {
        let extension = path.rsplit('.').next().unwrap_or_default();
        Format::ALL.iter().any(|format| format.extension() == extension)
    };
    let feeds = changes.written.iter().filter(is_feed);
    Built {
        outcome: outcome(diagnostics, false),
        line,
        postings: None,
        changed: feeds.map(|path| opened.site.address(path)).collect(),
    }
}

/// Tells the hub which feeds changed. One that cannot be reached delays its subscribers, who poll
/// all the same; it is no reason to call a build failed.
pub(super) fn tell_hub(shell: &Shell, site: &Site, changed: &[Url]) {
    let Some(hub) = &site.hub else { return };
    if let Err(error) = websub::publish(hub, changed) {
        shell.complain(&format!("warning: {error}"));
    }
}

/// A folder that may not be written, or is none, needs a person; the rest may well pass.
fn refused(error: publish::Error) -> Failure {
    match &error {
        publish::Error::NoManifest(_) => configuration(error),
        publish::Error::Io { error: io, .. } if private::needs_a_person(io) => configuration(error),
        _ => temporary(error),
    }
}

/// The ledger and the outbox lie in the site's folder, and hold addresses; and what is published is
/// nothing to publish from.
pub(super) fn refuse_private(opened: &Opened, out: &Path) -> Result<()> {
    let real_out = real(out)?;
    let layout = &opened.layout;
    let content = layout.root.join("content");
    for own in [layout.private(), layout.postings(), content, layout.templates()] {
        let real_own = real(&own)?;
        let why = if real_own == real_out {
            "it is one of the site's own".to_owned()
        } else if real_own.starts_with(&real_out) {
            format!("`{}` lies in it", own.display())
        } else if real_out.starts_with(&real_own) {
            format!("it lies in `{}`", own.display())
        } else {
            continue;
        };
        return Err(configuration(anyhow!(
            "`{}` is no folder to publish: {why}; build into a folder of its own",
            out.display()
        )));
    }
    Ok(())
}

/// Where a path leads, whatever of it is not there yet.
fn real(path: &Path) -> Result<PathBuf> {
    let mut real = PathBuf::new();
    for component in std::path::absolute(path).map_err(temporary)?.components() {
        if component == Component::ParentDir {
            real.pop();
            continue;
        }
        real.push(component);
        // A link leads elsewhere from here on.
        real = real.canonicalize().unwrap_or(real);
    }
    Ok(real)
}

/// What was published, and what there is to say about it.
struct Published<'l> {
    done: Box<Done<'l>>,
    open: usize,
    feeds: usize,
    diagnostics: Vec<Diagnostic>,
}

/// What would be wrong with what is published, beside what is wrong with the files: addresses that are
/// taken, and templates that cannot show something.
pub(super) fn rehearse(opened: &Opened, postings: &[Posting]) -> Vec<Diagnostic> {
    let Opened { site, catalog, templates, own, .. } = opened;
    let means = Means { site, catalog, templates, own, key: opened.key };
    let mut edition = Edition::new(means, postings, opened.now);
    let mut diagnostics = std::mem::take(&mut edition.diagnostics);
    diagnostics.extend(edition.merged());
    if own.is_empty() {
        // The built-in templates show everything.
        return diagnostics;
    }
    let outlines = edition.outlines.par_iter().enumerate();
    let failed = outlines.filter_map(|(at, outline)| {
        let error = match edition.render(at, outline) {
            Ok(rendered) => rendered.moved?.err()?.into(),
            Err(error) => error,
        };
        Some(unshown(outline.posting.source.path.clone(), &error))
    });
    diagnostics.par_extend(failed);
    let lists = edition.feeds.iter().filter_map(|feed| edition.list(feed).err());
    if let Some(error) = lists.chain(edition.not_found().err()).take(1).next() {
        diagnostics.push(unshown("templates".into(), &error.into()));
    }
    diagnostics
}

/// A file of which a template makes nothing.
fn unshown(path: Arc<str>, error: &edition::Error) -> Diagnostic {
    Diagnostic::new(Severity::Error, Code::Template, path, error.to_string())
        .help("it is left out: let the template ask whether it has the value")
}

/// Publishes everything: a pure function of the site, its postings and the instant. A template that
/// fails for one posting must not keep the others from being published; one that fails for all is to
/// be mended. `None` when the file of a posting changed meanwhile; `written` says all files that were written,
/// then, too.
fn publish_all<'l>(
    opened: &Opened,
    postings: &[Posting],
    (order, out): (&Order, &Path),
    last: &'l Record,
    written: &mut BTreeSet<String>,
) -> Result<Option<Published<'l>>> {
    let Opened { site, catalog, templates, own, .. } = opened;
    let means = Means { site, catalog, templates, own, key: opened.key };
    let mut kept: Vec<Posting>;
    let mut postings = postings;
    let mut failures: Vec<Diagnostic> = Vec::new();
    let mut left_out: BTreeSet<String> = BTreeSet::new();
    // Without those that failed the last time: what speaks of them would be written twice.
    let failing = still_failing(opened, means, postings, last);
    if !failing.is_empty() {
        kept = postings.iter().filter(|p| !failing.contains_key(&p.source.path)).cloned().collect();
        left_out.extend(failing.keys().map(ToString::to_string));
        failures.extend(failing.into_iter().map(|(path, error)| unshown(path, &error)));
        postings = &kept;
    }
    loop {
        let mut edition = Edition::new(means, postings, opened.now);
        let press = Press { opened, edition: &edition, out, last, unmade: OnceLock::new() };
        let failed = match press.run()? {
            Run::Done(mut done) => {
                if let Some(record) = &mut done.record {
                    record.left_out = left_out;
                }
                written.extend(std::mem::take(&mut done.changes.written));
                done.changes.written = std::mem::take(written).into_iter().collect();
                let (open, feeds) = (edition.open(), edition.feeds.len());
                let mut diagnostics = std::mem::take(&mut edition.diagnostics);
                diagnostics.append(&mut failures);
                order.done_with(edition);
                return Ok(Some(Published { done, open, feeds, diagnostics }));
            }
            Run::Failed { failed, written: now } => {
                written.extend(now);
                failed
            }
            Run::Changed { written: now } => {
                written.extend(now);
                return Ok(None);
            }
        };
        let is_all = failed.len() == edition.outlines.len();
        for (path, error) in failed {
            if is_all {
                return Err(configuration(error));
            }
            left_out.insert(path.to_string());
            failures.push(unshown(path, &error));
        }
        // Once more without them: other files must not speak of them.
        kept = postings.iter().filter(|p| !left_out.contains(&*p.source.path)).cloned().collect();
        postings = &kept;
    }
}

/// Of the postings that a template could not show the last time, those that it still cannot; none where
/// that would be all of them.
fn still_failing(
    opened: &Opened,
    means: Means<'_>,
    postings: &[Posting],
    last: &Record,
) -> BTreeMap<Arc<str>, edition::Error> {
    if last.left_out.is_empty() {
        return BTreeMap::new();
    }
    let edition = Edition::new(means, postings, opened.now);
    let outlines = edition.outlines.iter().enumerate();
    let suspects =
        outlines.filter(|(_, outline)| last.left_out.contains(&*outline.posting.source.path));
    let failing = suspects.filter_map(|(at, outline)| {
        let error = press::render(opened, &edition, at, outline)?.err()?;
        Some((outline.posting.source.path.clone(), error))
    });
    let failing: BTreeMap<_, _> = failing.collect();
    if failing.len() == edition.outlines.len() { BTreeMap::new() } else { failing }
}
