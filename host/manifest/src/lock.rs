//! `portreeve.lock`: what the operator has agreed to.
//!
//! Written by the host, read by it and by whoever reviews a change: for each plugin which
//! component it was and everything that it asked for. A component that asks for more is not
//! run before the operator has agreed again.
//!
//! Every value stands on a line of its own and everything has a fixed order, so that a
//! change reads well as a diff and two changes merge line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Diagnostics, ERRORS_MAX, Source};
use crate::document::{Document, SchemaVersion};
use crate::feature::Feature;
use crate::grant::{
    AddressRange, CredentialAsked, DirectoryRule, NetworkRule, RequestItem, Requests, SocketRule,
};
use crate::id::Alias;
use crate::limits::PLUGINS_MAX;
use crate::size::ByteSize;

/// Its first lines.
const HEAD: &str = "\
# What was agreed to: which component each plugin was, and what it asked for. Written by
# portreeve; a component that asks for more is not run before you agree to that as well.

schema = 2
";

/// The version of the grammar that is written.
const SCHEMA: i64 = 2;
/// The oldest version that is read: it had neither `id`, `resolved`, `sha512`, `license`,
/// `signer` nor `surface`.
const SCHEMA_MIN: i64 = 1;

/// What git puts at the start of a line where it couldn't merge two changes.
const CONFLICT: &str = "<<<<<<<";

/// A valid `portreeve.lock`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lockfile {
    /// The plugins by alias.
    pub plugins: BTreeMap<Alias, LockedPlugin>,
}

/// One plugin as it was agreed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedPlugin {
    /// Where it comes from.
    pub source: String,
    /// What the source stood for, where that can change: the digest of an OCI manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// Its author's name of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its version.
    pub version: String,
    /// The digest of its component.
    pub digest: String,
    /// The SHA-512 digest of its component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
    /// Its licence, an SPDX expression; none where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Who signed it, in one line; none where nobody did whom the operator trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The digest of its surface: its tools, imports and exports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surface: Option<String>,
    /// What it asked for, as [`Asked`] writes it.
    pub requests: BTreeSet<String>,
    /// The digests of its tools, by its own names: descriptions and schemas as models see them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, String>,
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
        differ(&self.requests, requests)
    }
}

/// How requests differ from those that were agreed to, as the file writes them.
pub fn differ(lines: &BTreeSet<String>, requests: &Requests) -> RequestDiff {
    let items = requests.items();
    let now: BTreeSet<String> = items.iter().map(asked).collect();
    let agreed = Agreed::read(lines);
    RequestDiff {
        more: items
            .into_iter()
            .filter(|item| !lines.contains(&asked(item)) && !agreed.covers(item))
            .collect(),
        less: lines.difference(&now).cloned().collect(),
    }
}

/// What was agreed to of the capabilities where less than agreed is no more.
#[derive(Default)]
struct Agreed {
    network: Vec<NetworkRule>,
    credentials: Vec<CredentialAsked>,
    sockets: Vec<SocketRule>,
    addresses: Vec<AddressRange>,
    directories: Vec<DirectoryRule>,
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
                "directories" => agreed.directories.extend(what.parse::<DirectoryRule>()),
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
            Feature::Directories => {
                let rule = item.what.parse::<DirectoryRule>();
                rule.is_ok_and(|rule| self.directories.iter().any(|wide| wide.covers(&rule)))
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
    /// Every mistake in the text, with its place; a merge that git left undone; a version of
    /// the grammar that is newer than this host, whose file must be left as it is.
    pub fn parse(file: &str, text: &str) -> Result<Lockfile, Diagnostics> {
        let source = Source::new(file, text);
        let mut document = Document::parse_any_version(&source)
            .map_err(|errors| conflicts(&source).unwrap_or(errors))?;
        check_version(&document)?;
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
        for (alias, plugin) in &self.plugins {
            // Writing to a string can't fail.
            let _ = writeln!(text, "\n[plugins.{alias}]");
            let lines = [
                ("source", Some(&plugin.source)),
                ("resolved", plugin.resolved.as_ref()),
                ("id", plugin.id.as_ref()),
                ("version", Some(&plugin.version)),
                ("digest", Some(&plugin.digest)),
                ("sha512", plugin.sha512.as_ref()),
                ("license", plugin.license.as_ref()),
                ("signer", plugin.signer.as_ref()),
                ("surface", plugin.surface.as_ref()),
            ];
            for (key, value) in lines {
                if let Some(value) = value {
                    let _ = writeln!(text, "{key} = {}", one_line(value));
                }
            }
            if plugin.requests.is_empty() {
                text.push_str("requests = []\n");
            } else {
                text.push_str("requests = [\n");
                for request in &plugin.requests {
                    let _ = writeln!(text, "    {},", one_line(request));
                }
                text.push_str("]\n");
            }
            if !plugin.tools.is_empty() {
                let _ = writeln!(text, "[plugins.{alias}.tools]");
            }
            for (tool, digest) in &plugin.tools {
                let _ = writeln!(text, "{} = {}", one_line(tool), one_line(digest));
            }
        }
        text
    }
}

/// A TOML string that never breaks the line.
fn one_line(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            // Some tools, and people, take these for the end of a line too.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Refuses a file of another version of the grammar than those that are read.
fn check_version(document: &Document<'_>) -> Result<(), Diagnostics> {
    let error = match document.schema_version() {
        Some((_, Some(SCHEMA_MIN..=SCHEMA))) => return Ok(()),
        Some((span, Some(newer))) if newer > SCHEMA => Diagnostic::new(
            format!(
                "a newer version of Portreeve wrote this file (schema version {newer}; this one knows up to {SCHEMA}), so it is left as it is"
            ),
            Some(span),
        )
        .with_help("use that version of Portreeve or a later one for this project"),
        Some((span, _)) => Diagnostic::new("this is no schema version", Some(span))
            .with_help(format!("write `schema = {SCHEMA}`")),
        None => Diagnostic::new("the key `schema` is missing", Some(0..0))
            .with_help(format!("start the file with `schema = {SCHEMA}`")),
    };
    Err(document.refuse(vec![error]))
}

/// The places where git has left both sides of a merge, if there are any. Looked for only
/// in what is no TOML: within a text the same signs would mean nothing.
fn conflicts(source: &Source) -> Option<Diagnostics> {
    let mut start = 0;
    let mut errors = Vec::new();
    for line in source.text().split_inclusive('\n') {
        if line.starts_with(CONFLICT) {
            let shown = line.trim_end();
            errors.push(
                Diagnostic::new(
                    "git could not merge two changes of this file here",
                    Some(start..start + shown.len()),
                )
                .with_help("keep one side whole for each plugin and remove the lines of `<`, `|`, `=` and `>`; what doesn't fit its component is found and told by the next command"),
            );
            if errors.len() == ERRORS_MAX {
                break;
            }
        }
        start += line.len();
    }
    (!errors.is_empty()).then(|| Diagnostics::new(source.clone(), errors))
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
            ..LockedPlugin::default()
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

            schema = 2

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

    #[test]
    fn everything_has_its_line() {
        let mut lock = Lockfile::default();
        let requests = read("ui = { progress = 'x' }");
        lock.plugins.insert(
            "a".parse().unwrap(),
            LockedPlugin {
                source: "oci://registry.example.com/acme/a".to_owned(),
                resolved: Some("sha256:11".to_owned()),
                id: Some("acme-a".to_owned()),
                sha512: Some("sha512:22".to_owned()),
                license: Some("MIT OR Apache-2.0".to_owned()),
                signer: Some("minisign RWQf".to_owned()),
                surface: Some("sha256:33".to_owned()),
                tools: BTreeMap::from([("add".to_owned(), "sha256:44".to_owned())]),
                ..locked(&requests)
            },
        );
        let text = lock.to_text();
        expect![[r##"
            # What was agreed to: which component each plugin was, and what it asked for. Written by
            # portreeve; a component that asks for more is not run before you agree to that as well.

            schema = 2

            [plugins.a]
            source = "oci://registry.example.com/acme/a"
            resolved = "sha256:11"
            id = "acme-a"
            version = "1.0.0"
            digest = "sha256:00"
            sha512 = "sha512:22"
            license = "MIT OR Apache-2.0"
            signer = "minisign RWQf"
            surface = "sha256:33"
            requests = [
                "ui.progress",
            ]
            [plugins.a.tools]
            "add" = "sha256:44"
        "##]]
        .assert_eq(&text);
        assert_eq!(Lockfile::parse("portreeve.lock", &text).unwrap(), lock);
    }

    #[test]
    fn older_files_are_read() {
        let text = "schema = 1\n[plugins.a]\nsource = 's'\nversion = '1.0.0'\ndigest = 'd'\nrequests = ['ui.progress']\n";
        let lock = Lockfile::parse("portreeve.lock", text).unwrap();
        let plugin = lock.plugins.values().next().unwrap();
        assert_eq!((plugin.source.as_str(), &plugin.signer), ("s", &None));
        let again = Lockfile::parse("portreeve.lock", &lock.to_text()).unwrap();
        assert_eq!(again, lock);
    }

    fn refused(text: &str, expected: expect_test::Expect) {
        let errors = Lockfile::parse("portreeve.lock", text).unwrap_err();
        expected.assert_eq(&errors.to_string());
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        refused(
            "schema = 3\nanything = { new = true }\n",
            expect![[r#"
            portreeve.lock:1:10: error: a newer version of Portreeve wrote this file (schema version 3; this one knows up to 2), so it is left as it is
              |
            1 | schema = 3
              |          ^
              = help: use that version of Portreeve or a later one for this project"#]],
        );
        refused(
            "schema = 'two'\n",
            expect![[r#"
            portreeve.lock:1:10: error: this is no schema version
              |
            1 | schema = 'two'
              |          ^^^^^
              = help: write `schema = 2`"#]],
        );
        refused(
            "schema = 0\n",
            expect![[r#"
            portreeve.lock:1:10: error: this is no schema version
              |
            1 | schema = 0
              |          ^
              = help: write `schema = 2`"#]],
        );
        refused(
            "[plugins]\n",
            expect![[r#"
            portreeve.lock:1:1: error: the key `schema` is missing
              |
            1 | [plugins]
              | ^
              = help: start the file with `schema = 2`"#]],
        );
        refused(
            "schema = 2\n[plugins.a]\nsource = 's'\n<<<<<<< HEAD\nversion = '1.0.0'\n=======\nversion = '1.1.0'\n>>>>>>> update\ndigest = 'd'\nrequests = [\n<<<<<<< HEAD\n    'ui.progress',\n=======\n>>>>>>> update\n]\n",
            expect![[r#"
                portreeve.lock:4:1: error: git could not merge two changes of this file here
                  |
                4 | <<<<<<< HEAD
                  | ^^^^^^^^^^^^
                  = help: keep one side whole for each plugin and remove the lines of `<`, `|`, `=` and `>`; what doesn't fit its component is found and told by the next command

                portreeve.lock:11:1: error: git could not merge two changes of this file here
                   |
                11 | <<<<<<< HEAD
                   | ^^^^^^^^^^^^
                   = help: keep one side whole for each plugin and remove the lines of `<`, `|`, `=` and `>`; what doesn't fit its component is found and told by the next command"#]],
        );
        refused(
            "schema = 2\n[plugins.a\n",
            expect![[r#"
            portreeve.lock:2:11: error: this is not TOML: unclosed table, expected `]`
              |
            2 | [plugins.a
              |           ^"#]],
        );
    }

    #[test]
    fn signs_of_a_conflict_within_a_text_are_text() {
        let text = "schema = 2\n[plugins.a]\nsource = \"\"\"\n<<<<<<< HEAD\n\"\"\"\nversion = '1.0.0'\ndigest = 'd'\nrequests = []\n";
        assert!(Lockfile::parse("portreeve.lock", text).is_ok());
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-z:/. -]{0,20}",
            "(\n|\r|<{7}|={7}|\"|'|\\\\|\u{7f}|\u{2028}){0,6}"
        ]
    }

    fn locked_plugin() -> impl Strategy<Value = LockedPlugin> {
        let some = || proptest::option::of(text());
        (
            (text(), some(), some(), text(), text()),
            (some(), some(), some(), some()),
            proptest::collection::btree_set(text(), 0..5),
            proptest::collection::btree_map(text(), text(), 0..3),
        )
            .prop_map(
                |(
                    (source, resolved, id, version, digest),
                    (sha512, license, signer, surface),
                    requests,
                    tools,
                )| {
                    LockedPlugin {
                        source,
                        resolved,
                        id,
                        version,
                        digest,
                        sha512,
                        license,
                        signer,
                        surface,
                        requests,
                        tools,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn any_content_survives(plugins in proptest::collection::btree_map("[a-z][a-z0-9]{0,6}", locked_plugin(), 0..4)) {
            let plugins = plugins.into_iter().map(|(alias, plugin)| (alias.parse().unwrap(), plugin));
            let lock = Lockfile { plugins: plugins.collect() };
            let text = lock.to_text();
            prop_assert_eq!(Lockfile::parse("portreeve.lock", &text).unwrap(), lock.clone());
            // One value, one line.
            let values: usize = lock.plugins.values().map(|plugin| plugin.requests.len()).sum();
            prop_assert_eq!(text.lines().filter(|line| line.starts_with("    ")).count(), values);
            prop_assert_eq!(Lockfile::parse("portreeve.lock", &text).unwrap().to_text(), text);
        }

        #[test]
        fn any_text_is_answered(text in "(schema = [0-9]{1,3}\n)?(\\[plugins\\.a\\]\n)?(.|\n|<{7}){0,60}") {
            let _ = Lockfile::parse("portreeve.lock", &text);
        }
    }
}
