//! Who waits for whom. A call that asks on a topic keeps its place while it waits, and whoever
//! answers needs a place too: a resident instance that asks itself could wait for ever, and so
//! could two that ask each other. A request whose answer could not come before it is given up is
//! refused instead, by whichever call would close the circle.
//!
//! A request is answered where the call that answers it is not held up itself, or, before there
//! is one, where a place for it will come free: of the plugin, of which `concurrent-calls` run
//! at a time (one of a resident instance), and of the host. Calls that don't ask end by
//! themselves, so only those that ask are known here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::admission::Admission;
use crate::scope::CallScope;

/// The requests that calls wait for, by their ids.
pub(crate) struct Waits {
    admission: Arc<Admission>,
    open: Mutex<BTreeMap<String, Wait>>,
}

/// A call that waits for an answer.
struct Wait {
    /// The call.
    call: String,
    /// Its plugin.
    plugin: String,
    /// Calls of that plugin that run at a time.
    places: usize,
    /// The plugin that is asked.
    asked: String,
    /// The call that answers, once it has its place.
    answering: Option<String>,
}

impl Waits {
    pub(crate) fn new(admission: Arc<Admission>) -> Waits {
        Waits {
            admission,
            open: Mutex::default(),
        }
    }

    /// A call that is about to ask; it waits until what is returned is dropped.
    pub(crate) fn asking<'a>(&'a self, scope: &'a CallScope) -> Asking<'a> {
        Asking {
            waits: self,
            scope,
            request: OnceLock::new(),
            circle: Mutex::default(),
        }
    }

    /// Notes that `call` has its place, and answers a request.
    pub(crate) fn answers(&self, request: &str, call: &str) {
        if let Some(wait) = self.open().get_mut(request) {
            wait.answering = Some(call.to_owned());
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Wait>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a call waits.
    ///
    /// # Errors
    /// Who would wait for whom, where no answer could come; it is not noted then.
    fn wait(&self, request: &str, wait: Wait) -> Result<(), String> {
        let places = self.admission.places() as usize;
        let mut open = self.open();
        open.remove(request);
        // A plugin of which nobody asks has a place in a while.
        let busy = open.values().any(|other| other.plugin == wait.asked);
        let busy = busy || wait.plugin == wait.asked || open.len() + 1 >= places;
        open.insert(request.to_owned(), wait);
        if busy && !answered(&open, places).contains(request) {
            let way = way(&open, request);
            open.remove(request);
            return Err(way);
        }
        Ok(())
    }
}

/// One call that asks.
pub(crate) struct Asking<'a> {
    waits: &'a Waits,
    scope: &'a CallScope,
    request: OnceLock<String>,
    circle: Mutex<Option<String>>,
}

impl Asking<'_> {
    /// Whether `plugin` may be asked; from then on the call waits for it.
    pub(crate) fn may(&self, plugin: &str, request: &str) -> bool {
        let wait = Wait {
            call: self.scope.call_id.clone(),
            plugin: self.scope.plugin.alias.clone(),
            places: self.scope.plugin.places(),
            asked: plugin.to_owned(),
            answering: None,
        };
        // One request has one id, whoever is asked.
        let request = self.request.get_or_init(|| request.to_owned());
        let waits = self.waits.wait(request, wait);
        let may = waits.is_ok();
        if let Err(way) = waits {
            *self.circle() = Some(way);
        }
        may
    }

    /// Who would have waited for whom, at the last that might not be asked.
    pub(crate) fn way(&self) -> String {
        self.circle().clone().unwrap_or_default()
    }

    fn circle(&self) -> MutexGuard<'_, Option<String>> {
        self.circle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request.get() {
            self.waits.open().remove(request);
        }
    }
}

/// The requests that will be answered, unless somebody takes too long.
fn answered(open: &BTreeMap<String, Wait>, places: usize) -> BTreeSet<&str> {
    let mut answered = BTreeSet::new();
    loop {
        let held: Vec<(&String, &Wait)> = open
            .iter()
            .filter(|(request, _)| !answered.contains(request.as_str()))
            .collect();
        let calls: BTreeSet<&str> = held.iter().map(|(_, wait)| wait.call.as_str()).collect();
        // Places that are left at the plugins whose calls are held up.
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, wait) in &held {
            let left = left.entry(&wait.plugin).or_insert(wait.places);
            *left = left.saturating_sub(1);
        }
        let before = answered.len();
        for (request, wait) in &held {
            let comes = match &wait.answering {
                Some(call) => !calls.contains(call.as_str()),
                None => calls.len() < places && left.get(&*wait.asked) != Some(&0),
            };
            if comes {
                answered.insert(request.as_str());
            }
        }
        if answered.len() == before {
            return answered;
        }
    }
}

/// From the plugin that asks to the first that is asked twice.
fn way(open: &BTreeMap<String, Wait>, request: &str) -> String {
    let mut way: Vec<&str> = Vec::new();
    let mut next = open.get(request);
    while let Some(wait) = next {
        if way.is_empty() {
            way.push(&wait.plugin);
        }
        let known = way.contains(&&*wait.asked);
        way.push(&wait.asked);
        if known {
            break;
        }
        next = match &wait.answering {
            Some(call) => open.values().find(|other| other.call == *call),
            None => open.values().find(|other| other.plugin == wait.asked),
        };
    }
    way.join(" -> ")
}

#[cfg(test)]
mod tests {
    use portreeve_manifest::limits::HostLimits;

    use super::*;

    fn waits(places: u32) -> Waits {
        Waits::new(Admission::new(&HostLimits {
            concurrent_calls: places,
            ..HostLimits::default()
        }))
    }

    /// `asker` is a call `PLUGIN/CALL`; a request is named `ASKER>ASKED`.
    fn ask(waits: &Waits, asker: &str, places: usize, asked: &str) -> Result<(), String> {
        let (plugin, _) = asker.split_once('/').unwrap();
        let wait = Wait {
            call: asker.to_owned(),
            plugin: plugin.to_owned(),
            places,
            asked: asked.to_owned(),
            answering: None,
        };
        waits.wait(&format!("{asker}>{asked}"), wait)
    }

    fn circle(way: &str) -> Result<(), String> {
        Err(way.to_owned())
    }

    #[test]
    fn whoever_asks_itself_with_one_place_is_refused() {
        let waits = waits(64);
        assert_eq!(ask(&waits, "a/1", 1, "a"), circle("a -> a"));
        assert!(waits.open().is_empty());
        assert_eq!(ask(&waits, "b/1", 2, "b"), Ok(()));
        waits.answers("b/1>b", "b/2");
        assert_eq!(ask(&waits, "b/2", 2, "b"), circle("b -> b"));
        // Whoever has given up is in nobody's way.
        waits.open().clear();
        assert_eq!(ask(&waits, "b/2", 2, "b"), Ok(()));
    }

    #[test]
    fn two_that_ask_each_other() {
        let waits = waits(64);
        assert_eq!(ask(&waits, "a/1", 1, "b"), Ok(()));
        // B is busy with something else.
        assert_eq!(ask(&waits, "b/1", 1, "a"), circle("b -> a -> b"));
        assert_eq!(ask(&waits, "b/1", 1, "c"), Ok(()));
        assert_eq!(ask(&waits, "c/1", 1, "a"), circle("c -> a -> b -> c"));
        assert_eq!(ask(&waits, "d/1", 1, "a"), Ok(()));
    }

    #[test]
    fn it_counts_which_call_answers_and_not_its_plugin() {
        let waits = waits(64);
        assert_eq!(ask(&waits, "a/1", 1, "many"), Ok(()));
        waits.answers("a/1>many", "many/1");
        // Another call of it may wait for A: it has places left.
        assert_eq!(ask(&waits, "many/2", 16, "a"), Ok(()));
        assert_eq!(ask(&waits, "many/1", 16, "a"), circle("many -> a -> many"));
        assert_eq!(ask(&waits, "many/1", 16, "b"), Ok(()));
        waits.answers("many/1>b", "b/1");
        assert_eq!(ask(&waits, "b/1", 1, "a"), circle("b -> a -> many -> b"));
        assert_eq!(ask(&waits, "b/1", 1, "many"), Ok(()));
    }

    #[test]
    fn the_hosts_own_places_count() {
        let waits = waits(2);
        assert_eq!(ask(&waits, "a/1", 16, "b"), Ok(()));
        assert_eq!(ask(&waits, "c/1", 16, "d"), circle("c -> d"));
        waits.answers("a/1>b", "b/1");
        assert_eq!(ask(&waits, "b/1", 16, "c"), circle("b -> c"));
    }

    /// Calls that run, as a host would have them.
    #[derive(Clone)]
    struct Running {
        places: Vec<usize>,
        host: usize,
        /// Each with its plugin, and the request that it answers.
        calls: BTreeMap<String, (usize, Option<String>)>,
        /// Requests: who asks, who is asked, and whether that has begun.
        asked: BTreeMap<String, (String, usize, bool)>,
    }

    impl Running {
        fn has_room(&self, plugin: usize) -> bool {
            let here = self.calls.values().filter(|(of, _)| *of == plugin);
            self.calls.len() < self.host && here.count() < self.places[plugin]
        }

        fn free(&self) -> Vec<String> {
            let waits = |call: &&String| self.asked.values().any(|(asker, ..)| asker == *call);
            let mut free: Vec<_> = self.calls.keys().cloned().collect();
            free.retain(|call| !waits(&call));
            free
        }

        /// Begins one request that has a place; its name, and the call's.
        fn next(&mut self) -> Option<(String, String)> {
            let waiting = self.asked.iter().filter(|(_, (.., begun))| !begun);
            let mut waiting = waiting.map(|(request, (_, of, _))| (request.clone(), *of));
            let (request, of) = waiting.find(|(_, of)| self.has_room(*of))?;
            let call = format!("{of}/answers {request}");
            self.calls.insert(call.clone(), (of, Some(request.clone())));
            self.asked.get_mut(&request)?.2 = true;
            Some((request, call))
        }

        /// Has all that can end do so; whether nobody is left.
        fn ends(mut self) -> bool {
            loop {
                let free = self.free();
                for call in &free {
                    if let Some((_, Some(request))) = self.calls.remove(call) {
                        self.asked.remove(&request);
                    }
                }
                if free.is_empty() && self.next().is_none() {
                    return self.asked.is_empty();
                }
            }
        }
    }

    proptest::proptest! {
        /// Whatever calls ask: what is let in is answered in the end, and what is refused would
        /// not have been.
        #[test]
        fn what_is_refused_is_what_would_wait_for_ever(
            steps in proptest::collection::vec((0_u8..3, 0_usize..4, 0_usize..8), 1..40),
            places in proptest::collection::vec(1_usize..4, 4),
            host in 2_u32..9,
        ) {
            let waits = waits(host);
            let mut running = Running {
                places: places.clone(),
                host: host as usize,
                calls: BTreeMap::new(),
                asked: BTreeMap::new(),
            };
            for (number, (step, plugin, which)) in steps.into_iter().enumerate() {
                match step {
                    0 => {
                        if running.has_room(plugin) {
                            let call = format!("{plugin}/{number}");
                            running.calls.insert(call, (plugin, None));
                        }
                    }
                    1 => {
                        if let Some((request, call)) = running.next() {
                            waits.answers(&request, &call);
                        }
                    }
                    _ => {
                        let free = running.free();
                        let Some(asker) = free.get(which % free.len().max(1)) else {
                            continue;
                        };
                        let of = running.calls[asker].0;
                        let wait = Wait {
                            call: asker.clone(),
                            plugin: of.to_string(),
                            places: places[of],
                            asked: plugin.to_string(),
                            answering: None,
                        };
                        let request = number.to_string();
                        let let_in = waits.wait(&request, wait).is_ok();
                        let mut next = running.clone();
                        let asked = (asker.clone(), plugin, false);
                        next.asked.insert(request.clone(), asked.clone());
                        proptest::prop_assert_eq!(next.ends(), let_in);
                        if let_in {
                            running.asked.insert(request, asked);
                        }
                    }
                }
            }
        }
    }
}
