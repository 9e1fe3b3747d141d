//! What this version of the host enforces. The manifests' grammar is larger: it names
//! every capability of the design, so that plugins can be written against it.

use std::fmt;

/// Something that a manifest can ask for and that a version of the host may not enforce
/// yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Outbound HTTP.
    Network,
    /// Credentials that the host adds to outbound HTTP.
    Credentials,
    /// TCP and UDP by name or address and port; listening.
    Sockets,
    /// Private and other special address ranges.
    Addresses,
    /// Directories of the host.
    Directories,
    /// The key-value store.
    StorageKv,
    /// Notices to people.
    UiNotify,
    /// Forms that people fill in.
    UiAsk,
    /// Reports of how far a call has come.
    UiProgress,
    /// Panels that a client shows.
    UiPanels,
    /// Publishing messages.
    MessagesPublish,
    /// Receiving messages.
    MessagesSubscribe,
    /// Requests that wait for another plugin's reply.
    MessagesRequest,
    /// Secrets that the host puts into outbound HTTP, unseen by the plugin.
    SecretsInject,
    /// Secrets that the plugin may read.
    SecretsReveal,
    /// Calling other plugins' tools.
    Invoke,
    /// Being called at set times.
    Schedules,
    /// Asking the client's model.
    ClientSampling,
    /// Listing the client's roots.
    ClientRoots,
    /// Writing to the client's log.
    ClientLog,
    /// One long-lived instance instead of a fresh one per call.
    InstancesResident,
    /// The operator's list of licences.
    PolicyLicenses,
    /// The operator's signing keys and what must be signed.
    PolicySignatures,
    /// The operator's bar for scan results.
    PolicyScan,
}

impl Feature {
    /// Every feature, in the order in which they are shown.
    pub const ALL: [Feature; 24] = [
        Feature::Network,
        Feature::Credentials,
        Feature::Sockets,
        Feature::Addresses,
        Feature::Directories,
        Feature::StorageKv,
        Feature::UiNotify,
        Feature::UiAsk,
        Feature::UiProgress,
        Feature::UiPanels,
        Feature::MessagesPublish,
        Feature::MessagesSubscribe,
        Feature::MessagesRequest,
        Feature::SecretsInject,
        Feature::SecretsReveal,
        Feature::Invoke,
        Feature::Schedules,
        Feature::ClientSampling,
        Feature::ClientRoots,
        Feature::ClientLog,
        Feature::InstancesResident,
        Feature::PolicyLicenses,
        Feature::PolicySignatures,
        Feature::PolicyScan,
    ];

    /// Whether this version of the host enforces it: the one place that says so.
    pub const fn enforced(self) -> bool {
        match self {
            Feature::Network
            | Feature::Credentials
            | Feature::Sockets
            | Feature::Addresses
            | Feature::Directories
            | Feature::StorageKv
            | Feature::UiNotify
            | Feature::UiAsk
            | Feature::UiProgress
            | Feature::UiPanels
            | Feature::MessagesPublish
            | Feature::MessagesSubscribe
            | Feature::MessagesRequest
            | Feature::SecretsInject
            | Feature::SecretsReveal
            | Feature::InstancesResident
            | Feature::PolicyLicenses
            | Feature::PolicySignatures
            | Feature::PolicyScan => true,
            Feature::Invoke
            | Feature::Schedules
            | Feature::ClientSampling
            | Feature::ClientRoots
            | Feature::ClientLog => false,
        }
    }

    /// Whether it is something that a plugin asks for and an operator grants.
    pub const fn is_capability(self) -> bool {
        !matches!(
            self,
            Feature::InstancesResident
                | Feature::PolicyLicenses
                | Feature::PolicySignatures
                | Feature::PolicyScan
        )
    }

    /// Its name: for a capability the path below `requests` and `grants`.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::Network => "network",
            Feature::Credentials => "credentials",
            Feature::Sockets => "sockets",
            Feature::Addresses => "addresses",
            Feature::Directories => "directories",
            Feature::StorageKv => "storage.kv",
            Feature::UiNotify => "ui.notify",
            Feature::UiAsk => "ui.ask",
            Feature::UiProgress => "ui.progress",
            Feature::UiPanels => "ui.panels",
            Feature::MessagesPublish => "messages.publish",
            Feature::MessagesSubscribe => "messages.subscribe",
            Feature::MessagesRequest => "messages.request",
            Feature::SecretsInject => "secrets.inject",
            Feature::SecretsReveal => "secrets.reveal",
            Feature::Invoke => "invoke",
            Feature::Schedules => "schedules",
            Feature::ClientSampling => "client.sampling",
            Feature::ClientRoots => "client.roots",
            Feature::ClientLog => "client.log",
            Feature::InstancesResident => "instances = \"resident\"",
            Feature::PolicyLicenses => "policy.licenses",
            Feature::PolicySignatures => "policy.signatures",
            Feature::PolicyScan => "policy.scan",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
