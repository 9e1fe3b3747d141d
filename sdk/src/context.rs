//! The call that is being served. Nothing here needs a grant.
//!
//! In a native build there is no call: the id is empty, the caller `local`, time and fuel
//! without end.

use std::time::Duration;

use crate::host::context;

/// The id of the call: the same in every log line, audit record and error. Empty while the
/// host asks for the list of tools.
#[must_use]
pub fn call_id() -> String {
    context::call_id()
}

/// Who is calling, as the host knows them: `local` for the person at this machine. Good to
/// show and to key data by; no proof towards others.
#[must_use]
pub fn caller() -> String {
    context::caller()
}

/// The time until the host stops this call.
#[must_use]
pub fn deadline() -> Duration {
    Duration::from_millis(context::deadline_ms())
}

/// Whether the caller has given up. The host stops such a call by itself; who asks can leave
/// things in order before.
#[must_use]
pub fn is_cancelled() -> bool {
    context::is_cancelled()
}

/// Fuel that is left: about one for each instruction.
#[must_use]
pub fn fuel_left() -> u64 {
    context::fuel_left()
}
