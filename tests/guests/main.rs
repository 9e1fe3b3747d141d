//! The guest test programs in the real runtime: what a guest may do, where it is stopped,
//! and what is left of it afterwards.
//!
//! Every program is a component compiled from `tests/programs`; none is a mock.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod answers;
mod bare;
mod cache;
mod directories;
mod isolation;
mod limits;
mod network;
mod plugins;
mod refused;
mod resident;
mod scan;
mod secrets;
mod storage;
mod support;
mod tools;
