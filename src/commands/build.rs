//! `crieur build`: publishes feeds and pages.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use rayon::prelude::*;
use url::Url;

use super::{Failure, Opened, Outcome, Result, Shell, configuration, outcome, temporary};
use crate::calendar;
use crate::cli;
use crate::diagnostics::{Code, Diagnostic, Severity, Tally, plural};
use crate::feeds::{self, Candidate, EXTENSIONS, Entry, Feed};
use crate::job_posting;
use crate::pages::{self, Listed, Shown, Teams};
use crate::posting::Posting;
use crate::posting::lifecycle::{self, Rules, State};
use crate::publish::{self, Tree};
use crate::site::Site;
use crate::templates;
use crate::view::page_path;
use crate::websub;

pub(super) fn run(shell: &Shell, arguments: &cli::Build) -> Result {
    let opened = shell.site()?;
    let built = build(shell, &opened, arguments.out.clone(), arguments.strict)?;
    shell.say(&built.line);
    tell_hub(shell, &opened.site, &built.changed);
    Ok(built.outcome)
}

/// What a build leaves for what comes next.
pub(super) struct Built {
    pub(super) outcome: Outcome,
    /// What was done, on one line.
    pub(super) line: String,
    pub(super) postings: Vec<Posting>,
    /// The feeds that changed.
    pub(super) changed: Vec<Url>,
}

/// Builds a site that is open already.
pub(super) fn build(
    shell: &Shell,
    opened: &Opened,
    out: Option<PathBuf>,
    strict: bool,
) -> Result<Built> {
    let mut loaded = opened.postings()?;
    let valid = outcome(&loaded.diagnostics, true) == Outcome::Done;
    if strict && !valid {
        shell.report(&loaded.diagnostics);
        let tally = Tally::of(&loaded.diagnostics);
        return Ok(Built {
            outcome: Outcome::Attention,
            line: format!("nothing was published: {tally}; see `crieur check`"),
            postings: loaded.postings,
            changed: Vec::new(),
        });
    }
    let out = out.unwrap_or_else(|| opened.layout.out());
    refuse_private(opened, &out)?;
    let published = tree(opened, &loaded.postings)?;
    loaded.diagnostics.extend(published.diagnostics);
    let changes = publish::publish(&out, &published.tree).map_err(refused)?;
    for (path, why) in &changes.foreign {
        loaded.diagnostics.push(
            Diagnostic::new(
                Severity::Error,
                Code::ForeignFile,
                opened.layout.relative(&out.join(path)),
                format!("was not written: {why}"),
            )
            .help("move it out of the way, or build into another folder"),
        );
    }
    shell.report(&loaded.diagnostics);
    let tally = Tally::of(&loaded.diagnostics);
    let mut line = format!(
        "published {} in {}",
        plural(published.open, "open posting"),
        plural(published.feeds, "feed"),
    );
    line.push_str(&match (changes.written.len(), changes.removed.len()) {
        (0, 0) => ": nothing changed".to_owned(),
        (written, 0) => format!(": {} written", plural(written, "file")),
        (written, removed) => format!(": {} written, {removed} removed", plural(written, "file")),
    });
    if tally.errors + tally.warnings > 0 {
        line.push_str(&format!(" ({tally}; see `crieur check`)"));
    }
    let is_feed = |path: &&String| {
        let format = path.rsplit('.').next().unwrap_or_default();
        EXTENSIONS.contains(&format)
    };
    Ok(Built {
        outcome: outcome(&loaded.diagnostics, false),
        line,
        postings: loaded.postings,
        changed: changes
            .written
            .iter()
            .filter(is_feed)
            .map(|path| opened.site.address(path))
            .collect(),
    })
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

/// The calendar of everything, and one for each of its postings.
fn calendars(opened: &Opened, shown: &[Shown<'_>]) -> Vec<(String, Vec<u8>)> {
    let Opened { site, catalog, now, .. } = opened;
    let rules = Rules::of(site);
    let mut events = Vec::new();
    let mut files = Vec::new();
    for Shown { posting, entry, .. } in shown {
        let event = calendar::entry(posting, *now, &rules)
            .and_then(|kind| calendar::event(posting, &entry.view, kind, site, catalog));
        let Some(event) = event else { continue };
        let path = calendar::event_path(&posting.slug);
        let bytes = calendar::calendar(site, catalog, &path, vec![event.clone()]);
        files.push((path, bytes));
        events.push((posting.closes.map(|closes| closes.end(rules.zone)), &posting.slug, event));
    }
    events.sort_by_key(|(ends, slug, _)| (*ends, *slug));
    let events = events.into_iter().map(|(.., event)| event).collect();
    files.push((
        calendar::CLOSING_DATES.to_owned(),
        calendar::calendar(site, catalog, calendar::CLOSING_DATES, events),
    ));
    files
}

/// What is to be published.
#[derive(Default)]
struct Published {
    tree: Tree,
    open: usize,
    feeds: usize,
    diagnostics: Vec<Diagnostic>,
}

/// Renders everything: a pure function of the site, its postings and the instant.
fn tree(opened: &Opened, postings: &[Posting]) -> Result<Published> {
    let Opened { site, catalog, templates, now, .. } = opened;
    let rules = Rules::of(site);

    let mut published = Published::default();
    // A page stays when its posting closes; drafts and what opens later have none yet.
    let shown: Vec<(&Posting, State)> = postings
        .iter()
        .map(|posting| (posting, lifecycle::state(posting, *now, &rules)))
        .filter(|(posting, _)| lifecycle::was_shown(posting, *now, rules.zone))
        .collect();
    let entries =
        shown.par_iter().map(|(posting, _)| Entry::new(posting, site, catalog, templates));
    let ready =
        kept(&shown, |(posting, _)| posting, entries.collect(), &mut published.diagnostics)?;
    let shown: Vec<Shown<'_>> = ready
        .iter()
        .map(|((posting, state), entry)| Shown {
            posting,
            entry,
            state: *state,
            in_calendar: calendar::entry(posting, *now, &rules).is_some(),
            is_job: *state == State::Open
                && job_posting::offered_until(posting, &entry.view, site) > *now,
        })
        .collect();
    let rendered = {
        let open = listed(opened, &shown);
        let teams = Teams::new(&open);
        shown.par_iter().map(|shown| pages::posting(site, shown, &teams, templates)).collect()
    };
    let ready = kept(&shown, |shown| shown.posting, rendered, &mut published.diagnostics)?;
    let mut shown = Vec::with_capacity(ready.len());
    for (one, page) in ready {
        published.tree.insert(page_path(&one.posting.slug), page);
        shown.push(one);
    }
    let open = listed(opened, &shown);
    let candidates: Vec<Candidate<'_>> = shown
        .iter()
        .map(|Shown { posting, entry, state, .. }| Candidate {
            posting,
            entry: (*state == State::Open).then_some(*entry),
        })
        .collect();
    let feeds = feeds::feeds(site, &candidates, catalog, *now);
    let written: Vec<(String, Vec<u8>)> = feeds
        .par_iter()
        .flat_map_iter(|feed| EXTENSIONS.iter().map(move |extension| (feed, *extension)))
        .map(|(feed, extension)| Ok((format!("{}.{extension}", feed.path), feed.write(extension)?)))
        .collect::<std::result::Result<_, feeds::Error>>()
        .map_err(|error| Failure::Temporary(error.into()))?;
    published.tree.extend(written);
    published.tree.extend(calendars(opened, &shown));
    let opml = feeds::opml::write(site, &feeds)
        .map_err(|message| temporary(anyhow!("feeds.opml: {message}")))?;
    published.tree.insert("feeds.opml".to_owned(), opml);
    pages(opened, &shown, &open, &feeds, &mut published)?;
    published.open = open.len();
    published.feeds = feeds.len();
    Ok(published)
}

/// What could be rendered. A template that fails for one posting must not keep the others from being
/// published; one that fails for all is to be mended.
fn kept<P: Copy, T>(
    all: &[P],
    posting: impl Fn(&P) -> &Posting,
    mut rendered: Vec<std::result::Result<T, templates::Error>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<(P, T)>> {
    if rendered.iter().all(std::result::Result::is_err)
        && let Some(Err(error)) = rendered.pop()
    {
        return Err(configuration(error));
    }
    let mut kept = Vec::with_capacity(rendered.len());
    for (one, rendered) in all.iter().zip(rendered) {
        match rendered {
            Ok(rendered) => kept.push((*one, rendered)),
            Err(error) => {
                let path = posting(one).source.path.clone();
                diagnostics.push(
                    Diagnostic::new(Severity::Error, Code::Template, path, error.to_string()).help(
                        "the posting was left out: let the template ask whether it has the value",
                    ),
                );
            }
        }
    }
    Ok(kept)
}

/// The open postings.
fn listed<'a>(opened: &Opened, shown: &[Shown<'a>]) -> Vec<Listed<'a>> {
    let open = shown.iter().filter(|shown| shown.state == State::Open);
    open.map(|Shown { posting, entry, .. }| Listed {
        posting,
        entry,
        days_left: lifecycle::days_left(posting, opened.now, opened.site.timezone),
    })
    .collect()
}

/// The lists, and what belongs to a site of pages.
fn pages(
    opened: &Opened,
    shown: &[Shown<'_>],
    open: &[Listed<'_>],
    feeds: &[Feed<'_>],
    published: &mut Published,
) -> Result<()> {
    let Opened { site, templates, own, .. } = opened;
    let template = |error: templates::Error| configuration(error);
    let lists: Vec<(String, Vec<u8>)> = feeds
        .par_iter()
        .map(|feed| {
            let category = feed.category.as_ref();
            let path = category.map_or_else(|| "index.html".to_owned(), feeds::facet_path);
            Ok((path, pages::index(site, open, feeds, category, templates)?))
        })
        .collect::<std::result::Result<_, templates::Error>>()
        .map_err(template)?;
    published.tree.extend(lists);
    let not_found = pages::not_found(site, templates).map_err(template)?;
    published.tree.insert("404.html".to_owned(), not_found);
    for (name, built_in) in templates::STATIC {
        let text = own.get(*name).map_or(*built_in, String::as_str);
        published.tree.insert((*name).to_owned(), text.as_bytes().to_vec());
    }
    let lists = feeds.iter().map(|feed| (feed.home.to_string(), feed.updated));
    let postings = open.iter().map(|listed| &listed.entry.view);
    let postings = postings.map(|view| (view.url.clone(), view.updated));
    published.tree.insert("sitemap.xml".to_owned(), pages::sitemap(lists.chain(postings)));
    for Shown { posting, entry, .. } in shown {
        for address in &posting.redirect_from {
            let page = pages::moved(site, &entry.view, templates).map_err(template)?;
            let path =
                pages::moved_path(address).filter(|path| publish::has_room(&published.tree, path));
            if let Some(path) = path {
                published.tree.insert(path, page);
            } else {
                let message = format!("`redirect_from`: there can be no page at `{address}`");
                let (severity, code) = (Severity::Warning, Code::InvalidAddress);
                published.diagnostics.push(
                    Diagnostic::new(severity, code, posting.source.path.clone(), message)
                        .help("name an address where nothing else is"),
                );
            }
        }
    }
    Ok(())
}
