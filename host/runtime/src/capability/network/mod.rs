//! The network: requests over HTTP, sockets, name look-ups. Each goes to what the call was
//! given for it, which decides at every use; this is the guest's side.
//!
//! All of it is linked into every guest, because Python and JavaScript guests import it
//! whether they use it or not.

mod body;
pub(crate) mod http;
mod lookup;
mod mended;
pub(crate) mod sockets;
mod streams;

use wasmtime::component::Linker;

pub(crate) use super::last_failure::LastFailure;
use crate::bindings::portreeve::network::failures::Host;
use crate::bindings::portreeve::types::types as wit;
use crate::guest::Guest;

impl Host for Guest {
    fn take_last(&mut self) -> Option<wit::Failure> {
        self.last_failure.take().map(Into::into)
    }
}

/// Replaces, in a linker with all of WASI, what a guest reaches the network with.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    mended::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;
    streams::add_to_linker(linker)?;
    lookup::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
