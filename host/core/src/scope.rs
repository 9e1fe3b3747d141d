//! One call as its capabilities see it: what its plugin may do at this moment, and the
//! record of what was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use portreeve_egress::Budget;
use portreeve_manifest::feature::Feature;
use portreeve_manifest::grant::refusal;
use portreeve_manifest::id::Name;
use portreeve_manifest::plugin::Origin;
use portreeve_runtime::{ErrorCode, Failure, InputKind, ProgressReport, ProgressSink};
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind, AuditLog};
use serde_json::{Map, Value, json};

use crate::call::ProgressListener;
use crate::call_directories::DirectoriesUsed;
use crate::grants::InForce;
use crate::plugin::{Facts, Plugin};
use crate::project::MANIFEST;

/// Refused things of one capability that a call has on record one by one.
const REFUSED_ITEMS_MAX: usize = 20;

/// What was refused of one capability.
#[derive(Default)]
struct Refusals {
    count: u64,
    items: BTreeSet<String>,
}

/// What the capabilities of one call share.
pub(crate) struct CallScope {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) call_id: String,
    pub(crate) caller: Arc<str>,
    pub(crate) audit: Arc<AuditLog>,
    /// What was refused of each capability.
    refused: Mutex<BTreeMap<Feature, Refusals>>,
    /// How often each secret was shown, by the plugin's own name and the vault's.
    revealed: Mutex<BTreeMap<(Name, Name), u64>>,
    /// What it uses of the network.
    network: OnceLock<Arc<Budget>>,
    /// What it did with what its plugin keeps.
    storage: Mutex<StorageUse>,
    /// What it did with directories.
    directories: DirectoriesUsed,
    /// Plugins and topics that led to it.
    pub(crate) path: Vec<String>,
    /// How many messages it sent, by topic.
    published: Mutex<BTreeMap<String, u64>>,
    /// What its client could not give.
    lacked: Mutex<BTreeSet<InputKind>>,
}

/// Topics whose messages are counted one by one in the record of a call.
const TOPICS_TOLD_MAX: usize = 20;

/// What a call did with what its plugin keeps.
#[derive(Clone, Copy, Default)]
struct StorageUse {
    reads: u64,
    changes: u64,
    written: u64,
}

impl CallScope {
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        call_id: &str,
        caller: Arc<str>,
        audit: Arc<AuditLog>,
        path: Vec<String>,
    ) -> Arc<CallScope> {
        Arc::new(CallScope {
            plugin,
            call_id: call_id.to_owned(),
            caller,
            audit,
            refused: Mutex::default(),
            revealed: Mutex::default(),
            network: OnceLock::new(),
            storage: Mutex::default(),
            directories: DirectoriesUsed::default(),
            path,
            published: Mutex::default(),
            lacked: Mutex::default(),
        })
    }

    /// Notes that its client could not give something that it asked for.
    pub(crate) fn lacks(&self, kind: InputKind) {
        let mut lacked = self.lacked.lock().unwrap_or_else(PoisonError::into_inner);
        lacked.insert(kind);
    }

    /// What its client could not give.
    pub(crate) fn lacked(&self) -> BTreeSet<InputKind> {
        self.lacked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn facts(&self) -> Option<&Facts> {
        self.plugin.facts.as_ref()
    }

    /// What the plugin may do now.
    pub(crate) fn granted(&self) -> Arc<InForce> {
        self.facts()
            .map(|facts| facts.grants.load())
            .unwrap_or_default()
    }

    /// Refuses a use: counts it, has it on record, and says what would allow it.
    pub(crate) fn refuse(&self, feature: Feature, item: &str) -> Failure {
        let asked = self.facts().is_none_or(|facts| {
            facts.manifest.origin == Origin::Inferred || facts.manifest.requests.has(feature)
        });
        self.refuse_as(feature, item, asked)
    }

    /// The same, where it is known whether the plugin's manifest asks for that use.
    pub(crate) fn refuse_as(&self, feature: Feature, item: &str, asked: bool) -> Failure {
        self.count_refusal(feature, item);
        let told = refusal(feature, item, &self.plugin.alias, &self.place(), asked);
        Failure::new(ErrorCode::PermissionDenied, "not-granted", told)
    }

    /// Where the plugin's entry is in the operator's file.
    pub(crate) fn place(&self) -> String {
        match self.facts() {
            Some(facts) => format!(
                "{MANIFEST}:{}",
                facts.next.line.max(facts.grants.load().line)
            ),
            None => MANIFEST.to_owned(),
        }
    }

    /// Counts a refusal, and records the first of each thing in this call, as far as is
    /// remembered: a guest that tries again and again fills no log, and one that is refused
    /// something harmless first hides nothing.
    pub(crate) fn count_refusal(&self, feature: Feature, item: &str) {
        let first = {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let refusals = refused.entry(feature).or_default();
            refusals.count = refusals.count.saturating_add(1);
            refusals.items.len() < REFUSED_ITEMS_MAX && refusals.items.insert(item.to_owned())
        };
        if first {
            let mut body = Map::new();
            body.insert("capability".to_owned(), feature.name().into());
            body.insert("item".to_owned(), item.into());
            // The call's own record has the count, should this one be lost.
            if let Err(error) = self.audit.note(self.event(AuditKind::Refusal, body)) {
                tracing::error!(%error, "a refusal was not recorded");
            }
        }
    }

    /// An event of this call.
    pub(crate) fn event(&self, kind: AuditKind, body: Map<String, Value>) -> AuditEvent {
        AuditEvent {
            kind,
            holder: Holder::plugin(&self.plugin.alias),
            caller: self.caller.clone(),
            call: self.call_id.clone(),
            body,
        }
    }

    /// How often something was refused.
    pub(crate) fn refused(&self) -> u64 {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = refused.values().map(|refusals| refusals.count);
        counts.fold(0, u64::saturating_add)
    }

    /// Whether a secret was shown in this call before.
    pub(crate) fn has_revealed(&self, name: &Name, secret: &Name) -> bool {
        let revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
        revealed.contains_key(&(name.clone(), secret.clone()))
    }

    /// Counts that a secret is shown. Only granted names come here, so that there are not
    /// many.
    pub(crate) fn reveals(&self, name: &Name, secret: &Name) {
        let mut revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = revealed.entry((name.clone(), secret.clone())).or_default();
        *count = count.saturating_add(1);
    }

    /// How often each secret was shown; none where none was.
    pub(crate) fn revealed(&self) -> Option<Value> {
        let revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
        if revealed.is_empty() {
            return None;
        }
        let counts = revealed
            .iter()
            .map(|((name, secret), count)| json!({"name": name, "secret": secret, "times": count}));
        Some(Value::Array(counts.collect()))
    }

    /// Has what it uses of the network counted here.
    pub(crate) fn spends(&self, budget: Arc<Budget>) {
        // Once for each call.
        let _ = self.network.set(budget);
    }

    /// What it used of the network; none where it used nothing.
    pub(crate) fn network_used(&self) -> Option<Value> {
        let (requests, sent, received) = self.network.get()?.used();
        (requests > 0).then(|| json!({"requests": requests, "sent": sent, "received": received}))
    }

    /// Counts that something was read of what the plugin keeps.
    pub(crate) fn reads_storage(&self) {
        let mut storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        storage.reads = storage.reads.saturating_add(1);
    }

    /// Counts that so many keys were changed, with so many bytes of values.
    pub(crate) fn changes_storage(&self, keys: u64, bytes: u64) {
        let mut storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        storage.changes = storage.changes.saturating_add(keys);
        storage.written = storage.written.saturating_add(bytes);
    }

    /// What it did with what its plugin keeps; none where it did nothing.
    pub(crate) fn storage_used(&self) -> Option<Value> {
        let used = *self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        let some = used.reads > 0 || used.changes > 0;
        some.then(|| json!({"reads": used.reads, "changes": used.changes, "written": used.written}))
    }

    /// What it did with directories.
    pub(crate) fn directories(&self) -> &DirectoriesUsed {
        &self.directories
    }

    /// Counts a message that it sent.
    pub(crate) fn publishes(&self, topic: &str) {
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = published.len() < TOPICS_TOLD_MAX || published.contains_key(topic);
        let topic = if known { topic } else { "(others)" };
        let count = published.entry(topic.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// How many messages it sent, by topic; none where it sent none.
    pub(crate) fn published(&self) -> Option<Value> {
        let published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (!published.is_empty()).then(|| json!(*published))
    }

    /// Adds what it used to its record.
    pub(crate) fn tell_uses(&self, body: &mut Map<String, Value>) {
        let uses = [
            ("refused", self.refusals()),
            ("revealed", self.revealed()),
            ("network", self.network_used()),
            ("directories", self.directories().to_json()),
            ("storage", self.storage_used()),
            ("published", self.published()),
        ];
        let uses = uses
            .into_iter()
            .filter_map(|(name, used)| Some((name.to_owned(), used?)));
        body.extend(uses);
    }

    /// How often each capability was refused; none where nothing was.
    pub(crate) fn refusals(&self) -> Option<Value> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_empty() {
            return None;
        }
        let counts = refused
            .iter()
            .map(|(feature, refusals)| (feature.name().to_owned(), refusals.count.into()));
        Some(Value::Object(counts.collect()))
    }
}

/// Progress reports of a plugin's call.
pub(crate) struct PluginProgress {
    pub(crate) scope: Arc<CallScope>,
    pub(crate) listener: Option<Arc<dyn ProgressListener>>,
}

impl ProgressSink for PluginProgress {
    fn permitted(&self) -> Result<(), Failure> {
        if self.scope.granted().effective.progress {
            return Ok(());
        }
        Err(self.scope.refuse(Feature::UiProgress, ""))
    }

    fn report(&self, report: ProgressReport) {
        if let Some(listener) = &self.listener {
            listener.progress(report);
        }
    }
}
