//! Falls asleep in a host call.

use std::time::Duration;

use portreeve_test_programs::{Answer, text, tools};

tools! {
    /// Sleeps for `ms` milliseconds, then answers `slept`.
    fn sleep(ms: u64) -> Answer {
        std::thread::sleep(Duration::from_millis(ms));
        Ok(text("slept"))
    }
}
