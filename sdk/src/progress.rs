//! How far a call has come, shown to the caller. Needs the grant `ui.progress`.

use crate::Error;
use crate::host::progress;

/// Reports that `done` of `total`, in any unit, is reached; `done` grows from report to
/// report. Reports are hints: the host passes on at most ten a second.
///
/// ```
/// use portreeve_sdk::progress;
///
/// for page in 1..=3 {
///     // Work goes on where progress isn't granted.
///     let _ = progress::report(f64::from(page), 3.0, "reading pages");
/// }
/// let _ = progress::report(4.0, None, None);
/// ```
///
/// # Errors
/// `permission-denied` where it is not granted, and in a native build.
pub fn report<'a>(
    done: f64,
    total: impl Into<Option<f64>>,
    message: impl Into<Option<&'a str>>,
) -> Result<(), Error> {
    progress::report(done, total.into(), message.into()).map_err(Error::from_failure)
}
