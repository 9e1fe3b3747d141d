//! Known weaknesses of what is installed: a new database of advisories is on record before it
//! takes its place, what is installed is held against it, and whoever shall know is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portreeve_manifest::policy::Severity;
use portreeve_state::audit::{AuditEvent, AuditKind, wall_clock};
use portreeve_state::usage::AlertState;
use portreeve_state::{Holder, ROWS_MAX};
use portreeve_supply::advisory::{AdvisoryError, DatabaseInfo, Hit};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::alarm::Alarm;
use crate::call::Caller;
use crate::host::{Host, HostError};
use crate::registry::Registry;

/// Where it is kept what has been told, by the plugin's alias.
const BUCKET: &str = "host:advisories";

/// Most weaknesses of one plugin that are told one by one; reports have all of them.
const TOLD_MAX: usize = 100;

/// What people do with the database of advisories.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdvisoryAct {
    /// Puts a database in the place of the one that is there, and holds what is installed
    /// against it.
    Replace {
        /// Where it was written, beside that place.
        staged: PathBuf,
    },
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdvisoryDone {
    /// The record of it in the audit log.
    pub record: i64,
    /// What stands of all plugins from now on.
    pub standing: Vec<AdvisoryAlert>,
}

/// Something that a plugin was made from is known to have a weakness, or has it no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdvisoryAlert {
    /// Which of both.
    pub state: AlertState,
    /// The plugin.
    pub plugin: String,
    /// The name of the advisory.
    pub advisory: String,
    /// The package, with its version.
    pub package: String,
    /// How bad it counts as.
    pub severity: Severity,
    /// When: milliseconds since 1970, UTC.
    pub time: i64,
    /// All that in a sentence.
    pub message: String,
}

impl AdvisoryAlert {
    fn raised(plugin: &str, hit: &Hit, time: i64) -> AdvisoryAlert {
        AdvisoryAlert {
            state: AlertState::Raised,
            plugin: plugin.to_owned(),
            advisory: hit.id.clone(),
            package: hit.package.label(),
            severity: hit.weight(),
            time,
            message: format!(
                "{plugin} was made from what has a weakness: {}",
                hit.words()
            ),
        }
    }

    fn over(&self, time: i64) -> AdvisoryAlert {
        let (plugin, advisory, package) = (&self.plugin, &self.advisory, &self.package);
        AdvisoryAlert {
            state: AlertState::Over,
            time,
            message: format!("{advisory} is no more said of {plugin} ({package})"),
            ..self.clone()
        }
    }

    fn is(&self, other: &AdvisoryAlert) -> bool {
        self.advisory == other.advisory && self.package == other.package
    }

    /// As the body of an audit record.
    pub(crate) fn body(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(body)) => body,
            _ => Map::new(),
        }
    }
}

impl Host {
    /// Does something with the database of advisories.
    ///
    /// # Errors
    /// When it can't be recorded or done; all stays as it was.
    pub async fn advisories(
        &self,
        act: AdvisoryAct,
        who: &Caller,
    ) -> Result<AdvisoryDone, HostError> {
        let AdvisoryAct::Replace { staged } = act;
        let store = self.advisories.clone();
        let path = staged.clone();
        let read = tokio::task::spawn_blocking(move || {
            // One that can't be used is replaced like any other.
            let before = store.open().ok().flatten();
            let before = before.map(|database| database.info().clone());
            Ok::<_, AdvisoryError>((before, store.staged(&path)?))
        });
        let (before, after) = match read.await {
            Ok(read) => read?,
            Err(error) => return Err(HostError::Asked(error.to_string())),
        };
        let mut body = Map::new();
        body.insert("before".to_owned(), before.as_ref().map(brief).into());
        body.insert("after".to_owned(), brief(&after));
        let event = AuditEvent {
            caller: who.name.clone(),
            ..AuditEvent::host(AuditKind::Advisories, body)
        };
        let putting = async { self.advisories.adopt(&staged) };
        let (record, ()) = self.on_record(event, putting).await?;
        self.reload().await?;
        let standing = self.standing_advisories().await?;
        Ok(AdvisoryDone { record, standing })
    }

    /// Tells what is new of the plugins of a registry, and what is over. What can't be known
    /// ends nothing.
    pub(crate) async fn tell_advisories(&self, registry: &Registry) -> Result<(), HostError> {
        let alarm = Alarm {
            audit: self.audit.clone(),
            mailing: self.alerts.clone(),
        };
        let now = wall_clock();
        let mut told: BTreeMap<String, Vec<AdvisoryAlert>> = BTreeMap::new();
        for alert in self.standing_advisories().await? {
            told.entry(alert.plugin.clone()).or_default().push(alert);
        }
        for plugin in registry.plugins() {
            let alias = plugin.alias.as_str();
            let before = told.remove(alias).unwrap_or_default();
            let Some(facts) = &plugin.facts else {
                continue;
            };
            let report = &facts.advisories;
            if report.database.is_none() || report.problem.is_some() {
                continue;
            }
            let hits = report.alarming().take(TOLD_MAX);
            let after: Vec<AdvisoryAlert> = hits
                .map(|hit| AdvisoryAlert::raised(alias, hit, now))
                .map(|alert| {
                    before
                        .iter()
                        .find(|b| b.is(&alert))
                        .cloned()
                        .unwrap_or(alert)
                })
                .collect();
            for alert in &after {
                if !before.contains(alert) {
                    alarm.advisory(alert);
                }
            }
            for alert in &before {
                if !after.contains(alert) {
                    alarm.advisory(&alert.over(now));
                }
            }
            if before != after {
                self.keep_told(alias, &after).await?;
            }
        }
        // Of plugins that are gone.
        for (alias, before) in told {
            for alert in before {
                alarm.advisory(&alert.over(now));
            }
            self.keep_told(&alias, &[]).await?;
        }
        Ok(())
    }

    /// What stands, by plugin.
    pub(crate) async fn standing_advisories(&self) -> Result<Vec<AdvisoryAlert>, HostError> {
        let host = Holder::host();
        let keys = self
            .store
            .kv_list(&host, BUCKET, "", None, ROWS_MAX, i64::MIN)
            .await?;
        let mut standing = Vec::new();
        for entry in keys {
            let bytes = self.store.kv_get(&host, BUCKET, &entry.key).await?;
            let kept = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let kept: Vec<AdvisoryAlert> = kept.unwrap_or_default();
            standing.extend(kept);
        }
        Ok(standing)
    }

    async fn keep_told(&self, alias: &str, alerts: &[AdvisoryAlert]) -> Result<(), HostError> {
        let host = Holder::host();
        if alerts.is_empty() {
            self.store.kv_delete(&host, BUCKET, alias).await?;
            return Ok(());
        }
        let value = serde_json::to_vec(alerts).unwrap_or_default();
        self.store
            .kv_put(&host, BUCKET, alias, value, u64::MAX)
            .await?;
        Ok(())
    }
}

/// What is recorded of a database.
fn brief(info: &DatabaseInfo) -> Value {
    /// As many as one reads.
    const SOURCES_MAX: usize = 8;
    let sources: Vec<_> = info.sources.iter().take(SOURCES_MAX).collect();
    serde_json::json!({
        "advisories": info.advisories,
        "newest": info.newest,
        "unread": info.unread,
        "digest": info.digest,
        "sources": sources,
    })
}
