//! Lists a tool without an input schema.

use portreeve_test_programs::listing;

listing!(|| Ok(vec![r#"{"name": "anything"}"#.into()]));
