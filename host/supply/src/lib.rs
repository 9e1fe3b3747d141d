//! The papers of what comes in: a component file is read, measured, digested and
//! described before anything else in Portreeve touches it.
//!
//! - [`fetch`] gets it from where it is, a file, a web server or a registry, held against its
//!   digest, and publishes it; [`source`] finds the file on this machine;
//! - [`store`] keeps it by digest, for all projects of a user;
//! - [`Package::read`] checks that it is a component which this host can run, and says who
//!   it is ([`manifest`](Package::manifest)), what it offers ([`Tools`]) and what it asks
//!   of and gives to its host ([`Surface`]);
//! - [`evidence::compare`] holds an author's requests against those imports;
//! - [`signature`] says who signed it, and whether that counts;
//! - [`dependencies`] are what it says it was made from, and [`sbom`] writes that down for
//!   other tools;
//! - [`advisory`] holds those packages against known weaknesses;
//! - [`licence`] holds licences against each other, their texts and the operator's policy;
//! - [`scan`] looks through its bytes and texts, and makes a score of what was found;
//! - [`finding`] is what all of them find, in one form, with its published rules;
//! - [`papers`] puts all of that into one document, for commands and readers alike;
//! - [`change`] says how it differs from the version before;
//! - [`pack`] puts a plugin's papers into its component: one file, one digest.
//!
//! **Architecture invariant:** nothing here compiles or runs a component, and nothing here
//! knows the runtime. What this crate says about a component it has read from the bytes.

#![deny(missing_docs)]

pub mod advisory;
mod bare;
pub mod change;
mod cores;
pub mod credentials;
pub mod dependencies;
mod digest;
mod docs;
mod error;
pub mod evidence;
pub mod fetch;
pub mod finding;
mod intake;
pub mod licence;
mod limits;
mod linkage;
mod nesting;
mod oci;
mod pack;
mod package;
pub mod papers;
pub mod sbom;
pub mod scan;
mod sections;
pub mod signature;
pub mod source;
pub mod store;
mod surface;
mod types;

pub use cores::on_all_cores;
pub use digest::{Digest, ParseDigestError};
pub use error::Error;
pub use fetch::{FetchError, Fetched, Fetcher, Reference};
pub use limits::IntakeLimits;
pub use linkage::Linkage;
pub use pack::{PackParts, pack};
pub use package::{DependencyText, Package, Tools};
pub use store::{ArtifactStore, StoreError};
pub use surface::Surface;
