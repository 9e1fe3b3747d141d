//! `portreeve:ui/progress`: how far a call has come.

use std::time::Duration;

use portreeve_manifest::clean;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::bindings::portreeve::types::types as wit;
use crate::bindings::portreeve::ui::progress::Host;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Shortest time between two reports of a call that are passed on, as `wit/ui` promises.
const INTERVAL: Duration = Duration::from_millis(100);

/// Longest message that is passed on, in characters; a longer one is cut.
const MESSAGE_CHARS_MAX: usize = 200;

/// One report of a guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressReport {
    /// What is done, in a unit of the guest's choosing.
    pub done: f64,
    /// What there is to do.
    pub total: Option<f64>,
    /// What it is at, for a person.
    pub message: Option<String>,
}

/// Takes progress reports. Called while the guest waits: it must not block.
pub trait ProgressSink: Send + Sync {
    /// Whether the plugin may report progress now; the grant is looked up at each use.
    ///
    /// # Errors
    /// The refusal, with what would allow it.
    fn permitted(&self) -> Result<(), Failure>;

    /// Passes a report on.
    fn report(&self, report: ProgressReport);
}

/// Where nothing is granted.
pub(crate) struct NoProgress;

impl ProgressSink for NoProgress {
    fn permitted(&self) -> Result<(), Failure> {
        Err(Failure::new(
            ErrorCode::PermissionDenied,
            "listing",
            "tools are listed without any grant",
        ))
    }

    fn report(&self, _: ProgressReport) {}
}

impl Host for Guest {
    fn report(
        &mut self,
        done: f64,
        total: Option<f64>,
        message: Option<String>,
    ) -> Result<(), wit::Failure> {
        self.context.progress.permitted()?;
        let finite = |number: f64| number.is_finite() && number >= 0.0;
        if !finite(done) || !total.is_none_or(finite) {
            return Err(Failure::new(
                ErrorCode::InvalidArgument,
                "not-a-quantity",
                "`done` and `total` must be finite and not negative",
            )
            .into());
        }
        let now = Instant::now();
        if self.progress_next.is_some_and(|next| now < next) {
            return Ok(());
        }
        self.progress_next = Some(now + INTERVAL);
        let message = message.map(|text| clean::line(&text, MESSAGE_CHARS_MAX));
        self.context.progress.report(ProgressReport {
            done,
            total,
            message,
        });
        Ok(())
    }
}
