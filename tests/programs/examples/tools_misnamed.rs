//! Lists a tool whose name has characters that names can't have.

use portreeve_test_programs::listing;

listing!(|| Ok(vec![
    r#"{"name": "rm -rf /\n", "inputSchema": {"type": "object"}}"#.into()
]));
