//! Remembers, as long as its instance lives.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve_test_programs::{Answer, json, structured, tools};

static CALLS: AtomicU64 = AtomicU64::new(0);
static NOTE: Mutex<Option<String>> = Mutex::new(None);

tools! {
    /// How many calls this instance has served, this one included: `{"count": …}`.
    fn count() -> Answer {
        let before = CALLS.fetch_add(1, Ordering::Relaxed);
        Ok(structured(json!({"count": before + 1})))
    }

    /// Keeps `note`, and answers with the one kept before: `{"before": …}`.
    fn remember(note: String) -> Answer {
        let before = NOTE.lock().map_or(None, |mut kept| kept.replace(note));
        Ok(structured(json!({"before": before})))
    }
}
