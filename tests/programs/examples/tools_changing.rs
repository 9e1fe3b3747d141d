//! Lists another tool each time: its name is the time of day in nanoseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use portreeve_test_programs::{Value, listing, tool_document};

fn list() -> Vec<String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let document: Value =
        tool_document(&format!("at_{}", now.as_nanos()), "Another each time.", &[]);
    vec![document.to_string()]
}

listing!(|| Ok(list()));
