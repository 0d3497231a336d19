//! Calendars of closing dates (RFC 5545, RFC 7986): one event for each open posting that closes, with
//! alarms at the lead days. A posting that leaves early stays as a cancelled event until its date has
//! passed, so that calendars that are subscribed to drop it.
//!
//! Nothing here depends on the day: an event changes when its posting does.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Timelike, Utc};
use icalendar::{Alarm, Calendar, Component, Event, EventLike, EventStatus, Property};

use crate::catalog::Catalog;
use crate::frame::Frame;
use crate::posting::lifecycle::{self, Rules, State};
use crate::posting::{Moment, Posting};
use crate::site::Site;
use crate::view::View;

/// How often calendars look for changes.
const REFRESH: &str = "PT6H";
/// The colour of the calendar (a name of CSS, RFC 7986 section 5.9).
const COLOR: &str = "darkorange";

/// Where the calendar of everything stands in `out/`.
pub const CLOSING_DATES: &str = "closing-dates.ics";

/// Where a posting's own calendar stands in `out/`.
pub fn event_path(slug: &str) -> String {
    ["postings/", slug, ".ics"].concat()
}

/// How a calendar begins and ends (RFC 5545, section 3.4).
const HEAD: &str = "BEGIN:VCALENDAR\r\n";
const TAIL: &str = "END:VCALENDAR\r\n";

/// What stands in a calendar without events: it must have something in it (RFC 5545, section 3.6), and a
/// time zone that nothing refers to is shown by nobody.
const NOTHING: &str = "BEGIN:VTIMEZONE\r\nTZID:UTC\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0000\r\nTZOFFSETTO:+0000\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n";

/// What a calendar says of a posting now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It closes on its date.
    Closes,
    /// It would have, and has left before.
    Cancelled,
}

/// Whether a posting is in the calendar, and how.
pub fn entry(posting: &Posting, now: DateTime<Utc>, rules: &Rules) -> Option<Entry> {
    let ends = posting.closes?.end(rules.zone);
    match lifecycle::state(posting, now, rules) {
        State::Open => Some(Entry::Closes),
        State::Filled | State::Withdrawn
            if ends > now && lifecycle::was_shown(posting, now, rules.zone) =>
        {
            Some(Entry::Cancelled)
        }
        _ => None,
    }
}

/// A posting's event, written out. `None` without a closing date.
pub fn event(
    posting: &Posting,
    view: &View,
    entry: Entry,
    site: &Site,
    catalog: &Catalog,
) -> Option<String> {
    let mut calendar = Calendar::empty();
    calendar.push(component(posting, view, entry, site, catalog)?);
    let text = calendar.to_string();
    let (_, event) = text.split_once(HEAD)?;
    event.strip_suffix(TAIL).map(folded)
}

fn component(
    posting: &Posting,
    view: &View,
    entry: Entry,
    site: &Site,
    catalog: &Catalog,
) -> Option<Event> {
    let closes = posting.closes?;
    let updated = posting.changed(view.updated);
    let updated = updated.with_nanosecond(0).unwrap_or(updated);
    let mut event = Event::new();
    event
        .uid(&posting.id)
        .timestamp(updated)
        .last_modified(updated)
        .sequence(sequence(updated, site))
        .summary(&catalog.with("calendar-event", [("title", view.title.as_str().into())]))
        .url(&view.url);
    let mut lines: Vec<String> = Vec::new();
    lines.extend(view.employer.clone());
    lines.extend(
        view.deadline
            .as_ref()
            .map(|date| catalog.with("closes-on", [("date", date.as_str().into())])),
    );
    lines.push(view.url.clone());
    event.description(&lines.join("\n"));
    if let Some(location) = &view.location {
        event.location(location);
    }
    if !view.domains.is_empty() {
        event.categories(&view.domains);
    }
    match closes {
        Moment::Day(day) => {
            event.append_property(date("DTSTART", day));
            event.append_property(date("DTEND", day.checked_add_days(Days::new(1)).unwrap_or(day)));
        }
        Moment::Instant(instant) => {
            let instant = instant.to_utc().format("%Y%m%dT%H%M%SZ").to_string();
            event.append_property(Property::new("DTSTART", instant));
        }
    }
    // Nobody is busy because a posting closes.
    event.append_property(Property::new("TRANSP", "TRANSPARENT"));
    match entry {
        Entry::Cancelled => {
            event.status(EventStatus::Cancelled);
        }
        Entry::Closes => {
            event.status(EventStatus::Confirmed);
            let summary = event.get_summary().unwrap_or_default().to_owned();
            for lead in &site.reminders.lead_days {
                let trigger = trigger(closes, *lead, site);
                let mut alarm = Alarm::display(&summary, trigger);
                // The library counts seconds, and days are not all of one length.
                alarm.append_property(Property::new("TRIGGER", nominal(trigger)));
                // Without these the library takes a random number and the time of the build.
                alarm.timestamp(updated).uid(&format!("{}#{lead}", posting.id));
                event.alarm(alarm);
            }
        }
    }
    Some(event.done())
}

/// A number that grows with each change, and with nothing else: the seconds from the beginning of
/// the site's ids to the last change. It fits for 68 years.
fn sequence(updated: DateTime<Utc>, site: &Site) -> u32 {
    let begin = site.ids.since_day.and_time(NaiveTime::MIN).and_utc();
    let seconds = (updated - begin).num_seconds().clamp(0, i64::from(i32::MAX));
    u32::try_from(seconds).unwrap_or(0)
}

fn date(name: &str, day: NaiveDate) -> Property {
    Property::new(name, day.format("%Y%m%d").to_string()).add_parameter("VALUE", "DATE").done()
}

/// When an alarm goes off, from the beginning of the event: so many days before it, on a whole day
/// at the hour at which digests are sent.
fn trigger(closes: Moment, lead: u16, site: &Site) -> TimeDelta {
    let days = TimeDelta::days(-i64::from(lead));
    match closes {
        Moment::Day(_) => days + (site.reminders.send_after - NaiveTime::MIN),
        Moment::Instant(_) => days,
    }
}

/// The same in lines of at most 75 octets (RFC 5545, section 3.1). The library forgets the space that a
/// continued line begins with, and the last line of a long text may have one octet too many.
fn folded(text: &str) -> String {
    const MAX: usize = 75;
    let mut folded = String::with_capacity(text.len());
    for line in text.split_inclusive("\r\n") {
        let (content, end) = line.strip_suffix("\r\n").map_or((line, ""), |line| (line, "\r\n"));
        let (short, rest) = content.split_at(content.floor_char_boundary(MAX));
        folded.push_str(short);
        if !rest.is_empty() {
            folded.push_str("\r\n ");
            folded.push_str(rest);
        }
        folded.push_str(end);
    }
    folded
}

/// A time span in days and hours as clocks show them (RFC 5545, section 3.3.6).
fn nominal(span: TimeDelta) -> String {
    let (sign, length) = if span < TimeDelta::zero() { ("-", -span) } else { ("", span) };
    let parts = [
        (length.num_days(), 'D'),
        (length.num_hours() % 24, 'H'),
        (length.num_minutes() % 60, 'M'),
    ];
    let mut text = format!("{sign}P");
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number != 0) {
        if unit != 'D' && !text.contains('T') {
            text.push('T');
        }
        text.push_str(&format!("{number}{unit}"));
    }
    if text.ends_with('P') { "PT0S".to_owned() } else { text }
}

/// What stands around the events of all calendars of a site, which differ in where they are found.
pub struct Around {
    /// Up to where the calendar is found.
    begin: String,
    /// From there to the first event.
    rest: String,
}

impl Around {
    /// The calendars of a site.
    pub fn new(site: &Site, catalog: &Catalog) -> Self {
        let name = catalog.with("calendar-name", [("site", site.title.as_str().into())]);
        let properties = [
            Property::new("VERSION", "2.0"),
            Property::new("PRODID", concat!("-//crieur//", env!("CARGO_PKG_VERSION"), "//EN")),
            Property::new("CALSCALE", "GREGORIAN"),
            // The library does not know that it is a text, with commas to be escaped (RFC 7986, section 5.1).
            Property::new("NAME", &name).add_parameter("VALUE", "TEXT").done(),
            Property::new("X-WR-CALNAME", &name),
            Property::new("URL", site.url.as_str()),
            Property::new("REFRESH-INTERVAL", REFRESH).add_parameter("VALUE", "DURATION").done(),
            Property::new("X-PUBLISHED-TTL", REFRESH),
        ];
        let lines = properties.into_iter().map(line).collect::<String>();
        let lines = lines.replacen("\r\nNAME;VALUE=TEXT:", "\r\nNAME:", 1);
        let begin = format!("{HEAD}{}", folded(&lines));
        Self { begin, rest: line(Property::new("COLOR", COLOR)) }
    }

    /// The same, where there are none.
    pub fn empty(&self, site: &Site, path: &str) -> Frame {
        Frame { tail: [NOTHING, TAIL].concat(), ..self.frame(site, path) }
    }

    /// What stands around the events of the calendar at a path in `out/`.
    pub fn frame(&self, site: &Site, path: &str) -> Frame {
        let source =
            Property::new("SOURCE", site.address(path)).add_parameter("VALUE", "URI").done();
        let head = [&*self.begin, &folded(&line(source)), &self.rest].concat();
        Frame { head, open: "", separator: "", close: "", tail: TAIL.to_owned() }
    }
}

/// A property as it is written.
fn line(property: Property) -> String {
    // Writing into a string does not fail.
    property.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posting::parse::tests::posting;

    fn site() -> Site {
        Site::parse("title: T\nurl: https://jobs.example.org/\nids: { since: 2021 }\n").unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn no_line_is_longer_than_75_octets_whatever_the_length_of_a_text() {
        let catalog = Catalog::new(&site().language, None).unwrap();
        for (letter, most) in [("a", 240), ("é", 120), ("€", 80)] {
            for length in 1..most {
                let title = letter.repeat(length);
                let posting = posting(&format!("title: {title}\ncloses: 2021-09-03"));
                let view = View::new(&posting, &site(), &catalog);
                let event = event(&posting, &view, Entry::Closes, &site(), &catalog).unwrap();
                assert!(event.lines().all(|line| line.len() <= 75), "{event}");
                assert!(event.replace("\r\n ", "").contains(&title), "{event}");
            }
        }
    }

    #[test]
    fn spans_are_days_and_hours() {
        let hours = |hours| nominal(TimeDelta::hours(hours));
        assert_eq!(
            [hours(-160), hours(8), hours(-24), hours(0)],
            ["-P6DT16H", "PT8H", "-P1D", "PT0S"]
        );
        assert_eq!(nominal(TimeDelta::minutes(-30)), "-PT30M");
        assert_eq!(nominal(TimeDelta::minutes(24 * 60 + 450)), "P1DT7H30M");
    }

    fn text(yaml: &str, now: &str) -> Option<String> {
        let site = site();
        let catalog = Catalog::new(&site.language, None).unwrap();
        let posting = posting(yaml);
        let entry = entry(&posting, at(now), &Rules::of(&site))?;
        let view = View::new(&posting, &site, &catalog);
        let event = event(&posting, &view, entry, &site, &catalog)?;
        let text = Around::new(&site, &catalog).frame(&site, CLOSING_DATES).around(&event);
        Some(text.replace("\r\n ", ""))
    }

    #[test]
    fn the_name_of_a_calendar_is_a_text() {
        let title = "Offers, jobs; a\\b";
        let site = format!("title: '{title}'\nurl: https://jobs.example.org/\nlanguage: en\n");
        let site = Site::parse(&site).unwrap();
        let catalog = Catalog::new(&site.language, None).unwrap();
        let head =
            Around::new(&site, &catalog).frame(&site, CLOSING_DATES).head.replace("\r\n ", "");
        let names: Vec<&str> =
            head.lines().filter_map(|line| line.split_once("NAME:")).map(|n| n.1).collect();
        assert_eq!(names.len(), 2, "{head}");
        assert!(names.iter().all(|name| name.ends_with(r"Offers\, jobs\; a\\b")), "{names:?}");
    }

    #[test]
    fn a_closing_day_is_a_whole_day_with_alarms_at_the_hour_of_the_digests() {
        let text = text("title: A, b\ncloses: 2021-09-03", "2021-09-01T08:00:00Z").unwrap();
        for line in [
            "SUMMARY:Clôture\u{A0}: A\\, b",
            "DTSTART;VALUE=DATE:20210903",
            "DTEND;VALUE=DATE:20210904",
            "STATUS:CONFIRMED",
            // Seven days before midnight, less eight hours: at eight of the day.
            "TRIGGER:-P6DT16H",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line}:\n{text}");
        }
        assert_eq!(text.matches("BEGIN:VALARM").count(), 3);
    }

    #[test]
    fn a_closing_instant_is_that_instant_in_either_half_of_the_year() {
        for (closes, start) in [
            ("2021-10-31T03:30:00+01:00", "20211031T023000Z"),
            ("2021-03-28T03:30:00+02:00", "20210328T013000Z"),
        ] {
            let text = text(&format!("closes: {closes}"), "2021-03-01T08:00:00Z").unwrap();
            assert!(text.contains(&format!("DTSTART:{start}\r\n")), "{text}");
        }
    }

    #[test]
    fn what_leaves_early_is_cancelled_until_its_date_has_passed() {
        let filled = "filled: true\ncloses: 2021-09-03\nupdated: 2021-09-01";
        let cancelled = text(filled, "2021-09-02T08:00:00Z").unwrap();
        assert!(cancelled.contains("STATUS:CANCELLED") && !cancelled.contains("VALARM"));
        assert_eq!(text(filled, "2021-09-04T08:00:00Z"), None);
        assert_eq!(text("status: draft\ncloses: 2021-09-03", "2021-09-02T08:00:00Z"), None);
        assert_eq!(text("opens: 2021-09-01", "2021-09-02T08:00:00Z"), None);
        assert_eq!(text("closes: 2021-09-01", "2021-09-02T08:00:00Z"), None);
    }

    #[test]
    fn an_event_changes_when_its_posting_does_and_only_then() {
        let of = |updated: &str, now| {
            text(&format!("closes: 2021-09-30\nupdated: {updated}"), now).unwrap()
        };
        let before = of("2021-09-01", "2021-09-02T08:00:00Z");
        assert_eq!(before, of("2021-09-01", "2021-09-29T08:00:00Z"));
        let number = |text: &str| -> u32 {
            let line = text.lines().find_map(|line| line.strip_prefix("SEQUENCE:"));
            line.unwrap().parse().unwrap()
        };
        let after = of("2021-09-02", "2021-09-29T08:00:00Z");
        assert!(number(&after) > number(&before));
    }
}
