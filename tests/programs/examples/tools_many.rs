//! Lists 10,000 tools.

use portreeve_test_programs::{listing, tool_document};

listing!(|| {
    let tools = (0..10_000).map(|n| tool_document(&format!("tool_{n}"), "One of many.", &[]));
    Ok(tools.map(|tool| tool.to_string()).collect())
});
