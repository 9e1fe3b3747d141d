//! Lists a document that is no JSON.

use portreeve_test_programs::listing;

listing!(|| Ok(vec![r#"{"name": "broken", "inputSchema""#.into()]));
