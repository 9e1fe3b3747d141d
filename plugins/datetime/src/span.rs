//! Durations: adding them, and finding the one between two times.

use jiff::{Span, Zoned, ZonedDifference};
use portreeve_sdk::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::moment::check_length;

/// A unit of time.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// The time between two moments.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Difference {
    /// By calendar and clock, in words: `1mo 3d 4h`.
    text: String,
    /// The same in ISO 8601: `P1M3DT4H`.
    iso: String,
    /// Seconds that pass in between, fractions included.
    seconds: f64,
}

/// Adds a duration written in words or in ISO 8601.
///
/// # Errors
/// `invalid-argument` where it is no duration or leads out of the years -9999 to 9999.
pub(crate) fn add(time: &Zoned, duration: &str) -> Result<Zoned, Error> {
    check_length("the duration", duration)?;
    let span: Span = duration.trim().parse().map_err(|error| {
        Error::invalid_argument(format_args!(
            "`{duration}` is no duration ({error}); write it like `1 month 3 days` or P1M3D"
        ))
        .reason("invalid-duration")
    })?;
    time.checked_add(span).map_err(|error| {
        Error::invalid_argument(format_args!(
            "{time} and {duration} can't be added: {error}"
        ))
        .reason("out-of-range")
    })
}

/// The time from `start` to `end`, in units up to `largest`. Both are seen in the zone of `start`.
///
/// # Errors
/// `invalid-argument` where it is out of range.
pub(crate) fn difference(start: &Zoned, end: &Zoned, largest: Unit) -> Result<Difference, Error> {
    let end = end.with_time_zone(start.time_zone().clone());
    let unit = match largest {
        Unit::Second => jiff::Unit::Second,
        Unit::Minute => jiff::Unit::Minute,
        Unit::Hour => jiff::Unit::Hour,
        Unit::Day => jiff::Unit::Day,
        Unit::Week => jiff::Unit::Week,
        Unit::Month => jiff::Unit::Month,
        Unit::Year => jiff::Unit::Year,
    };
    let span = start
        .until(ZonedDifference::new(&end).largest(unit))
        .map_err(Error::invalid_argument)?;
    Ok(Difference {
        text: format!("{span:#}"),
        iso: span.to_string(),
        seconds: start.duration_until(&end).as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::read;

    fn sum(time: &str, duration: &str) -> String {
        match add(&read(time, None).unwrap(), duration) {
            Ok(time) => time.datetime().to_string(),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn sums() {
        for (time, duration, expected) in [
            ("2026-01-31T00:00Z", "1 month", "2026-02-28T00:00:00"),
            ("2028-02-29T00:00Z", "P1Y", "2029-02-28T00:00:00"),
            ("2026-01-01T00:00Z", "-90 minutes", "2025-12-31T22:30:00"),
            (
                "2026-01-01T00:00Z",
                "1 week 2 days 3h ago",
                "2025-12-22T21:00:00",
            ),
            // A day later is the same time of day, 24 hours later is not.
            (
                "2026-03-28T12:00[Europe/Berlin]",
                "1 day",
                "2026-03-29T12:00:00",
            ),
            (
                "2026-03-28T12:00[Europe/Berlin]",
                "24 hours",
                "2026-03-29T13:00:00",
            ),
        ] {
            assert_eq!(sum(time, duration), expected, "{time} + {duration}");
        }
        assert!(sum("2026-01-01T00:00Z", "soon").starts_with("`soon` is no duration"));
        assert!(sum("9999-12-01T00:00Z", "1 year").contains("can't be added"));
        assert!(sum("2026-01-01T00:00Z", &"1 day ".repeat(50)).contains("has 300 bytes"));
    }

    #[test]
    fn differences() {
        let check = |start, end, unit, iso: &str, seconds: f64| {
            let (start, end) = (read(start, None).unwrap(), read(end, None).unwrap());
            let found = difference(&start, &end, unit).unwrap();
            assert_eq!(
                (found.iso.as_str(), found.seconds),
                (iso, seconds),
                "{start} {end}"
            );
        };
        let (a, b) = ("2026-01-31T00:00Z", "2026-03-01T12:00Z");
        check(a, b, Unit::Year, "P1M1DT12H", 2_548_800.0);
        check(a, b, Unit::Week, "P4W1DT12H", 2_548_800.0);
        check(a, b, Unit::Hour, "PT708H", 2_548_800.0);
        check(b, a, Unit::Day, "-P29DT12H", -2_548_800.0);
        check(a, a, Unit::Day, "PT0S", 0.0);
        check(
            "2026-03-28T12:00[Europe/Berlin]",
            "2026-03-29T12:00:00.5[Europe/Berlin]",
            Unit::Day,
            "P1DT0.5S",
            82_800.5,
        );
        check(
            "2026-01-01T00:00Z",
            "2026-01-01T09:00[Asia/Tokyo]",
            Unit::Day,
            "PT0S",
            0.0,
        );
    }
}
