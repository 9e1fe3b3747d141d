//! Portreeve's host: what a project installs, who may call what, and the way of a call.
//!
//! [`Host::open`] reads a project and makes an immutable [`Registry`] of its plugins and
//! tools; a changed `portreeve.toml` makes a new one, and calls in flight finish on the
//! old. [`Host::call`] is the one way of a call: look-up, admission, arguments, a fresh
//! instance, the answer.
//!
//! **Architecture invariant:** this is the one place where the floors meet. It knows
//! manifests, packages and the runtime; it does not know MCP or the command line.
#![deny(missing_docs)]

mod admin;
mod admission;
mod advisories;
mod agreement;
mod alarm;
mod bus_limits;
mod call;
mod call_directories;
mod call_messages;
mod call_network;
mod call_secrets;
mod call_storage;
mod consume;
mod content;
pub mod control;
mod control_socket;
mod data;
mod deliver;
mod directories;
mod generations;
mod grants;
mod guests;
mod hidden_lines;
pub mod hook_signature;
mod hooks;
mod hooks_out;
mod host;
mod install;
pub mod log;
mod messages;
mod network;
mod pace;
mod panels;
mod papers;
mod pipeline;
mod plugin;
mod prepare;
mod project;
mod prompt;
mod readers;
mod record;
mod registry;
mod resident;
mod scope;
mod secrets;
pub mod socket;
mod sources;
mod status;
mod switch;
mod tail;
mod tasks;
mod view;
mod waits;
mod watch;
mod workshop;

pub use admin::Edited;
pub use advisories::{AdvisoryAct, AdvisoryAlert, AdvisoryDone};
pub use agreement::{Arrival, Pin, WithheldTool, changed_tools, read_lockfile};
pub use call::{CallRequest, CallResponse, Caller, Door, ProgressListener};
pub use content::{Asked, Asking, ContentChange, Listed, ResourceCursor};
pub use data::{DataAct, DataCursor, DataDone, DataEntry};
pub use directories::{Directories, Unopened};
pub use generations::{GenerationView, RollBack};
pub use grants::{GrantCell, InForce};
pub use hooks::{HookError, HookRequest, HookTaken};
pub use host::{Host, HostConfig, HostError};
pub use messages::{BusAct, BusDone, BusStats, ReplayFrom};
pub use network::NetworkUse;
pub use plugin::{Plugin, PluginStatus};
pub use portreeve_egress::care::{BreakerState, CareStatus};
pub use portreeve_manifest::form::Form;
pub use portreeve_runtime::{
    Body, CallError, Completing, Completions, Content, ErrorCode, Failure, Filled, InputReply,
    InputWant, LimitHit, LogEntry, LogLevel, Notice, NoticeLevel, Origin, Outcome, Part,
    ProgressReport, Reply, Root, Said, SamplingReply, SamplingRequest, Speaker, Subject, Usage,
    Utterance,
};
pub use portreeve_supply::ArtifactStore;
pub use project::{LOCKFILE, MANIFEST, OwnerLock, Ownership, Project, ProjectError, Role, Sockets};
pub use prompt::{
    Answer, Answers, Asker, CLIENT_CAPABILITY, CallerUi, ClientCan, ClientListener, InboxAct,
    InboxDone, InboxItem, InboxWhat, NoAnswer, Pending, Question, Returning, Turn,
};
pub use readers::TopicsChanged;
pub use registry::{RegisteredTool, Registry};
pub use resident::{ResidentState, ResidentStatus};
pub use secrets::{SecretAct, SecretDone, SecretText};
pub use sources::{Brought, SourceError, Sources, newest, other_version};
pub use status::{ResidentView, Status};
pub use tail::BusTail;
pub use tasks::{Task, TaskProgress};
pub use view::{ChangeView, PluginView, ProjectView, RequestView, ToolView};
pub use watch::Watch;
