//! The decision over a component's signatures, by the operator's policy.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use portreeve_manifest::id::Alias;
use portreeve_manifest::policy::SignaturePolicy;
use serde::Serialize;

use super::{
    KeyError, Locked, Minisign, PublicKey, SIGNATURES_MAX, SignatureError, SignatureFile,
    SignatureKind, Signer, Sigstore, Subject, Terms, Verifier,
};
use crate::change::Turn;

/// The longest `trusted_root.json`, in bytes: those in use have up to about 15 KB.
const TRUST_ROOT_BYTES_MAX: u64 = 1 << 20;

/// The operator's policy with its keys read.
pub struct Trust {
    minisign: Minisign,
    sigstore: Sigstore,
}

/// Why a policy can't be used, and where that stands in `portreeve.toml`.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {message}", place.join("."))]
pub struct TrustError {
    /// The keys and indices to the setting, from `policy` on.
    pub place: Vec<String>,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What is demanded of one component.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// What the operator calls it.
    pub alias: &'a Alias,
    /// Whether somebody must have signed it; see [`SignaturePolicy::requires`].
    pub required: bool,
    /// Who signed what was agreed to, as the lockfile says: of several signers the same one
    /// is preferred.
    pub agreed: Option<&'a str>,
}

/// What a look at the signatures has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Who signed; none only where nobody needs to.
    pub signer: Option<Signer>,
    /// The signatures that don't count, and why.
    pub passed_over: Vec<(SignatureKind, SignatureError)>,
}

/// Why a component may not run, as far as its signatures go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{}: the component of `{alias}` {finding}; {advice}", Refusal::STEP)]
pub struct Refusal {
    /// What the operator calls the plugin.
    pub alias: Alias,
    /// What is wrong.
    pub finding: String,
    /// What the operator may do.
    pub advice: String,
}

impl Refusal {
    /// The step of the gate that refuses.
    pub const STEP: &'static str = "signature";
}

impl Trust {
    /// Reads the files that a policy names, relative to the project's directory.
    ///
    /// # Errors
    /// A file can't be read or isn't what it should be; a key is listed twice.
    pub fn load(policy: &SignaturePolicy, project: &Path) -> Result<Trust, TrustError> {
        let mut minisign = Minisign::default();
        for (index, listed) in policy.keys.iter().enumerate() {
            let refuse = |message| TrustError {
                place: place(&["keys", &index.to_string(), "file"]),
                message,
            };
            let key = PublicKey::read(&project.join(&listed.file))
                .map_err(|error: KeyError| refuse(error.to_string()))?;
            if let Some(file) = minisign.file_of(&key) {
                return Err(refuse(format!(
                    "this is the same key as in `{file}`; list it once"
                )));
            }
            let terms = Terms {
                plugins: listed.plugins.clone(),
                not_after: listed.not_after,
                revoked: listed.revoked.clone(),
            };
            minisign.add(key, listed.file.clone(), terms);
        }
        let refuse = |message| TrustError {
            place: place(&["trust-root"]),
            message,
        };
        let root = match &policy.trust_root {
            None => None,
            Some(file) => Some(read_text(&project.join(file)).map_err(refuse)?),
        };
        let sigstore = Sigstore::new(root.as_deref(), policy.identities.clone()).map_err(|why| {
            refuse(format!(
                "this is no trust root of Sigstore: {why}; get a current trusted_root.json (`cosign trusted-root create` makes one)"
            ))
        })?;
        Ok(Trust { minisign, sigstore })
    }

    /// Decides over the signatures of a component. One that counts is enough, whatever the
    /// others are: anybody can put a bad signature beside a component.
    ///
    /// Where no signature is required, one that doesn't count is passed over too: whoever
    /// changed a component could as well have removed it.
    ///
    /// # Errors
    /// A signature is required, and none counts.
    pub fn examine(
        &self,
        artifact: &[u8],
        signatures: &[SignatureFile],
        what: &Subject<'_>,
        demand: &Demand<'_>,
    ) -> Result<Examined, Refusal> {
        let mut signers = Vec::new();
        let mut passed_over = Vec::new();
        for signature in signatures.iter().take(SIGNATURES_MAX) {
            let verifier: &dyn Verifier = match signature.kind {
                SignatureKind::Minisign => &self.minisign,
                SignatureKind::SigstoreBundle => &self.sigstore,
            };
            match verifier.verify(artifact, signature, what) {
                Ok(signer) => signers.push(signer),
                Err(error) => passed_over.push((signature.kind, error)),
            }
        }
        // In an order of their own: registries list signatures in any.
        signers.sort_by_key(|signer| (!self.continues(demand.agreed, signer), signer.to_string()));
        let signer = signers.into_iter().next();
        if signer.is_some() || !demand.required {
            return Ok(Examined {
                signer,
                passed_over,
            });
        }
        Err(refusal(demand.alias, &passed_over, signatures.len()))
    }

    /// Judges a signer who was found earlier by the policy as it is now: listed still,
    /// neither revoked nor over, and allowed to sign this plugin. It needs no signature,
    /// since the lockfile's digest binds the component.
    ///
    /// # Errors
    /// Why a component of this signer may not run any more.
    pub fn judge(&self, line: &str, what: &Subject<'_>, alias: &Alias) -> Result<(), Refusal> {
        let judged = match Locked::parse(line) {
            Some(Locked::Key(key)) => self.minisign.allows(&key, what),
            Some(Locked::Identity(identity, issuer)) => {
                self.sigstore.allows(identity, issuer, what)
            }
            None => {
                return Err(Refusal {
                    alias: alias.clone(),
                    finding: "has a signer in portreeve.lock that can't be read".to_owned(),
                    advice: format!("install it again with `portreeve update {alias}`"),
                });
            }
        };
        judged.map_err(|error| Refusal {
            alias: alias.clone(),
            finding: format!("has a signature that counts no more: {error}"),
            advice: error.advice().to_owned(),
        })
    }

    /// How the signer differs from the one that was agreed to, if it does.
    pub fn turn(&self, agreed: Option<&str>, now: Option<&Signer>) -> Option<Turn> {
        let same = match now {
            Some(signer) => self.continues(agreed, signer),
            None => agreed.is_none(),
        };
        (!same).then(|| Turn {
            before: agreed.map(str::to_owned),
            now: now.map(ToString::to_string),
        })
    }

    /// Whether a signer is the one that was agreed to: the same key, or an identity for
    /// which the operator has written one entry that covers both (workflows on code forges
    /// have the tag in their identity, and so another one for each version).
    fn continues(&self, agreed: Option<&str>, signer: &Signer) -> bool {
        let Some(agreed) = agreed else { return false };
        if agreed == signer.to_string() {
            return true;
        }
        match (Locked::parse(agreed), signer) {
            (Some(Locked::Identity(before, vouched)), Signer::Identity { identity, issuer }) => {
                let mut listed = self.sigstore.listed(identity, issuer);
                vouched == issuer && listed.any(|listed| listed.identity.matches(before))
            }
            _ => false,
        }
    }
}

/// Says that none of a component's signatures counts, by the most telling of the reasons.
fn refusal(
    alias: &Alias,
    passed_over: &[(SignatureKind, SignatureError)],
    found: usize,
) -> Refusal {
    let telling = passed_over.iter().max_by_key(|(_, error)| error.weight());
    let Some((kind, error)) = telling else {
        return Refusal {
            alias: alias.clone(),
            finding: "is not signed, but must be".to_owned(),
            advice: "ask the author for a signature; or, to run it all the same, write `require = \"none\"` in [policy.signatures]".to_owned(),
        };
    };
    let others = match found - 1 {
        0 => String::new(),
        others => format!(" (nor does any of {others} more)"),
    };
    Refusal {
        alias: alias.clone(),
        finding: format!("has a {kind} that doesn't count: {error}{others}"),
        advice: error.advice().to_owned(),
    }
}

fn place(path: &[&str]) -> Vec<String> {
    ["policy", "signatures"]
        .iter()
        .chain(path)
        .map(ToString::to_string)
        .collect()
}

fn read_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        let mut bounded = file.take(TRUST_ROOT_BYTES_MAX + 1);
        bounded.read_to_string(&mut text)
    });
    read.map_err(|error| format!("`{shown}` can't be read: {error}"))?;
    if text.len() as u64 > TRUST_ROOT_BYTES_MAX {
        return Err(format!(
            "`{shown}` has more than {TRUST_ROOT_BYTES_MAX} bytes"
        ));
    }
    Ok(text)
}
