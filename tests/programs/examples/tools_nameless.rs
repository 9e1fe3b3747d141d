//! Lists a tool without a name.

use portreeve_test_programs::listing;

listing!(|| Ok(vec![r#"{"inputSchema": {"type": "object"}}"#.into()]));
