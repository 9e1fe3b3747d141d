//! Sigstore bundles, verified offline: certificate, transparency log and signature, against
//! a trust root that is at hand.
//!
//! A bundle says nothing of plugins: id and version are what stands in the signed bytes.
//! Only signatures of the component itself count (`cosign sign-blob`, `sigstore sign`). An
//! attestation *about* it (in-toto) may say anything, even that it is bad, and counts as
//! none. Neither do bundles without a certificate: keys are minisign's.

use portreeve_manifest::policy::SigningIdentity;
use sigstore_verify::crypto::{SubjectAltName, parse_certificate_info};
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::types::{Bundle, SignatureContent};
use sigstore_verify::{Error, VerificationPolicy};

use super::{
    SIGNATURE_BYTES_MAX, SignatureError, SignatureFile, SignatureKind, Signer, Subject, Terms,
    Verifier, crypto,
};
use crate::error::shorten;

/// Verifies Sigstore bundles of the identities that the operator lists.
pub struct Sigstore {
    verifier: sigstore_verify::Verifier,
    identities: Vec<SigningIdentity>,
}

impl Sigstore {
    /// Verifies against a `trusted_root.json`, or the public one that comes with this host.
    ///
    /// # Errors
    /// A sentence: the trust root can't be used.
    pub(super) fn new(
        trusted_root: Option<&str>,
        identities: Vec<SigningIdentity>,
    ) -> Result<Sigstore, String> {
        crypto::install();
        let json = trusted_root.unwrap_or(SIGSTORE_PRODUCTION_TRUSTED_ROOT);
        let verifier = TrustedRoot::from_json(json)
            .map_err(|error| error.to_string())
            .and_then(|root| {
                sigstore_verify::Verifier::new(&root).map_err(|error| error.to_string())
            })
            .map_err(|why| shorten(&why))?;
        Ok(Sigstore {
            verifier,
            identities,
        })
    }

    /// Whether an identity may sign a plugin today.
    pub(super) fn allows(
        &self,
        identity: &str,
        issuer: &str,
        what: &Subject<'_>,
    ) -> Result<(), SignatureError> {
        let mut result = Err(SignatureError::UnknownIdentity {
            identity: shorten(identity),
            issuer: shorten(issuer),
        });
        for listed in self.listed(identity, issuer) {
            result = terms(listed).allow(&words(identity, issuer), what);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// The operator's entries that an identity falls under.
    pub(super) fn listed<'a>(
        &'a self,
        identity: &'a str,
        issuer: &'a str,
    ) -> impl Iterator<Item = &'a SigningIdentity> {
        self.identities.iter().filter(move |listed| {
            listed.issuer.as_str() == issuer
                && listed.identity.is_uri() == is_uri(identity)
                && listed.identity.matches(identity)
        })
    }
}

impl Verifier for Sigstore {
    fn verify(
        &self,
        artifact: &[u8],
        signature: &SignatureFile,
        what: &Subject<'_>,
    ) -> Result<Signer, SignatureError> {
        let bundle = read(&signature.bytes).map_err(malformed)?;
        let (san, issuer) = claims(&bundle).map_err(malformed)?;
        let identity = san.as_str();
        // What the certificate says is not yet proven; but who isn't listed needs no proof.
        if self.listed(identity, &issuer).next().is_none() {
            return Err(SignatureError::UnknownIdentity {
                identity: shorten(identity),
                issuer: shorten(&issuer),
            });
        }
        let signer = words(identity, &issuer);
        // Identity and issuer are both demanded once more, exactly and with the kind.
        let policy = VerificationPolicy::new(&san, issuer.as_str());
        let result = self
            .verifier
            .verify(artifact, &bundle, &policy)
            .map_err(|error| explain(&error, &signer))?;
        let proven = result.certificate_verified()
            && result.sct_verified()
            && result.tlog_verified()
            && result.identity_policy_checked()
            && result.identity() == Some(&san)
            && result.issuer() == Some(issuer.as_str());
        if !proven {
            return Err(SignatureError::Unproven {
                signer,
                why: "not every part of it was verified".to_owned(),
            });
        }
        self.allows(identity, &issuer, what)?;
        Ok(Signer::Identity {
            identity: identity.to_owned(),
            issuer,
        })
    }
}

/// Reads a bundle that holds a signature of a file.
fn read(bytes: &[u8]) -> Result<Bundle, String> {
    if bytes.len() > SIGNATURE_BYTES_MAX {
        return Err(format!("it has more than {SIGNATURE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
    let bundle = Bundle::from_json(text).map_err(|error| shorten(&error.to_string()))?;
    match bundle.content {
        SignatureContent::MessageSignature(_) => Ok(bundle),
        _ => Err(
            "it is an attestation about the component, not a signature of it (`cosign sign-blob` makes one)"
                .to_owned(),
        ),
    }
}

/// Who signed and who vouches for that, as the certificate says.
fn claims(bundle: &Bundle) -> Result<(SubjectAltName, String), String> {
    let certificate = bundle.signing_certificate().ok_or(
        "it has no certificate, but was made with a key; of keys only those of minisign count here",
    )?;
    let info = parse_certificate_info(certificate).map_err(|error| shorten(&error.to_string()))?;
    let identity = info.identity.ok_or("its certificate names nobody")?;
    let issuer = info
        .issuer
        .ok_or("its certificate doesn't say who vouches for the identity")?;
    let kind = match &identity {
        SubjectAltName::Uri(uri) => is_uri(uri),
        SubjectAltName::Email(email) => !is_uri(email),
        _ => false,
    };
    // The lockfile separates the two by a space.
    let odd = |text: &str| text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !kind || odd(identity.as_str()) || odd(&issuer) {
        return Err("its certificate names neither a URI nor an email address".to_owned());
    }
    Ok((identity, issuer))
}

fn is_uri(identity: &str) -> bool {
    identity.contains("://")
}

fn terms(listed: &SigningIdentity) -> Terms {
    Terms {
        plugins: listed.plugins.clone(),
        not_after: listed.not_after,
        revoked: listed.revoked.clone(),
    }
}

fn words(identity: &str, issuer: &str) -> String {
    Signer::Identity {
        identity: shorten(identity),
        issuer: shorten(issuer),
    }
    .words()
}

fn malformed(why: impl Into<String>) -> SignatureError {
    SignatureError::Malformed {
        kind: SignatureKind::SigstoreBundle,
        why: why.into(),
    }
}

fn explain(error: &Error, signer: &str) -> SignatureError {
    let signer = signer.to_owned();
    match error {
        Error::ArtifactMismatch(_) | Error::SignatureInvalid(_) => {
            SignatureError::OtherBytes { signer }
        }
        error => SignatureError::Unproven {
            signer,
            why: shorten(&error.to_string()),
        },
    }
}
