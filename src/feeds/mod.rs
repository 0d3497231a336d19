//! Feeds: one neutral form, then one module for each format.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Utc};
use serde::Serialize;
use url::Url;

use crate::catalog::Catalog;
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

/// The formats, by their file's extension.
pub const EXTENSIONS: [&str; 3] = ["atom", "rss", "json"];

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

/// A value of a facet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Category {
    /// The facet.
    pub facet: Facet,
    /// The value in addresses.
    pub term: String,
    /// The value as it was written.
    pub label: String,
}

impl Category {
    /// Whether it is the same value, however it was written.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.facet, &self.term) == (other.facet, &other.term)
    }
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
    /// Newest first.
    pub entries: Vec<&'a Entry>,
    /// What is the same in all feeds of a site.
    pub site: &'a Site,
}

impl Feed<'_> {
    /// Where the feed is, in the format with this extension.
    pub fn address(&self, extension: &str) -> Url {
        self.site.address(&format!("{}.{extension}", self.path))
    }

    /// The feed in the format with this extension.
    ///
    /// # Errors
    /// When the format's library cannot write it.
    pub fn write(&self, extension: &str) -> Result<Vec<u8>, Error> {
        let written = match extension {
            "atom" => atom::write(self),
            "rss" => rss::write(self),
            _ => json_feed::write(self),
        };
        written.map_err(|message| Error { feed: format!("{}.{extension}", self.path), message })
    }
}

/// A feed that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the feed `{feed}` cannot be written: {message}")]
pub struct Error {
    feed: String,
    message: String,
}

impl Entry {
    /// Renders a posting's entry: a pure function of one posting.
    ///
    /// # Errors
    /// When the template cannot be rendered.
    pub fn new(
        posting: &Posting,
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
        let authors = view
            .employer
            .clone()
            .or_else(|| site.author.as_ref().map(|author| author.name.clone()))
            .unwrap_or_else(|| site.title.clone());
        Ok(Self { view, content, authors: vec![authors], categories: categories(posting) })
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

/// The path of the page of a facet's value in `out/`.
pub fn facet_path(category: &Category) -> String {
    format!("{}/{}.html", category.facet.as_str(), category.term)
}

/// The values of all facets of a posting; values that make no address are left out.
pub fn categories(posting: &Posting) -> Vec<Category> {
    let mut categories: Vec<Category> = Vec::new();
    for facet in Facet::ALL {
        for label in posting.facet(facet) {
            let term = text::term(label);
            if !term.is_empty() && !categories.iter().any(|c| c.facet == facet && c.term == term) {
                categories.push(Category { facet, term, label: label.clone() });
            }
        }
    }
    categories
}

/// A posting with its entry, if it is open.
pub struct Candidate<'a> {
    /// The posting.
    pub posting: &'a Posting,
    /// Its entry, while it is open.
    pub entry: Option<&'a Entry>,
}

/// All feeds of a site at an instant: that of everything first, then by facet and value. A facet's
/// value has a feed while a posting with it is open.
pub fn feeds<'a>(
    site: &'a Site,
    candidates: &[Candidate<'a>],
    catalog: &Catalog,
    now: DateTime<Utc>,
) -> Vec<Feed<'a>> {
    let title = site.title.clone();
    let mut feeds = vec![feed(site, title, "feed".to_owned(), None, candidates.iter(), now)];
    let mut values: BTreeMap<(Facet, String), Vec<(String, &Candidate<'a>)>> = BTreeMap::new();
    for candidate in candidates {
        for Category { facet, term, label } in categories(candidate.posting) {
            if site.feeds.by.contains(&facet) {
                values.entry((facet, term)).or_default().push((label, candidate));
            }
        }
    }
    for ((facet, term), members) in values {
        if members.iter().all(|(_, member)| member.entry.is_none()) {
            continue;
        }
        let value = usual_label(&members);
        let category = Category { facet, term: term.clone(), label: value.to_owned() };
        let title = catalog
            .with("feed-title", [("site", site.title.as_str().into()), ("value", value.into())]);
        let path = format!("feeds/{}/{term}", facet.as_str());
        let members = members.iter().map(|(_, member)| *member);
        feeds.push(feed(site, title, path, Some(category), members, now));
    }
    feeds
}

/// Of the ways in which a value is written, that of most open postings.
fn usual_label<'m>(members: &'m [(String, &Candidate<'_>)]) -> &'m str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (label, member) in members {
        *counts.entry(label).or_default() += usize::from(member.entry.is_some());
    }
    // The first in alphabetical order where several are as usual.
    counts
        .into_iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .map(|(label, _)| label)
        .unwrap_or_default()
}

fn feed<'a, 'c>(
    site: &'a Site,
    title: String,
    path: String,
    category: Option<Category>,
    members: impl Iterator<Item = &'c Candidate<'a>> + Clone,
    now: DateTime<Utc>,
) -> Feed<'a>
where
    'a: 'c,
{
    let rules = Rules::of(site);
    let updated = members.clone().filter_map(|member| changed(member, now, &rules)).max();
    let mut entries: Vec<&Entry> = members.filter_map(|member| member.entry).collect();
    // The slug is unique, so the order is the same on every machine.
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| (entry.published(), entry.view.updated);
        key(b).cmp(&key(a)).then_with(|| a.view.slug.cmp(&b.view.slug))
    });
    let page = category.as_ref().map(facet_path);
    Feed {
        id: site.tag(if category.is_some() { &path } else { "feeds/all" }),
        title,
        description: site.description.clone().unwrap_or_else(|| site.title.clone()),
        path,
        home: page.map_or_else(|| site.url.clone(), |page| site.address(&page)),
        category,
        updated: updated.unwrap_or_else(|| site.ids.since_day().and_time(NaiveTime::MIN).and_utc()),
        entries,
        site,
    }
}

/// When a posting last changed a feed: its entry, or by coming or going.
fn changed(member: &Candidate<'_>, now: DateTime<Utc>, rules: &Rules) -> Option<DateTime<Utc>> {
    match (member.entry, lifecycle::state(member.posting, now, rules)) {
        (Some(entry), _) => {
            let opened = member.posting.opens.map(|opens| opens.start(rules.zone));
            Some(opened.map_or(entry.view.updated, |opened| opened.max(entry.view.updated)))
        }
        (None, State::Upcoming | State::Open) => None,
        (None, _) => lifecycle::left(member.posting, now, rules),
    }
}
