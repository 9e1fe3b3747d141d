//! What the operator has agreed to, held against what a component asks for.

use portreeve_manifest::id::Alias;
use portreeve_manifest::lock::{self, LockedPlugin, Lockfile};
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::project::PluginEntry;
use portreeve_supply::Digest;

use crate::host::HostError;
use crate::papers::Agreed;
use crate::project::{LOCKFILE, Project};
use crate::registry::Registry;

/// What was agreed to before, and just now.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// As `portreeve.lock` says it.
    pub(crate) lock: Lockfile,
    /// The component that the operator agrees to with what they are doing.
    pub(crate) now: Option<(Alias, String)>,
}

impl Agreement {
    /// Reads the lockfile; nothing was agreed to where there is none.
    pub(crate) fn read(project: &Project) -> Result<Agreement, HostError> {
        let lock = match project.read_lock()? {
            Some(text) => {
                let file = project.lock_path().display().to_string();
                Lockfile::parse(&file, &text)?
            }
            None => Lockfile::default(),
        };
        Ok(Agreement { lock, now: None })
    }

    /// The component that was agreed to, and who signed it. None where nobody did, and where the
    /// operator is agreeing to another one.
    pub(crate) fn signed(&self, alias: &Alias) -> Option<Agreed> {
        if self.now.as_ref().is_some_and(|(which, _)| which == alias) {
            return None;
        }
        let locked = self.lock.plugins.get(alias)?;
        Some(Agreed {
            digest: locked.digest.clone(),
            signer: locked.signer.clone()?,
        })
    }

    /// Whether a component may run under what was agreed to. A plugin that was never seen is
    /// agreed to by standing in the operator's file.
    ///
    /// # Errors
    /// What it asks for beyond that, and what to do.
    pub(crate) fn covers(
        &self,
        alias: &Alias,
        digest: &Digest,
        manifest: &PluginManifest,
    ) -> Result<(), String> {
        let digest = digest.to_string();
        if let Some((_, seen)) = self.now.as_ref().filter(|(which, _)| which == alias) {
            if *seen == digest {
                return Ok(());
            }
            return Err(format!(
                "its component was replaced while you looked at it ({seen} then, {digest} now): look at it again with `portreeve grant {alias}`"
            ));
        }
        let Some(agreed) = self.lock.plugins.get(alias) else {
            return Ok(());
        };
        if agreed.digest == digest {
            return Ok(());
        }
        let diff = agreed.differs(&manifest.requests);
        if diff.more.is_empty() {
            return Ok(());
        }
        Err(format!(
            "its component was replaced ({} {}, now {}) and asks for more than was agreed to in {LOCKFILE}:\n{}\n`portreeve grant {alias}` shows it and asks; or put the former component back",
            manifest.id,
            agreed.version,
            manifest.version,
            diff.lines().join("\n"),
        ))
    }
}

/// What is agreed to from now on, for the plugins that are there. One whose component can't
/// be used keeps what was agreed to.
pub(crate) fn lockfile<'a>(
    before: &Lockfile,
    listed: impl Iterator<Item = (&'a Alias, &'a PluginEntry)>,
    registry: &Registry,
) -> Lockfile {
    let plugins = listed.filter_map(|(alias, entry)| {
        let plugin = registry.plugin(alias.as_str());
        let locked = match plugin.and_then(|plugin| plugin.facts.as_ref()) {
            Some(facts) => LockedPlugin {
                source: entry.source.to_string(),
                id: Some(facts.manifest.id.to_string()),
                version: facts.manifest.version.to_string(),
                digest: facts.component.digest.to_string(),
                license: facts.manifest.license.as_ref().map(ToString::to_string),
                signer: facts.signer.clone(),
                surface: Some(facts.surface.to_string()),
                requests: lock::requests(&facts.manifest.requests),
                ..LockedPlugin::default()
            },
            None => before.plugins.get(alias)?.clone(),
        };
        Some((alias.clone(), locked))
    });
    Lockfile {
        plugins: plugins.collect(),
    }
}
