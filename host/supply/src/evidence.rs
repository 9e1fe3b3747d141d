//! What a component's imports tell about its author's requests.
//!
//! An import that is absent is proof: nothing in the component can use that interface. An
//! import that is there proves something only where the guest's language links no more than
//! is used ([`Linkage`](crate::Linkage)). No import shows hosts, paths or names.

use portreeve_manifest::feature::Feature;
use portreeve_manifest::grant::Requests;

use crate::{Linkage, Surface};

/// What the imports tell about one capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The capability.
    pub feature: Feature,
    /// What they tell.
    pub verdict: Verdict,
    /// For [`Verdict::Unneeded`] the interfaces that it would need one of, without versions;
    /// else those of them that are imported, as they are.
    pub interfaces: Vec<String>,
}

/// What the imports tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is requested, and what it needs is imported.
    Fits,
    /// It is requested, but nothing is imported that could use it.
    Unneeded,
    /// It is imported and so used, but not requested: it will be refused.
    Unrequested,
    /// It is imported and not requested, but it may go unused; see
    /// [`Linkage::doubt`].
    PerhapsUnrequested,
    /// It is requested, and what it needs is imported, but it may go unused.
    PerhapsUnneeded,
    /// It is requested, and no import of this version shows its use.
    Unseen,
}

/// How a capability shows among the imports. It is nowhere where no interface of this version
/// belongs to it.
struct Trace {
    /// These interfaces are there for nothing else: importing one is using it.
    own: &'static [&'static str],
    /// It may need one of these, which are imported for other ends as well.
    shared: &'static [&'static str],
}

const fn own(own: &'static [&'static str]) -> Trace {
    Trace { own, shared: &[] }
}

const fn shared(shared: &'static [&'static str]) -> Trace {
    Trace { own: &[], shared }
}

impl Trace {
    fn interfaces(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.own.iter().chain(self.shared).copied()
    }
}

const HTTP: &str = "wasi:http/outgoing-handler";
const TCP: &str = "wasi:sockets/tcp";
const UDP: &str = "wasi:sockets/udp";
const LOOKUP: &str = "wasi:sockets/ip-name-lookup";
const BUS: &str = "portreeve:messages/bus";
const INPUTS: &str = "portreeve:client/inputs";

/// Interfaces of ours that need no grant.
pub const FREE: &[&str] = &[
    "portreeve:host/context",
    "portreeve:host/config",
    // A handle is of no use without one of the two that belong to a capability.
    "portreeve:secrets/store",
    // They only say what the grants of the network and of directories did not allow.
    "portreeve:network/failures",
    "portreeve:directories/failures",
    // Types only.
    "portreeve:client/types",
    // It tells callers of the plugin's own resources only.
    "portreeve:content/changes",
];

/// The interfaces of a capability: the one place that says so.
///
/// What the standard libraries of Rust and C import whatever they are used for (clocks,
/// randomness, streams, standard input and output, the environment) belongs to none. Files
/// are shared: libraries look for time zones and configuration in them, and find nothing.
fn trace(feature: Feature) -> Trace {
    match feature {
        Feature::Network => own(&[HTTP]),
        Feature::Credentials => shared(&[HTTP]),
        Feature::Sockets => own(&[TCP, UDP, LOOKUP]),
        Feature::Addresses => shared(&[HTTP, TCP, UDP]),
        Feature::Directories => shared(&["wasi:filesystem/preopens"]),
        Feature::UiNotify => own(&["portreeve:prompt/notices"]),
        Feature::UiAsk => Trace {
            own: &["portreeve:prompt/questions"],
            shared: &[INPUTS],
        },
        Feature::UiProgress => own(&["portreeve:ui/progress"]),
        Feature::SecretsInject => own(&["portreeve:secrets/inject"]),
        Feature::SecretsReveal => own(&["portreeve:secrets/reveal"]),
        Feature::StorageKv => own(&[
            "portreeve:storage/kv",
            "wasi:keyvalue/store",
            "wasi:keyvalue/atomics",
            "wasi:keyvalue/batch",
        ]),
        Feature::ClientSampling => Trace {
            own: &["portreeve:client/sampling"],
            shared: &[INPUTS],
        },
        Feature::ClientRoots => Trace {
            own: &["portreeve:client/roots"],
            shared: &[INPUTS],
        },
        Feature::ClientLog => own(&["portreeve:client/log"]),
        Feature::MessagesPublish | Feature::MessagesRequest => shared(&[BUS]),
        // What is delivered comes through an export.
        Feature::UiPanels
        | Feature::MessagesSubscribe
        | Feature::Invoke
        | Feature::Schedules
        | Feature::InstancesResident
        | Feature::PolicyLicenses
        | Feature::PolicySignatures
        | Feature::PolicyScan => own(&[]),
    }
}

/// The capabilities that an interface belongs to, named with or without its version.
pub fn capabilities(interface: &str) -> Vec<Feature> {
    let of = |feature: &Feature| {
        let trace = trace(*feature);
        let mut interfaces = trace.interfaces();
        interfaces.any(|known| known == unversioned(interface))
    };
    Feature::ALL.into_iter().filter(of).collect()
}

/// Holds requests against imports: a finding for each capability that is requested, and for
/// each that is imported and should be. None of a component of WASI 0.3, whose interfaces
/// this version doesn't know.
pub fn compare(requests: &Requests, surface: &Surface) -> Vec<Evidence> {
    if surface.asynchronous {
        return Vec::new();
    }
    let sure = surface.linkage == Linkage::Used;
    let capabilities = Feature::ALL.into_iter().filter(|f| f.is_capability());
    capabilities
        .filter_map(|feature| {
            let requested = requests.has(feature);
            let trace = trace(feature);
            let interfaces = trace.interfaces();
            let imported: Vec<_> = surface
                .imports
                .iter()
                .filter(|import| {
                    let mut interfaces = interfaces.clone();
                    interfaces.any(|known| known == unversioned(import))
                })
                .cloned()
                .collect();
            let mut names = imported.iter().map(|import| unversioned(import));
            let own = names.any(|import| trace.own.contains(&import));
            let verdict = match (requested, imported.is_empty()) {
                (true, _) if interfaces.clone().next().is_none() => Verdict::Unseen,
                (true, true) => Verdict::Unneeded,
                (true, false) if sure => Verdict::Fits,
                (true, false) => Verdict::PerhapsUnneeded,
                (false, false) if own && sure => Verdict::Unrequested,
                (false, false) if own => Verdict::PerhapsUnrequested,
                (false, _) => return None,
            };
            let interfaces = match verdict {
                Verdict::Unneeded => interfaces.map(str::to_owned).collect(),
                _ => imported,
            };
            Some(Evidence {
                feature,
                verdict,
                interfaces,
            })
        })
        .collect()
}

/// The name of an interface without its version.
fn unversioned(interface: &str) -> &str {
    interface
        .split_once('@')
        .map_or(interface, |(name, _)| name)
}
