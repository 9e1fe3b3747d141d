//! The gate against real servers on this machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails loudly"
)]

mod addresses;
mod budgets;
mod exchange;
mod guests;
mod pools;
mod proxies;
mod secrets;
mod servers;
mod sockets;
mod support;
mod trust;
mod whole;
