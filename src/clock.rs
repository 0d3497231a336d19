//! The one place that asks what time it is: everything else is told. How long something of the network
//! takes is measured where it happens.

use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;

use crate::posting::Moment;
use crate::posting::moment::YEARS;

/// The hour of a `--now` that is only a day: when people expect the morning's run.
const MORNING: NaiveTime = match NaiveTime::from_hms_opt(8, 0, 0) {
    Some(time) => time,
    None => NaiveTime::MIN,
};

/// What stands in for the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// The clock itself.
    Clock,
    /// This instant.
    Instant(DateTime<Utc>),
    /// The morning of this day, where the site is.
    Day(NaiveDate),
}

impl Now {
    /// Reads the option.
    ///
    /// # Errors
    /// When it is neither an instant nor a day, or of a year that nobody lives in.
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self::Clock) };
        let instant =
            DateTime::parse_from_rfc3339(text).map(|instant| Self::Instant(instant.to_utc()));
        let now = instant
            .ok()
            .or_else(|| text.parse().ok().map(Self::Day))
            .ok_or_else(|| {
                format!("`{text}` is neither an instant like 2021-09-03T08:00:00+02:00 nor a day like 2021-09-03")
            })?;
        let year = match now {
            Self::Instant(instant) => instant.year(),
            Self::Day(day) => day.year(),
            Self::Clock => return Ok(now),
        };
        if YEARS.contains(&year) && year > *YEARS.start() {
            Ok(now)
        } else {
            Err(format!("`{text}` is no time that crieur knows: write a year from 1971 to 9998"))
        }
    }

    /// The instant, for a site in this zone.
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn instant(self, zone: Tz) -> DateTime<Utc> {
        match self {
            Self::Clock => SystemTime::now().into(),
            Self::Instant(instant) => instant,
            Self::Day(day) => Moment::at(day, MORNING, zone),
        }
    }
}

/// A time by which something must have happened. Waiting for others is the one thing that happens
/// in the machine's own time, whatever `--now` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// What is left; nothing once it has passed.
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn left(&self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// The same, so much later.
    #[must_use]
    pub fn later(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_morning_where_the_site_is() {
        let at =
            |text| Now::parse(Some(text)).unwrap().instant(chrono_tz::Europe::Paris).to_rfc3339();
        assert_eq!(at("2021-09-03"), "2021-09-03T06:00:00+00:00");
        assert_eq!(at("2021-12-03"), "2021-12-03T07:00:00+00:00");
        assert_eq!(at("2021-09-03T08:00:00Z"), "2021-09-03T08:00:00+00:00");
        for text in ["tomorrow", "1969-12-31", "0001-01-01T00:00:00Z", "+10000-01-01"] {
            assert!(Now::parse(Some(text)).is_err(), "{text}");
        }
    }
}
