//! The papers of Portreeve: what a plugin says about itself (`plugin.toml`), what the
//! operator allows (`portreeve.toml`), and the types both are made of: grants, limits,
//! sizes, durations, tools.
//!
//! Everything goes through three forms: text → raw (serde, unknown keys refused) → valid
//! (every value a type, every cross-check made) → what runs ([`limits::Limits`],
//! [`grant::Effective`]). A mistake is told with file, line, column and a caret
//! ([`diagnostic::Diagnostics`]). What this version doesn't enforce yet
//! ([`feature::Feature::enforced`]) is refused, never ignored.
//!
//! **Architecture invariant:** no I/O. Text comes in, values and text go out; whoever
//! calls this crate reads and writes the files. Nothing here panics on any input, and
//! everything that a file could make grow has a bound.
#![deny(missing_docs)]

pub mod clean;
pub mod content;
pub mod diagnostic;
pub mod duration;
pub mod edit;
pub mod expose;
pub mod feature;
pub mod form;
pub mod grant;
pub mod icon;
pub mod id;
pub mod integrity;
pub mod json;
pub mod licence;
pub mod limits;
pub mod lock;
pub mod plugin;
pub mod policy;
pub mod project;
pub mod schema;
pub mod schema_cost;
pub mod scope;
pub mod settings;
pub mod size;
pub mod source;
pub mod tool;
pub mod wit_type;

mod document;
mod reader;
mod text;
