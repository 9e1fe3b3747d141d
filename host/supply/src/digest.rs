//! The name of a package's bytes.

use std::fmt;
use std::io::Read as _;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The SHA-256 digest of a component file, written `sha256:` and 64 hexadecimal digits,
/// as registries write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no [`Digest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no digest: write `sha256:` and 64 lower-case hexadecimal digits")]
pub struct ParseDigestError(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The digest of what is read, and how many bytes it has; no more than `max` and one are
    /// read.
    pub(crate) fn of_reader(
        reader: impl std::io::Read,
        max: u64,
    ) -> std::io::Result<(Digest, u64)> {
        /// Bytes of one read: with more it gets no faster.
        const BUFFER_BYTES: usize = 128 << 10;
        let mut reader = reader.take(max.saturating_add(1));
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut length = 0_u64;
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => return Ok((Digest(hasher.finalize().into()), length)),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(buffer.get(..read).unwrap_or_default());
            length = length.saturating_add(read as u64);
        }
    }

    /// The 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits alone, as file names use them.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Digest, ParseDigestError> {
        // What is echoed is cut short: the text may come from anywhere.
        let refuse = || ParseDigestError(text.chars().take(80).collect());
        let hex = text.strip_prefix("sha256:").ok_or_else(refuse)?;
        let mut bytes = [0; 32];
        let mut digits = hex.bytes();
        for byte in &mut bytes {
            let mut digit = || match digits.next() {
                Some(digit @ b'0'..=b'9') => Some(digit - b'0'),
                Some(digit @ b'a'..=b'f') => Some(digit - b'a' + 10),
                _ => None,
            };
            let (high, low) = (digit().ok_or_else(refuse)?, digit().ok_or_else(refuse)?);
            *byte = high << 4 | low;
        }
        match digits.next() {
            None => Ok(Digest(bytes)),
            Some(_) => Err(refuse()),
        }
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digest_and_back() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Digest::of(b"")));
        assert_eq!(
            serde_json::from_str::<Digest>(&format!("\"{empty}\"")).unwrap(),
            Digest::of(b"")
        );
    }

    #[test]
    fn refused_texts() {
        let hex = Digest::of(b"").hex();
        for text in [
            "",
            &hex,
            "sha256:",
            &format!("sha512:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}", &hex[1..]),
            &format!("sha256:{}é", &hex[2..]),
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(error.to_string().contains("is no digest"), "{text}");
        }
    }
}
