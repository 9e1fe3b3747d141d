//! Lists two tools of one name.

use portreeve_test_programs::listing;

listing!(|| Ok(vec![
    r#"{"name": "twin", "inputSchema": {"type": "object"}}"#.into(),
    r#"{"name": "twin", "inputSchema": {"type": "object"}}"#.into(),
]));
