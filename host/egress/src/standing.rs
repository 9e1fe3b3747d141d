//! One exchange, and whether it may go on.

use std::net::IpAddr;
use std::sync::Arc;

use portreeve_manifest::grant::Target;
use portreeve_manifest::id::Name;

use crate::address;
use crate::error::GateError;
use crate::gate::{CallPolicy, InForce};

/// What an exchange was allowed with. It is asked again at each step, so that what is revoked
/// ends it, wherever it is.
pub(crate) struct Standing {
    pub(crate) call: Arc<dyn CallPolicy>,
    pub(crate) target: Arc<Target>,
    pub(crate) credential: Option<Name>,
    pub(crate) placeholders: bool,
    /// Whether it is the host's own, to where its operator sends it.
    pub(crate) is_hosts: bool,
}

impl Standing {
    /// Whether it may go on.
    pub(crate) fn check(&self) -> Result<(), GateError> {
        if self.is_hosts {
            return Ok(());
        }
        self.call.stands(&InForce {
            target: &self.target,
            credential: self.credential.as_ref(),
            placeholders: self.placeholders,
        })
    }

    /// Whether it may be sent to an address, which was checked when it was connected to.
    pub(crate) fn reaches(&self, address: IpAddr) -> Result<(), GateError> {
        if self.is_hosts {
            return Ok(());
        }
        address::permit(address, &self.call.addresses())
    }
}
