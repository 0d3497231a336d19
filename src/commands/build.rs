//! `crieur build`: publishes feeds and pages.

use std::path::PathBuf;

use anyhow::anyhow;
use rayon::prelude::*;

use super::{Failure, Opened, Outcome, Result, Shell, configuration, outcome, temporary};
use crate::cli;
use crate::diagnostics::{Code, Diagnostic, Severity, Tally, plural};
use crate::feeds::{self, Candidate, EXTENSIONS, Entry};
use crate::pages;
use crate::posting::lifecycle::{self, Rules, State};
use crate::posting::{Posting, Status};
use crate::publish::{self, Tree};
use crate::site::Site;
use crate::templates;
use crate::view::page_path;
use crate::websub;

pub(super) fn run(shell: &Shell, arguments: &cli::Build) -> Result {
    let opened = shell.site()?;
    build(shell, &opened, arguments.out.clone(), arguments.strict).map(|(outcome, _)| outcome)
}

/// Builds a site that is open already, and returns its postings for what comes next.
pub(super) fn build(
    shell: &Shell,
    opened: &Opened,
    out: Option<PathBuf>,
    strict: bool,
) -> Result<(Outcome, Vec<Posting>)> {
    let mut loaded = opened.postings()?;
    let valid = outcome(&loaded.diagnostics, true) == Outcome::Done;
    if strict && !valid {
        shell.report(&loaded.diagnostics);
        let tally = Tally::of(&loaded.diagnostics);
        shell.complain(&format!("nothing was published: {tally}; see `crieur check`"));
        return Ok((Outcome::Attention, loaded.postings));
    }
    let published = tree(opened, &loaded.postings)?;
    let out = out.unwrap_or_else(|| opened.layout.out());
    let changes = publish::publish(&out, &published.tree).map_err(refused)?;
    tell_hub(shell, &opened.site, &changes.written);
    for (path, why) in &changes.foreign {
        loaded.diagnostics.push(
            Diagnostic::new(
                Severity::Error,
                Code::ForeignFile,
                format!("out/{path}"),
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
    shell.say(&line);
    Ok((outcome(&loaded.diagnostics, false), loaded.postings))
}

/// Tells the hub which feeds changed. One that cannot be reached delays its subscribers, who poll
/// all the same; it is no reason to call a build failed.
fn tell_hub(shell: &Shell, site: &Site, written: &[String]) {
    let Some(hub) = &site.hub else { return };
    let is_feed = |path: &&String| {
        let format = path.rsplit('.').next().unwrap_or_default();
        EXTENSIONS.contains(&format)
    };
    let topics: Vec<_> = written.iter().filter(is_feed).map(|path| site.address(path)).collect();
    if let Err(error) = websub::publish(hub, &topics) {
        shell.complain(&format!("warning: {error}"));
    }
}

/// A folder that may not be written needs a person; the rest may well pass.
fn refused(error: publish::Error) -> Failure {
    let forbidden = matches!(&error, publish::Error::Io { error, .. }
        if error.kind() == std::io::ErrorKind::PermissionDenied);
    if forbidden { configuration(error) } else { temporary(error) }
}

/// What is to be published.
struct Published {
    tree: Tree,
    open: usize,
    feeds: usize,
}

/// Renders everything: a pure function of the site, its postings and the instant.
fn tree(opened: &Opened, postings: &[Posting]) -> Result<Published> {
    let Opened { site, catalog, templates, now, .. } = opened;
    let rules = Rules::of(site);
    let template = |error: templates::Error| configuration(error);

    // A page stays when its posting closes; drafts and what opens later have none yet.
    let shown: Vec<(&Posting, State)> = postings
        .iter()
        .map(|posting| (posting, lifecycle::state(posting, *now, &rules)))
        .filter(|(posting, state)| {
            *state != State::Upcoming && posting.status != Some(Status::Draft)
        })
        .collect();
    let rendered: Vec<(Entry, (String, Vec<u8>))> = shown
        .par_iter()
        .map(|(posting, state)| {
            let entry = Entry::new(posting, site, catalog, templates)?;
            let page = pages::posting(site, &entry.view, &entry.content, *state, templates)?;
            Ok((entry, (page_path(&posting.slug), page)))
        })
        .collect::<std::result::Result<_, _>>()
        .map_err(template)?;
    let (entries, pages): (Vec<Entry>, Vec<(String, Vec<u8>)>) = rendered.into_iter().unzip();
    let mut tree: Tree = pages.into_iter().collect();
    let mut candidates = Vec::with_capacity(shown.len());
    let mut open = Vec::new();
    for ((posting, state), entry) in shown.iter().zip(&entries) {
        let is_open = *state == State::Open;
        candidates.push(Candidate { posting, entry: is_open.then_some(entry) });
        if is_open {
            open.push((&entry.view, lifecycle::days_left(posting, *now, site.timezone)));
        }
    }
    let feeds = feeds::feeds(site, &candidates, catalog, *now);
    let written: Vec<(String, Vec<u8>)> = feeds
        .par_iter()
        .flat_map_iter(|feed| EXTENSIONS.iter().map(move |extension| (feed, *extension)))
        .map(|(feed, extension)| Ok((format!("{}.{extension}", feed.path), feed.write(extension)?)))
        .collect::<std::result::Result<_, feeds::Error>>()
        .map_err(|error| Failure::Temporary(error.into()))?;
    tree.extend(written);
    let opml = feeds::opml::write(site, &feeds)
        .map_err(|message| temporary(anyhow!("feeds.opml: {message}")))?;
    tree.insert("feeds.opml".to_owned(), opml);
    tree.insert(
        "index.html".to_owned(),
        pages::index(site, &open, &feeds, templates).map_err(template)?,
    );
    Ok(Published { tree, open: open.len(), feeds: feeds.len() })
}
