//! How the project does: for `status`, from the owner or from what it has left.

use portreeve_egress::care::CareStatus;
use portreeve_state::audit::wall_clock;
use portreeve_state::usage::{Alert, Usage, usage};
use portreeve_state::{StateError, StateStore};
use serde::{Deserialize, Serialize};

use crate::advisories::AdvisoryAlert;
use crate::agreement::WithheldTool;
use crate::host::{Host, HostError};
use crate::messages::BusStats;
use crate::network::NetworkUse;
use crate::resident::ResidentStatus;

/// How the project does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The host that runs; none where nothing does.
    pub host: Option<HostStatus>,
    /// Bytes that the state takes on disk.
    pub state_bytes: u64,
    /// Bytes of the audit log's records.
    pub audit_bytes: u64,
    /// The last record of the audit log.
    pub audit_last: i64,
    /// What was used in the window.
    pub usage: Usage,
}

/// What only a host that runs knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostStatus {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Since when it runs: milliseconds since 1970, UTC.
    pub since: i64,
    /// Calls that run.
    pub running: u32,
    /// Calls that wait.
    pub waiting: u32,
    /// Why the audit log can't be written and nothing is run, if it can't.
    pub audit_failing: Option<String>,
    /// The alerts that stand.
    pub alerts: Vec<Alert>,
    /// The tools that are withheld until their operator agrees to them.
    pub withheld: Vec<WithheldTool>,
    /// What stands in the manifest and nothing comes of, with the plugin of each.
    pub warnings: Vec<String>,
    /// The weaknesses that are known of what plugins were made from.
    pub advisories: Vec<AdvisoryAlert>,
    /// What plugins have used of the network today.
    pub network: Vec<NetworkUse>,
    /// How the origins are that `[network]` takes care of.
    pub origins: Vec<CareStatus>,
    /// How messages between plugins stand.
    pub messages: BusStats,
    /// How the plugins' resident instances do.
    pub residents: Vec<ResidentView>,
}

/// The resident instance of a plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResidentView {
    /// The operator's name for the plugin.
    pub plugin: String,
    /// How its instance does.
    pub instance: ResidentStatus,
}

impl Status {
    /// From what is kept alone.
    ///
    /// # Errors
    /// When the state can't be read.
    pub async fn of(
        store: &dyn StateStore,
        from_ms: i64,
        aliases: &[&str],
    ) -> Result<Status, StateError> {
        let now = wall_clock();
        let last = store.audit_last().await?;
        Ok(Status {
            host: None,
            state_bytes: store.bytes().await?,
            audit_bytes: store.audit_bytes().await?,
            audit_last: last.map_or(0, |last| last.seq),
            usage: usage(store, (from_ms, now.saturating_add(1)), now, aliases).await?,
        })
    }
}

impl Host {
    /// How the project does, from a moment on.
    ///
    /// # Errors
    /// When the state can't be read.
    pub async fn status(&self, from_ms: i64) -> Result<Status, HostError> {
        // What was counted and not written yet belongs to it; the state may be full.
        if let Err(error) = self.usage.flush().await {
            tracing::warn!(%error, "the newest usage was not written");
        }
        let registry = self.registry();
        let aliases: Vec<&str> = registry
            .plugins()
            .map(|plugin| plugin.alias.as_str())
            .collect();
        let (running, waiting) = self.load();
        Ok(Status {
            host: Some(HostStatus {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                since: self.started_ms,
                running,
                waiting,
                audit_failing: self.audit.healthy().err().map(|error| error.to_string()),
                alerts: self.usage.standing(),
                withheld: registry.withheld_tools().collect(),
                warnings: registry
                    .plugins()
                    .flat_map(|plugin| {
                        let of = |warning| format!("{}: {warning}", plugin.alias);
                        plugin.warnings().iter().map(of)
                    })
                    .collect(),
                advisories: self.standing_advisories().await?,
                network: self.network.today(),
                origins: self.network.origins(),
                messages: self.bus_stats().await?,
                residents: registry
                    .plugins()
                    .filter_map(|plugin| {
                        Some(ResidentView {
                            plugin: plugin.alias.clone(),
                            instance: plugin.resident()?,
                        })
                    })
                    .collect(),
            }),
            ..Status::of(&*self.store, from_ms, &aliases).await?
        })
    }
}
