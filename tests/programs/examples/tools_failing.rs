//! Fails to list its tools.

use portreeve_test_programs::{ErrorCode, failure, listing};

listing!(|| Err(failure(
    ErrorCode::Unavailable,
    "the list of tools is out of print"
)));
