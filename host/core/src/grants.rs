//! What a plugin may do at this moment, shared by the registry and by the calls that run.

use std::sync::Arc;

use arc_swap::ArcSwap;
use portreeve_manifest::grant::Effective;

/// The grants of one installed plugin. A call keeps the cell, not what is in it: what is
/// revoked is refused from its next use on.
#[derive(Debug, Default)]
pub struct GrantCell(ArcSwap<Effective>);

impl GrantCell {
    /// A cell with these grants.
    pub fn new(grants: Arc<Effective>) -> Arc<GrantCell> {
        Arc::new(GrantCell(ArcSwap::new(grants)))
    }

    /// What is granted now.
    pub fn load(&self) -> arc_swap::Guard<Arc<Effective>> {
        self.0.load()
    }

    /// Puts other grants in force, at once, and returns those that were: letting go of a
    /// large set takes time, which is the caller's to choose.
    pub fn swap(&self, grants: Arc<Effective>) -> Arc<Effective> {
        self.0.swap(grants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_the_cell_sees_the_change() {
        let granted = Effective {
            progress: true,
            ..Effective::default()
        };
        let cell = GrantCell::new(Arc::new(granted));
        let kept = cell.clone();
        assert!(kept.load().progress);
        let before = cell.swap(Arc::default());
        assert!(before.progress);
        assert!(!kept.load().progress);
    }
}
