//! Resident instances: one long-lived instance of a plugin, which takes calls and messages one
//! at a time, is started again when it breaks, and is given up when it breaks too often.
//!
//! Its mailbox is the queue of admission, in which a resident plugin has one place to run and
//! `queue` to wait: turns go round the callers there, and what waits does not die with the
//! instance. Health, schedules, upgrades and migration are not asked about yet; they belong
//! here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::id::Alias;
use portreeve_manifest::limits::Limits;
use portreeve_manifest::project::PluginEntry;
use portreeve_runtime::{
    Arguments, CallContext, CallError, ErrorCode, Failure, Finished, Given, GivenMessage, Handled,
    MessageAnswer, Outcome, Resident, Target, Template, Usage, Wanted,
};
use portreeve_state::audit::{AuditKind, wall_clock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::call::{CallRequest, Caller, Door};
use crate::grants::GrantCell;
use crate::host::Host;
use crate::network::Network;
use crate::plugin::{Facts, Plugin};
use crate::prompt::CallerUi;
use crate::registry::Registry;
use crate::scope::CallScope;

/// The first pause before an instance is started again; it doubles with each time that it
/// breaks within [`WINDOW`].
const BACKOFF: Duration = Duration::from_millis(200);

/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// In which restarts are counted.
const WINDOW: Duration = Duration::from_secs(600);

/// How long an instance has to stop.
const STOP_TIME: Duration = Duration::from_secs(3);

/// How long all have when the host ends, which gives 5 seconds to all that it does. One that does
/// not stop in its time is on record before.
const END_TIME: Duration = Duration::from_secs(4);

/// Who starts and stops instances, as plugins and records see it.
const HOST: &str = "host";

/// The reason of an error that is none of the call's: the instance broke in another one.
pub(crate) const RESTARTING: &str = "restarting";

/// How a resident instance does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResidentStatus {
    /// What it does.
    pub state: ResidentState,
    /// Since when: milliseconds since 1970, UTC.
    pub since: i64,
    /// How often it broke since the plugin was taken up.
    pub broke: u64,
    /// Why it broke last.
    pub error: Option<String>,
    /// When it is started again: milliseconds since 1970, UTC.
    pub next: Option<i64>,
}

/// What a resident instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResidentState {
    /// It was not needed yet.
    Asleep,
    /// It runs.
    Runs,
    /// It broke, and is started again in a moment.
    Restarts,
    /// It broke too often, and stays down.
    Failed,
    /// Its plugin was changed or the host ends.
    Ended,
}

impl ResidentState {
    /// What is said of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ResidentState::Asleep => "asleep",
            ResidentState::Runs => "runs",
            ResidentState::Restarts => "restarts",
            ResidentState::Failed => "FAILED",
            ResidentState::Ended => "ended",
        }
    }
}

/// The place of one plugin's resident instance. It outlives reloads that change nothing of it.
pub(crate) struct Residence {
    alias: String,
    restarts_max: u32,
    /// Whoever holds it has the instance's turn.
    life: Arc<tokio::sync::Mutex<Life>>,
    status: watch::Sender<ResidentStatus>,
    /// What the instance may do when it is told that it ends, once another plugin or other
    /// settings take its place.
    parting: OnceLock<Arc<GrantCell>>,
    /// When it may be started again.
    not_before: Mutex<Option<Instant>>,
}

struct Life {
    instance: Option<(Resident, OwnedSemaphorePermit)>,
    /// When it was started again, within the window.
    restarts: VecDeque<Instant>,
    /// The plugin as it was before, whose instance is to end before there is another.
    former: Option<Arc<Plugin>>,
}

impl std::fmt::Debug for Residence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Residence")
            .field("alias", &self.alias)
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}

impl Residence {
    pub(crate) fn new(alias: &str, limits: &Limits, former: Option<Arc<Plugin>>) -> Arc<Residence> {
        Arc::new(Residence {
            alias: alias.to_owned(),
            restarts_max: limits.restarts,
            life: Arc::new(tokio::sync::Mutex::new(Life {
                instance: None,
                restarts: VecDeque::new(),
                // One that never ran has nothing to end.
                former: former.filter(|former| {
                    let status = former.resident();
                    status.is_some_and(|status| status.state != ResidentState::Asleep)
                }),
            })),
            status: watch::Sender::new(ResidentStatus {
                state: ResidentState::Asleep,
                since: wall_clock(),
                broke: 0,
                error: None,
                next: None,
            }),
            parting: OnceLock::new(),
            not_before: Mutex::default(),
        })
    }

    pub(crate) fn status(&self) -> ResidentStatus {
        self.status.borrow().clone()
    }

    fn state(&self) -> ResidentState {
        self.status.borrow().state
    }

    /// Whether it may be kept when the project is read again: one that was given up is tried
    /// anew.
    pub(crate) fn may_stay(&self) -> bool {
        !matches!(self.state(), ResidentState::Failed | ResidentState::Ended)
    }

    /// Waits until it takes messages: one that is about to be started again does not yet, and
    /// one that was given up never does.
    pub(crate) async fn ready(&self) {
        let mut changes = self.status.subscribe();
        let ready =
            |now: &ResidentStatus| matches!(now.state, ResidentState::Asleep | ResidentState::Runs);
        if changes.wait_for(ready).await.is_err() {
            std::future::pending().await
        }
    }

    fn not_before(&self) -> Option<Instant> {
        *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, state: ResidentState) {
        *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        self.status.send_modify(|status| {
            status.state = state;
            status.since = wall_clock();
            status.next = None;
        });
    }

    /// Why it takes nothing now.
    fn unavailable(&self) -> Option<CallError> {
        let alias = &self.alias;
        let status = self.status.borrow();
        let why = status.error.as_deref().unwrap_or("it broke");
        match status.state {
            ResidentState::Asleep | ResidentState::Runs => None,
            ResidentState::Restarts => {
                let left = self.not_before()?.saturating_duration_since(Instant::now());
                // Whoever comes now starts it: nobody is told to come again in no time.
                if left < Duration::from_millis(1) {
                    return None;
                }
                let told = format!(
                    "the instance of `{alias}` broke, and is started again in {} ms; it broke because: {why}",
                    left.as_millis()
                );
                Some(unavailable(RESTARTING, told, Some(left)))
            }
            ResidentState::Failed => {
                let told = format!(
                    "the instance of `{alias}` broke more than {} times within {} and is not started any more; at last: {why}. Its operator sees what it wrote with `portreeve logs --plugin {alias}`; it is tried again when portreeve.toml or its component changes, and with the next `portreeve serve`; `restarts` in its `limits` allows more",
                    self.restarts_max,
                    HumanDuration(WINDOW)
                );
                Some(unavailable("instance-failed", told, None))
            }
            ResidentState::Ended => Some(unavailable(
                "plugin-changed",
                format!("`{alias}` was changed or ended while this waited for it; try again"),
                Some(BACKOFF),
            )),
        }
    }

    /// Notes that the instance broke, and when it is started again.
    fn broke(&self, life: &mut Life, why: &str) {
        life.instance = None;
        let now = Instant::now();
        life.restarts
            .retain(|at| now.saturating_duration_since(*at) < WINDOW);
        let count = u32::try_from(life.restarts.len()).unwrap_or(u32::MAX);
        let again = (count < self.restarts_max).then(|| {
            life.restarts.push_back(now);
            BACKOFF
                .saturating_mul(1_u32.checked_shl(count).unwrap_or(u32::MAX))
                .min(BACKOFF_MAX)
        });
        let plugin = &self.alias;
        match again {
            Some(pause) => {
                tracing::warn!(
                    plugin,
                    why,
                    ?pause,
                    "a resident instance broke; it is started again"
                );
            }
            None => tracing::error!(
                plugin,
                why,
                "a resident instance broke too often; it stays down"
            ),
        }
        *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = again.map(|pause| now + pause);
        self.status.send_modify(|status| {
            status.broke = status.broke.saturating_add(1);
            status.since = wall_clock();
            status.error = Some(why.to_owned());
            status.state = match again {
                Some(_) => ResidentState::Restarts,
                None => ResidentState::Failed,
            };
            status.next = again.map(|pause| {
                let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                status.since.saturating_add(pause)
            });
        });
    }
}

fn unavailable(reason: &str, told: String, retry_after: Option<Duration>) -> CallError {
    CallError {
        failure: Failure {
            retry_after,
            ..Failure::new(ErrorCode::Unavailable, reason, told)
        },
        ..CallError::host(ErrorCode::Unavailable, reason, "")
    }
}

/// The turn of one call or message with a resident instance.
pub(crate) struct Turn {
    residence: Arc<Residence>,
    life: OwnedMutexGuard<Life>,
    why: Option<String>,
}

impl Turn {
    fn instance(&mut self) -> Result<&mut Resident, CallError> {
        let instance = self.life.instance.as_mut();
        instance
            .map(|(instance, _)| instance)
            .ok_or_else(|| CallError::internal("a turn was given without an instance"))
    }

    fn end<T>(&mut self, finished: Finished<T>) -> Finished<T> {
        if let Err(error) = &finished.result {
            self.why = Some(error.failure.message.clone());
        }
        finished
    }
}

impl Drop for Turn {
    /// Also where the turn was given up in the middle.
    fn drop(&mut self) {
        let broken = self.life.instance.as_ref();
        if broken.is_some_and(|(instance, _)| instance.is_broken()) {
            let why = self.why.take();
            let why = why.as_deref().unwrap_or("its turn was given up");
            self.residence.broke(&mut self.life, why);
        }
    }
}

/// Where a call runs.
pub(crate) enum Vessel {
    /// In an instance of its own.
    Fresh(Template),
    /// In the one that the plugin has.
    Resident(Box<Turn>),
}

impl Vessel {
    /// Whether what runs in it is to go on when its caller leaves.
    pub(crate) fn is_resident(&self) -> bool {
        matches!(self, Vessel::Resident(_))
    }

    /// Whether what runs in it may use sockets: an instance that stays, by whatever may be granted
    /// while it lives; one of its own, by what is granted now.
    pub(crate) fn may_use_sockets(&self, facts: &Facts, scope: &CallScope) -> bool {
        match self {
            Vessel::Fresh(_) => !scope.granted().effective.sockets.is_empty(),
            Vessel::Resident(_) => facts.may_use_sockets(),
        }
    }

    pub(crate) async fn call(
        self,
        target: Target<'_>,
        arguments: &Arguments,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Outcome> {
        match self {
            Vessel::Fresh(template) => template.call(target, arguments, limits, context).await,
            Vessel::Resident(mut turn) => {
                let cancel = context.cancel.clone();
                let mut finished = match turn.instance() {
                    Ok(instance) => instance.call(target, arguments, context).await,
                    Err(error) => Finished::refused(error),
                };
                finished = turn.end(finished);
                if cancel.is_cancelled() {
                    finished.result = Err(CallError::cancelled());
                }
                finished
            }
        }
    }

    pub(crate) async fn handle(
        self,
        message: &GivenMessage,
        attempt: u32,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Handled> {
        match self {
            Vessel::Fresh(template) => template.handle(message, attempt, limits, context).await,
            Vessel::Resident(mut turn) => {
                let finished = match turn.instance() {
                    Ok(instance) => instance.handle(message, attempt, context).await,
                    Err(error) => Finished::refused(error),
                };
                turn.end(finished)
            }
        }
    }

    pub(crate) async fn ask(
        self,
        wanted: &Wanted,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<Given> {
        match self {
            Vessel::Fresh(template) => template.ask(wanted, limits, context).await,
            Vessel::Resident(mut turn) => {
                let finished = match turn.instance() {
                    Ok(instance) => instance.ask(wanted, context).await,
                    Err(error) => Finished::refused(error),
                };
                turn.end(finished)
            }
        }
    }

    pub(crate) async fn respond(
        self,
        request: &GivenMessage,
        limits: &Limits,
        context: CallContext,
    ) -> Finished<MessageAnswer> {
        match self {
            Vessel::Fresh(template) => template.respond(request, limits, context).await,
            Vessel::Resident(mut turn) => {
                let finished = match turn.instance() {
                    Ok(instance) => instance.respond(request, context).await,
                    Err(error) => Finished::refused(error),
                };
                turn.end(finished)
            }
        }
    }
}

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
                let turn = self
                    .residents_turn(residence, plugin, facts, template)
                    .await?;
                Ok(Vessel::Resident(Box::new(turn)))
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
        Ok(Turn {
            residence: residence.clone(),
            life,
            why: None,
        })
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
