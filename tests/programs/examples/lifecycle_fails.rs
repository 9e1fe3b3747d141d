//! Refuses to start, unless its configuration says `{"start": true}`.

use portreeve_test_programs::{
    Answer, ErrorCode, Failure, argument, export_lifecycle, lifecycle, text, tools,
};

tools! {
    /// Answers `called`.
    fn call_me() -> Answer {
        Ok(text("called"))
    }
}

impl lifecycle::Guest for Program {
    fn start(config: String) -> Result<(), Failure> {
        if argument(&config, "start")? {
            return Ok(());
        }
        Err(Failure {
            code: ErrorCode::Unavailable,
            reason: "not-today".into(),
            message: "it is not the day to start; set `start`".into(),
            retry_after_ms: Some(86_400_000),
            detail: Some(r#"{"day":"wrong"}"#.into()),
        })
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
