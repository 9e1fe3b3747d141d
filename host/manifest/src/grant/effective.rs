//! What a plugin may do in the end: what it requests **and** what is granted to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::network::{AddressRange, NetworkPolicy, Overlaps, SocketPolicy, SocketRule};
use super::{Directory, DirectoryRule, Grants, Requests, SecretRef, Topic, TopicPattern};
use crate::feature::Feature;
use crate::id::Name;
use crate::plugin::{Origin, PluginManifest};
use crate::size::ByteSize;

/// What a plugin may do in the end. Nothing, unless it says so here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// Its outbound HTTP.
    pub network: Arc<NetworkPolicy>,
    /// Its TCP and UDP.
    pub sockets: Arc<SocketPolicy>,
    /// The special ranges of addresses that it may reach.
    pub addresses: Arc<[AddressRange]>,
    /// The secrets that the host adds to its requests, by the plugin's own names.
    pub credentials: BTreeMap<Name, SecretRef>,
    /// The directories that it may use.
    pub directories: Arc<[Directory]>,
    /// How many bytes it may keep in its key-value store; none where it may keep nothing.
    pub kv: Option<ByteSize>,
    /// It may tell people things.
    pub notify: bool,
    /// It may ask people to fill in forms.
    pub ask: bool,
    /// It may report how far a call has come.
    pub progress: bool,
    /// It may ask the client's model.
    pub sampling: bool,
    /// It may list the client's roots.
    pub roots: bool,
    /// It may write to the client's log.
    pub log: bool,
    /// Clients may be shown its panels.
    pub panels: bool,
    /// The topics that it may publish to, receive, and ask on.
    pub messages: Arc<Messages>,
    /// The secrets that the host puts into its requests, by the plugin's own names.
    pub inject: BTreeMap<Name, SecretRef>,
    /// The secrets that it may read, by its own names.
    pub reveal: BTreeMap<Name, SecretRef>,
}

/// What a plugin may do with messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// The topics that it may publish to.
    pub publish: Vec<TopicPattern>,
    /// The topics that it receives.
    pub subscribe: Vec<TopicPattern>,
    /// The topics on which it may ask.
    pub request: Vec<TopicPattern>,
}

impl Messages {
    /// Whether it may publish to a topic.
    pub fn may_publish(&self, topic: &Topic) -> bool {
        self.publish.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether it may ask on a topic.
    pub fn may_request(&self, topic: &Topic) -> bool {
        self.request.iter().any(|pattern| pattern.matches(topic))
    }
}

/// Something that is granted but not requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The capability.
    pub feature: Feature,
    /// What of it, where the rest of it is requested.
    pub what: Option<ExcessItem>,
}

/// One thing of a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExcessItem {
    /// What is granted under a name.
    Name(Name),
    /// A rule, and its place in the list, from 0.
    Rule(usize, String),
}

impl Grants {
    /// What the plugin may do: what its manifest requests and these grants allow.
    ///
    /// An inferred manifest is nobody's request; there the grants alone count.
    ///
    /// # Errors
    /// What is granted but not requested: the operator took the plugin for something that it
    /// is not.
    pub fn effective(&self, plugin: &PluginManifest) -> Result<Effective, Vec<Excess>> {
        if let Some(asked) = asked_by(plugin) {
            let excess = self.beyond(asked);
            if !excess.is_empty() {
                return Err(excess);
            }
        }
        Ok(self.as_asked(plugin))
    }

    /// The same where it is no mistake that something is granted and not requested.
    pub fn as_asked(&self, plugin: &PluginManifest) -> Effective {
        let asked = asked_by(plugin);
        let network = asked.map(|asked| {
            let requests = asked.network.iter();
            requests
                .map(|request| (request.allow.clone(), request.credential.clone()))
                .collect()
        });
        let sockets = asked.map(|asked| {
            let requests = asked.sockets.iter();
            requests.map(|request| request.allow.clone()).collect()
        });
        let addresses = match asked {
            None => self.addresses.clone(),
            Some(asked) => common(asked, &self.addresses),
        };
        Effective {
            network: Arc::new(NetworkPolicy::new(network, &self.network)),
            sockets: Arc::new(SocketPolicy::new(sockets, self.sockets.clone())),
            addresses: addresses.into(),
            credentials: self.credentials.clone(),
            directories: self.directories(asked),
            kv: self.kv(asked),
            notify: self.ui.notify,
            ask: self.ui.ask,
            progress: self.ui.progress,
            sampling: self.client.sampling,
            roots: self.client.roots,
            log: self.client.log,
            panels: self.ui.panels,
            messages: Arc::new(self.messages(asked)),
            inject: self.secrets.inject.clone(),
            reveal: self.secrets.reveal.clone(),
        }
    }

    /// The directories: each as far as it is both asked for and granted.
    fn directories(&self, asked: Option<&Requests>) -> Arc<[Directory]> {
        let granted = self.directories.iter().filter_map(|grant| {
            let rule = match asked {
                None => grant.rule(),
                Some(asked) => {
                    let mut requests = asked.directories.iter();
                    let request = requests.find(|request| request.path == grant.path)?;
                    DirectoryRule {
                        path: grant.path.clone(),
                        write: grant.write && request.write,
                        hard_links: grant.hard_links && request.hard_links,
                    }
                }
            };
            Some(Directory {
                rule,
                from: grant.from.clone(),
            })
        });
        granted.collect()
    }

    /// The topics that are both asked for and granted.
    fn messages(&self, asked: Option<&Requests>) -> Messages {
        let granted = &self.messages;
        let Some(asked) = asked.map(|asked| &asked.messages) else {
            return Messages {
                publish: granted.publish.clone(),
                subscribe: granted.subscribe.clone(),
                request: granted.request.clone(),
            };
        };
        Messages {
            publish: common_topics(&asked.publish, &granted.publish),
            subscribe: common_topics(&asked.subscribe, &granted.subscribe),
            request: common_topics(&asked.request, &granted.request),
        }
    }

    /// What may be kept: what is asked for or what is granted, whichever is less.
    fn kv(&self, asked: Option<&Requests>) -> Option<ByteSize> {
        let granted = self.storage.as_ref()?.kv;
        match asked {
            None => Some(granted),
            Some(asked) => Some(granted.min(asked.storage.as_ref()?.kv)),
        }
    }

    /// What is granted here but not asked for at all.
    fn beyond(&self, asked: &Requests) -> Vec<Excess> {
        let features = asked.features();
        let (present, missing): (Vec<Feature>, Vec<Feature>) = self
            .features()
            .into_iter()
            .partition(|feature| features.contains(feature));
        let mut excess: Vec<Excess> = missing
            .into_iter()
            .map(|feature| Excess {
                feature,
                what: None,
            })
            .collect();
        for feature in present {
            let items = match feature {
                Feature::Network => {
                    let requests = asked.network.iter().map(|request| &request.allow);
                    let requests = Overlaps::new(requests);
                    rules_beyond(&self.network, |rule| requests.any(rule))
                }
                Feature::Sockets => rules_beyond(&self.sockets, |rule: &SocketRule| {
                    asked
                        .sockets
                        .iter()
                        .any(|request| request.allow.overlaps(rule))
                }),
                Feature::Addresses => rules_beyond(&self.addresses, |range: &AddressRange| {
                    let mut requests = asked.addresses.iter();
                    requests.any(|request| request.allow.common(range).is_some())
                }),
                Feature::Directories => {
                    let granted: Vec<_> = self.directories.iter().map(|it| &it.path).collect();
                    rules_beyond(&granted, |path| {
                        let mut requests = asked.directories.iter();
                        requests.any(|request| request.path == **path)
                    })
                }
                Feature::Credentials => {
                    let uses = asked.network.iter().flat_map(|request| &request.credential);
                    names_beyond(&self.credentials, uses.map(|used| &used.name).collect())
                }
                Feature::SecretsInject => {
                    names_beyond(&self.secrets.inject, asked.secrets.inject.iter().collect())
                }
                Feature::SecretsReveal => {
                    names_beyond(&self.secrets.reveal, asked.secrets.reveal.iter().collect())
                }
                Feature::MessagesPublish => {
                    topics_beyond(&self.messages.publish, &asked.messages.publish)
                }
                Feature::MessagesSubscribe => {
                    topics_beyond(&self.messages.subscribe, &asked.messages.subscribe)
                }
                Feature::MessagesRequest => {
                    topics_beyond(&self.messages.request, &asked.messages.request)
                }
                _ => continue,
            };
            excess.extend(items.into_iter().map(|item| Excess {
                feature,
                what: Some(item),
            }));
        }
        excess
    }
}

/// What a plugin asks for; none where its manifest is inferred.
fn asked_by(plugin: &PluginManifest) -> Option<&Requests> {
    (plugin.origin == Origin::Declared).then_some(&plugin.requests)
}

/// The ranges that are both asked for and granted.
fn common(asked: &Requests, granted: &[AddressRange]) -> Vec<AddressRange> {
    let mut ranges: Vec<AddressRange> = Vec::new();
    for grant in granted {
        for request in &asked.addresses {
            match request.allow.common(grant) {
                Some(range) if !ranges.contains(&range) => ranges.push(range),
                _ => {}
            }
        }
    }
    ranges
}

pub(super) fn common_topics(asked: &[TopicPattern], granted: &[TopicPattern]) -> Vec<TopicPattern> {
    let mut topics: Vec<TopicPattern> = Vec::new();
    for grant in granted {
        for common in asked.iter().filter_map(|request| request.common(grant)) {
            if !topics.contains(&common) {
                topics.push(common);
            }
        }
    }
    topics
}

fn topics_beyond(granted: &[TopicPattern], asked: &[TopicPattern]) -> Vec<ExcessItem> {
    rules_beyond(granted, |pattern: &TopicPattern| {
        asked
            .iter()
            .any(|request| request.common(pattern).is_some())
    })
}

/// The rules of which nothing is asked for.
fn rules_beyond<R: std::fmt::Display>(
    granted: &[R],
    is_asked: impl Fn(&R) -> bool,
) -> Vec<ExcessItem> {
    let beyond = granted
        .iter()
        .enumerate()
        .filter(|(_, rule)| !is_asked(rule));
    beyond
        .map(|(place, rule)| ExcessItem::Rule(place, rule.to_string()))
        .collect()
}

/// The names of which nothing is asked for.
fn names_beyond(granted: &BTreeMap<Name, SecretRef>, asked: BTreeSet<&Name>) -> Vec<ExcessItem> {
    let beyond = granted.keys().filter(|name| !asked.contains(name));
    beyond.cloned().map(ExcessItem::Name).collect()
}
