//! Hours, days and weeks of a time zone, as times of UTC.
//!
//! The rows are hours of UTC, so every piece begins at a full one. In a zone that is off by half or three quarters of an hour
//! a day begins at the first full hour of UTC after midnight, and what comes before belongs to the day before. A day may
//! have 23 hours or 25, and one that has no midnight begins when it begins.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

/// How long the pieces of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, which begins on a Monday (ISO 8601).
    Week,
}

impl Interval {
    /// How many days a series spans at most.
    pub const fn longest(self) -> i64 {
        match self {
            Self::Hour => 31,
            Self::Day | Self::Week => 732,
        }
    }
}

/// Why there is no such series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// The last day is before the first.
    #[error("the end is before the beginning")]
    Backwards,
    /// More than [`Interval::longest`].
    #[error("the time is too long for pieces of this length")]
    TooLong,
}

/// The pieces of a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    starts: Vec<DateTime<Utc>>,
    end: DateTime<Utc>,
}

impl Calendar {
    /// The days from `first` to `last`, both of them whole, in pieces. The first week may be a part of one.
    pub fn new(
        first: NaiveDate,
        last: NaiveDate,
        interval: Interval,
        zone: Tz,
    ) -> Result<Self, CalendarError> {
        let days = (last - first).num_days() + 1;
        if days < 1 {
            return Err(CalendarError::Backwards);
        }
        if days > interval.longest() {
            return Err(CalendarError::TooLong);
        }
        let end = begin(last.checked_add_days(Days::new(1)).unwrap_or(last), zone);
        let days = || first.iter_days().take_while(|day| *day <= last);
        let starts = match interval {
            Interval::Hour => {
                let first = begin(first, zone);
                (0..).map_while(|hour| Some(first + TimeDelta::hours(hour)).filter(|at| *at < end)).collect()
            }
            Interval::Day => days().map(|day| begin(day, zone)).collect(),
            Interval::Week => days()
                .filter(|day| *day == first || day.weekday() == chrono::Weekday::Mon)
                .map(|day| begin(day, zone))
                .collect(),
        };
        Ok(Self { starts, end })
    }

    /// When the first piece begins and the last ends.
    pub fn span(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        (self.starts.first().copied().unwrap_or(self.end), self.end)
    }

    /// When the pieces begin.
    pub fn starts(&self) -> &[DateTime<Utc>] {
        &self.starts
    }

    /// Each piece, from when to when.
    pub fn pieces(&self) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
        let ends = self.starts.iter().skip(1).copied().chain([self.end]);
        self.starts.iter().copied().zip(ends)
    }
}

/// The first full hour of UTC in a day.
fn begin(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    // Clocks are put forward by an hour at most where that happens at midnight, but for whole days that islands skipped when
    // they moved over the date line: those begin with the next.
    let mut quarters = (0..=26 * 4).map(|quarter| midnight + TimeDelta::minutes(quarter * 15));
    let first = quarters.find_map(|local| zone.from_local_datetime(&local).earliest());
    let first = first.map_or_else(|| midnight.and_utc(), |first| first.to_utc());
    let over = first.timestamp().rem_euclid(3_600);
    if over == 0 { first } else { first + TimeDelta::seconds(3_600 - over) }
}

#[cfg(test)]
mod tests {
    use chrono::Timelike as _;
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn calendar(first: &str, last: &str, interval: Interval, zone: &str) -> Calendar {
        Calendar::new(day(first), day(last), interval, zone.parse().unwrap()).unwrap()
    }

    fn hours(calendar: &Calendar) -> Vec<i64> {
        calendar.pieces().map(|(from, to)| (to - from).num_hours()).collect()
    }

    #[test]
    fn days_have_23_24_and_25_hours() {
        let spring = calendar("2026-03-28", "2026-03-30", Interval::Day, "Europe/Berlin");
        assert_eq!(hours(&spring), [24, 23, 24]);
        assert_eq!(spring.span().0.to_rfc3339(), "2026-03-27T23:00:00+00:00");
        let autumn = calendar("2026-10-24", "2026-10-26", Interval::Day, "Europe/Berlin");
        assert_eq!(hours(&autumn), [24, 25, 24]);
        let count = |first: &str| calendar(first, first, Interval::Hour, "Europe/Berlin").starts().len();
        assert_eq!((count("2026-03-29"), count("2026-10-25"), count("2026-11-22")), (23, 25, 24));
    }

    #[test]
    fn a_day_without_midnight_begins_when_it_begins() {
        // Clocks go from 24:00 to 01:00.
        let beirut = calendar("2026-03-28", "2026-03-30", Interval::Day, "Asia/Beirut");
        assert_eq!(hours(&beirut), [24, 23, 24]);
        // The day is not there at all: Samoa went over the date line.
        let apia = calendar("2011-12-29", "2011-12-31", Interval::Day, "Pacific/Apia");
        assert_eq!(hours(&apia), [24, 0, 24]);
    }

    #[test]
    fn half_hours_belong_to_the_day_before() {
        let kolkata = calendar("2026-11-22", "2026-11-22", Interval::Day, "Asia/Kolkata");
        assert_eq!(kolkata.span().0.to_rfc3339(), "2026-11-21T19:00:00+00:00");
        assert_eq!(hours(&kolkata), [24]);
    }

    #[test]
    fn weeks_begin_on_mondays() {
        let weeks = calendar("2026-11-01", "2026-11-22", Interval::Week, "UTC");
        let starts: Vec<_> = weeks.starts().iter().map(|at| at.date_naive().to_string()).collect();
        assert_eq!(starts, ["2026-11-01", "2026-11-02", "2026-11-09", "2026-11-16"]);
    }

    #[test]
    fn a_time_is_bounded() {
        let make = |first: &str, last: &str, interval| {
            Calendar::new(day(first), day(last), interval, Tz::UTC).map(|calendar| calendar.starts().len())
        };
        assert_eq!(make("2026-11-01", "2026-12-01", Interval::Hour), Ok(31 * 24));
        assert_eq!(make("2026-11-01", "2026-12-02", Interval::Hour), Err(CalendarError::TooLong));
        assert_eq!(make("2024-01-01", "2026-01-01", Interval::Day), Ok(732));
        assert_eq!(make("2024-01-01", "2026-01-02", Interval::Week), Err(CalendarError::TooLong));
        assert_eq!(make("2026-01-02", "2026-01-01", Interval::Day), Err(CalendarError::Backwards));
    }

    proptest! {
        /// Pieces follow on each other without a gap, at full hours, in every zone.
        #[test]
        fn pieces_cover_the_time(zone in 0..chrono_tz::TZ_VARIANTS.len(), first in 0_u64..20_000, days in 0_u64..40) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let first = day("1985-01-01") + Days::new(first);
            for interval in [Interval::Hour, Interval::Day, Interval::Week] {
                let last = first + Days::new(days.min(30));
                let calendar = Calendar::new(first, last, interval, zone).unwrap();
                let mut expected = calendar.span().0;
                for (from, to) in calendar.pieces() {
                    prop_assert_eq!(from, expected);
                    prop_assert!(to >= from && from.minute() == 0 && from.second() == 0, "{} {}", zone, from);
                    expected = to;
                }
                prop_assert_eq!(expected, calendar.span().1);
            }
        }
    }
}
