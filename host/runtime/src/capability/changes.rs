//! `portreeve:content/changes`: a guest tells that its resources have changed.

use portreeve_manifest::content::check_uri;

use crate::bindings::portreeve::content::changes::Host;
use crate::bindings::portreeve::types::types as wit;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Resources that one call may name.
const UPDATED_MAX: usize = 100;

/// What a call changed. Nobody hears of it before the call has ended well: what failed may have
/// changed nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The plugin's own addresses of resources with another content.
    pub updated: std::collections::BTreeSet<String>,
    /// Whether there are others than before.
    pub list: bool,
}

impl Changes {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.updated.is_empty() && !self.list
    }
}

impl Host for Guest {
    fn updated(&mut self, uri: String) -> Result<(), wit::Failure> {
        check_uri(&uri)
            .map_err(|why| Failure::new(ErrorCode::InvalidArgument, "invalid-uri", why))?;
        let updated = &mut self.changes.updated;
        if updated.len() >= UPDATED_MAX && !updated.contains(&uri) {
            return Err(Failure::new(
                ErrorCode::QuotaExceeded,
                "too-many-updates",
                format!("a call may name {UPDATED_MAX} resources that changed; `list-changed` covers more"),
            )
            .into());
        }
        updated.insert(uri);
        Ok(())
    }

    fn list_changed(&mut self) {
        self.changes.list = true;
    }
}
