//! The versions that a plugin had, and the way back to one.
//!
//! Whatever comes to be installed is noted with its table of the operator's file and what was
//! agreed to, and stays in the store as long as the note does. Going back puts all three in
//! their place again, through the gate that an update passes.

use std::collections::BTreeMap;

use portreeve_manifest::edit::{entry_texts, with_entry};
use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::{LockedPlugin, Lockfile};
use portreeve_manifest::project::{PluginSource, ProjectManifest};
use portreeve_state::audit::{AuditEvent, AuditKind, wall_clock};
use portreeve_state::{Generation, GenerationKeep, GenerationRow, Holder};
use portreeve_supply::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::admin::{history, object};
use crate::agreement::Agreement;
use crate::call::Caller;
use crate::host::{Host, HostError};
use crate::install::FileStamp;
use crate::plugin::PluginStatus;
use crate::prepare::Reading;
use crate::registry::Registry;

/// A version that a plugin has or had, as commands show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GenerationView {
    /// The plugin.
    pub alias: Alias,
    /// Its number, by which it can be named.
    pub generation: i64,
    /// Since when it is, or was last, installed: milliseconds since 1970, UTC.
    pub since: i64,
    /// Until when it was; none for the one that is.
    pub until: Option<i64>,
    /// Whether its component is on this machine.
    pub here: bool,
    /// What was agreed to.
    pub locked: LockedPlugin,
}

/// A version to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RollBack {
    /// The plugin.
    pub alias: Alias,
    /// The generation's number.
    pub to: i64,
    /// Whether the operator agrees to what it was granted beyond what is granted now.
    pub agreed: bool,
}

impl Host {
    /// Notes what is installed from now on. Where that can't be written it is noted with the
    /// next change, and said in the log: it hinders nothing but the way back.
    pub(crate) async fn note_generations(
        &self,
        manifest: &ProjectManifest,
        lock: &Lockfile,
        registry: &Registry,
    ) {
        if let Err(error) = self.try_note_generations(manifest, lock, registry).await {
            tracing::error!("the versions of plugins are not kept to go back to: {error}");
        }
    }

    async fn try_note_generations(
        &self,
        manifest: &ProjectManifest,
        lock: &Lockfile,
        registry: &Registry,
    ) -> Result<(), HostError> {
        let rows = self.generations.generations_installed().await?;
        let known: BTreeMap<&str, &Generation> = rows
            .iter()
            .map(|row| (&*row.holder.alias, &row.content))
            .collect();
        let mut entries = entry_texts(manifest);
        let mut installed = Vec::new();
        for (alias, locked) in &lock.plugins {
            let plugin = registry.plugin(alias.as_str());
            let works = plugin.is_some_and(|plugin| plugin.status == PluginStatus::Ready);
            let Some(entry) = entries.remove(alias).filter(|_| works) else {
                continue;
            };
            let generation = Generation {
                digest: locked.digest.clone(),
                entry,
                locked: serde_json::to_string(locked).map_err(unsayable)?,
            };
            if known.get(alias.as_str()) != Some(&&generation) {
                installed.push((Holder::plugin(alias.as_str()), generation));
            }
        }
        if installed.is_empty() {
            return Ok(());
        }
        let settings = &manifest.settings.generations;
        let age = i64::try_from(settings.age.as_millis()).unwrap_or(i64::MAX);
        let now_ms = wall_clock();
        let keep = GenerationKeep {
            rows_max: settings.keep,
            before_ms: now_ms.saturating_sub(age),
        };
        self.generations
            .generations_put(installed, now_ms, keep)
            .await?;
        Ok(())
    }

    /// The versions of a plugin, or of all: the installed one first, then the others, from the one
    /// that was last.
    ///
    /// # Errors
    /// When the state can't be read, or there is no such plugin.
    pub(crate) async fn generations(
        &self,
        alias: Option<&Alias>,
    ) -> Result<Vec<GenerationView>, HostError> {
        let manifest = self.adopted.lock().await.clone();
        let plugins = manifest
            .map(|manifest| manifest.plugins)
            .unwrap_or_default();
        if let Some(alias) = alias.filter(|alias| !plugins.contains_key(*alias)) {
            return Err(unknown(alias));
        }
        let mut found = Vec::new();
        let wanted = plugins
            .keys()
            .filter(|known| alias.is_none_or(|alias| alias == *known));
        for alias in wanted {
            let holder = Holder::plugin(alias.as_str());
            for row in self.generations.generations(&holder).await? {
                found.push(self.view(alias, &row)?);
            }
        }
        Ok(found)
    }

    fn view(&self, alias: &Alias, row: &GenerationRow) -> Result<GenerationView, HostError> {
        let locked = read_locked(row)?;
        let remote = PluginSource::parse(&locked.source).is_ok_and(|source| source.is_remote());
        let digest = locked.digest.parse::<Digest>().ok();
        let stored = digest.is_some_and(|digest| self.artifacts.path(&digest).exists());
        Ok(GenerationView {
            alias: alias.clone(),
            generation: row.number,
            since: row.since_ms,
            until: row.until_ms,
            here: row.until_ms.is_none() || (remote && stored),
            locked,
        })
    }

    /// Puts a plugin back to a version that it had: its component, its table in the operator's
    /// file and what was agreed to. Judged and made ready before anything is changed; calls that
    /// run finish on the present one.
    ///
    /// # Errors
    /// A refusal, or what can't be read, recorded or written; all stays as it was.
    pub(crate) async fn roll_back(
        &self,
        wanted: &RollBack,
        who: &Caller,
    ) -> Result<GenerationView, HostError> {
        let alias = &wanted.alias;
        let mut stamp = self.manifest.lock().await;
        let (text, before) = self.caught_up(&mut stamp).await?;
        let now = before.plugins.get(alias).ok_or_else(|| unknown(alias))?;
        let row = self.generation(wanted).await?;
        let locked = read_locked(&row)?;
        let path = self.project.manifest_path();
        let file = path.display().to_string();
        let edited = with_entry(&file, &text, alias, &row.content.entry)?;
        let manifest = ProjectManifest::parse(&file, &edited)?;
        let entry = manifest.plugins.get(alias).ok_or_else(|| unknown(alias))?;
        let refused = |why: String| HostError::Refused(format!("`{alias}` is refused: {why}"));
        let (granted, grants) = (now.grants.to_json(), entry.grants.to_json());
        let more = beyond(&granted, &grants);
        if !more.is_empty() && !wanted.agreed {
            return Err(refused(format!(
                "generation {} was granted more than is granted now:\n  + {}\n`portreeve rollback {alias} --to {0} --agree` grants that again",
                row.number,
                more.join("\n  + ")
            )));
        }
        let mut agreement = Agreement::read(&self.project)?;
        let there = agreement.lock.clone();
        agreement.lock.plugins.insert(alias.clone(), locked.clone());
        let taken = std::slice::from_ref(alias);
        let mut next = self
            .prepare(manifest.clone(), agreement, Reading::Changed, taken)
            .await;
        self.rehearse(&next, taken.iter()).await?;
        let plugin = next.registry.plugin(alias.as_str());
        if let Some(PluginStatus::Failed(why)) = plugin.map(|plugin| &plugin.status) {
            return Err(refused(why.clone()));
        }
        // What is installed may stay when a weakness comes to be known; nobody goes back to it.
        let facts = plugin.and_then(|plugin| plugin.facts.as_ref());
        if let Some(why) = facts.and_then(|facts| facts.advisories.refusal(alias)) {
            return Err(refused(why));
        }
        let digest = plugin.and_then(|plugin| plugin.digest());
        if digest.is_none_or(|digest| digest.to_string() != locked.digest) {
            return Err(refused(format!(
                "{} is {} now, and was {} then: put the former file back there first",
                entry.source,
                digest.map_or_else(|| "gone".to_owned(), |digest| digest.to_string()),
                locked.digest
            )));
        }
        // What is in the file is what was agreed to last.
        next.agreement.lock = there;
        let event = AuditEvent {
            kind: AuditKind::Rollback,
            holder: Holder::plugin(alias.as_str()),
            caller: who.name.clone(),
            call: String::new(),
            body: object(json!({
                "before": granted,
                "after": grants,
                "digest": locked.digest,
                "version": locked.version,
                "generation": row.number,
            })),
        };
        let lock = next.lock_text();
        let switching = async { self.project.switch(&edited, lock.as_deref()) };
        self.on_record(event, switching).await?;
        let row_of_history = history(
            alias.as_str(),
            AuditKind::Rollback,
            who,
            Some(locked.digest.clone()),
            &grants,
        );
        self.store.history_append(row_of_history).await?;
        self.put_in_force(next.with_lock_written(), who).await?;
        *stamp = FileStamp::of(&path);
        self.view(alias, &self.generation(wanted).await?)
    }

    /// The generation that is named.
    async fn generation(&self, wanted: &RollBack) -> Result<GenerationRow, HostError> {
        let RollBack { alias, to, .. } = wanted;
        let holder = Holder::plugin(alias.as_str());
        let rows = self.generations.generations(&holder).await?;
        rows.into_iter().find(|row| row.number == *to).ok_or_else(|| {
            HostError::Asked(format!(
                "`{alias}` has no generation {to}; `portreeve rollback {alias} --list` shows which there are"
            ))
        })
    }

    /// Removes from the store what no project needs any more. That it can't be done harms
    /// nothing.
    pub(crate) async fn collect_store(&self) {
        let Ok(needed) = self.needed().await else {
            return;
        };
        let store = self.artifacts.clone();
        let collecting = move || store.collect(|digest| needed.contains(digest));
        match tokio::task::spawn_blocking(collecting).await {
            Ok(Ok(collected)) => tracing::debug!(?collected, "the store was cleaned up"),
            Ok(Err(error)) => tracing::warn!(%error, "the store was not cleaned up"),
            Err(error) => tracing::warn!(%error, "cleaning up the store was given up"),
        }
    }

    /// Tells the store what this project needs: other projects collect there, too.
    pub(crate) async fn note_needed(&self) {
        let Ok(needed) = self.needed().await else {
            return;
        };
        let store = self.artifacts.clone();
        // It has no answer; that it was given up makes them look older, no more.
        let _ = tokio::task::spawn_blocking(move || store.note_needed(&needed)).await;
    }

    /// The components that the project needs, now and to go back to.
    async fn needed(&self) -> Result<Vec<Digest>, HostError> {
        let lock = Agreement::read(&self.project)?.lock;
        let kept = self.generations.generation_digests().await?;
        let now = lock.plugins.into_values().map(|locked| locked.digest);
        let mut digests: Vec<Digest> = now
            .chain(kept)
            .filter_map(|digest| digest.parse().ok())
            .collect();
        digests.sort_unstable();
        digests.dedup();
        Ok(digests)
    }
}

fn read_locked(row: &GenerationRow) -> Result<LockedPlugin, HostError> {
    serde_json::from_str(&row.content.locked).map_err(unsayable)
}

fn unsayable(error: serde_json::Error) -> HostError {
    HostError::Asked(format!(
        "what was kept of a generation can't be read: {error}"
    ))
}

fn unknown(alias: &Alias) -> HostError {
    HostError::Asked(format!(
        "there is no plugin `{alias}`; `portreeve list` shows what there is"
    ))
}

/// What grants say beyond others, a line each: what is not written in both in the same words.
fn beyond(now: &Map<String, Value>, then: &Map<String, Value>) -> Vec<String> {
    fn walk(path: &str, now: Option<&Value>, then: &Value, found: &mut Vec<String>) {
        match (now, then) {
            (now, Value::Object(members)) => {
                for (key, member) in members {
                    let now = now.and_then(|now| now.get(key));
                    walk(&format!("{path}.{key}"), now, member, found);
                }
            }
            (now, Value::Array(items)) => {
                let there = now.and_then(Value::as_array);
                let missing = items
                    .iter()
                    .filter(|item| there.is_none_or(|there| !there.contains(item)));
                found.extend(missing.map(|item| format!("{path} {item}")));
            }
            (_, Value::Bool(false)) => {}
            (now, then) if now == Some(then) => {}
            (_, then) => found.push(format!("{path} = {then}")),
        }
    }
    let mut found = Vec::new();
    for (key, then) in then {
        walk(&format!("grants.{key}"), now.get(key), then, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_granted_beyond_what_is() {
        let cases = [
            (json!({}), json!({}), &[][..]),
            (json!({ "ui": { "progress": true } }), json!({}), &[]),
            (
                json!({}),
                json!({ "ui": { "progress": true, "notify": false } }),
                &["grants.ui.progress = true"],
            ),
            (
                json!({ "network": ["GET https://a/**"], "storage": { "kv": "5 MiB" } }),
                json!({ "network": ["GET https://b/**", "GET https://a/**"], "storage": { "kv": "6 MiB" } }),
                &[
                    "grants.network \"GET https://b/**\"",
                    "grants.storage.kv = \"6 MiB\"",
                ],
            ),
            (
                json!({ "directories": [{ "path": "/n", "from": "n" }] }),
                json!({ "directories": [{ "path": "/n", "from": "n", "write": true }] }),
                &["grants.directories {\"from\":\"n\",\"path\":\"/n\",\"write\":true}"],
            ),
        ];
        for (now, then, expected) in cases {
            let map = |value: Value| value.as_object().unwrap().clone();
            assert_eq!(beyond(&map(now), &map(then)), expected);
        }
    }
}
