//! Tries to start a thread.

use portreeve_test_programs::{Answer, json, structured, tools};

tools! {
    /// Starts a thread: `{"ok": …}` with what it returned, or `{"error": …}`.
    fn spawn() -> Answer {
        Ok(structured(match std::thread::Builder::new().spawn(|| 42) {
            Ok(thread) => json!({"ok": thread.join().ok()}),
            Err(error) => json!({"error": error.to_string()}),
        }))
    }
}
