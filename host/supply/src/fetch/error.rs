//! Why something was not fetched or not published.

use portreeve_egress::GateError;
use portreeve_manifest::integrity::Integrity;
use portreeve_manifest::size::ByteSize;

use crate::{Digest, Error};

/// Why something was not fetched or not published: what happened, why, and what to do. It
/// holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A file on this machine can't be read.
    #[error(transparent)]
    Local(#[from] Error),
    /// A signature beside such a file can't be read.
    #[error("{0}")]
    Signature(String),
    /// There is no such thing.
    #[error("{what} is not there ({said}): check its name, and whether you may see it")]
    NotFound {
        /// What.
        what: String,
        /// What the server said.
        said: String,
    },
    /// Whoever asks isn't known, or may not.
    #[error(
        "{registry} does not let us in ({said}): log in with `docker login {registry}` or `podman login {registry}`"
    )]
    Unauthorized {
        /// Which registry.
        registry: String,
        /// What it said.
        said: String,
    },
    /// A log-in can't be had or may not be shown.
    #[error("no log-in for {registry}: {why}")]
    Credential {
        /// For which registry.
        registry: String,
        /// Why.
        why: String,
    },
    /// It can't be reached, or sends what isn't taken.
    #[error("{what} can't be fetched: {error}")]
    Network {
        /// What was asked for.
        what: String,
        /// Why.
        error: GateError,
    },
    /// A server says that it can't.
    #[error(
        "{what}: the server answers {status} ({said}); try again later, or ask whoever runs it"
    )]
    Status {
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// What it said.
        said: String,
    },
    /// An address without a digest.
    #[error("{url} is fetched only with its digest, which at this moment is {digest}: if that is the one that its author gives, write the source as {url}#sha256={}", digest.hex())]
    NoDigest {
        /// The address.
        url: String,
        /// What its bytes hash to at this moment.
        digest: Digest,
    },
    /// Other bytes than were asked for.
    #[error(
        "{what} is {found}, where {expected} was asked for: it was changed on its way or where it is kept; nothing of it was kept, ask its author for the digest"
    )]
    Mismatch {
        /// What was fetched.
        what: String,
        /// What it should hash to.
        expected: Integrity,
        /// What it hashes to.
        found: Integrity,
    },
    /// It is larger than allowed.
    #[error("{what} is larger than {}, which is all that is taken: it is not what it should be, or the limit for components must be raised", ByteSize(*max))]
    TooLarge {
        /// What.
        what: String,
        /// How large it may be.
        max: u64,
    },
    /// Something else is there than a component.
    #[error("{what} is no WebAssembly component as registries keep them: {why}")]
    NotAComponent {
        /// What was fetched.
        what: String,
        /// What is there instead.
        why: String,
    },
    /// A server breaks the rules.
    #[error("{what}: the server does not do as it should: {why}")]
    Protocol {
        /// What was asked for.
        what: String,
        /// What it did.
        why: String,
    },
    /// The version is there, with something else in it.
    #[error(
        "{reference} is there already, as {found}: a version stands for one component for ever; publish it as another version"
    )]
    VersionTaken {
        /// Which one.
        reference: String,
        /// The manifest that is there.
        found: String,
    },
    /// There is nothing to publish under.
    #[error("{0} has no tag to publish it under: write one behind it, such as `:1.0.0`")]
    NoTag(String),
}
