//! What becomes of messages when the machine fails: killed at any moment with a disk that keeps
//! only what was synced, and a disk that is full.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may fail loudly, and a child tells its parent what it did"
)]

mod child;
mod disk;
mod full;
mod kill;
mod many;
#[path = "../../../../tests/support/skipped.rs"]
mod skipped;

/// No case: what a case has another process do. Alone, it has nothing to do.
#[test]
fn child() {
    if let Some(work) = child::Work::given() {
        work.run();
    }
}
