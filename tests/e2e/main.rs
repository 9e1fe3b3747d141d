//! The binary, driven as its users drive it: authors and operators by command, clients by
//! MCP over stdio.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod audit;
mod author;
mod calls;
mod commands;
mod grants;
mod network;
mod owner;
mod peers;
mod people;
mod protocol;
mod reload;
mod secrets;
mod state;
mod storage;
mod support;
mod terminal;
mod web;
mod web_plugins;
