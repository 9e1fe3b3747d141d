//! Never finishes starting.

use portreeve_test_programs::{Answer, Failure, export_lifecycle, lifecycle, text, tools};

tools! {
    /// Answers `called`.
    fn call_me() -> Answer {
        Ok(text("called"))
    }
}

impl lifecycle::Guest for Program {
    fn start(_config: String) -> Result<(), Failure> {
        loop {
            std::hint::spin_loop();
        }
    }

    fn stop(_deadline_ms: u64) {}

    fn health() -> Result<(), Failure> {
        Ok(())
    }

    fn migrate(_from_version: String) -> Result<(), Failure> {
        Ok(())
    }
}

export_lifecycle!(Program);
