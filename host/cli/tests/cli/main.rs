//! The real `portreeve`, driven from outside.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what broke by panicking"
)]

mod advisories;
mod build;
mod call;
mod check;
mod grants;
mod licences;
mod operate;
mod project;
mod signatures;
mod support;
