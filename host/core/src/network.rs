//! The way out of a host for all its plugins: the gate, the tokens that it gets for itself,
//! what each plugin has used today, and the thread that all of it runs on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use portreeve_egress::care::CareStatus;
use portreeve_egress::credential::SecretId;
use portreeve_egress::oauth::{KeepToken, Tokens};
use portreeve_egress::{Client, DayUse, Gate, GateError, PluginBudget, PluginLimits};
use portreeve_manifest::limits::Limits;
use portreeve_manifest::settings::{NetworkSettings, Roots};
use portreeve_state::audit::{AuditEvent, AuditKind, AuditLog};
use portreeve_state::vault::{SecretValue, Vault};
use portreeve_state::{Holder, StateError, StateStore};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

/// Largest file of trusted certificates: that of a whole system has a quarter of it.
const ROOTS_BYTES_MAX: u64 = 1 << 20;

/// Where the day's use is kept: among what the host itself stores.
const BUCKET: &str = "network-day";

/// Pause between two writes of it; a host that is killed forgets as much.
const KEEP_PAUSE: Duration = Duration::from_secs(5);

/// The way out.
pub(crate) struct Network {
    dir: PathBuf,
    store: Arc<dyn StateStore>,
    tokens: Tokens,
    now: Mutex<Configured>,
    /// By alias. Those of plugins that are gone stay for the day, so that taking a plugin out
    /// and in again gives it no second budget.
    budgets: Mutex<BTreeMap<String, Used>>,
    runtime: OnceLock<Result<Outward, String>>,
    _until_dropped: DropGuard,
}

/// The gate as it is configured, or why there is none.
struct Configured {
    settings: NetworkSettings,
    gate: Result<Gate, GateError>,
}

struct Used {
    limits: PluginLimits,
    budget: Arc<PluginBudget>,
    /// What is on disk of it.
    kept: DayUse,
}

impl Used {
    /// The budget, with the limits of the newest call: they hold for those that run, too.
    fn under(&mut self, limits: PluginLimits) -> Arc<PluginBudget> {
        if self.limits != limits {
            self.limits = limits;
            self.budget.set_limits(limits);
        }
        self.budget.clone()
    }
}

/// What is kept of a plugin's day.
#[derive(Serialize, Deserialize)]
struct Kept {
    day: u64,
    requests: u64,
    bytes: u64,
}

/// The thread of connections. Guests' threads wait for time only, and the protocol's has its
/// own work.
struct Outward(Option<Runtime>);

impl Drop for Outward {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // It may be dropped where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

impl Network {
    /// The way out as the operator has set it. A gate that can't be set up is told in the log;
    /// requests are refused then, and all else works.
    ///
    /// To be called within a tokio runtime.
    pub(crate) fn open(
        dir: &Path,
        settings: &NetworkSettings,
        store: Arc<dyn StateStore>,
        keeper: TokenKeeper,
    ) -> Arc<Network> {
        let end = CancellationToken::new();
        let network = Arc::new(Network {
            dir: dir.to_owned(),
            store,
            tokens: Tokens::new(Arc::new(keeper)),
            now: Mutex::new(Configured {
                settings: settings.clone(),
                gate: gate(dir, settings),
            }),
            budgets: Mutex::default(),
            runtime: OnceLock::new(),
            _until_dropped: end.clone().drop_guard(),
        });
        let weak = Arc::downgrade(&network);
        tokio::spawn(end.run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(KEEP_PAUSE).await;
                let Some(network) = weak.upgrade() else {
                    return;
                };
                network.keep().await;
            }
        }));
        network
    }

    /// Takes up other settings. What is under way goes on as it began.
    pub(crate) fn set(&self, settings: &NetworkSettings) {
        let mut now = lock(&self.now);
        if now.settings != *settings || now.gate.is_err() {
            *now = Configured {
                settings: settings.clone(),
                gate: gate(&self.dir, settings),
            };
        }
    }

    /// Whether a client goes through the gate as it is configured now.
    pub(crate) fn is_of_gate(&self, client: &Client) -> bool {
        self.gate().is_ok_and(|gate| gate.is_of(client))
    }

    /// The gate.
    ///
    /// # Errors
    /// It can't be set up as it is configured.
    pub(crate) fn gate(&self) -> Result<Gate, GateError> {
        lock(&self.now).gate.clone()
    }

    /// Connections for one plugin under one set of grants.
    pub(crate) fn client(&self) -> Option<Client> {
        self.gate().ok().map(|gate| gate.client())
    }

    /// Tokens of all secrets.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Where connections are made.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn runtime(&self) -> Result<&Handle, String> {
        let made = self.runtime.get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("portreeve-egress")
                .enable_all()
                .build()
                .map(|runtime| Outward(Some(runtime)))
                .map_err(|error| format!("the thread of connections can't start: {error}"))
        });
        match made {
            Ok(Outward(Some(runtime))) => Ok(runtime.handle()),
            Ok(Outward(None)) => Err("the thread of connections has ended".to_owned()),
            Err(error) => Err(error.clone()),
        }
    }

    /// What a plugin may still use today.
    ///
    /// # Errors
    /// When the state can't be read: what it has used is then not known.
    pub(crate) async fn budget(
        &self,
        alias: &str,
        limits: &Limits,
    ) -> Result<Arc<PluginBudget>, StateError> {
        let limits = PluginLimits {
            connections: limits.connections.into(),
            requests_a_day: limits.requests_a_day,
            traffic_a_day: limits.traffic_a_day.0,
        };
        if let Some(used) = lock(&self.budgets).get_mut(alias) {
            return Ok(used.under(limits));
        }
        let kept = self.read(alias).await?;
        let mut budgets = lock(&self.budgets);
        let used = budgets.entry(alias.to_owned()).or_insert_with(|| Used {
            limits,
            budget: PluginBudget::new(limits, kept),
            kept,
        });
        Ok(used.under(limits))
    }

    async fn read(&self, alias: &str) -> Result<DayUse, StateError> {
        let bytes = self.store.kv_get(&Holder::host(), BUCKET, alias).await?;
        let kept = bytes.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        Ok(kept.map_or_else(DayUse::default, |kept| DayUse {
            day: kept.day,
            requests: kept.requests,
            bytes: kept.bytes,
        }))
    }

    /// Writes what was used today, where it is more than was written.
    pub(crate) async fn keep(&self) {
        let changed: Vec<_> = lock(&self.budgets)
            .iter()
            .map(|(alias, used)| (alias.clone(), used.budget.day(), used.kept))
            .filter(|(_, now, kept)| now != kept)
            .collect();
        for (alias, now, _) in changed {
            let kept = Kept {
                day: now.day,
                requests: now.requests,
                bytes: now.bytes,
            };
            let Ok(value) = serde_json::to_vec(&kept) else {
                continue;
            };
            let host = Holder::host();
            let written = self.store.kv_put(&host, BUCKET, &alias, value, u64::MAX);
            match written.await {
                Ok(()) => {
                    if let Some(used) = lock(&self.budgets).get_mut(&alias) {
                        used.kept = now;
                    }
                }
                Err(error) => {
                    tracing::warn!(plugin = alias, %error, "what was used of the network today was not written");
                }
            }
        }
    }

    /// How the origins are that the operator takes care of.
    pub(crate) fn origins(&self) -> Vec<CareStatus> {
        self.gate()
            .map_or_else(|_| Vec::new(), |gate| gate.status())
    }

    /// What each plugin has used today.
    pub(crate) fn today(&self) -> Vec<NetworkUse> {
        let budgets = lock(&self.budgets);
        let uses = budgets.iter().map(|(alias, used)| {
            let day = used.budget.day();
            NetworkUse {
                plugin: alias.clone(),
                requests: day.requests,
                requests_allowed: used.limits.requests_a_day,
                bytes: day.bytes,
                bytes_allowed: used.limits.traffic_a_day,
                connections: used.budget.connections(),
            }
        });
        uses.filter(|used| used.requests > 0).collect()
    }
}

/// What a plugin has used of the network today, in UTC, against what it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NetworkUse {
    /// The plugin, by its alias.
    pub plugin: String,
    /// Requests, retries and connections of sockets counted.
    pub requests: u64,
    /// How many it may make.
    pub requests_allowed: u64,
    /// Bytes sent and received.
    pub bytes: u64,
    /// How many they may be.
    pub bytes_allowed: u64,
    /// Exchanges and sockets at this moment.
    pub connections: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The gate as it is set, with the roots that it names.
pub(crate) fn gate(dir: &Path, settings: &NetworkSettings) -> Result<Gate, GateError> {
    let roots = match &settings.roots {
        Roots::System => Ok(None),
        Roots::File(path) | Roots::Both(path) => read_roots(&dir.join(path.as_str())).map(Some),
    };
    let gate = roots.and_then(|roots| Gate::new(settings, roots));
    if let Err(error) = &gate {
        tracing::error!("plugins have no network as [network] in portreeve.toml says: {error}");
    }
    gate
}

fn read_roots(path: &Path) -> Result<Vec<u8>, GateError> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(ROOTS_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(|error| error.to_string())
        .and_then(|bytes| {
            (bytes as u64 <= ROOTS_BYTES_MAX)
                .then_some(text)
                .ok_or_else(|| format!("it has more than {ROOTS_BYTES_MAX} bytes"))
        })
        .map_err(|why| {
            GateError::setup(format!(
                "the trusted certificates in {} can't be read: {why}",
                path.display()
            ))
        })
}

/// Puts refresh tokens that servers have replaced into the vault.
pub(crate) struct TokenKeeper {
    pub(crate) vault: Arc<Vault>,
    pub(crate) audit: Arc<AuditLog>,
}

#[async_trait]
impl KeepToken for TokenKeeper {
    async fn keep(
        &self,
        secret: &SecretId,
        refresh_token: &Zeroizing<String>,
    ) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let info = self.vault.info(&secret.name).await;
        let info = info.map_err(|error| told(&error))?;
        if info.version != secret.version {
            return Err("the secret was given another value meanwhile, which stays".to_owned());
        }
        let value = self.vault.get(&secret.name).await;
        let value = value.map_err(|error| told(&error))?;
        let fields = value.kind().fields().iter().filter_map(|field| {
            let text = match field.name {
                "refresh-token" => refresh_token.clone(),
                name => Zeroizing::new(value.field(name)?.to_owned()),
            };
            Some((field.name.to_owned(), text))
        });
        let value = SecretValue::new(value.kind(), fields).map_err(|error| told(&error))?;
        let name = secret.name.parse().map_err(|error| told(&error))?;
        // It is done, and must not be undone: the record follows.
        self.vault
            .set(&name, &value, info.expires, true)
            .await
            .map_err(|error| told(&error))?;
        let mut body = Map::new();
        body.insert("secret".to_owned(), secret.name.as_str().into());
        body.insert(
            "why".to_owned(),
            "its server has replaced the refresh token".into(),
        );
        self.audit
            .note(AuditEvent::host(AuditKind::SecretRotate, body))
            .map_err(|error| told(&error))
    }
}
