//! Says what the host tells it about the call and its configuration.

use portreeve_test_programs::{Answer, config, context, json, structured, text, tools};

tools! {
    /// All of it: `{"call_id", "caller", "deadline_ms", "is_cancelled", "fuel_left",
    /// "config"}`, the configuration as the text that came, fuel as a decimal string.
    fn context() -> Answer {
        Ok(structured(json!({
            "call_id": context::call_id(),
            "caller": context::caller(),
            "deadline_ms": context::deadline_ms(),
            "is_cancelled": context::is_cancelled(),
            "fuel_left": context::fuel_left().to_string(),
            "config": config::all(),
        })))
    }

    /// One key of the configuration, as the text that came: `{"value": … or null}`.
    fn config(key: String) -> Answer {
        Ok(structured(json!({"value": config::get(&key)})))
    }

    /// Waits until the host says that the caller has given up, then answers `noticed`.
    fn wait_for_cancel() -> Answer {
        while !context::is_cancelled() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(text("noticed"))
    }
}
