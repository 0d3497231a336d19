//! What state a posting is in at an instant: a pure function of posting, instant and zone.

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::vocabulary::Field;
use super::{Moment, Posting, Status};
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::site::Site;

/// The state of a posting. Where several would be true, the first in this order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Somebody was found.
    Filled,
    /// Taken back, or not published yet, by its author's word.
    Withdrawn,
    /// The closing instant has passed.
    Closed,
    /// It opens later.
    Upcoming,
    /// People can apply.
    Open,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filled => "filled",
            Self::Withdrawn => "withdrawn",
            Self::Closed => "closed",
            Self::Upcoming => "upcoming",
            Self::Open => "open",
        }
    }
}

/// What a site says of time, for all of its postings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The zone in which days begin and end.
    pub zone: Tz,
    /// After how many days a posting without a closing date closes by itself.
    pub stale_after_days: Option<u32>,
    /// What a posting's last change is when nothing is known.
    pub since: NaiveDate,
}

impl Rules {
    /// A site's rules.
    pub fn of(site: &Site) -> Self {
        Self {
            zone: site.timezone,
            stale_after_days: site.stale_after_days,
            since: site.ids.since_day,
        }
    }
}

/// The state at an instant.
pub fn state(posting: &Posting, now: DateTime<Utc>, rules: &Rules) -> State {
    let Rules { zone, .. } = *rules;
    if posting.filled || posting.status == Some(Status::Filled) {
        State::Filled
    } else if posting.open == Some(false)
        || matches!(posting.status, Some(Status::Closed | Status::Draft))
    {
        State::Withdrawn
    } else if closing(posting, rules).is_some_and(|closing| closing <= now) {
        State::Closed
    } else if posting.opens.is_some_and(|opens| now < opens.start(zone)) {
        State::Upcoming
    } else {
        State::Open
    }
}

/// The instant at which a posting closes, if any: its closing date's end, or else when it is stale.
pub fn closing(posting: &Posting, rules: &Rules) -> Option<DateTime<Utc>> {
    let Rules { zone, .. } = *rules;
    if let Some(closes) = posting.closes {
        return Some(closes.end(zone));
    }
    // Without an opening date: whoever goes on editing a posting still means it. One of which nothing
    // is known (it is not committed yet, or a shallow clone does not tell) is not known to be old.
    let days = rules.stale_after_days?;
    let begin = match posting.opens {
        Some(opens) => opens.start(zone),
        None if posting.is_dated() => posting.updated(zone, rules.since),
        None => return None,
    };
    let last = begin.with_timezone(&zone).date_naive().checked_add_days(Days::new(days.into()))?;
    Some(Moment::Day(last).end(zone))
}

/// Whether a posting has been shown to readers by now: it is no draft, and its opening is not to
/// come, whatever its state is meanwhile.
pub fn was_shown(posting: &Posting, now: DateTime<Utc>, zone: Tz) -> bool {
    posting.status != Some(Status::Draft)
        && posting.opens.is_none_or(|opens| opens.start(zone) <= now)
}

/// Calendar days in the zone from today to the last day on which the posting is open: 0 is "closes
/// today", negative is past. `None` without a closing date.
pub fn days_left(posting: &Posting, now: DateTime<Utc>, zone: Tz) -> Option<i64> {
    let today = now.with_timezone(&zone).date_naive();
    Some((posting.closes?.last_day(zone) - today).num_days())
}

/// When a posting that was announced ceased to be open, as far as its file tells: its closing, or
/// the last change before that, which made it filled or withdrawn. `None` while it is open, and
/// for one that has not been open yet.
pub fn left(posting: &Posting, now: DateTime<Utc>, rules: &Rules) -> Option<DateTime<Utc>> {
    let closing = closing(posting, rules).filter(|closing| *closing <= now);
    // What closes before it opens is never open.
    if let (Some(opens), Some(closing)) = (posting.opens, closing)
        && closing <= opens.start(rules.zone)
    {
        return None;
    }
    match state(posting, now, rules) {
        _ if !was_shown(posting, now, rules.zone) => None,
        State::Open | State::Upcoming => None,
        State::Closed => closing,
        State::Filled | State::Withdrawn => {
            let changed = posting.changed(posting.updated(rules.zone, rules.since));
            Some(closing.map_or(changed, |closing| closing.min(changed)))
        }
    }
}

/// What a posting's author says that time has made untrue.
pub fn contradictions(posting: &Posting, now: DateTime<Utc>, rules: &Rules) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut warn = |field, message: String, help: &str| {
        let span = posting.places.get(&field).cloned().unwrap_or(0..0);
        diagnostics.push(
            Diagnostic::new(
                Severity::Warning,
                Code::Contradiction,
                posting.source.path.clone(),
                message,
            )
            .at(&posting.source, &span)
            .help(help),
        );
    };
    if state(posting, now, rules) == State::Closed
        && let Some(closes) = posting.closes
    {
        let help = "write `open: false`, or move the closing date";
        if posting.open == Some(true) {
            let message = format!(
                "`open` says yes, but the posting closed on {}",
                closes.last_day(rules.zone)
            );
            warn(Field::Open, message, help);
        } else if posting.status == Some(Status::Open) {
            let message = format!(
                "`status` says open, but the posting closed on {}",
                closes.last_day(rules.zone)
            );
            warn(Field::Status, message, "write `status: closed`, or move the closing date");
        }
    }
    if let Some(updated) = posting.updated
        && updated.start(rules.zone) > now
    {
        warn(
            Field::Updated,
            format!("the posting was changed on a day to come, {updated}; that is ignored"),
            "write the day on which it last changed",
        );
    }
    diagnostics
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{NaiveTime, TimeDelta};
    use chrono_tz::{America, Asia, Europe, Pacific};
    use proptest::prelude::*;

    use crate::posting::parse::tests::posting;

    fn rules(zone: Tz) -> Rules {
        Rules { zone, stale_after_days: None, since: NaiveDate::from_ymd_opt(2021, 1, 1).unwrap() }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse::<DateTime<chrono::FixedOffset>>().unwrap().to_utc()
    }

    #[test]
    fn the_first_state_that_is_true_decides() {
        let now = at("2021-09-01T12:00:00Z");
        for (yaml, expected) in [
            ("poste_pourvu: true\nopen: false\ncloses: 2021-01-01", State::Filled),
            ("status: filled\nopen: true", State::Filled),
            ("open: false\ncloses: 2021-01-01", State::Withdrawn),
            ("status: draft\nopens: 2022-01-01", State::Withdrawn),
            ("status: closed\nopen: true", State::Withdrawn),
            ("open: true\ncloses: 2021-08-31", State::Closed),
            ("opens: 2021-09-02\ncloses: 2021-08-31", State::Closed),
            ("opens: 2021-09-02", State::Upcoming),
            ("opens: 2021-09-01", State::Open),
            ("closes: 2021-09-01", State::Open),
            ("depublication_date: 2021-08-31", State::Closed),
            ("depublication_date: 2021-08-31\ncloses: 2021-09-01", State::Open),
            ("role: x", State::Open),
        ] {
            assert_eq!(state(&posting(yaml), now, &rules(Europe::Paris)), expected, "{yaml}");
        }
    }

    #[test]
    fn a_posting_closes_when_its_last_day_ends_where_the_site_is() {
        let posting = posting("closes: 2021-09-03");
        let paris = rules(Europe::Paris);
        assert_eq!(state(&posting, at("2021-09-03T21:59:59Z"), &paris), State::Open);
        assert_eq!(state(&posting, at("2021-09-03T22:00:00Z"), &paris), State::Closed);
        assert_eq!(days_left(&posting, at("2021-09-03T21:59:59Z"), Europe::Paris), Some(0));
        assert_eq!(days_left(&posting, at("2021-09-02T21:59:59Z"), Europe::Paris), Some(1));
        assert_eq!(days_left(&posting, at("2021-09-02T22:00:00Z"), Europe::Paris), Some(0));
        let auckland = rules(Pacific::Auckland);
        assert_eq!(state(&posting, at("2021-09-03T12:00:00Z"), &auckland), State::Closed);
    }

    #[test]
    fn what_closes_before_it_opens_never_left() {
        let left = |yaml: &str| {
            left(&posting(yaml), at("2021-09-10T12:00:00Z"), &rules(Europe::Paris)).is_some()
        };
        assert!(left("opens: 2021-08-01\ncloses: 2021-09-03"));
        assert!(left("opens: 2021-09-03\ncloses: 2021-09-03"));
        assert!(!left("opens: 2021-09-05\ncloses: 2021-09-03"));
        assert!(!left("opens: 2021-09-04\ncloses: 2021-09-03"));
    }

    #[test]
    fn states_have_the_names_that_programs_read() {
        let states = [State::Filled, State::Withdrawn, State::Closed, State::Upcoming, State::Open];
        let names = ["filled", "withdrawn", "closed", "upcoming", "open"];
        assert_eq!(states.map(State::as_str), names);
    }

    #[test]
    fn it_opens_when_its_first_day_begins_where_the_site_is() {
        let posting = posting("opens: 2021-09-03");
        let paris = rules(Europe::Paris);
        assert_eq!(state(&posting, at("2021-09-02T21:59:59Z"), &paris), State::Upcoming);
        assert_eq!(state(&posting, at("2021-09-02T22:00:00Z"), &paris), State::Open);
    }

    #[test]
    fn without_a_closing_date_it_may_close_by_itself() {
        let rules = Rules { stale_after_days: Some(90), ..rules(Europe::Paris) };
        let dated = posting("opens: 2021-01-01");
        assert_eq!(state(&dated, at("2021-04-01T21:59:59Z"), &rules), State::Open);
        assert_eq!(state(&dated, at("2021-04-01T22:00:00Z"), &rules), State::Closed);
        assert_eq!(days_left(&dated, at("2021-04-01T12:00:00Z"), Europe::Paris), None);
        let mut undated = posting("role: x");
        assert_eq!(state(&undated, at("2029-08-01T12:00:00Z"), &rules), State::Open);
        undated.committed = Some(at("2021-06-01T12:00:00Z"));
        assert_eq!(state(&undated, at("2021-08-01T12:00:00Z"), &rules), State::Open);
        assert_eq!(state(&undated, at("2021-09-01T12:00:00Z"), &rules), State::Closed);
    }

    #[test]
    fn it_left_when_it_closed_or_was_taken_back_before() {
        let now = at("2021-09-10T12:00:00Z");
        let left = |yaml: &str, committed: &str| {
            let mut posting = posting(yaml);
            posting.committed = Some(at(committed));
            left(&posting, now, &rules(Europe::Paris)).map(|at| at.to_rfc3339())
        };
        let closing = Some("2021-09-03T22:00:00+00:00".to_owned());
        assert_eq!(left("closes: 2021-09-03", "2021-09-09T00:00:00Z"), closing);
        assert_eq!(left("closes: 2021-09-03\nopen: false", "2021-09-09T00:00:00Z"), closing);
        let early = Some("2021-08-09T00:00:00+00:00".to_owned());
        assert_eq!(left("closes: 2021-09-03\nfilled: true", "2021-08-09T00:00:00Z"), early);
        assert_eq!(left("open: false", "2021-08-09T00:00:00Z"), early);
        assert_eq!(left("open: true", "2021-08-09T00:00:00Z"), None);
        assert_eq!(left("status: draft", "2021-08-09T00:00:00Z"), None);
        assert_eq!(left("filled: true\nopens: 2031-01-01", "2021-08-09T00:00:00Z"), None);
    }

    #[test]
    fn time_makes_statements_untrue() {
        let now = at("2021-09-10T12:00:00Z");
        let messages = |yaml: &str| {
            contradictions(&posting(yaml), now, &rules(Europe::Paris))
                .into_iter()
                .map(|d| format!("{}:{} {}", d.line(), d.column(), d.message))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            messages("closes: 2021-09-03\nopen: true"),
            ["3:7 `open` says yes, but the posting closed on 2021-09-03"]
        );
        assert_eq!(
            messages("closes: 2021-09-03\nstatus: open"),
            ["3:9 `status` says open, but the posting closed on 2021-09-03"]
        );
        assert!(messages("closes: 2021-09-03").is_empty());
        assert!(messages("closes: 2021-09-10\nopen: true").is_empty());
        assert!(messages("closes: 2021-09-03\nopen: false").is_empty());
        assert_eq!(messages("updated: 2022-01-01").len(), 1);
        assert!(messages("updated: 2021-09-10T14:00:00+02:00").is_empty());
    }

    fn zones() -> impl Strategy<Value = Tz> {
        prop::sample::select(vec![
            Europe::Paris,
            Europe::London,
            America::New_York,
            America::Havana,
            America::Sao_Paulo,
            America::St_Johns,
            Asia::Beirut,
            Asia::Kolkata,
            Asia::Kathmandu,
            Pacific::Apia,
            Pacific::Auckland,
            Pacific::Kiritimati,
            Tz::UTC,
            chrono_tz::Australia::Lord_Howe,
            chrono_tz::Africa::Casablanca,
        ])
    }

    prop_compose! {
        fn days()(n in 0_u64..20_000) -> NaiveDate {
            NaiveDate::from_ymd_opt(1990, 1, 1).unwrap() + Days::new(n)
        }
    }

    proptest! {
        /// At every minute around a closing day, the calendar and the state agree.
        #[test]
        fn it_is_open_exactly_while_the_last_day_has_not_passed(
            zone in zones(), day in days(), minutes in -3000_i64..3000,
        ) {
            let posting = posting(&format!("closes: {day}"));
            let now = day.and_time(NaiveTime::MIN).and_utc() + TimeDelta::minutes(minutes);
            let today = now.with_timezone(&zone).date_naive();
            let open = state(&posting, now, &rules(zone)) == State::Open;
            let left = days_left(&posting, now, zone).unwrap();
            prop_assert_eq!(left, (day - today).num_days());
            // A zone that puts its clocks back over midnight has the end of a day twice: the
            // posting is open until the second, so only "open on the day" is certain then.
            if left >= 0 { prop_assert!(open); }
            if left < 0 && today > day + Days::new(1) { prop_assert!(!open); }
        }

        #[test]
        fn a_posting_opens_once_and_closes_once(
            zone in zones(), opens in days(), length in 0_u64..60, step in 1_i64..500,
        ) {
            let closes = opens + Days::new(length);
            let posting = posting(&format!("opens: {opens}\ncloses: {closes}"));
            let begin = opens.and_time(NaiveTime::MIN).and_utc() - TimeDelta::days(2);
            let states: Vec<State> = (0..100_000)
                .map(|n| begin + TimeDelta::minutes(n * step * 7))
                .take_while(|now| *now < closes.and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(4))
                .map(|now| state(&posting, now, &rules(zone)))
                .collect();
            let mut changes = states.clone();
            changes.dedup();
            prop_assert!(
                [&[State::Upcoming, State::Open, State::Closed][..], &[State::Upcoming, State::Closed]]
                    .contains(&&changes[..]),
                "{:?}", changes
            );
        }

        /// An instant given in any offset means the same, and the machine's zone means nothing.
        #[test]
        fn an_instant_is_an_instant(zone in zones(), hours in -12_i32..14, minutes in 0_i64..200_000_000 / 60) {
            let closes = DateTime::UNIX_EPOCH + TimeDelta::days(11_000) + TimeDelta::minutes(minutes);
            let offset = chrono::FixedOffset::east_opt(hours * 3600).unwrap();
            let posting = posting(&format!("closes: {}", closes.with_timezone(&offset).to_rfc3339()));
            let rules = rules(zone);
            prop_assert_eq!(state(&posting, closes - TimeDelta::seconds(1), &rules), State::Open);
            prop_assert_eq!(state(&posting, closes, &rules), State::Closed);
            prop_assert_eq!(days_left(&posting, closes - TimeDelta::seconds(1), zone), Some(0));
        }
    }
}
