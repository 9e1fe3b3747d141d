//! What is kept in the vault: values of a few kinds, each made of named fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::VaultError;

/// Longest value, all its fields together, in bytes: a certificate chain with its key is far
/// shorter.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// One field of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What to ask a person for.
    pub prompt: &'static str,
    /// Whether it is secret itself, and so never shown while it is typed.
    pub secret: bool,
    /// Whether it may be left empty.
    pub optional: bool,
    /// Whether it has several lines, and so comes from a file.
    pub lines: bool,
}

const fn secret(name: &'static str, prompt: &'static str) -> Field {
    Field {
        name,
        prompt,
        secret: true,
        optional: false,
        lines: false,
    }
}

const fn plain(name: &'static str, prompt: &'static str) -> Field {
    Field {
        secret: false,
        ..secret(name, prompt)
    }
}

const fn optional(field: Field) -> Field {
    Field {
        optional: true,
        ..field
    }
}

const fn lines(field: Field) -> Field {
    Field {
        lines: true,
        ..field
    }
}

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKind {
    /// A key that goes into a header or a query parameter.
    ApiKey,
    /// A token for `Authorization: Bearer`.
    Bearer,
    /// A user and a password.
    Basic,
    /// A client that gets tokens for itself: RFC 6749, section 4.4.
    OAuth2ClientCredentials,
    /// A token that others are got with: RFC 6749, section 6.
    OAuth2RefreshToken,
    /// A client certificate and its key, as PEM.
    Certificate,
    /// A private key for SSH.
    SshKey,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: [SecretKind; 7] = [
        SecretKind::ApiKey,
        SecretKind::Bearer,
        SecretKind::Basic,
        SecretKind::OAuth2ClientCredentials,
        SecretKind::OAuth2RefreshToken,
        SecretKind::Certificate,
        SecretKind::SshKey,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            SecretKind::ApiKey => "api-key",
            SecretKind::Bearer => "bearer",
            SecretKind::Basic => "basic",
            SecretKind::OAuth2ClientCredentials => "oauth2-client-credentials",
            SecretKind::OAuth2RefreshToken => "oauth2-refresh-token",
            SecretKind::Certificate => "certificate",
            SecretKind::SshKey => "ssh-key",
        }
    }

    /// What it is made of.
    pub const fn fields(self) -> &'static [Field] {
        const API_KEY: &[Field] = &[secret("value", "API key")];
        const BEARER: &[Field] = &[secret("value", "Token")];
        const BASIC: &[Field] = &[plain("user", "User"), secret("password", "Password")];
        const CLIENT: &[Field] = &[
            plain("token-url", "Token URL"),
            plain("client-id", "Client id"),
            secret("client-secret", "Client secret"),
            optional(plain("scopes", "Scopes, parted by spaces (may be empty)")),
        ];
        const REFRESH: &[Field] = &[
            plain("token-url", "Token URL"),
            plain("client-id", "Client id"),
            optional(secret("client-secret", "Client secret (may be empty)")),
            secret("refresh-token", "Refresh token"),
            optional(plain("scopes", "Scopes, parted by spaces (may be empty)")),
        ];
        const CERTIFICATE: &[Field] = &[
            lines(plain("certificate", "Certificate chain, PEM")),
            lines(secret("key", "Private key, PEM")),
        ];
        const SSH: &[Field] = &[
            lines(secret("key", "Private key")),
            optional(secret("passphrase", "Passphrase of the key (may be empty)")),
        ];
        match self {
            SecretKind::ApiKey => API_KEY,
            SecretKind::Bearer => BEARER,
            SecretKind::Basic => BASIC,
            SecretKind::OAuth2ClientCredentials => CLIENT,
            SecretKind::OAuth2RefreshToken => REFRESH,
            SecretKind::Certificate => CERTIFICATE,
            SecretKind::SshKey => SSH,
        }
    }
}

impl std::fmt::Display for SecretKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for SecretKind {
    type Err = String;

    fn from_str(text: &str) -> Result<SecretKind, String> {
        let found = SecretKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text);
        found.ok_or_else(|| {
            let all: Vec<_> = SecretKind::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("there is no kind `{text}`; there are {}", all.join(", "))
        })
    }
}

/// A text that is gone from memory when it is dropped, also when what follows it does not
/// parse.
struct Hidden(Zeroizing<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Hidden, D::Error> {
        String::deserialize(from).map(|text| Hidden(Zeroizing::new(text)))
    }
}

/// A value of some kind. Gone from memory when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue {
    kind: SecretKind,
    fields: BTreeMap<&'static str, Zeroizing<String>>,
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretValue({}, …)", self.kind)
    }
}

impl SecretValue {
    /// A value of these fields.
    ///
    /// # Errors
    /// A field is missing, unknown or too long; its content is not repeated.
    pub fn new(
        kind: SecretKind,
        fields: impl IntoIterator<Item = (String, Zeroizing<String>)>,
    ) -> Result<SecretValue, VaultError> {
        let mut value = SecretValue {
            kind,
            fields: BTreeMap::new(),
        };
        for (name, text) in fields {
            let Some(field) = kind.fields().iter().find(|field| field.name == name) else {
                let known: Vec<_> = kind.fields().iter().map(|field| field.name).collect();
                return Err(VaultError::Value(format!(
                    "a secret of kind {kind} has no such field; it has {}",
                    known.join(", ")
                )));
            };
            if !text.is_empty() {
                value.fields.insert(field.name, text);
            }
        }
        let bytes: usize = value.fields.values().map(|text| text.len()).sum();
        if bytes > VALUE_BYTES_MAX {
            return Err(VaultError::Value(format!(
                "the value has more than {VALUE_BYTES_MAX} bytes"
            )));
        }
        for field in kind.fields() {
            if !field.optional && !value.fields.contains_key(field.name) {
                return Err(VaultError::Value(format!(
                    "`{}` is missing: a secret of kind {kind} needs it",
                    field.name
                )));
            }
        }
        Ok(value)
    }

    /// Reads a value as it comes from a file or a pipe: the text itself for a kind of one
    /// field (one line end at its end is not part of it), else a JSON object of its fields.
    ///
    /// # Errors
    /// It is neither, or could not stand where it is to stand; its content is not repeated.
    pub fn read(kind: SecretKind, text: &str) -> Result<SecretValue, VaultError> {
        let value = SecretValue::parse(kind, text)?;
        // Later it would break the header that it stands in, or add one.
        for field in kind.fields().iter().filter(|field| !field.lines) {
            let text = value.field(field.name).unwrap_or_default();
            if text.chars().any(char::is_control) {
                return Err(VaultError::Value(format!(
                    "`{}` has a line end or another control character in it, which it must not",
                    field.name
                )));
            }
        }
        // RFC 7617, section 2: what is behind the colon would be taken for the password.
        if kind == SecretKind::Basic && value.field("user").is_some_and(|user| user.contains(':')) {
            return Err(VaultError::Value(
                "`user` has a colon in it, which it must not".to_owned(),
            ));
        }
        Ok(value)
    }

    fn parse(kind: SecretKind, text: &str) -> Result<SecretValue, VaultError> {
        if let [only] = kind.fields() {
            let text = text.strip_suffix('\n').unwrap_or(text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            let field = (only.name.to_owned(), Zeroizing::new(text.to_owned()));
            return SecretValue::new(kind, [field]);
        }
        // What serde says of a mistake may quote the text.
        let fields: BTreeMap<String, Hidden> = serde_json::from_str(text).map_err(|_| {
            let names: Vec<_> = kind.fields().iter().map(|field| field.name).collect();
            VaultError::Value(format!(
                "a secret of kind {kind} is a JSON object of text: {}",
                names.join(", ")
            ))
        })?;
        SecretValue::new(kind, fields.into_iter().map(|(name, text)| (name, text.0)))
    }

    /// What it is for.
    pub fn kind(&self) -> SecretKind {
        self.kind
    }

    /// One of its fields.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|text| text.as_str())
    }

    /// The value as a plugin reads it that may: the text itself for a kind of one field, else
    /// a JSON object of its fields.
    pub fn to_text(&self) -> Zeroizing<String> {
        match (self.kind.fields(), self.fields.first_key_value()) {
            ([_], Some((_, text))) => text.clone(),
            _ => self.to_json(),
        }
    }

    /// All fields as a JSON object.
    pub(super) fn to_json(&self) -> Zeroizing<String> {
        let fields: BTreeMap<&str, &str> = self
            .fields
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        // Room for all of it at once: growing would leave copies behind.
        let bytes: usize = fields
            .iter()
            .map(|(name, text)| name.len() + text.len())
            .sum();
        let mut json = Vec::with_capacity(bytes.saturating_mul(6).saturating_add(64));
        if serde_json::to_writer(&mut json, &fields).is_err() {
            // Text always has a form in JSON.
            return Zeroizing::default();
        }
        Zeroizing::new(String::from_utf8(json).unwrap_or_default())
    }

    pub(super) fn from_json(kind: SecretKind, json: &str) -> Result<SecretValue, VaultError> {
        let fields: BTreeMap<String, Hidden> = serde_json::from_str(json)
            .map_err(|_| VaultError::Value("what was sealed is no secret".to_owned()))?;
        SecretValue::new(kind, fields.into_iter().map(|(name, text)| (name, text.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_by_their_kind() {
        let read = |kind: &str, text: &str| SecretValue::read(kind.parse().unwrap(), text);
        let key = read("api-key", "s3cr3t\n").unwrap();
        assert_eq!(key.to_text().as_str(), "s3cr3t");
        let basic = read("basic", r#"{"user":"ada","password":"p"}"#).unwrap();
        assert_eq!(basic.field("user"), Some("ada"));
        assert_eq!(basic.to_text().as_str(), r#"{"password":"p","user":"ada"}"#);
        for (kind, text, said) in [
            ("api-key", "", "`value` is missing"),
            ("basic", "CANARY", "a JSON object of text: user, password"),
            ("basic", r#"{"user":"CANARY"}"#, "`password` is missing"),
            (
                "basic",
                r#"{"CANARY":"x","user":"u","password":"p"}"#,
                "no such field",
            ),
            ("bearer", "CANARY\r\nX-Admin: 1", "control character"),
            ("api-key", "CANARY\n\n", "control character"),
            ("api-key", "CANARY\0", "control character"),
            (
                "basic",
                r#"{"user":"u","password":"CANARY\nx"}"#,
                "control character",
            ),
            ("basic", r#"{"user":"CANARY:x","password":"p"}"#, "a colon"),
        ] {
            let error = read(kind, text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("CANARY"), "{error}");
        }
        let long = "x".repeat(VALUE_BYTES_MAX);
        assert!(read("bearer", &long).is_ok());
        assert!(read("bearer", &format!("{long}x")).is_err());
        // All fields count together.
        let half = "x".repeat(VALUE_BYTES_MAX / 2);
        let text = format!(r#"{{"certificate":"{half}","key":"{half}"}}"#);
        assert!(read("certificate", &text).is_ok());
        assert!(read("certificate", &text.replace(":\"x", ":\"xx")).is_err());
        // Lines are what these are made of.
        assert!(read("ssh-key", r#"{"key":"-----BEGIN\nAAAA\n"}"#).is_ok());
        assert!(!format!("{key:?}").contains("s3cr3t"));
    }

    proptest! {
        #[test]
        fn any_field_survives(user in ".{1,40}", password in "\\PC{1,40}") {
            let fields = [("user", &user), ("password", &password)]
                .map(|(name, text)| (name.to_owned(), Zeroizing::new(text.clone())));
            let value = SecretValue::new(SecretKind::Basic, fields).unwrap();
            let read = SecretValue::from_json(SecretKind::Basic, &value.to_json()).unwrap();
            prop_assert_eq!(&read, &value);
        }

        #[test]
        fn nothing_that_is_read_breaks_it(text in ".*") {
            for kind in SecretKind::ALL {
                let _ = SecretValue::read(kind, &text);
            }
        }
    }
}
