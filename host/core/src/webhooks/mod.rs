//! Webhooks: what others send becomes messages, and messages are sent to others.

mod receive;
mod send;
mod signature;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use jsonschema::Validator;
use portreeve_manifest::grant::HostPath;
use portreeve_manifest::id::Name;
use portreeve_manifest::project::ProjectManifest;
use portreeve_manifest::settings::{IncomingWebhook, OutgoingWebhook};
use portreeve_manifest::{schema, schema_cost};
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind};
use portreeve_state::vault::Vault;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::host::{Host, HostError};
pub use receive::{WebhookRefusal, WebhookTaken};
pub(crate) use send::Senders;

/// Largest file of a schema.
const SCHEMA_BYTES_MAX: u64 = 256 << 10;

/// The webhooks as they are set.
#[derive(Default)]
pub(crate) struct Webhooks {
    incoming: BTreeMap<Name, Incoming>,
    outgoing: BTreeMap<Name, Arc<OutgoingWebhook>>,
}

/// A webhook that others send to.
struct Incoming {
    settings: IncomingWebhook,
    schema: Option<Schema>,
    doubts: receive::Doubts,
}

/// What bodies are to be.
struct Schema {
    validator: Validator,
    depth_max: usize,
}

impl Webhooks {
    /// The webhooks of a manifest, with the schemas that it names.
    ///
    /// # Errors
    /// A schema can't be read or is none.
    pub(crate) fn open(manifest: &ProjectManifest, dir: &Path) -> Result<Webhooks, HostError> {
        let settings = &manifest.settings.webhooks;
        let mut incoming = BTreeMap::new();
        for (name, settings) in &settings.incoming {
            let schema = settings.schema.as_ref().map(|path| {
                Schema::open(dir, path).map_err(|why| {
                    let key = ["webhooks", "in", name.as_str(), "schema"];
                    manifest.refuse_setting(&key, &why)
                })
            });
            let webhook = Incoming {
                schema: schema.transpose()?,
                settings: settings.clone(),
                doubts: receive::Doubts::default(),
            };
            incoming.insert(name.clone(), webhook);
        }
        let outgoing = settings.outgoing.iter();
        Ok(Webhooks {
            incoming,
            outgoing: outgoing
                .map(|(name, settings)| (name.clone(), Arc::new(settings.clone())))
                .collect(),
        })
    }
}

impl Schema {
    fn open(dir: &Path, path: &HostPath) -> Result<Schema, String> {
        let told = |why: String| format!("the schema {} can't be used: {why}", path.as_str());
        let mut text = Vec::new();
        std::fs::File::open(dir.join(path.as_str()))
            .and_then(|file| {
                file.take(SCHEMA_BYTES_MAX.saturating_add(1))
                    .read_to_end(&mut text)
            })
            .map_err(|error| told(error.to_string()))?;
        if text.len() as u64 > SCHEMA_BYTES_MAX {
            return Err(told(format!("it has more than {SCHEMA_BYTES_MAX} bytes")));
        }
        let written: Value =
            serde_json::from_slice(&text).map_err(|error| told(error.to_string()))?;
        Ok(Schema {
            depth_max: schema_cost::depth_max(&written).map_err(told)?,
            validator: schema::compile(&written).map_err(told)?,
        })
    }
}

/// A webhook among publishers and subscribers: no plugin has a name with `@`.
fn holder(direction: &str, name: &Name) -> Holder {
    Holder::plugin(&format!("@{direction}/{name}"))
}

/// Whether a subscription is the host's own, and no plugin's.
pub(crate) fn is_of_host(holder: &Holder) -> bool {
    holder.alias.starts_with('@')
}

/// The secrets that a webhook is signed with.
async fn secrets(vault: &Vault, names: &[Name]) -> Result<Vec<Zeroizing<String>>, String> {
    let mut secrets = Vec::with_capacity(names.len());
    for name in names {
        let value = vault.get(name.as_str()).await.map_err(|error| {
            format!("its secret `{name}` can't be used: {error}; `portreeve secrets set {name} --kind api-key` puts it into the vault")
        })?;
        if let Err(error) = vault.used(name.as_str()).await {
            tracing::warn!(secret = name.as_str(), %error, "the use of a secret was not noted");
        }
        secrets.push(value.to_text());
    }
    Ok(secrets)
}

impl Host {
    /// Records what came or went by a webhook.
    fn note_webhook(&self, kind: AuditKind, name: &Name, body: Map<String, Value>) {
        let event = AuditEvent {
            caller: format!("webhook:{name}").into(),
            ..AuditEvent::host(kind, body)
        };
        if let Err(error) = self.audit.note(event) {
            tracing::error!(webhook = name.as_str(), %error, "a webhook was not recorded");
        }
    }
}
