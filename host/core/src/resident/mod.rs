//! Resident instances: one long-lived instance of a plugin, which takes calls and messages one
//! at a time, is started again when it breaks, and is given up when it breaks too often.
//!
//! Its mailbox is the queue of admission, in which a resident plugin has one place to run and
//! `queue` to wait: turns go round the callers there, and what waits does not die with the
//! instance. Health, schedules, upgrades and migration are not asked about yet; they belong
//! here.

mod residence;
mod vessel;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use portreeve_manifest::id::Alias;
use portreeve_manifest::project::PluginEntry;
use portreeve_runtime::{CallContext, CallError, ErrorCode, Finished, Resident, Template, Usage};
use portreeve_state::audit::AuditKind;
use serde_json::{Map, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::call::{CallRequest, Caller, Door};
use crate::grants::GrantCell;
use crate::host::Host;
use crate::network::Network;
use crate::plugin::{Facts, Plugin};
use crate::prompt::CallerUi;
use crate::registry::Registry;
use crate::scope::CallScope;

use residence::{BACKOFF_MAX, Turn};
pub(crate) use residence::{RESTARTING, Residence};
pub use residence::{ResidentState, ResidentStatus};
pub(crate) use vessel::Vessel;

/// How long an instance has to stop.
const STOP_TIME: Duration = Duration::from_secs(3);

/// How long all have when the host ends, which gives 5 seconds to all that it does. One that does
/// not stop in its time is on record before.
const END_TIME: Duration = Duration::from_secs(4);

/// Who starts and stops instances, as plugins and records see it.
const HOST: &str = "host";

/// Room for resident instances of all plugins.
pub(crate) struct Residents {
    room: Arc<Semaphore>,
    most: u32,
    /// Plugins that are no more what they were, whose instances are to end.
    leaving: Mutex<Vec<Arc<Plugin>>>,
    /// The same, and those that end just now.
    parting: Mutex<Vec<Weak<Plugin>>>,
}

impl Residents {
    pub(crate) fn new(most: u32) -> Residents {
        Residents {
            room: Arc::new(Semaphore::new(most as usize)),
            most,
            leaving: Mutex::default(),
            parting: Mutex::default(),
        }
    }

    /// The plugins of `before` whose instances are to end, since they are not those of `next`.
    /// From now on each may do when it is told what it could before, as far as `entries` still
    /// grant it; so may those that were to end already. Before `next` is in force.
    pub(crate) fn part(
        &self,
        before: &Registry,
        next: &Registry,
        entries: &BTreeMap<Alias, PluginEntry>,
        network: &Network,
    ) -> Vec<Arc<Plugin>> {
        let residence = |plugin: &Arc<Plugin>| plugin.facts.as_ref()?.residence.clone();
        let mut parted = Vec::new();
        for plugin in before.plugins() {
            let (Some(facts), Some(before)) = (&plugin.facts, residence(plugin)) else {
                continue;
            };
            let now = next.plugin(&plugin.alias).and_then(residence);
            if now.is_none_or(|now| !Arc::ptr_eq(&now, &before)) {
                let held = Arc::new(GrantCell::default());
                held.swap(facts.grants.load());
                // Once for each instance.
                let _ = before.parting.set(held);
                parted.push(plugin.clone());
            }
        }
        let mut parting = self.parting.lock().unwrap_or_else(PoisonError::into_inner);
        parting.extend(parted.iter().map(Arc::downgrade));
        parting.retain(|plugin| {
            let Some(plugin) = plugin.upgrade() else {
                return false;
            };
            let entry = entries.get(plugin.alias.as_str());
            if let Some(facts) = &plugin.facts
                && let Some(residence) = &facts.residence
                && let Some(held) = residence.parting.get()
            {
                let still = held.load().still(&facts.manifest, entry, network);
                held.swap(Arc::new(still));
            }
            true
        });
        parted
    }

    /// Has the instances of these plugins end.
    pub(crate) fn leave(&self, parted: Vec<Arc<Plugin>>) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.extend(parted);
    }

    /// Those whose instances are to end.
    pub(crate) fn leaving(&self) -> Vec<Arc<Plugin>> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *leaving)
    }
}

impl Host {
    /// Where a call of `plugin` runs, which has its place among those that run.
    pub(crate) async fn vessel(
        &self,
        plugin: &Arc<Plugin>,
        facts: &Facts,
        template: &Template,
    ) -> Result<Vessel, CallError> {
        match &facts.residence {
            None => Ok(Vessel::Fresh(template.clone())),
            Some(residence) => {
                // Boxed: it is large, and each call has room for it otherwise.
                let turn = Box::pin(self.residents_turn(residence, plugin, facts, template));
                Ok(Vessel::Resident(Box::new(turn.await?)))
            }
        }
    }

    /// Waits for the instance's turn; starts it where it does not run.
    async fn residents_turn(
        &self,
        residence: &Arc<Residence>,
        plugin: &Arc<Plugin>,
        facts: &Facts,
        template: &Template,
    ) -> Result<Turn, CallError> {
        if let Some(error) = residence.unavailable() {
            return Err(error);
        }
        let mut life = residence.life.clone().lock_owned().await;
        if let Some(error) = residence.unavailable() {
            return Err(error);
        }
        if let Some(former) = life.former.take() {
            self.end_resident(&former).await;
        }
        if life.instance.is_none() {
            let room = self.residents.room.clone();
            let room = room.try_acquire_owned().map_err(|_| {
                CallError::host(
                    ErrorCode::QuotaExceeded,
                    "residents",
                    format!(
                        "{} resident instances run, which is as many as there may be; `residents` under `[host] limits` allows more, from the next start on",
                        self.residents.most
                    ),
                )
            })?;
            match self.start_resident(plugin, facts, template).await.result {
                Ok(instance) => {
                    life.instance = Some((instance, room));
                    residence.is(ResidentState::Runs);
                }
                Err(error) => {
                    let why = format!("it did not start: {}", error.failure.message);
                    residence.broke(&mut life, &why);
                    return Err(error);
                }
            }
        }
        Ok(Turn::new(residence.clone(), life))
    }

    /// Makes an instance and calls its `start`, on record.
    async fn start_resident(
        &self,
        plugin: &Arc<Plugin>,
        facts: &Facts,
        template: &Template,
    ) -> Finished<Resident> {
        let scope = self.own_scope(plugin);
        let context = match self.own_context(facts, &scope).await {
            Ok(context) => context,
            Err(error) => return Finished::refused(error),
        };
        let (template, limits) = (template.clone(), facts.limits.clone());
        let starting = async move { template.start(&limits, context).await };
        let started = self.workshop.run(starting, facts.may_use_sockets()).await;
        let error = started.result.as_ref().err();
        self.record_own(&scope, "start", error, &started.usage);
        started
    }

    /// Ends a plugin's instance after the turn that it has, and tells it.
    pub(crate) async fn end_resident(&self, plugin: &Arc<Plugin>) {
        let Some((facts, residence)) = plugin
            .facts
            .as_ref()
            .and_then(|facts| Some((facts, facts.residence.as_ref()?)))
        else {
            return;
        };
        let mut life = residence.life.lock().await;
        let instance = life.instance.take();
        residence.is(ResidentState::Ended);
        drop(life);
        let Some((instance, _room)) = instance.filter(|(instance, _)| !instance.is_broken()) else {
            return;
        };
        let scope = match residence.parting.get() {
            None => self.own_scope(plugin),
            Some(held) => self.own_scope(&Arc::new(plugin.under(held.clone()))),
        };
        let stopped = match self.own_context(facts, &scope).await {
            Ok(context) => {
                let stopping = async move { instance.stop(STOP_TIME, context).await };
                self.workshop.run(stopping, facts.may_use_sockets()).await
            }
            Err(error) => Finished::refused(error),
        };
        let error = stopped.result.as_ref().err();
        if let Some(error) = error {
            let plugin = &plugin.alias;
            tracing::warn!(plugin, %error, "a resident instance did not stop in order");
        }
        self.record_own(&scope, "stop", error, &stopped.usage);
    }

    /// Ends all instances, each within its time.
    pub(crate) async fn end_residents(&self) {
        let registry = self.registry();
        let leaving = self.residents.leaving();
        let all = registry.plugins().chain(&leaving);
        let ending = futures::future::join_all(all.map(|plugin| self.end_resident(plugin)));
        if tokio::time::timeout(END_TIME, ending).await.is_err() {
            tracing::warn!("a resident instance did not stop in time; it is left");
        }
    }

    fn own_scope(&self, plugin: &Arc<Plugin>) -> Arc<CallScope> {
        let call_id = self.ids.next();
        CallScope::new(
            plugin.clone(),
            &call_id,
            HOST.into(),
            self.audit.clone(),
            Vec::new(),
        )
    }

    /// What a plugin knows and reaches while the host itself calls it.
    async fn own_context(
        &self,
        facts: &Facts,
        scope: &Arc<CallScope>,
    ) -> Result<CallContext, CallError> {
        let request = CallRequest {
            caller: Caller {
                name: HOST.into(),
                connection: HOST.into(),
                door: Door::Inside,
            },
            tool: String::new(),
            arguments: Map::new(),
            progress: None,
            ui: CallerUi::default(),
            cancel: CancellationToken::new(),
        };
        self.context(facts, scope, &request, facts.may_use_sockets())
            .await
    }

    /// Records what the host called a plugin for.
    fn record_own(&self, scope: &CallScope, what: &str, error: Option<&CallError>, usage: &Usage) {
        let mut body = Map::new();
        body.insert("instance".to_owned(), what.into());
        body.insert("ms".to_owned(), json!(usage.duration.as_millis() as u64));
        body.insert("fuel".to_owned(), usage.fuel.into());
        if let Some(error) = error {
            body.insert("error".to_owned(), error.failure.code.as_str().into());
            body.insert("reason".to_owned(), error.failure.reason.as_str().into());
        }
        scope.tell_uses(&mut body);
        if let Err(error) = self.audit.note(scope.event(AuditKind::Call, body)) {
            tracing::error!(%error, "a call was not recorded");
        }
    }
}

/// Keeps a plugin's instance running, as long as the plugin is what it is.
pub(crate) async fn keep(host: Weak<Host>, plugin: Arc<Plugin>) {
    let Some(facts) = &plugin.facts else {
        return;
    };
    let Some(residence) = &facts.residence else {
        return;
    };
    let mut changes = residence.status.subscribe();
    loop {
        let state = changes.borrow_and_update().state;
        match state {
            ResidentState::Failed | ResidentState::Ended => return,
            ResidentState::Runs => {}
            ResidentState::Asleep | ResidentState::Restarts => {
                if let Some(at) = residence.not_before() {
                    tokio::time::sleep_until(at).await;
                }
                let Some(host) = host.upgrade() else {
                    return;
                };
                let started = async {
                    let template = host.template(&plugin.alias, facts, None).await?;
                    host.residents_turn(residence, &plugin, facts, template)
                        .await
                };
                if let Err(error) = started.await {
                    let plugin = &plugin.alias;
                    tracing::warn!(plugin, %error, "a resident instance does not run");
                    // Nothing of the instance itself: there is no room, say.
                    if residence.state() == state {
                        tokio::time::sleep(BACKOFF_MAX).await;
                    }
                    continue;
                }
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
