//! What two sets of grants have in common.

use std::collections::BTreeMap;

use super::effective::common_topics;
use super::network::{AddressRange, NetworkRule, SocketRule};
use super::{
    ClientGrants, DirectoryGrant, Grants, MessagesGrant, SecretsGrant, StorageGrant, UiGrants,
};
use crate::id::Name;

impl Grants {
    /// What both grant, and never more: of two rules one of which covers the other the narrower,
    /// and nothing of those that only overlap.
    pub fn common(&self, other: &Grants) -> Grants {
        let directories = self.directories.iter().filter_map(|grant| {
            let same =
                |other: &&DirectoryGrant| other.path == grant.path && other.from == grant.from;
            let other = other.directories.iter().find(same)?;
            Some(DirectoryGrant {
                write: grant.write && other.write,
                hard_links: grant.hard_links && other.hard_links,
                ..grant.clone()
            })
        });
        let storage = self.storage.as_ref().zip(other.storage.as_ref());
        let storage = storage.map(|(grant, other)| StorageGrant {
            kv: grant.kv.min(other.kv),
        });
        let invoke = self.invoke.iter();
        let invoke = invoke.filter(|tool| other.invoke.contains(tool));
        Grants {
            network: narrower(&self.network, &other.network, NetworkRule::covers),
            credentials: same(&self.credentials, &other.credentials),
            sockets: narrower(&self.sockets, &other.sockets, SocketRule::covers),
            addresses: narrower(&self.addresses, &other.addresses, AddressRange::covers),
            directories: directories.collect(),
            storage,
            ui: UiGrants {
                notify: self.ui.notify && other.ui.notify,
                ask: self.ui.ask && other.ui.ask,
                progress: self.ui.progress && other.ui.progress,
                panels: self.ui.panels && other.ui.panels,
            },
            messages: MessagesGrant {
                publish: common_topics(&self.messages.publish, &other.messages.publish),
                subscribe: common_topics(&self.messages.subscribe, &other.messages.subscribe),
                request: common_topics(&self.messages.request, &other.messages.request),
            },
            secrets: SecretsGrant {
                inject: same(&self.secrets.inject, &other.secrets.inject),
                reveal: same(&self.secrets.reveal, &other.secrets.reveal),
            },
            invoke: invoke.cloned().collect(),
            schedules: same(&self.schedules, &other.schedules),
            client: ClientGrants {
                sampling: self.client.sampling && other.client.sampling,
                roots: self.client.roots && other.client.roots,
                log: self.client.log && other.client.log,
            },
        }
    }
}

/// The rules of either that some rule of the other covers.
fn narrower<R: Clone + PartialEq>(a: &[R], b: &[R], covers: fn(&R, &R) -> bool) -> Vec<R> {
    let mut rules: Vec<R> = Vec::new();
    for (some, others) in [(a, b), (b, a)] {
        for rule in some {
            if others.iter().any(|wide| covers(wide, rule)) && !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

/// What stands under the same name in both.
fn same<T: Clone + PartialEq>(a: &BTreeMap<Name, T>, b: &BTreeMap<Name, T>) -> BTreeMap<Name, T> {
    let same = a.iter().filter(|(name, what)| b.get(*name) == Some(what));
    same.map(|(name, what)| (name.clone(), what.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> Grants {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_both_grant_and_never_more() {
        let wide = grants(
            r#"
            network = ["GET,POST https://a.example.com/**", "GET https://b.example.com/x/**"]
            credentials = { one = "vault:one", two = "vault:two" }
            sockets = ["tcp db.example.com:5432", "tcp other.example.com:1"]
            addresses = ["10.0.0.0/8"]
            directories = [
                { path = "/notes", from = "notes", write = true, hard-links = true },
                { path = "/other", from = "other" },
                { path = "/moved", from = "here" },
            ]
            storage = { kv = "5 MiB" }
            ui = { notify = true, ask = true, panels = true }
            messages = { publish = ["a.*"], subscribe = ["b.>"], request = ["c"] }
            secrets = { inject = { t = "vault:t" }, reveal = { k = "vault:k" } }
            invoke = ["markdown/*", "other/x"]
            client = { sampling = true, roots = true }
            "#,
        );
        let narrow = grants(
            r#"
            network = ["GET https://a.example.com/y/**", "GET,POST https://b.example.com/x/z", "GET https://c.example.com/"]
            credentials = { one = "vault:one", two = "vault:other" }
            sockets = ["tcp *.example.com:5432"]
            addresses = ["10.1.0.0/16", "192.168.0.0/16"]
            directories = [
                { path = "/notes", from = "notes", hard-links = true },
                { path = "/moved", from = "there" },
            ]
            storage = { kv = "1 MiB" }
            ui = { notify = true, progress = true }
            messages = { publish = ["a.x", "b.x"], subscribe = ["b.*"], request = ["d"] }
            secrets = { inject = { t = "vault:t" }, reveal = { k = "vault:other" } }
            invoke = ["markdown/*"]
            client = { sampling = true, log = true }
            "#,
        );
        let both = grants(
            r#"
            network = ["GET https://a.example.com/y/**"]
            credentials = { one = "vault:one" }
            sockets = ["tcp db.example.com:5432"]
            addresses = ["10.1.0.0/16"]
            directories = [{ path = "/notes", from = "notes", hard-links = true }]
            storage = { kv = "1 MiB" }
            ui = { notify = true }
            messages = { publish = ["a.x"], subscribe = ["b.*"] }
            secrets = { inject = { t = "vault:t" } }
            invoke = ["markdown/*"]
            client = { sampling = true }
            "#,
        );
        assert_eq!(wide.common(&narrow), both);
        assert_eq!(narrow.common(&wide), both);
        assert_eq!(wide.common(&wide), wide);
        assert_eq!(wide.common(&Grants::default()), Grants::default());
        assert_eq!(Grants::default().common(&wide), Grants::default());
    }
}
