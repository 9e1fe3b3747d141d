//! Webhooks: `[webhooks]` in `portreeve.toml`. What others send becomes messages; messages are
//! sent to others.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::outlet::check_webhook;
use crate::duration::HumanDuration;
use crate::grant::{HostPath, Topic, TopicPattern};
use crate::id::Name;
use crate::limits::{LimitError, in_range};
use crate::text::quoted;

/// Most webhooks each way: each that goes out has a subscription of its own.
const WEBHOOKS_MAX: usize = 100;

/// Most secrets of one: the one that is used, and those that it takes the place of.
const SECRETS_MAX: usize = 4;

/// Most patterns of topics of one.
const TOPICS_MAX: usize = 64;

/// How old a signature may be, where nothing else is set: what Standard Webhooks and Stripe say.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The webhooks of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhooksSettings {
    /// What others send, by the last part of its path.
    pub incoming: BTreeMap<Name, IncomingWebhook>,
    /// What is sent to others.
    pub outgoing: BTreeMap<Name, OutgoingWebhook>,
}

/// What others send: to `/webhooks/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingWebhook {
    /// The topic that it becomes messages of.
    pub topic: Topic,
    /// How its sender signs.
    pub signature: WebhookSignature,
    /// The secrets in the vault that it may be signed with.
    pub secrets: Vec<Name>,
    /// A JSON Schema that its bodies follow.
    pub schema: Option<HostPath>,
    /// How far the time of a signature may lie from now.
    pub tolerance: Duration,
}

/// What is sent to others, signed as Standard Webhooks has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingWebhook {
    /// The topics whose messages are sent.
    pub topics: Vec<TopicPattern>,
    /// Where to.
    pub url: Url,
    /// The secrets in the vault that all of it is signed with.
    pub secrets: Vec<Name>,
}

/// How a sender signs what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookSignature {
    /// Standard Webhooks (<https://www.standardwebhooks.com>).
    Standard,
    /// GitHub's `X-Hub-Signature-256`.
    Github,
    /// Stripe's `Stripe-Signature`.
    Stripe,
}

/// `[webhooks]`: what others send, and what is sent to others.
///
/// ```toml
/// [webhooks.in.github]
/// topic = "github.event"
/// signature = "github"
/// secrets = ["github-webhook"]
///
/// [webhooks.out.builds]
/// topics = ["builds.>"]
/// url = "https://ci.example.com/hook"
/// secrets = ["ci-hook"]
/// ```
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawWebhooks {
    /// What others send to `/webhooks/NAME`, by name.
    r#in: BTreeMap<Name, RawIncoming>,
    /// What is sent to others, by name.
    out: BTreeMap<Name, RawOutgoing>,
}

/// `[webhooks.in.NAME]`: what others send to `/webhooks/NAME`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawIncoming {
    /// The topic that it becomes messages of.
    topic: Topic,
    /// How its sender signs: "standard", "github" or "stripe".
    signature: WebhookSignature,
    /// The secrets in the vault that it may be signed with; several while one takes the
    /// other's place.
    secrets: Vec<Name>,
    /// The file of a JSON Schema that bodies must follow, relative to this file.
    #[serde(default)]
    schema: Option<HostPath>,
    /// How far the time of a signature may lie from now; 5 minutes by default. GitHub's have
    /// no time.
    #[serde(default)]
    tolerance: Option<HumanDuration>,
}

/// `[webhooks.out.NAME]`: messages that are sent to others.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawOutgoing {
    /// The topics whose messages are sent.
    topics: Vec<TopicPattern>,
    /// Where to: https, or http on this machine.
    url: String,
    /// The secrets in the vault that all of it is signed with; several while one takes the
    /// other's place.
    secrets: Vec<Name>,
}

/// What is wrong, and in which table below `[webhooks]`.
type Wrong = (Vec<String>, LimitError);

impl WebhooksSettings {
    /// The settings as they were written; what is wrong goes to `errors`.
    pub(crate) fn read(raw: &RawWebhooks, errors: &mut Vec<Wrong>) -> WebhooksSettings {
        let mut settings = WebhooksSettings::default();
        for (setting, count) in [("in", raw.r#in.len()), ("out", raw.out.len())] {
            if count > WEBHOOKS_MAX {
                let error = LimitError {
                    setting,
                    value: format!("a table of {count}"),
                    allowed: format!("at most {WEBHOOKS_MAX} webhooks"),
                };
                errors.push((Vec::new(), error));
            }
        }
        for (name, raw) in raw.r#in.iter().take(WEBHOOKS_MAX) {
            let mut wrong = Vec::new();
            check_secrets(&raw.secrets, &mut wrong);
            if let Some(tolerance) = raw.tolerance {
                in_range("tolerance", tolerance, 1_000..=86_400_000, &mut wrong);
                if raw.signature == WebhookSignature::Github {
                    wrong.push(LimitError {
                        setting: "tolerance",
                        value: tolerance.to_string(),
                        allowed: "left out: GitHub's signatures have no time".to_owned(),
                    });
                }
            }
            let table = ["in", name.as_str()].map(str::to_owned).to_vec();
            errors.extend(wrong.into_iter().map(|error| (table.clone(), error)));
            let incoming = IncomingWebhook {
                topic: raw.topic.clone(),
                signature: raw.signature,
                secrets: raw.secrets.clone(),
                schema: raw.schema.clone(),
                tolerance: raw.tolerance.map_or(TOLERANCE, |tolerance| tolerance.0),
            };
            settings.incoming.insert(name.clone(), incoming);
        }
        for (name, raw) in raw.out.iter().take(WEBHOOKS_MAX) {
            let mut wrong = Vec::new();
            check_secrets(&raw.secrets, &mut wrong);
            if raw.topics.is_empty() || raw.topics.len() > TOPICS_MAX {
                wrong.push(LimitError {
                    setting: "topics",
                    value: format!("a list of {}", raw.topics.len()),
                    allowed: format!("a list of 1 to {TOPICS_MAX} patterns of topics"),
                });
            }
            let url = check_webhook("url", Some(&raw.url), &mut wrong);
            let table = ["out", name.as_str()].map(str::to_owned).to_vec();
            errors.extend(wrong.into_iter().map(|error| (table.clone(), error)));
            if let Some(url) = url {
                let outgoing = OutgoingWebhook {
                    topics: raw.topics.clone(),
                    url,
                    secrets: raw.secrets.clone(),
                };
                settings.outgoing.insert(name.clone(), outgoing);
            }
        }
        settings
    }
}

fn check_secrets(secrets: &[Name], wrong: &mut Vec<LimitError>) {
    let mut sorted: Vec<&Name> = secrets.iter().collect();
    sorted.sort_unstable();
    let twice = sorted.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    });
    let value = match twice {
        Some(name) => format!("{} twice", quoted(name.as_str())),
        None if (1..=SECRETS_MAX).contains(&secrets.len()) => return,
        None => format!("a list of {}", secrets.len()),
    };
    wrong.push(LimitError {
        setting: "secrets",
        value,
        allowed: format!("a list of 1 to {SECRETS_MAX} names of secrets in the vault"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn read(text: &str) -> (WebhooksSettings, String) {
        let mut errors = Vec::new();
        let settings = WebhooksSettings::read(&toml::from_str(text).unwrap(), &mut errors);
        let told: Vec<String> = errors
            .iter()
            .map(|(table, error)| format!("{}: {error}", table.join(".")))
            .collect();
        (settings, told.join("\n"))
    }

    #[test]
    fn webhooks_are_read() {
        let (settings, told) = read(
            "[in.github]\ntopic = 'github.event'\nsignature = 'github'\nsecrets = ['a', 'b']\n\
             [in.pay]\ntopic = 'pay.event'\nsignature = 'stripe'\nsecrets = ['c']\ntolerance = '1m'\n\
             [out.ci]\ntopics = ['builds.>']\nurl = 'https://ci.example.com/hook'\nsecrets = ['d']",
        );
        assert_eq!(told, "");
        let tolerances: Vec<u64> = settings
            .incoming
            .values()
            .map(|hook| hook.tolerance.as_secs())
            .collect();
        assert_eq!(tolerances, [300, 60]);
        assert_eq!(settings.outgoing.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (_, told) = read(
            "[in.a]\ntopic = 'a.b'\nsignature = 'standard'\nsecrets = []\ntolerance = '2d'\n\
             [in.b]\ntopic = 'a.b'\nsignature = 'github'\nsecrets = ['x', 'x']\ntolerance = '1m'\n\
             [out.c]\ntopics = []\nurl = 'http://example.com/'\nsecrets = ['x']",
        );
        expect![[r#"
            in.a: `secrets` is a list of 0, but must be a list of 1 to 4 names of secrets in the vault
            in.a: `tolerance` is 2d, but must be between 1s and 1d
            in.b: `secrets` is `x` twice, but must be a list of 1 to 4 names of secrets in the vault
            in.b: `tolerance` is 1m, but must be left out: GitHub's signatures have no time
            out.c: `topics` is a list of 0, but must be a list of 1 to 64 patterns of topics
            out.c: `url` is `http://example.com/`, but must be an https:// address (http:// only for this machine) without user, password and fragment, of 2048 bytes at most"#]]
        .assert_eq(&told);
        for wrong in [
            "[in.a]\ntopic = 'a.*'\nsignature = 'standard'\nsecrets = ['x']",
            "[in.a]\ntopic = 'a'\nsignature = 'none'\nsecrets = ['x']",
            "[in.a]\ntopic = 'a'\nsecrets = ['x']",
            "[in.'A/B']\ntopic = 'a'\nsignature = 'standard'\nsecrets = ['x']",
        ] {
            assert!(toml::from_str::<RawWebhooks>(wrong).is_err(), "{wrong}");
        }
    }
}
