//! The host's own requests against servers on this machine that are slow, broken, or mean harm.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails loudly"
)]

mod bodies;
mod redirects;
mod support;
mod tries;
