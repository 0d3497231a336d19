//! The plan: which digests are due now. A pure function, so that a dry run, an explanation and the
//! real run are the same code.

use std::collections::HashMap;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};

use super::Recipient;
use crate::posting::lifecycle::{self, Rules, State};
use crate::posting::{Moment, Posting};
use crate::site::Site;

/// What was sent before, as far as the plan must know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// The smallest stage sent, by recipient, posting's id and closing date.
    stages: HashMap<(String, String, String), u16>,
    /// The day of the last digest, by recipient.
    days: HashMap<String, NaiveDate>,
}

impl Sent {
    /// Adds a reminder that was sent.
    pub fn add(
        &mut self,
        recipient: &str,
        day: NaiveDate,
        posting: &str,
        closes: &str,
        stage: u16,
    ) {
        let key = (recipient.to_owned(), posting.to_owned(), closes.to_owned());
        let smallest = self.stages.entry(key).or_insert(stage);
        *smallest = stage.min(*smallest);
        let last = self.days.entry(recipient.to_owned()).or_insert(day);
        *last = day.max(*last);
    }

    fn stage(&self, recipient: &str, posting: &str, closes: Moment) -> Option<u16> {
        self.stages.get(&(recipient.to_owned(), posting.to_owned(), closes.to_string())).copied()
    }
}

/// What one recipient gets in one mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest<'a> {
    /// To whom.
    pub recipient: &'a Recipient,
    /// The day that it is sent on, in the site's zone.
    pub day: NaiveDate,
    /// Soonest first.
    pub items: Vec<Item<'a>>,
}

/// One posting in a digest.
#[derive(Debug, Clone, PartialEq)]
pub struct Item<'a> {
    /// The posting.
    pub posting: &'a Posting,
    /// Its closing date.
    pub closes: Moment,
    /// The lead, in days, that makes it due.
    pub stage: u16,
    /// Calendar days to its last day.
    pub days_left: i64,
}

/// Why a posting is not in a recipient's digest now.
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

/// The digests that are due.
pub fn plan<'a>(
    site: &Site,
    postings: &'a [Posting],
    recipients: &'a [Recipient],
    sent: &Sent,
    now: DateTime<Utc>,
) -> Vec<Digest<'a>> {
    let day = now.with_timezone(&site.timezone).date_naive();
    recipients
        .iter()
        .filter(|recipient| is_due(site, recipient, sent, now))
        .filter_map(|recipient| {
            let mut items: Vec<Item<'_>> = postings
                .iter()
                .filter_map(|posting| item(site, posting, recipient, sent, now).ok())
                .collect();
            items.sort_by(|a, b| {
                (a.days_left, &a.posting.slug).cmp(&(b.days_left, &b.posting.slug))
            });
            (!items.is_empty()).then_some(Digest { recipient, day, items })
        })
        .collect()
}

/// Whether a recipient may get a digest now: one a day, and not before the hour.
pub fn is_due(site: &Site, recipient: &Recipient, sent: &Sent, now: DateTime<Utc>) -> bool {
    let local = now.with_timezone(&site.timezone);
    local.time() >= site.reminders.send_after
        && sent.days.get(&recipient.key()).is_none_or(|last| *last < local.date_naive())
}

/// The stage of a recipient's reminder for a posting with so many days left, if one is due: the
/// smallest of the leads that is not smaller. For somebody who gets one digest a week, what closes
/// before the next is in this one; between the two, only what cannot wait for the next: a posting
/// that was published since, or missed because nothing ran on the day.
fn stage(
    site: &Site,
    recipient: &Recipient,
    today: NaiveDate,
    closes: Moment,
    days_left: i64,
) -> Option<u16> {
    const WEEK: u16 = 7;
    let leads = recipient.lead_days.as_ref().unwrap_or(&site.reminders.lead_days);
    let smallest = |leads: &mut dyn Iterator<Item = u16>| {
        leads.filter(|lead| i64::from(*lead) >= days_left).min()
    };
    let Some(weekday) = recipient.weekly else { return smallest(&mut leads.iter().copied()) };
    let since = u64::from(today.weekday().days_since(weekday));
    let next_day = today.checked_add_days(Days::new(u64::from(WEEK) - since))?;
    let next = Moment::at(next_day, site.reminders.send_after, site.timezone);
    let cannot_wait = closes.end(site.timezone) <= next;
    let week = cannot_wait.then_some(WEEK);
    match since {
        0 => smallest(&mut leads.iter().copied().chain(week)),
        _ => week,
    }
}

/// A posting as an item of a recipient's digest.
///
/// # Errors
/// Why it is none now.
pub fn item<'a>(
    site: &Site,
    posting: &'a Posting,
    recipient: &Recipient,
    sent: &Sent,
    now: DateTime<Utc>,
) -> Result<Item<'a>, NotDue> {
    match lifecycle::state(posting, now, &Rules::of(site)) {
        State::Open => {}
        state => return Err(NotDue::NotOpen(state)),
    }
    if !recipient.wants(posting) {
        return Err(NotDue::NotWanted);
    }
    let (Some(closes), Some(days_left)) =
        (posting.closes, lifecycle::days_left(posting, now, site.timezone))
    else {
        return Err(NotDue::NoClosingDate);
    };
    let today = now.with_timezone(&site.timezone).date_naive();
    let stage = stage(site, recipient, today, closes, days_left).ok_or(NotDue::TooEarly)?;
    match sent.stage(&recipient.key(), &posting.id, closes) {
        Some(before) if before <= stage => Err(NotDue::AlreadySent(before)),
        _ => Ok(Item { posting, closes, stage, days_left }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posting::parse::tests::posting;
    use chrono::{NaiveTime, TimeDelta, Weekday};
    use proptest::prelude::*;

    fn site() -> Site {
        Site::parse("title: T\nurl: https://jobs.example.org/\n").unwrap()
    }

    fn recipient() -> Recipient {
        Recipient {
            email: "a@example.org".to_owned(),
            name: None,
            language: None,
            domains: vec![],
            teams: vec![],
            contracts: vec![],
            junior: false,
            lead_days: None,
            weekly: None,
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse::<DateTime<chrono::FixedOffset>>().unwrap().to_utc()
    }

    /// Runs at each instant and returns what was sent, as (day of the run, stage).
    fn replay(
        postings: &[Posting],
        recipient: &Recipient,
        runs: &[DateTime<Utc>],
    ) -> Vec<(NaiveDate, u16)> {
        let site = site();
        let mut sent = Sent::default();
        let mut log = Vec::new();
        for now in runs {
            let recipients = [recipient.clone()];
            for digest in plan(&site, postings, &recipients, &sent, *now) {
                let mut add = Vec::new();
                for item in &digest.items {
                    log.push((digest.day, item.stage));
                    add.push((item.posting.id.clone(), item.closes.to_string(), item.stage));
                }
                for (id, closes, stage) in add {
                    sent.add(&recipient.key(), digest.day, &id, &closes, stage);
                }
            }
        }
        log
    }

    #[test]
    fn one_reminder_a_lead() {
        let postings = [posting("closes: 2021-09-10")];
        let runs: Vec<_> =
            (0..300).map(|hour| at("2021-09-01T06:30:00Z") + TimeDelta::hours(hour)).collect();
        let days: Vec<String> = replay(&postings, &recipient(), &runs)
            .into_iter()
            .map(|(day, stage)| format!("{day} {stage}"))
            .collect();
        assert_eq!(days, ["2021-09-03 7", "2021-09-07 3", "2021-09-09 1"]);
    }

    #[test]
    fn a_late_run_sends_the_one_that_matters_now() {
        let postings = [posting("closes: 2021-09-10")];
        let log = replay(
            &postings,
            &recipient(),
            &[at("2021-09-09T08:00:00Z"), at("2021-09-10T08:00:00Z")],
        );
        assert_eq!(log.len(), 1);
        assert_eq!(log[0].1, 1);
    }

    #[test]
    fn nothing_before_the_hour_and_interests_count() {
        let postings = [posting("closes: 2021-09-03\ndomaines: [Développement]")];
        let site = site();
        let plan = |recipient: &Recipient, now| {
            let recipients = [recipient.clone()];
            plan(&site, &postings, &recipients, &Sent::default(), now).len()
        };
        assert_eq!(plan(&recipient(), at("2021-09-03T05:59:00Z")), 0);
        assert_eq!(plan(&recipient(), at("2021-09-03T06:00:00Z")), 1);
        let wants = |domain: &str| Recipient { domains: vec![domain.to_owned()], ..recipient() };
        assert_eq!(plan(&wants("developpement"), at("2021-09-03T06:00:00Z")), 1);
        assert_eq!(plan(&wants("design"), at("2021-09-03T06:00:00Z")), 0);
    }

    #[test]
    fn a_weekly_digest_has_what_closes_before_the_next() {
        let weekly =
            Recipient { weekly: Some(Weekday::Mon), lead_days: Some(vec![1]), ..recipient() };
        // 2021-09-06 is a Monday.
        let runs: Vec<_> =
            (0..14).map(|day| at("2021-09-06T08:00:00Z") + TimeDelta::days(day)).collect();
        let log = replay(&[posting("closes: 2021-09-12")], &weekly, &runs);
        assert_eq!(log, [("2021-09-06".parse().unwrap(), 7)]);
        // Closes on the morning of the next digest, before it is sent.
        let log = replay(&[posting("closes: 2021-09-13T07:00:00+02:00")], &weekly, &runs);
        assert_eq!(log, [("2021-09-06".parse().unwrap(), 7)]);
        let log = replay(&[posting("closes: 2021-09-13")], &weekly, &runs);
        assert_eq!(log, [("2021-09-13".parse().unwrap(), 1)]);
    }

    proptest! {
        /// However runs come: never one stage twice, one digest a day, and what a run could
        /// announce before the closing was announced.
        #[test]
        fn never_twice_and_never_forgotten(
            closes_in in 0_u64..30,
            leads in prop::collection::vec(0_u16..20, 1..5),
            weekly in prop::option::of(0_u8..7),
            mut hours in prop::collection::vec(0_i64..24 * 35, 0..40),
        ) {
            hours.sort_unstable();
            let begin: NaiveDate = "2021-10-10".parse().unwrap();
            let closes = begin + Days::new(closes_in);
            let postings = [posting(&format!("closes: {closes}"))];
            let recipient = Recipient {
                lead_days: Some(leads.clone()),
                weekly: weekly.map(|day| Weekday::try_from(day).unwrap()),
                ..recipient()
            };
            let runs: Vec<_> = hours
                .iter()
                .map(|hour| begin.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(*hour))
                .collect();
            let log = replay(&postings, &recipient, &runs);
            prop_assert!(log.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 > pair[1].1), "{:?}", log);
            prop_assert!(log.iter().all(|(day, _)| *day <= closes));
            let largest = if weekly.is_some() { 0 } else { i64::from(*leads.iter().max().unwrap()) };
            let zone = site().timezone;
            let could = runs.iter().any(|run| {
                let local = run.with_timezone(&zone);
                let left = (closes - local.date_naive()).num_days();
                local.time() >= site().reminders.send_after && (0..=largest).contains(&left)
            });
            prop_assert!(!could || !log.is_empty());
        }
    }
}
