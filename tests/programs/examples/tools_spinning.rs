//! Never finishes listing its tools.

use portreeve_test_programs::listing;

listing!(|| loop {
    std::hint::spin_loop();
});
