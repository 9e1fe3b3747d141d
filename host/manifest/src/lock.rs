//! `portreeve.lock`: what the operator has agreed to.
//!
//! Written by the host, read by it and by whoever reviews a change: for each plugin which
//! component it was and everything that it asked for. A component that asks for more is not
//! run before the operator has agreed again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::document::{Document, SchemaVersion};
use crate::feature::Feature;
use crate::grant::{AddressRange, CredentialAsked, NetworkRule, RequestItem, Requests, SocketRule};
use crate::id::Alias;
use crate::limits::PLUGINS_MAX;
use crate::size::ByteSize;

/// Its first lines.
const HEAD: &str = "\
# What was agreed to: which component each plugin was, and what it asked for. Written by
# portreeve; a component that asks for more is not run before you agree to that as well.

schema = 1
";

/// A valid `portreeve.lock`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lockfile {
    /// The plugins by alias.
    pub plugins: BTreeMap<Alias, LockedPlugin>,
}

/// One plugin as it was agreed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedPlugin {
    /// Where it comes from.
    pub source: String,
    /// Its version.
    pub version: String,
    /// The digest of its component.
    pub digest: String,
    /// What it asked for, as [`Asked`] writes it.
    pub requests: BTreeSet<String>,
}

/// How requests of two versions differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RequestDiff {
    /// What is asked for beyond what was agreed.
    pub more: Vec<RequestItem>,
    /// What is no longer asked for, as it was written.
    pub less: Vec<String>,
}

impl RequestDiff {
    /// The difference as lines: `+` what is new, `-` what is gone.
    pub fn lines(&self) -> Vec<String> {
        let more = self.more.iter().map(|item| {
            format!(
                "+ {}: may {} [{}: {}]",
                asked(item),
                item.words,
                item.weight,
                item.risk
            )
        });
        let less = self.less.iter().map(|gone| format!("- {gone}"));
        more.chain(less).collect()
    }
}

/// A request as the file writes it.
pub fn asked(item: &RequestItem) -> String {
    if item.what.is_empty() {
        item.feature.to_string()
    } else {
        format!("{} {}", item.feature, item.what)
    }
}

/// All requests as the file writes them.
pub fn requests(requests: &Requests) -> BTreeSet<String> {
    requests.items().iter().map(asked).collect()
}

impl LockedPlugin {
    /// How requests differ from those that were agreed to.
    pub fn differs(&self, requests: &Requests) -> RequestDiff {
        let items = requests.items();
        let now: BTreeSet<String> = items.iter().map(asked).collect();
        let agreed = Agreed::read(&self.requests);
        RequestDiff {
            more: items
                .into_iter()
                .filter(|item| !self.requests.contains(&asked(item)) && !agreed.covers(item))
                .collect(),
            less: self.requests.difference(&now).cloned().collect(),
        }
    }
}

/// What was agreed to of the capabilities where less than agreed is no more.
#[derive(Default)]
struct Agreed {
    network: Vec<NetworkRule>,
    credentials: Vec<CredentialAsked>,
    sockets: Vec<SocketRule>,
    addresses: Vec<AddressRange>,
    storage: Option<ByteSize>,
}

impl Agreed {
    /// Reads the lines of the file; what can't be read was not agreed to.
    fn read(lines: &BTreeSet<String>) -> Agreed {
        let mut agreed = Agreed::default();
        for (feature, what) in lines.iter().filter_map(|line| line.split_once(' ')) {
            match feature {
                "network" => agreed.network.extend(what.parse::<NetworkRule>()),
                "credentials" => agreed.credentials.extend(what.parse::<CredentialAsked>()),
                "sockets" => agreed.sockets.extend(what.parse::<SocketRule>()),
                "addresses" => agreed.addresses.extend(what.parse::<AddressRange>()),
                "storage.kv" => agreed.storage = agreed.storage.max(what.parse().ok()),
                _ => {}
            }
        }
        agreed
    }

    /// Whether a request is for no more than was agreed to.
    fn covers(&self, item: &RequestItem) -> bool {
        match item.feature {
            Feature::Network => {
                let rule = item.what.parse::<NetworkRule>();
                rule.is_ok_and(|rule| rule.is_covered_by(&self.network))
            }
            Feature::Credentials => {
                let asked = item.what.parse::<CredentialAsked>();
                asked.is_ok_and(|asked| self.credentials.iter().any(|wide| wide.covers(&asked)))
            }
            Feature::Sockets => {
                let rule = item.what.parse::<SocketRule>();
                rule.is_ok_and(|rule| self.sockets.iter().any(|wide| wide.covers(&rule)))
            }
            Feature::Addresses => {
                let range = item.what.parse::<AddressRange>();
                range.is_ok_and(|range| self.addresses.iter().any(|wide| wide.covers(&range)))
            }
            Feature::StorageKv => {
                let size = item.what.parse::<ByteSize>();
                size.is_ok_and(|size| self.storage.is_some_and(|agreed| size <= agreed))
            }
            _ => false,
        }
    }
}

/// The grammar of `portreeve.lock`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLock {
    #[serde(rename = "schema")]
    _schema: SchemaVersion,
    #[serde(default)]
    plugins: BTreeMap<Alias, LockedPlugin>,
}

impl Lockfile {
    /// Reads a `portreeve.lock`. `file` is the name that diagnostics show.
    ///
    /// # Errors
    /// Every mistake in the text, with its place.
    pub fn parse(file: &str, text: &str) -> Result<Lockfile, Diagnostics> {
        let source = Source::new(file, text);
        let mut document = Document::parse(&source)?;
        let mut errors = Vec::new();
        let raw: Option<RawLock> = document.read(&mut errors);
        let Some(raw) = raw.filter(|_| errors.is_empty()) else {
            return Err(document.refuse(errors));
        };
        if raw.plugins.len() > usize::try_from(PLUGINS_MAX).unwrap_or(usize::MAX) {
            errors.push(Diagnostic::new(
                format!("the file lists more than {PLUGINS_MAX} plugins"),
                None,
            ));
            return Err(document.refuse(errors));
        }
        Ok(Lockfile {
            plugins: raw.plugins,
        })
    }

    /// The text of the file: the same for the same content.
    pub fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        let quoted = |value: &str| toml::Value::String(value.to_owned()).to_string();
        for (alias, plugin) in &self.plugins {
            // Writing to a string can't fail.
            let _ = write!(
                text,
                "\n[plugins.{alias}]\nsource = {}\nversion = {}\ndigest = {}\n",
                quoted(&plugin.source),
                quoted(&plugin.version),
                quoted(&plugin.digest),
            );
            if plugin.requests.is_empty() {
                text.push_str("requests = []\n");
                continue;
            }
            text.push_str("requests = [\n");
            for request in &plugin.requests {
                let _ = writeln!(text, "    {},", quoted(request));
            }
            text.push_str("]\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    fn read(requests: &str) -> Requests {
        toml::from_str(requests).unwrap()
    }

    fn locked(requests: &Requests) -> LockedPlugin {
        LockedPlugin {
            source: "../a".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "sha256:00".to_owned(),
            requests: super::requests(requests),
        }
    }

    #[test]
    fn it_reads_as_it_is_written() {
        let requests = read(
            "ui = { progress = 'x' }\nstorage = { kv = '1 MiB' }\nsecrets = { reveal = ['key'] }",
        );
        let mut lock = Lockfile::default();
        lock.plugins.insert("a".parse().unwrap(), locked(&requests));
        lock.plugins
            .insert("b".parse().unwrap(), locked(&Requests::default()));
        let text = lock.to_text();
        expect![[r##"
            # What was agreed to: which component each plugin was, and what it asked for. Written by
            # portreeve; a component that asks for more is not run before you agree to that as well.

            schema = 1

            [plugins.a]
            source = "../a"
            version = "1.0.0"
            digest = "sha256:00"
            requests = [
                "secrets.reveal key",
                "storage.kv 1 MiB",
                "ui.progress",
            ]

            [plugins.b]
            source = "../a"
            version = "1.0.0"
            digest = "sha256:00"
            requests = []
        "##]]
        .assert_eq(&text);
        assert_eq!(Lockfile::parse("portreeve.lock", &text).unwrap(), lock);
        let unknown = text.replace("digest", "digset");
        assert!(Lockfile::parse("portreeve.lock", &unknown).is_err());
    }

    #[test]
    fn only_what_is_new_is_more() {
        let agreed = locked(&read(
            "storage = { kv = '2 MiB' }\nui = { progress = 'x', notify = 'y' }",
        ));
        let same = agreed.differs(&read("storage = { kv = '1 MiB' }\nui = { progress = 'z' }"));
        assert!(same.more.is_empty(), "{same:?}");
        assert_eq!(same.less, ["storage.kv 2 MiB", "ui.notify"]);
        let more = agreed.differs(&read(
            "storage = { kv = '3 MiB' }\nui = { progress = 'z' }\nsecrets = { reveal = ['key'], reason = 'sign' }",
        ));
        expect![[r#"
            + storage.kv 3 MiB: may keep up to 3 MiB of its own between calls [low: what one caller tells it can be kept and shown to another]
            + secrets.reveal key: may read the secret `key` itself [high: once read, it can be passed on wherever the plugin can write to]
            - storage.kv 2 MiB
            - ui.notify
        "#]].assert_eq(&(more.lines().join("\n") + "\n"));
    }

    fn network(rules: &[&str]) -> String {
        let rules = rules.iter().map(|rule| match rule.split_once(" + ") {
            Some((rule, credential)) => {
                format!("[[network]]\nallow = '{rule}'\ncredential = {credential}\nreason = 'r'\n")
            }
            None => format!("[[network]]\nallow = '{rule}'\nreason = 'r'\n"),
        });
        rules.collect()
    }

    #[test]
    fn less_than_was_agreed_to_is_no_more() {
        let agreed = locked(&read(
            &(network(&[
                "GET,HEAD https://*.example.com/**",
                "POST https://api.example.com/**",
                "GET https://key.example.com/** + 'key'",
            ]) + "[[addresses]]\nallow = '10.0.0.0/8'\nreason = 'r'\n[[sockets]]\nallow = 'tcp *.example.com:1-100'\nreason = 'r'\n"),
        ));
        let narrower = agreed.differs(&read(
            &(network(&[
                "GET,POST https://api.example.com/a",
                "GET https://key.example.com/a/** + 'key'",
            ]) + "[[addresses]]\nallow = '10.1.0.0/16'\nreason = 'r'\n[[sockets]]\nallow = 'tcp a.example.com:7'\nreason = 'r'\n"),
        ));
        assert!(narrower.more.is_empty(), "{narrower:?}");
        let wider = agreed.differs(&read(
            &(network(&[
                "GET https://example.com/**",
                "DELETE https://api.example.com/a",
                "GET https://api.example.com/** + 'key'",
                "GET https://key.example.com/** + { name = 'key', query = 'k' }",
            ]) + "[[addresses]]\nallow = '0.0.0.0/0'\nreason = 'r'\n[[sockets]]\nallow = 'listen tcp 0.0.0.0:7'\nreason = 'r'\n"),
        ));
        expect![[r#"
            + network GET https://example.com/**: may send GET to https://example.com/** [medium: what it sees can be sent there, as part of an address]
            + network DELETE https://api.example.com/a: may send DELETE to https://api.example.com/a [medium: what it sees can be sent there, and things there can be changed]
            + credentials key for GET https://api.example.com/**: may have the host add the credential `key` to GET https://api.example.com/** [medium: it acts in the name of whoever the credential belongs to, but can't read it]
            + credentials key in query k for GET https://key.example.com/**: may have the host add the credential `key` as `k` in the address to GET https://key.example.com/** [medium: addresses stand in the logs of servers, and the credential with them]
            + sockets listen tcp 0.0.0.0:7: may accept connections at 0.0.0.0:7 over TCP [high: whoever reaches that address speaks to it]
            + addresses 0.0.0.0/0: may reach the private or special addresses 0.0.0.0/0 [high: the cloud's service there can hand out this machine's own credentials]
            - addresses 10.0.0.0/8
            - credentials key for GET https://key.example.com/**
            - network GET,HEAD https://*.example.com/**
            - network POST https://api.example.com/**
            - sockets tcp *.example.com:1-100
        "#]].assert_eq(&(wider.lines().join("\n") + "\n"));
    }

    proptest! {
        #[test]
        fn any_content_survives(source in "\\PC*", version in ".*", requests in proptest::collection::btree_set(".*", 0..5)) {
            let mut lock = Lockfile::default();
            lock.plugins.insert("a".parse().unwrap(), LockedPlugin {
                source,
                version,
                digest: "d".to_owned(),
                requests,
            });
            prop_assert_eq!(Lockfile::parse("portreeve.lock", &lock.to_text()).unwrap(), lock);
        }
    }
}
