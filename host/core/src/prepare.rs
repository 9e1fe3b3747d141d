//! A project as it is to be, made ready beside the one that holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_manifest::expose::Expose;
use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::Lockfile;
use portreeve_manifest::project::ProjectManifest;

use crate::agreement::{self, Agreement};
use crate::call::Caller;
use crate::host::{Host, HostError};
use crate::install::{Installed, Installer};
use crate::papers::Desk;
use crate::plugin::{Facts, Plugin, PluginStatus};
use crate::registry::{Offered, Registry};

/// A project as it is to be: read and judged, and not in force yet.
pub(crate) struct Next {
    pub(crate) manifest: ProjectManifest,
    /// What was agreed to before, and what arrives.
    pub(crate) agreement: Agreement,
    pub(crate) registry: Registry,
    /// What is agreed to with it.
    pub(crate) lock: Lockfile,
    /// Plugins whose papers are not in order, and why.
    refused: BTreeMap<Alias, String>,
}

impl Next {
    /// What the lockfile shall say, where that is something else than it says.
    pub(crate) fn lock_text(&self) -> Option<String> {
        (self.lock != self.agreement.lock).then(|| self.lock.to_text())
    }

    /// The same where the lockfile says it already.
    pub(crate) fn with_lock_written(mut self) -> Next {
        self.agreement.lock = self.lock.clone();
        self
    }
}

/// Which plugins are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All of them: files that the manifest names may have changed as well.
    All,
    /// Those whose entry is another one, and those that are named; the others are taken over as
    /// they run.
    Changed,
}

impl Host {
    /// Reads what a manifest names and holds it against what it says. `taken` are plugins that
    /// are read in any case.
    pub(crate) async fn prepare(
        &self,
        manifest: ProjectManifest,
        agreement: Agreement,
        reading: Reading,
        taken: &[Alias],
    ) -> Next {
        let before = self.registry();
        let kept = match reading {
            Reading::All => BTreeMap::new(),
            Reading::Changed => self.untouched(&before, &manifest, taken).await,
        };
        let installer = Installer {
            desk: &Desk::open(
                &manifest.policy,
                self.project.dir(),
                Some(self.advisories.clone()),
            ),
            dir: self.project.dir(),
            manifest: &manifest,
            agreement: &agreement,
            artifacts: &self.artifacts,
            workshop: &self.workshop,
            network: &self.network,
            directories: &self.directories,
            before: &before,
        };
        let Installed {
            registry,
            refused,
            papers,
        } = installer.install(kept).await;
        let lock = agreement::lockfile(&agreement, &manifest, &registry, papers);
        Next {
            manifest,
            agreement,
            registry,
            lock,
            refused,
        }
    }

    /// The plugins that stay as they run.
    async fn untouched(
        &self,
        before: &Registry,
        manifest: &ProjectManifest,
        taken: &[Alias],
    ) -> BTreeMap<Alias, (Arc<Plugin>, Vec<Offered>)> {
        let adopted = self.adopted.lock().await;
        let adopted = adopted
            .as_ref()
            .filter(|adopted| adopted.policy == manifest.policy);
        let Some(adopted) = adopted else {
            return BTreeMap::new();
        };
        let mut offered = before.offered();
        let kept = manifest.plugins.iter().filter_map(|(alias, entry)| {
            let plugin = before.plugin(alias.as_str())?;
            // A name that an operator has given may be another plugin's, which then has it: what
            // such a plugin offers is more than the registry shows.
            let own_names = plugin.prefix.is_none() && entry.expose == Expose::default();
            let stays = adopted.plugins.get(alias) == Some(entry)
                && plugin.status == PluginStatus::Ready
                && own_names
                && !taken.contains(alias);
            let facts = plugin.facts.as_ref().filter(|_| stays)?;
            // One whose instance was given up is tried anew.
            let residence = facts.residence.as_ref();
            if residence.is_some_and(|residence| !residence.may_stay()) {
                return None;
            }
            let plugin = Plugin {
                alias: plugin.alias.clone(),
                prefix: None,
                path: plugin.path.clone(),
                status: PluginStatus::Ready,
                facts: Some(Facts {
                    next: facts.grants.load(),
                    ..facts.clone()
                }),
            };
            let offered = offered.remove(alias.as_str()).unwrap_or_default();
            let offered = offered.into_iter().cloned().collect();
            Some((alias.clone(), (Arc::new(plugin), offered)))
        });
        kept.collect()
    }

    /// Holds plugins that arrive against all that is asked of them before anything is changed:
    /// their papers, and that they are ready beside those that run: compiled, their settings
    /// there, their tools as recorded.
    ///
    /// # Errors
    /// A refusal, which is on record where it is of its papers: what is wrong with one, and
    /// what to do.
    pub(crate) async fn rehearse(
        &self,
        next: &Next,
        arrived: impl Iterator<Item = &Alias>,
        who: &Caller,
    ) -> Result<(), HostError> {
        let now = self.registry();
        for alias in arrived {
            if let Some(why) = next.refused.get(alias) {
                self.record_refusal(alias, why, who);
                return Err(HostError::Refused(format!("`{alias}` is refused: {why}")));
            }
            let alias = alias.as_str();
            let works = now
                .plugin(alias)
                .is_some_and(|plugin| plugin.status == PluginStatus::Ready);
            let Some(plugin) = next.registry.plugin(alias) else {
                continue;
            };
            let made = match (&plugin.status, &plugin.facts) {
                // What never worked is installed, and says what it misses.
                (PluginStatus::Failed(why), _) if works => Err(why.clone()),
                (PluginStatus::Ready, Some(facts)) => {
                    let made = self.template(alias, facts, None).await;
                    made.map(drop).map_err(|error| error.failure.message)
                }
                _ => Ok(()),
            };
            let stays = if works {
                "; the former component stays"
            } else {
                ""
            };
            made.map_err(|why| HostError::Refused(format!("`{alias}` is refused: {why}{stays}")))?;
        }
        Ok(())
    }
}
