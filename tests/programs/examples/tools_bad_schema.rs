//! Lists a tool whose input schema is no JSON Schema.

use portreeve_test_programs::listing;

listing!(|| {
    Ok(vec![
    r#"{"name": "odd", "inputSchema": {"type": "object", "properties": {"a": {"type": "colour"}}}}"#.into()
])
});
