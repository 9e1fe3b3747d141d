//! `portreeve.toml`: what is read, and how every kind of mistake is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::{Expect, expect};
use portreeve_manifest::grant::{Effective, SocketProtocol, Target};
use portreeve_manifest::id::Alias;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::project::{PluginSource, ProjectManifest};
use portreeve_manifest::settings::{
    AlertMetric, AlertRule, AlertScope, AlertSettings, NetworkSettings, OriginBreaker, OriginCare,
    OriginRate, Roots,
};
use portreeve_manifest::size::ByteSize;
use url::Host;

fn parse(text: &str) -> Result<ProjectManifest, String> {
    let text = format!("schema = 1\n{text}");
    ProjectManifest::parse("portreeve.toml", &text).map_err(|errors| errors.to_string())
}

fn check(text: &str, expected: Expect) {
    let shown = match parse(text) {
        Ok(project) => format!("{} plugins", project.plugins.len()),
        Err(errors) => errors,
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_project_is_read() {
    let project = parse(
        r#"
[host]
limits = { concurrent-calls = 8, queue = 10 }
[policy.signatures]
require = "none"
[plugins.issues]
source = "plugins/issues"
version = "^1.4"
config = { owner = "acme", list = [1, 2.5, true] }
grants.ui = { progress = true, notify = false }
grants.network = []
limits = { memory = "128 MiB", timeout = "20s" }
[plugins.other]
source = "other.wasm"
"#,
    )
    .unwrap();
    assert_eq!((project.host.concurrent_calls, project.host.queue), (8, 10));
    let issues = &project.plugins["issues"];
    assert_eq!(issues.source, PluginSource::Local("plugins/issues".into()));
    assert!(
        issues
            .version
            .as_ref()
            .unwrap()
            .matches(&"1.5.0".parse().unwrap())
    );
    assert_eq!(issues.limits.memory, ByteSize::mib(128));
    assert_eq!(issues.limits.timeout, Duration::from_secs(20));
    assert!(issues.grants.ui.progress);
    assert_eq!(
        serde_json::Value::Object(issues.config.clone()),
        serde_json::json!({ "owner": "acme", "list": [1, 2.5, true] })
    );
    assert_eq!(parse("").unwrap().plugins.len(), 0);
}

#[test]
fn signers_are_checked() {
    check(
        "[policy.signatures]\nrequire = 'trusted'\n",
        expect![[r#"
            portreeve.toml:3:11: error: a trusted signature is required, but nobody is listed who could make one
              |
            3 | require = 'trusted'
              |           ^^^^^^^^^
              = help: add `keys` or `identities`; or write `require = "none"`"#]],
    );
    check(
        r#"[policy.signatures]
trust-root = ""
keys = [
    { file = "a.pub", plugins = [] },
    { file = "a.pub", not-after = "2027-02-31", revoked = true },
    { file = " ", plugins = ["A*"] },
    { file = "b.pub", revoked = "" },
]
identities = [
    { identity = "*", issuer = "https://accounts.google.com" },
    { identity = "dev@example.com", issuer = "*" },
    { identity = "dev@example.com" },
    { identity = "a@example.com", issuer = "https://accounts.google.com", plugins = [] },
    { identity = "a@example.com", issuer = "https://accounts.google.com" },
]
"#,
        expect![[r#"
            portreeve.toml:3:14: error: the path is empty; write that of a file, relative to the project
              |
            3 | trust-root = ""
              |              ^^

            portreeve.toml:5:33: error: an empty list lets it sign nothing at all
              |
            5 |     { file = "a.pub", plugins = [] },
              |                                 ^^
              = help: list ids such as "acme-*"; or remove `plugins` to let it sign all of them

            portreeve.toml:6:14: error: the key `a.pub` is listed twice
              |
            6 |     { file = "a.pub", not-after = "2027-02-31", revoked = true },
              |              ^^^^^^^
              = help: put everything that it may sign into one `plugins`

            portreeve.toml:6:35: error: `2027-02-31` is no date; write one such as "2027-12-31"
              |
            6 |     { file = "a.pub", not-after = "2027-02-31", revoked = true },
              |                                   ^^^^^^^^^^^^

            portreeve.toml:6:59: error: expected a string, found `true`
              |
            6 |     { file = "a.pub", not-after = "2027-02-31", revoked = true },
              |                                                           ^^^^

            portreeve.toml:7:14: error: the path is empty; write that of a file, relative to the project
              |
            7 |     { file = " ", plugins = ["A*"] },
              |              ^^^

            portreeve.toml:7:29: error: an empty list lets it sign nothing at all
              |
            7 |     { file = " ", plugins = ["A*"] },
              |                             ^^^^^^
              = help: list ids such as "acme-*"; or remove `plugins` to let it sign all of them

            portreeve.toml:7:30: error: `Ax` is no valid name: it has capital letters; use a-z, 0-9 and single hyphens between them, at most 64 characters, as in "github-issues"
              |
            7 |     { file = " ", plugins = ["A*"] },
              |                              ^^^^

            portreeve.toml:8:33: error: the reason is empty; say why in a sentence
              |
            8 |     { file = "b.pub", revoked = "" },
              |                                 ^^

            portreeve.toml:11:18: error: `*` is no identity of a signer: write a URI such as "https://github.com/acme/charts/.github/workflows/release.yml@refs/heads/main", or an email address
               |
            11 |     { identity = "*", issuer = "https://accounts.google.com" },
               |                  ^^^

            portreeve.toml:12:46: error: `*` is no issuer of identities: write its URL, such as "https://token.actions.githubusercontent.com"
               |
            12 |     { identity = "dev@example.com", issuer = "*" },
               |                                              ^^^

            portreeve.toml:13:5: error: the key `issuer` is missing
               |
            13 |     { identity = "dev@example.com" },
               |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

            portreeve.toml:14:85: error: an empty list lets it sign nothing at all
               |
            14 |     { identity = "a@example.com", issuer = "https://accounts.google.com", plugins = [] },
               |                                                                                     ^^
               = help: list ids such as "acme-*"; or remove `plugins` to let it sign all of them

            portreeve.toml:15:18: error: this identity is listed twice
               |
            15 |     { identity = "a@example.com", issuer = "https://accounts.google.com" },
               |                  ^^^^^^^^^^^^^^^
               = help: put everything that it may sign into one `plugins`"#]],
    );
}

#[test]
fn what_is_not_enforced_is_refused() {
    // The example of the design, all of which is enforced.
    check(
        r#"[policy.licenses]
allow = ["MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "MPL-2.0"]
exceptions = [{ plugin = "charting", allow = ["LGPL-3.0-only"], reason = "approved 2026-10" }]
[policy.signatures]
require = "trusted"               # "none" | "trusted"
keys = [{ file = "keys/acme.pub", plugins = ["acme-*"], not-after = "2027-12-31" }]
[policy.scan]
deny = "high"

[plugins.github-issues]           # an alias: one plugin may be installed twice
source = "oci://registry.example.com/acme/github-issues"
version = "^1.4"
config = { owner = "acme" }
grants.network = ["GET https://api.github.com/repos/acme/**"]
grants.credentials = { github = "vault:github-bot" }
grants.storage = { kv = "5 MiB" }
grants.messages = { publish = ["issues.opened"] }
limits = { memory = "128 MiB", timeout = "20s" }
"#,
        expect!["1 plugins"],
    );
    check(
        "[plugins.a]\nsource = 'a'\ngrants.ui = { notify = true, ask = true, panels = true }\n[plugins.a.grants.schedules]\nnightly = { every = \"1h\" }\n",
        expect![[r#"
            portreeve.toml:5:19: error: not enforced by this version of Portreeve yet: `grants.schedules`; remove it
              |
            5 | [plugins.a.grants.schedules]
              |                   ^^^^^^^^^"#]],
    );
    check(
        "[plugins.a]\nsource = 'https://example.com/a.wasm'\n",
        expect![[r#"
            portreeve.toml:3:10: error: a file on a web server is installed only with its digest
              |
            3 | source = 'https://example.com/a.wasm'
              |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              = help: write it behind the address, as https://…#sha256=…; `portreeve add` says what it is at this moment"#]],
    );
}

#[test]
fn unknown_keys_are_refused_all_at_once() {
    check(
        "[plugin.a]\nsource = 'a'\n[plugins.a]\nsource = 'a'\nsauce = 'b'\ngrant.ui = {}\ngrants.nettwork = []\nlimits = { memroy = '1 MiB' }\n[plugins.b]\nsource = 'b'\ntools = []\n",
        expect![[r#"
            portreeve.toml:2:2: error: unknown key `plugin`
              |
            2 | [plugin.a]
              |  ^^^^^^
              = help: did you mean `plugins`?

            portreeve.toml:6:1: error: unknown key `sauce`
              |
            6 | sauce = 'b'
              | ^^^^^
              = help: did you mean `source`?

            portreeve.toml:7:1: error: unknown key `grant`
              |
            7 | grant.ui = {}
              | ^^^^^
              = help: did you mean `grants`?

            portreeve.toml:8:8: error: unknown key `nettwork`
              |
            8 | grants.nettwork = []
              |        ^^^^^^^^
              = help: did you mean `network`?

            portreeve.toml:9:12: error: unknown key `memroy`
              |
            9 | limits = { memroy = '1 MiB' }
              |            ^^^^^^
              = help: did you mean `memory`?

            portreeve.toml:12:1: error: unknown key `tools`
               |
            12 | tools = []
               | ^^^^^
               = help: the keys here are `source`, `version`, `prefix`, `config`, `grants`, `limits`, `expose`"#]],
    );
}

#[test]
fn values_are_checked_all_at_once() {
    check(
        "[host]\nlimits = { concurrent-calls = 0, queue = -1 }\n[plugins.a]\nsource = 7\n[plugins.b]\nversion = '1.x.y'\nsource = 'b'\nlimits = { memory = '64 Mb', timeout = '20', stack = '1 TiB', fuel = 'much' }\n[plugins.c]\nsource = ''\nlimits = { memory = '5 GiB', timeout = '0s', stack = '65 KiB' }\n",
        expect![[r#"
            portreeve.toml:3:31: error: `concurrent-calls` is 0, but must be between 1 and 10,000
              |
            3 | limits = { concurrent-calls = 0, queue = -1 }
              |                               ^

            portreeve.toml:3:42: error: expected a whole number from 0 to 4294967295, found `-1`
              |
            3 | limits = { concurrent-calls = 0, queue = -1 }
              |                                          ^^

            portreeve.toml:5:10: error: expected a string, found `7`
              |
            5 | source = 7
              |          ^

            portreeve.toml:7:11: error: `1.x.y` names no versions: unexpected character after wildcard in version req; write it as Cargo does, as in "^1.4" or ">=1.2, <3"
              |
            7 | version = '1.x.y'
              |           ^^^^^^^

            portreeve.toml:9:21: error: `Mb` is no unit of size; use B, KiB, MiB, GiB, TiB (or KB, MB, GB, TB)
              |
            9 | limits = { memory = '64 Mb', timeout = '20', stack = '1 TiB', fuel = 'much' }
              |                     ^^^^^^^

            portreeve.toml:9:40: error: `20` needs units of time after its numbers: d, h, m, s, ms, us or ns, as in "20s"
              |
            9 | limits = { memory = '64 Mb', timeout = '20', stack = '1 TiB', fuel = 'much' }
              |                                        ^^^^

            portreeve.toml:9:54: error: `stack` is 1 TiB, but must be between 64 KiB and 4 MiB
              |
            9 | limits = { memory = '64 Mb', timeout = '20', stack = '1 TiB', fuel = 'much' }
              |                                                      ^^^^^^^

            portreeve.toml:9:70: error: expected a whole number that is not negative, found string "much"
              |
            9 | limits = { memory = '64 Mb', timeout = '20', stack = '1 TiB', fuel = 'much' }
              |                                                                      ^^^^^^

            portreeve.toml:11:10: error: the source is empty; write the path of a component
               |
            11 | source = ''
               |          ^^

            portreeve.toml:12:21: error: `memory` is 5 GiB, but must be between 64 KiB and 4 GiB
               |
            12 | limits = { memory = '5 GiB', timeout = '0s', stack = '65 KiB' }
               |                     ^^^^^^^

            portreeve.toml:12:40: error: `timeout` is 0s, but must be between 1ms and 1d
               |
            12 | limits = { memory = '5 GiB', timeout = '0s', stack = '65 KiB' }
               |                                        ^^^^

            portreeve.toml:12:54: error: `stack` is 65 KiB, but must be a power of two, such as 256 KiB or 1 MiB
               |
            12 | limits = { memory = '5 GiB', timeout = '0s', stack = '65 KiB' }
               |                                                      ^^^^^^^^"#]],
    );
    check(
        "[plugins.Bad_Name]\nsource = 'a'\n[plugins.\"\\u001b[2J\"]\nsource = 'a'\n",
        expect![[r#"
        portreeve.toml:2:10: error: `Bad_Name` is no valid name: it has other characters; use a-z, 0-9 and single hyphens between them, at most 64 characters, as in "github-issues"
          |
        2 | [plugins.Bad_Name]
          |          ^^^^^^^^

        portreeve.toml:4:10: error: `\u{1b}[2J` is no valid name: it has other characters; use a-z, 0-9 and single hyphens between them, at most 64 characters, as in "github-issues"
          |
        4 | [plugins."\u001b[2J"]
          |          ^^^^^^^^^^^"#]],
    );
    check(
        "host = [[1, 2]]\n[plugins.a]\nsource = 'a'\ngrants.ui = [true, true, true]\nlimits = 3\n",
        expect![[r#"
            portreeve.toml:2:8: error: expected a table, found an array
              |
            2 | host = [[1, 2]]
              |        ^^^^^^^^

            portreeve.toml:5:13: error: expected a table, found an array
              |
            5 | grants.ui = [true, true, true]
              |             ^^^^^^^^^^^^^^^^^^

            portreeve.toml:6:10: error: expected a table, found a number
              |
            6 | limits = 3
              |          ^"#]],
    );
    check(
        "[plugins.a]\nversion = '^1'\n",
        expect![[r#"
        portreeve.toml:2:1: error: the key `source` is missing
          |
        2 | [plugins.a]
          | ^^^^^^^^^^^"#]],
    );
    check(
        "[plugins.a]\nsource = 'git://x'\n",
        expect![[r#"
            portreeve.toml:3:10: error: `git://` is no kind of source; write the path of a component, https://… or oci://…
              |
            3 | source = 'git://x'
              |          ^^^^^^^^^"#]],
    );
    check(
        "[plugins.a]\nsource = 'a'\nconfig = { when = 2026-01-01 }\n",
        expect![[r#"
        portreeve.toml:4:19: error: dates and times of TOML are not used here; write a string
          |
        4 | config = { when = 2026-01-01 }
          |                   ^^^^^^^^^^"#]],
    );
    check(
        "[plugins.a]\nsource = 'a'\nconfig = { x = inf }\n",
        expect![[r#"
        portreeve.toml:4:16: error: `nan` and `inf` have no form in JSON; leave the key out or write a string
          |
        4 | config = { x = inf }
          |                ^^^"#]],
    );
    check(
        "[plugins.a]\nsource = 'a'\ngrants.credentials = { github = 'hunter2' }\n",
        expect![[r#"
        portreeve.toml:4:33: error: this is no reference to a secret; write "vault:NAME", never the secret itself
          |
        4 | grants.credentials = { github = 'hunter2' }
          |                                 ^^^^^^^^^"#]],
    );
    check(
        "[plugins.a]\nsource = 'a'\ngrants.ui = ['progress']\n",
        expect![[r#"
        portreeve.toml:4:13: error: expected a table, found an array
          |
        4 | grants.ui = ['progress']
          |             ^^^^^^^^^^^^"#]],
    );
    check(
        "[plugins.a]\nsource = 'a'\ngrants.schedules = { n = { every = '1h', reason = 'r' } }\n",
        expect![[r#"
        portreeve.toml:4:26: error: a grant has no `reason`; write a comment
          |
        4 | grants.schedules = { n = { every = '1h', reason = 'r' } }
          |                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    check(
        "[policy.licenses]\nallow = ['MITT']\n[policy.scan]\ndeny = 'awful'\nmin-score = 101\n[policy.signatures]\nkeys = [{ file = 'k', not-after = 'soon' }]\n",
        expect![[r#"
            portreeve.toml:3:10: error: `MITT` is no SPDX licence expression: unknown term; write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)
              |
            3 | allow = ['MITT']
              |          ^^^^^^

            portreeve.toml:5:8: error: `awful` is none of the choices
              |
            5 | deny = 'awful'
              |        ^^^^^^^
              = help: write one of `info`, `low`, `medium`, `high`, `critical`

            portreeve.toml:6:13: error: 101 is more than the best score: `min-score` is 0 to 100
              |
            6 | min-score = 101
              |             ^^^

            portreeve.toml:8:35: error: `soon` is no date; write one such as "2027-12-31"
              |
            8 | keys = [{ file = 'k', not-after = 'soon' }]
              |                                   ^^^^^^"#]],
    );
    check(
        "[plugins.a]\nsource = 'a'\n[plugins.a]\nsource = 'b'\n",
        expect![[r#"
        portreeve.toml:4:10: error: this is not TOML: duplicate key
          |
        4 | [plugins.a]
          |          ^
          = help: each key and table may stand once; merge them

        portreeve.toml:5:1: error: this is not TOML: duplicate key
          |
        5 | source = 'b'
          | ^^^^^^
          = help: each key and table may stand once; merge them"#]],
    );
}

#[test]
fn plugins_are_bounded() {
    let list = |count: usize| {
        (0..count)
            .map(|i| format!("[plugins.p{i}]\nsource = 'p'\n"))
            .collect::<String>()
    };
    assert_eq!(parse(&list(1_000)).unwrap().plugins.len(), 1_000);
    assert!(parse(&list(1_001)).unwrap_err().contains("at most 1000"));
}

/// A plugin that requests progress and has settings.
const PLUGIN: &str = r#"schema = 1
[plugin]
id = "markdown"
version = "1.0.0"
license = "MIT"
[requests.ui]
progress = "show how far it is"
[config]
required = ["theme"]
[config.properties]
theme = { enum = ["plain", "rich"] }
width = { type = "integer", minimum = 1 }
"#;

#[test]
fn a_plugin_may_do_what_is_requested_and_granted() {
    let project = parse("[plugins.granted]\nsource = 'a'\ngrants.ui = { progress = true }\n[plugins.none]\nsource = 'a'\n").unwrap();
    let asks = PluginManifest::parse("plugin.toml", PLUGIN).unwrap();
    let asks_nothing =
        PluginManifest::parse("plugin.toml", &PLUGIN.replace("progress = ", "ask = ")).unwrap();
    let inferred = PluginManifest::inferred("markdown".parse().unwrap(), None, None, None);
    let effective = |alias: &str, plugin| {
        let effective = project.effective(&project.plugins[alias], plugin);
        effective.map_err(|errors| errors.to_string())
    };
    for (alias, plugin, progress) in [
        ("granted", &asks, true),
        ("granted", &inferred, true),
        ("none", &asks, false),
        ("none", &inferred, false),
    ] {
        let effective = effective(alias, plugin).unwrap();
        assert_eq!(effective.progress, progress, "{alias}");
        assert!(effective.network.is_empty() && effective.sockets.is_empty());
        let rest = Effective {
            progress: false,
            network: Effective::default().network,
            sockets: Effective::default().sockets,
            ..effective
        };
        assert_eq!(rest, Effective::default());
    }
    expect![[r#"
        portreeve.toml:4:15: error: `grants.ui.progress` is granted, but the plugin.toml of markdown 1.0.0 does not request it
          |
        4 | grants.ui = { progress = true }
          |               ^^^^^^^^
          = help: remove the grant; or its author adds `ui.progress` to [requests] of plugin.toml"#]].assert_eq(&effective("granted", &asks_nothing).unwrap_err());
}

const FETCHER: &str = r#"schema = 1
[plugin]
id = "fetcher"
version = "1.0.0"
license = "MIT"
[[requests.network]]
allow = "GET,POST https://api.example.com/repos/**"
credential = { name = "api", header = "X-Api-Key" }
reason = "read"
[[requests.network]]
allow = "GET https://*.example.org/**"
reason = "read"
[[requests.sockets]]
allow = "tcp *.db.example.com:5432"
reason = "read"
[[requests.addresses]]
allow = "10.1.0.0/16"
reason = "reach it"
"#;

#[test]
fn where_a_plugin_may_connect_is_what_both_allow() {
    let project = parse(
        r#"[plugins.a]
source = "a"
grants.network = ["* https://api.example.com/repos/acme/**", "GET https://a.example.org/**"]
grants.sockets = ["tcp one.db.example.com:5432"]
grants.addresses = ["10.1.2.0/24", "10.0.0.0/8"]
grants.credentials = { api = "vault:x" }
"#,
    )
    .unwrap();
    let fetcher = PluginManifest::parse("plugin.toml", FETCHER).unwrap();
    let effective = project.effective(&project.plugins["a"], &fetcher).unwrap();
    let shown: String = [
        "GET https://api.example.com/repos/acme/x",
        "GET https://api.example.com/repos/other/x",
        "DELETE https://api.example.com/repos/acme/x",
        "GET https://a.example.org/",
        "GET https://b.example.org/",
    ]
    .into_iter()
    .map(|request| {
        let (method, url) = request.split_once(' ').unwrap();
        let target = Target::new(method, url).unwrap();
        format!("{request}: {:?}\n", effective.network.decide(&target))
    })
    .collect();
    expect![[r#"
        GET https://api.example.com/repos/acme/x: Allowed { credential: Some(CredentialUse { name: Name("api"), place: Some(Header("x-api-key")) }) }
        GET https://api.example.com/repos/other/x: NotGranted
        DELETE https://api.example.com/repos/acme/x: NotRequested
        GET https://a.example.org/: Allowed { credential: None }
        GET https://b.example.org/: NotGranted
    "#]].assert_eq(&shown);
    let ranges: Vec<_> = effective
        .addresses
        .iter()
        .map(|range| range.to_string())
        .collect();
    assert_eq!(ranges, ["10.1.2.0/24", "10.1.0.0/16"]);
    assert_eq!(effective.credentials["api"].to_string(), "vault:x");
    let may = |name: &str| {
        let host = Host::Domain(name);
        effective
            .sockets
            .decide(SocketProtocol::Tcp, &host, 5432, false)
    };
    assert!(may("one.db.example.com") && !may("two.db.example.com"));
    assert!(effective.sockets.may_resolve("One.db.example.com."));
    assert!(!effective.sockets.may_resolve("two.db.example.com"));
}

#[test]
fn grants_that_nothing_asks_for_are_shown_one_by_one() {
    let project = parse(
        r#"[plugins.a]
source = "a"
grants.network = [
    "GET https://api.example.com/repos/x",
    "GET https://api.example.com/gists/**",
]
grants.sockets = ["udp one.db.example.com:5432"]
grants.addresses = ["10.1.2.0/24", "192.168.0.0/16"]
grants.credentials = { api = "vault:x", other = "vault:y" }
"#,
    )
    .unwrap();
    let fetcher = PluginManifest::parse("plugin.toml", FETCHER).unwrap();
    let errors = project
        .effective(&project.plugins["a"], &fetcher)
        .unwrap_err();
    expect![[r#"
        portreeve.toml:6:5: error: `GET https://api.example.com/gists/**` (`grants.network`) is granted, but the plugin.toml of fetcher 1.0.0 does not request it
          |
        6 |     "GET https://api.example.com/gists/**",
          |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          = help: remove the grant; or its author adds `network` to [requests] of plugin.toml

        portreeve.toml:8:19: error: `udp one.db.example.com:5432` (`grants.sockets`) is granted, but the plugin.toml of fetcher 1.0.0 does not request it
          |
        8 | grants.sockets = ["udp one.db.example.com:5432"]
          |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          = help: remove the grant; or its author adds `sockets` to [requests] of plugin.toml

        portreeve.toml:9:36: error: `192.168.0.0/16` (`grants.addresses`) is granted, but the plugin.toml of fetcher 1.0.0 does not request it
          |
        9 | grants.addresses = ["10.1.2.0/24", "192.168.0.0/16"]
          |                                    ^^^^^^^^^^^^^^^^
          = help: remove the grant; or its author adds `addresses` to [requests] of plugin.toml

        portreeve.toml:10:41: error: `grants.credentials.other` is granted, but the plugin.toml of fetcher 1.0.0 does not request it
           |
        10 | grants.credentials = { api = "vault:x", other = "vault:y" }
           |                                         ^^^^^
           = help: remove the grant; or its author adds `credentials` to [requests] of plugin.toml"#]].assert_eq(&errors.to_string());
}

#[test]
fn settings_of_the_network_are_read() {
    let project = parse(
        r#"[network]
dns = ["192.0.2.53", "[2001:db8::53]:5353"]
roots = { file = "keys/ca.pem", system = true }
proxy = "http://proxy.example.com:3128"
connect = "5s"
between-bytes = "1m"
[network.origins."https://api.example.com"]
attempts = 3
rate = { count = 50, per = "1s" }
breaker = { failures = 5, pause = "30s" }
cache = "10 MiB"
[network.origins."http://[0:0::1]:8080"]
"#,
    )
    .unwrap();
    let network = project.settings.network;
    let shown: Vec<_> = network.origins.keys().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://api.example.com", "http://[::1]:8080"]);
    let secs = Duration::from_secs;
    let care = OriginCare {
        attempts: 3,
        rate: Some(OriginRate {
            count: 50,
            per: secs(1),
        }),
        breaker: Some(OriginBreaker {
            failures: 5,
            pause: secs(30),
        }),
        cache: Some(ByteSize::mib(10)),
    };
    assert_eq!(
        network,
        NetworkSettings {
            dns: vec![
                "192.0.2.53:53".parse().unwrap(),
                "[2001:db8::53]:5353".parse().unwrap()
            ],
            roots: Roots::Both("keys/ca.pem".parse().unwrap()),
            proxy: Some("http://proxy.example.com:3128/".parse().unwrap()),
            connect: secs(5),
            first_byte: secs(30),
            between_bytes: secs(60),
            origins: BTreeMap::from([
                ("https://api.example.com".parse().unwrap(), care),
                ("http://[::1]:8080".parse().unwrap(), OriginCare::default()),
            ]),
        }
    );
    assert_eq!(
        parse("").unwrap().settings.network,
        NetworkSettings::default()
    );
}

#[test]
fn mistakes_in_the_network() {
    check(
        r#"[network]
dns = ["192.0.2.53", "dns.example.com"]
proxy = "http://user:secret@proxy.example.com/"
connect = "0s"
roots = { system = true }
"#,
        expect![[r#"
            portreeve.toml:3:7: error: `dns` is `dns.example.com`, but must be a list of at most 8 addresses such as "192.0.2.53" or "[2001:db8::53]:5353"
              |
            3 | dns = ["192.0.2.53", "dns.example.com"]
              |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

            portreeve.toml:4:9: error: `proxy` is no such address, but must be an address such as "http://proxy.example.com:3128", without user, password and path
              |
            4 | proxy = "http://user:secret@proxy.example.com/"
              |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

            portreeve.toml:5:11: error: `connect` is 0s, but must be between 10ms and 1h
              |
            5 | connect = "0s"
              |           ^^^^

            portreeve.toml:6:9: error: the key `file` is missing
              |
            6 | roots = { system = true }
              |         ^^^^^^^^^^^^^^^^^"#]],
    );
    check(
        r#"[network]
dns = ["192.0.2.53", "dns.example.com"]
proxy = "http://user:secret@proxy.example.com/"
connect = "0s"
[network.origins."https://a.example"]
attempts = 11
rate = { count = 0, per = "1s" }
breaker = { failures = 5, pause = "2d" }
cache = "2 GiB"
"#,
        expect![[r#"
            portreeve.toml:3:7: error: `dns` is `dns.example.com`, but must be a list of at most 8 addresses such as "192.0.2.53" or "[2001:db8::53]:5353"
              |
            3 | dns = ["192.0.2.53", "dns.example.com"]
              |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

            portreeve.toml:4:9: error: `proxy` is no such address, but must be an address such as "http://proxy.example.com:3128", without user, password and path
              |
            4 | proxy = "http://user:secret@proxy.example.com/"
              |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

            portreeve.toml:5:11: error: `connect` is 0s, but must be between 10ms and 1h
              |
            5 | connect = "0s"
              |           ^^^^

            portreeve.toml:7:12: error: `attempts` is 11, but must be between 1 and 10
              |
            7 | attempts = 11
              |            ^^

            portreeve.toml:8:18: error: `count` is 0, but must be between 1 and 1,000,000
              |
            8 | rate = { count = 0, per = "1s" }
              |                  ^

            portreeve.toml:9:35: error: `pause` is 2d, but must be between 10ms and 1d
              |
            9 | breaker = { failures = 5, pause = "2d" }
              |                                   ^^^^

            portreeve.toml:10:9: error: `cache` is 2 GiB, but must be between 4 KiB and 1 GiB
               |
            10 | cache = "2 GiB"
               |         ^^^^^^^"#]],
    );
    check(
        "[network.origins.\"https://a.example/path\"]\nattempts = 1\n",
        expect![[r#"
            portreeve.toml:2:18: error: `https://a.example/path` is no origin: it has more than scheme, host and port; write it as "https://api.example.com"
              |
            2 | [network.origins."https://a.example/path"]
              |                  ^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
}

#[test]
fn settings_are_checked_against_the_plugin() {
    let project = parse(
        "[plugins.good]\nsource = 'a'\nconfig = { theme = 'plain', width = 3 }\n[plugins.bad]\nsource = 'a'\n[plugins.bad.config]\ntheme = 'loud'\nwidth = 0\nheight = 3\n[plugins.missing]\nsource = 'a'\n",
    )
    .unwrap();
    let plugin = PluginManifest::parse("plugin.toml", PLUGIN).unwrap();
    assert!(project.config(&project.plugins["good"], &plugin).is_ok());
    let shown = |alias: &str, plugin| {
        project
            .config(&project.plugins[alias], plugin)
            .unwrap_err()
            .to_string()
    };
    expect![[r#"
        portreeve.toml:8:1: error: "loud" is not one of "plain" or "rich"
          |
        8 | theme = 'loud'
          | ^^^^^
          = help: see [config] in the plugin.toml of markdown 1.0.0

        portreeve.toml:9:1: error: 0 is less than the minimum of 1
          |
        9 | width = 0
          | ^^^^^
          = help: see [config] in the plugin.toml of markdown 1.0.0

        portreeve.toml:10:1: error: the plugin has no setting `height`
           |
        10 | height = 3
           | ^^^^^^
           = help: see [config] in the plugin.toml of markdown 1.0.0"#]]
    .assert_eq(&shown("bad", &plugin));
    expect![[r#"
        portreeve.toml:11:1: error: the setting "theme" is missing
           |
        11 | [plugins.missing]
           | ^^^^^^^^^^^^^^^^^
           = help: see [config] in the plugin.toml of markdown 1.0.0"#]]
    .assert_eq(&shown("missing", &plugin));
    let inferred = PluginManifest::inferred("markdown".parse().unwrap(), None, None, None);
    expect![[r#"
        portreeve.toml:4:12: error: the plugin has no settings
          |
        4 | config = { theme = 'plain', width = 3 }
          |            ^^^^^
          = help: see [config] in the plugin.toml of markdown 0.0.0

        portreeve.toml:4:29: error: the plugin has no settings
          |
        4 | config = { theme = 'plain', width = 3 }
          |                             ^^^^^
          = help: see [config] in the plugin.toml of markdown 0.0.0"#]]
    .assert_eq(&shown("good", &inferred));
}

#[test]
fn the_host_can_point_at_an_entry() {
    let project = parse("[plugins.a]\nsource = 'a'\nversion = '^2'\n").unwrap();
    let errors = project.refuse_entry(
        &Alias::new("a").unwrap(),
        "version",
        "version 1.0.0 is there, but ^2 is wanted",
        "change one of them",
    );
    expect![[r#"
        portreeve.toml:4:1: error: version 1.0.0 is there, but ^2 is wanted
          |
        4 | version = '^2'
          | ^^^^^^^
          = help: change one of them"#]]
    .assert_eq(&errors.to_string());
}

#[test]
fn alerts_are_read() {
    let project = parse(
        r#"
[alerts]
webhook = "https://alerts.example.com/hook?key=1"
command = ["notify-send", "portreeve"]
[[alerts.rules]]
plugin = "*"
metric = "error-rate"
above = 0.2
[[alerts.rules]]
plugin = "issues"
metric = "latency-p99"
above = "1s500ms"
over = "1h"
min-calls = 5
[[alerts.rules]]
metric = "calls"
above = 10000
[[alerts.rules]]
plugin = "issues"
metric = "storage"
above = "4 MiB"
[audit]
webhook = "http://localhost:9000/"
"#,
    )
    .unwrap();
    let rule = |scope, metric, above, secs, min_calls| AlertRule {
        scope,
        metric,
        above,
        over: Duration::from_secs(secs),
        min_calls,
    };
    let issues = || AlertScope::Plugin("issues".parse().unwrap());
    let alerts = project.settings.alerts;
    assert_eq!(
        alerts.rules,
        [
            rule(AlertScope::Each, AlertMetric::ErrorRate, 0.2, 300, 20),
            rule(issues(), AlertMetric::LatencyP99, 1_500.0, 3_600, 5),
            rule(AlertScope::Project, AlertMetric::Calls, 10_000.0, 300, 0),
            rule(issues(), AlertMetric::Storage, 4_194_304.0, 300, 0),
        ]
    );
    assert_eq!(alerts.outlet.command, ["notify-send", "portreeve"]);
    assert!(alerts.outlet.webhook.is_some());
    assert!(!project.settings.audit_outlet.is_empty());
    let shown: Vec<_> = alerts
        .rules
        .iter()
        .map(|rule| rule.metric.show(rule.above))
        .collect();
    assert_eq!(shown, ["20.0 %", "1s500ms", "10000", "4 MiB"]);
    assert_eq!(parse("").unwrap().settings.alerts, AlertSettings::default());
}

#[test]
fn mistakes_in_alerts() {
    check(
        r#"[alerts]
webhook = "http://example.com/"
command = ["x", ""]
rules = [
    { plugin = "No Alias", metric = "calls", above = 1 },
    { metric = "storage", above = "1 MiB" },
    { metric = "error-rate", above = 20 },
    { metric = "latency-p99", above = 5 },
    { metric = "calls", above = 1.5 },
    { metric = "fuel", above = -1 },
    { metric = "calls", above = 1, over = "1s" },
    { metric = "calls", above = 1, over = "25h" },
]
"#,
        expect![[r#"
            portreeve.toml:3:11: error: `webhook` is `http://example.com/`, but must be an https:// address (http:// only for this machine) without user, password and fragment, of 2048 bytes at most
              |
            3 | webhook = "http://example.com/"
              |           ^^^^^^^^^^^^^^^^^^^^^

            portreeve.toml:4:11: error: `command` is a list of 2, but must be at most 64 parts that are not empty, of 4096 bytes at most
              |
            4 | command = ["x", ""]
              |           ^^^^^^^^^

            portreeve.toml:6:16: error: `plugin` is `No Alias`, but must be an alias, or "*" for each plugin
              |
            6 |     { plugin = "No Alias", metric = "calls", above = 1 },
              |                ^^^^^^^^^^

            portreeve.toml:7:16: error: `metric` is `storage`, but must be in a rule about a plugin: add plugin = "*" or an alias
              |
            7 |     { metric = "storage", above = "1 MiB" },
              |                ^^^^^^^^^

            portreeve.toml:8:38: error: `above` is 20, but must be a number from 0 to 1, such as 0.2 for error-rate
              |
            8 |     { metric = "error-rate", above = 20 },
              |                                      ^^

            portreeve.toml:9:39: error: `above` is 5, but must be a duration, such as "2s" for latency-p99
              |
            9 |     { metric = "latency-p99", above = 5 },
              |                                       ^

            portreeve.toml:10:33: error: `above` is 1.5, but must be a whole number, such as 1000 for calls
               |
            10 |     { metric = "calls", above = 1.5 },
               |                                 ^^^

            portreeve.toml:11:32: error: `above` is -1, but must be a whole number, such as 1000 for fuel
               |
            11 |     { metric = "fuel", above = -1 },
               |                                ^^

            portreeve.toml:12:43: error: `over` is 1s, but must be between 1m and 1d
               |
            12 |     { metric = "calls", above = 1, over = "1s" },
               |                                           ^^^^

            portreeve.toml:13:43: error: `over` is 1d1h, but must be between 1m and 1d
               |
            13 |     { metric = "calls", above = 1, over = "25h" },
               |                                           ^^^^^"#]],
    );
    for (text, word) in [
        (
            "[alerts]\nwebhook = \"https://user:secret@example.com/\"",
            "without user",
        ),
        ("[alerts]\nwebhook = \"nonsense\"", "https://"),
        ("[audit]\nwebhook = \"http://10.0.0.1/\"", "https://"),
        ("[[alerts.rules]]\nmetric = \"mood\"\nabove = 1", "mood"),
        ("[[alerts.rules]]\nabove = 1", "metric"),
        (
            "[[alerts.rules]]\nmetric = \"calls\"\nabove = true",
            "above",
        ),
        ("[alerts]\nmail = \"x\"", "mail"),
    ] {
        let errors = parse(text).unwrap_err();
        assert!(errors.contains(word), "{text}: {errors}");
    }
    let many = "[[alerts.rules]]\nmetric = \"calls\"\nabove = 1\n".repeat(65);
    assert!(parse(&many).unwrap_err().contains("at most 64"));
}

#[test]
fn the_three_tools_keep_their_names() {
    let renamed =
        "[plugins.a]\nsource = 'a.wasm'\n[plugins.a.expose.tool.find]\nname = 'search_tools'\n";
    check(renamed, expect!["1 plugins"]);
    check(
        &format!("[serve]\nmeta-tools = true\n{renamed}"),
        expect![[r#"
            portreeve.toml:7:8: error: `search_tools` is one of the three tools that `meta-tools` under [serve] shows in place of the others
              |
            7 | name = 'search_tools'
              |        ^^^^^^^^^^^^^^
              = help: give it another name, or leave `meta-tools` out"#]],
    );
}
