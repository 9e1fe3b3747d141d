//! Alerts on their way to whoever shall know.

use std::sync::Arc;

use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind, AuditLog};
use portreeve_state::usage::{Alert, AlertSink, AlertState};

/// Puts alerts into the host's log and the audit log.
pub(crate) struct Alarm {
    pub(crate) audit: Arc<AuditLog>,
}

impl AlertSink for Alarm {
    fn alert(&self, alert: &Alert) {
        match alert.state {
            AlertState::Raised => tracing::error!("{}", alert.message),
            AlertState::Over => tracing::info!("{}", alert.message),
        }
        let event = AuditEvent {
            holder: Holder::plugin(alert.plugin.as_deref().unwrap_or_default()),
            ..AuditEvent::host(AuditKind::Alert, alert.body())
        };
        if let Err(error) = self.audit.note(event) {
            tracing::error!(%error, "an alert was not recorded");
        }
    }
}
