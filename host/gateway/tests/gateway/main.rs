//! The gateway in front of a real host on a project of its own. No guest runs here: that is
//! tested end to end, with real plugins.
#![cfg(test)]

mod client;
mod http;
mod owner;
mod project;
mod server;
mod wire;
