//! The host: one project, open.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use portreeve_broker::{Broker as _, Embedded, system_clock};
use portreeve_manifest::diagnostic::Diagnostics;
use portreeve_manifest::edit::EditError;
use portreeve_manifest::id::Alias;
use portreeve_manifest::project::ProjectManifest;
use portreeve_manifest::settings::ServeSettings;
use portreeve_runtime::{Runtime, RuntimeConfig};
use portreeve_state::audit::{
    AuditConfig, AuditError, AuditEvent, AuditKind, AuditLog, Heads, wall_clock,
};
use portreeve_state::tasks::TaskStore;
use portreeve_state::usage::{UsageConfig, UsageMeter};
use portreeve_state::vault::{KeyPlace, Vault, VaultError};
use portreeve_state::{
    GenerationStore, Holder, KeyError, SqliteStore, StateError, StateStore, StoreConfig,
    read_or_make_key,
};
use portreeve_supply::advisory::{AdvisoryError, AdvisoryStore};
use portreeve_supply::{ArtifactStore, Digest};
use serde_json::Map;
use tokio::sync::{Mutex, Notify, Semaphore, broadcast, watch};

use crate::admin::BY_FILE;
use crate::admission::Admission;
use crate::agreement::Agreement;
use crate::alarm::{Alarm, Mailing};
use crate::bus_limits;
use crate::call::Caller;
use crate::content::ContentChange;
use crate::data::Sweeper;
use crate::deliver::{self, Post};
use crate::directories::Directories;
use crate::guests::GuestThreads;
use crate::hooks::Hooks;
use crate::install::FileStamp;
use crate::log::GuestLog;
use crate::network::{Network, TokenKeeper};
use crate::pipeline::CallIds;
use crate::prepare::{Next, Reading};
use crate::project::{OwnerLock, Project, ProjectError, Sockets};
use crate::prompt::{Prompts, Turns};
use crate::readers::{READING_MAX, TopicWatch};
use crate::registry::Registry;
use crate::resident::Residents;
use crate::tasks::Tasks;
use crate::waits::Waits;
use crate::watch::Watch;
use crate::workshop::Workshop;

/// Changes of resources and prompts that wait for a listener.
const CONTENT_CHANGES_MAX: usize = 1_024;

/// What a host is made of.
#[derive(Debug)]
pub struct HostConfig {
    /// The project.
    pub project: Project,
    /// That it is this process's, until nothing of the host is left.
    pub lock: Arc<OwnerLock>,
    /// Where the runtime keeps its things; the number of instances is set from the project's
    /// limits.
    pub runtime: RuntimeConfig,
    /// The user's own directory for what no project may bring along: keys, and the heads of
    /// the audit log.
    pub user_state: PathBuf,
    /// Where components are that came over a network.
    pub artifacts: ArtifactStore,
}

/// Why a host can't be opened or a change not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The project's files can't be used.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The manifest has mistakes.
    #[error(transparent)]
    Manifest(#[from] Diagnostics),
    /// The runtime can't be set up.
    #[error(transparent)]
    Runtime(#[from] portreeve_runtime::Error),
    /// An edit of the manifest is refused.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The state can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// What is to be done can't be recorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The database of advisories can't be used.
    #[error(transparent)]
    Advisories(#[from] AdvisoryError),
    /// The papers of a component are not in order.
    #[error("{0}")]
    Refused(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Asked(String),
    /// The vault refuses.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The host was asked to end before it was open.
    #[error("the host was asked to end before its plugins were read")]
    Ended,
    /// The system refuses something that a host needs.
    #[error("{what}: {error}")]
    System {
        /// What failed.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

/// One project, open: its plugins, and the way of every call.
pub struct Host {
    pub(crate) project: Project,
    pub(crate) workshop: Workshop,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) usage: Arc<UsageMeter>,
    pub(crate) network: Arc<Network>,
    pub(crate) prompts: Arc<Prompts>,
    pub(crate) turns: Turns,
    pub(crate) tasks: Tasks,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) generations: Arc<dyn GenerationStore>,
    pub(crate) directories: Arc<Directories>,
    pub(crate) post: Arc<Post>,
    _sweeper: Sweeper,
    /// Where alerts and heads of the audit log go.
    pub(crate) alerts: Arc<Mailing>,
    heads: Arc<Mailing>,
    /// Known weaknesses, and their file as it was before it was last read.
    pub(crate) advisories: AdvisoryStore,
    advisories_read: ArcSwapOption<FileStamp>,
    pub(crate) started_ms: i64,
    registry: ArcSwap<Registry>,
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) content_changes: broadcast::Sender<ContentChange>,
    pub(crate) admission: Arc<Admission>,
    /// Those who read papers.
    pub(crate) reading: Arc<Semaphore>,
    /// For those who read messages.
    topic_watch: TopicWatch,
    pub(crate) residents: Residents,
    pub(crate) hooks: ArcSwap<Hooks>,
    /// Calls at a time that there are instances for.
    instances: u32,
    pub(crate) ids: CallIds,
    /// The manifest file as it was before it was last read; one reload at a time.
    pub(crate) manifest: Mutex<Option<FileStamp>>,
    /// The manifest that holds; none before the first.
    pub(crate) adopted: Mutex<Option<ProjectManifest>>,
    /// How clients reach this host over the network.
    serve: ArcSwap<ServeSettings>,
    /// Given up last, when all else has ended.
    lock: Arc<OwnerLock>,
}

impl Host {
    /// Opens a project: its state, its manifest and all its packages.
    ///
    /// A plugin that can't be used is in the registry with the reason; it doesn't fail this.
    ///
    /// # Errors
    /// When the manifest has mistakes, or the machine refuses what a host needs.
    pub async fn open(config: HostConfig) -> Result<Arc<Host>, HostError> {
        Host::open_unless(config, std::future::pending()).await
    }

    /// As [`Host::open`], unless `ended` comes first.
    ///
    /// # Errors
    /// The same, and [`HostError::Ended`].
    pub async fn open_unless(
        mut config: HostConfig,
        ended: impl Future<Output = ()>,
    ) -> Result<Arc<Host>, HostError> {
        config.project.settle_owned()?;
        let stamp = FileStamp::of(&config.project.manifest_path());
        let manifest = read_manifest(&config.project)?;
        // Besides the calls, there are those that stay, and plugins are asked for their tools.
        let listings = std::thread::available_parallelism().map_or(1, usize::from);
        config.runtime.instances = manifest
            .host
            .concurrent_calls
            .saturating_add(manifest.host.residents)
            .saturating_add(u32::try_from(listings).unwrap_or(1));
        let heads = &manifest.settings.audit_outlet;
        let heads = Mailing::open("head of the audit log", "audit", heads);
        let (database, audit) = open_state(&config, &manifest, heads.clone()).await?;
        // Else another process could own the project while the end is still being recorded.
        let lock = config.lock.clone();
        let open = Host::open_in(
            config,
            (manifest, stamp),
            database.clone(),
            audit.clone(),
            heads,
        );
        let opened = tokio::select! {
            opened = open => opened,
            () = ended => Err(HostError::Ended),
        };
        if opened.is_err() {
            // What it began with is on record, so its end is to be as well.
            audit.close().await;
            database.close().await;
        }
        drop(lock);
        opened
    }

    /// Opens all the rest, with the state and the audit log there.
    async fn open_in(
        config: HostConfig,
        (manifest, stamp): (ProjectManifest, Option<FileStamp>),
        database: Arc<SqliteStore>,
        audit: Arc<AuditLog>,
        heads: Arc<Mailing>,
    ) -> Result<Arc<Host>, HostError> {
        let system = |what| move |error| HostError::System { what, error };
        let settings = &manifest.settings;
        let alerts = Mailing::open("alert", "alerts", &settings.alerts.outlet);
        let store: Arc<dyn StateStore> = database.clone();
        let tasks: Arc<dyn TaskStore> = database.clone();
        let limits = bus_limits::limits(&manifest.settings.messages);
        let generations: Arc<dyn GenerationStore> = database.clone();
        let broker = Embedded::open(database, limits, system_clock()).await;
        let broker = broker.map_err(|error| HostError::Asked(error.to_string()))?;
        let admission = Admission::new(&manifest.host);
        let post = Arc::new(Post {
            broker: Arc::new(broker),
            waits: Waits::new(admission.clone()),
            changed: Notify::new(),
        });
        let place = KeyPlace::new(manifest.settings.vault_key.clone(), &config.user_state);
        let vault = Arc::new(Vault::new(store.clone(), place, wall_clock));
        let keeper = TokenKeeper {
            vault: vault.clone(),
            audit: audit.clone(),
        };
        let network = Network::open(
            config.project.dir(),
            &settings.network,
            store.clone(),
            keeper,
        );
        let cache = &config.runtime.cache_dir;
        let directories = Directories::new(&config.project, &config.user_state, cache);
        let advisories = AdvisoryStore::new(config.user_state.join("advisories"));
        // Watched from the beginning: the first database is to be noticed, too.
        portreeve_runtime::make_private_dir(&config.user_state.join("advisories"))?;
        let host = Host {
            workshop: Workshop {
                runtime: Runtime::new(config.runtime)?,
                guests: GuestThreads::start()
                    .map_err(system("the threads of guests can't start"))?,
                log: GuestLog::open(&config.project.logs_dir())
                    .map_err(system("the log of guests can't be written"))?,
            },
            usage: open_usage(&store, &audit, &manifest, alerts.clone()).await?,
            alerts,
            heads,
            started_ms: wall_clock(),
            vault,
            network,
            advisories,
            advisories_read: ArcSwapOption::empty(),
            prompts: Prompts::new(store.clone(), audit.clone()),
            turns: Turns::new(),
            tasks: Tasks::open(tasks.clone(), &manifest.host).await?,
            artifacts: config.artifacts,
            generations,
            directories: Arc::new(directories),
            post,
            _sweeper: Sweeper::start(store.clone(), tasks),
            store,
            audit,
            registry: ArcSwap::default(),
            changes: watch::Sender::new(0),
            content_changes: broadcast::Sender::new(CONTENT_CHANGES_MAX),
            admission,
            reading: Arc::new(Semaphore::new(READING_MAX)),
            topic_watch: TopicWatch::default(),
            residents: Residents::new(manifest.host.residents),
            hooks: ArcSwap::default(),
            instances: manifest.host.concurrent_calls,
            ids: CallIds::new(),
            manifest: Mutex::new(stamp),
            adopted: Mutex::default(),
            serve: ArcSwap::from_pointee(manifest.settings.serve.clone()),
            lock: config.lock,
            project: config.project,
        };
        host.adopt(manifest, &Caller::local(BY_FILE)).await?;
        host.note_needed().await;
        Ok(Arc::new(host))
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Has messages delivered from now on, as long as this host lives. A command that owns the
    /// project for a moment leaves them to the next `serve`.
    pub fn deliver_messages(self: &Arc<Self>) {
        tokio::spawn(deliver::run(Arc::downgrade(self)));
    }

    /// Calls that run and calls that wait.
    pub(crate) fn load(&self) -> (u32, u32) {
        self.admission.load()
    }

    /// Where this process listens for others.
    pub fn sockets(&self) -> &Sockets {
        self.lock.sockets()
    }

    /// How clients reach this host over the network, as the manifest says now.
    pub fn serve_settings(&self) -> Arc<ServeSettings> {
        self.serve.load_full()
    }

    /// The plugins and tools as they are now.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Changes its value whenever other tools are offered than before.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells of each change of resources and prompts. Who is too slow loses the oldest.
    pub fn content_changes(&self) -> broadcast::Receiver<ContentChange> {
        self.content_changes.subscribe()
    }

    /// Reads the manifest again and swaps the registry. Calls in flight finish on the old
    /// one.
    ///
    /// # Errors
    /// When the manifest can't be read or has mistakes; the old registry then stays.
    pub async fn reload(&self) -> Result<(), HostError> {
        let mut stamp = self.manifest.lock().await;
        *stamp = FileStamp::of(&self.project.manifest_path());
        let manifest = read_manifest(&self.project)?;
        self.adopt(manifest, &Caller::local(BY_FILE)).await
    }

    /// Makes a manifest the one that holds, as somebody has written it by hand. What it changes
    /// is on record before it does.
    pub(crate) async fn adopt(
        &self,
        manifest: ProjectManifest,
        who: &Caller,
    ) -> Result<(), HostError> {
        let agreement = Agreement::read(&self.project)?;
        self.set(&manifest).await?;
        let next = self.prepare(manifest, agreement, Reading::All, &[]).await;
        self.put_in_force(next, who).await
    }

    /// Sets what a manifest says besides plugins.
    async fn set(&self, manifest: &ProjectManifest) -> Result<(), HostError> {
        let mut limits = manifest.host.clone();
        if limits.concurrent_calls > self.instances {
            tracing::warn!(
                "`concurrent-calls` under `[host] limits` stays at {} until the next start",
                self.instances
            );
            limits.concurrent_calls = self.instances;
        }
        self.record_settings(manifest).await?;
        self.admission.resize(&limits);
        self.prompts.resize(limits.parked_calls);
        self.tasks.resize(&limits);
        self.alerts.set(&manifest.settings.alerts.outlet);
        self.heads.set(&manifest.settings.audit_outlet);
        self.network.set(&manifest.settings.network);
        self.directories.set(manifest);
        let serve = Arc::new(manifest.settings.serve.clone());
        let scopes = &serve.scopes;
        let wanted = scopes.stdio.topics() || scopes.http.topics();
        let tail = || self.post.broker.tail();
        self.topic_watch.set(wanted, tail, &self.content_changes);
        if self.serve.swap(serve.clone()).scopes != serve.scopes {
            // Nobody who listens is no error.
            let _ = self.content_changes.send(ContentChange::Scopes);
        }
        if self.hooks.load().settings != manifest.settings.webhooks {
            let hooks = Hooks::new(&manifest.settings.webhooks);
            self.hooks.store(Arc::new(hooks));
        }
        self.usage.set_rules(manifest.settings.alerts.rules.clone());
        let weaknesses = FileStamp::of(&self.advisories.path());
        self.advisories_read.store(weaknesses.map(Arc::new));
        Ok(())
    }

    /// Makes what is prepared the project that holds. What it changes is on record before it
    /// does.
    pub(crate) async fn put_in_force(&self, next: Next, who: &Caller) -> Result<(), HostError> {
        if let Err(error) = self.record_changes(&next, who).await {
            self.close_changed(&next.registry);
            return Err(error);
        }
        if let Some(lock) = next.lock_text() {
            self.project.write_lock(&lock)?;
        }
        self.note_generations(&next.manifest, &next.lock, &next.registry)
            .await;
        let key = next.manifest.settings.vault_key.clone();
        self.vault.key_is_at(key);
        let before = self.registry();
        self.take_up(next.registry, &next.manifest);
        let adopted = self.adopted.lock().await;
        let judged_anew = adopted
            .as_ref()
            .is_some_and(|adopted| adopted.policy != next.manifest.policy);
        drop(adopted);
        self.tell_papers(&before, &self.registry(), judged_anew);
        self.tell_advisories(&self.registry()).await?;
        *self.adopted.lock().await = Some(next.manifest);
        Ok(())
    }

    /// Records what a manifest changes besides grants and components: where requests go, what
    /// secrets are behind, who is trusted. Of the first one the digest is in the record of the
    /// start.
    async fn record_settings(&self, manifest: &ProjectManifest) -> Result<(), HostError> {
        let changed = match &*self.adopted.lock().await {
            Some(before) => manifest.differences(before),
            None => return Ok(()),
        };
        if !changed.is_empty() {
            let mut body = Map::new();
            body.insert("changed".to_owned(), changed.into());
            let event = AuditEvent {
                caller: "local".into(),
                ..AuditEvent::host(AuditKind::Edit, body)
            };
            self.audit.commit(event).await?;
        }
        Ok(())
    }

    /// Puts a registry and its grants in force. Calls that run see the grants at once.
    fn take_up(&self, registry: Registry, manifest: &ProjectManifest) {
        let registry = Arc::new(registry);
        let before = self.registry();
        let shown = before.panels_shown();
        let entries = &manifest.plugins;
        let parted = self
            .residents
            .part(&before, &registry, entries, &self.network);
        for facts in registry
            .plugins()
            .filter_map(|plugin| plugin.facts.as_ref())
        {
            facts.grants.swap(facts.next.clone());
        }
        self.registry.store(registry.clone());
        for plugin in before.plugins() {
            let Some(facts) = &plugin.facts else {
                continue;
            };
            let stays = registry
                .plugin(&plugin.alias)
                .and_then(|plugin| plugin.facts.as_ref())
                .is_some_and(|now| Arc::ptr_eq(&now.grants, &facts.grants));
            if !stays {
                facts.grants.swap(Arc::default());
            }
        }
        self.residents.leave(parted);
        self.post.changed.notify_one();
        if !before.offers_the_same(&registry) {
            self.changes
                .send_modify(|version| *version = version.wrapping_add(1));
        }
        self.tell_panels(&shown);
        // Nobody who listens is no error.
        if before.content_of(|offers| offers.resources)
            != registry.content_of(|offers| offers.resources)
        {
            let _ = self.content_changes.send(ContentChange::Resources);
        }
        if before.content_of(|offers| offers.prompts)
            != registry.content_of(|offers| offers.prompts)
        {
            let _ = self.content_changes.send(ContentChange::Prompts);
        }
    }

    /// What would change, but can't be recorded: nothing is granted there until it can.
    fn close_changed(&self, next: &Registry) {
        for plugin in self.registry().plugins() {
            let Some(facts) = &plugin.facts else {
                continue;
            };
            let same = next
                .plugin(&plugin.alias)
                .and_then(|plugin| plugin.facts.as_ref())
                .is_some_and(|next| {
                    next.component.digest == facts.component.digest
                        && next.next.written == facts.grants.load().written
                });
            if !same {
                facts.grants.swap(Arc::default());
            }
        }
    }

    /// Reloads whenever the manifest or a component file changes, until the result is
    /// dropped.
    ///
    /// # Errors
    /// When the files can't be watched.
    pub async fn watch(self: &Arc<Self>) -> Result<Watch, HostError> {
        Watch::start(self).await
    }

    /// The files that make the project what it is, as they were before they were read.
    pub(crate) async fn files(&self) -> Vec<(PathBuf, Option<FileStamp>)> {
        let manifest = (self.project.manifest_path(), *self.manifest.lock().await);
        let read = self.advisories_read.load().as_deref().copied();
        let advisories = (self.advisories.path(), read);
        let registry = self.registry();
        registry
            .plugins()
            .flat_map(|plugin| match &plugin.facts {
                Some(facts) => vec![(plugin.path.clone(), facts.stamp)],
                // It was not read. A plugin's directory may get its component in `dist`.
                None => [plugin.path.clone(), plugin.path.join("dist")]
                    .map(|path| (path.clone(), FileStamp::of(&path)))
                    .to_vec(),
            })
            .chain([manifest, advisories])
            .collect()
    }

    /// Writes what is still to be written, for a process that is about to end.
    pub async fn close(&self) {
        self.end_residents().await;
        self.workshop.log.flush().await;
        self.network.keep().await;
        self.usage.close().await;
        self.audit.close().await;
        // After what they still had to tell.
        self.alerts.close().await;
        self.heads.close().await;
        self.store.close().await;
    }

    /// Records that a component was not let in.
    pub(crate) fn record_refusal(&self, alias: &Alias, why: &str, who: &Caller) {
        let event = AuditEvent {
            kind: AuditKind::Refusal,
            holder: Holder::plugin(alias.as_str()),
            caller: who.name.clone(),
            call: String::new(),
            body: Map::from_iter([
                ("step".to_owned(), "papers".into()),
                ("why".to_owned(), why.into()),
            ]),
        };
        if let Err(error) = self.audit.note(event) {
            tracing::error!(%error, "a refusal was not recorded");
        }
    }
}

/// Opens the state and the audit log in it.
async fn open_state(
    config: &HostConfig,
    manifest: &ProjectManifest,
    heads: Arc<Mailing>,
) -> Result<(Arc<SqliteStore>, Arc<AuditLog>), HostError> {
    let settings = &manifest.settings;
    let store_config = StoreConfig {
        size_max: settings.state_size.0,
        ..StoreConfig::default()
    };
    let store = SqliteStore::open(&config.project.database(), &store_config).await?;
    let key = read_or_make_key(&config.user_state.join("audit.key"))?;
    let audit_config = AuditConfig {
        size_max: settings.audit_size.0,
        age_max: settings.audit_age,
        heads: Heads::new(&config.user_state, store.project()),
        on_head: Some(Arc::new(move |head| heads.send(head))),
        clock: wall_clock,
    };
    let mut started = Map::new();
    started.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
    started.insert("pid".to_owned(), std::process::id().into());
    let text = config.project.read_manifest()?;
    let digest = Digest::of(text.as_bytes()).to_string();
    started.insert("manifest".to_owned(), digest.into());
    let audit = AuditLog::open(store.clone(), &key, audit_config, started).await?;
    Ok((store, Arc::new(audit)))
}

/// Begins to count what calls use.
async fn open_usage(
    store: &Arc<dyn StateStore>,
    audit: &Arc<AuditLog>,
    manifest: &ProjectManifest,
    mailing: Arc<Mailing>,
) -> Result<Arc<UsageMeter>, HostError> {
    let config = UsageConfig {
        rules: manifest.settings.alerts.rules.clone(),
        sink: Some(Arc::new(Alarm {
            audit: audit.clone(),
            mailing,
        })),
        ..UsageConfig::default()
    };
    Ok(UsageMeter::open(store.clone(), config).await?)
}

pub(crate) fn read_manifest(project: &Project) -> Result<ProjectManifest, HostError> {
    let text = project.read_manifest()?;
    let path = project.manifest_path();
    Ok(ProjectManifest::parse(&path.display().to_string(), &text)?)
}
