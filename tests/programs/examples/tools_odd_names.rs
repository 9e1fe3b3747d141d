//! Lists tools whose names are allowed but can't be exposed as they are.

use portreeve_test_programs::{listing, tool_document};

/// With a dot, its double with an underscore, one of the greatest length, and its double
/// up to the last character.
const NAMES: [&str; 4] = [
    "issues.search",
    "issues_search",
    "a23456789_123456789_123456789_123456789_123456789_123456789_1234",
    "a23456789_123456789_123456789_123456789_123456789_123456789_1235",
];

listing!(|| {
    let tools = NAMES.map(|name| tool_document(name, "Has an odd name.", &[]).to_string());
    Ok(tools.into())
});
