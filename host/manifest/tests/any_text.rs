//! Whatever text comes in, an answer comes out; what is shown reads back.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use portreeve_manifest::grant::{
    AddressRange, Cron, GuestPath, NetworkRule, Reason, SecretRef, SocketRule, ToolPattern,
    TopicPattern,
};
use portreeve_manifest::licence::{Licence, Licensee};
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::policy::{Date, PluginPattern};
use portreeve_manifest::project::ProjectManifest;
use proptest::prelude::*;

/// Reads a text; if it is accepted, what is shown of it means the same.
fn check<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(value), "{text}");
    }
}

/// Something near to what the parsers accept.
fn near() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "GET",
        "*",
        ",",
        " ",
        "http",
        "https",
        "://",
        "example.com",
        "*.",
        "[::1]",
        "127.0.0.1",
        ":",
        "80",
        "-",
        "/",
        "**",
        "..",
        "tcp",
        "udp",
        "listen",
        "10.0.0.0",
        "fd00::",
        "8",
        "a",
        "vault",
        ".",
        "0",
        "15",
        "MIT",
        "OR",
        "(",
        ")",
        "WITH",
        "+",
        "2027",
        "12",
        "31",
        "é",
        "\u{1b}",
        "0x7f",
        "%2e",
        "JAN",
        "L",
        "#",
        "?",
        "@",
    ]);
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

const PLUGIN: &str = r#"schema = 1
plugin = { id = "a", version = "1.0.0", license = "MIT" }
[[requests.network]]
allow = "GET https://example.com/**"
reason = "r"
[requests.schedules]
n = { every = "1h", reason = "r" }
[config.properties.a]
type = "string"
"#;

const PROJECT: &str = r#"schema = 1
host = { limits = { queue = 1 } }
[plugins.a]
source = "a"
grants.ui = { progress = true }
limits = { memory = "1 MiB" }
config = { x = [1, { y = 2.5 }] }
"#;

/// A text with a piece of it replaced.
fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[\\[\\]{}=.\"'a-z0-9 \n#,]{0,4}",
        "\\PC{0,3}",
        Just("[[".to_owned()),
        Just("nan".to_owned()),
        Just("2026-01-01".to_owned()),
    ];
    (0..text.len(), 0usize..12, piece).prop_map(move |(start, length, piece)| {
        let end = (start + length).min(text.len());
        format!("{}{piece}{}", &text[..start], &text[end..])
    })
}

#[test]
fn a_mebibyte_of_anything_is_answered() {
    let pieces = [
        "=\n",
        "[a]\n",
        "[[a]]\n",
        "[a.b.c.d]\n",
        "a.b = 1\n",
        "x = [",
        "{",
        "\"\"\"",
        "'",
        ".",
        "#",
        "\0",
        "[plugins.a]\nsource = 1\n",
        "[[requests.network]]\nallow = 'x'\nreason = ''\n",
    ];
    for piece in pieces {
        let text = piece.repeat((1 << 20) / piece.len() - 2);
        let text = format!("schema = 1\n{text}");
        let _ = PluginManifest::parse("plugin.toml", &text).map_err(|errors| errors.to_string());
        let _ =
            ProjectManifest::parse("portreeve.toml", &text).map_err(|errors| errors.to_string());
    }
    let keys: String = (0..60_000).map(|i| format!("k{i} = {i}\n")).collect();
    let text = format!("schema = 1\n[plugins.a]\nsource = 'a'\n[plugins.a.config]\n{keys}");
    assert!(ProjectManifest::parse("portreeve.toml", &text).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn terms(text in prop_oneof![near(), any::<String>()]) {
        check::<NetworkRule>(&text);
        check::<SocketRule>(&text);
        check::<AddressRange>(&text);
        check::<TopicPattern>(&text);
        check::<ToolPattern>(&text);
        check::<GuestPath>(&text);
        check::<SecretRef>(&text);
        check::<Reason>(&text);
        check::<Cron>(&text);
        check::<Licence>(&text);
        check::<Licensee>(&text);
        check::<PluginPattern>(&text);
        check::<Date>(&text);
    }

    #[test]
    fn manifests(plugin in mutated(PLUGIN), project in mutated(PROJECT)) {
        if let Err(errors) = PluginManifest::parse("plugin.toml", &plugin) {
            prop_assert!(errors.to_string().starts_with("plugin.toml:"));
        }
        if let Err(errors) = ProjectManifest::parse("portreeve.toml", &project) {
            prop_assert!(errors.to_string().starts_with("portreeve.toml:"));
        }
    }

    #[test]
    fn any_manifest(text in any::<String>()) {
        let _ = PluginManifest::parse("plugin.toml", &text);
        let _ = ProjectManifest::parse("portreeve.toml", &format!("schema = 1\n{text}"));
    }
}
