//! Topics that are empty and that nobody has used for a while are forgotten, with the cursors in
//! them: names cost room, and whoever may publish can make up many.

use std::collections::HashSet;

use super::Inner;
use super::state::Core;
use crate::error::BrokerError;

/// Topics of one write.
const TOPICS_MAX: usize = 500;

/// Where the counts of topics that are forgotten are kept; no topic has such a name.
pub(super) const FORGOTTEN: &str = "(forgotten)";

impl Core {
    /// Topics that may be forgotten: nothing lies in them or is about to, everybody is past all
    /// that did, and nothing has entered for so long.
    fn forgettable(&self, now_ms: i64, idle_ms: i64) -> Vec<(String, bool)> {
        let idle = self.topics.values().filter(|topic| {
            let name = topic.topic.as_str();
            topic.messages == 0
                && topic.pending == (0, 0)
                && now_ms.saturating_sub(topic.used_ms) >= idle_ms
                && topic.subscribed.iter().all(|subscription| {
                    let state = self.subscriptions.get(subscription);
                    state.is_none_or(|state| {
                        let window = state.windows.get(name);
                        !state.excepted.contains(name)
                            && window.is_none_or(|window| window.len() == 0)
                    })
                })
        });
        idle.take(TOPICS_MAX)
            .map(|topic| (topic.topic.to_string(), topic.memory.is_some()))
            .collect()
    }

    fn forget(&mut self, topics: &HashSet<String>) {
        for name in topics {
            let memory = self.topics.remove(name).and_then(|topic| topic.memory);
            if let Some(memory) = memory {
                self.forgotten.0 = self.forgotten.0.saturating_add(memory.overflow);
                self.forgotten.1 = self.forgotten.1.saturating_add(memory.unheard);
            }
            self.to_trim.remove(name);
        }
        self.to_shed.retain(|(_, topic)| !topics.contains(topic));
        for state in self.subscriptions.values_mut() {
            for name in topics {
                state.cursors.remove(name);
                state.windows.remove(name);
                state.ready.remove(name);
            }
            state.due.retain(|(_, topic)| !topics.contains(topic));
        }
    }
}

impl Inner {
    /// Forgets topics that are empty and were not used for so long; whether there were any.
    pub(super) async fn forget(&self, idle_ms: i64) -> Result<bool, BrokerError> {
        // Nothing enters any of them meanwhile.
        let _gate = self.gate.write().await;
        let found = self.core().forgettable(self.now(), idle_ms);
        if found.is_empty() {
            return Ok(false);
        }
        let (memory, disk): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, memory)| *memory);
        let mut gone: HashSet<String> = memory.into_iter().map(|(topic, _)| topic).collect();
        let disk: Vec<String> = disk.into_iter().map(|(topic, _)| topic).collect();
        if !disk.is_empty() {
            gone.extend(self.store.bus_forget(disk, FORGOTTEN).await?);
        }
        self.core().forget(&gone);
        Ok(!gone.is_empty())
    }
}
