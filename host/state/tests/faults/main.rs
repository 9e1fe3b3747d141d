//! What the state does when the machine fails it: killed at any write, a disk that is full or
//! doesn't answer, files that can't be written, are damaged, or are a newer version's.
//!
//! Most cases need a process to fail in. It is this program again, with [`child`] as its only
//! test.

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
mod files;
mod full;
mod kill;
#[path = "../../../../tests/support/skipped.rs"]
mod skipped;
mod support;
mod sync;
mod writers;

/// No case: what a case has another process do. Alone, it has nothing to do.
#[test]
fn child() {
    if let Some(work) = child::Work::given() {
        work.run();
    }
}
