//! Uses the clocks and the randomness, which need no grant.

use std::time::{Instant, SystemTime};

use portreeve_test_programs::{Answer, ErrorCode, failure, json, structured, tools};

tools! {
    /// `{"unix_ms": …, "monotonic_is_monotonic": …}`.
    fn clocks() -> Answer {
        let before = Instant::now();
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|error| failure(ErrorCode::Internal, error.to_string()))?;
        Ok(structured(json!({
            "unix_ms": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            "monotonic_is_monotonic": Instant::now() >= before,
        })))
    }

    /// `bytes` random bytes in hexadecimal, 16 at a time: `{"hex": "…"}`.
    fn random(bytes: u64) -> Answer {
        let mut hex = String::new();
        let mut left = bytes;
        while left > 0 {
            let chunk = left.min(16);
            for byte in wasip2::random::random::get_random_bytes(chunk) {
                hex.push_str(&format!("{byte:02x}"));
            }
            left -= chunk;
        }
        Ok(structured(json!({"hex": hex})))
    }
}
