//! Webhooks: what others tell this host over HTTP, and what it tells them: `[webhooks]` in
//! `portreeve.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use url::Url;

use super::outlet::check_webhook;
use crate::document::JsonTable;
use crate::duration::HumanDuration;
use crate::grant::{SecretRef, Topic, TopicPattern};
use crate::id::Name;
use crate::limits::{LimitError, in_range};
use crate::schema;
use crate::size::ByteSize;
use crate::text::quoted;

/// Most webhooks of either direction: each that goes out is a task of its own.
const WEBHOOKS_MAX: usize = 64;

/// Most patterns of topics of one that goes out.
const TOPICS_MAX: usize = 16;

/// Most secrets of one webhook: two while one takes the place of the other, and as many again.
const SECRETS_MAX: usize = 4;

/// How far the time that a sender signed may be from this host's, as Standard Webhooks and Stripe
/// have it.
const WINDOW: Duration = Duration::from_secs(300);

/// The longest and the shortest such time, in milliseconds.
const WINDOW_MS_MAX: u64 = 3_600_000;
const WINDOW_MS_MIN: u64 = 1_000;

/// Body of a request: what a message may have.
const BODY: ByteSize = ByteSize::kib(256);

/// What comes in and what goes out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebhookSettings {
    /// What comes in, at `/hooks/NAME`.
    pub inward: BTreeMap<Name, HookIn>,
    /// What goes out.
    pub outward: BTreeMap<Name, HookOut>,
}

/// What somebody outside may publish.
#[derive(Clone, Debug, PartialEq)]
pub struct HookIn {
    /// Where it goes.
    pub topic: Topic,
    /// How it is signed.
    pub signature: HookSignature,
    /// The keys of that, any of which will do; the newest first.
    pub secrets: Vec<SecretRef>,
    /// How far the time that was signed may be from now.
    pub window: Duration,
    /// Bytes of a body.
    pub body: ByteSize,
    /// What a body, as JSON, must fit.
    pub schema: Option<Map<String, Value>>,
}

/// Topics whose messages are sent to somebody outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOut {
    /// Which ones.
    pub topics: Vec<TopicPattern>,
    /// Where to.
    pub url: Url,
    /// The keys that they are signed with, each by itself; the newest first.
    pub secrets: Vec<SecretRef>,
}

/// How a request says who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookSignature {
    /// As Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Standard,
    /// As GitHub does: `x-hub-signature-256`.
    Github,
    /// As Stripe does: `stripe-signature`.
    Stripe,
}

/// `[webhooks]`: what others tell this host over HTTP, and what it tells them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawWebhooks {
    /// What comes in: `[webhooks.in.NAME]` is POSTed to `/hooks/NAME` where `serve --listen`
    /// listens.
    #[serde(rename = "in")]
    inward: BTreeMap<Name, RawHookIn>,
    /// What goes out: `[webhooks.out.NAME]`.
    #[serde(rename = "out")]
    outward: BTreeMap<Name, RawHookOut>,
}

/// `[webhooks.in.NAME]`: what somebody outside may publish.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawHookIn {
    /// The topic that it is published to.
    topic: Topic,
    /// How it is signed: "standard" (Standard Webhooks), "github" or "stripe".
    signature: HookSignature,
    /// The key of that, in the vault: "vault:NAME". While one takes the place of another, a list
    /// of both, the newest first: any of them will do.
    secret: RawSecrets,
    /// How far the time that was signed may be from now; 5 minutes by default. GitHub signs none.
    window: Option<HumanDuration>,
    /// Bytes of a body; 256 KiB by default.
    body: Option<ByteSize>,
    /// A JSON Schema that bodies must fit.
    schema: Option<JsonTable>,
}

/// `[webhooks.out.NAME]`: topics whose messages are sent to somebody outside, each as an event of
/// CloudEvents, signed as Standard Webhooks has it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawHookOut {
    /// The topics, as patterns.
    topics: Vec<TopicPattern>,
    /// Where they are sent: https, or http on this machine.
    url: String,
    /// The key that they are signed with, in the vault: "vault:NAME". While one takes the place
    /// of another, a list of both, the newest first: each request has a signature by each.
    secret: RawSecrets,
}

/// One secret, or several: "vault:NAME" or ["vault:NEW", "vault:FORMER"].
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
enum RawSecrets {
    /// One.
    One(SecretRef),
    /// Several, the newest first.
    Several(Vec<SecretRef>),
}

impl<'de> Deserialize<'de> for RawSecrets {
    /// What is wrong with a reference is told as it is: a text may be the secret itself.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawSecrets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"vault:NAME\" or a list of such")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawSecrets, E> {
                text.parse().map(RawSecrets::One).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawSecrets, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(RawSecrets::Several)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl RawSecrets {
    fn read(&self, wrong: &mut Vec<LimitError>) -> Vec<SecretRef> {
        let secrets = match self {
            RawSecrets::One(secret) => vec![secret.clone()],
            RawSecrets::Several(secrets) => secrets.clone(),
        };
        let different: BTreeSet<&Name> = secrets.iter().map(|secret| &secret.vault).collect();
        if !(1..=SECRETS_MAX).contains(&secrets.len()) || different.len() < secrets.len() {
            wrong.push(LimitError {
                setting: "secret",
                value: format!("a list of {}", secrets.len()),
                allowed: format!("one secret, or a list of 1 to {SECRETS_MAX} different ones"),
            });
        }
        secrets
    }
}

impl WebhookSettings {
    /// The settings as they were written; what is wrong goes to `errors`, with its table below
    /// `[webhooks]`.
    pub(crate) fn read(
        raw: &RawWebhooks,
        errors: &mut Vec<(Vec<String>, LimitError)>,
    ) -> WebhookSettings {
        let mut settings = WebhookSettings::default();
        for (direction, count) in [("in", raw.inward.len()), ("out", raw.outward.len())] {
            if count > WEBHOOKS_MAX {
                let error = LimitError {
                    setting: direction,
                    value: format!("a table of {count}"),
                    allowed: format!("at most {WEBHOOKS_MAX} webhooks"),
                };
                errors.push((Vec::new(), error));
            }
        }
        for (name, raw) in raw.inward.iter().take(WEBHOOKS_MAX) {
            let mut wrong = Vec::new();
            let hook = raw.read(&mut wrong);
            let table = vec!["in".to_owned(), name.to_string()];
            errors.extend(wrong.into_iter().map(|error| (table.clone(), error)));
            settings.inward.insert(name.clone(), hook);
        }
        for (name, raw) in raw.outward.iter().take(WEBHOOKS_MAX) {
            let mut wrong = Vec::new();
            if let Some(hook) = raw.read(&mut wrong) {
                settings.outward.insert(name.clone(), hook);
            }
            let table = vec!["out".to_owned(), name.to_string()];
            errors.extend(wrong.into_iter().map(|error| (table.clone(), error)));
        }
        settings
    }
}

impl RawHookIn {
    fn read(&self, wrong: &mut Vec<LimitError>) -> HookIn {
        if let Some(window) = self.window {
            in_range("window", window, WINDOW_MS_MIN..=WINDOW_MS_MAX, wrong);
        }
        if let Some(body) = self.body {
            in_range("body", body, 1..=(16 << 20), wrong);
        }
        let schema = self.schema.as_ref().map(|schema| schema.0.clone());
        if let Some(schema) = &schema
            && let Err(why) = schema::compile(&Value::Object(schema.clone()))
        {
            wrong.push(LimitError {
                setting: "schema",
                value: "a table".to_owned(),
                allowed: format!("a JSON Schema ({why})"),
            });
        }
        HookIn {
            topic: self.topic.clone(),
            signature: self.signature,
            secrets: self.secret.read(wrong),
            window: self.window.map_or(WINDOW, |window| window.0),
            body: self.body.unwrap_or(BODY),
            schema,
        }
    }
}

impl RawHookOut {
    fn read(&self, wrong: &mut Vec<LimitError>) -> Option<HookOut> {
        if self.topics.is_empty() || self.topics.len() > TOPICS_MAX {
            wrong.push(LimitError {
                setting: "topics",
                value: format!("a list of {}", self.topics.len()),
                allowed: format!("a list of 1 to {TOPICS_MAX}"),
            });
        }
        let secrets = self.secret.read(wrong);
        let mut no_address = Vec::new();
        let url = check_webhook(Some(&self.url), &mut no_address);
        wrong.extend(no_address.into_iter().map(|error| LimitError {
            setting: "url",
            value: quoted(&self.url),
            ..error
        }));
        Some(HookOut {
            topics: self.topics.clone(),
            url: url?,
            secrets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let raw: RawWebhooks = toml::from_str(text).unwrap();
        let mut errors = Vec::new();
        WebhookSettings::read(&raw, &mut errors);
        let told: Vec<String> = errors
            .iter()
            .map(|(table, error)| format!("{}: {error}", table.join(".")))
            .collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn webhooks_are_checked() {
        check(
            "[in.github]\ntopic = 'github.event'\nsignature = 'github'\nsecret = 'vault:hook'\n\
             [out.ci]\ntopics = ['builds.>']\nurl = 'https://ci.example.com/in'\nsecret = 'vault:ci'",
            &[],
        );
        check(
            "[in.a]\ntopic = 'a'\nsignature = 'stripe'\nsecret = 'vault:hook'\nwindow = '2h'\n\
             body = '64 MiB'\nschema = { type = 5 }",
            &["in.a: `window` is 2h", "in.a: `body`", "in.a: `schema`"],
        );
        check(
            "[out.a]\ntopics = []\nurl = 'http://example.com'\nsecret = 'vault:x'",
            &["out.a: `topics`", "out.a: `url`"],
        );
        let in_a = "[in.a]\ntopic = 'a'\nsignature = 'github'\nsecret = ";
        check(&format!("{in_a}['vault:new', 'vault:former']"), &[]);
        check(&format!("{in_a}[]"), &["in.a: `secret` is a list of 0"]);
        check(
            &format!("{in_a}['vault:one', 'vault:one']"),
            &["in.a: `secret` is a list of 2"],
        );
        check(
            "[out.a]\ntopics = ['a']\nurl = 'https://example.com'\n\
             secret = ['vault:a', 'vault:b', 'vault:c', 'vault:d', 'vault:e']",
            &["out.a: `secret` is a list of 5"],
        );
        for secret in ["'hunter2'", "['vault:a', 'hunter2']", "{ vault = 'a' }"] {
            let error = toml::from_str::<RawWebhooks>(&format!("{in_a}{secret}")).unwrap_err();
            // Not the one that quotes the line: the text may be the secret.
            let told = error.message();
            assert!(
                told.contains("vault:NAME") && !told.contains("hunter2"),
                "{told}"
            );
        }
        for wrong in [
            "[in.a]\ntopic = 'a.>'\nsignature = 'github'\nsecret = 'vault:x'",
            "[in.a]\ntopic = 'a'\nsignature = 'none'\nsecret = 'vault:x'",
            "[in.a]\ntopic = 'a'\nsignature = 'github'",
            "[in.'a/b']\ntopic = 'a'\nsignature = 'github'\nsecret = 'vault:x'",
        ] {
            assert!(toml::from_str::<RawWebhooks>(wrong).is_err(), "{wrong}");
        }
    }
}
