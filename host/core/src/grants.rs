//! What a plugin may do at this moment, shared by the registry and by the calls that run.

use std::sync::Arc;

use arc_swap::ArcSwap;
use portreeve_egress::Client;
use portreeve_manifest::grant::Effective;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::project::PluginEntry;
use serde_json::{Map, Value};

use crate::network::Network;

/// The grants that are in force for one plugin.
#[derive(Debug, Default)]
pub struct InForce {
    /// What it may do.
    pub effective: Effective,
    /// What its entry in the operator's file grants, as it stands there.
    pub written: Map<String, Value>,
    /// The line of that entry, counted from 1; 0 where there is none.
    pub line: usize,
    /// Its connections, which end with these grants; none where nothing of the network is
    /// granted, or the gate can't be set up.
    pub(crate) client: Option<Client>,
}

impl InForce {
    /// What an entry of the operator's file grants, in place of what was in force before. Its
    /// connections are those that there were where the same may be reached through the same
    /// gate: others may lead to where nothing may go any more.
    pub(crate) fn new(
        effective: Effective,
        entry: &PluginEntry,
        before: Option<&InForce>,
        network: &Network,
    ) -> InForce {
        let reaches_the_same = |before: &&InForce| {
            before.effective.network == effective.network
                && before.effective.addresses == effective.addresses
                && before.effective.credentials == effective.credentials
        };
        let kept = before
            .filter(reaches_the_same)
            .and_then(|before| before.client.clone())
            .filter(|client| network.is_of_gate(client));
        let client = match kept {
            None if !effective.network.is_empty() => network.client(),
            kept => kept,
        };
        InForce {
            effective,
            written: entry.grants.to_json(),
            line: entry.line,
            client,
        }
    }
}

impl InForce {
    /// What of these grants is left for the instance of a plugin that another one takes the place
    /// of: what its operator grants in the entry that stands there now, where one does.
    pub(crate) fn still(
        &self,
        manifest: &PluginManifest,
        entry: Option<&PluginEntry>,
        network: &Network,
    ) -> InForce {
        let Some(entry) = entry else {
            return InForce::default();
        };
        // It came from grants; what is none grants nothing.
        let written = serde_json::from_value(Value::Object(self.written.clone()));
        let grants = entry.grants.common(&written.unwrap_or_default());
        let effective = grants.as_asked(manifest);
        let entry = PluginEntry {
            grants,
            ..entry.clone()
        };
        InForce::new(effective, &entry, Some(self), network)
    }
}

/// The grants of one installed plugin. A call keeps the cell, not what is in it: what is
/// revoked is refused from its next use on.
#[derive(Debug, Default)]
pub struct GrantCell(ArcSwap<InForce>);

impl GrantCell {
    /// What is granted now.
    pub fn load(&self) -> Arc<InForce> {
        self.0.load_full()
    }

    /// Puts other grants in force, at once, and returns those that were: letting go of a
    /// large set takes time, which is the caller's to choose.
    pub fn swap(&self, grants: Arc<InForce>) -> Arc<InForce> {
        self.0.swap(grants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_the_cell_sees_the_change() {
        let cell = Arc::new(GrantCell::default());
        let kept = cell.clone();
        assert!(!kept.load().effective.progress);
        let granted = InForce {
            effective: Effective {
                progress: true,
                ..Effective::default()
            },
            ..InForce::default()
        };
        cell.swap(Arc::new(granted));
        assert!(kept.load().effective.progress);
        assert!(cell.swap(Arc::default()).effective.progress);
        assert!(!kept.load().effective.progress);
    }
}
