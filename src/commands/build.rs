//! `crieur build`: publishes feeds and pages.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Failure, Opened, Outcome, Result, Shell, configuration, outcome, temporary};
use crate::cache::{self, Key};
use crate::calendar;
use crate::cli;
use crate::diagnostics::{Code, Diagnostic, Severity, Tally, plural};
use crate::edition::{self, Edition, FileOf, Means, Rendered, list_path};
use crate::feeds::{Feed, Format, Frame};
use crate::history;
use crate::outline::{Outline, next_change};
use crate::posting::load::Loaded;
use crate::posting::{Moment, Posting};
use crate::publish::{self, Assembly, Changes, Parts, Publication, Record};
use crate::site::Site;
use crate::websub;

pub(super) fn run(shell: &Shell, arguments: &cli::Build) -> Result {
    let opened = shell.site()?;
    let built = build(shell, &opened, arguments.out.clone(), arguments.strict)?;
    shell.say(&built.line);
    tell_hub(shell, &opened.site, &built.changed);
    let outcome = built.outcome;
    std::mem::forget(built);
    Ok(outcome)
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
        let changes = loaded.postings.par_iter().filter_map(|p| next_change(p, site, now)).min();
        // Lists count the days.
        let today = Moment::Day(now.with_timezone(&site.timezone).date_naive());
        let tomorrow = today.end(site.timezone);
        changes.into_iter().chain(loaded.until).fold(tomorrow, DateTime::min)
    }
}

/// Builds a site that is open already.
pub(super) fn build(
    shell: &Shell,
    opened: &Opened,
    out: Option<PathBuf>,
    strict: bool,
) -> Result<Built> {
    let out = out.unwrap_or_else(|| opened.layout.out());
    let (record, standing) = (opened.layout.record(&out), opened.layout.standing(&out));
    let (files, last) = rayon::join(|| opened.files(), || Record::load(&record));
    let files = files?;
    // Without git's answer there is a warning, but nothing to compare it with.
    let history = history::head(&opened.layout.postings()).ok();
    let input = history.map(|head| {
        let head = format!("{head:?}");
        Key::join([opened.key.bytes(), files.key().bytes(), head.as_bytes()])
    });
    refuse_private(opened, &out)?;
    let still = cache::load(&standing).filter(|last: &Standing| last.holds(input, opened.now));
    if let Some(last_time) = still.filter(|_| !strict)
        && publish::is_as_left(&out, &last).map_err(refused)?
    {
        std::mem::forget((files, last));
        let Standing { open, feeds, diagnostics, .. } = last_time;
        return Ok(report(shell, opened, &Changes::default(), (open, feeds), &diagnostics));
    }
    let mut loaded = opened.as_of_now(opened.understand(files));
    let learned = loaded.learned.take();
    if strict {
        loaded.diagnostics.extend(rehearse(opened, &loaded.postings));
    }
    let valid = outcome(&loaded.diagnostics, true) == Outcome::Done;
    if strict && !valid {
        opened.remember(learned);
        shell.report(&loaded.diagnostics);
        let tally = Tally::of(&loaded.diagnostics);
        return Ok(Built {
            outcome: Outcome::Attention,
            line: format!("nothing was published: {tally}; see `crieur check`"),
            postings: Some(loaded.postings),
            changed: Vec::new(),
        });
    }
    let until = Standing::until(opened, &loaded);
    // A run that is killed from here on must not leave an answer to another question.
    cache::forget(&standing);
    let publish = || publish_all(opened, &loaded.postings, &out, &last);
    let (published, ()) = rayon::join(publish, || opened.remember(learned));
    let published = published?;
    std::mem::forget(last);
    let mut diagnostics = loaded.diagnostics;
    diagnostics.extend(published.diagnostics);
    let Published { changes, open, feeds, .. } = published;
    if let Some(done) = &published.record {
        cache::save(&record, done);
    }
    // What is somebody else's may be gone the next time.
    if let Some(input) = input.filter(|_| changes.foreign.is_empty()) {
        let from = opened.now;
        let diagnostics = diagnostics.clone();
        cache::save(&standing, &Standing { input, from, until, open, feeds, diagnostics });
    }
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
    Ok(Built { postings: Some(loaded.postings), ..built })
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
        line.push_str(&format!(" ({tally}; see `crieur check`)"));
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
    use std::io::ErrorKind::{AlreadyExists, NotADirectory, PermissionDenied};
    match &error {
        publish::Error::NoManifest(_) => configuration(error),
        publish::Error::Io { error: io, .. }
            if matches!(io.kind(), AlreadyExists | NotADirectory | PermissionDenied) =>
        {
            configuration(error)
        }
        _ => temporary(error),
    }
}

/// The ledger and the outbox lie in the site's folder, and hold addresses.
fn refuse_private(opened: &Opened, out: &Path) -> Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(temporary);
    if absolute(&opened.layout.private())?.starts_with(absolute(out)?) {
        return Err(configuration(anyhow!(
            "`{}` cannot be served: `{}` lies in it; build into a folder of its own",
            out.display(),
            opened.layout.private().display()
        )));
    }
    Ok(())
}

/// What was published.
struct Published {
    changes: Changes,
    /// What is to be remembered of it, if it is not what was.
    record: Option<Record>,
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
    if own.is_empty() {
        // The built-in templates show everything.
        return diagnostics;
    }
    let outlines = edition.outlines.par_iter().enumerate();
    let failed = outlines.filter_map(|(at, outline)| {
        let error = edition.render(at, outline).err()?;
        Some(unshown(outline.posting.source.path.clone(), &error))
    });
    diagnostics.par_extend(failed);
    let lists = edition.feeds.iter().filter_map(|feed| edition.list(feed).err());
    let lists = lists.map(edition::Error::from).chain(edition.whole().err());
    if let Some(error) = lists.take(1).next() {
        diagnostics.push(unshown("templates".into(), &error));
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
/// be mended.
fn publish_all(
    opened: &Opened,
    postings: &[Posting],
    out: &Path,
    last: &Record,
) -> Result<Published> {
    let Opened { site, catalog, templates, own, .. } = opened;
    let means = Means { site, catalog, templates, own, key: opened.key };
    let mut kept: Vec<Posting>;
    let mut postings = postings;
    let mut failures: Vec<Diagnostic> = Vec::new();
    loop {
        let mut edition = Edition::new(means, postings, opened.now);
        let press = Press { opened, edition: &edition, out, last };
        let failed = match press.run()? {
            Run::Done(changes, record) => {
                let (open, feeds) = (edition.open(), edition.feeds.len());
                let mut diagnostics = std::mem::take(&mut edition.diagnostics);
                diagnostics.append(&mut failures);
                // The program is nearly over: a large site is not taken apart piece by piece.
                std::mem::forget(edition);
                return Ok(Published { changes, record, open, feeds, diagnostics });
            }
            Run::Failed(failed) => failed,
        };
        let left_out: BTreeSet<Arc<str>> = failed.keys().cloned().collect();
        for (path, error) in failed {
            if left_out.len() == edition.outlines.len() {
                return Err(configuration(error));
            }
            failures.push(unshown(path, &error));
        }
        // Once more without them: other files must not speak of them.
        kept = postings.iter().filter(|p| !left_out.contains(&p.source.path)).cloned().collect();
        postings = &kept;
    }
}

/// How a run through all files ended.
enum Run {
    /// Everything is published.
    Done(Changes, Option<Record>),
    /// Some postings could not be rendered.
    Failed(HashMap<Arc<str>, edition::Error>),
}

/// How many postings are rendered before what became of them is written: so much is held in memory.
const BATCH: usize = 256;

/// The files that others are assembled from: the feeds of everything, and the calendar.
struct Assembled {
    path: String,
    /// What was to be assembled and is at work; nothing where the file is current.
    assembly: Option<Assembly>,
    /// The last version.
    last: Option<Parts>,
}

impl Assembled {
    fn begin(
        publication: &Publication<'_>,
        path: String,
        key: Key,
        frame: impl FnOnce() -> Result<Frame>,
    ) -> Result<Self> {
        let last = publication.parts(&path);
        let assembly = if last.is_some() && publication.is_current(&path, key) {
            None
        } else {
            Some(publication.assemble(&path, key, frame()?).map_err(refused)?)
        };
        Ok(Self { path, assembly, last })
    }

    /// Whether a part has to be rendered.
    fn needs(&self, key: Key) -> bool {
        self.assembly.is_some() && !self.last.as_ref().is_some_and(|last| last.has(key))
    }

    /// Adds parts that were rendered, or else those of the last version.
    fn add<'p>(
        &mut self,
        parts: impl IntoIterator<Item = (Key, Option<&'p str>)>,
    ) -> std::io::Result<()> {
        let Some(assembly) = &mut self.assembly else { return Ok(()) };
        let mut kept = Vec::new();
        for (key, part) in parts {
            match (part, &self.last) {
                (Some(part), last) => {
                    if let Some(last) = last {
                        assembly.copy(&std::mem::take(&mut kept), last)?;
                    }
                    assembly.add(key, part.as_bytes())?;
                }
                (None, Some(_)) => kept.push(key),
                (None, None) => {}
            }
        }
        self.last.as_ref().map_or(Ok(()), |last| assembly.copy(&kept, last))
    }

    /// Puts the file in its place. Its parts can be read afterwards.
    fn finish(self, publication: &Publication<'_>) -> Result<Parts> {
        match (self.assembly, self.last) {
            (Some(assembly), _) => publication.finish_assembly(assembly, true).map_err(refused),
            (None, Some(last)) => Ok(last),
            (None, None) => Err(temporary(anyhow!("`{}` is gone", self.path))),
        }
    }
}

/// Writes an edition.
struct Press<'a> {
    opened: &'a Opened,
    edition: &'a Edition<'a>,
    out: &'a Path,
    last: &'a Record,
}

/// What became of one posting of a batch.
struct Fresh {
    at: usize,
    /// Nothing where everything of it is as it should be.
    rendered: std::result::Result<Option<Rendered>, edition::Error>,
}

impl Press<'_> {
    /// Writes every file that is not as it should be: pages first, then what leads to them.
    fn run(&self) -> Result<Run> {
        let edition = self.edition;
        let publication =
            Publication::begin(self.out, &edition.paths, self.last).map_err(refused)?;
        let Some((everything, by_facet)) = edition.feeds.split_first() else {
            return Err(temporary(anyhow!("a site without a feed")));
        };
        let key = edition.feed_key(everything);
        let mut feeds = Vec::with_capacity(Format::ALL.len());
        for format in Format::ALL {
            let frame = || everything.frame(format).map_err(temporary);
            feeds.push(Assembled::begin(&publication, everything.file(format), key, frame)?);
        }
        let events = edition.events();
        let key = Key::join(
            [self.opened.key.bytes()].into_iter().chain(events.iter().map(|(_, key)| key.bytes())),
        );
        let path = calendar::CLOSING_DATES.to_owned();
        let mut calendar =
            Assembled::begin(&publication, path, key, || Ok(edition.calendar_frame()))?;

        let parts_needed = |outline: &Outline<'_>| {
            outline.is_open() && feeds.iter().any(|feed| feed.needs(outline.key))
        };
        let mut needed: Vec<bool> = edition.outlines.par_iter().map(parts_needed).collect();
        for (at, key) in &events {
            if let Some(needed) = needed.get_mut(*at) {
                *needed |= calendar.needs(*key);
            }
        }
        // What is open in the order of the feeds, then the rest.
        let is_closed = |at: &usize| edition.outlines.get(*at).is_some_and(|o| !o.is_open());
        let closed = (0..edition.outlines.len()).filter(is_closed);
        let order: Vec<usize> = everything.members.iter().copied().chain(closed).collect();
        let mut texts: HashMap<usize, String> = HashMap::new();
        let mut failed: HashMap<Arc<str>, edition::Error> = HashMap::new();
        let mut batches = order.chunks(BATCH);
        let mut batch = self.postings(&publication, &needed, batches.next())?;
        while !batch.is_empty() {
            // While the next batch is rendered, this one is written into the feeds.
            let (next, added) = rayon::join(
                || self.postings(&publication, &needed, batches.next()),
                || self.add(&mut feeds, &batch),
            );
            added?;
            for Fresh { at, rendered } in std::mem::replace(&mut batch, next?) {
                match rendered {
                    Ok(rendered) => {
                        texts.extend(rendered.and_then(|r| r.event).map(|event| (at, event)));
                    }
                    Err(error) => {
                        let path = edition.outlines.get(at).map(|o| o.posting.source.path.clone());
                        failed.extend(path.map(|path| (path, error)));
                    }
                }
            }
        }
        if !failed.is_empty() {
            return Ok(Run::Failed(failed));
        }
        let parts = events.iter().map(|(at, key)| (*key, texts.get(at).map(String::as_str)));
        calendar.add(parts).map_err(temporary)?;
        calendar.finish(&publication)?;
        let feeds: Vec<Parts> =
            feeds.into_par_iter().map(|feed| feed.finish(&publication)).collect::<Result<_>>()?;
        self.lists(&publication, everything, by_facet, &feeds)?;
        let (changes, record) = publication.finish().map_err(refused)?;
        Ok(Run::Done(changes, record))
    }

    /// Renders what has to be rendered of a batch of postings, and writes their own files.
    fn postings(
        &self,
        publication: &Publication<'_>,
        needed: &[bool],
        batch: Option<&[usize]>,
    ) -> Result<Vec<Fresh>> {
        let posting = |at: &usize| -> Result<Option<Fresh>> {
            let Some(outline) = self.edition.outlines.get(*at) else { return Ok(None) };
            let mut files = self.edition.files(*at);
            files.retain(|(path, key, _)| !publication.is_current(path, *key));
            if files.is_empty() && !needed.get(*at).is_some_and(|needed| *needed) {
                return Ok(Some(Fresh { at: *at, rendered: Ok(None) }));
            }
            let rendered = match self.edition.render(*at, outline) {
                Ok(rendered) => rendered,
                Err(error) => return Ok(Some(Fresh { at: *at, rendered: Err(error) })),
            };
            for (path, key, file) in files {
                let own;
                let bytes = match (file, &rendered) {
                    (FileOf::Page, Rendered { page, .. })
                    | (FileOf::Moved, Rendered { moved: Some(page), .. }) => page,
                    (FileOf::Calendar, Rendered { event: Some(event), .. }) => {
                        own = self.edition.calendar_of(&path, event);
                        &own
                    }
                    _ => continue,
                };
                publication.write(&path, key, bytes).map_err(refused)?;
            }
            let rendered = Rendered { page: Vec::new(), moved: None, ..rendered };
            Ok(Some(Fresh { at: *at, rendered: Ok(Some(rendered)) }))
        };
        batch.unwrap_or_default().par_iter().filter_map(|at| posting(at).transpose()).collect()
    }

    /// Writes a batch of postings into the feeds of everything.
    fn add(&self, feeds: &mut [Assembled], batch: &[Fresh]) -> Result<()> {
        feeds.par_iter_mut().enumerate().try_for_each(|(format, feed)| {
            let parts = batch.iter().filter_map(|Fresh { at, rendered }| {
                let outline = self.edition.outlines.get(*at).filter(|outline| outline.is_open())?;
                let rendered = rendered.as_ref().ok()?;
                let part = rendered.as_ref().and_then(|rendered| rendered.parts.get(format));
                Some((outline.key, part.map(String::as_str)))
            });
            feed.add(parts).map_err(temporary)
        })
    }

    /// Writes the feeds by facet, which are selections of that of everything, the pages of lists,
    /// and what belongs to the site as a whole.
    fn lists(
        &self,
        publication: &Publication<'_>,
        everything: &Feed<'_>,
        by_facet: &[Feed<'_>],
        parts: &[Parts],
    ) -> Result<()> {
        let (by_facet, whole) = rayon::join(
            || by_facet.par_iter().try_for_each(|feed| self.by_facet(publication, feed, parts)),
            || self.whole(publication, everything),
        );
        by_facet.and(whole)
    }

    /// Writes the feeds of one value of a facet, and its page.
    fn by_facet(
        &self,
        publication: &Publication<'_>,
        feed: &Feed<'_>,
        parts: &[Parts],
    ) -> Result<()> {
        let edition = self.edition;
        let key = edition.feed_key(feed);
        for (format, parts) in Format::ALL.into_iter().zip(parts) {
            let path = feed.file(format);
            if publication.is_current(&path, key) {
                continue;
            }
            let frame = feed.frame(format).map_err(temporary)?;
            let mut assembly = publication.assemble(&path, key, frame).map_err(refused)?;
            let members = feed.members.iter().filter_map(|at| edition.outlines.get(*at));
            let keys: Vec<Key> = members.map(|outline| outline.key).collect();
            assembly.copy(&keys, parts).map_err(temporary)?;
            publication.finish_assembly(assembly, false).map_err(refused)?;
        }
        self.list(publication, feed)
    }

    /// Writes the front page, and what belongs to the site as a whole.
    fn whole(&self, publication: &Publication<'_>, everything: &Feed<'_>) -> Result<()> {
        self.list(publication, everything)?;
        let whole = self.edition.whole().map_err(|error| match error {
            edition::Error::Template(error) => configuration(error),
            edition::Error::Feed(error) => temporary(error),
        })?;
        for (path, bytes) in whole {
            let key = Key::of(&bytes);
            if !publication.is_current(path, key) {
                publication.write(path, key, &bytes).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Writes the page of a list.
    fn list(&self, publication: &Publication<'_>, feed: &Feed<'_>) -> Result<()> {
        let (path, key) = (list_path(feed), self.edition.list_key(feed));
        if publication.is_current(&path, key) {
            return Ok(());
        }
        let page = self.edition.list(feed).map_err(configuration)?;
        publication.write(&path, key, &page).map_err(refused)
    }
}
