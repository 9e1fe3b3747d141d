//! Who signed a component, and whether that counts.
//!
//! A signature is a file beside the component ([`SignatureFile`]) and is made over its raw
//! bytes. There are two schemes, each a [`Verifier`]: [`minisign`] keys, and [`sigstore`]
//! bundles, which are verified offline. A verifier says who signed ([`Signer`]) or why it
//! can't be said ([`SignatureError`]); it knows the signers that the operator lists, and
//! whether they may sign this plugin today. [`Trust::examine`] makes the decision over all
//! signatures of a component.
//!
//! **Time.** The last day on which a signer counts (`not-after`) is judged by the clock of
//! this host, now: a detached signature doesn't prove when it was made. A revoked signer
//! never counts.

mod beside;
mod crypto;
mod examine;
mod keys;
mod minisign;
mod sigstore;

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use portreeve_manifest::grant::Reason;
use portreeve_manifest::id::PluginId;
use portreeve_manifest::policy::{Date, PluginPattern};
use semver::Version;

pub use beside::{path_beside, read_beside};
pub use examine::{Demand, Examined, Refusal, Trust, TrustError};
pub use keys::{KeyError, NewKeyPair, PublicKey, SecretKey};
pub use minisign::{Binding, Minisign};
pub use sigstore::Sigstore;

use crate::error::shorten;

/// The longest signature file that is looked at, in bytes: bundles have about 10 KB.
pub const SIGNATURE_BYTES_MAX: usize = 256 << 10;
/// Signatures of one component that are looked at.
pub const SIGNATURES_MAX: usize = 16;

/// A signature as it comes with a component.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureFile {
    /// What it is.
    pub kind: SignatureKind,
    /// What is in the file.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for SignatureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.kind, self.bytes.len())
    }
}

/// The kinds of signature files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureKind {
    /// A detached minisign signature: `FILE.minisig`.
    Minisign,
    /// A Sigstore bundle: `FILE.sigstore.json`.
    SigstoreBundle,
}

impl SignatureKind {
    /// Both kinds.
    pub const ALL: [SignatureKind; 2] = [SignatureKind::Minisign, SignatureKind::SigstoreBundle];

    /// What is put behind the name of a component's file.
    pub const fn suffix(self) -> &'static str {
        match self {
            SignatureKind::Minisign => ".minisig",
            SignatureKind::SigstoreBundle => ".sigstore.json",
        }
    }
}

impl fmt::Display for SignatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SignatureKind::Minisign => "minisign signature",
            SignatureKind::SigstoreBundle => "Sigstore bundle",
        })
    }
}

/// What is being verified.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What the component's manifest says it is.
    pub id: &'a PluginId,
    /// The version that it says it has.
    pub version: &'a Version,
    /// The time by which signers are judged.
    pub now: Timestamp,
}

/// Who signed, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Whoever has a minisign key.
    Key {
        /// The key.
        key: PublicKey,
        /// The operator's file of it.
        file: String,
    },
    /// Whoever a Sigstore certificate names.
    Identity {
        /// The URI or email address in the certificate.
        identity: String,
        /// Who vouched for it.
        issuer: String,
    },
}

/// One line that names the signer and nothing else, for the lockfile: the public key, or
/// identity and issuer. Equal lines are the same signer, wherever the key's file lies.
impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signer::Key { key, .. } => write!(f, "{KEY} {}", key.to_base64()),
            Signer::Identity { identity, issuer } => write!(f, "{IDENTITY} {identity} {issuer}"),
        }
    }
}

impl Signer {
    /// The signer in words.
    pub fn words(&self) -> String {
        match self {
            Signer::Key { key, file } => format!("the minisign key {} ({file})", key.id()),
            Signer::Identity { identity, issuer } => {
                format!("{identity} (vouched for by {issuer})")
            }
        }
    }
}

const KEY: &str = "minisign";
const IDENTITY: &str = "sigstore";

/// A signer as the lockfile names it, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked<'a> {
    /// A minisign key.
    Key(PublicKey),
    /// Identity and issuer.
    Identity(&'a str, &'a str),
}

impl Locked<'_> {
    /// Reads the line that [`Signer`] writes; none where it is no such line.
    pub fn parse(line: &str) -> Option<Locked<'_>> {
        let mut parts = line.split(' ');
        let parts = (parts.next()?, parts.next()?, parts.next(), parts.next());
        match parts {
            (KEY, key, None, None) => PublicKey::parse(key).ok().map(Locked::Key),
            (IDENTITY, identity, Some(issuer), None) => Some(Locked::Identity(identity, issuer)),
            _ => None,
        }
    }
}

/// What verifies one kind of signature.
pub trait Verifier {
    /// Verifies that `signature` is one of `artifact` by a signer who may sign `what`.
    ///
    /// # Errors
    /// Why it doesn't count.
    fn verify(
        &self,
        artifact: &[u8],
        signature: &SignatureFile,
        what: &Subject<'_>,
    ) -> Result<Signer, SignatureError>;
}

/// Why a signature doesn't count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It can't be read.
    #[error("it is no {kind} that can be read: {why}")]
    Malformed {
        /// What it should be.
        kind: SignatureKind,
        /// What is wrong with it.
        why: String,
    },
    /// The key is not listed.
    #[error("it was made with the minisign key {0}, which is not listed")]
    UnknownKey(String),
    /// The signer is not listed.
    #[error("it was made by {identity} (vouched for by {issuer}), who is not listed")]
    UnknownIdentity {
        /// Who signed, as the certificate says; unverified.
        identity: String,
        /// Who vouched.
        issuer: String,
    },
    /// The bytes are not those that were signed.
    #[error(
        "it is not a signature of this component by {signer}: one of the two was changed after signing, or the signature belongs to another file"
    )]
    OtherBytes {
        /// Who is said to have signed.
        signer: String,
    },
    /// The trusted comment binds nothing.
    #[error(
        "{signer} signed these bytes, but not as a plugin: the trusted comment is {comment}, where `name=ID version=VERSION` has to stand"
    )]
    Unbound {
        /// Who signed.
        signer: String,
        /// What the comment is instead, quoted.
        comment: String,
    },
    /// It was made for another plugin.
    #[error("{signer} signed it as the plugin {signed}, but its manifest says {found}")]
    OtherId {
        /// Who signed.
        signer: String,
        /// The id that was signed.
        signed: String,
        /// The id in the manifest.
        found: String,
    },
    /// It was made for another version.
    #[error("{signer} signed it as version {signed}, but its manifest says {found}")]
    OtherVersion {
        /// Who signed.
        signer: String,
        /// The version that was signed.
        signed: String,
        /// The version in the manifest.
        found: String,
    },
    /// The signer may not sign this plugin.
    #[error("{signer} may sign {allowed}, but not the plugin {id}")]
    OutOfScope {
        /// Who signed.
        signer: String,
        /// The id in the manifest.
        id: String,
        /// What the operator lets it sign.
        allowed: String,
    },
    /// The signer's time is over.
    #[error("signatures by {signer} counted until {last} (UTC), and that day is over")]
    Expired {
        /// Who signed.
        signer: String,
        /// The last day.
        last: String,
    },
    /// The signer was revoked.
    #[error("{signer} is revoked: {reason}")]
    Revoked {
        /// Who signed.
        signer: String,
        /// Why, in the operator's words.
        reason: String,
    },
    /// A bundle doesn't prove what it says.
    #[error("the bundle does not prove that {signer} signed this component: {why}")]
    Unproven {
        /// Who is said to have signed.
        signer: String,
        /// What is missing or wrong.
        why: String,
    },
}

impl SignatureError {
    /// How telling it is among those of one component: the higher, the closer the signature
    /// came to counting.
    fn weight(&self) -> u8 {
        match self {
            SignatureError::Malformed { .. } => 0,
            SignatureError::UnknownKey(_) | SignatureError::UnknownIdentity { .. } => 1,
            SignatureError::Unproven { .. } => 2,
            SignatureError::OutOfScope { .. } => 3,
            SignatureError::Expired { .. } | SignatureError::Revoked { .. } => 4,
            SignatureError::Unbound { .. } => 5,
            SignatureError::OtherId { .. } | SignatureError::OtherVersion { .. } => 6,
            SignatureError::OtherBytes { .. } => 7,
        }
    }

    /// What the operator may do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            SignatureError::Malformed { .. } => {
                "get the signature again from whoever published the plugin"
            }
            SignatureError::UnknownKey(_) => {
                "if you know the key to be the author's, list its public key under `keys` in [policy.signatures]"
            }
            SignatureError::UnknownIdentity { .. } => {
                "if that is who you expect, list identity and issuer under `identities` in [policy.signatures]"
            }
            SignatureError::OtherBytes { .. } => {
                "don't use this component; get it and its signature again from whoever published it"
            }
            SignatureError::Unbound { .. } => {
                "ask the author to sign with `portreeve sign`, or with `minisign -t 'name=ID version=VERSION'`"
            }
            SignatureError::OtherId { .. } | SignatureError::OtherVersion { .. } => {
                "don't use this component: it is not what was asked for; or ask the author to sign it again"
            }
            SignatureError::OutOfScope { .. } => {
                "if it may sign this plugin as well, add the plugin's id to its `plugins` in [policy.signatures]"
            }
            SignatureError::Expired { .. } => {
                "ask the author for a signature by a current key; or set a later `not-after` in [policy.signatures]"
            }
            SignatureError::Revoked { .. } => {
                "don't use this component; ask the author for one that is signed by another key"
            }
            SignatureError::Unproven { .. } => {
                "get the bundle again; where the public log or its authorities have changed since this version of Portreeve, set `trust-root` in [policy.signatures] to a current trusted_root.json"
            }
        }
    }
}

/// What the operator says about a signer, whoever that is.
#[derive(Clone, Debug, Default)]
struct Terms {
    plugins: Option<Vec<PluginPattern>>,
    not_after: Option<Date>,
    revoked: Option<Reason>,
}

impl Terms {
    /// Whether the signer may sign this plugin today.
    fn allow(&self, signer: &str, what: &Subject<'_>) -> Result<(), SignatureError> {
        if let Some(reason) = &self.revoked {
            return Err(SignatureError::Revoked {
                signer: signer.to_owned(),
                reason: reason.as_str().to_owned(),
            });
        }
        if let Some(plugins) = &self.plugins
            && !plugins
                .iter()
                .any(|plugin| plugin.matches(what.id.as_str()))
        {
            let allowed: Vec<String> = plugins.iter().map(ToString::to_string).collect();
            return Err(SignatureError::OutOfScope {
                signer: signer.to_owned(),
                id: what.id.to_string(),
                allowed: shorten(&allowed.join(", ")),
            });
        }
        match self.not_after {
            Some(last) if is_over(last, what.now) => Err(SignatureError::Expired {
                signer: signer.to_owned(),
                last: last.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// Whether a day, in UTC, is over at a time.
fn is_over(last: Date, now: Timestamp) -> bool {
    let today = now.to_zoned(TimeZone::UTC).date();
    // A date before the year 0 is before any that a file can name.
    let year = u16::try_from(today.year()).unwrap_or_default();
    let part = |number: i8| u8::try_from(number).unwrap_or_default();
    (year, part(today.month()), part(today.day())) > last.ymd()
}
