//! Lists a tool with a description of 1 MiB.

use portreeve_test_programs::{listing, tool_document};

listing!(|| Ok(vec![
    tool_document("huge", &"x".repeat(1 << 20), &[]).to_string()
]));
