//! What a plugin may do at this moment, shared by the registry and by the calls that run.

use std::sync::Arc;

use arc_swap::ArcSwap;
use portreeve_manifest::grant::Effective;
use serde_json::{Map, Value};

/// The grants that are in force for one plugin.
#[derive(Debug, Default)]
pub struct InForce {
    /// What it may do.
    pub effective: Effective,
    /// What its entry in the operator's file grants, as it stands there.
    pub written: Map<String, Value>,
    /// The line of that entry, counted from 1; 0 where there is none.
    pub line: usize,
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
