//! Requests and grants: what a plugin asks for in `plugin.toml` and what its operator
//! allows in `portreeve.toml`.
//!
//! A request and a grant of one capability have the same shape, so that a grant can be
//! written by copying a request and narrowing it. A request carries a `reason`; a grant
//! carries what only the operator knows (the directory behind a path, the secret behind a
//! name). Nothing is given by default: a plugin may do what is requested **and** granted.

mod common;
mod directory;
mod effective;
mod network;
mod standing;
mod terms;
mod topic;
mod words;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use directory::forbidden;
pub use directory::{DIRECTORIES_MAX, Directory, DirectoryRule};
pub use effective::{Effective, Excess, ExcessItem, Messages};
pub use network::{
    AddressRange, CredentialAsked, CredentialUse, Decision, HostPattern, NetworkPolicy,
    NetworkRule, Origin, PathPattern, Place, Ports, RuleError, Scheme, SocketPolicy,
    SocketProtocol, SocketRule, Target, TargetError,
};
pub use standing::{Granted, Standing};
pub use terms::{
    Cron, GuestPath, HostPath, Reason, ScheduleGrant, ScheduleRequest, SecretRef, TermError,
    ToolPattern, When,
};
pub use topic::{TOPIC_BYTES_MAX, Topic, TopicPattern};

pub use words::{Weight, refusal};

use crate::feature::Feature;
use crate::id::Name;
use crate::size::ByteSize;

/// `[requests]` of `plugin.toml`: what the plugin asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Requests {
    /// Outbound HTTP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<NetworkRequest>,
    /// TCP and UDP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<SocketRequest>,
    /// Private and other special address ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressRequest>,
    /// Directories of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryRequest>,
    /// Storage of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageRequest>,
    /// What it shows to people.
    pub ui: UiRequests,
    /// Messages.
    pub messages: MessagesRequest,
    /// Secrets.
    pub secrets: SecretsRequest,
    /// Tools of other plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invoke: Vec<InvokeRequest>,
    /// Times at which it runs by itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<Name, ScheduleRequest>,
    /// What it asks of the MCP client.
    pub client: ClientRequests,
}

/// `grants` of a plugin in `portreeve.toml`: what its operator allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Grants {
    /// Outbound HTTP; see [`NetworkRequest`] for the request.
    ///
    /// ```toml
    /// grants.network = ["GET https://api.github.com/repos/acme/**"]
    /// ```
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<NetworkRule>,
    /// The secrets that the host adds to requests under the names that the plugin's
    /// manifest gives as `credential`.
    ///
    /// ```toml
    /// grants.credentials = { github = "vault:github-bot" }
    /// ```
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<Name, SecretRef>,
    /// TCP and UDP; see [`SocketRequest`] for the request.
    ///
    /// ```toml
    /// grants.sockets = ["tcp db.example.com:5432", "listen tcp 127.0.0.1:8080"]
    /// ```
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<SocketRule>,
    /// Private and other special address ranges; see [`AddressRequest`] for the request.
    ///
    /// ```toml
    /// grants.addresses = ["10.1.2.0/24"]
    /// ```
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressRange>,
    /// Directories of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryGrant>,
    /// Storage of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageGrant>,
    /// What it shows to people.
    pub ui: UiGrants,
    /// Messages.
    pub messages: MessagesGrant,
    /// Secrets.
    pub secrets: SecretsGrant,
    /// Tools of other plugins; see [`InvokeRequest`] for the request.
    ///
    /// ```toml
    /// grants.invoke = ["markdown/render"]
    /// ```
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invoke: Vec<ToolPattern>,
    /// Times at which it runs by itself; see [`ScheduleGrant`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<Name, ScheduleGrant>,
    /// What it asks of the MCP client.
    pub client: ClientGrants,
}

/// A request for outbound HTTP, one rule each.
///
/// ```toml
/// [[requests.network]]
/// allow = "GET,POST https://api.github.com/repos/**"
/// credential = "github"             # the host adds it; the plugin never sees it
///                                   # an API key: { name = "maps", query = "key" }
/// reason = "read and file issues"
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkRequest {
    /// Methods and URL pattern.
    pub allow: NetworkRule,
    /// The credential that the host shall add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialUse>,
    /// Why.
    pub reason: Reason,
}

/// A request for TCP or UDP, one rule each.
///
/// ```toml
/// [[requests.sockets]]
/// allow = "tcp *.db.example.com:5432"
/// reason = "read the inventory"
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SocketRequest {
    /// Protocol, host and port.
    pub allow: SocketRule,
    /// Why.
    pub reason: Reason,
}

/// A request to reach addresses that are refused otherwise.
///
/// ```toml
/// [[requests.addresses]]
/// allow = "10.1.0.0/16"
/// reason = "reach the build machines"
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AddressRequest {
    /// The range.
    pub allow: AddressRange,
    /// Why.
    pub reason: Reason,
}

/// A request for a directory.
///
/// ```toml
/// [[requests.directories]]
/// path = "/notes"                   # where the plugin sees it
/// write = true                      # read-only unless it says so
/// hard-links = true                 # files with several names only if it says so
/// reason = "file your notes"
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DirectoryRequest {
    /// Where the plugin sees it.
    pub path: GuestPath,
    /// Whether the plugin may change what is in it.
    #[serde(default)]
    pub write: bool,
    /// Whether the plugin may use files that have several names (hard links), and make further
    /// names where it may write.
    #[serde(default)]
    pub hard_links: bool,
    /// Why.
    pub reason: Reason,
}

impl DirectoryRequest {
    /// What is asked for.
    pub fn rule(&self) -> DirectoryRule {
        DirectoryRule {
            path: self.path.clone(),
            write: self.write,
            hard_links: self.hard_links,
        }
    }
}

/// A grant of a directory: which one stands behind the path.
///
/// ```toml
/// grants.directories = [{ path = "/notes", from = "notes", write = true }]
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DirectoryGrant {
    /// Where the plugin sees it.
    pub path: GuestPath,
    /// The directory of this machine, relative to the project's.
    pub from: HostPath,
    /// Whether the plugin may change what is in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub write: bool,
    /// Whether the plugin may use files that have several names (hard links), one of which may
    /// lie outside, and make further names where it may write.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hard_links: bool,
}

impl DirectoryGrant {
    /// What is granted.
    pub fn rule(&self) -> DirectoryRule {
        DirectoryRule {
            path: self.path.clone(),
            write: self.write,
            hard_links: self.hard_links,
        }
    }
}

/// A request for storage.
///
/// ```toml
/// [requests.storage]
/// kv = "10 MiB"
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StorageRequest {
    /// The room that the key-value store needs.
    pub kv: ByteSize,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// A grant of storage.
///
/// ```toml
/// grants.storage = { kv = "5 MiB" }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StorageGrant {
    /// The room that the key-value store gets.
    pub kv: ByteSize,
}

/// Requests to show something to people; each with its reason.
///
/// ```toml
/// [requests.ui]
/// notify = "tell you when a build breaks"
/// ask = "let you choose the repository"
/// progress = "show how far the search has come"
/// panels = "show the board of issues"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UiRequests {
    /// Notices; why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Reason>,
    /// Forms that people fill in; why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<Reason>,
    /// How far a call has come; why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Reason>,
    /// Panels; why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panels: Option<Reason>,
}

/// Grants to show something to people.
///
/// ```toml
/// grants.ui = { notify = true, ask = true, progress = true, panels = true }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UiGrants {
    /// Notices.
    pub notify: bool,
    /// Forms that people fill in.
    pub ask: bool,
    /// How far a call has come.
    pub progress: bool,
    /// Panels.
    pub panels: bool,
}

/// A request to send and receive messages.
///
/// ```toml
/// [requests.messages]
/// publish = ["issues.opened"]
/// subscribe = ["builds.*"]
/// request = ["translate.text"]
/// reason = "link builds to issues"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct MessagesRequest {
    /// Topics it publishes to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<TopicPattern>,
    /// Topics it receives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<TopicPattern>,
    /// Topics on which it asks and waits for the reply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<TopicPattern>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// A grant to send and receive messages.
///
/// ```toml
/// grants.messages = { publish = ["issues.opened"], subscribe = ["builds.failed"], request = ["translate.text"] }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct MessagesGrant {
    /// Topics it may publish to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<TopicPattern>,
    /// Topics it may receive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<TopicPattern>,
    /// Topics on which it may ask and wait for the reply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<TopicPattern>,
}

/// A request for secrets by name. `inject` is the common case: the plugin puts a
/// placeholder into a request and the host replaces it on the way out. With `reveal` the
/// plugin reads the secret itself.
///
/// ```toml
/// [requests.secrets]
/// inject = ["webhook-token"]
/// reveal = ["signing-key"]
/// reason = "sign what it sends"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SecretsRequest {
    /// Secrets that the host puts into outbound HTTP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inject: Vec<Name>,
    /// Secrets that the plugin reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reveal: Vec<Name>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// A grant of secrets: which one stands behind each name.
///
/// ```toml
/// grants.secrets = { inject = { webhook-token = "vault:acme-webhook" }, reveal = { signing-key = "vault:acme-signing" } }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SecretsGrant {
    /// Secrets that the host puts into outbound HTTP.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inject: BTreeMap<Name, SecretRef>,
    /// Secrets that the plugin may read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reveal: BTreeMap<Name, SecretRef>,
}

/// A request to call tools of other plugins.
///
/// ```toml
/// [[requests.invoke]]
/// allow = "markdown/render"
/// reason = "show issues as HTML"
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InvokeRequest {
    /// Plugin and tool.
    pub allow: ToolPattern,
    /// Why.
    pub reason: Reason,
}

/// Requests to the MCP client; each with its reason.
///
/// ```toml
/// [requests.client]
/// sampling = "summarise long threads"
/// roots = "find the repository you work in"
/// log = "tell you what it skipped"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ClientRequests {
    /// Asking the client's model; why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Reason>,
    /// Listing the client's roots; why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<Reason>,
    /// Writing to the client's log; why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Reason>,
}

/// Grants that concern the MCP client.
///
/// ```toml
/// grants.client = { sampling = true, roots = true, log = true }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ClientGrants {
    /// Asking the client's model.
    pub sampling: bool,
    /// Listing the client's roots.
    pub roots: bool,
    /// Writing to the client's log.
    pub log: bool,
}

/// One thing that a plugin asks for, as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestItem {
    /// The capability.
    #[serde(serialize_with = "feature_name")]
    pub feature: Feature,
    /// What of it, as it is written: a rule, a size, a topic; empty where the capability
    /// says it all.
    pub what: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether this version of the host can grant it.
    pub grantable: bool,
    /// What it means: the plugin may …
    pub words: String,
    /// How much harm it can do.
    pub weight: Weight,
    /// What could go wrong.
    pub risk: &'static str,
}

fn feature_name<S: serde::Serializer>(feature: &Feature, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(feature.name())
}

impl RequestItem {
    /// What a grant calls it: the name of a credential, the path of a directory, otherwise what stands in `what`.
    pub fn key(&self) -> &str {
        match self.feature {
            Feature::Credentials => self.what.split(' ').next().unwrap_or_default(),
            Feature::Directories => words::bare(&self.what),
            _ => &self.what,
        }
    }
}

impl Requests {
    /// Everything that is asked for, one by one.
    pub fn items(&self) -> Vec<RequestItem> {
        let mut items = Vec::new();
        let mut add = |feature: Feature, what: String, reason: Option<&Reason>| {
            let told = words::tell(feature, &what);
            items.push(RequestItem {
                feature,
                what,
                reason: reason.map(Reason::to_string),
                grantable: feature.enforced(),
                words: told.words,
                weight: told.weight,
                risk: told.risk,
            });
        };
        for request in &self.network {
            add(
                Feature::Network,
                request.allow.to_string(),
                Some(&request.reason),
            );
            if let Some(used) = &request.credential {
                let asked = CredentialAsked {
                    used: used.clone(),
                    rule: request.allow.clone(),
                };
                add(
                    Feature::Credentials,
                    asked.to_string(),
                    Some(&request.reason),
                );
            }
        }
        for request in &self.sockets {
            add(
                Feature::Sockets,
                request.allow.to_string(),
                Some(&request.reason),
            );
        }
        for request in &self.addresses {
            add(
                Feature::Addresses,
                request.allow.to_string(),
                Some(&request.reason),
            );
        }
        for request in &self.directories {
            add(
                Feature::Directories,
                request.rule().to_string(),
                Some(&request.reason),
            );
        }
        if let Some(request) = &self.storage {
            add(
                Feature::StorageKv,
                request.kv.to_string(),
                request.reason.as_ref(),
            );
        }
        let flags = [
            (Feature::UiNotify, &self.ui.notify),
            (Feature::UiAsk, &self.ui.ask),
            (Feature::UiProgress, &self.ui.progress),
            (Feature::UiPanels, &self.ui.panels),
            (Feature::ClientSampling, &self.client.sampling),
            (Feature::ClientRoots, &self.client.roots),
            (Feature::ClientLog, &self.client.log),
        ];
        for (feature, reason) in flags {
            if reason.is_some() {
                add(feature, String::new(), reason.as_ref());
            }
        }
        let topics = [
            (Feature::MessagesPublish, &self.messages.publish),
            (Feature::MessagesSubscribe, &self.messages.subscribe),
            (Feature::MessagesRequest, &self.messages.request),
        ];
        for (feature, patterns) in topics {
            for pattern in patterns {
                add(feature, pattern.to_string(), self.messages.reason.as_ref());
            }
        }
        let secrets = [
            (Feature::SecretsInject, &self.secrets.inject),
            (Feature::SecretsReveal, &self.secrets.reveal),
        ];
        for (feature, names) in secrets {
            for name in names {
                add(feature, name.to_string(), self.secrets.reason.as_ref());
            }
        }
        for request in &self.invoke {
            add(
                Feature::Invoke,
                request.allow.to_string(),
                Some(&request.reason),
            );
        }
        for (name, request) in &self.schedules {
            add(
                Feature::Schedules,
                format!("{name}: {}", request.when),
                Some(&request.reason),
            );
        }
        items.sort_by_key(|item| item.feature);
        items
    }

    /// The capabilities of which something is asked for.
    pub fn features(&self) -> Vec<Feature> {
        let credentials = self
            .network
            .iter()
            .any(|request| request.credential.is_some());
        there_is([
            (Feature::Network, !self.network.is_empty()),
            (Feature::Credentials, credentials),
            (Feature::Sockets, !self.sockets.is_empty()),
            (Feature::Addresses, !self.addresses.is_empty()),
            (Feature::Directories, !self.directories.is_empty()),
            (Feature::StorageKv, self.storage.is_some()),
            (Feature::UiNotify, self.ui.notify.is_some()),
            (Feature::UiAsk, self.ui.ask.is_some()),
            (Feature::UiProgress, self.ui.progress.is_some()),
            (Feature::UiPanels, self.ui.panels.is_some()),
            (Feature::MessagesPublish, !self.messages.publish.is_empty()),
            (
                Feature::MessagesSubscribe,
                !self.messages.subscribe.is_empty(),
            ),
            (Feature::MessagesRequest, !self.messages.request.is_empty()),
            (Feature::SecretsInject, !self.secrets.inject.is_empty()),
            (Feature::SecretsReveal, !self.secrets.reveal.is_empty()),
            (Feature::Invoke, !self.invoke.is_empty()),
            (Feature::Schedules, !self.schedules.is_empty()),
            (Feature::ClientSampling, self.client.sampling.is_some()),
            (Feature::ClientRoots, self.client.roots.is_some()),
            (Feature::ClientLog, self.client.log.is_some()),
        ])
    }

    /// Whether a capability is asked for at all.
    pub fn has(&self, feature: Feature) -> bool {
        self.features().contains(&feature)
    }
}

/// The capabilities of which there is something.
fn there_is(features: [(Feature, bool); 20]) -> Vec<Feature> {
    features
        .into_iter()
        .filter_map(|(feature, some)| some.then_some(feature))
        .collect()
}

impl Grants {
    /// The capabilities of which something is granted.
    pub fn features(&self) -> Vec<Feature> {
        there_is([
            (Feature::Network, !self.network.is_empty()),
            (Feature::Credentials, !self.credentials.is_empty()),
            (Feature::Sockets, !self.sockets.is_empty()),
            (Feature::Addresses, !self.addresses.is_empty()),
            (Feature::Directories, !self.directories.is_empty()),
            (Feature::StorageKv, self.storage.is_some()),
            (Feature::UiNotify, self.ui.notify),
            (Feature::UiAsk, self.ui.ask),
            (Feature::UiProgress, self.ui.progress),
            (Feature::UiPanels, self.ui.panels),
            (Feature::MessagesPublish, !self.messages.publish.is_empty()),
            (
                Feature::MessagesSubscribe,
                !self.messages.subscribe.is_empty(),
            ),
            (Feature::MessagesRequest, !self.messages.request.is_empty()),
            (Feature::SecretsInject, !self.secrets.inject.is_empty()),
            (Feature::SecretsReveal, !self.secrets.reveal.is_empty()),
            (Feature::Invoke, !self.invoke.is_empty()),
            (Feature::Schedules, !self.schedules.is_empty()),
            (Feature::ClientSampling, self.client.sampling),
            (Feature::ClientRoots, self.client.roots),
            (Feature::ClientLog, self.client.log),
        ])
    }

    /// What is granted, as the file says it: nothing that is not.
    pub fn to_json(&self) -> Map<String, Value> {
        let Ok(Value::Object(mut grants)) = serde_json::to_value(self) else {
            // Every part of it is text, a number or a flag.
            return Map::new();
        };
        drop_nothing(&mut grants);
        grants
    }
}

/// Takes out what says no more than that there is nothing.
fn drop_nothing(members: &mut Map<String, Value>) {
    members.retain(|_, value| {
        if let Value::Object(inner) = value {
            drop_nothing(inner);
        }
        match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(inner) => !inner.is_empty(),
            _ => true,
        }
    });
}
