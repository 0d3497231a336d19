//! What a digest says, in words: its subject, its sections and what templates know of each posting.

use serde::Serialize;

use crate::catalog::Catalog;
use crate::posting::Status;
use crate::reminders::{Change, Digest, Duty, Item, Section};
use crate::site::Site;
use crate::text;
use crate::view::page_path;

/// How much of a title or a name a digest shows, in characters.
const MAX_TEXT: usize = 120;

#[derive(Serialize)]
pub(super) struct Context<'a> {
    pub(super) language: String,
    /// Whether the language is written from right to left.
    pub(super) rtl: bool,
    pub(super) subject: &'a str,
    pub(super) site: SiteContext<'a>,
    pub(super) sections: Vec<SectionContext>,
    pub(super) more: usize,
    pub(super) subscribed: bool,
    pub(super) unsubscribe: &'a str,
    pub(super) preferences: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct SiteContext<'a> {
    pub(super) title: &'a str,
    pub(super) url: &'a str,
}

#[derive(Serialize)]
pub(super) struct SectionContext {
    pub(super) name: &'static str,
    pub(super) heading: String,
    pub(super) items: Vec<ItemContext>,
}

#[derive(Serialize)]
pub(super) struct ItemContext {
    pub(super) title: String,
    pub(super) role: Option<String>,
    pub(super) employer: Option<String>,
    pub(super) url: String,
    /// What there is to know, in a sentence.
    pub(super) notice: String,
    /// The same, relative to today.
    pub(super) relative: Option<String>,
}

/// The sections of the items, in their order.
pub(super) fn sections(site: &Site, items: &[Item<'_>], catalog: &Catalog) -> Vec<SectionContext> {
    let mut sections: Vec<SectionContext> = Vec::new();
    for item in items {
        let name = item.section.as_str();
        if sections.last().is_none_or(|section| section.name != name) {
            let heading = catalog.word(&format!("digest-{name}"));
            sections.push(SectionContext { name, heading, items: Vec::new() });
        }
        if let Some(section) = sections.last_mut() {
            section.items.push(item_context(site, item, catalog));
        }
    }
    sections
}

fn item_context(site: &Site, item: &Item<'_>, catalog: &Catalog) -> ItemContext {
    let posting = item.posting;
    let deadline = posting.closes.map(|closes| catalog.deadline(closes, site.timezone));
    // What an author who says otherwise has to write.
    let line = match posting.status {
        Some(Status::Open) => "status: closed",
        _ => "open: false",
    };
    let dated = |name: &str| match &deadline {
        Some(date) => catalog.with(name, [("date", date.as_str().into()), ("line", line.into())]),
        None => catalog.word("no-closing-date"),
    };
    let notice = match item.section {
        Section::Closing | Section::New | Section::Owner(Duty::Closes) => dated("closes-on"),
        Section::Changed(Change::Moved) if deadline.is_none() => catalog.word("change-endless"),
        Section::Changed(Change::Moved) => dated("change-moved"),
        Section::Changed(Change::Closed) if deadline.is_none() => catalog.word("state-closed"),
        Section::Changed(Change::Closed) => dated("change-closed"),
        Section::Changed(Change::Filled) => catalog.word("state-filled"),
        Section::Changed(Change::Withdrawn) => catalog.word("state-withdrawn"),
        // Nothing closed it but its age.
        Section::Owner(Duty::StillOpen) if deadline.is_none() => {
            let days = site.stale_after_days.unwrap_or_default();
            catalog.with("owner-stale", [("days", days.into()), ("line", line.into())])
        }
        Section::Owner(Duty::StillOpen) => dated("owner-still-open"),
        Section::Owner(Duty::Endless) => {
            let days = item.open_for.unwrap_or_default();
            catalog.with("owner-endless", [("days", days.into())])
        }
    };
    let is_over = matches!(
        item.section,
        Section::Changed(Change::Closed | Change::Filled | Change::Withdrawn)
            | Section::Owner(Duty::StillOpen)
    );
    let days = item.days_left.filter(|_| !is_over);
    // A draft has no page, nor has what opens later, or closes before it opens.
    let zone = site.timezone;
    let is_never_open = posting
        .opens
        .zip(posting.closes)
        .is_some_and(|(opens, closes)| opens.start(zone) >= closes.end(zone));
    // What opens today may open in the evening.
    let is_withdrawn = item.section == Section::Changed(Change::Withdrawn);
    let is_later = is_withdrawn && item.open_for.is_some_and(|days| days <= 0);
    let url = if posting.status == Some(Status::Draft) || is_never_open || is_later {
        site.url.clone()
    } else {
        site.address(&page_path(&posting.slug))
    };
    ItemContext {
        title: short(&posting.title),
        role: posting.role.as_deref().filter(|role| *role != posting.title).map(short),
        employer: posting.employer().map(short),
        url: url.into(),
        notice,
        relative: days.map(|days| catalog.with("closes-in", [("days", days.into())])),
    }
}

fn short(text: &str) -> String {
    text::shortened(text, MAX_TEXT)
}

/// The subject of a digest: what its first section is about.
pub fn subject(digest: &Digest<'_>, catalog: &Catalog) -> String {
    let name = digest.items.first().map_or("closing", |item| item.section.as_str());
    let items: Vec<_> = digest.items.iter().filter(|item| item.section.as_str() == name).collect();
    let first = items.first();
    let days = first.and_then(|item| item.days_left).unwrap_or_default();
    let soonest = items.iter().filter(|item| item.days_left == Some(days)).count();
    let what = first.and_then(|item| item.section.what()).unwrap_or_default();
    catalog.with(
        &format!("subject-{name}"),
        [
            ("count", items.len().into()),
            ("soonest", days.into()),
            ("first", soonest.into()),
            ("days", days.into()),
            ("what", what.into()),
            ("title", first.map_or_else(String::new, |item| short(&item.posting.title)).into()),
        ],
    )
}
