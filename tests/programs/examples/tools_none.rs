//! Offers no tool.

use portreeve_test_programs::listing;

listing!(|| Ok(Vec::new()));
