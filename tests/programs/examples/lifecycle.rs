//! Is started before it is called.

use std::sync::Mutex;

use portreeve_test_programs::{
    Answer, Failure, export_lifecycle, json, lifecycle, structured, tools,
};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

tools! {
    /// What `start` was given, each time that it was called: `{"starts": ["…", …]}`.
    fn starts() -> Answer {
        let seen = SEEN.lock().map(|seen| seen.clone()).unwrap_or_default();
        Ok(structured(json!({"starts": seen})))
    }
}

impl lifecycle::Guest for Program {
    fn start(config: String) -> Result<(), Failure> {
        if let Ok(mut seen) = SEEN.lock() {
            seen.push(config);
        }
        Ok(())
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
