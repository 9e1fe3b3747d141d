//! Time zones and date arithmetic.
//!
//! The time zone database is compiled in, so that an answer depends on the component alone. What
//! time it is comes from the host's clock.
#![deny(missing_docs)]

mod moment;
mod span;

use portreeve_sdk::{Error, Json, plugin, tool};

use moment::{Moment, read, zone};
use span::{Difference, Unit};

/// Tells the date and time now, in a time zone. Use it whenever an answer depends on today's date
/// or the time of day.
#[tool(
    title = "Current time",
    read_only,
    destructive = false,
    open_world = false
)]
fn now(
    /// IANA name of the time zone, such as `Europe/Berlin`; UTC if left out.
    zone_name: Option<String>,
) -> Result<Json<Moment>, Error> {
    let zone = zone(zone_name.as_deref().unwrap_or("UTC"))?;
    Ok(Json(Moment::of(&jiff::Timestamp::now().to_zoned(zone))))
}

/// Converts a date and time into another time zone, daylight saving time included.
#[tool(
    title = "Convert time",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn convert(
    /// The time: `2026-03-29T14:30:00Z`, `2026-03-29T14:30:00+02:00`,
    /// `2026-03-29T14:30:00[Europe/Berlin]`, or without offset together with `from`.
    time: String,
    /// IANA name of the time zone to convert to, such as `America/New_York`.
    to: String,
    /// IANA name of the time zone of `time`, where `time` says neither offset nor zone.
    from: Option<String>,
) -> Result<Json<Moment>, Error> {
    let target = zone(&to)?;
    let time = read(&time, from.as_deref())?;
    Ok(Json(Moment::of(&time.with_time_zone(target))))
}

/// Adds a duration to a date and time, or subtracts it, by the calendar and clock of a time zone: a
/// month later is the same day of the month (or its last), a day later the same time of day.
#[tool(
    title = "Add to time",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn add(
    /// The time: `2026-03-29T14:30:00Z`, `2026-03-29T14:30:00[Europe/Berlin]`, or without offset,
    /// then in `zone_name`. A date alone means its midnight.
    time: String,
    /// What to add: `3 days`, `1 month 2h`, `-90 minutes`, or ISO 8601 such as `P1M2DT3H`.
    duration: String,
    /// IANA name of the time zone of `time`, where `time` says neither offset nor zone; UTC if left
    /// out.
    zone_name: Option<String>,
) -> Result<Json<Moment>, Error> {
    let time = read(&time, Some(zone_name.as_deref().unwrap_or("UTC")))?;
    Ok(Json(Moment::of(&span::add(&time, &duration)?)))
}

/// Tells how much time lies between two dates and times, by calendar and clock, and in seconds.
/// Negative where the second is earlier.
#[tool(
    title = "Difference between times",
    read_only,
    destructive = false,
    idempotent,
    open_world = false
)]
fn difference(
    /// The first time: `2026-03-29T14:30:00Z`, `2026-03-29T14:30:00[Europe/Berlin]`, or without
    /// offset, then in `zone_name`. A date alone means its midnight.
    start: String,
    /// The second time, in the same forms.
    end: String,
    /// IANA name of the time zone of those times that say neither offset nor zone; UTC if left out.
    zone_name: Option<String>,
    /// The largest unit of the answer; days if left out.
    largest_unit: Option<Unit>,
) -> Result<Json<Difference>, Error> {
    let zone_name = Some(zone_name.as_deref().unwrap_or("UTC"));
    let (start, end) = (read(&start, zone_name)?, read(&end, zone_name)?);
    let unit = largest_unit.unwrap_or(Unit::Day);
    Ok(Json(span::difference(&start, &end, unit)?))
}

plugin!(now, convert, add, difference);

#[cfg(test)]
mod tests {
    use portreeve_sdk::{Content, call};

    #[test]
    fn now_is_now() {
        let outcome = call::<super::now>(r#"{"zone_name": "Europe/Berlin"}"#).unwrap();
        let [Content::Structured(object)] = outcome.content.as_slice() else {
            panic!("{outcome:?}");
        };
        let system = jiff::Timestamp::now().as_second();
        let told = object["unix_seconds"].as_i64().unwrap();
        assert!((system - 60..=system + 1).contains(&told), "{object:?}");
        assert!(
            object["zoned"]
                .as_str()
                .unwrap()
                .ends_with("[Europe/Berlin]")
        );
    }

    #[test]
    fn tools_fit_together() {
        let arguments =
            r#"{"time": "2026-11-20T18:00", "from": "Asia/Tokyo", "to": "America/New_York"}"#;
        let outcome = call::<super::convert>(arguments).unwrap();
        let [Content::Structured(object)] = outcome.content.as_slice() else {
            panic!("{outcome:?}");
        };
        assert_eq!(
            object["zoned"],
            "2026-11-20T04:00:00-05:00[America/New_York]"
        );
    }
}
