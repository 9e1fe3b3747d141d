//! Portreeve's runtime: makes components ready, runs them in fresh instances, and stops
//! them at their limits.
//!
//! A component is compiled once, in a process of its own, and kept on disk under the digest
//! of the component; a [`Template`] holds what does not depend on a call; a call gets a new
//! instance, and whatever it did is gone with it.
//!
//! **Architecture invariant:** this crate knows nothing of MCP, servers or configuration
//! files. What a guest reaches outside of it goes through one small trait per need
//! ([`HttpSource`], [`SocketSource`], [`KvSource`], [`DirectorySource`], [`SecretSource`],
//! [`PromptSource`], [`ProgressSink`], [`OutputSink`]) that the caller fills in for each call.
#![deny(missing_docs)]

mod answer;
mod arguments;
mod bindings;
mod cache;
mod capability;
mod clock;
mod compile;
mod compiler;
mod content;
mod engine;
mod error;
mod exports;
mod guest;
mod limiter;
mod output;
mod resident;
mod runtime;
mod stopped;
mod template;
pub mod values;

pub use answer::{Content, Outcome};
pub use arguments::Arguments;
pub use cache::make_private_dir;
pub use capability::changes::Changes;
pub use capability::config::Config;
pub use capability::directories::{
    DirectoryBar, DirectoryPermit, DirectoryRoom, DirectorySource, DirectoryUse, Mount,
    NoDirectories,
};
pub use capability::messages::{
    GivenMessage, Handled, MessageAnswer, MessageBus, MessageOptions, NoMessages, PublishedMessage,
    SentMessage,
};
pub use capability::network::http::{
    HttpBody, HttpError, HttpErrorKind, HttpSource, HttpTimeouts, NoHttp,
};
pub use capability::network::sockets::{NoSockets, SocketRoom, SocketSource, SocketUse};
pub use capability::progress::{ProgressReport, ProgressSink};
pub use capability::prompt::{NoPrompt, Notice, NoticeLevel, PromptSource, QUESTIONS_MAX, Reply};
pub use capability::secrets::{NoSecrets, SecretSource, SecretSummary};
pub use capability::storage::{
    KvAct, KvChange, KvDone, KvExpected, KvSource, KvStat, KvUsage, KvValue, NoKv,
};
pub use compile::{CompileLimits, compiler_process};
pub use content::{
    Body, Completing, Completions, Filled, Given, Message, Part, Said, Subject, Wanted,
};
pub use error::{CallError, Error, ErrorCode, Failure, LimitHit, Origin};
pub use guest::CallContext;
pub use output::{OutputSink, Stream};
pub use resident::Resident;
pub use runtime::{Runtime, RuntimeConfig, Step};
pub use template::{Finished, Target, Template, Usage};
