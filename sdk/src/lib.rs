#![doc = include_str!("../README.md")]
//!
//! # For those who work on this crate
//!
//! Architecture invariant: everything here runs inside a component, or in a native build of
//! one's tests. It depends on no crate of the host; the only thing both sides share is the
//! text in `wit/`. Whether a plugin may do something is never decided here.
#![deny(missing_docs)]

extern crate self as portreeve_sdk;

mod answer;
#[doc(hidden)]
pub mod bindings;
pub mod client;
pub mod config;
pub mod content;
pub mod context;
mod error;
pub mod files;
mod guest;
mod host;
pub mod http;
pub mod kv;
pub mod messages;
pub mod progress;
mod schema;
pub mod secrets;
pub mod text;
mod tool;
pub mod ui;

pub use answer::{Answer, Content, Json, Outcome};
pub use error::{Code, Error};
/// Exports the tools of a plugin, once in its crate: `plugin!(greet, wave)`, also with hooks:
/// `plugin!(greet, start = setup, stop = bye, health = check, migrate = update)`, and with what
/// handles [messages](mod@messages): `plugin!(greet, handle = on_message, respond = answer)`.
///
/// Two tools of one name stop the build, as does a function without `#[tool]`:
///
/// ```compile_fail,E0080
/// # use portreeve_sdk::{plugin, tool};
/// /// Greets.
/// #[tool]
/// fn greet() {}
///
/// /// Greets again.
/// #[tool(name = "greet")]
/// fn greet_again() {}
///
/// plugin!(greet, greet_again);
/// ```
///
/// ```compile_fail,E0573
/// # use portreeve_sdk::plugin;
/// fn greet() {}
///
/// plugin!(greet);
/// ```
pub use portreeve_sdk_macros::plugin;
/// Makes a tool of a function; the crate's documentation shows how. It writes an implementation of
/// [`Tool`](trait@Tool) for a type of the function's name.
///
/// What can't be called with a JSON object, or isn't an answer, stops the build:
///
/// ```compile_fail,E0277
/// # use portreeve_sdk::tool;
/// /// Counts.
/// #[tool]
/// fn count() -> u32 { 1 }
/// ```
///
/// ```compile_fail
/// # use portreeve_sdk::tool;
/// /// Counts.
/// #[tool]
/// async fn count() {}
/// ```
pub use portreeve_sdk_macros::tool;
pub use tool::{Annotations, Icon, TaskSupport, Theme, Tool, call, describe};

/// What the macros need. Not for use by hand: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::content::{ContentPlugin, Nothing};
    pub use crate::guest::{Entry, Plugin, assert_unique, start};
    pub use {schemars, serde};
}
