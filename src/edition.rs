//! Everything that is published at an instant: which files there are, what each is made from, and
//! how it is made. Nothing here reads or writes; whoever does asks for a file's key first, and for
//! its contents only where they are not there already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use foldhash::{HashMap, HashMapExt};
use rayon::prelude::*;

use crate::calendar;
use crate::catalog::Catalog;
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::feeds::{self, Entry, Feed, Format, facet_path};
use crate::frame::Frame;
use crate::key::Key;
use crate::outline::{Category, Outline, Teams};
use crate::pages;
use crate::posting::Posting;
use crate::posting::lifecycle::{Rules, State};
use crate::site::{Facet, Site};
use crate::templates::{self, Templates};
use crate::text;
use crate::view::page_path;

/// The page for addresses that lead nowhere.
pub const NOT_FOUND: &str = "404.html";

/// What all files of a site are made with.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// The settings.
    pub site: &'a Site,
    /// The phrases.
    pub catalog: &'a Catalog,
    /// The templates.
    pub templates: &'a Templates,
    /// The site's own files that replace built-in ones, by name.
    pub own: &'a BTreeMap<String, String>,
    /// Changes with any of these.
    pub key: Key,
}

/// All files of a site at an instant.
pub struct Edition<'a> {
    means: Means<'a>,
    /// The postings that have been shown, in path order.
    pub outlines: Vec<Outline<'a>>,
    /// That of everything first.
    pub feeds: Vec<Feed<'a>>,
    /// The path of every file.
    pub paths: BTreeSet<String>,
    /// What could not be placed.
    pub diagnostics: Vec<Diagnostic>,
    teams: Teams,
    calendars: calendar::Around,
    /// The pages at old addresses of postings.
    moved: HashMap<usize, Vec<String>>,
}

/// One of the files of a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOf {
    /// Its page.
    Page,
    /// Its calendar.
    Calendar,
    /// The page at an address where it was before.
    Moved,
}

/// A posting's files, rendered.
pub struct Rendered {
    /// Its page.
    pub page: Vec<u8>,
    /// Its event, where it is in the calendar.
    pub event: Option<String>,
    /// Its entry in feeds, by format; nothing when it is not open.
    pub parts: Vec<String>,
    /// The page at its old addresses, where there are any; or why there is none.
    pub moved: Option<Result<Vec<u8>, templates::Error>>,
}

/// Why something could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A template failed.
    #[error(transparent)]
    Template(#[from] templates::Error),
    /// A format's library failed.
    #[error(transparent)]
    Feed(#[from] feeds::Error),
}

impl<'a> Edition<'a> {
    /// What there is to publish.
    pub fn new(means: Means<'a>, postings: &'a [Posting], now: DateTime<Utc>) -> Self {
        let Means { site, catalog, key, .. } = means;
        let outlines: Vec<Outline<'a>> = postings
            .par_iter()
            .filter_map(|posting| Outline::new(posting, site, now, &key))
            .collect();
        let (feeds, teams) =
            rayon::join(|| feeds::feeds(site, &outlines, catalog, now), || Teams::new(&outlines));
        let paths = [NOT_FOUND, "sitemap.xml", "feeds.opml", calendar::CLOSING_DATES].into_iter();
        let mut paths: Vec<String> = paths
            .chain(templates::STATIC.iter().map(|(name, _)| *name))
            .map(str::to_owned)
            .collect();
        for feed in &feeds {
            paths.push(list_path(feed));
            paths.extend(Format::ALL.map(|format| feed.file(format)));
        }
        // Each kind by itself: a set is soon made of what is nearly in order.
        paths.par_extend(outlines.par_iter().map(|outline| page_path(&outline.posting.slug)));
        let in_calendar = outlines.par_iter().filter(|outline| outline.calendar.is_some());
        paths.par_extend(in_calendar.map(|outline| calendar::event_path(&outline.posting.slug)));
        let paths: BTreeSet<String> = paths.into_iter().collect();
        let mut edition = Self {
            means,
            outlines,
            feeds,
            paths,
            diagnostics: Vec::new(),
            teams,
            calendars: calendar::Around::new(site, catalog),
            moved: HashMap::new(),
        };
        edition.place_moved();
        edition
    }

    /// Finds room for the pages at old addresses.
    fn place_moved(&mut self) {
        for (at, outline) in self.outlines.iter().enumerate() {
            for address in &outline.posting.redirect_from {
                let path = pages::moved_path(address).filter(|path| has_room(&self.paths, path));
                if let Some(path) = path {
                    self.paths.insert(path.clone());
                    self.moved.entry(at).or_default().push(path);
                } else {
                    let message = format!("`redirect_from`: there can be no page at `{address}`");
                    let path = outline.posting.source.path.clone();
                    self.diagnostics.push(
                        Diagnostic::new(Severity::Warning, Code::InvalidAddress, path, message)
                            .help("name an address where nothing else is"),
                    );
                }
            }
        }
    }

    /// Values that are different words, and have one address: whoever follows one of them gets both.
    pub fn merged(&self) -> Vec<Diagnostic> {
        let mut first: HashMap<(Facet, &str), &str> = HashMap::new();
        let mut merged = BTreeMap::new();
        for outline in &self.outlines {
            for Category { facet, term, label } in &outline.categories {
                let known = *first.entry((*facet, term)).or_insert(label);
                if known != label && text::folded(known) != text::folded(label) {
                    merged.entry((*facet, known, label)).or_insert(&outline.posting.source.path);
                }
            }
        }
        let say = |((facet, known, label), path): ((Facet, &str, &String), &Arc<str>)| {
            let message = format!(
                "`{label}` and `{known}` have one address: as {}, they are one",
                facet.as_str()
            );
            Diagnostic::new(Severity::Warning, Code::SameMeaning, path.clone(), message).help(
                "write both in the same way, or name one so that its letters and digits differ",
            )
        };
        merged.into_iter().map(say).collect()
    }

    /// The files of one posting, and what each is made from.
    pub fn files(&self, at: usize) -> Vec<(String, Key, FileOf)> {
        let Some(outline) = self.outlines.get(at) else { return Vec::new() };
        let slug = &outline.posting.slug;
        let mut files = vec![(page_path(slug), self.page_key(at, outline), FileOf::Page)];
        files.extend(
            event_key(outline).map(|key| (calendar::event_path(slug), key, FileOf::Calendar)),
        );
        let moved = Key::join([b"moved", outline.key.bytes()]);
        let addresses = self.moved.get(&at).into_iter().flatten();
        files.extend(addresses.map(|path| (path.clone(), moved, FileOf::Moved)));
        files
    }

    fn related(&self, at: usize) -> Vec<&Outline<'a>> {
        self.teams.beside(&self.outlines, at, pages::RELATED)
    }

    fn page_key(&self, at: usize, outline: &Outline<'a>) -> Key {
        let state = outline.state.as_str().as_bytes();
        let with = [u8::from(outline.calendar.is_some()), u8::from(outline.is_job)];
        let mut parts = vec![&b"page"[..], outline.key.bytes(), state, &with];
        for other in self.related(at) {
            let language = other.posting.language.as_deref().unwrap_or_default();
            parts.extend([&other.posting.slug, &other.posting.title, language].map(str::as_bytes));
        }
        Key::join(parts)
    }

    /// Renders a posting: a pure function of it and its team.
    ///
    /// # Errors
    /// When a template fails.
    pub fn render(&self, at: usize, outline: &Outline<'a>) -> Result<Rendered, Error> {
        let Means { site, catalog, templates, .. } = self.means;
        let entry = Entry::new(outline.posting, &outline.categories, site, catalog, templates)?;
        let event = outline
            .calendar
            .and_then(|kind| calendar::event(outline.posting, &entry.view, kind, site, catalog));
        let parts = if outline.state == State::Open {
            Format::ALL.iter().map(|format| format.part(&entry, site)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        let moved = self.moved.contains_key(&at);
        let moved = moved.then(|| pages::moved(site, &entry.view, templates));
        let page = pages::posting(site, outline, &entry, &self.related(at), templates)?;
        Ok(Rendered { page, event, parts, moved })
    }

    /// The calendar of one posting.
    pub fn calendar_of(&self, path: &str, event: &str) -> Vec<u8> {
        self.calendars.frame(self.means.site, path).around(event).into_bytes()
    }

    /// What stands around the events of the calendar of everything.
    pub fn calendar_frame(&self, events: &[(usize, Key)]) -> Frame {
        let (site, path) = (self.means.site, calendar::CLOSING_DATES);
        if events.is_empty() {
            self.calendars.empty(site, path)
        } else {
            self.calendars.frame(site, path)
        }
    }

    /// The events of the calendar of everything in their order, with their keys.
    pub fn events(&self) -> Vec<(usize, Key)> {
        let rules = Rules::of(self.means.site);
        // By their end; the slug is unique, so the order is the same on every machine.
        let mut events: Vec<_> = self
            .outlines
            .par_iter()
            .enumerate()
            .filter_map(|(at, outline)| {
                let Posting { closes, slug, .. } = outline.posting;
                let end = closes.map(|closes| closes.end(rules.zone));
                Some((end, slug, at, event_key(outline)?))
            })
            .collect();
        events.par_sort_unstable();
        events.into_iter().map(|(.., at, key)| (at, key)).collect()
    }

    /// What a feed is made from, in any format.
    pub fn feed_key(&self, feed: &Feed<'a>) -> Key {
        let updated = feed.updated.to_rfc3339();
        let head = [self.means.key.bytes(), feed.title.as_bytes(), feed.path.as_bytes()];
        let members = feed.members.iter().filter_map(|at| self.outlines.get(*at));
        let members = members.map(|outline| outline.key.bytes());
        Key::join(head.into_iter().chain([updated.as_bytes()]).chain(members))
    }

    /// What a list's page is made from: what it says of its postings, and the day.
    pub fn list_key(&self, feed: &Feed<'a>) -> Key {
        let members = feed.members.iter().filter_map(|at| self.outlines.get(*at));
        let mut lines = Vec::with_capacity(feed.members.len() * 40);
        for outline in members {
            lines.extend_from_slice(outline.line.bytes());
            lines.extend_from_slice(&outline.days_left.unwrap_or(i64::MIN).to_le_bytes());
        }
        let category = format!("{:?}", feed.category);
        let texts = [&feed.title, &feed.path, &category].map(String::as_bytes);
        let begin = [&b"list"[..], self.means.key.bytes()].into_iter().chain(texts);
        let own = Key::join(begin.chain([&lines[..]]));
        if feed.category.is_some() {
            return own;
        }
        // The front page names every other list.
        let others = self.feeds.iter().map(|feed| {
            format!("{:?} {} {} {}", feed.category, feed.path, feed.title, feed.members.len())
        });
        let others: Vec<String> = others.collect();
        Key::join([own.bytes()].into_iter().chain(others.iter().map(String::as_bytes)))
    }

    /// The page of a list.
    ///
    /// # Errors
    /// When the template fails.
    pub fn list(&self, feed: &Feed<'a>) -> Result<Vec<u8>, templates::Error> {
        let Means { site, catalog, templates, .. } = self.means;
        pages::index(site, &self.outlines, feed, &self.feeds, catalog, templates)
    }

    /// The page for addresses that lead nowhere.
    ///
    /// # Errors
    /// When the template fails.
    pub fn not_found(&self) -> Result<Vec<u8>, templates::Error> {
        pages::not_found(self.means.site, self.means.templates)
    }

    /// The other files that belong to the site as a whole.
    ///
    /// # Errors
    /// When a format's library fails.
    pub fn whole(&self) -> Result<Vec<(&'static str, Vec<u8>)>, feeds::Error> {
        let Means { site, own, .. } = self.means;
        let mut files = vec![("feeds.opml", feeds::opml::write(site, &self.feeds)?)];
        for (name, built_in) in templates::STATIC {
            let text = own.get(*name).map_or(*built_in, String::as_str);
            files.push((name, text.as_bytes().to_vec()));
        }
        let lists = self.feeds.iter().map(|feed| (feed.home.to_string(), feed.updated));
        let open = self.outlines.iter().filter(|outline| outline.is_open());
        let postings = open.map(|outline| {
            // Thousands of addresses need not be taken apart.
            (
                [site.url.as_str(), &page_path(&outline.posting.slug)].concat(),
                outline.posting.changed(outline.updated),
            )
        });
        files.push(("sitemap.xml", pages::sitemap(lists.chain(postings))));
        Ok(files)
    }

    /// How many postings are open.
    pub fn open(&self) -> usize {
        self.feeds.first().map_or(0, |all| all.members.len())
    }
}

/// Whether a file can stand at a path beside all others: neither is it one of them, nor does it lie
/// below one, nor one below it.
fn has_room(paths: &BTreeSet<String>, path: &str) -> bool {
    let below = format!("{path}/");
    let is_folder = paths.range(below.clone()..).next().is_some_and(|p| p.starts_with(&below));
    let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
    !is_folder && !paths.contains(path) && !above.any(|folder| paths.contains(folder))
}

/// The path of the page of a list.
pub fn list_path(feed: &Feed<'_>) -> String {
    feed.category.as_ref().map_or_else(|| "index.html".to_owned(), facet_path)
}

/// What a posting's event is made from.
fn event_key(outline: &Outline<'_>) -> Option<Key> {
    let kind = outline.calendar?;
    outline.posting.closes?;
    let kind: &[u8] = match kind {
        calendar::Entry::Closes => b"closes",
        calendar::Entry::Cancelled => b"cancelled",
    };
    Some(Key::join([b"event", outline.key.bytes(), kind]))
}
