//! What lists, feeds and maps say of a posting without its text: quickly known, for all postings.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::cache::Key;
use crate::calendar;
use crate::job_posting;
use crate::posting::Posting;
use crate::posting::lifecycle::{self, Rules, State};
use crate::site::{Facet, Site};
use crate::text;
use crate::view;

/// A posting that has been shown, at an instant.
#[derive(Debug, Clone)]
pub struct Outline<'a> {
    /// The posting.
    pub posting: &'a Posting,
    /// Its state.
    pub state: State,
    /// How it stands in the calendar, if it does.
    pub calendar: Option<calendar::Entry>,
    /// Whether it is offered to search engines as a job.
    pub is_job: bool,
    /// When it was published, where that is known.
    pub published: Option<DateTime<Utc>>,
    /// When it last changed; no two postings share it.
    pub updated: DateTime<Utc>,
    /// Calendar days to its last day.
    pub days_left: Option<i64>,
    /// What it can be sorted by.
    pub categories: Vec<Category>,
    /// Changes with everything that its entry in feeds is made from.
    pub key: Key,
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

impl<'a> Outline<'a> {
    /// A posting at an instant; `None` for what has not been shown yet. `site_key` changes with
    /// whatever all postings are rendered with.
    pub fn new(
        posting: &'a Posting,
        site: &Site,
        now: DateTime<Utc>,
        site_key: &Key,
    ) -> Option<Self> {
        let rules = Rules::of(site);
        // A page stays when its posting closes; drafts and what opens later have none yet.
        if !lifecycle::was_shown(posting, now, rules.zone) {
            return None;
        }
        let state = lifecycle::state(posting, now, &rules);
        let updated = view::updated(posting, site);
        let published = posting.published(rules.zone);
        // Beside the file, its dates: git's, and those that are not in the future.
        let dates = format!("{published:?} {updated:?}");
        let key = Key::join([
            site_key.bytes(),
            posting.source.path.as_bytes(),
            posting.key.bytes(),
            dates.as_bytes(),
        ]);
        Some(Self {
            posting,
            state,
            calendar: calendar::entry(posting, now, &rules),
            is_job: state == State::Open
                && job_posting::offered_until(posting, updated, site) > now,
            published,
            updated,
            days_left: lifecycle::days_left(posting, now, rules.zone),
            categories: categories(posting),
            key,
        })
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// When it was published; where that is not known, when it last changed. Formats that need a
    /// date of publication take this.
    pub fn since(&self) -> DateTime<Utc> {
        self.published.unwrap_or(self.updated)
    }
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

/// The open postings of each team, by their places in a list.
#[derive(Debug, Clone, Default)]
pub struct Teams(HashMap<String, Vec<usize>>);

impl Teams {
    /// Sorts the open postings by team.
    pub fn new(outlines: &[Outline<'_>]) -> Self {
        let mut teams: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, outline) in outlines.iter().enumerate() {
            if let (Some(team), true) = (team(outline), outline.is_open()) {
                teams.entry(team.to_owned()).or_default().push(at);
            }
        }
        Self(teams)
    }

    /// The other open postings of a posting's team, at most so many.
    pub fn beside<'a, 'o>(
        &self,
        outlines: &'o [Outline<'a>],
        at: usize,
        most: usize,
    ) -> Vec<&'o Outline<'a>> {
        let of = outlines.get(at).and_then(team).and_then(|team| self.0.get(team));
        let others = of.into_iter().flatten().filter(|other| **other != at);
        others.filter_map(|other| outlines.get(*other)).take(most).collect()
    }
}

/// What a posting's team is compared by; one whose name makes no address has none.
fn team<'o>(outline: &'o Outline<'_>) -> Option<&'o str> {
    let of = outline.categories.iter().find(|category| category.facet == Facet::Team);
    of.map(|category| category.term.as_str())
}
