//! `plugin.toml`: what is read, and how every kind of mistake is shown.

use expect_test::{Expect, expect};
use portreeve_manifest::plugin::{ConfigSchema, Instances, Origin, PluginManifest};

/// A valid head, so that each test shows only what it is about.
const HEAD: &str = r#"schema = 1
[plugin]
id = "github-issues"
version = "1.4.0"
license = "MIT OR Apache-2.0"
"#;

fn check(text: &str, expected: Expect) {
    let shown = match PluginManifest::parse("plugin.toml", text) {
        Ok(manifest) => format!("{} {}", manifest.id, manifest.version),
        Err(errors) => errors.to_string(),
    };
    expected.assert_eq(&shown);
}

fn check_tail(tail: &str, expected: Expect) {
    check(&format!("{HEAD}{tail}"), expected);
}

#[test]
fn the_example_of_the_design_is_read() {
    let text = r#"schema = 1
[plugin]
id = "github-issues"
version = "1.4.0"
license = "MIT OR Apache-2.0"
description = "Search and file GitHub issues"
instances = "per-call"            # or "resident": one long-lived, supervised instance

[[requests.network]]
allow = "GET,POST https://api.github.com/repos/**"
credential = "github"             # the host adds it; the plugin never sees it
reason = "read and file issues"

[requests.storage]
kv = "10 MiB"

[requests.ui]
notify = "tell you when a build breaks"

[requests.messages]
publish = ["issues.opened"]
subscribe = ["builds.*"]

[config]                          # JSON Schema: what the operator may set
"#;
    let manifest = PluginManifest::parse("plugin.toml", text).unwrap();
    assert_eq!(manifest.origin, Origin::Declared);
    assert_eq!(manifest.instances, Instances::PerCall);
    let shown: String = manifest
        .unenforced_requests()
        .iter()
        .map(|item| {
            format!(
                "{} {:?} because {:?}\n",
                item.feature, item.what, item.reason
            )
        })
        .collect();
    expect![""].assert_eq(&shown);
}

#[test]
fn the_head_is_checked() {
    check(HEAD, expect!["github-issues 1.4.0"]);
    check(
        "",
        expect![[r#"
        plugin.toml:1:1: error: the key `schema` is missing
          |
        1 | 
          | ^
          = help: start the file with `schema = 1`"#]],
    );
    check(
        "schema = 1\n",
        expect![[r#"
            plugin.toml:1:1: error: the key `plugin` is missing
              |
            1 | schema = 1
              | ^"#]],
    );
    check(
        "schema = 2\n[unknown]\n",
        expect![[r#"
        plugin.toml:1:10: error: the file has schema version 2, but this version of Portreeve reads version 1
          |
        1 | schema = 2
          |          ^
          = help: use a newer version of Portreeve"#]],
    );
    check(
        "schema = 0\n",
        expect![[r#"
        plugin.toml:1:10: error: this is no schema version
          |
        1 | schema = 0
          |          ^
          = help: write `schema = 1`"#]],
    );
    check(
        "schema = \"1\"\n",
        expect![[r#"
        plugin.toml:1:10: error: this is no schema version
          |
        1 | schema = "1"
          |          ^^^
          = help: write `schema = 1`"#]],
    );
    check(
        "schema = 1\n[plugin]\nid = \"Bad Id\"\nversion = \"1.0\"\nlicense = \"Apache 2\"\n",
        expect![[r#"
        plugin.toml:3:6: error: `Bad Id` is no valid name: it has other characters; use a-z, 0-9 and single hyphens between them, at most 64 characters, as in "github-issues"
          |
        3 | id = "Bad Id"
          |      ^^^^^^^^

        plugin.toml:4:11: error: `1.0` is no version: unexpected end of input while parsing minor version number; write three numbers, as in "1.4.0" (semver.org)
          |
        4 | version = "1.0"
          |           ^^^^^

        plugin.toml:5:11: error: `Apache 2` is no SPDX licence expression: unknown term; write one such as "MIT OR Apache-2.0" (identifiers: spdx.org/licenses)
          |
        5 | license = "Apache 2"
          |           ^^^^^^^^^^"#]],
    );
    check(
        "schema = 1\n[plugin]\nid = 7\nversion = []\nlicense = \"MIT\"\n",
        expect![[r#"
        plugin.toml:3:6: error: expected a string, found `7`
          |
        3 | id = 7
          |      ^

        plugin.toml:4:11: error: expected a string, found an array
          |
        4 | version = []
          |           ^^"#]],
    );
    check(
        "schema = 1\n[plugin]\nid = \"a\"\n",
        expect![[r#"
        plugin.toml:2:1: error: the key `version` is missing
          |
        2 | [plugin]
          | ^^^^^^^^"#]],
    );
    check(
        "schema = 1\nplugin = 3\n",
        expect![[r#"
            plugin.toml:2:10: error: expected a table, found a number
              |
            2 | plugin = 3
              |          ^"#]],
    );
}

#[test]
fn unknown_keys_are_refused_all_at_once() {
    check_tail(
        "licence = \"MIT\"\ncolour = 1\n[request.ui]\nnotify = \"x\"\n[requests.ui]\nprogres = \"x\"\n",
        expect![[r#"
            plugin.toml:6:1: error: unknown key `licence`
              |
            6 | licence = "MIT"
              | ^^^^^^^
              = help: did you mean `license`?

            plugin.toml:7:1: error: unknown key `colour`
              |
            7 | colour = 1
              | ^^^^^^
              = help: the keys here are `id`, `version`, `license`, `description`, `instances`

            plugin.toml:8:2: error: unknown key `request`
              |
            8 | [request.ui]
              |  ^^^^^^^
              = help: did you mean `requests`?

            plugin.toml:11:1: error: unknown key `progres`
               |
            11 | progres = "x"
               | ^^^^^^^
               = help: did you mean `progress`?"#]],
    );
    check_tail(
        "[requests.networks]\n",
        expect![[r#"
        plugin.toml:6:11: error: unknown key `networks`
          |
        6 | [requests.networks]
          |           ^^^^^^^^
          = help: did you mean `network`?"#]],
    );
    check_tail(
        "[requests.storage]\nkv = \"1 MiB\"\nsql = true\n",
        expect![[r#"
        plugin.toml:8:1: error: unknown key `sql`
          |
        8 | sql = true
          | ^^^
          = help: the keys here are `kv`, `reason`"#]],
    );
}

#[test]
fn syntax_errors_come_first() {
    check_tail(
        "x = \n",
        expect![[r#"
        plugin.toml:6:5: error: this is not TOML: string values must be quoted, expected literal string
          |
        6 | x =
          |     ^"#]],
    );
    check_tail(
        "id = \"twice\"\n",
        expect![[r#"
        plugin.toml:6:1: error: this is not TOML: duplicate key
          |
        6 | id = "twice"
          | ^^
          = help: each key and table may stand once; merge them"#]],
    );
    check_tail(
        "[plugin]\n",
        expect![[r#"
        plugin.toml:6:2: error: this is not TOML: duplicate key
          |
        6 | [plugin]
          |  ^^^^^^
          = help: each key and table may stand once; merge them"#]],
    );
    check_tail(
        "a = \"open\n[b\n",
        expect![[r#"
        plugin.toml:6:10: error: this is not TOML: invalid basic string, expected `"`
          |
        6 | a = "open
          |          ^

        plugin.toml:7:3: error: this is not TOML: unclosed table, expected `]`
          |
        7 | [b
          |   ^"#]],
    );
    check_tail(
        "x = 'a\u{1}b'\n",
        expect![[r#"
        plugin.toml:6:7: error: this is not TOML: invalid literal string, expected non-single-quote visible characters
          |
        6 | x = 'a�b'
          |       ^"#]],
    );
}

#[test]
fn values_are_checked() {
    check_tail(
        "instances = \"shared\"\n",
        expect![[r#"
        plugin.toml:6:13: error: `shared` is none of the choices
          |
        6 | instances = "shared"
          |             ^^^^^^^^
          = help: write one of `per-call`, `resident`"#]],
    );
    check_tail(
        "description = \"a\\u001b[2J\"\n",
        expect![[r#"
        plugin.toml:6:15: error: the description has control characters
          |
        6 | description = "a\u001b[2J"
          |               ^^^^^^^^^^^^"#]],
    );
    check_tail(
        "[requests.storage]\nkv = \"10 Mib\"\n",
        expect![[r#"
        plugin.toml:7:6: error: `Mib` is no unit of size; use B, KiB, MiB, GiB, TiB (or KB, MB, GB, TB)
          |
        7 | kv = "10 Mib"
          |      ^^^^^^^^"#]],
    );
    check_tail(
        "[requests.storage]\nkv = -1\n",
        expect![[r#"
        plugin.toml:7:6: error: a size cannot be negative: -1
          |
        7 | kv = -1
          |      ^^"#]],
    );
    check_tail(
        "[requests.storage]\nkv = 1.5\n",
        expect![[r#"
        plugin.toml:7:6: error: expected a size such as "64 MiB" or a number of bytes, found `1.5`
          |
        7 | kv = 1.5
          |      ^^^"#]],
    );
    check_tail(
        "[requests.ui]\nprogress = true\nnotify = \"\"\n",
        expect![[r#"
        plugin.toml:7:12: error: expected a string, found `true`
          |
        7 | progress = true
          |            ^^^^

        plugin.toml:8:10: error: the reason is empty; say why in a sentence
          |
        8 | notify = ""
          |          ^^"#]],
    );
    check_tail(
        "[requests.messages]\npublish = [\"a.b\", \"A\", \"a..b\", \">.a\"]\n",
        expect![[r#"
            plugin.toml:7:19: error: `A` is no pattern of topics; write names of a-z, 0-9, - and _ parted by dots, as in "builds.failed", "builds.*" (one name) or "builds.>" (the rest)
              |
            7 | publish = ["a.b", "A", "a..b", ">.a"]
              |                   ^^^

            plugin.toml:7:24: error: `a..b` is no pattern of topics; write names of a-z, 0-9, - and _ parted by dots, as in "builds.failed", "builds.*" (one name) or "builds.>" (the rest)
              |
            7 | publish = ["a.b", "A", "a..b", ">.a"]
              |                        ^^^^^^

            plugin.toml:7:32: error: `>.a` is no pattern of topics; write names of a-z, 0-9, - and _ parted by dots, as in "builds.failed", "builds.*" (one name) or "builds.>" (the rest)
              |
            7 | publish = ["a.b", "A", "a..b", ">.a"]
              |                                ^^^^^"#]],
    );
    check_tail(
        "[requests.schedules]\nnightly = { cron = \"0 3 * *\", reason = \"r\" }\n",
        expect![[r#"
        plugin.toml:7:20: error: `0 3 * *` is no cron expression: it has not five fields; write minute, hour, day, month and weekday, as in "0 3 * * *"
          |
        7 | nightly = { cron = "0 3 * *", reason = "r" }
          |                    ^^^^^^^^^"#]],
    );
    check_tail(
        "[requests.schedules]\nnightly = { cron = \"0 25 * * *\", reason = \"r\" }\n",
        expect![[r#"
        plugin.toml:7:20: error: `0 25 * * *` is no cron expression: Component error: Number out of bounds.; write minute, hour, day, month and weekday, as in "0 3 * * *"
          |
        7 | nightly = { cron = "0 25 * * *", reason = "r" }
          |                    ^^^^^^^^^^^^"#]],
    );
    check_tail(
        "[requests.schedules]\npoll = { every = \"15\", reason = \"r\" }\n",
        expect![[r#"
        plugin.toml:7:18: error: `15` needs units of time after its numbers: d, h, m, s, ms, us or ns, as in "20s"
          |
        7 | poll = { every = "15", reason = "r" }
          |                  ^^^^"#]],
    );
    check_tail(
        "[requests.schedules]\npoll = { every = \"1ms\", reason = \"r\" }\n",
        expect![[r#"
        plugin.toml:7:8: error: a schedule runs at most once a second
          |
        7 | poll = { every = "1ms", reason = "r" }
          |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    check_tail(
        "[requests.schedules]\nboth = { every = \"1h\", cron = \"0 3 * * *\", reason = \"r\" }\n",
        expect![[r#"
        plugin.toml:7:8: error: a schedule has either `cron = "0 3 * * *"` or `every = "15m"`
          |
        7 | both = { every = "1h", cron = "0 3 * * *", reason = "r" }
          |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    check_tail(
        "[requests.schedules]\nwhy = { every = \"1h\" }\n",
        expect![[r#"
        plugin.toml:7:7: error: the key `reason` is missing
          |
        7 | why = { every = "1h" }
          |       ^^^^^^^^^^^^^^^^"#]],
    );
    check_tail(
        "[[requests.invoke]]\nallow = \"render\"\nreason = \"r\"\n",
        expect![[r#"
        plugin.toml:7:9: error: `render` names no tool; write "PLUGIN/TOOL", or "PLUGIN/*" for all tools of the plugin
          |
        7 | allow = "render"
          |         ^^^^^^^^"#]],
    );
    check_tail(
        "[[requests.directories]]\npath = \"notes\"\nreason = \"r\"\n[[requests.directories]]\npath = \"/a/../b\"\nreason = \"r\"\n",
        expect![[r#"
            plugin.toml:7:8: error: `notes` is no path of a plugin; write an absolute one such as "/data", without `.`, `..` and empty parts
              |
            7 | path = "notes"
              |        ^^^^^^^

            plugin.toml:10:8: error: `/a/../b` is no path of a plugin; write an absolute one such as "/data", without `.`, `..` and empty parts
               |
            10 | path = "/a/../b"
               |        ^^^^^^^^^"#]],
    );
    check_tail(
        "[[requests.directories]]\npath = \"/a\"\nreason = \"r\"\n[[requests.directories]]\npath = \"/a\"\nreason = \"r\"\n",
        expect![[r#"
            plugin.toml:10:8: error: the path /a is requested twice
               |
            10 | path = "/a"
               |        ^^^^"#]],
    );
    check_tail(
        "[[requests.network]]\nallow = \"GET https://example.com/**\"\n",
        expect![[r#"
        plugin.toml:6:1: error: the key `reason` is missing
          |
        6 | [[requests.network]]
          | ^^^^^^^^^^^^^^^^^^^^"#]],
    );
}

#[test]
fn rules_are_checked() {
    let network = |rule: &str, expected| {
        check_tail(
            &format!("[[requests.network]]\nallow = '{rule}'\nreason = 'r'\n"),
            expected,
        );
    };
    network(
        "https://example.com/**",
        expect![[r#"
        plugin.toml:7:9: error: `https://example.com/**` is no rule: write methods and a URL, as in "GET,POST https://api.example.com/**"
          |
        7 | allow = 'https://example.com/**'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "get https://example.com/**",
        expect![[r#"
        plugin.toml:7:9: error: `get https://example.com/**` is no rule: `get` is no HTTP method; write capitals, as in GET, or * for all
          |
        7 | allow = 'get https://example.com/**'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET,GET https://example.com/**",
        expect![[r#"
        plugin.toml:7:9: error: `GET,GET https://example.com/**` is no rule: the method GET stands twice
          |
        7 | allow = 'GET,GET https://example.com/**'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET example.com/**",
        expect![[r#"
        plugin.toml:7:9: error: `GET example.com/**` is no rule: the URL must start with https:// or http://
          |
        7 | allow = 'GET example.com/**'
          |         ^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET ftp://example.com/**",
        expect![[r#"
        plugin.toml:7:9: error: `GET ftp://example.com/**` is no rule: the URL must start with https:// or http://
          |
        7 | allow = 'GET ftp://example.com/**'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://example.com",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://example.com` is no rule: the URL has no path; write /** after the host for every path
          |
        7 | allow = 'GET https://example.com'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https:///x",
        expect![[r#"
        plugin.toml:7:9: error: `GET https:///x` is no rule: the host is missing
          |
        7 | allow = 'GET https:///x'
          |         ^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://user@example.com/",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://user@example.com/` is no rule: the URL must not contain `@`: user names, queries and fragments are no part of a rule
          |
        7 | allow = 'GET https://user@example.com/'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://example.com/?q=1",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://example.com/?q=1` is no rule: the URL must not contain `?`: user names, queries and fragments are no part of a rule
          |
        7 | allow = 'GET https://example.com/?q=1'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://*.com/**",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://*.com/**` is no rule: *.com is too wide; name at least two labels, as in *.example.com
          |
        7 | allow = 'GET https://*.com/**'
          |         ^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://a*.example.com/**",
        expect![[r#"
            plugin.toml:7:9: error: `GET https://a*.example.com/**` is no rule: `*` may only stand for the front of a host's name, as in *.example.com, or alone, for every host
              |
            7 | allow = 'GET https://a*.example.com/**'
              |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network("GET https://*/**", expect!["github-issues 1.4.0"]);
    network(
        "GET https://example.com:0/**",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://example.com:0/**` is no rule: `0` is no port; write 1 to 65535, a range such as 5000-5010, or *
          |
        7 | allow = 'GET https://example.com:0/**'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://example.com:9-1/**",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://example.com:9-1/**` is no rule: the range of ports 9-1 is empty
          |
        7 | allow = 'GET https://example.com:9-1/**'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://example.com/a**/b",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://example.com/a**/b` is no rule: `**` must be a whole segment of the path, as in /a/**
          |
        7 | allow = 'GET https://example.com/a**/b'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://example.com/a/../b",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://example.com/a/../b` is no rule: the path must not contain `.` or `..`
          |
        7 | allow = 'GET https://example.com/a/../b'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    network(
        "GET https://[::1/",
        expect![[r#"
        plugin.toml:7:9: error: `GET https://[::1/` is no rule: `[:` is no host: invalid IPv6 address
          |
        7 | allow = 'GET https://[::1/'
          |         ^^^^^^^^^^^^^^^^^^^"#]],
    );
    let socket = |rule: &str, expected| {
        check_tail(
            &format!("[[requests.sockets]]\nallow = '{rule}'\nreason = 'r'\n"),
            expected,
        );
    };
    socket(
        "sctp a:1",
        expect![[r#"
        plugin.toml:7:9: error: `sctp a:1` is no rule: write "tcp HOST:PORT", "udp HOST:PORT" or "listen tcp ADDRESS:PORT"
          |
        7 | allow = 'sctp a:1'
          |         ^^^^^^^^^^"#]],
    );
    socket(
        "tcp example.com",
        expect![[r#"
        plugin.toml:7:9: error: `tcp example.com` is no rule: the port is missing; write HOST:PORT
          |
        7 | allow = 'tcp example.com'
          |         ^^^^^^^^^^^^^^^^^"#]],
    );
    socket(
        "listen tcp example.com:80",
        expect![[r#"
        plugin.toml:7:9: error: `listen tcp example.com:80` is no rule: a plugin listens on an address of this machine, such as 127.0.0.1
          |
        7 | allow = 'listen tcp example.com:80'
          |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    socket(
        "tcp example.com:70000",
        expect![[r#"
        plugin.toml:7:9: error: `tcp example.com:70000` is no rule: `70000` is no port; write 1 to 65535, a range such as 5000-5010, or *
          |
        7 | allow = 'tcp example.com:70000'
          |         ^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    let range = |rule: &str, expected| {
        check_tail(
            &format!("[[requests.addresses]]\nallow = '{rule}'\nreason = 'r'\n"),
            expected,
        );
    };
    range(
        "10.1.2.3/16",
        expect![[r#"
        plugin.toml:7:9: error: `10.1.2.3/16` is no rule: it names one address within a range; write "10.1.0.0/16"
          |
        7 | allow = '10.1.2.3/16'
          |         ^^^^^^^^^^^^^"#]],
    );
    range(
        "10.1.0.0/33",
        expect![[r#"
        plugin.toml:7:9: error: `10.1.0.0/33` is no rule: write a range of addresses such as "10.1.0.0/16" or "fd00::/8"
          |
        7 | allow = '10.1.0.0/33'
          |         ^^^^^^^^^^^^^"#]],
    );
    range(
        "example.com",
        expect![[r#"
        plugin.toml:7:9: error: `example.com` is no rule: write a range of addresses such as "10.1.0.0/16" or "fd00::/8"
          |
        7 | allow = 'example.com'
          |         ^^^^^^^^^^^^^"#]],
    );
}

#[test]
fn rules_are_shown_as_they_are_understood() {
    let tail = r#"
[[requests.network]]
allow = "GET,POST https://API.Example.com:443/repos/**"
reason = "r"
[[requests.network]]
allow = "* http://*.bücher.example:*/a*/b"
reason = "r"
[[requests.network]]
allow = "GET https://127.1:8000-8010/"
reason = "r"
[[requests.network]]
allow = "GET http://[0:0::1]/**"
reason = "r"
[[requests.sockets]]
allow = "tcp  Example.com:5432"
reason = "r"
[[requests.sockets]]
allow = "listen udp [::1]:*"
reason = "r"
[[requests.addresses]]
allow = "10.1.2.3"
reason = "r"
"#;
    let manifest = PluginManifest::parse("plugin.toml", &format!("{HEAD}{tail}")).unwrap();
    let shown: String = manifest
        .requests
        .items()
        .iter()
        .map(|item| format!("{}: {}\n", item.feature, item.what))
        .collect();
    expect![[r#"
        network: GET,POST https://api.example.com/repos/**
        network: * http://*.xn--bcher-kva.example:*/a*/b
        network: GET https://127.0.0.1:8000-8010/
        network: GET http://[::1]/**
        sockets: tcp example.com:5432
        sockets: listen udp [::1]:*
        addresses: 10.1.2.3/32
    "#]]
    .assert_eq(&shown);
}

#[test]
fn config_is_a_json_schema() {
    check_tail(
        "[config.properties]\nowner = { type = \"string\" }\n",
        expect!["github-issues 1.4.0"],
    );
    check_tail(
        "[config.properties]\nowner = { type = \"strin\" }\n",
        expect![[r#"
        plugin.toml:6:2: error: [config] is no usable JSON Schema: at /properties/owner/type: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword
          |
        6 | [config.properties]
          |  ^^^^^^"#]],
    );
    check_tail(
        "[config]\ntype = \"array\"\n",
        expect![[r#"
        plugin.toml:6:1: error: [config] must be a schema of an object; leave `type` out
          |
        6 | [config]
          | ^^^^^^^^"#]],
    );
    check_tail(
        "[config]\n\"$ref\" = \"https://example.com/schema.json\"\n",
        expect![[r#"
            plugin.toml:6:1: error: [config] is no usable JSON Schema: the reference "https://example.com/schema.json" is none within the schema (#/…)
              |
            6 | [config]
              | ^^^^^^^^"#]],
    );
    check_tail(
        "[config.properties.a]\ndefault = nan\n",
        expect![[r#"
        plugin.toml:7:11: error: `nan` and `inf` have no form in JSON; leave the key out or write a string
          |
        7 | default = nan
          |           ^^^"#]],
    );
    check_tail(
        "[config.properties.a]\ndefault = 2026-01-01\n",
        expect![[r#"
        plugin.toml:7:11: error: dates and times of TOML are not used here; write a string
          |
        7 | default = 2026-01-01
          |           ^^^^^^^^^^"#]],
    );
    check_tail(
        "[config.properties.a]\npattern = \"(?<=a)b\"\n",
        expect![[r#"
        plugin.toml:6:2: error: [config] is no usable JSON Schema: at /properties/a/pattern: "(?<=a)b" is not a "regex"
          |
        6 | [config.properties.a]
          |  ^^^^^^"#]],
    );
}

#[test]
fn settings_beyond_the_schema_are_errors_unless_it_says_otherwise() {
    let schema = |text: &str| ConfigSchema::new(serde_json::from_str(text).unwrap()).unwrap();
    let config = serde_json::from_str(r#"{"ownr": "acme"}"#).unwrap();
    assert!(ConfigSchema::default().check(&config).is_err());
    assert!(
        schema(r#"{"properties": {"owner": {}}}"#)
            .check(&config)
            .is_err()
    );
    assert!(
        schema(r#"{"additionalProperties": true}"#)
            .check(&config)
            .is_ok()
    );
    assert!(
        schema(r#"{"patternProperties": {"^o": {}}}"#)
            .check(&config)
            .is_ok()
    );
    assert!(ConfigSchema::default().check(&Default::default()).is_ok());
}

#[test]
fn files_are_bounded() {
    check(
        &" ".repeat((1 << 20) + 1),
        expect![
            "plugin.toml:1:1: error: the file has 1048577 bytes, but at most 1048576 are allowed"
        ],
    );
    let refused = |text: &str, what: &str| {
        let error = PluginManifest::parse("plugin.toml", text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(what), "{error}");
    };
    let dots = vec!["a"; 100_000].join(".");
    refused(&format!("{HEAD}{dots} = 1\n"), "lie within each other");
    refused(&format!("{HEAD}[{dots}]\n"), "lie within each other");
    refused(
        &format!("{HEAD}[config]\nx = {}{}\n", "[".repeat(50), "]".repeat(50)),
        "lie within each other",
    );
    refused(
        &format!(
            "{HEAD}[config]\nx = {}{}\n",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        "error",
    );
    let spread = format!(
        "{} = 1{}",
        "x = { a.b.c.d.e.f.g.h.i".repeat(20),
        "}".repeat(20)
    );
    refused(&format!("{HEAD}[config]\n{spread}\n"), "error");
    // Many mistakes: the first of them are shown.
    let many: String = (0..5_000).map(|i| format!("[requests.x{i}]\n")).collect();
    let errors = PluginManifest::parse("plugin.toml", &format!("{HEAD}{many}")).unwrap_err();
    assert_eq!(errors.errors().len(), 20);
}
