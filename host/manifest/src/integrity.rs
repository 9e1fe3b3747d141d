//! What the bytes of a download must hash to.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use crate::text::{quoted, written_as_string};

/// What some bytes hash to, by SHA-256 or SHA-512.
///
/// It is read in two spellings, and written in the first: `sha256:` and hexadecimal digits, as
/// registries have it, and `sha256-` and base64, as web pages have it (Subresource Integrity);
/// `sha512` likewise. Nothing is mended: one text stands for one value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512([u8; 64]),
}

/// A text that is no [`Integrity`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} is no digest: {why}")]
pub struct IntegrityError {
    /// The refused text as the message quotes it.
    text: String,
    /// What to do about it.
    why: &'static str,
}

impl Integrity {
    /// What some bytes hash to by SHA-512.
    pub fn sha512(bytes: &[u8]) -> Integrity {
        Integrity::Sha512(Sha512::digest(bytes).into())
    }

    /// Whether these are the bytes.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        match self {
            Integrity::Sha256(digest) => Sha256::digest(bytes)[..] == digest[..],
            Integrity::Sha512(digest) => Sha512::digest(bytes)[..] == digest[..],
        }
    }

    /// The same algorithm's digest of other bytes, for a message.
    #[must_use]
    pub fn found(&self, bytes: &[u8]) -> Integrity {
        match self {
            Integrity::Sha256(_) => Integrity::Sha256(Sha256::digest(bytes).into()),
            Integrity::Sha512(_) => Integrity::Sha512(Sha512::digest(bytes).into()),
        }
    }

    /// The spelling of Subresource Integrity: `sha256-` and base64.
    pub fn sri(&self) -> String {
        format!(
            "{}-{}",
            self.algorithm(),
            BASE64_STANDARD.encode(self.bytes())
        )
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Integrity::Sha256(_) => "sha256",
            Integrity::Sha512(_) => "sha512",
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Integrity::Sha256(digest) => digest,
            Integrity::Sha512(digest) => digest,
        }
    }

    /// An algorithm's digest of so many bytes.
    fn new(algorithm: &str, bytes: &[u8]) -> Result<Integrity, &'static str> {
        match algorithm {
            "sha256" => bytes
                .try_into()
                .map(Integrity::Sha256)
                .map_err(|_| "a sha256 has 64 hexadecimal digits, or 44 characters of base64"),
            "sha512" => bytes
                .try_into()
                .map(Integrity::Sha512)
                .map_err(|_| "a sha512 has 128 hexadecimal digits, or 88 characters of base64"),
            _ => Err(
                "write `sha256:` or `sha512:` and lower-case hexadecimal digits, or `sha256-` or `sha512-` and base64",
            ),
        }
    }
}

impl FromStr for Integrity {
    type Err = IntegrityError;

    fn from_str(text: &str) -> Result<Integrity, IntegrityError> {
        let parsed = match text.split_once([':', '-']) {
            Some((algorithm, digits)) if text.as_bytes().get(algorithm.len()) == Some(&b':') => {
                Integrity::new(algorithm, &unhex(digits).unwrap_or_default())
            }
            // Strict: padded, and without bits that stand for nothing.
            Some((algorithm, encoded)) => Integrity::new(
                algorithm,
                &BASE64_STANDARD.decode(encoded).unwrap_or_default(),
            ),
            None => Integrity::new("", &[]),
        };
        parsed.map_err(|why| IntegrityError {
            text: quoted(text),
            why,
        })
    }
}

/// Bytes of lower-case hexadecimal digits.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm())?;
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Integrity({self})")
    }
}

written_as_string!(Integrity, {
    "type": "string",
    "description": "A digest: `sha256:` or `sha512:` and hexadecimal digits, or `sha256-` or `sha512-` and base64.",
    "pattern": "^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128}|256-[A-Za-z0-9+/]{43}=|512-[A-Za-z0-9+/]{86}==)$",
});

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn known_digests() {
        let spellings = [
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
            "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        ];
        for text in spellings {
            let integrity: Integrity = text.parse().unwrap();
            assert!(integrity.is_of(b"") && !integrity.is_of(b"a"), "{text}");
            assert!(text == integrity.to_string() || text == integrity.sri());
            assert_eq!(integrity.found(b""), integrity);
        }
    }

    #[test]
    fn refused_texts() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let shown: String = [
            String::new(),
            hex.to_owned(),
            "sha256:".to_owned(),
            format!("sha512:{hex}"),
            format!("SHA256:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha256: {hex}"),
            format!("sha256:{}é", &hex[2..]),
            format!("md5:{}", &hex[32..]),
            // Without padding, with bits that stand for nothing, in the alphabet of URLs, two.
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".to_owned(),
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=".to_owned(),
            "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned(),
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned(),
        ]
        .iter()
        .map(|text| format!("{}\n", text.parse::<Integrity>().unwrap_err()))
        .collect();
        expect![[r#"
            `` is no digest: write `sha256:` or `sha512:` and lower-case hexadecimal digits, or `sha256-` or `sha512-` and base64
            `e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855` is no digest: write `sha256:` or `sha512:` and lower-case hexadecimal digits, or `sha256-` or `sha512-` and base64
            `sha256:` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855` is no digest: a sha512 has 128 hexadecimal digits, or 88 characters of base64
            `SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855` is no digest: write `sha256:` or `sha512:` and lower-case hexadecimal digits, or `sha256-` or `sha512-` and base64
            `sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `sha256:b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855é` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `md5:27ae41e4649b934ca495991b7852b855` is no digest: write `sha256:` or `sha512:` and lower-case hexadecimal digits, or `sha256-` or `sha512-` and base64
            `sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSu…` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
        "#]].assert_eq(&shown);
    }

    proptest! {
        #[test]
        fn every_value_reads_back(wide in any::<[u8; 64]>(), is_wide: bool) {
            let mut narrow = [0; 32];
            narrow.copy_from_slice(&wide[..32]);
            let integrity = if is_wide { Integrity::Sha512(wide) } else { Integrity::Sha256(narrow) };
            prop_assert_eq!(integrity.to_string().parse::<Integrity>().unwrap(), integrity);
            prop_assert_eq!(integrity.sri().parse::<Integrity>().unwrap(), integrity);
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "sha(256|512)[:-][0-9a-fA-F+/=]{0,130}|.{0,80}") {
            if let Ok(integrity) = text.parse::<Integrity>() {
                prop_assert!(text == integrity.to_string() || text == integrity.sri());
            }
        }

        #[test]
        fn the_pattern_says_no_less(wide in any::<[u8; 64]>()) {
            let validator = jsonschema::validator_for(&schemars::schema_for!(Integrity).to_value()).unwrap();
            let integrity = Integrity::Sha512(wide);
            prop_assert!(validator.is_valid(&integrity.to_string().into()));
            prop_assert!(validator.is_valid(&integrity.sri().into()));
        }
    }
}
