//! Alerts on their way to whoever shall know.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use portreeve_egress::Outlet;
use portreeve_manifest::settings::OutletSettings;
use portreeve_state::Holder;
use portreeve_state::audit::{AuditEvent, AuditKind, AuditLog};
use portreeve_state::usage::{Alert, AlertSink, AlertState};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::advisories::AdvisoryAlert;

/// Puts alerts into the host's log and the audit log, and sends them where the operator wants
/// to hear of them.
pub(crate) struct Alarm {
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) mailing: Arc<Mailing>,
}

/// An outlet that is another one when its settings are. One that can't be set up is told in the
/// log, and keeps no host from running.
pub(crate) struct Mailing {
    name: &'static str,
    /// The table of the settings.
    table: &'static str,
    settings: Mutex<OutletSettings>,
    outlet: ArcSwapOption<Outlet>,
}

impl Mailing {
    /// `name` is what is sent.
    pub(crate) fn open(
        name: &'static str,
        table: &'static str,
        settings: &OutletSettings,
    ) -> Arc<Mailing> {
        let mailing = Mailing {
            name,
            table,
            settings: Mutex::new(settings.clone()),
            outlet: ArcSwapOption::empty(),
        };
        mailing.outlet.store(mailing.outlet(settings));
        Arc::new(mailing)
    }

    fn outlet(&self, settings: &OutletSettings) -> Option<Arc<Outlet>> {
        match Outlet::open(self.name, settings) {
            Ok(outlet) => Some(Arc::new(outlet)),
            Err(error) => {
                let table = self.table;
                tracing::error!("nothing is sent as [{table}] in portreeve.toml says: {error}");
                None
            }
        }
    }

    /// Takes up settings, if they are others. What waits still goes where it was to go.
    pub(crate) fn set(&self, settings: &OutletSettings) {
        let mut known = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == *settings {
            return;
        }
        *known = settings.clone();
        if let Some(before) = self.outlet.swap(self.outlet(settings)) {
            tokio::spawn(async move { before.close().await });
        }
    }

    pub(crate) fn send(&self, value: &impl Serialize) {
        if let Some(outlet) = &*self.outlet.load() {
            outlet.send(value);
        }
    }

    /// Sends what waits.
    pub(crate) async fn close(&self) {
        if let Some(outlet) = self.outlet.load_full() {
            outlet.close().await;
        }
    }
}

impl Alarm {
    /// Tells of a weakness of what is installed, in the same ways.
    pub(crate) fn advisory(&self, alert: &AdvisoryAlert) {
        match alert.state {
            AlertState::Raised => tracing::error!("{}", alert.message),
            AlertState::Over => tracing::info!("{}", alert.message),
        }
        self.record(&alert.plugin, alert.body());
        self.mailing.send(alert);
    }

    fn record(&self, plugin: &str, body: Map<String, Value>) {
        let event = AuditEvent {
            holder: Holder::plugin(plugin),
            ..AuditEvent::host(AuditKind::Alert, body)
        };
        if let Err(error) = self.audit.note(event) {
            tracing::error!(%error, "an alert was not recorded");
        }
    }
}

impl AlertSink for Alarm {
    fn alert(&self, alert: &Alert) {
        match alert.state {
            AlertState::Raised => tracing::error!("{}", alert.message),
            AlertState::Over => tracing::info!("{}", alert.message),
        }
        self.record(alert.plugin.as_deref().unwrap_or_default(), alert.body());
        self.mailing.send(alert);
    }
}
