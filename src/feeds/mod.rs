//! Feeds: one neutral form, then one module for each format.
//!
//! A posting's entry is the same in every feed. Each format writes it once, as a part, and what
//! stands around the parts of one feed, as a frame: a feed is its frame with its parts.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Utc};
use foldhash::{HashMap, HashMapExt};
use rayon::prelude::*;
use serde::Serialize;
use url::Url;

use crate::catalog::Catalog;
use crate::frame::Frame;
use crate::outline::{Category, Outline};
use crate::posting::lifecycle::{self, Rules, State};
use crate::posting::{Moment, Posting};
use crate::site::{Facet, Site};
use crate::templates::{self, Templates};
use crate::text;
use crate::view::View;

pub mod atom;
pub mod json_feed;
pub mod opml;
pub mod rss;

/// What names crieur in a feed.
pub const GENERATOR: &str = "crieur";

/// A format of feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Atom 1.0.
    Atom,
    /// RSS 2.0.
    Rss,
    /// JSON Feed 1.1.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Atom, Self::Rss, Self::Json];

    /// The extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Atom => "atom",
            Self::Rss => "rss",
            Self::Json => "json",
        }
    }

    /// An entry as it stands in any feed of the format.
    ///
    /// # Errors
    /// When the format's library cannot write it.
    pub fn part(self, entry: &Entry, site: &Site) -> Result<String, Error> {
        let part = match self {
            Self::Atom => atom::part(entry, site),
            Self::Rss => rss::part(entry, site),
            Self::Json => json_feed::part(entry),
        };
        part.map_err(|message| Error { what: entry.view.url.clone(), message })
    }
}

/// The one part of a text, which begins and ends as told.
fn cut(text: &str, (begin, end): (&str, &str)) -> Result<String, String> {
    let from = text.find(begin);
    let to = text.rfind(end).map(|at| at + end.len());
    let part = from.zip(to).and_then(|(from, to)| text.get(from..to));
    part.map(str::to_owned).ok_or_else(|| format!("there is no `{begin}`"))
}

/// An entry of a feed, whatever the format: a posting with its content rendered.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The posting.
    pub view: View,
    /// Its content, as HTML.
    pub content: String,
    /// Names of who hires.
    pub authors: Vec<String>,
    /// What it can be sorted by.
    pub categories: Vec<Category>,
}

/// What `entry.html` knows.
#[derive(Serialize)]
struct EntryContext<'a> {
    posting: &'a View,
}

/// A feed, whatever the format.
#[derive(Debug, Clone)]
pub struct Feed<'a> {
    /// Its identity, a URI that never changes.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// Its path in `out/`, without the extension.
    pub path: String,
    /// The page that it belongs to.
    pub home: Url,
    /// The value of a facet that it is about; `None` for that of everything.
    pub category: Option<Category>,
    /// When it last changed: an entry, or which entries there are.
    pub updated: DateTime<Utc>,
    /// Its postings by their places in the list of outlines, newest first.
    pub members: Vec<usize>,
    /// What is the same in all feeds of a site.
    pub site: &'a Site,
}

impl Feed<'_> {
    /// Where the feed is, in the format with this extension.
    pub fn address(&self, extension: &str) -> Url {
        self.site.address(&format!("{}.{extension}", self.path))
    }

    /// The path of the feed in `out/` in a format.
    pub fn file(&self, format: Format) -> String {
        format!("{}.{}", self.path, format.extension())
    }

    /// What stands around the entries of the feed in a format.
    ///
    /// # Errors
    /// When the format's library cannot write it.
    pub fn frame(&self, format: Format) -> Result<Frame, Error> {
        let frame = match format {
            Format::Atom => atom::frame(self),
            Format::Rss => rss::frame(self),
            Format::Json => json_feed::frame(self),
        };
        frame.map_err(|message| Error { what: self.file(format), message })
    }
}

/// A feed, or an entry of one, that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the feed cannot be written: `{what}`: {message}")]
pub struct Error {
    what: String,
    message: String,
}

impl Entry {
    /// Renders a posting's entry: a pure function of one posting.
    ///
    /// # Errors
    /// When the template cannot be rendered.
    pub fn new(
        posting: &Posting,
        categories: &[Category],
        site: &Site,
        catalog: &Catalog,
        templates: &Templates,
    ) -> Result<Self, templates::Error> {
        let view = View::new(posting, site, catalog);
        let mut content = templates.render("entry.html", EntryContext { posting: &view })?;
        if content.trim().is_empty() {
            // RFC 4287 and JSON Feed want something to read.
            content = format!("<p>{}</p>", html_escape::encode_text(&view.title));
        }
        // A template of the site's own can say anything.
        if let Cow::Owned(allowed) = text::allowed(&content) {
            content = allowed;
        }
        let authors = view
            .employer
            .clone()
            .or_else(|| site.author.as_ref().map(|author| author.name.clone()))
            .unwrap_or_else(|| site.title.clone());
        Ok(Self { view, content, authors: vec![authors], categories: categories.to_vec() })
    }

    /// When it was published; where that is not known, when it last changed. Formats that need a
    /// date of publication take this.
    pub fn published(&self) -> DateTime<Utc> {
        self.view.published.unwrap_or(self.view.updated)
    }

    /// The moment at which it closes, for machines.
    pub fn closes(&self) -> Option<Moment> {
        self.view.closes
    }
}

/// All feeds of a site at an instant: that of everything first, then by facet and value. A facet's
/// value has a feed while a posting with it is open.
pub fn feeds<'a>(
    site: &'a Site,
    outlines: &[Outline<'a>],
    catalog: &Catalog,
    now: DateTime<Utc>,
) -> Vec<Feed<'a>> {
    let rules = Rules::of(site);
    let changed: Vec<Option<DateTime<Utc>>> =
        outlines.par_iter().map(|outline| changed(outline, now, &rules)).collect();
    // The slug is unique, so the order is the same on every machine.
    let places = outlines.par_iter().enumerate();
    let mut newest_first: Vec<_> = places
        .map(|(at, o)| (Reverse((o.since(), o.updated)), o.posting.slug.as_str(), at))
        .collect();
    newest_first.par_sort_unstable();
    let newest_first: Vec<usize> = newest_first.into_iter().map(|(.., at)| at).collect();
    let of = |facet: &Facet| {
        let mut values: HashMap<&str, Vec<(&str, usize)>> = HashMap::new();
        for at in &newest_first {
            let all = outlines.get(*at).into_iter().flat_map(|outline| &outline.categories);
            for Category { term, label, .. } in all.filter(|category| category.facet == *facet) {
                values.entry(term).or_default().push((label, *at));
            }
        }
        values.into_iter().map(|(term, values)| ((*facet, term), values)).collect::<Vec<_>>()
    };
    let values: BTreeMap<(Facet, &str), _> = site.feeds.by.par_iter().flat_map_iter(of).collect();
    let is_open = |at: &usize| outlines.get(*at).is_some_and(Outline::is_open);
    let updated = |members: &mut dyn Iterator<Item = usize>| {
        let never = site.ids.since_day.and_time(NaiveTime::MIN).and_utc();
        members.filter_map(|at| changed.get(at).copied().flatten()).max().unwrap_or(never)
    };
    let description = site.description.clone().unwrap_or_else(|| site.title.clone());
    let mut feeds = vec![Feed {
        id: site.tag("feeds/all"),
        title: site.title.clone(),
        description: description.clone(),
        path: "feed".to_owned(),
        home: site.url.clone(),
        category: None,
        updated: updated(&mut newest_first.iter().copied()),
        members: newest_first.iter().copied().filter(|at| is_open(at)).collect(),
        site,
    }];
    for ((facet, term), values) in values {
        let members: Vec<usize> =
            values.iter().map(|(_, at)| *at).filter(|at| is_open(at)).collect();
        if members.is_empty() {
            continue;
        }
        let label = usual_label(values.iter().map(|(label, at)| (*label, is_open(at))));
        let title = catalog
            .with("feed-title", [("site", site.title.as_str().into()), ("value", label.into())]);
        let path = format!("feeds/{}/{term}", facet.as_str());
        let category = Category { facet, term: term.to_owned(), label: label.to_owned() };
        feeds.push(Feed {
            id: site.tag(&path),
            title,
            description: description.clone(),
            path,
            home: site.address(&facet_path(&category)),
            category: Some(category),
            updated: updated(&mut values.iter().map(|(_, at)| *at)),
            members,
            site,
        });
    }
    feeds
}

/// The path of the page of a facet's value in `out/`.
pub fn facet_path(category: &Category) -> String {
    format!("{}/{}.html", category.facet.as_str(), category.term)
}

/// Of the ways in which a value is written, that of most open postings.
fn usual_label<'m>(labels: impl Iterator<Item = (&'m str, bool)>) -> &'m str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (label, is_open) in labels {
        *counts.entry(label).or_default() += usize::from(is_open);
    }
    // The first in alphabetical order where several are as usual.
    counts
        .into_iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .map(|(label, _)| label)
        .unwrap_or_default()
}

/// When a posting last changed a feed: its entry, or by coming or going.
fn changed(outline: &Outline<'_>, now: DateTime<Utc>, rules: &Rules) -> Option<DateTime<Utc>> {
    match outline.state {
        State::Open => {
            let opened = outline.posting.opens.map(|opens| opens.start(rules.zone));
            // One that was written elsewhere comes with its merge.
            opened.max(outline.posting.added).max(Some(outline.posting.changed(outline.updated)))
        }
        State::Upcoming => None,
        _ => lifecycle::left(outline.posting, now, rules),
    }
}

#[cfg(test)]
mod tests {
    use atom_syndication as atom;
    use proptest::prelude::*;

    use super::*;
    use crate::posting::parse::tests::posting;

    proptest! {
        #[test]
        fn the_content_is_read_back_as_it_was(
            content in r#"x([<>&'"\\é\n \t]|\]\]>|&amp;|[a-z]){1,60}x"#,
        ) {
            let site = Site::parse("title: T\nurl: https://jobs.example.org/\n").unwrap();
            let catalog = Catalog::new(&site.language, None).unwrap();
            let view = View::new(&posting("title: A"), &site, &catalog);
            let entry =
                Entry { view, content, authors: vec!["E".to_owned()], categories: Vec::new() };
            let head = r#"<feed xmlns="http://www.w3.org/2005/Atom">"#;
            let part = Format::Atom.part(&entry, &site).unwrap();
            let feed: atom::Feed = format!("{head}{part}</feed>").parse().unwrap();
            let read = feed.entries[0].content().and_then(atom::Content::value);
            prop_assert_eq!(read, Some(entry.content.as_str()));
            let head = r#"<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>"#;
            let part = Format::Rss.part(&entry, &site).unwrap();
            let feed: ::rss::Channel = format!("{head}{part}</channel></rss>").parse().unwrap();
            prop_assert_eq!(feed.items[0].content(), Some(entry.content.as_str()));
            let part = Format::Json.part(&entry, &site).unwrap();
            let item: serde_json::Value = serde_json::from_str(&part).unwrap();
            prop_assert_eq!(item["content_html"].as_str(), Some(entry.content.as_str()));
        }
    }
}
