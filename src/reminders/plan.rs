//! The plan: which digests are due now. A pure function, so that a dry run, a simulation, an
//! explanation and the real run are the same code.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc, Weekday};
use serde::{Deserialize, Serialize};

use super::history::{Entry, Past, Sent};
use super::recipients::{self, Recipient};
use crate::posting::lifecycle::{self, Rules, State};
use crate::posting::{Moment, Posting, Status};
use crate::site::Site;
use crate::text;

/// After how many days an open posting without a closing date is its owner's to look at.
const FORGOTTEN: i64 = 90;
/// How long before a recipient's last digest something may have opened and still be news: files
/// are often committed days after the date that they name.
const NEWS: u64 = 7;
/// The stage of what is announced because the next weekly digest would come too late.
const WEEK: u16 = 7;

/// What one recipient gets in one mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest<'a> {
    /// To whom.
    pub recipient: &'a Recipient,
    /// The day that it is sent on, in the site's zone.
    pub day: NaiveDate,
    /// By section, and in each soonest first. Never empty.
    pub items: Vec<Item<'a>>,
}

/// One posting in a digest.
#[derive(Debug, Clone, PartialEq)]
pub struct Item<'a> {
    /// The posting.
    pub posting: &'a Posting,
    /// Why it is there.
    pub section: Section,
    /// The lead, in days, that makes it due, where one does.
    pub stage: Option<u16>,
    /// Calendar days to its last day; negative when that is past.
    pub days_left: Option<i64>,
    /// Calendar days since it came to be open, as far as anybody knows.
    pub open_for: Option<i64>,
}

/// The sections of a digest, in their order. The names in which they are remembered stand in ledgers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "section", content = "what", rename_all = "kebab-case")]
pub enum Section {
    /// It closes soon.
    Closing,
    /// It changed since the recipient was reminded of it.
    Changed(Change),
    /// It is the recipient's own posting.
    Owner(Duty),
    /// It opened since the recipient's last digest.
    New,
}

/// What changed since a recipient was reminded of a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It closes at another time, or no longer at any.
    Moved,
    /// It has closed earlier than the recipient was told.
    Closed,
    /// Somebody was found.
    Filled,
    /// It was taken back.
    Withdrawn,
}

/// What the owner of a posting should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// It closes soon, or today.
    Closes,
    /// It has closed, and its file still says that it is open.
    StillOpen,
    /// It has been open for long, without a closing date.
    Endless,
}

impl Section {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closing => "closing",
            Self::Changed(_) => "changed",
            Self::Owner(_) => "owner",
            Self::New => "new",
        }
    }

    /// The stable name of what it says, where it can say several things.
    pub fn what(self) -> Option<&'static str> {
        match self {
            Self::Closing | Self::New => None,
            Self::Changed(Change::Moved) => Some("moved"),
            Self::Changed(Change::Closed) => Some("closed"),
            Self::Changed(Change::Filled) => Some("filled"),
            Self::Changed(Change::Withdrawn) => Some("withdrawn"),
            Self::Owner(Duty::Closes) => Some("closes"),
            Self::Owner(Duty::StillOpen) => Some("still-open"),
            Self::Owner(Duty::Endless) => Some("endless"),
        }
    }

    /// Whether it is for the owner of a posting alone.
    fn is_owners(self) -> bool {
        matches!(self, Self::Owner(_))
    }

    fn order(self) -> u8 {
        match self {
            Self::Closing => 0,
            Self::Changed(_) => 1,
            Self::Owner(_) => 2,
            Self::New => 3,
        }
    }
}

impl Item<'_> {
    /// What is remembered of it.
    pub fn entry(&self) -> Entry {
        Entry {
            posting: self.posting.id.clone(),
            section: self.section,
            closes: self.posting.closes.map(|closes| closes.to_string()),
            stage: self.stage,
        }
    }
}

impl Digest<'_> {
    /// Adds it to what was sent.
    pub fn remember(&self, sent: &mut Sent) {
        let past = sent.of_mut(&self.recipient.key());
        past.add_day(self.day);
        for item in &self.items {
            past.add(item.entry());
        }
    }
}

/// Why a posting is not announced to a recipient now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDue {
    /// It is not open.
    NotOpen(State),
    /// It is not among the recipient's interests.
    NotWanted,
    /// It has no closing date.
    NoClosingDate,
    /// It closes later than the largest lead.
    TooEarly,
    /// A reminder of this stage or a later one was sent.
    AlreadySent(u16),
}

/// A posting with what is the same of it for every recipient.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The posting.
    pub posting: &'a Posting,
    /// Its state now.
    pub state: State,
    /// Calendar days to its last day.
    pub days_left: Option<i64>,
    /// Its fields of work, comparable.
    pub domains: Vec<String>,
    /// Its team, comparable.
    pub teams: Vec<String>,
    /// Its contract, comparable.
    pub contracts: Vec<String>,
    closes: Option<String>,
    /// When it closes.
    ends: Option<DateTime<Utc>>,
    /// The day on which it opened, in the site's zone.
    opened: Option<NaiveDate>,
    owners: Vec<String>,
}

/// A recipient, what they were told, and when they can be told next after now.
struct Reader<'r> {
    recipient: &'r Recipient,
    past: &'r Past,
    next: NaiveDate,
}

/// What the digests of one instant are made from.
#[derive(Debug)]
pub struct Today<'a> {
    site: &'a Site,
    rules: Rules,
    now: DateTime<Utc>,
    day: NaiveDate,
    candidates: Vec<Candidate<'a>>,
    /// Where the posting with an id stands among them.
    places: HashMap<&'a str, usize>,
    /// The days before this on which there was a plan, in their order, as far as that is known.
    plans: Vec<NaiveDate>,
}

impl<'a> Today<'a> {
    /// The postings of an instant.
    pub fn new(site: &'a Site, postings: &'a [Posting], now: DateTime<Utc>) -> Self {
        let rules = Rules::of(site);
        let terms = |values: &[String]| values.iter().map(|value| text::term(value)).collect();
        let places = postings.iter().map(|posting| posting.id.as_str()).zip(0..).collect();
        let candidates = postings
            .iter()
            .map(|posting| Candidate {
                posting,
                state: lifecycle::state(posting, now, &rules),
                days_left: lifecycle::days_left(posting, now, rules.zone),
                domains: terms(&posting.domains),
                teams: terms(posting.team.as_slice()),
                contracts: terms(posting.contract.as_slice()),
                closes: posting.closes.map(|closes| closes.to_string()),
                ends: posting.closes.map(|closes| closes.end(rules.zone)),
                opened: posting
                    .came(rules.zone)
                    .map(|opened| opened.with_timezone(&rules.zone).date_naive()),
                owners: posting
                    .contacts
                    .iter()
                    .filter_map(|contact| contact.email.as_deref().map(recipients::key))
                    .collect(),
            })
            .collect();
        let day = now.with_timezone(&rules.zone).date_naive();
        Self { site, rules, now, day, candidates, places, plans: Vec::new() }
    }

    /// The same, where there were plans before, on these days in their order: what was to be said on a day
    /// without one is made up for.
    #[must_use]
    pub fn following(self, plans: Vec<NaiveDate>) -> Self {
        Self { plans, ..self }
    }

    /// Whether digests leave by now: not before the hour.
    pub fn is_time(&self) -> bool {
        // An hour that comes twice has come when it came first.
        self.now >= Moment::at(self.day, self.site.reminders.send_after, self.rules.zone)
    }

    /// The instant.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The day, in the site's zone.
    pub fn day(&self) -> NaiveDate {
        self.day
    }

    /// The digest that is due to a recipient, if one is.
    pub fn due<'r>(&self, recipient: &'r Recipient, past: &Past) -> Option<Digest<'r>>
    where
        'a: 'r,
    {
        self.is_due(past).then(|| self.digest(recipient, past)).flatten()
    }

    /// The digests that are due.
    pub fn digests<'r>(&self, audience: &'r [Recipient], sent: &Sent) -> Vec<Digest<'r>>
    where
        'a: 'r,
    {
        audience
            .iter()
            .filter_map(|recipient| self.due(recipient, sent.of(&recipient.key())))
            .collect()
    }

    /// What a digest says that was planned at the same instant with these entries.
    pub fn items(&self, entries: &[Arc<Entry>]) -> Vec<Item<'a>> {
        let item = |entry: &Arc<Entry>| {
            let candidate = &self.candidates[*self.places.get(entry.posting.as_str())?];
            Some(self.item(candidate, entry.section, entry.stage))
        };
        entries.iter().filter_map(item).collect()
    }

    fn item(&self, candidate: &Candidate<'a>, section: Section, stage: Option<u16>) -> Item<'a> {
        Item {
            posting: candidate.posting,
            section,
            stage,
            days_left: candidate.days_left,
            open_for: candidate.opened.map(|opened| (self.day - opened).num_days()),
        }
    }

    /// Whether somebody may get a digest now: one a day, and not before the hour.
    pub fn is_due(&self, past: &Past) -> bool {
        self.is_time() && past.last_day(self.day).is_none_or(|last| last < self.day)
    }

    /// The digest of one recipient, at whatever hour.
    pub fn digest<'r>(&self, recipient: &'r Recipient, past: &Past) -> Option<Digest<'r>>
    where
        'a: 'r,
    {
        let key = recipient.key();
        let reader = Reader { recipient, past, next: self.next_digest(recipient) };
        let mut items: Vec<Item<'r>> = Vec::new();
        for candidate in &self.candidates {
            let item = |section, stage| self.item(candidate, section, stage);
            let stage = self.stage_due(candidate, &reader).ok();
            if let Some(change) = self.change(candidate, &reader) {
                // Between two weekly digests, too, it is the reminder that is due by the leads.
                let days_left = candidate.days_left.filter(|_| change == Change::Moved);
                let lead = days_left.filter(|_| self.is_between(&reader));
                let lead = lead.and_then(|days_left| self.lead(recipient, days_left));
                items.push(item(Section::Changed(change), stage.or(lead)));
            } else if stage.is_some() {
                items.push(item(Section::Closing, stage));
            } else if self.is_news(candidate, &reader) {
                items.push(item(Section::New, None));
            }
            if let Some((duty, stage)) = self.duty(candidate, &key, past) {
                items.push(item(Section::Owner(duty), stage));
            }
        }
        items.sort_by_cached_key(|item| {
            let end = item.posting.closes.map(|closes| closes.end(self.rules.zone));
            (item.section.order(), end.is_none(), end, &item.posting.slug)
        });
        let day = self.day;
        (!items.is_empty()).then_some(Digest { recipient, day, items })
    }

    /// Whether a digest that was made earlier today still says what is so: nobody is reminded of
    /// what has closed meanwhile, or told that somebody was found for what is open again.
    pub fn still_says(&self, entries: &[Arc<Entry>]) -> bool {
        entries.iter().all(|entry| {
            let place = self.places.get(entry.posting.as_str());
            place.map(|place| &self.candidates[*place]).is_some_and(|candidate| {
                let state = match entry.section {
                    Section::Changed(Change::Filled) => State::Filled,
                    // What opens later is not open now, either.
                    Section::Changed(Change::Withdrawn) if candidate.state == State::Upcoming => {
                        State::Upcoming
                    }
                    Section::Changed(Change::Withdrawn) => State::Withdrawn,
                    Section::Changed(Change::Closed) | Section::Owner(Duty::StillOpen) => {
                        State::Closed
                    }
                    _ => State::Open,
                };
                let is_dated = state != State::Open || self.closes_as(candidate, entry);
                candidate.state == state && is_dated
            })
        })
    }

    /// Whether and why a posting is announced to a recipient.
    ///
    /// # Errors
    /// Why it is not.
    pub fn explain(
        &self,
        posting: &Posting,
        recipient: &Recipient,
        past: &Past,
    ) -> Result<u16, NotDue> {
        match self.places.get(posting.id.as_str()) {
            Some(place) => {
                let reader = Reader { recipient, past, next: self.next_digest(recipient) };
                self.stage_due(&self.candidates[*place], &reader)
            }
            None => Err(NotDue::NotWanted),
        }
    }

    /// The stage of a recipient's reminder, if one is due.
    fn stage_due(&self, candidate: &Candidate<'_>, reader: &Reader<'_>) -> Result<u16, NotDue> {
        if candidate.state != State::Open {
            return Err(NotDue::NotOpen(candidate.state));
        }
        if !reader.recipient.wants(candidate) {
            return Err(NotDue::NotWanted);
        }
        let (Some(ends), Some(days_left)) = (candidate.ends, candidate.days_left) else {
            return Err(NotDue::NoClosingDate);
        };
        let stage = self.stage(reader, ends, days_left).ok_or(NotDue::TooEarly)?;
        let smallest =
            self.smallest_stage(reader.past, candidate, |entry| !entry.section.is_owners());
        match smallest {
            Some(before) if before <= stage => Err(NotDue::AlreadySent(before)),
            // What does not wait for the next digest is the reminder that is due by the leads.
            _ if self.is_between(reader) => {
                let lead = self.lead(reader.recipient, days_left);
                Ok(lead.map_or(stage, |lead| lead.min(stage)))
            }
            _ => Ok(stage),
        }
    }

    /// The smallest of the leads that is not smaller than the days that are left. What closes
    /// before the recipient's next digest can come is announced whatever the leads: for somebody
    /// who gets one a week, that is everything that closes within the week. Between two weekly
    /// digests only what cannot wait is: a posting that was published since, or was missed because
    /// nothing ran on the day.
    fn stage(&self, reader: &Reader<'_>, ends: DateTime<Utc>, days_left: i64) -> Option<u16> {
        let recipient = reader.recipient;
        let lead = self.lead(recipient, days_left);
        let cannot_wait = self.cannot_wait(reader, ends);
        match recipient.weekly {
            // What closes before the hour of its last day is announced the day before.
            None if cannot_wait => self.lead(recipient, 0),
            None => lead,
            Some(weekday) if self.is_weekly_day(weekday, reader.past) => {
                lead.into_iter().chain(cannot_wait.then_some(WEEK)).min()
            }
            Some(_) => cannot_wait.then_some(WEEK),
        }
    }

    /// The smallest of a recipient's leads that is not smaller than the days that are left.
    fn lead(&self, recipient: &Recipient, days_left: i64) -> Option<u16> {
        let leads = recipient.lead_days.as_ref().unwrap_or(&self.site.reminders.lead_days);
        leads.iter().copied().filter(|lead| i64::from(*lead) >= days_left).min()
    }

    /// Whether a recipient gets one digest a week, and today's is not that.
    fn is_between(&self, reader: &Reader<'_>) -> bool {
        reader.recipient.weekly.is_some_and(|weekday| !self.is_weekly_day(weekday, reader.past))
    }

    /// Whether today's is the digest of the week for somebody who gets one: it is their day, or it was,
    /// and what was planned on it, or on the first day since that had a plan, was never taken, or nothing
    /// was planned. What was planned later, and not taken, was not the week's.
    fn is_weekly_day(&self, weekday: Weekday, past: &Past) -> bool {
        let back = u64::from(self.day.weekday().days_since(weekday));
        let last = self.day.checked_sub_days(Days::new(back)).unwrap_or(self.day);
        let is_left = match self.plans.iter().find(|plan| **plan >= last) {
            Some(first) => past.is_owed(last, first.succ_opt().unwrap_or(self.day)),
            None => !self.plans.is_empty() || past.is_owed(last, self.day),
        };
        last == self.day || (is_left && past.last_day(self.day).is_none_or(|sent| sent < last))
    }

    /// The day of a recipient's next digest after today's.
    fn next_digest(&self, recipient: &Recipient) -> NaiveDate {
        let days = recipient.weekly.map_or(1, |weekday| {
            u64::from(WEEK) - u64::from(self.day.weekday().days_since(weekday))
        });
        self.day.checked_add_days(Days::new(days)).unwrap_or(self.day)
    }

    /// Whether an instant may be over when a recipient's next digest comes. That of a week may come late
    /// on its day; there is one on the next day for whoever gets them daily.
    fn cannot_wait(&self, reader: &Reader<'_>, instant: DateTime<Utc>) -> bool {
        if reader.recipient.weekly.is_some() {
            instant < Moment::Day(reader.next).end(self.rules.zone)
        } else {
            self.is_before_tomorrows(instant)
        }
    }

    /// Whether an instant is over when tomorrow's digests leave.
    fn is_before_tomorrows(&self, instant: DateTime<Utc>) -> bool {
        let tomorrow = self.day.succ_opt().unwrap_or(self.day);
        instant <= Moment::at(tomorrow, self.site.reminders.send_after, self.rules.zone)
    }

    /// What a recipient who was reminded of a posting believes of it and is no longer so.
    fn change(&self, candidate: &Candidate<'_>, reader: &Reader<'_>) -> Option<Change> {
        let recipient = reader.recipient;
        let announces =
            |entry: &&Entry| matches!(entry.section, Section::Closing | Section::Changed(_));
        let id = &candidate.posting.id;
        // Who may have been told of it hears that it is over; of what is open they are told anew.
        let perhaps = || {
            let is_open = candidate.state == State::Open;
            reader.past.perhaps_about(id).rfind(announces).filter(|_| !is_open)
        };
        let told = reader.past.about(id).rfind(announces).or_else(perhaps)?;
        let is_over = !matches!(told.section, Section::Closing | Section::Changed(Change::Moved));
        // Somebody who asked not to be told of such postings any more is not told. Who was told that one is
        // over hears that it is open again where it closes at another time; else, as they were reminded.
        if !recipient.subscribed || (is_over && candidate.state != State::Open) {
            return None;
        }
        let told_end = self.end(told).filter(|end| *end > self.now);
        // Nobody waits for a posting whose end they have seen, unless it is put off after all.
        if told.closes.is_some() && told_end.is_none() && candidate.state != State::Open {
            return None;
        }
        let change = match candidate.state {
            State::Filled => Change::Filled,
            State::Withdrawn => Change::Withdrawn,
            // Put off as a whole; unless a clock says that it is before what was sent.
            State::Upcoming if !reader.past.has_day_after(self.day) => Change::Withdrawn,
            State::Closed if !self.closes_as(candidate, told) => Change::Closed,
            State::Open if !self.closes_as(candidate, told) => Change::Moved,
            _ => return None,
        };
        let ends = candidate.ends.filter(|_| candidate.state == State::Open);
        let can_wait = self.is_between(reader)
            && !told_end.into_iter().chain(ends).any(|end| self.cannot_wait(reader, end));
        (!can_wait).then_some(change)
    }

    /// Whether a posting is news to a recipient who wants to know of new ones.
    fn is_news(&self, candidate: &Candidate<'_>, reader: &Reader<'_>) -> bool {
        let recipient = reader.recipient;
        if !recipient.new {
            return false;
        }
        let last = reader.past.last_day(self.day).unwrap_or_else(|| {
            // A first digest says what the one before it would have said.
            let week = recipient.weekly.map_or(0, |_| WEEK.into());
            self.day.checked_sub_days(Days::new(week)).unwrap_or(self.day)
        });
        let since = last.checked_sub_days(Days::new(NEWS)).unwrap_or(last);
        recipient.weekly.is_none_or(|weekday| self.is_weekly_day(weekday, reader.past))
            && candidate.state == State::Open
            && recipient.wants(candidate)
            && reader.past.about(&candidate.posting.id).all(|entry| entry.section.is_owners())
            && candidate.opened.is_some_and(|opened| opened > since && opened <= self.day)
    }

    /// The smallest stage that was sent for a posting with its present closing date.
    fn smallest_stage(
        &self,
        past: &Past,
        candidate: &Candidate<'_>,
        counts: impl Fn(&Entry) -> bool,
    ) -> Option<u16> {
        let sent = past.about(&candidate.posting.id);
        sent.filter(|entry| counts(entry) && self.closes_as(candidate, entry))
            .filter_map(|entry| entry.stage)
            .min()
    }

    /// Whether a posting closes when its reader was told, in whatever way that was written.
    fn closes_as(&self, candidate: &Candidate<'_>, told: &Entry) -> bool {
        candidate.closes == told.closes
            || candidate.ends.is_some_and(|ends| Some(ends) == self.end(told))
    }

    /// When a posting closes, as its reader was told.
    fn end(&self, told: &Entry) -> Option<DateTime<Utc>> {
        told.closes.as_deref().and_then(moment).map(|closes| closes.end(self.rules.zone))
    }

    /// What the owner of a posting is told about it.
    fn duty(
        &self,
        candidate: &Candidate<'_>,
        owner: &str,
        past: &Past,
    ) -> Option<(Duty, Option<u16>)> {
        let posting = candidate.posting;
        if !self.site.reminders.owners || !candidate.owners.iter().any(|key| key == owner) {
            return None;
        }
        let told = |duty| {
            let is_that = |entry: &Entry| entry.section == Section::Owner(duty);
            past.about(&posting.id).any(|entry| is_that(entry) && self.closes_as(candidate, entry))
        };
        match (candidate.state, candidate.days_left) {
            (State::Open, Some(days_left)) => {
                // Once in time to do something about it, and once on the day; before it, where it closes
                // before the hour.
                let longest = self.site.reminders.lead_days.iter().copied().max()?;
                let is_last = candidate.ends.is_some_and(|ends| self.is_before_tomorrows(ends));
                let in_time =
                    || [0, longest].into_iter().find(|lead| i64::from(*lead) >= days_left);
                let stage = if is_last { 0 } else { in_time()? };
                let smallest =
                    self.smallest_stage(past, candidate, |entry| entry.section.is_owners());
                smallest.is_none_or(|before| before > stage).then_some((Duty::Closes, Some(stage)))
            }
            (State::Closed, _) => {
                let says_open = posting.open == Some(true) || posting.status == Some(Status::Open);
                (says_open && !told(Duty::StillOpen)).then_some((Duty::StillOpen, None))
            }
            (State::Open, None) => {
                let days = (self.day - candidate.opened?).num_days();
                (days >= FORGOTTEN && !told(Duty::Endless)).then_some((Duty::Endless, None))
            }
            _ => None,
        }
    }
}

/// A closing date as it is remembered.
fn moment(text: &str) -> Option<Moment> {
    let day = text.parse().ok().map(Moment::Day);
    day.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(Moment::Instant))
}

#[cfg(test)]
mod tests;
