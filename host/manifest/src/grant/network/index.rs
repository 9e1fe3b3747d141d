//! Rules by their hosts, so that many cost a decision no more than few.

use std::collections::HashMap;

use super::host::HostPattern;
use super::rule::NetworkRule;

/// Values by host pattern.
#[derive(Clone, Debug)]
pub(super) struct HostIndex<T> {
    /// Under the text of a name or an address.
    exact: HashMap<String, T>,
    /// Under the name that they are below.
    below: HashMap<String, T>,
    /// Under every host.
    any: Option<T>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        HostIndex {
            exact: HashMap::new(),
            below: HashMap::new(),
            any: None,
        }
    }
}

impl<T: Default> HostIndex<T> {
    /// What stands under this very pattern.
    pub(super) fn entry(&mut self, host: &HostPattern) -> &mut T {
        match host {
            HostPattern::Any => self.any.get_or_insert_default(),
            HostPattern::Below(name) => self.below.entry(name.clone()).or_default(),
            _ => self.exact.entry(host.to_string()).or_default(),
        }
    }

    /// What stands under the patterns that cover this one: at most one for each of its labels,
    /// and two more.
    pub(super) fn covering(&self, host: &HostPattern) -> impl Iterator<Item = &T> {
        let (exact, below) = match host {
            HostPattern::Name(name) => (self.exact.get(name), parents(name)),
            HostPattern::Below(name) => (self.below.get(name), parents(name)),
            HostPattern::Address(_) => (self.exact.get(&host.to_string()), parents("")),
            HostPattern::Any => (None, parents("")),
        };
        let below = below.filter_map(|name| self.below.get(name));
        exact.into_iter().chain(below).chain(&self.any)
    }
}

/// The names that a name is below.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(name.split_once('.')?.1)).skip(1)
}

/// Rules, to be asked whether a rule overlaps any of them.
pub(in crate::grant) struct Overlaps<'a> {
    by_host: HostIndex<Vec<&'a NetworkRule>>,
    all: Vec<&'a NetworkRule>,
}

impl<'a> Overlaps<'a> {
    pub(in crate::grant) fn new(rules: impl Iterator<Item = &'a NetworkRule>) -> Self {
        let mut by_host = HostIndex::<Vec<&NetworkRule>>::default();
        let all: Vec<_> = rules.collect();
        for rule in &all {
            by_host.entry(&rule.host).push(rule);
        }
        Overlaps { by_host, all }
    }

    /// Whether some request is allowed by this rule and by one of them.
    pub(in crate::grant) fn any(&self, rule: &NetworkRule) -> bool {
        let mut wider = self.by_host.covering(&rule.host).flatten();
        wider.any(|other| other.overlaps(rule))
            // Narrower hosts are found one by one, which only a wide rule has to do.
            || matches!(rule.host, HostPattern::Below(_) | HostPattern::Any)
                && self.all.iter().any(|other| other.overlaps(rule))
    }
}
