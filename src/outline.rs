//! What lists, feeds and maps say of a posting without its text: quickly known, for all postings.

use chrono::{DateTime, Utc};
use foldhash::{HashMap, HashMapExt};
use serde::Serialize;

use crate::calendar;
use crate::job_posting;
use crate::key::Key;
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
    /// Changes with everything that its line in lists is made from, and its place there, but for the
    /// day.
    pub line: Key,
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
        let published = posting.came(rules.zone);
        // Beside the file, its dates: git's, and those that are not in the future.
        let [published_at, updated_at, committed_at] =
            [published, Some(updated), posting.committed].map(stamp);
        let key = Key::join([
            site_key.bytes(),
            posting.source.path.as_bytes(),
            posting.key.bytes(),
            &published_at,
            &updated_at,
            &committed_at,
        ]);
        Some(Self {
            posting,
            state,
            calendar: calendar::entry(posting, now, &rules),
            // Search engines want to know in which country.
            is_job: state == State::Open
                && site.country.is_some()
                && job_posting::offered_until(posting, &rules, || updated) > now,
            published,
            updated,
            days_left: lifecycle::days_left(posting, now, rules.zone),
            categories: categories(posting),
            key,
            line: line_key(posting, site, published),
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

/// What lists say of a posting beside its title and dates.
pub fn details(posting: &Posting) -> impl Iterator<Item = &str> {
    let role = posting.role.as_deref().filter(|role| *role != posting.title);
    let details =
        [role, posting.employer(), posting.location.as_deref(), posting.contract.as_deref()];
    details.into_iter().flatten()
}

fn line_key(posting: &Posting, site: &Site, published: Option<DateTime<Utc>>) -> Key {
    let closes = posting.closes.map(|closes| closes.to_string()).unwrap_or_default();
    let language = view::language(posting, site).unwrap_or_default();
    let begin = [&b"line"[..], &stamp(published), closes.as_bytes(), language.as_bytes()];
    let texts = [posting.slug.as_str(), &posting.title].into_iter().chain(details(posting));
    Key::join(begin.into_iter().chain(texts.map(str::as_bytes)))
}

/// An instant as part of a key.
fn stamp(at: Option<DateTime<Utc>>) -> [u8; 12] {
    let mut stamp = [0xFF; 12];
    if let Some(at) = at {
        stamp[..8].copy_from_slice(&at.timestamp().to_le_bytes());
        stamp[8..].copy_from_slice(&at.timestamp_subsec_nanos().to_le_bytes());
    }
    stamp
}

/// The first instant after `now` at which something that is published of a posting may be said in
/// another way, if its file does not change: it opens, closes, or is no longer offered as a job.
/// Beside that, lists count the days.
pub fn next_change(posting: &Posting, site: &Site, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let rules = Rules::of(site);
    let offered = job_posting::offered_until(posting, &rules, || view::updated(posting, site));
    let ends = [posting.closes.map(|closes| closes.end(rules.zone)), Some(offered)];
    let opens = posting.opens.map(|opens| opens.start(rules.zone));
    let closing = lifecycle::closing(posting, &rules);
    ends.into_iter().chain([opens, closing]).flatten().filter(|at| *at > now).min()
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

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, TimeDelta};
    use proptest::prelude::*;

    use super::*;
    use crate::posting::parse::tests::posting;

    fn moment() -> impl Strategy<Value = String> {
        (1_u32..=28, 0_u32..24, any::<bool>()).prop_map(|(day, hour, is_day)| {
            let time = if is_day { String::new() } else { format!("T{hour:02}:30:00Z") };
            format!("2021-06-{day:02}{time}")
        })
    }

    proptest! {
        #[test]
        fn nothing_changes_before_it_is_said_to(
            opens in proptest::option::of(moment()),
            closes in proptest::option::of(moment()),
            updated in proptest::option::of(moment()),
            stale in proptest::option::of(0_u32..10),
            state in prop::sample::select(vec!["", "filled: true", "open: false", "status: draft"]),
            hours in 0_i64..24 * 30,
            later in 0.0_f64..1.0,
        ) {
            let stale = stale.map(|days| format!("stale_after_days: {days}\n")).unwrap_or_default();
            let site =
                format!("title: T\nurl: https://jobs.example.org/\ntimezone: Europe/Paris\n{stale}");
            let site = Site::parse(&site).unwrap();
            let mut yaml = format!("title: A\n{state}");
            for (key, value) in [("opens", opens), ("closes", closes), ("updated", updated)] {
                yaml.extend(value.map(|value| format!("\n{key}: {value}")));
            }
            let day = NaiveDate::from_ymd_opt(2021, 6, 1).unwrap();
            let now = day.and_hms_opt(0, 0, 0).unwrap().and_utc() + TimeDelta::hours(hours);
            let said = |now: DateTime<Utc>| {
                let mut posting = posting(&yaml);
                let to_come = posting.forget_what_is_to_come(now, site.timezone);
                let next = next_change(&posting, &site, now);
                let until = to_come.into_iter().chain(next).min();
                let outline = Outline::new(&posting, &site, now, &Key::of(b""));
                let outline = outline.map(|outline| Outline { days_left: None, ..outline });
                let rules = Rules::of(&site);
                let others = (
                    lifecycle::contradictions(&posting, now, &rules),
                    lifecycle::left(&posting, now, &rules),
                );
                (format!("{outline:?} {others:?}"), until)
            };
            let (before, until) = said(now);
            // Any instant before the change, the last one among them.
            let end = until.unwrap_or(now + TimeDelta::days(1000));
            let length = (end - now).num_seconds();
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            let some = now + TimeDelta::seconds((length as f64 * later) as i64);
            for instant in [some, end - TimeDelta::seconds(1), end - TimeDelta::nanoseconds(1)] {
                prop_assert_eq!(&said(instant.max(now)).0, &before, "{} {}", now, instant);
            }
        }
    }
}
