//! What some calls took together, and how it is written.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::histogram::Latency;
use super::{CallUse, OTHER};

/// Different codes that are kept apart: the set is closed and has twelve.
const CODES_MAX: usize = 16;

/// Longest code.
const CODE_BYTES_MAX: usize = 32;

/// The form of rows. Another one is damage: the state's version covers it.
const FORM: u8 = 1;

/// Most bytes of a row: all buckets in use with counts of five bytes, and the rest. A tool
/// whose calls take from 1 ms to 1 s has some 160 buckets and as many as 500 bytes.
pub const ROW_BYTES_MAX: usize = 5 << 10;

/// What some calls took together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls.
    pub calls: u64,
    /// Those that failed, by code, in the order in which the codes came up.
    errors: Vec<(Cow<'static, str>, u64)>,
    /// Uses of capabilities that were refused.
    pub refusals: u64,
    /// Fuel, in the runtime's units.
    pub fuel: u64,
    /// Most bytes of memory of one call.
    pub memory_peak: u64,
    /// Bytes of arguments.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// How long they took.
    pub latency: Latency,
}

/// A tally as it is written. Buckets are counted from the one before.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    calls: u64,
    #[serde(borrow)]
    errors: Vec<(&'a str, u64)>,
    refusals: u64,
    fuel: u64,
    memory_peak: u64,
    bytes_in: u64,
    bytes_out: u64,
    max_us: u64,
    sum_us: u64,
    buckets: Vec<(u16, u32)>,
}

impl Tally {
    /// Adds one call.
    pub fn record(&mut self, used: &CallUse) {
        self.calls = self.calls.saturating_add(1);
        if let Some(code) = used.error {
            self.add_errors(Cow::Borrowed(code), 1);
        }
        self.refusals = self.refusals.saturating_add(used.refusals);
        self.fuel = self.fuel.saturating_add(used.fuel);
        self.memory_peak = self.memory_peak.max(used.memory_peak);
        self.bytes_in = self.bytes_in.saturating_add(used.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(used.bytes_out);
        self.latency.record(used.duration);
    }

    /// Adds all that another one has.
    pub fn add(&mut self, other: &Tally) {
        self.calls = self.calls.saturating_add(other.calls);
        for (code, count) in &other.errors {
            self.add_errors(code.clone(), *count);
        }
        self.refusals = self.refusals.saturating_add(other.refusals);
        self.fuel = self.fuel.saturating_add(other.fuel);
        self.memory_peak = self.memory_peak.max(other.memory_peak);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.latency.add(&other.latency);
    }

    /// Takes everything out, and keeps the room for more.
    pub(super) fn clear(&mut self) {
        self.calls = 0;
        self.errors.clear();
        self.refusals = 0;
        self.fuel = 0;
        self.memory_peak = 0;
        self.bytes_in = 0;
        self.bytes_out = 0;
        self.latency.clear();
    }

    /// Calls that failed, by code.
    pub fn errors(&self) -> impl Iterator<Item = (&str, u64)> {
        self.errors.iter().map(|(code, count)| (&**code, *count))
    }

    /// Calls that failed.
    pub fn failed(&self) -> u64 {
        let counts = self.errors.iter().map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    }

    fn add_errors(&mut self, code: Cow<'static, str>, count: u64) {
        let code = if code.len() > CODE_BYTES_MAX {
            Cow::Borrowed(OTHER)
        } else {
            code
        };
        let known = self.errors.len();
        let find = |code: &str| self.errors.iter().position(|(known, _)| known == code);
        let place = match find(&code) {
            Some(place) => Some(place),
            None if known >= CODES_MAX => find(OTHER),
            None => None,
        };
        match place.and_then(|place| self.errors.get_mut(place)) {
            Some((_, all)) => *all = all.saturating_add(count),
            // The last place but one more is for the others.
            None if known >= CODES_MAX => self.errors.push((Cow::Borrowed(OTHER), count)),
            None => self.errors.push((code, count)),
        }
    }

    /// As it is written.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (max_us, sum_us) = self.latency.micros();
        let mut last = 0;
        let buckets = self.latency.buckets().map(|(bucket, count)| {
            let gap = bucket - last;
            last = bucket;
            (u16::try_from(gap).unwrap_or(u16::MAX), count)
        });
        let written = Written {
            calls: self.calls,
            errors: self.errors().collect(),
            refusals: self.refusals,
            fuel: self.fuel,
            memory_peak: self.memory_peak,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            max_us,
            sum_us,
            buckets: buckets.collect(),
        };
        // Into memory, of which there is enough for some KiB: it can't fail, and a row that
        // had would be read as damaged.
        postcard::to_extend(&written, vec![FORM]).unwrap_or_default()
    }

    /// Reads what was written.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Tally, String> {
        let (form, rest) = bytes.split_first().ok_or("a row of usage is empty")?;
        if *form != FORM || bytes.len() > ROW_BYTES_MAX {
            return Err("a row of usage has an unknown form".to_owned());
        }
        let written: Written<'_> =
            postcard::from_bytes(rest).map_err(|error| format!("a row of usage: {error}"))?;
        let mut last = 0;
        let buckets = written.buckets.iter().map(|(gap, count)| {
            last += usize::from(*gap);
            (last, *count)
        });
        let latency = Latency::from_parts(buckets, written.max_us, written.sum_us);
        let mut tally = Tally {
            calls: written.calls,
            errors: Vec::new(),
            refusals: written.refusals,
            fuel: written.fuel,
            memory_peak: written.memory_peak,
            bytes_in: written.bytes_in,
            bytes_out: written.bytes_out,
            latency: latency.ok_or("a row of usage has a bucket too many")?,
        };
        for (code, count) in written.errors {
            tally.add_errors(Cow::Owned(code.to_owned()), count);
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const CODES: [&str; 4] = ["timeout", "internal", "not-found", "conflict"];

    pub(crate) fn calls() -> impl Strategy<Value = Vec<CallUse>> {
        let call = (0..6_usize, 0..3_u64, any::<u32>(), any::<u32>()).prop_map(
            |(code, refusals, micros, size)| CallUse {
                now_ms: 0,
                error: CODES.get(code).copied(),
                refusals,
                duration: Duration::from_micros(micros.into()),
                fuel: size.into(),
                memory_peak: u64::from(size) * 3,
                bytes_in: u64::from(size) / 2,
                bytes_out: u64::from(size) / 3,
            },
        );
        proptest::collection::vec(call, 0..100)
    }

    fn of(calls: &[CallUse]) -> Tally {
        let mut tally = Tally::default();
        calls.iter().for_each(|call| tally.record(call));
        tally
    }

    proptest! {
        #[test]
        fn rows_read_back(calls in calls()) {
            let tally = of(&calls);
            let bytes = tally.to_bytes();
            prop_assert!(bytes.len() <= ROW_BYTES_MAX);
            prop_assert_eq!(Tally::from_bytes(&bytes).unwrap(), tally);
        }

        /// However calls are spread over rows, the sum of the rows is the same.
        #[test]
        fn sums_of_parts_are_the_whole(calls in calls(), cut in 0..100_usize) {
            let (one, two) = calls.split_at(cut.min(calls.len()));
            let mut sum = of(one);
            sum.add(&of(two));
            prop_assert_eq!(sum, of(&calls));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tally::from_bytes(&bytes);
            let _ = Tally::from_bytes(&[&[FORM], &bytes[..]].concat());
        }
    }

    #[test]
    fn the_longest_row_is_within_its_bound() {
        let mut tally = Tally {
            calls: u64::MAX,
            refusals: u64::MAX,
            fuel: u64::MAX,
            memory_peak: u64::MAX,
            bytes_in: u64::MAX,
            bytes_out: u64::MAX,
            latency: Latency::from_parts(
                (0..super::super::histogram::BUCKETS).map(|bucket| (bucket, u32::MAX)),
                u64::MAX,
                u64::MAX,
            )
            .unwrap(),
            ..Tally::default()
        };
        for number in 0..100 {
            let code = format!("{number:0CODE_BYTES_MAX$}");
            tally.add_errors(Cow::Owned(code), u64::MAX / 200);
        }
        tally.add_errors(Cow::Owned("x".repeat(CODE_BYTES_MAX + 1)), 1);
        assert_eq!(tally.errors().count(), CODES_MAX + 1);
        assert_eq!(tally.failed(), u64::MAX / 200 * 100 + 1);
        let bytes = tally.to_bytes();
        assert!(bytes.len() <= ROW_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Tally::from_bytes(&bytes).unwrap(), tally);
    }

    #[test]
    fn clearing_leaves_nothing() {
        let mut tally = of(&[CallUse {
            error: Some("timeout"),
            fuel: 7,
            duration: Duration::from_millis(3),
            ..CallUse::default()
        }]);
        tally.clear();
        assert_eq!(tally, Tally::default());
    }
}
