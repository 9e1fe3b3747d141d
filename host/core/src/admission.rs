//! Who runs next: so many calls at once, so many that wait, and turns between callers.
//!
//! Free places go round the callers that wait, one call each, so that a caller with a
//! hundred calls does not hold up one with a single call. A plugin at its own limit is
//! passed over, not waited for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portreeve_manifest::limits::{HostLimits, Limits};
use portreeve_runtime::{CallError, ErrorCode, LimitHit};
use tokio::sync::oneshot;

/// When whoever found the queue full is to come again: most calls are shorter.
const RETRY: Duration = Duration::from_secs(1);

/// Admits calls.
pub(crate) struct Admission {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running_max: u32,
    waiting_max: u32,
    running: u32,
    waiting: u32,
    plugins: BTreeMap<String, PluginState>,
    /// The callers that wait, in the order of their turns, each with its calls.
    turns: VecDeque<Turn>,
}

#[derive(Default)]
struct PluginState {
    running_max: u32,
    running: u32,
    waiting: u32,
}

struct Turn {
    caller: String,
    calls: VecDeque<Waiting>,
}

struct Waiting {
    plugin: String,
    admitted: oneshot::Sender<Permit>,
}

/// A place among the running calls; dropping it gives it to the next.
pub(crate) struct Permit {
    /// None once the place is given up.
    admission: Option<Arc<Admission>>,
    plugin: String,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.release(&self.plugin);
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: &HostLimits) -> Arc<Admission> {
        let admission = Arc::new(Admission {
            state: Mutex::default(),
        });
        admission.resize(limits);
        admission
    }

    /// Takes other limits on. Calls that run or wait already stay.
    pub(crate) fn resize(self: &Arc<Self>, limits: &HostLimits) {
        {
            let mut state = self.state();
            state.running_max = limits.concurrent_calls;
            state.waiting_max = limits.queue;
        }
        self.start_waiting();
    }

    /// Waits for a place for a call of `caller` to `plugin`. Dropping the future gives the
    /// place in the queue up.
    ///
    /// # Errors
    /// `rate-limited`, when too many wait already.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        caller: &str,
        plugin: &str,
        limits: &Limits,
    ) -> Result<Permit, CallError> {
        let waiting = {
            let mut state = self.state();
            let entry = state.plugin(plugin);
            entry.running_max = limits.concurrent_calls;
            let fits = entry.running < entry.running_max && state.running < state.running_max;
            // Whoever waits for the same is first.
            if fits && !state.waits_and_fits() {
                state.start(plugin);
                return Ok(self.permit(plugin));
            }
            state.forget_abandoned();
            let waiting_here = state.plugin(plugin).waiting;
            if waiting_here >= limits.queue {
                return Err(busy(
                    format!(
                        "{} of plugin `{plugin}` at a time (`concurrent-calls`) and {} that wait",
                        limits.concurrent_calls, limits.queue
                    ),
                    format!("{waiting_here} wait"),
                ));
            }
            if state.waiting >= state.waiting_max {
                let what = format!(
                    "this host has {} calls running and {} waiting; `concurrent-calls` and `queue` under `[host] limits` allow more",
                    state.running, state.waiting
                );
                return Err(later(CallError::host(ErrorCode::RateLimited, "busy", what)));
            }
            state.wait(caller, plugin)
        };
        waiting
            .await
            .map_err(|_| CallError::internal("the queue of calls was dropped"))
    }

    /// Calls that may run at a time.
    pub(crate) fn places(&self) -> u32 {
        self.state().running_max
    }

    /// Calls that run and calls that wait, of all plugins.
    pub(crate) fn load(&self) -> (u32, u32) {
        let mut state = self.state();
        state.forget_abandoned();
        (state.running, state.waiting)
    }

    /// Ends a call of `plugin` and starts whoever is next.
    fn release(self: &Arc<Self>, plugin: &str) {
        self.state().end(plugin);
        self.start_waiting();
    }

    /// Starts as many of those that wait as fit.
    fn start_waiting(self: &Arc<Self>) {
        loop {
            // Not in the loop's head: the guard must be gone before a permit is sent.
            let next = self.state().next();
            let Some(next) = next else {
                return;
            };
            let sent = next.admitted.send(self.permit(&next.plugin));
            if let Err(mut permit) = sent {
                // It stopped waiting just now. Its place is given on here rather than by
                // its drop, which would nest as deep as the queue is long.
                permit.admission = None;
                self.state().end(&permit.plugin);
            }
        }
    }

    fn permit(self: &Arc<Self>, plugin: &str) -> Permit {
        Permit {
            admission: Some(self.clone()),
            plugin: plugin.to_owned(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn plugin(&mut self, plugin: &str) -> &mut PluginState {
        self.plugins.entry(plugin.to_owned()).or_default()
    }

    fn start(&mut self, plugin: &str) {
        self.running = self.running.saturating_add(1);
        let entry = self.plugin(plugin);
        entry.running = entry.running.saturating_add(1);
    }

    fn end(&mut self, plugin: &str) {
        self.running = self.running.saturating_sub(1);
        let entry = self.plugin(plugin);
        entry.running = entry.running.saturating_sub(1);
        if entry.running == 0 && entry.waiting == 0 {
            self.plugins.remove(plugin);
        }
    }

    fn wait(&mut self, caller: &str, plugin: &str) -> oneshot::Receiver<Permit> {
        let (admitted, receiver) = oneshot::channel();
        let call = Waiting {
            plugin: plugin.to_owned(),
            admitted,
        };
        match self.turns.iter_mut().find(|turn| turn.caller == caller) {
            Some(turn) => turn.calls.push_back(call),
            None => self.turns.push_back(Turn {
                caller: caller.to_owned(),
                calls: VecDeque::from([call]),
            }),
        }
        self.waiting = self.waiting.saturating_add(1);
        let entry = self.plugin(plugin);
        entry.waiting = entry.waiting.saturating_add(1);
        receiver
    }

    fn waits_and_fits(&mut self) -> bool {
        self.forget_abandoned();
        self.find_next().is_some()
    }

    /// The place in `turns`, and in that turn, of the next call that may start: the first
    /// that fits of the caller whose turn it is.
    fn find_next(&self) -> Option<(usize, usize)> {
        if self.running >= self.running_max {
            return None;
        }
        let plugins = &self.plugins;
        let fits = |call: &Waiting| {
            plugins
                .get(&call.plugin)
                .is_none_or(|plugin| plugin.running < plugin.running_max)
        };
        self.turns.iter().enumerate().find_map(|(at, turn)| {
            let index = turn.calls.iter().position(fits)?;
            Some((at, index))
        })
    }

    /// The next call that may start, counted as running. Its caller goes to the end of the
    /// line.
    fn next(&mut self) -> Option<Waiting> {
        self.forget_abandoned();
        let (at, index) = self.find_next()?;
        let mut turn = self.turns.remove(at)?;
        let call = turn.calls.remove(index)?;
        if !turn.calls.is_empty() {
            self.turns.push_back(turn);
        }
        self.leave_queue(&call.plugin);
        self.start(&call.plugin);
        Some(call)
    }

    /// Takes calls out of the queue that nobody waits for any more.
    fn forget_abandoned(&mut self) {
        let mut gone = Vec::new();
        for turn in &mut self.turns {
            turn.calls.retain(|call| {
                let abandoned = call.admitted.is_closed();
                if abandoned {
                    gone.push(call.plugin.clone());
                }
                !abandoned
            });
        }
        self.turns.retain(|turn| !turn.calls.is_empty());
        for plugin in gone {
            self.leave_queue(&plugin);
        }
    }

    fn leave_queue(&mut self, plugin: &str) {
        self.waiting = self.waiting.saturating_sub(1);
        let entry = self.plugin(plugin);
        entry.waiting = entry.waiting.saturating_sub(1);
        if entry.running == 0 && entry.waiting == 0 {
            self.plugins.remove(plugin);
        }
    }
}

fn busy(allowed: String, used: String) -> CallError {
    later(CallError::limit(LimitHit {
        setting: "queue".into(),
        allowed,
        used,
    }))
}

fn later(mut error: CallError) -> CallError {
    error.failure.retry_after = Some(RETRY);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn admission(concurrent_calls: u32, queue: u32) -> Arc<Admission> {
        Admission::new(&HostLimits {
            concurrent_calls,
            queue,
            ..HostLimits::default()
        })
    }

    fn plugin_limits(concurrent_calls: u32, queue: u32) -> Limits {
        Limits {
            concurrent_calls,
            queue,
            ..Limits::default()
        }
    }

    #[test]
    fn places_go_round_the_callers() {
        let admission = admission(1, 100);
        let limits = plugin_limits(10, 100);
        let admit = |caller: &'static str| admission.admit(caller, "p", &limits).boxed_local();
        let first = admit("greedy").now_or_never().unwrap().unwrap();
        let mut queue: Vec<_> = ["greedy", "greedy", "greedy", "modest"]
            .into_iter()
            .map(|caller| (caller, admit(caller)))
            .collect();
        for (_, waiting) in &mut queue {
            assert!(waiting.now_or_never().is_none());
        }
        let mut order = Vec::new();
        let mut running = Some(first);
        while !queue.is_empty() {
            drop(running.take());
            let at = queue
                .iter_mut()
                .position(|(_, waiting)| match waiting.now_or_never() {
                    Some(permit) => {
                        running = Some(permit.unwrap());
                        true
                    }
                    None => false,
                })
                .expect("one is admitted for each that ends");
            order.push(queue.remove(at).0);
        }
        assert_eq!(order, ["greedy", "modest", "greedy", "greedy"]);
    }

    #[test]
    fn a_plugin_at_its_limit_does_not_hold_up_others() {
        let admission = admission(2, 10);
        let limits = plugin_limits(1, 10);
        let _a = admission
            .admit("c", "a", &limits)
            .now_or_never()
            .unwrap()
            .unwrap();
        let mut second_a = admission.admit("c", "a", &limits).boxed_local();
        assert!((&mut second_a).now_or_never().is_none());
        let b = admission.admit("c", "b", &limits).now_or_never();
        assert!(b.is_some_and(|permit| permit.is_ok()));
    }

    #[test]
    fn queues_are_bounded_and_the_refusal_names_the_setting() {
        let admission = admission(1, 2);
        let limits = plugin_limits(1, 1);
        let _running = admission
            .admit("c", "a", &limits)
            .now_or_never()
            .unwrap()
            .unwrap();
        let mut waiting = admission.admit("c", "a", &limits).boxed_local();
        assert!((&mut waiting).now_or_never().is_none());
        let refused = admission
            .admit("c", "a", &limits)
            .now_or_never()
            .unwrap()
            .err()
            .unwrap();
        assert_eq!(refused.failure.code, ErrorCode::RateLimited);
        assert!(
            refused.failure.message.contains("setting `queue`"),
            "{refused}"
        );
        let mut other = admission.admit("c", "b", &limits).boxed_local();
        assert!((&mut other).now_or_never().is_none());
        let refused = admission
            .admit("c", "d", &limits)
            .now_or_never()
            .unwrap()
            .err()
            .unwrap();
        assert!(
            refused.failure.message.contains("[host] limits"),
            "{refused}"
        );
    }

    #[test]
    fn more_room_starts_whoever_waits() {
        let admission = admission(1, 10);
        let limits = plugin_limits(10, 10);
        let _running = admission
            .admit("c", "a", &limits)
            .now_or_never()
            .unwrap()
            .unwrap();
        let mut waiting = admission.admit("c", "a", &limits).boxed_local();
        assert!((&mut waiting).now_or_never().is_none());
        admission.resize(&HostLimits {
            concurrent_calls: 2,
            ..HostLimits::default()
        });
        assert!((&mut waiting).now_or_never().is_some());
    }

    #[test]
    fn whoever_stops_waiting_leaves_nothing_behind() {
        let admission = admission(1, 10);
        let limits = plugin_limits(1, 10);
        let running = admission
            .admit("c", "a", &limits)
            .now_or_never()
            .unwrap()
            .unwrap();
        for _ in 0..1_000 {
            let mut waiting = admission.admit("c", "a", &limits).boxed_local();
            assert!((&mut waiting).now_or_never().is_none());
        }
        assert_eq!(admission.load(), (1, 0));
        drop(running);
        assert_eq!(admission.load(), (0, 0));
        assert!(admission.state().plugins.is_empty());
    }
}
