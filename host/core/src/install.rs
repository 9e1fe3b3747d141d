//! From the operator's manifest to a registry: every plugin's package is read, held against
//! what the operator wrote, and asked for its tools where nobody recorded them.
//!
//! Each plugin stands for itself: one that can't be used is kept with the reason, and hides
//! nothing of the others.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use portreeve_manifest::id::Alias;
use portreeve_manifest::limits::Limits;
use portreeve_manifest::project::{PluginEntry, PluginSource, ProjectManifest};
use portreeve_manifest::tool::Tool;
use portreeve_runtime::Config;
use portreeve_supply::change::Content;
use portreeve_supply::signature::read_beside;
use portreeve_supply::{IntakeLimits, Package, Tools, source};

use crate::agreement::Agreement;
use crate::grants::{GrantCell, InForce};
use crate::network::Network;
use crate::papers::{Agreed, Desk};
use crate::plugin::{Component, Facts, Plugin, PluginStatus};
use crate::project::path_of;
use crate::registry::{Offered, Registry};
use crate::workshop::Workshop;

/// Longest time that a plugin may take to list its tools.
const LISTING_TIME_MAX: Duration = Duration::from_secs(10);

/// What installing needs.
pub(crate) struct Installer<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) manifest: &'a ProjectManifest,
    pub(crate) workshop: &'a Workshop,
    pub(crate) network: &'a Network,
    pub(crate) desk: &'a Arc<Desk>,
    /// What was agreed to.
    pub(crate) agreement: &'a Agreement,
    /// What was installed before: components are taken over from it.
    pub(crate) before: &'a Registry,
}

/// A plugin that was read, before its tools are known.
struct Read {
    plugin: Plugin,
    tools: Tools,
}

impl Installer<'_> {
    /// A registry of all plugins of the manifest.
    pub(crate) async fn install(&self) -> Registry {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let plugins: Vec<_> = self
            .manifest
            .plugins
            .iter()
            .map(|(alias, entry)| self.plugin(alias.as_str(), entry))
            .collect();
        let plugins = futures::stream::iter(plugins)
            .buffered(at_once)
            .collect()
            .await;
        Registry::new(plugins)
    }

    async fn plugin(&self, alias: &str, entry: &PluginEntry) -> (Arc<Plugin>, Vec<Offered>) {
        let path = path_of(self.dir, &entry.source.to_string());
        let tried = match &entry.source {
            PluginSource::Local(_) => match self.read(alias, entry, &path).await {
                Ok(read) => self.tools(read).await,
                Err(why) => Err(why),
            },
            remote => Err(format!(
                "its source {remote} is not a local file, which is all that this version knows"
            )),
        };
        match tried {
            Ok((plugin, offered)) => (Arc::new(plugin), offered),
            Err(why) => {
                tracing::error!(plugin = alias, why, "a plugin is not offered");
                let plugin = Plugin {
                    alias: alias.to_owned(),
                    path,
                    status: PluginStatus::Failed(why),
                    facts: None,
                };
                (Arc::new(plugin), Vec::new())
            }
        }
    }

    /// Reads the package and holds it against the operator's entry.
    async fn read(&self, alias: &str, entry: &PluginEntry, path: &Path) -> Result<Read, String> {
        let given = path.to_owned();
        let desk = self.desk.clone();
        let (name, agreed) = (entry.alias.clone(), self.agreement.signed(&entry.alias));
        let reading = move || read_package(&given, &desk, &name, agreed.as_ref());
        let (path, stamp, package, signer) = tokio::task::spawn_blocking(reading)
            .await
            .map_err(|error| format!("reading it was given up: {error}"))??;
        let manifest = &package.manifest;
        if let Some(wanted) = entry
            .version
            .as_ref()
            .filter(|v| !v.matches(&manifest.version))
        {
            let message = format!(
                "version {wanted} is wanted, but {} is {}",
                path.display(),
                manifest.version
            );
            let help = "ask for the version that is there, or put another one there";
            return Err(self
                .manifest
                .refuse_entry(&entry.alias, "version", &message, help)
                .to_string());
        }
        self.agreement
            .covers(&entry.alias, &package.digest, manifest)?;
        let effective = self
            .manifest
            .effective(entry, manifest)
            .map_err(|told| told.to_string())?;
        let config = self
            .manifest
            .config(entry, manifest)
            .map_err(|told| told.to_string())?;
        let recorded: Option<Arc<[Tool]>> = match &package.tools {
            Tools::Recorded(tools) => Some(tools.as_slice().into()),
            _ => None,
        };
        let component = self
            .known(&package, &path, &entry.limits)
            .unwrap_or_else(|| Arc::new(Component::new(package.digest, path.clone(), recorded)));
        // Calls that run keep the cell: a grant to another component is none to them.
        let cell = self
            .before
            .plugin(alias)
            .and_then(|plugin| plugin.facts.as_ref())
            .filter(|facts| facts.component.digest == package.digest)
            .map(|facts| facts.grants.clone());
        let before = cell.as_deref().map(GrantCell::load);
        let next = InForce::new(effective, entry, before.as_deref(), self.network);
        Ok(Read {
            plugin: Plugin {
                alias: alias.to_owned(),
                path,
                status: PluginStatus::Ready,
                facts: Some(Facts {
                    limits: entry.limits.clone(),
                    config: Config::new(config.clone()),
                    next: Arc::new(next),
                    grants: cell.unwrap_or_default(),
                    surface: Content::of(&package).surface_digest(),
                    manifest: Arc::new(package.manifest.clone()),
                    signer,
                    component,
                    stamp,
                }),
            },
            tools: package.tools,
        })
    }

    /// The same component with the same stack, made ready before.
    fn known(&self, package: &Package, path: &Path, limits: &Limits) -> Option<Arc<Component>> {
        self.before.plugins().find_map(|plugin| {
            let facts = plugin.facts.as_ref()?;
            let same = facts.component.digest == package.digest
                && facts.limits.stack == limits.stack
                && plugin.path == path;
            same.then(|| facts.component.clone())
        })
    }

    async fn tools(&self, read: Read) -> Result<(Plugin, Vec<Offered>), String> {
        let Read { plugin, tools } = read;
        let offered = match tools {
            Tools::Recorded(tools) => tools.into_iter().map(Offered::Tool).collect(),
            Tools::Bare(functions) => functions
                .into_iter()
                .map(|function| Offered::Function(Box::new(function)))
                .collect(),
            Tools::None => Vec::new(),
            Tools::Unrecorded => self
                .ask(&plugin)
                .await?
                .into_iter()
                .map(Offered::Tool)
                .collect(),
        };
        Ok((plugin, offered))
    }

    /// Asks a provider without a recorded list for its tools.
    async fn ask(&self, plugin: &Plugin) -> Result<Vec<Tool>, String> {
        let Some(facts) = &plugin.facts else {
            return Ok(Vec::new());
        };
        let limits = Limits {
            timeout: facts.limits.timeout.min(LISTING_TIME_MAX),
            ..facts.limits.clone()
        };
        let alias = &plugin.alias;
        let template = facts
            .component
            .template(self.workshop, alias, &limits, &|step| {
                tracing::info!(plugin = alias, ?step, "asking a plugin for its tools");
            })
            .await
            .map_err(|error| error.failure.message)?;
        let listed = self.workshop.list_tools(alias, template, &limits).await;
        listed.map_err(|error| format!("it does not list its tools: {}", error.failure.message))
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Time of the last change of anything of the file, which programs can't set.
    changed: (i64, i64),
}

impl FileStamp {
    pub(crate) fn of(path: &Path) -> Option<FileStamp> {
        let meta = std::fs::metadata(path).ok()?;
        Some(FileStamp {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// A package, and who signed it.
type Signed = (PathBuf, Option<FileStamp>, Package, Option<String>);

fn read_package(
    path: &Path,
    desk: &Desk,
    alias: &Alias,
    agreed: Option<&Agreed>,
) -> Result<Signed, String> {
    let limits = IntakeLimits {
        // The compiler checks function bodies; a component that was compiled passed.
        check_code: false,
        ..IntakeLimits::default()
    };
    // Before reading: a change in between then shows as one.
    let file = source::locate(path).map_err(|error| error.to_string())?;
    let stamp = FileStamp::of(&file);
    let read = source::read(&file, &limits).map_err(|error| error.to_string())?;
    let package =
        Package::read(&read.bytes, &read.name(), &limits).map_err(|error| error.to_string())?;
    let signatures = read_beside(&file)?;
    let signer = desk.signer(alias, &package, &read.bytes, &signatures, agreed)?;
    Ok((file, stamp, package, signer))
}
