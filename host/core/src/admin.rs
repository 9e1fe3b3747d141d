//! What people do with a project: install, grant, revoke. On record before it takes effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use portreeve_manifest::edit::Edit;
use portreeve_manifest::id::Alias;
use portreeve_manifest::project::ProjectManifest;
use portreeve_state::audit::{AuditEvent, AuditKind, wall_clock};
use portreeve_state::{HistoryRow, Holder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::agreement::{Agreement, Arrival};
use crate::call::Caller;
use crate::grants::InForce;
use crate::host::{Host, HostError};
use crate::install::FileStamp;
use crate::plugin::Facts;
use crate::prepare::{Next, Reading};
use crate::registry::Registry;

/// Who changes the operator's file by hand.
pub(crate) const BY_FILE: &str = "file";

/// What an edit came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Edited {
    /// Whether the file says anything else than before.
    pub changed: bool,
    /// The plugin's grants from now on, as in the file.
    pub grants: Map<String, Value>,
    /// The record of it in the audit log.
    pub record: Option<i64>,
}

impl Host {
    /// Edits the operator's file and puts the change in force: recorded, then written, then
    /// swapped. A revoke holds for the next use of calls that run. `arrived` is the plugin's
    /// component, where the operator has seen what it asks for.
    ///
    /// # Errors
    /// When the edit makes no sense, can't be recorded or can't be written; nothing is then
    /// changed.
    pub async fn edit(
        &self,
        edit: &Edit,
        arrived: Option<Arrival>,
        who: &Caller,
    ) -> Result<Edited, HostError> {
        let mut stamp = self.manifest.lock().await;
        let (text, before) = self.caught_up(&mut stamp).await?;
        let path = self.project.manifest_path();
        let file = path.display().to_string();
        let edited = edit.apply(&file, &text)?;
        let manifest = ProjectManifest::parse(&file, &edited)?;
        let alias = edit.alias();
        let grants = |manifest: &ProjectManifest| {
            let entry = manifest.plugins.get(alias);
            entry
                .map(|entry| entry.grants.to_json())
                .unwrap_or_default()
        };
        let granted = grants(&manifest);
        let registry = self.registry();
        let plugin = registry.plugin(alias.as_str());
        let facts = plugin.and_then(|plugin| plugin.facts.as_ref());
        let digest = facts.map(|facts| facts.component.digest.to_string());
        let agreed = arrived.as_ref().map(|arrival| arrival.pin.digest.clone());
        // Agreeing to tools that are withheld takes their component anew as well.
        let withholds = facts.is_some_and(|facts| !facts.withheld.is_empty());
        let agrees = arrived.as_ref().is_some_and(|arrival| arrival.agreed);
        let replaced = agreed.is_some() && (agreed != digest || withholds && agrees);
        if edited == text && !replaced {
            return Ok(Edited {
                changed: false,
                grants: granted,
                record: None,
            });
        }
        if let Some(entry) = manifest.plugins.get(alias) {
            self.directories.check(&manifest, entry)?;
        }
        if let (Some(entry), Some(facts), false) = (manifest.plugins.get(alias), facts, replaced) {
            manifest.effective(entry, &facts.manifest)?;
        }
        let regrants = matches!(edit, Edit::Grant(..) | Edit::Revoke(..)) && !replaced;
        let next = match regrants {
            true => None,
            false => {
                let arrived: BTreeMap<_, _> = arrived
                    .filter(|_| replaced)
                    .map(|arrival| (alias.clone(), arrival))
                    .into_iter()
                    .collect();
                let next = self.arriving(manifest.clone(), arrived, who).await?;
                Some(next)
            }
        };
        // What was found when it was looked through.
        let looked = next.as_ref().filter(|_| replaced).and_then(|next| {
            let plugin = next.registry.plugin(alias.as_str())?;
            Some(plugin.facts.as_ref()?.scan.brief())
        });
        let kind = match edit {
            Edit::Add(..) => AuditKind::Add,
            Edit::Grant(..) => AuditKind::Grant,
            Edit::Revoke(..) => AuditKind::Revoke,
            Edit::Remove(..) => AuditKind::Remove,
        };
        let event = AuditEvent {
            kind,
            holder: Holder::plugin(alias.as_str()),
            caller: who.name.clone(),
            call: String::new(),
            body: object(json!({
                "before": grants(&before),
                "after": granted,
                "digest": agreed.as_ref().or(digest.as_ref()),
                "scan": looked,
            })),
        };
        let lock = next.as_ref().and_then(Next::lock_text);
        let writing = async { self.project.switch(&edited, lock.as_deref()) };
        let (record, ()) = self.on_record(event, writing).await?;
        // Known to be theirs: not recorded once more as an edit by hand.
        let row = history(
            alias.as_str(),
            kind,
            who,
            agreed.clone().or(digest),
            &granted,
        );
        self.store.history_append(row).await?;
        match next {
            Some(next) => self.put_in_force(next.with_lock_written(), who).await?,
            None => {
                self.regrant(&manifest, &registry)?;
                let lock = Agreement::read(&self.project)?.lock;
                self.note_generations(&manifest, &lock, &registry).await;
                *self.adopted.lock().await = Some(manifest);
            }
        }
        *stamp = FileStamp::of(&path);
        Ok(Edited {
            changed: true,
            grants: granted,
            record: Some(record),
        })
    }

    /// Installs components that are in the store, for plugins that stand in the operator's file.
    /// Calls that run finish on the former ones.
    ///
    /// # Errors
    /// When the papers of one are not in order, or it can't be recorded; all stays as it was.
    pub(crate) async fn take_in(
        &self,
        arrived: BTreeMap<Alias, Arrival>,
        who: &Caller,
    ) -> Result<(), HostError> {
        let mut stamp = self.manifest.lock().await;
        let (_, manifest) = self.caught_up(&mut stamp).await?;
        let next = self.arriving(manifest, arrived, who).await?;
        self.put_in_force(next, who).await
    }

    /// The operator's file, with what somebody has changed in it by hand taken up, and on record
    /// as theirs: the watcher may not have come to it yet.
    pub(crate) async fn caught_up(
        &self,
        stamp: &mut Option<FileStamp>,
    ) -> Result<(String, ProjectManifest), HostError> {
        let path = self.project.manifest_path();
        let found = FileStamp::of(&path);
        let text = self.project.read_manifest()?;
        let manifest = ProjectManifest::parse(&path.display().to_string(), &text)?;
        if *stamp != found {
            self.adopt(manifest.clone(), &Caller::local(BY_FILE))
                .await?;
            *stamp = found;
        }
        Ok((text, manifest))
    }

    /// Makes a manifest ready whose plugins are those that run, but for what arrives.
    async fn arriving(
        &self,
        manifest: ProjectManifest,
        arrived: BTreeMap<Alias, Arrival>,
        who: &Caller,
    ) -> Result<Next, HostError> {
        let taken: Vec<Alias> = arrived.keys().cloned().collect();
        let agreement = Agreement {
            arrived,
            ..Agreement::read(&self.project)?
        };
        let next = self
            .prepare(manifest, agreement, Reading::Changed, &taken)
            .await;
        self.rehearse(&next, taken.iter(), who).await?;
        Ok(next)
    }

    /// Does something once it is on record; where it fails, that is on record, too.
    pub(crate) async fn on_record<T, E: Into<HostError>>(
        &self,
        event: AuditEvent,
        act: impl Future<Output = Result<T, E>>,
    ) -> Result<(i64, T), HostError> {
        let record = self.audit.commit(event.clone()).await?;
        match act.await {
            Ok(done) => Ok((record, done)),
            Err(error) => {
                self.audit.undone(record, event);
                Err(error.into())
            }
        }
    }

    /// Puts the grants of a manifest in force whose plugins are those of the registry.
    fn regrant(&self, manifest: &ProjectManifest, registry: &Registry) -> Result<(), HostError> {
        let shown = registry.panels_shown();
        for entry in manifest.plugins.values() {
            let plugin = registry.plugin(entry.alias.as_str());
            let Some(facts) = plugin.and_then(|plugin| plugin.facts.as_ref()) else {
                continue;
            };
            let now = facts.grants.load();
            if now.written == entry.grants.to_json() && now.line == entry.line {
                continue;
            }
            let effective = manifest.effective(entry, &facts.manifest)?;
            self.directories.check(manifest, entry)?;
            let next = InForce::new(effective, entry, Some(&now), &self.network);
            facts.grants.swap(Arc::new(next));
        }
        self.post.changed.notify_one();
        self.tell_panels(&shown);
        Ok(())
    }

    /// Records what a manifest that was changed by hand, or a component that was replaced,
    /// changes against what was last in force.
    pub(crate) async fn record_changes(&self, next: &Next, who: &Caller) -> Result<(), HostError> {
        let Next {
            manifest,
            registry,
            agreement,
            ..
        } = next;
        let mut known: BTreeMap<String, HistoryRow> = self
            .store
            .history_latest()
            .await?
            .into_iter()
            .map(|row| (row.holder.alias.to_string(), row))
            .collect();
        let by_hand = Caller::local(BY_FILE);
        let arrived = |alias: &str| {
            agreement
                .arrived
                .keys()
                .any(|known| known.as_str() == alias)
        };
        let by = |alias: &str| if arrived(alias) { who } else { &by_hand };
        let mut changes = Vec::new();
        for plugin in registry.plugins() {
            let last = known.remove(&plugin.alias);
            let Some(facts) = &plugin.facts else {
                continue;
            };
            if let Some(kind) = change(last.as_ref(), facts) {
                changes.push((plugin.alias.clone(), kind, last, Some(facts)));
            }
        }
        for (alias, last) in known {
            let gone = !manifest.plugins.keys().any(|known| known.as_str() == alias);
            if gone && last.kind != AuditKind::Remove.as_str() {
                changes.push((alias, AuditKind::Remove, Some(last), None));
            }
        }
        let records = changes.iter().map(|(alias, kind, last, facts)| {
            let before: Option<Value> = last
                .as_ref()
                .and_then(|row| serde_json::from_str(&row.grants).ok());
            let event = AuditEvent {
                kind: *kind,
                holder: Holder::plugin(alias),
                caller: by(alias).name.clone(),
                call: String::new(),
                body: object(json!({
                    "by": if arrived(alias) { "install" } else { BY_FILE },
                    "before": before,
                    "after": facts.map(|facts| &facts.next.written),
                    "digest": facts.map(|facts| facts.component.digest.to_string()),
                    "scan": facts.map(|facts| facts.scan.brief()),
                })),
            };
            self.audit.commit(event)
        });
        try_join_all(records).await?;
        let none = Map::new();
        for (alias, kind, _, facts) in &changes {
            let digest = facts.map(|facts| facts.component.digest.to_string());
            let grants = facts.map_or(&none, |facts| &facts.next.written);
            let row = history(alias, *kind, by(alias), digest, grants);
            self.store.history_append(row).await?;
        }
        Ok(())
    }
}

/// What happened to a plugin since it was last recorded.
fn change(last: Option<&HistoryRow>, facts: &Facts) -> Option<AuditKind> {
    let Some(last) = last.filter(|last| last.kind != AuditKind::Remove.as_str()) else {
        return Some(AuditKind::Add);
    };
    if last.digest != facts.component.digest.to_string() {
        return Some(AuditKind::Update);
    }
    let same = serde_json::from_str::<Map<String, Value>>(&last.grants)
        .is_ok_and(|grants| grants == facts.next.written);
    (!same).then_some(AuditKind::Edit)
}

pub(crate) fn history(
    alias: &str,
    kind: AuditKind,
    who: &Caller,
    digest: Option<String>,
    grants: &Map<String, Value>,
) -> HistoryRow {
    HistoryRow {
        holder: Holder::plugin(alias),
        time_ms: wall_clock(),
        kind: kind.as_str().to_owned(),
        who: who.name.to_string(),
        digest: digest.unwrap_or_default(),
        grants: Value::Object(grants.clone()).to_string(),
    }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
