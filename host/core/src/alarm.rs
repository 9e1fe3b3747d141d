//! Alerts on their way to whoever shall know.

use std::sync::Arc;

use portreeve_egress::Outlet;
use portreeve_manifest::settings::OutletSettings;
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind, AuditLog};
use portreeve_state::usage::{Alert, AlertSink, AlertState};

/// Puts alerts into the host's log and the audit log, and sends them where the operator wants
/// to hear of them.
pub(crate) struct Alarm {
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) outlet: Option<Arc<Outlet>>,
}

/// Where something goes as the operator has set it. One that can't be set up is told in the
/// log, and keeps no host from running.
pub(crate) fn outlet(
    name: &'static str,
    table: &str,
    settings: &OutletSettings,
) -> Option<Arc<Outlet>> {
    match Outlet::open(name, settings) {
        Ok(outlet) => Some(Arc::new(outlet)),
        Err(error) => {
            tracing::error!("nothing is sent as [{table}] in portreeve.toml says: {error}");
            None
        }
    }
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
        if let Some(outlet) = &self.outlet {
            outlet.send(alert);
        }
    }
}
