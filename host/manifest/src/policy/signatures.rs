//! What must be signed, and by whom: `[policy.signatures]` in `portreeve.toml`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Date, PluginPattern};
use crate::diagnostic::Diagnostic;
use crate::document::Document;
use crate::grant::Reason;
use crate::text::{quoted, written_as_string};

/// Signers that one policy may list: each signature is tried against all of them.
pub const SIGNERS_MAX: usize = 256;

/// What must be signed, and by whom.
///
/// ```toml
/// [policy.signatures]
/// require = "trusted"
/// keys = [
///     { file = "keys/acme.pub", plugins = ["acme-*"], not-after = "2027-12-31" },
///     { file = "keys/old.pub", revoked = "laptop stolen in 2026-10" },
/// ]
/// identities = [{ identity = "https://github.com/acme/charts/.github/workflows/release.yml@refs/tags/*", issuer = "https://token.actions.githubusercontent.com", plugins = ["charts"] }]
/// trust-root = "keys/trusted_root.json"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SignaturePolicy {
    /// Whether a signature is needed. Where nothing is said: `none` for local files,
    /// `trusted` for everything else.
    pub require: Option<RequireSignature>,
    /// The minisign keys that may sign.
    pub keys: Vec<SigningKey>,
    /// The Sigstore identities that may sign.
    pub identities: Vec<SigningIdentity>,
    /// A Sigstore `trusted_root.json`, relative to the project, which is used instead of
    /// the public one that comes with Portreeve.
    pub trust_root: Option<String>,
}

/// Whether a signature is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RequireSignature {
    /// It is not.
    None,
    /// One of the listed keys or identities must have signed.
    Trusted,
}

/// A minisign key that may sign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SigningKey {
    /// The file of the public key, relative to the project.
    pub file: String,
    /// The ids of the plugins that it may sign; all where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<Vec<PluginPattern>>,
    /// The last day, in UTC, on which its signatures count. A signature doesn't prove when
    /// it was made, so from the next day on none of them does, however old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Date>,
    /// Why none of its signatures counts any more, however old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Reason>,
}

/// A Sigstore identity that may sign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SigningIdentity {
    /// Who signs: a URI or an email address, as it stands in the certificate.
    pub identity: IdentityPattern,
    /// Who vouches for the identity, exactly as it stands in the certificate.
    pub issuer: Issuer,
    /// The ids of the plugins that it may sign; all where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<Vec<PluginPattern>>,
    /// The last day, in UTC, on which its signatures count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Date>,
    /// Why none of its signatures counts any more, however old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Reason>,
}

impl SignaturePolicy {
    /// Whether somebody is listed who could sign.
    pub fn lists_signers(&self) -> bool {
        !self.keys.is_empty() || !self.identities.is_empty()
    }

    /// Whether a plugin must be signed by one of the listed signers.
    pub fn requires(&self, remote: bool) -> bool {
        match self.require {
            Some(RequireSignature::None) => false,
            Some(RequireSignature::Trusted) => true,
            None => remote,
        }
    }

    /// Checks what the types alone don't say.
    pub(crate) fn check(&self, document: &Document<'_>, errors: &mut Vec<Diagnostic>) {
        const TABLE: [&str; 2] = ["policy", "signatures"];
        let at = |path: &[&str]| document.span(&[&TABLE, path].concat());
        if self.keys.len() + self.identities.len() > SIGNERS_MAX {
            errors.push(Diagnostic::new(
                format!("more than {SIGNERS_MAX} keys and identities are listed"),
                at(&[]),
            ));
            return;
        }
        if self.require == Some(RequireSignature::Trusted)
            && self.keys.is_empty()
            && self.identities.is_empty()
        {
            errors.push(
                Diagnostic::new(
                    "a trusted signature is required, but nobody is listed who could make one",
                    at(&["require"]),
                )
                .with_help("add `keys` or `identities`; or write `require = \"none\"`"),
            );
        }
        for (index, key) in self.keys.iter().enumerate() {
            let number = index.to_string();
            if let Some(why) = bad_path(&key.file) {
                errors.push(Diagnostic::new(why, at(&["keys", &number, "file"])));
            }
            if self.keys.iter().take(index).any(|k| k.file == key.file) {
                errors.push(
                    Diagnostic::new(
                        format!("the key {} is listed twice", quoted(&key.file)),
                        at(&["keys", &number, "file"]),
                    )
                    .with_help("put everything that it may sign into one `plugins`"),
                );
            }
            if key.plugins.as_ref().is_some_and(Vec::is_empty) {
                errors.push(nothing_to_sign(at(&["keys", &number, "plugins"])));
            }
        }
        for (index, signer) in self.identities.iter().enumerate() {
            let number = index.to_string();
            let mut before = self.identities.iter().take(index);
            if before.any(|s| s.identity == signer.identity && s.issuer == signer.issuer) {
                errors.push(
                    Diagnostic::new(
                        "this identity is listed twice",
                        at(&["identities", &number, "identity"]),
                    )
                    .with_help("put everything that it may sign into one `plugins`"),
                );
            }
            if signer.plugins.as_ref().is_some_and(Vec::is_empty) {
                errors.push(nothing_to_sign(at(&["identities", &number, "plugins"])));
            }
        }
        if let Some(why) = self.trust_root.as_deref().and_then(bad_path) {
            errors.push(Diagnostic::new(why, at(&["trust-root"])));
        }
    }
}

fn nothing_to_sign(span: Option<std::ops::Range<usize>>) -> Diagnostic {
    Diagnostic::new("an empty list lets it sign nothing at all", span)
        .with_help("list ids such as \"acme-*\"; or remove `plugins` to let it sign all of them")
}

/// What is wrong with the path of a file.
fn bad_path(text: &str) -> Option<String> {
    const BYTES_MAX: usize = 4_096;
    if text.trim().is_empty() {
        Some("the path is empty; write that of a file, relative to the project".into())
    } else if text.len() > BYTES_MAX || text.chars().any(char::is_control) {
        Some("the path is too long or has control characters".into())
    } else {
        None
    }
}

/// A name was refused as that of a signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} is no {what}: {why}")]
pub struct SignerError {
    text: String,
    what: &'static str,
    why: &'static str,
}

/// The longest identity or issuer, in bytes: workflows on code forges have up to about 300.
const NAME_BYTES_MAX: usize = 1_000;

/// What is wrong with any identity or issuer.
fn bad_name(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > NAME_BYTES_MAX {
        Some("it is too long")
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some("it has spaces or control characters")
    } else {
        None
    }
}

/// A Sigstore identity: a URI or an email address, in which `*` stands for any characters
/// but `/`, `@` and space. A pattern always says who it is about: a `*` may stand neither
/// in a URI's host and the first part of its path nor in an email's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPattern(String);

impl IdentityPattern {
    /// Whether an identity that a certificate holds is one of those meant.
    pub fn matches(&self, identity: &str) -> bool {
        wildcard(&self.0, identity, |c| {
            !matches!(c, '/' | '@') && !c.is_whitespace() && !c.is_control()
        })
    }

    /// Whether it is a URI; else it is an email address.
    pub fn is_uri(&self) -> bool {
        self.0.contains("://")
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdentityPattern {
    type Err = SignerError;

    fn from_str(text: &str) -> Result<Self, SignerError> {
        let why = bad_name(text).or_else(|| match text.split_once("://") {
            Some((scheme, rest)) => {
                // The host and the first part of the path, each closed by a slash.
                let mut parts = rest.split('/');
                let (host, owner) = (parts.next(), parts.next());
                let fixed = [Some(scheme), host, owner].map(Option::unwrap_or_default);
                let starred = text.contains('*');
                if fixed.iter().take(2).any(|part| part.is_empty()) {
                    Some("it has no scheme or no host")
                } else if starred
                    && (fixed.iter().any(|part| part.is_empty() || part.contains('*'))
                        || parts.next().is_none())
                {
                    Some(
                        "a `*` may only stand behind the host and the first part of the path, as in \"https://github.com/acme/*\"",
                    )
                } else {
                    None
                }
            }
            None => match text.split_once('@') {
                Some((name, domain)) if !name.is_empty() && !domain.is_empty() => domain
                    .contains(['*', '@'])
                    .then_some("the domain of an email address must be exact"),
                _ => Some(
                    "write a URI such as \"https://github.com/acme/charts/.github/workflows/release.yml@refs/heads/main\", or an email address",
                ),
            },
        });
        match why {
            None => Ok(IdentityPattern(text.to_owned())),
            Some(why) => Err(SignerError {
                text: quoted(text),
                what: "identity of a signer",
                why,
            }),
        }
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(IdentityPattern, {
    "type": "string",
    "description": "A Sigstore identity: a URI or an email address, in which `*` stands for any characters but `/`, `@` and space, though not in the host or the domain.",
    "minLength": 1,
    "maxLength": NAME_BYTES_MAX,
});

/// Who vouches for identities: an `https://` URL, always exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(String);

impl Issuer {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Issuer {
    type Err = SignerError;

    fn from_str(text: &str) -> Result<Self, SignerError> {
        let why = bad_name(text).or_else(|| match text.strip_prefix("https://") {
            Some("") | None => {
                Some("write its URL, such as \"https://token.actions.githubusercontent.com\"")
            }
            Some(_) => text.contains('*').then_some("an issuer must be exact"),
        });
        match why {
            None => Ok(Issuer(text.to_owned())),
            Some(why) => Err(SignerError {
                text: quoted(text),
                what: "issuer of identities",
                why,
            }),
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(Issuer, {
    "type": "string",
    "description": "Who vouches for identities: an `https://` URL, exactly as certificates hold it.",
    "pattern": "^https://[^*\\s]+$",
    "maxLength": NAME_BYTES_MAX,
});

/// Whether a text is what a pattern says, in which each `*` stands for any number of the
/// characters that are `allowed`. It takes at most the product of the lengths.
pub(super) fn wildcard(pattern: &str, text: &str, allowed: impl Fn(char) -> bool) -> bool {
    let mut pattern = pattern.chars();
    let mut text = text.chars();
    // Where to go on when what follows the last star doesn't fit.
    let mut star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let before_text = text.clone();
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                text = before_text;
                star = Some((pattern.clone(), text.clone()));
                continue;
            }
            (Some(p), Some(t)) if p == t => continue,
            (None, None) => return true,
            _ => {}
        }
        // The last star takes one character more; an earlier one never needs to.
        let Some((after_star, taken)) = &mut star else {
            return false;
        };
        match taken.next() {
            Some(c) if allowed(c) => {
                pattern = after_star.clone();
                text = taken.clone();
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn identities_say_who_they_are_about() {
        for good in [
            "https://github.com/acme/charts/.github/workflows/release.yml@refs/tags/v1.0.0",
            "https://github.com/acme/charts/.github/workflows/*@refs/tags/*",
            "https://github.com/acme/*",
            "spiffe://acme.example/build",
            "dev@example.com",
            "*@example.com",
        ] {
            assert_eq!(good.parse::<IdentityPattern>().unwrap().as_str(), good);
        }
        let bad = [
            "",
            "*",
            "**",
            "*@*",
            "a@*.com",
            "a@b@c.com",
            "@example.com",
            "acme",
            "://",
            "https://",
            "https://*",
            "https://*/acme/charts",
            "https://github.com/*",
            "https://github.com/*/charts",
            "https://github.com/acme*",
            "https://github.com//*",
            "*://github.com/acme/charts",
            "https://github.com/a b",
            &format!("https://github.com/{}", "a".repeat(1_000)),
        ];
        let shown: String = bad
            .iter()
            .map(|text| format!("{}\n", text.parse::<IdentityPattern>().unwrap_err()))
            .collect();
        expect![[r#"
            `` is no identity of a signer: it is empty
            `*` is no identity of a signer: write a URI such as "https://github.com/acme/charts/.github/workflows/release.yml@refs/heads/main", or an email address
            `**` is no identity of a signer: write a URI such as "https://github.com/acme/charts/.github/workflows/release.yml@refs/heads/main", or an email address
            `*@*` is no identity of a signer: the domain of an email address must be exact
            `a@*.com` is no identity of a signer: the domain of an email address must be exact
            `a@b@c.com` is no identity of a signer: the domain of an email address must be exact
            `@example.com` is no identity of a signer: write a URI such as "https://github.com/acme/charts/.github/workflows/release.yml@refs/heads/main", or an email address
            `acme` is no identity of a signer: write a URI such as "https://github.com/acme/charts/.github/workflows/release.yml@refs/heads/main", or an email address
            `://` is no identity of a signer: it has no scheme or no host
            `https://` is no identity of a signer: it has no scheme or no host
            `https://*` is no identity of a signer: a `*` may only stand behind the host and the first part of the path, as in "https://github.com/acme/*"
            `https://*/acme/charts` is no identity of a signer: a `*` may only stand behind the host and the first part of the path, as in "https://github.com/acme/*"
            `https://github.com/*` is no identity of a signer: a `*` may only stand behind the host and the first part of the path, as in "https://github.com/acme/*"
            `https://github.com/*/charts` is no identity of a signer: a `*` may only stand behind the host and the first part of the path, as in "https://github.com/acme/*"
            `https://github.com/acme*` is no identity of a signer: a `*` may only stand behind the host and the first part of the path, as in "https://github.com/acme/*"
            `https://github.com//*` is no identity of a signer: a `*` may only stand behind the host and the first part of the path, as in "https://github.com/acme/*"
            `*://github.com/acme/charts` is no identity of a signer: a `*` may only stand behind the host and the first part of the path, as in "https://github.com/acme/*"
            `https://github.com/a b` is no identity of a signer: it has spaces or control characters
            `https://github.com/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` is no identity of a signer: it is too long
        "#]].assert_eq(&shown);
    }

    #[test]
    fn issuers_are_exact() {
        for good in [
            "https://accounts.google.com",
            "https://github.com/login/oauth",
        ] {
            assert!(good.parse::<Issuer>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "*",
            "https://",
            "https://*",
            "http://a.example",
            "github.com",
            "https://a b",
        ] {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
    }

    #[test]
    fn identities_are_matched() {
        let workflow = "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*";
        for (pattern, identity, expected) in [
            ("dev@example.com", "dev@example.com", true),
            ("dev@example.com", "Dev@example.com", false),
            ("dev@example.com", "dev@example.com.evil", false),
            ("*@example.com", "a.b@example.com", true),
            ("*@example.com", "evil@evil.com@example.com", false),
            (
                workflow,
                "https://github.com/acme/a/.github/workflows/release.yml@refs/tags/v1.0",
                true,
            ),
            (
                workflow,
                "https://github.com/acme/a/.github/workflows/release.yml@refs/heads/v1",
                false,
            ),
            (
                workflow,
                "https://github.com/acme/a/b/.github/workflows/release.yml@refs/tags/v1",
                false,
            ),
            (
                workflow,
                "https://github.com/evil/a/.github/workflows/release.yml@refs/tags/v1",
                false,
            ),
            (
                workflow,
                "https://github.com/acme/a/.github/workflows/release.yml@refs/tags/v1/x",
                false,
            ),
            (
                workflow,
                "https://github.com/acme/a/.github/workflows/release.yml@refs/tags/v1\n",
                false,
            ),
        ] {
            let pattern: IdentityPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(identity), expected, "{pattern} {identity}");
        }
    }

    proptest! {
        #[test]
        fn wildcards_mean_what_the_regular_expression_says(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            let validator = jsonschema::validator_for(&serde_json::json!({
                "pattern": format!("^{}$", pattern.replace('*', ".*")),
            })).unwrap();
            prop_assert_eq!(wildcard(&pattern, &text, |_| true), validator.is_valid(&text.into()));
        }
    }
}
