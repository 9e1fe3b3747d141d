//! The network as a guest sees it: denied by default, refused with a sentence, streamed and
//! bounded.

mod client;
mod http;
mod sockets;
mod web;
