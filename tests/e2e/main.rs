//! The binary, driven as its users drive it: authors and operators by command, clients by
//! MCP over stdio.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod advisories;
mod audit;
mod author;
mod browser;
mod bus_faults;
mod calls;
mod client;
mod clients;
mod commands;
mod conformance;
mod content;
mod directories;
#[path = "../support/docker_registry.rs"]
mod docker_registry;
mod grants;
mod http;
mod kept_and_found;
mod killed;
mod messages;
mod network;
mod older_tasks;
mod owner;
mod panels;
mod papers;
mod peers;
mod people;
mod post;
mod protocol;
mod readers;
mod reload;
mod resident;
mod resume;
mod scan;
mod secrets;
#[path = "../support/skipped.rs"]
mod skipped;
mod sources;
mod state;
mod storage;
mod support;
mod tasks;
mod terminal;
mod tools;
mod web;
mod web_plugins;
mod webhooks;
