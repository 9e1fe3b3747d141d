//! How the host keeps what it keeps and reaches what it reaches: `[state]`, `[audit]`,
//! `[generations]`, `[vault]`, `[alerts]`, `[network]`, `[registries]`, `[serve]`, `[messages]`
//! and `[webhooks]` in `portreeve.toml`.

mod alerts;
mod messages;
mod network;
mod outlet;
mod registries;
mod serve;
mod webhooks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::duration::HumanDuration;
use crate::limits::{LimitError, in_range};
use crate::size::ByteSize;
use crate::text::{quoted, written_as_string};

pub(crate) use alerts::RawAlerts;
pub use alerts::{AlertMetric, AlertRule, AlertScope, AlertSettings};
pub(crate) use messages::RawMessages;
pub use messages::{MessagesSettings, TopicRule};
pub(crate) use network::RawNetwork;
pub use network::{NetworkSettings, OriginBreaker, OriginCare, OriginRate, Roots};
pub use outlet::{OutletSettings, is_loopback};
pub use registries::RegistrySettings;
pub(crate) use registries::{RawRegistry, read as read_registries};
pub(crate) use serve::RawServe;
pub use serve::{
    META_TOOLS, ServeLimitOverrides, ServeLimits, ServeScopes, ServeSettings, ServeTls,
};
pub(crate) use webhooks::RawWebhooks;
pub use webhooks::{HookIn, HookOut, HookSignature, WebhookSettings};

/// How the host keeps what it keeps and reaches what it reaches.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Bytes that the state may have on disk.
    pub state_size: ByteSize,
    /// Bytes of records that the audit log keeps.
    pub audit_size: ByteSize,
    /// How long the audit log keeps them.
    pub audit_age: Duration,
    /// Where the audit log's heads go besides their file.
    pub audit_outlet: OutletSettings,
    /// How many versions of each plugin can be gone back to.
    pub generations: GenerationSettings,
    /// Where the key of the vault is.
    pub vault_key: VaultKeyPlace,
    /// What the operator wants to be told of.
    pub alerts: AlertSettings,
    /// How plugins' requests leave this machine.
    pub network: NetworkSettings,
    /// How registries are reached, by their hosts.
    pub registries: BTreeMap<String, RegistrySettings>,
    /// How clients reach it over the network.
    pub serve: ServeSettings,
    /// What bounds messages between plugins.
    pub messages: MessagesSettings,
    /// What others tell it over HTTP, and what it tells them.
    pub webhooks: WebhookSettings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            state_size: ByteSize(1 << 30),
            audit_size: ByteSize(256 << 20),
            audit_age: Duration::from_secs(400 * 86_400),
            audit_outlet: OutletSettings::default(),
            generations: GenerationSettings::default(),
            vault_key: VaultKeyPlace::Default,
            alerts: AlertSettings::default(),
            network: NetworkSettings::default(),
            registries: BTreeMap::new(),
            serve: ServeSettings::default(),
            messages: MessagesSettings::default(),
            webhooks: WebhookSettings::default(),
        }
    }
}

/// `[state]`: the database of the project.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawState {
    /// Bytes that it may have: plugins' storage up to nine tenths of it, the audit log, and
    /// the rest. 1 GiB by default.
    size: Option<ByteSize>,
}

/// `[audit]`: the log of what happened.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawAudit {
    /// Bytes of records that are kept; 256 MiB by default.
    size: Option<ByteSize>,
    /// How long records are kept; 400 days by default.
    age: Option<HumanDuration>,
    /// A program, with its arguments, that gets each head of the log as a line of JSON on
    /// its standard input, to keep it elsewhere.
    #[serde(default)]
    command: Vec<String>,
    /// An address that gets each head as JSON in a POST: https, or http on this machine.
    webhook: Option<String>,
}

/// `[generations]`: the versions of plugins that can be gone back to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawGenerations {
    /// Versions of one plugin that are kept, with their settings and grants, the installed one
    /// among them; 10 by default.
    keep: Option<u32>,
    /// How long one is kept after another took its place; 180 days by default.
    age: Option<HumanDuration>,
}

/// How many versions of each plugin can be gone back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationSettings {
    /// How many of each, the installed one among them.
    pub keep: u32,
    /// How long one is kept after another took its place.
    pub age: Duration,
}

impl Default for GenerationSettings {
    fn default() -> GenerationSettings {
        GenerationSettings {
            keep: 10,
            age: Duration::from_secs(180 * 86_400),
        }
    }
}

impl GenerationSettings {
    /// The settings as they were written; what is wrong goes to `wrong`.
    pub(crate) fn read(raw: &RawGenerations, wrong: &mut Vec<LimitError>) -> GenerationSettings {
        let mut settings = GenerationSettings::default();
        if let Some(keep) = raw.keep {
            in_range("keep", keep, 1..=1_000, wrong);
            settings.keep = keep;
        }
        if let Some(age) = raw.age {
            in_range("age", age, 86_400_000..=36_500 * 86_400_000, wrong);
            settings.age = age.0;
        }
        settings
    }
}

/// `[vault]`: the secrets.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RawVault {
    /// Where the key is that seals them: "file" (the project's own in your state directory, the
    /// default), "file:/PATH", "keyring" or "env:NAME".
    key: Option<VaultKeyPlace>,
}

/// Where the key of the vault is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VaultKeyPlace {
    /// A file of the project's own in the user's state directory.
    #[default]
    Default,
    /// This file.
    File(PathBuf),
    /// The keyring of the user's session.
    Keyring,
    /// This environment variable.
    Env(String),
}

impl std::str::FromStr for VaultKeyPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<VaultKeyPlace, String> {
        match text.split_once(':') {
            None if text == "file" => Ok(VaultKeyPlace::Default),
            None if text == "keyring" => Ok(VaultKeyPlace::Keyring),
            // The host may be started anywhere, and the project is no place for its key.
            Some(("file", path)) if path.starts_with('/') && !path.contains('\0') => {
                Ok(VaultKeyPlace::File(path.into()))
            }
            Some(("env", name))
                if !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') =>
            {
                Ok(VaultKeyPlace::Env(name.to_owned()))
            }
            _ => Err(format!(
                "{} is no place for a key; write \"file\", \"file:/PATH\" (from the root), \"keyring\" or \"env:NAME\"",
                quoted(text)
            )),
        }
    }
}

impl std::fmt::Display for VaultKeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            VaultKeyPlace::Default => f.pad("file"),
            VaultKeyPlace::File(path) => write!(f, "file:{}", path.display()),
            VaultKeyPlace::Keyring => f.pad("keyring"),
            VaultKeyPlace::Env(name) => write!(f, "env:{name}"),
        }
    }
}

written_as_string!(VaultKeyPlace, {
    "type": "string",
    "description": "Where the key of the vault is: \"file\", \"file:/PATH\", \"keyring\" or \"env:NAME\".",
    "pattern": "^(file|keyring|file:/.*|env:[A-Za-z0-9_]+)$",
});

/// What is wrong with a setting, and where.
pub(crate) type Wrong = (&'static str, LimitError);

impl Settings {
    /// The settings as they were written; what is wrong goes to `errors`.
    pub(crate) fn read(
        state: &RawState,
        audit: &RawAudit,
        vault: &RawVault,
        errors: &mut Vec<Wrong>,
    ) -> Settings {
        const MIB: u64 = 1 << 20;
        let mut settings = Settings::default();
        let mut wrong = Vec::new();
        if let Some(size) = state.size {
            in_range("size", size, 16 * MIB..=(1 << 40), &mut wrong);
            settings.state_size = size;
        }
        errors.extend(wrong.drain(..).map(|error| ("state", error)));
        if let Some(size) = audit.size {
            in_range("size", size, MIB..=(1 << 40), &mut wrong);
            settings.audit_size = size;
        }
        if let Some(age) = audit.age {
            in_range("age", age, 86_400_000..=36_500 * 86_400_000, &mut wrong);
            settings.audit_age = age.0;
        }
        outlet::check_command(&audit.command, &mut wrong);
        settings.audit_outlet = OutletSettings {
            webhook: outlet::check_webhook(audit.webhook.as_deref(), &mut wrong),
            command: audit.command.clone(),
        };
        // The state holds the log as well.
        if settings.audit_size.0 > settings.state_size.0 / 2 {
            if audit.size.is_some() {
                wrong.push(LimitError {
                    setting: "size",
                    value: settings.audit_size.to_string(),
                    allowed: format!(
                        "at most half of the state's ({}); raise `size` under [state] too",
                        settings.state_size
                    ),
                });
            } else {
                settings.audit_size = ByteSize(settings.state_size.0 / 2);
            }
        }
        errors.extend(wrong.into_iter().map(|error| ("audit", error)));
        settings.vault_key = vault.key.clone().unwrap_or_default();
        settings
    }
}
