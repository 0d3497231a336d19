//! Days and instants, as people write them in front matter.

use std::cell::RefCell;
use std::fmt;

use chrono::{
    DateTime, Datelike, Days, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime,
    TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;
use foldhash::HashMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time as its author gave it: a whole day in the site's time zone, or an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The whole day, in the site's time zone.
    Day(NaiveDate),
    /// Exactly then.
    Instant(DateTime<FixedOffset>),
}

impl Moment {
    /// When something that begins at this moment begins: the first instant of a day.
    pub fn start(self, zone: Tz) -> DateTime<Utc> {
        match self {
            Self::Day(day) => start_of(day, zone),
            Self::Instant(instant) => instant.to_utc(),
        }
    }

    /// When something that ends at this moment has ended: the first instant after a day.
    pub fn end(self, zone: Tz) -> DateTime<Utc> {
        match self {
            Self::Day(day) => start_of(day.checked_add_days(Days::new(1)).unwrap_or(day), zone),
            Self::Instant(instant) => instant.to_utc(),
        }
    }

    /// The instant of a time of day in the zone; the first where clocks that are put back make two.
    pub fn at(day: NaiveDate, time: NaiveTime, zone: Tz) -> DateTime<Utc> {
        resolve(day.and_time(time), zone)
    }

    /// The last day on which something that ends at this moment is still there, in the zone. What
    /// ends at midnight was last there on the day before.
    pub fn last_day(self, zone: Tz) -> NaiveDate {
        match self {
            Self::Day(day) => day,
            Self::Instant(instant) => {
                let before = instant.checked_sub_signed(TimeDelta::nanoseconds(1));
                before.unwrap_or(instant).with_timezone(&zone).date_naive()
            }
        }
    }
}

impl fmt::Display for Moment {
    /// ISO 8601: `2021-09-03`, or `2021-09-03T12:00:00+02:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => write!(f, "{day}"),
            Self::Instant(instant) => f.write_str(&rfc3339(instant)),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self::Day)
            .or_else(|_| DateTime::parse_from_rfc3339(&text).map(Self::Instant))
            .map_err(D::Error::custom)
    }
}

/// RFC 3339, with `Z` for UTC and no more digits of a second than there are.
pub fn rfc3339<T: TimeZone>(instant: &DateTime<T>) -> String
where
    T::Offset: fmt::Display,
{
    instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// When a day begins. Many postings share few days, and each is asked for again and again.
fn start_of(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    DAYS.with_borrow_mut(|days| {
        if let Some(start) = days.get(&(day, zone)) {
            return *start;
        }
        if days.len() == MAX_DAYS {
            days.clear();
        }
        let start = find_start_of(day, zone);
        days.insert((day, zone), start);
        start
    })
}

thread_local! {
    /// When days begin that were asked for.
    static DAYS: RefCell<HashMap<(NaiveDate, Tz), DateTime<Utc>>> = RefCell::default();
}

/// How many of them are remembered, in each thread.
const MAX_DAYS: usize = 1 << 12;

/// The instant of a day's midnight. Where clocks are put forward over midnight it is the first
/// instant after the gap. Where they are put back over it, an hour of the day before comes a second
/// time, and the day begins after that.
fn find_start_of(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    match zone.from_local_datetime(&midnight) {
        MappedLocalTime::Single(midnight) => midnight.to_utc(),
        MappedLocalTime::None => resolve(midnight, zone),
        // Midnight twice: between them lies an hour of this day, or else one of the day before.
        MappedLocalTime::Ambiguous(first, second) => {
            let (first, second) = (first.to_utc(), second.to_utc());
            let last = second.checked_sub_signed(TimeDelta::nanoseconds(1)).unwrap_or(second);
            if last.with_timezone(&zone).date_naive() < day { second } else { first }
        }
    }
}

/// The instant of a local time: the first where clocks that are put back make two, and the first
/// after it where there is none.
fn resolve(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    // The longest gap ever was a day (Samoa left one out), and gaps end on a full minute.
    let mut minutes = (0..=25 * 60).map_while(|m| local.checked_add_signed(TimeDelta::minutes(m)));
    minutes
        .find_map(|local| zone.from_local_datetime(&local).earliest().map(|at| at.to_utc()))
        // Only at the ends of the calendar, where the zone no longer matters.
        .unwrap_or_else(|| local.and_utc())
}

/// What a text says of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Year, month, day, and perhaps a time: as it should be.
    Plain(Moment),
    /// Written in another way, but it can only mean this.
    Understood(Moment),
    /// It cannot be read. Says why, and what to write instead.
    Unreadable {
        /// What is wrong, as a clause without a subject: "is not a date".
        why: String,
        /// What to write.
        instead: String,
    },
}

/// The years that a posting may speak of. A year outside of them is a slip of the pen.
pub const YEARS: std::ops::RangeInclusive<i32> = 1970..=9998;

/// Reads a date, or a date with a time. A time without an offset is meant in `zone`. `day_first`
/// tells how to read `03/09/2021`; days above twelve are understood either way.
pub fn read(text: &str, zone: Tz, day_first: bool) -> Reading {
    // What nobody sees comes along when a date is copied.
    let text = text.trim_matches(|c: char| {
        c.is_whitespace()
            || matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}')
    });
    let separates = |c: char| c == 'T' || c == 't' || c.is_whitespace();
    let (date, time) = text.split_once(separates).unwrap_or((text, ""));
    let time = time.trim_start();
    // Programs that write texts make other dashes of hyphens.
    let is_dash = |c: char| matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}');
    let hyphened = date.replace(is_dash, "-");
    let straight = time.replace(is_dash, "-");
    let (day, plain) = match read_day(&hyphened, day_first) {
        Ok((day, plain)) => (day, plain && hyphened == date),
        Err((why, instead)) => return Reading::Unreadable { why, instead },
    };
    if time.is_empty() {
        return if plain {
            Reading::Plain(Moment::Day(day))
        } else {
            Reading::Understood(Moment::Day(day))
        };
    }
    if matches!(time, "24:00" | "24:00:00") {
        // The end of the day (ISO 8601), which is when the day itself ends.
        return Reading::Understood(Moment::Day(day));
    }
    match read_time(day, &straight, zone) {
        Some((instant, true)) if plain && straight == time => {
            Reading::Plain(Moment::Instant(instant))
        }
        Some((instant, _)) => Reading::Understood(Moment::Instant(instant)),
        None => Reading::Unreadable {
            why: "has a time that cannot be read".to_owned(),
            instead: {
                let evening = NaiveTime::from_hms_opt(18, 0, 0).unwrap_or_default();
                let at = resolve(day.and_time(evening), zone).with_timezone(&zone).fixed_offset();
                let at = rfc3339(&at);
                format!("write the day alone, `{day}`, or with a time and offset, like `{at}`")
            },
        },
    }
}

fn read_day(text: &str, day_first: bool) -> Result<(NaiveDate, bool), (String, String)> {
    let not_a_date = || {
        let instead = "write the day as year-month-day, for example `2021-09-03`".to_owned();
        ("is not a date".to_owned(), instead)
    };
    // The basic format of ISO 8601.
    if text.len() == 8
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(day) = NaiveDate::parse_from_str(text, "%Y%m%d")
        && YEARS.contains(&day.year())
    {
        return Ok((day, false));
    }
    let separator =
        text.chars().find(|mark| matches!(mark, '-' | '/' | '.')).ok_or_else(not_a_date)?;
    let parts: Vec<&str> = text.split(separator).collect();
    let [first, second, third] = parts[..] else { return Err(not_a_date()) };
    let number = |part: &str| -> Option<u32> {
        (!part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse().ok())
            .flatten()
    };
    let numbers = (number(first), number(second), number(third));
    let (Some(one), Some(two), Some(three)) = numbers else { return Err(not_a_date()) };
    let (year, month, day) = if first.len() == 4 {
        (one, two, three)
    } else if third.len() == 4 {
        // Day, month, year; month first only where days cannot be.
        match (one, two) {
            (1..=12, 1..=12) if one != two && !day_first => {
                let instead = format!(
                    "write either `{three:04}-{two:02}-{one:02}` or `{three:04}-{one:02}-{two:02}`"
                );
                return Err(("can be read in two ways".to_owned(), instead));
            }
            (1..=12, 13..) => (three, one, two),
            _ => (three, two, one),
        }
    } else {
        return Err(not_a_date());
    };
    let plain = [first, second, third].map(str::len) == [4, 2, 2] && separator == '-';
    let year = i32::try_from(year).unwrap_or(i32::MAX);
    match NaiveDate::from_ymd_opt(year, month, day) {
        Some(date) if YEARS.contains(&year) => Ok((date, plain)),
        Some(date) => Err((
            format!("lies in the year {year}"),
            format!(
                "check the year: `{}-{}` of which year is meant?",
                date.format("%m"),
                date.format("%d")
            ),
        )),
        None => Err(no_such_day(year, month)),
    }
}

/// Says how long the month is, since that is the usual mistake.
fn no_such_day(year: i32, month: u32) -> (String, String) {
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let last = NaiveDate::from_ymd_opt(year, month, 1)
        .and_then(|_| NaiveDate::from_ymd_opt(next.0, next.1, 1))
        .and_then(|first| first.pred_opt());
    let instead = match last {
        Some(last) => format!("the month's last day is `{last}`; write a day that exists"),
        None => "months go from 01 to 12; write the day as year-month-day".to_owned(),
    };
    ("is a day that does not exist".to_owned(), instead)
}

/// The instant of a time on a day, and whether clocks ever show that time, and show it once.
fn read_time(day: NaiveDate, text: &str, zone: Tz) -> Option<(DateTime<FixedOffset>, bool)> {
    let at = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, offset) = (text[..at].trim_end(), &text[at..]);
    // In French an `h` stands between hour and minutes.
    let with_colon = |hour: &str, minutes: &str| {
        format!("{hour}:{}", if minutes.is_empty() { "00" } else { minutes })
    };
    let french =
        clock.split_once(['h', 'H']).map(|(hour, rest)| with_colon(hour.trim(), rest.trim()));
    if matches!(french.as_deref().unwrap_or(clock), "24:00" | "24:00:00") {
        let (next, _) = read_time(day.succ_opt()?, &["00:00", offset].concat(), zone)?;
        return Some((next, false));
    }
    let time = ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|format| {
        NaiveTime::parse_from_str(french.as_deref().unwrap_or(clock), format).ok()
    })?;
    // A leap second is a second that other programs do not know.
    let time = if time.nanosecond() >= 1_000_000_000 { time.with_nanosecond(0)? } else { time };
    let local = day.and_time(time);
    let instant = match offset {
        "" => {
            let is_once = zone.from_local_datetime(&local).single().is_some();
            let instant = resolve(local, zone).with_timezone(&zone).fixed_offset();
            return Some((instant, is_once && french.is_none()));
        }
        "Z" | "z" => Some(local.and_utc().fixed_offset()),
        _ => {
            // chrono reads `+02:00`, `+0200` and `+02`.
            let text = format!("{} {offset}", local.format("%Y-%m-%d %H:%M:%S%.f"));
            DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f %#z").ok()
        }
    };
    instant.map(|instant| (instant, french.is_none()))
}

/// The day that a file's name begins with, as Jekyll and others have it: `2021-08-03-title.md`.
pub fn leading_day(name: &str) -> Option<NaiveDate> {
    let day = NaiveDate::parse_from_str(name.get(..10)?, "%Y-%m-%d").ok()?;
    let separated = name[10..].chars().next().is_none_or(|c| !c.is_ascii_alphanumeric());
    (separated && YEARS.contains(&day.year())).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{America, Asia, Atlantic, Europe, Pacific};

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_lasts_from_midnight_to_midnight_in_the_zone() {
        let moment = Moment::Day(day("2021-09-03"));
        assert_eq!(moment.start(Europe::Paris).to_rfc3339(), "2021-09-02T22:00:00+00:00");
        assert_eq!(moment.end(Europe::Paris).to_rfc3339(), "2021-09-03T22:00:00+00:00");
    }

    #[test]
    fn a_day_may_have_23_or_25_hours_or_no_midnight() {
        let hours = |text, zone| {
            let moment = Moment::Day(day(text));
            (moment.end(zone) - moment.start(zone)).num_hours()
        };
        assert_eq!(hours("2021-03-28", Europe::Paris), 23);
        assert_eq!(hours("2021-10-31", Europe::Paris), 25);
        // Clocks went from 23:59 to 01:00.
        assert_eq!(hours("2018-11-04", America::Sao_Paulo), 23);
        // Clocks went from 00:59 back to midnight: the day has two.
        assert_eq!(hours("2020-11-01", America::Havana), 25);
        // Left out of the calendar.
        assert_eq!(hours("2011-12-30", Pacific::Apia), 0);
    }

    #[test]
    fn every_instant_belongs_to_the_day_that_clocks_show() {
        for (zone, days) in [
            (Atlantic::Azores, ["2026-10-24", "2026-10-25", "2026-03-28", "2026-03-29"]),
            (America::Havana, ["2020-10-31", "2020-11-01", "2020-03-07", "2020-03-08"]),
            (Asia::Beirut, ["2021-10-30", "2021-10-31", "2021-03-27", "2021-03-28"]),
            (America::Sao_Paulo, ["2018-02-17", "2018-02-18", "2018-11-03", "2018-11-04"]),
            (Europe::Paris, ["2021-10-30", "2021-10-31", "2021-03-27", "2021-03-28"]),
        ] {
            for text in days {
                let end = Moment::Day(day(text)).end(zone);
                let shown = |at: DateTime<Utc>| at.with_timezone(&zone).date_naive();
                assert!(shown(end) > day(text), "{zone} {text} {end}");
                assert_eq!(shown(end - TimeDelta::nanoseconds(1)), day(text), "{zone} {end}");
                assert_eq!(end, Moment::Day(shown(end)).start(zone), "{zone} {text}");
            }
        }
    }

    #[test]
    fn what_ends_at_midnight_was_last_there_the_day_before() {
        let at = |text: &str| Moment::Instant(text.parse().unwrap());
        assert_eq!(at("2021-09-04T00:00:00+02:00").last_day(Europe::Paris), day("2021-09-03"));
        assert_eq!(at("2021-09-03T23:30:00Z").last_day(Europe::Paris), day("2021-09-04"));
        assert_eq!(at("2021-09-03T12:00:00Z").last_day(Europe::Paris), day("2021-09-03"));
    }

    #[test]
    fn dates_are_read_as_people_write_them() {
        let read = |text| match read(text, Europe::Paris, true) {
            Reading::Plain(moment) => moment.to_string(),
            Reading::Understood(moment) => format!("~{moment}"),
            Reading::Unreadable { why, .. } => format!("!{why}"),
        };
        for (text, expected) in [
            ("2021-09-03", "2021-09-03"),
            (" 2021-09-03 ", "2021-09-03"),
            ("2021-08-24T07:43:40.482Z", "2021-08-24T07:43:40.482Z"),
            ("2021-09-03T12:00:00+02:00", "2021-09-03T12:00:00+02:00"),
            ("2021-09-03 12:00:00 +0200", "2021-09-03T12:00:00+02:00"),
            ("2021-09-03 12:00", "2021-09-03T12:00:00+02:00"),
            ("2021-12-03T12:00", "2021-12-03T12:00:00+01:00"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2021-9-3", "~2021-09-03"),
            ("2021-09-03T24:00", "~2021-09-03"),
            ("2021-09-03T24:00:00+02:00", "~2021-09-04T00:00:00+02:00"),
            ("2021\u{2013}09\u{2011}03", "~2021-09-03"),
            ("20210903", "~2021-09-03"),
            ("20211303", "!is not a date"),
            ("2021-09-03 18h30", "~2021-09-03T18:30:00+02:00"),
            ("2021-09-03T18:00:00\u{2212}02:00", "~2021-09-03T18:00:00-02:00"),
            ("2021-09-03 24h00", "~2021-09-04T00:00:00+02:00"),
            ("2021-12-03 18h", "~2021-12-03T18:00:00+01:00"),
            ("2021-09-03 18h75", "!has a time that cannot be read"),
            // Clocks that are put forward never show it, and those that are put back show it twice.
            ("2021-03-28T02:30", "~2021-03-28T03:00:00+02:00"),
            ("2021-10-31T02:30", "~2021-10-31T02:30:00+02:00"),
            ("2021-10-31T02:30:00+01:00", "2021-10-31T02:30:00+01:00"),
            ("2021/09/03", "~2021-09-03"),
            ("31/08/2021", "~2021-08-31"),
            ("08/31/2021", "~2021-08-31"),
            ("03/09/2021", "~2021-09-03"),
            ("3.9.2021", "~2021-09-03"),
            ("2021-02-30", "!is a day that does not exist"),
            ("2021-13-01", "!is a day that does not exist"),
            ("31/02/2021", "!is a day that does not exist"),
            ("0021-09-03", "!lies in the year 21"),
            ("bientôt", "!is not a date"),
            ("3\u{A0}septembre 2021", "!is not a date"),
            ("2021-09-03\u{202F}12:00", "2021-09-03T12:00:00+02:00"),
            ("2021-09", "!is not a date"),
            ("03/09/21", "!is not a date"),
            ("2021-09-03T25:00", "!has a time that cannot be read"),
            ("2021-09-03 à midi", "!has a time that cannot be read"),
            ("２０２１-09-03", "!is not a date"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_date_with_two_meanings_is_refused_where_months_may_come_first() {
        assert!(matches!(read("03/09/2021", Europe::London, false), Reading::Unreadable { .. }));
        assert!(matches!(read("09/09/2021", Europe::London, false), Reading::Understood(_)));
        assert!(matches!(read("31/08/2021", Europe::London, false), Reading::Understood(_)));
    }

    #[test]
    fn a_name_may_begin_with_a_day() {
        assert_eq!(leading_day("2021-08-03-dev"), Some(day("2021-08-03")));
        assert_eq!(leading_day("2021-08-03_dev"), Some(day("2021-08-03")));
        assert_eq!(leading_day("2021-08-035"), None);
        assert_eq!(leading_day("2021-02-30-dev"), None);
        assert_eq!(leading_day("éééééééééé"), None);
    }
}
