//! Minisign signatures: detached, over the raw bytes or over their BLAKE2b digest, with a
//! trusted comment that says which plugin they are for.

use std::fmt;
use std::str::FromStr;

use portreeve_manifest::id::PluginId;
use semver::Version;

use super::{
    PublicKey, SIGNATURE_BYTES_MAX, SignatureError, SignatureFile, SignatureKind, Signer, Subject,
    Terms, Verifier,
};

/// The trusted comment of a plugin's signature: `name=ID version=VERSION`, and nothing else.
/// It is signed along with the bytes, so that a signature can't be used for another plugin
/// or version, even where the bytes don't say what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The plugin.
    pub id: PluginId,
    /// Its version.
    pub version: Version,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={} version={}", self.id, self.version)
    }
}

impl FromStr for Binding {
    type Err = ();

    fn from_str(text: &str) -> Result<Binding, ()> {
        let (name, version) = text.split_once(' ').ok_or(())?;
        let binding = Binding {
            id: PluginId::new(name.strip_prefix("name=").ok_or(())?).map_err(drop)?,
            version: Version::parse(version.strip_prefix("version=").ok_or(())?).map_err(drop)?,
        };
        // One spelling only.
        if binding.to_string() == text {
            Ok(binding)
        } else {
            Err(())
        }
    }
}

/// Verifies minisign signatures against the operator's keys.
#[derive(Clone, Debug, Default)]
pub struct Minisign {
    keys: Vec<Listed>,
}

/// A key that the operator lists.
#[derive(Clone, Debug)]
struct Listed {
    key: PublicKey,
    file: String,
    terms: Terms,
}

impl Minisign {
    /// Lists a key.
    pub(super) fn add(&mut self, key: PublicKey, file: String, terms: Terms) {
        self.keys.push(Listed { key, file, terms });
    }

    /// The file of a key that is listed already.
    pub(super) fn file_of(&self, key: &PublicKey) -> Option<&str> {
        let listed = self.keys.iter().find(|listed| listed.key == *key);
        listed.map(|listed| listed.file.as_str())
    }

    /// Whether a key may sign a plugin today.
    pub(super) fn allows(&self, key: &PublicKey, what: &Subject<'_>) -> Result<(), SignatureError> {
        let listed = self.keys.iter().find(|listed| listed.key == *key);
        let listed = listed.ok_or_else(|| SignatureError::UnknownKey(key.id()))?;
        listed.terms.allow(&listed.words(), what)
    }
}

impl Listed {
    fn words(&self) -> String {
        self.signer().words()
    }

    fn signer(&self) -> Signer {
        Signer::Key {
            key: self.key.clone(),
            file: self.file.clone(),
        }
    }

    /// Whether this key made the signature, for this plugin, and may.
    fn verify(
        &self,
        artifact: &[u8],
        signature: &minisign_verify::Signature,
        what: &Subject<'_>,
    ) -> Result<Signer, SignatureError> {
        let signer = self.words();
        // Both kinds of signatures count: the tools of before 2021 hash nothing.
        if self.key.verify(artifact, signature).is_err() {
            return Err(SignatureError::OtherBytes { signer });
        }
        let comment = signature.trusted_comment();
        let Ok(binding) = comment.parse::<Binding>() else {
            return Err(SignatureError::Unbound {
                signer,
                comment: quoted(comment),
            });
        };
        if binding.id != *what.id {
            return Err(SignatureError::OtherId {
                signer,
                signed: binding.id.to_string(),
                found: what.id.to_string(),
            });
        }
        if binding.version != *what.version {
            return Err(SignatureError::OtherVersion {
                signer,
                signed: binding.version.to_string(),
                found: what.version.to_string(),
            });
        }
        self.terms.allow(&signer, what)?;
        Ok(self.signer())
    }
}

impl Verifier for Minisign {
    fn verify(
        &self,
        artifact: &[u8],
        signature: &SignatureFile,
        what: &Subject<'_>,
    ) -> Result<Signer, SignatureError> {
        let malformed = |why: &str| SignatureError::Malformed {
            kind: SignatureKind::Minisign,
            why: why.to_owned(),
        };
        if signature.bytes.len() > SIGNATURE_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let text = std::str::from_utf8(&signature.bytes).map_err(|_| malformed("it is no text"))?;
        let id = signed_by(text).ok_or_else(|| malformed("it doesn't say which key made it"))?;
        let decoded = minisign_verify::Signature::decode(text)
            .map_err(|error| malformed(&error.to_string()))?;
        let mut result = Err(SignatureError::UnknownKey(id.clone()));
        // Whoever makes a key chooses its number, so that two may have the same.
        for listed in self.keys.iter().filter(|listed| listed.key.id() == id) {
            match listed.verify(artifact, &decoded, what) {
                Ok(signer) => return Ok(signer),
                Err(error) if result.as_ref().is_err_and(|e| e.weight() < error.weight()) => {
                    result = Err(error);
                }
                Err(_) => {}
            }
        }
        result
    }
}

/// The number of the key that made a signature, as the file says.
fn signed_by(text: &str) -> Option<String> {
    use base64::Engine as _;
    let line = text.lines().nth(1)?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(line)
        .ok()?;
    let number: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
    Some(super::keys::number(number))
}

/// A comment as a message quotes it: it was signed, but by whom is not yet said.
fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    let start: String = text.chars().take(CHARS_MAX).collect();
    let more = if text.chars().nth(CHARS_MAX).is_some() {
        "…"
    } else {
        ""
    };
    format!("`{}{more}`", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bindings_have_one_spelling() {
        for good in [
            "name=a version=1.0.0",
            "name=acme-charts version=0.1.0-rc.1+build.5",
        ] {
            assert_eq!(good.parse::<Binding>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "timestamp:1555779966\tfile:test",
            "name=a",
            "version=1.0.0",
            "version=1.0.0 name=a",
            "name=a  version=1.0.0",
            " name=a version=1.0.0",
            "name=a version=1.0.0 ",
            "name=a version=1.0.0 more=1",
            "name=a version=1.0",
            "name=a version=01.0.0",
            "name=A version=1.0.0",
            "name= version=1.0.0",
            "name=a\tversion=1.0.0",
            "Name=a version=1.0.0",
            "name=\u{430} version=1.0.0",
        ] {
            assert!(bad.parse::<Binding>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_signature_file_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "untrusted comment: .{0,9}\n[A-Za-z0-9+/=]{0,104}\n(trusted comment: )?.{0,20}\n[A-Za-z0-9+/=]{0,90}") {
            let (id, version) = (PluginId::new("a").unwrap(), Version::new(1, 0, 0));
            let what = Subject { id: &id, version: &version, now: jiff::Timestamp::UNIX_EPOCH };
            for bytes in [bytes, text.into_bytes()] {
                let file = SignatureFile { kind: SignatureKind::Minisign, bytes };
                prop_assert!(Minisign::default().verify(b"", &file, &what).is_err());
            }
        }
    }
}
