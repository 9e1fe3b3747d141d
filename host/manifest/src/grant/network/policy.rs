//! What one plugin may reach: what it asks for **and** its operator granted.

use std::collections::HashMap;

use url::Host;

use super::credential::CredentialUse;
use super::host::HostPattern;
use super::index::HostIndex;
use super::rule::NetworkRule;
use super::socket::{SocketProtocol, SocketRule};
use super::target::Target;

/// What is decided of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be sent.
    Allowed {
        /// What the host adds to it.
        credential: Option<CredentialUse>,
    },
    /// The plugin's manifest doesn't ask for it.
    NotRequested,
    /// It is asked for, but not granted.
    NotGranted,
}

/// The outbound HTTP of one plugin.
#[derive(Clone, Debug, Default)]
pub struct NetworkPolicy {
    /// None where the manifest is inferred: nobody's request.
    requests: Option<RuleSet>,
    grants: RuleSet,
}

impl PartialEq for NetworkPolicy {
    fn eq(&self, other: &Self) -> bool {
        let rules = |policy: &Self| policy.requests.as_ref().map(|set| set.rules.clone());
        self.grants.rules == other.grants.rules && rules(self) == rules(other)
    }
}

impl Eq for NetworkPolicy {}

impl NetworkPolicy {
    /// What is requested, each rule with the credential that it wants added, **and** granted;
    /// without requests what is granted.
    pub fn new(
        requests: Option<Vec<(NetworkRule, Option<CredentialUse>)>>,
        grants: &[NetworkRule],
    ) -> NetworkPolicy {
        let grants = grants.iter().map(|rule| (rule.clone(), None)).collect();
        NetworkPolicy {
            requests: requests.map(RuleSet::new),
            grants: RuleSet::new(grants),
        }
    }

    /// Decides whether a request may be sent, and with which credential: that of the first
    /// requested rule, in the manifest's order, that matches and has one.
    pub fn decide(&self, target: &Target) -> Decision {
        let requested = self.requests.as_ref().map(|set| set.find(target));
        match requested {
            Some(None) => Decision::NotRequested,
            _ if self.grants.find(target).is_none() => Decision::NotGranted,
            None => Decision::Allowed { credential: None },
            Some(Some(found)) => Decision::Allowed {
                credential: found.credential.cloned(),
            },
        }
    }

    /// Whether a granted rule that allows a request names its very host: `*` and `*.example.com`
    /// name none.
    pub fn names(&self, target: &Target) -> bool {
        let exact = target.exact();
        let named = |rule: &NetworkRule| {
            matches!(rule.host, HostPattern::Name(_) | HostPattern::Address(_))
        };
        let mut rules = self.grants.rules.iter().map(|(rule, _)| rule);
        rules.any(|rule| named(rule) && rule.covers(exact))
    }

    /// Whether nothing may be sent at all, whatever is asked for.
    pub fn is_empty(&self) -> bool {
        self.grants.rules.is_empty()
            || self
                .requests
                .as_ref()
                .is_some_and(|set| set.rules.is_empty())
    }
}

/// A rule with the credential that goes with it.
type Rule = (NetworkRule, Option<CredentialUse>);

/// Rules, found by host and by the front of the path.
#[derive(Clone, Debug, Default)]
struct RuleSet {
    rules: Vec<Rule>,
    /// For each host the numbers of its rules, by the leading segments of their paths up to
    /// the first with a `*`.
    index: HostIndex<HashMap<String, Vec<usize>>>,
    /// The longest of these fronts, in bytes.
    front_max: usize,
}

/// What rules say of a request.
struct Found<'a> {
    credential: Option<&'a CredentialUse>,
}

impl RuleSet {
    fn new(rules: Vec<Rule>) -> RuleSet {
        let mut index = HostIndex::<HashMap<String, Vec<usize>>>::default();
        let mut front_max = 0;
        for (number, (rule, _)) in rules.iter().enumerate() {
            let front = rule.path.literal_front().to_owned();
            front_max = front_max.max(front.len());
            index
                .entry(&rule.host)
                .entry(front)
                .or_default()
                .push(number);
        }
        RuleSet {
            rules,
            index,
            front_max,
        }
    }

    /// Whether any rule matches, and the credential of the first one that has one.
    fn find(&self, target: &Target) -> Option<Found<'_>> {
        let exact = target.exact();
        let path = target.path();
        let mut matched = false;
        let mut first: Option<(usize, &CredentialUse)> = None;
        for fronts in self.index.covering(&exact.host) {
            // "", "/a", "/a/b", … up to the whole path.
            let ends = path.match_indices('/').map(|(end, _)| end);
            let ends = ends.chain([path.len()]);
            for end in ends.take_while(|end| *end <= self.front_max) {
                let numbers = path.get(..end).and_then(|front| fronts.get(front));
                for number in numbers.into_iter().flatten() {
                    let Some((rule, credential)) = self.rules.get(*number) else {
                        continue;
                    };
                    let earlier = first.is_none_or(|(first, _)| *number < first);
                    let wanted = credential.as_ref().filter(|_| earlier);
                    if matched && wanted.is_none() {
                        continue;
                    }
                    if rule.covers(exact) {
                        matched = true;
                        first = wanted.map(|credential| (*number, credential)).or(first);
                    }
                }
            }
        }
        matched.then_some(Found {
            credential: first.map(|(_, credential)| credential),
        })
    }
}

/// The TCP and UDP of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketPolicy {
    /// None where the manifest is inferred.
    requests: Option<Vec<SocketRule>>,
    grants: Vec<SocketRule>,
}

impl SocketPolicy {
    /// What is requested **and** granted; without requests what is granted.
    pub fn new(requests: Option<Vec<SocketRule>>, grants: Vec<SocketRule>) -> SocketPolicy {
        SocketPolicy { requests, grants }
    }

    /// Whether the plugin may connect there, or be connected to.
    pub fn decide(
        &self,
        protocol: SocketProtocol,
        host: &Host<&str>,
        port: u16,
        listen: bool,
    ) -> bool {
        SocketRule::exact(listen, protocol, host, port).is_some_and(|exact| {
            let allows = |rules: &[SocketRule]| rules.iter().any(|rule| rule.covers(&exact));
            allows(&self.grants) && self.requests.as_deref().is_none_or(allows)
        })
    }

    /// Whether the plugin may look a name up: whether it may connect there at any port.
    pub fn may_resolve(&self, name: &str) -> bool {
        let Some(host) = HostPattern::exact(&Host::Domain(name)) else {
            return false;
        };
        let leads_there = |rule: &&SocketRule| !rule.listen && rule.host.covers(&host);
        let mut grants = self.grants.iter().filter(leads_there);
        match &self.requests {
            None => grants.next().is_some(),
            Some(requests) => {
                let requests: Vec<_> = requests.iter().filter(leads_there).collect();
                grants.any(|grant| requests.iter().any(|request| request.overlaps(grant)))
            }
        }
    }

    /// Whether the plugin may listen anywhere: then whoever comes is let in.
    pub fn may_listen(&self, protocol: SocketProtocol) -> bool {
        let listens = |rule: &SocketRule| rule.listen && rule.protocol == protocol;
        let asked = |grant: &SocketRule| {
            let requests = self.requests.as_deref();
            requests.is_none_or(|requests| requests.iter().any(|rule| rule.overlaps(grant)))
        };
        self.grants.iter().any(|rule| listens(rule) && asked(rule))
    }

    /// Whether nothing may be connected to and nothing listened at.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty() || self.requests.as_ref().is_some_and(Vec::is_empty)
    }
}
