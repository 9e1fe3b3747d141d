//! Where a plugin may connect to: outbound HTTP, sockets, special address ranges.
//!
//! There is one matcher. [`NetworkRule::covers`] says whether one rule allows everything that
//! another does, and a request is judged as the rule that allows nothing but it
//! ([`Target::rule`]); so what is compared when a grant is given and what is checked when a
//! request is sent can't differ.

mod address;
mod credential;
mod host;
mod index;
mod origin;
mod path;
mod policy;
mod ports;
mod rule;
mod socket;
mod target;

pub use address::AddressRange;
pub use credential::{CredentialAsked, CredentialUse, Place};
pub use host::HostPattern;
pub(super) use index::Overlaps;
pub use origin::Origin;
pub use path::PathPattern;
pub use policy::{Decision, NetworkPolicy, SocketPolicy};
pub use ports::Ports;
pub use rule::{NetworkRule, RuleError, Scheme};
pub use socket::{SocketProtocol, SocketRule};
pub use target::{Target, TargetError};

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
