//! Reading and showing a point in time.

use std::sync::LazyLock;

use jiff::Zoned;
use jiff::civil::Weekday;
use jiff::fmt::temporal::{DateTimeParser, Pieces};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use portreeve_sdk::Error;
use schemars::JsonSchema;
use serde::Serialize;

/// The longest time or zone, in bytes; the longest sensible one has about 80.
const TEXT_BYTES_MAX: usize = 200;

/// The compiled-in database, never the system's.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A point in time, seen in a time zone.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Moment {
    /// Local time with offset and zone (RFC 9557), such as
    /// `2026-11-20T18:00:00+01:00[Europe/Berlin]`.
    zoned: String,
    /// The same in UTC (RFC 3339), such as `2026-11-20T17:00:00Z`.
    utc: String,
    /// Seconds since 1970-01-01T00:00:00Z, rounded down.
    unix_seconds: i64,
    /// The day of the week, such as `Friday`.
    weekday: &'static str,
    /// The year of the ISO week, which may differ from the calendar's around New Year.
    iso_week_year: i16,
    /// The ISO week, 1 to 53.
    iso_week: i8,
    /// The day of the year, 1 to 366.
    day_of_year: i16,
    /// The abbreviation of the zone's time, such as `CET` or `CEST`.
    abbreviation: String,
    /// Whether daylight saving time is in force.
    daylight_saving: bool,
}

impl Moment {
    pub(crate) fn of(time: &Zoned) -> Self {
        let timestamp = time.timestamp();
        let week = time.date().iso_week_date();
        let info = time.time_zone().to_offset_info(timestamp);
        Self {
            zoned: time.to_string(),
            utc: timestamp.to_string(),
            unix_seconds: timestamp.as_duration().as_secs()
                - i64::from(timestamp.subsec_nanosecond() < 0),
            weekday: name(time.weekday()),
            iso_week_year: week.year(),
            iso_week: week.week(),
            day_of_year: time.day_of_year(),
            abbreviation: info.abbreviation().to_owned(),
            daylight_saving: info.dst().is_dst(),
        }
    }
}

fn name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// Finds a time zone by its IANA name.
///
/// # Errors
/// `not-found`, with names that look alike.
pub(crate) fn zone(name: &str) -> Result<TimeZone, Error> {
    check_length("the time zone", name)?;
    ZONES.get(name.trim()).map_err(|_| {
        let alike = alike(name);
        let hint = if alike.is_empty() {
            "give an IANA name such as Europe/Berlin or UTC".to_owned()
        } else {
            format!("perhaps {}", alike.join(" or "))
        };
        Error::not_found(format_args!("there is no time zone `{name}`; {hint}"))
            .reason("unknown-zone")
    })
}

/// Up to three zones in whose name the last part of `name` occurs: `Berlin`, `New York`.
fn alike(name: &str) -> Vec<String> {
    let wanted = name
        .trim()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .replace(' ', "_")
        .to_ascii_lowercase();
    if wanted.len() < 3 {
        return Vec::new();
    }
    ZONES
        .available()
        .map(|zone| zone.as_str().to_owned())
        .filter(|zone| zone.contains('/') && zone.to_ascii_lowercase().contains(&wanted))
        .take(3)
        .collect()
}

/// Reads a time. `default_zone` counts where the text says neither offset nor zone.
///
/// # Errors
/// `invalid-argument` where it is no time, or its place is not known.
pub(crate) fn read(text: &str, default_zone: Option<&str>) -> Result<Zoned, Error> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    check_length("the time", text)?;
    let text = text.trim();
    let wrong = |error: jiff::Error| {
        Error::invalid_argument(format_args!(
            "`{text}` is no time ({error}); write it like 2026-03-29T14:30:00Z or \
             2026-03-29T14:30:00[Europe/Berlin]"
        ))
        .reason("invalid-time")
    };
    let pieces = Pieces::parse(text).map_err(wrong)?;
    if pieces.time_zone_annotation().is_some() {
        return PARSER.parse_zoned_with(&ZONES, text).map_err(wrong);
    }
    if pieces.offset().is_some() {
        let timestamp = PARSER.parse_timestamp(text).map_err(wrong)?;
        let zone = match pieces.to_numeric_offset() {
            Some(offset) if offset != jiff::tz::Offset::UTC => TimeZone::fixed(offset),
            _ => TimeZone::UTC,
        };
        return Ok(timestamp.to_zoned(zone));
    }
    let Some(name) = default_zone else {
        return Err(Error::invalid_argument(format_args!(
            "`{text}` says neither offset nor time zone; add one, or say which zone it is in"
        ))
        .reason("no-zone"));
    };
    let civil = pieces.date().to_datetime(pieces.time().unwrap_or_default());
    civil.to_zoned(zone(name)?).map_err(wrong)
}

pub(crate) fn check_length(what: &str, text: &str) -> Result<(), Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid_argument(format_args!(
            "{what} has {} bytes; at most {TEXT_BYTES_MAX} are taken",
            text.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, default_zone: Option<&str>, expected: &str) {
        let shown = match read(text, default_zone) {
            Ok(time) => time.to_string(),
            Err(error) => format!("{} {}", error.code() as u8, error.message()),
        };
        assert!(shown.starts_with(expected), "{text}: {shown}");
    }

    #[test]
    fn times_in_every_form() {
        let berlin = Some("Europe/Berlin");
        check(
            "2026-03-29T14:30:00Z",
            berlin,
            "2026-03-29T14:30:00+00:00[UTC]",
        );
        check(
            "2026-03-29T14:30+02:00",
            None,
            "2026-03-29T14:30:00+02:00[+02:00]",
        );
        check(
            "2026-07-01T12:00[america/new_york]",
            None,
            "2026-07-01T12:00:00-04:00[America/New_York]",
        );
        check(
            "2026-07-01 12:00",
            berlin,
            "2026-07-01T12:00:00+02:00[Europe/Berlin]",
        );
        check(
            " 2026-07-01 ",
            berlin,
            "2026-07-01T00:00:00+02:00[Europe/Berlin]",
        );
        // In the gap of spring the clock jumps over, in the fold of autumn the first counts.
        check(
            "2026-03-29T02:30",
            berlin,
            "2026-03-29T03:30:00+02:00[Europe/Berlin]",
        );
        check(
            "2026-10-25T02:30",
            berlin,
            "2026-10-25T02:30:00+02:00[Europe/Berlin]",
        );
    }

    #[test]
    fn what_is_no_time() {
        check(
            "2026-07-01T12:00",
            None,
            "0 `2026-07-01T12:00` says neither offset nor time zone",
        );
        check("tomorrow", None, "0 `tomorrow` is no time");
        check(
            "2026-02-30T00:00Z",
            None,
            "0 `2026-02-30T00:00Z` is no time",
        );
        check(
            "2026-07-01T12:00[Mars/Base]",
            None,
            "0 `2026-07-01T12:00[Mars/Base]` is no time",
        );
        check(
            "2026-07-01T12:00+02:00[UTC]",
            None,
            "0 `2026-07-01T12:00+02:00[UTC]` is no time",
        );
        check(
            "2026-07-01",
            Some("Berlin"),
            "1 there is no time zone `Berlin`; perhaps Europe/Berlin",
        );
        check(
            "2026-07-01",
            Some("New York"),
            "1 there is no time zone `New York`; perhaps America/New_York",
        );
        check(
            "2026-07-01",
            Some("Nowhere"),
            "1 there is no time zone `Nowhere`; give an IANA name",
        );
        check(&"2".repeat(201), None, "0 the time has 201 bytes");
    }

    #[test]
    fn a_moment_tells_everything() {
        let time = read("2027-01-01T00:30[Europe/Berlin]", None).unwrap();
        let moment = Moment::of(&time);
        assert_eq!(moment.utc, "2026-12-31T23:30:00Z");
        assert_eq!(moment.unix_seconds, 1_798_759_800);
        assert_eq!((moment.iso_week_year, moment.iso_week), (2026, 53));
        assert_eq!((moment.weekday, moment.day_of_year), ("Friday", 1));
        assert_eq!(
            (moment.abbreviation.as_str(), moment.daylight_saving),
            ("CET", false)
        );
        let before = Moment::of(&read("1969-12-31T23:59:59.5Z", None).unwrap());
        assert_eq!(before.unix_seconds, -1);
    }
}
