//! Panics when it is asked for its tools.

use portreeve_test_programs::listing;

listing!(|| panic!("no list"));
