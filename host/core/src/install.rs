//! From the operator's manifest to a registry: every plugin's package is read, held against
//! what the operator wrote, and asked for its tools where nobody recorded them.
//!
//! Each plugin stands for itself: one that can't be used is kept with the reason, and hides
//! nothing of the others.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use portreeve_manifest::id::Alias;
use portreeve_manifest::limits::Limits;
use portreeve_manifest::lock::{self, LockedPlugin};
use portreeve_manifest::plugin::Instances;
use portreeve_manifest::project::{PluginEntry, PluginSource, ProjectManifest};
use portreeve_manifest::tool::Tool;
use portreeve_runtime::Config;
use portreeve_supply::advisory;
use portreeve_supply::change::Content;
use portreeve_supply::finding::Findings;
use portreeve_supply::scan::{self, Examined};
use portreeve_supply::signature::{SignatureFile, read_beside};
use portreeve_supply::{ArtifactStore, Digest, IntakeLimits, Package, Tools, source};

use crate::agreement::{Agreement, Pin};
use crate::content::Offers;
use crate::directories::Directories;
use crate::grants::{GrantCell, InForce};
use crate::network::Network;
use crate::papers::{Agreed, Cargo, Desk};
use crate::plugin::{Component, Facts, Plugin, PluginStatus};
use crate::project::path_of;
use crate::registry::{Offered, Registry};
use crate::resident::Residence;
use crate::workshop::Workshop;

/// Longest time that a plugin may take to list its tools.
const LISTING_TIME_MAX: Duration = Duration::from_secs(10);

/// What installing needs.
pub(crate) struct Installer<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) manifest: &'a ProjectManifest,
    pub(crate) workshop: &'a Workshop,
    pub(crate) network: &'a Network,
    pub(crate) directories: &'a Directories,
    pub(crate) desk: &'a Arc<Desk>,
    /// Where components are that came over a network.
    pub(crate) artifacts: &'a ArtifactStore,
    /// What was agreed to.
    pub(crate) agreement: &'a Agreement,
    /// What was installed before: components are taken over from it.
    pub(crate) before: &'a Registry,
}

/// What installing came to.
pub(crate) struct Installed {
    pub(crate) registry: Registry,
    /// Plugins whose papers are not in order, and why.
    pub(crate) refused: BTreeMap<Alias, String>,
    /// The papers of the others that were read, as the lockfile says them; whether each works is
    /// another question.
    pub(crate) papers: BTreeMap<Alias, LockedPlugin>,
}

/// What installing a plugin came to.
struct Tried {
    plugin: Arc<Plugin>,
    offered: Vec<Offered>,
    /// Why, where its papers are not in order.
    refused: Option<(Alias, String)>,
    papers: Option<LockedPlugin>,
}

/// A plugin that was read, before its tools are known.
struct Read {
    plugin: Plugin,
    tools: Tools,
    examined: Examined,
}

/// Why a plugin is not offered.
enum Stopped {
    /// Its papers are not in order.
    Papers(String),
    /// It can't be used as it is.
    Unfit(String),
}

impl Stopped {
    fn why(&self) -> &str {
        match self {
            Stopped::Papers(why) | Stopped::Unfit(why) => why,
        }
    }
}

/// A component whose papers are in order.
struct Cleared {
    path: PathBuf,
    stamp: Option<FileStamp>,
    package: Package,
    signer: Option<String>,
    examined: Examined,
    scan: Box<scan::Report>,
    advisories: Box<advisory::Report>,
    pin: Pin,
}

impl Cleared {
    /// What the lockfile says of it.
    fn papers(&self, entry: &PluginEntry) -> LockedPlugin {
        let manifest = &self.package.manifest;
        LockedPlugin {
            source: entry.source.to_string(),
            id: Some(manifest.id.to_string()),
            version: manifest.version.to_string(),
            digest: self.package.digest.to_string(),
            license: manifest.license.as_ref().map(ToString::to_string),
            signer: self.signer.clone(),
            surface: Some(Content::of(&self.package).surface_digest().to_string()),
            resolved: self.pin.resolved.clone(),
            sha512: self.pin.sha512.clone(),
            requests: lock::requests(&manifest.requests),
            tools: BTreeMap::new(),
        }
    }
}

impl Installer<'_> {
    /// A registry of all plugins of the manifest. Those in `kept` are taken over as they are.
    pub(crate) async fn install(
        &self,
        mut kept: BTreeMap<Alias, (Arc<Plugin>, Vec<Offered>)>,
    ) -> Installed {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let entries = self.manifest.plugins.values();
        let read: Vec<_> = entries
            .filter(|entry| !kept.contains_key(&entry.alias))
            .map(|entry| self.plugin(entry))
            .collect();
        let mut read: Vec<_> = futures::stream::iter(read)
            .buffered(at_once)
            .collect()
            .await;
        let refused = read.iter_mut().filter_map(|read| read.refused.take());
        let refused = refused.collect();
        let papers = read.iter_mut().filter_map(|read| {
            let alias = read.plugin.alias.parse().ok()?;
            Some((alias, read.papers.take()?))
        });
        let papers = papers.collect();
        let mut plugins: Vec<_> = read
            .into_iter()
            .map(|read| (read.plugin, read.offered))
            .collect();
        while let Some((_, plugin)) = kept.pop_first() {
            plugins.push(plugin);
        }
        // Where two offer the same name, the first by alias has it.
        plugins.sort_by(|(a, _), (b, _)| a.alias.cmp(&b.alias));
        Installed {
            registry: Registry::new(plugins),
            refused,
            papers,
        }
    }

    async fn plugin(&self, entry: &PluginEntry) -> Tried {
        let alias = entry.alias.as_str();
        let (mut refused, mut papers) = (None, None);
        let tried = match self.clear(entry).await {
            Ok(cleared) => {
                papers = Some(cleared.papers(entry));
                match self.read(alias, entry, cleared) {
                    Ok(read) => self.tools(&entry.alias, read).await,
                    Err(why) => Err(Stopped::Unfit(why)),
                }
            }
            Err(why) => Err(Stopped::Papers(why)),
        };
        let (plugin, offered) = match tried {
            Ok((plugin, offered)) => (Arc::new(plugin), offered),
            Err(stopped) => {
                let why = stopped.why().to_owned();
                tracing::error!(plugin = alias, why, "a plugin is not offered");
                if matches!(stopped, Stopped::Papers(_)) {
                    papers = None;
                    refused = Some((entry.alias.clone(), why.clone()));
                }
                let plugin = Plugin {
                    alias: alias.to_owned(),
                    prefix: entry.prefix.clone(),
                    path: match &entry.source {
                        PluginSource::Local(path) => path_of(self.dir, path),
                        remote => remote.to_string().into(),
                    },
                    status: PluginStatus::Failed(why),
                    facts: None,
                };
                (Arc::new(plugin), Vec::new())
            }
        };
        Tried {
            plugin,
            offered,
            refused,
            papers,
        }
    }

    /// Whether the papers of a component are in order: what the gate asks before anything of
    /// it is used.
    async fn clear(&self, entry: &PluginEntry) -> Result<Cleared, String> {
        let alias = entry.alias.clone();
        let agreed = self.agreement.signed(&alias);
        let desk = self.desk.clone();
        let place = match &entry.source {
            PluginSource::Local(path) => Place::File(path_of(self.dir, path)),
            remote => Place::Store {
                store: self.artifacts.clone(),
                pin: self.agreement.pin(&alias, &remote.to_string())?,
                name: remote.name().unwrap_or_default().to_owned(),
            },
        };
        let store = self.artifacts.clone();
        let reading = move || place.clear(&desk, &alias, agreed.as_ref(), &store);
        let cleared = tokio::task::spawn_blocking(reading)
            .await
            .map_err(|error| format!("reading it was given up: {error}"))??;
        // What is installed stays when a weakness comes to be known: its operator is told.
        if !self.agreement.has(&entry.alias, &cleared.package.digest)
            && let Some(why) = cleared.advisories.refusal(&entry.alias)
        {
            return Err(why);
        }
        let manifest = &cleared.package.manifest;
        if let Some(wanted) = entry
            .version
            .as_ref()
            .filter(|v| !v.matches(&manifest.version))
        {
            let message = format!(
                "version {wanted} is wanted, but {} is {}",
                cleared.path.display(),
                manifest.version
            );
            let help = match entry.source {
                PluginSource::Local(_) => {
                    "ask for the version that is there, or put another one there"
                }
                _ => "ask for that version, or fetch another one with `portreeve update`",
            };
            return Err(self
                .manifest
                .refuse_entry(&entry.alias, "version", &message, help)
                .to_string());
        }
        self.agreement
            .covers(entry, &cleared.package.digest, manifest)?;
        Ok(cleared)
    }

    /// Holds a component against the operator's entry.
    fn read(&self, alias: &str, entry: &PluginEntry, cleared: Cleared) -> Result<Read, String> {
        let Cleared {
            path,
            stamp,
            package,
            signer,
            examined,
            scan,
            advisories,
            pin: _,
        } = cleared;
        let manifest = &package.manifest;
        let effective = self
            .manifest
            .effective(entry, manifest)
            .map_err(|told| told.to_string())?;
        self.directories
            .check(self.manifest, entry)
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
        let config = Config::new(config.clone());
        let mut limits = entry.limits.clone();
        let residence = (manifest.instances == Instances::Resident).then(|| {
            limits.concurrent_calls = 1;
            self.residence(alias, &package.digest, &limits, &config)
        });
        Ok(Read {
            plugin: Plugin {
                alias: alias.to_owned(),
                prefix: entry.prefix.clone(),
                path,
                status: PluginStatus::Ready,
                facts: Some(Facts {
                    limits,
                    config,
                    residence,
                    expose: entry.expose.clone(),
                    offers: Offers {
                        resources: package.surface.resources,
                        prompts: package.surface.prompts,
                        completion: package.surface.completion,
                    },
                    next: Arc::new(next),
                    grants: cell.unwrap_or_default(),
                    withheld: Vec::new(),
                    warnings: Vec::new(),
                    manifest: Arc::new(package.manifest.clone()),
                    signer,
                    scan,
                    advisories,
                    component,
                    stamp,
                }),
            },
            tools: package.tools,
            examined,
        })
    }

    /// Where the instance of a resident plugin lives: where it did, if nothing of it has changed.
    fn residence(
        &self,
        alias: &str,
        digest: &Digest,
        limits: &Limits,
        config: &Config,
    ) -> Arc<Residence> {
        let former = self.before.plugin(alias);
        if let Some(facts) = former.and_then(|plugin| plugin.facts.as_ref())
            && let Some(residence) = &facts.residence
            && facts.component.digest == *digest
            && facts.limits == *limits
            && facts.config.text() == config.text()
            && residence.may_stay()
        {
            return residence.clone();
        }
        Residence::new(alias, limits, former.cloned())
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

    async fn tools(&self, alias: &Alias, read: Read) -> Result<(Plugin, Vec<Offered>), Stopped> {
        let Read {
            mut plugin,
            tools,
            examined,
        } = read;
        let offered = match tools {
            Tools::Recorded(tools) => tools.into_iter().map(Offered::Tool).collect(),
            Tools::Bare(functions) => functions
                .into_iter()
                .map(|function| Offered::Function(Box::new(function)))
                .collect(),
            Tools::None => Vec::new(),
            Tools::Unrecorded => {
                let tools = self.ask(&plugin).await.map_err(Stopped::Unfit)?;
                if let Some(facts) = &mut plugin.facts {
                    let listed = self.look_through(facts, &tools).await;
                    let listed = Some(listed.map_err(Stopped::Unfit)?);
                    let scan = self.desk.scan(alias, Examined { listed, ..examined });
                    facts.scan = scan.map_err(Stopped::Papers)?;
                }
                tools.into_iter().map(Offered::Tool).collect()
            }
        };
        if let Some(facts) = &plugin.facts {
            self.agreed(alias, facts).map_err(Stopped::Papers)?;
        }
        let mut offered: Vec<Offered> = offered;
        if let Some(facts) = &mut plugin.facts {
            let names: Vec<&str> = offered
                .iter()
                .map(|tool| tool.tool().name.as_str())
                .collect();
            facts.warnings = facts.expose.mistyped(&names);
            for warning in &facts.warnings {
                tracing::warn!(plugin = %alias, "{warning}");
            }
        }
        let expose = plugin.facts.as_ref().map(|facts| &facts.expose);
        offered.retain(|offered| expose.is_none_or(|expose| expose.offers(&offered.tool().name)));
        let (offered, changed): (Vec<Offered>, Vec<Offered>) = offered
            .into_iter()
            .partition(|offered| self.agreement.covers_tool(&plugin.alias, offered.tool()));
        let withheld: Vec<String> = changed
            .iter()
            .map(|offered| offered.tool().name.clone())
            .collect();
        if !withheld.is_empty() {
            let alias = &plugin.alias;
            tracing::warn!(
                plugin = alias,
                tools = withheld.join(", "),
                "tools have other descriptions or schemas than those that were agreed to, and are not offered; `portreeve inspect {alias}` shows them, and `portreeve grant {alias} --agree` agrees to them"
            );
            if let Some(facts) = &mut plugin.facts {
                facts.withheld = withheld;
            }
        }
        Ok((plugin, offered))
    }

    /// Looks through the texts of tools that nobody has recorded, and keeps what is found for
    /// whoever looks without running the plugin.
    async fn look_through(&self, facts: &Facts, tools: &[Tool]) -> Result<Findings, String> {
        let (manifest, tools) = (facts.manifest.clone(), tools.to_vec());
        let (store, digest) = (self.artifacts.clone(), facts.component.digest);
        let looking = move || {
            let listed = scan::read_tools(&manifest, &tools);
            scan::keep_listed(&store, &digest, &listed);
            listed
        };
        let looked = tokio::task::spawn_blocking(looking).await;
        looked.map_err(|error| format!("looking through its tools was given up: {error}"))
    }

    /// Whether the operator has agreed to what was found in a component that takes another one's
    /// place.
    fn agreed(&self, alias: &Alias, facts: &Facts) -> Result<(), String> {
        let digest = &facts.component.digest;
        let arrival = self.agreement.arrived.get(alias);
        if arrival.is_none_or(|arrival| arrival.agreed) || self.agreement.has(alias, digest) {
            return Ok(());
        }
        let before = self.before.plugin(alias.as_str());
        let Some(before) = before.and_then(|plugin| plugin.facts.as_ref()) else {
            return Ok(());
        };
        let news = facts.scan.news(&before.scan);
        let Some(first) = news.first() else {
            return Ok(());
        };
        let mut found = facts.scan.findings.list.iter();
        let place = found.find(|finding| finding.rule == *first);
        let place = place.map(|finding| format!(": {}: {}", finding.place, finding.what));
        let rules: Vec<&str> = news.iter().map(|rule| rule.id).collect();
        Err(format!(
            "scan: it shows what the installed one doesn't ({}{}); `portreeve scan {alias}` shows the installed one, `portreeve update {alias} --agree` takes it all the same, if you know why",
            rules.join(", "),
            place.unwrap_or_default()
        ))
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

/// Where a component is.
enum Place {
    /// A file, or a directory that holds one.
    File(PathBuf),
    /// In the store, by its digest.
    Store {
        store: ArtifactStore,
        pin: Pin,
        name: String,
    },
}

/// What was read of a component.
struct Found {
    path: PathBuf,
    name: String,
    bytes: Vec<u8>,
    signatures: Vec<SignatureFile>,
    /// None for a file: it is what it is.
    pin: Option<Pin>,
}

impl Place {
    fn clear(
        self,
        desk: &Desk,
        alias: &Alias,
        agreed: Option<&Agreed>,
        findings: &ArtifactStore,
    ) -> Result<Cleared, String> {
        let limits = IntakeLimits {
            // The compiler checks function bodies; a component that was compiled passed.
            check_code: false,
            ..IntakeLimits::default()
        };
        let (stamp, found) = match self {
            Place::File(path) => {
                // Before reading: a change in between then shows as one.
                let file = source::locate(&path).map_err(|error| error.to_string())?;
                (FileStamp::of(&file), read_file(&file, &limits)?)
            }
            Place::Store { store, pin, name } => {
                let digest: Digest = pin.digest.parse().map_err(|error| format!("{error}"))?;
                let stamp = FileStamp::of(&store.path(&digest));
                (stamp, read_stored(&store, digest, pin, name)?)
            }
        };
        let package =
            Package::read(&found.bytes, &found.name, &limits).map_err(|error| error.to_string())?;
        let cargo = Cargo {
            package: &package,
            bytes: &found.bytes,
            signatures: &found.signatures,
            remote: found.pin.is_some(),
        };
        let signer = desk.signer(alias, &cargo, agreed)?;
        let licences = desk.licences(alias, &package)?;
        let advisories = Box::new(desk.advisories(alias, &package));
        let examined = desk.examine(&cargo, signer.as_deref(), &licences, &advisories, findings);
        let scan = desk.scan(alias, examined.clone())?;
        Ok(Cleared {
            path: found.path,
            stamp,
            signer,
            examined,
            scan,
            advisories,
            pin: found.pin.unwrap_or_else(|| Pin::local(&package.digest)),
            package,
        })
    }
}

fn read_file(file: &Path, limits: &IntakeLimits) -> Result<Found, String> {
    let read = source::read(file, limits).map_err(|error| error.to_string())?;
    Ok(Found {
        name: read.name(),
        bytes: read.bytes,
        signatures: read_beside(file)?,
        pin: None,
        path: read.path,
    })
}

/// What is in the store is hashed whenever it is read.
fn read_stored(
    store: &ArtifactStore,
    digest: Digest,
    pin: Pin,
    name: String,
) -> Result<Found, String> {
    let bytes = store.get(&digest).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or_else(|| {
        format!("its component ({digest}) is not in the store of this machine: `portreeve install` fetches it")
    })?;
    Ok(Found {
        path: store.path(&digest),
        name,
        bytes,
        signatures: store
            .signatures(&digest)
            .map_err(|error| error.to_string())?,
        pin: Some(pin),
    })
}
