//! Reports progress.

use portreeve_test_programs::{Answer, json, progress, structured, tools};

tools! {
    /// Reports 1, 2, … up to `times` (of `total`, with `message`), with `pause_ms`
    /// milliseconds after each. Answers `{"accepted": …, "refused": …, "failure": …}`:
    /// how many reports the host took and did not, and the last refusal's message.
    fn report(
        times: u64,
        total: Option<f64>,
        message: Option<String>,
        pause_ms: Option<u64>,
    ) -> Answer {
        let (mut accepted, mut refused, mut failure) = (0, 0, None);
        for step in 1..=times {
            match progress::report(step as f64, total, message.as_deref()) {
                Ok(()) => accepted += 1,
                Err(refusal) => {
                    refused += 1;
                    failure = Some(refusal.message);
                }
            }
            if let Some(ms) = pause_ms {
                std::thread::sleep(std::time::Duration::from_millis(ms));
            }
        }
        Ok(structured(json!({"accepted": accepted, "refused": refused, "failure": failure})))
    }

    /// Reports numbers that make no sense: backwards, negative, NaN, infinite.
    fn nonsense() -> Answer {
        let mut accepted = 0;
        for done in [5.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            accepted += u64::from(progress::report(done, Some(f64::NAN), None).is_ok());
        }
        Ok(structured(json!({"accepted": accepted})))
    }
}
