//! Papers go in and come out again.

use expect_test::expect;
use portreeve_manifest::plugin::Origin;
use portreeve_manifest::tool::Tool;
use portreeve_supply::{IntakeLimits, PackParts, Package, Tools, pack};
use proptest::prelude::*;

use crate::common::{append, provider, read, wasm, with_sections};

const MANIFEST: &str = r#"# kept to the letter
schema = 1
[plugin]
id = "greeter"
version = "1.2.3"
license = "MIT OR Apache-2.0"
description = "Greets"
"#;

fn tool() -> Tool {
    Tool::parse(r#"{"name": "greet", "description": "Says hé", "inputSchema": {"type": "object"}}"#)
        .unwrap()
}

fn parts<'a>(texts: &'a [(String, String)], tools: &'a [Tool]) -> PackParts<'a> {
    PackParts {
        manifest_toml: MANIFEST,
        licence_texts: texts,
        tools,
        ..PackParts::default()
    }
}

/// The outermost custom sections: names and data.
fn customs(component: &[u8]) -> Vec<(String, Vec<u8>)> {
    use wasmparser::{Parser, Payload};
    let mut depth = 0;
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(s) if depth == 1 => {
                found.push((s.name().to_owned(), s.data().to_owned()))
            }
            _ => {}
        }
    }
    found
}

#[test]
fn what_is_packed_is_read() {
    let texts = [(
        "LICENSE-MIT".to_owned(),
        "Permission is hereby granted, \"é\"\n".to_owned(),
    )];
    let tools = [tool()];
    let packed = pack(
        &provider("portreeve:tools/provider@0.1.0"),
        &parts(&texts, &tools),
    )
    .unwrap();
    let package = read(&packed).unwrap();
    assert_eq!(package.manifest.origin, Origin::Declared);
    assert_eq!(package.manifest.id.as_str(), "greeter");
    assert_eq!(package.licence_texts, texts);
    assert_eq!(package.tools, Tools::Recorded(tools.to_vec()));
    let names: Vec<_> = customs(&packed).into_iter().map(|(name, _)| name).collect();
    expect!["component-name version licenses description portreeve:manifest portreeve:licences portreeve:tools"].assert_eq(&names.join(" "));
    wasmparser::Validator::new().validate_all(&packed).unwrap();
}

#[test]
fn packing_again_changes_nothing() {
    let tools = [tool()];
    let component = append(
        provider("portreeve:tools/provider@0.1.0"),
        &[
            ("producers", b"\0"),
            ("version", b"0.0.1"),
            ("portreeve:old", b"x"),
            ("licenses", b"GPL-3.0-only"),
            ("portreeve:manifest", b"an earlier one"),
            ("kept", b"data"),
            ("component-name", b"\0\x04\x03old\x0b\x03\x01\0\0"),
        ],
    );
    let once = pack(&component, &parts(&[], &tools)).unwrap();
    assert_eq!(pack(&component, &parts(&[], &tools)).unwrap(), once);
    assert_eq!(pack(&once, &parts(&[], &tools)).unwrap(), once);
    let customs = customs(&once);
    let names: Vec<_> = customs.iter().map(|(name, _)| name.as_str()).collect();
    expect!["producers kept component-name version licenses description portreeve:manifest portreeve:tools"].assert_eq(&names.join(" "));
    let licenses = customs.iter().find(|(name, _)| name == "licenses").unwrap();
    assert_eq!(String::from_utf8_lossy(&licenses.1), "MIT OR Apache-2.0");
    // Other papers replace these.
    let other = MANIFEST.replace("1.2.3", "1.2.4");
    let again = pack(
        &once,
        &PackParts {
            manifest_toml: &other,
            ..parts(&[], &[])
        },
    )
    .unwrap();
    let package = read(&again).unwrap();
    assert_eq!(package.manifest.version.to_string(), "1.2.4");
    assert_eq!(package.tools, Tools::Recorded(Vec::new()));
}

#[test]
fn code_is_kept_to_the_byte() {
    let component =
        wasm(r#"(component (core module (func (export "f") (result i32) i32.const 7)))"#);
    let packed = pack(&component, &parts(&[], &[])).unwrap();
    assert!(packed.starts_with(&component));
    assert_eq!(read(&packed).unwrap().tools, Tools::None);
}

#[test]
fn what_cannot_be_packed() {
    let tools = [tool()];
    for (component, parts, expected) in [
        (wasm("(module)"), parts(&[], &[]), "core WebAssembly module"),
        (
            wasm("(component)"),
            parts(&[], &tools),
            "doesn't export `portreeve:tools/provider`",
        ),
        (
            wasm("(component)"),
            PackParts {
                manifest_toml: "schema = 1",
                ..parts(&[], &[])
            },
            "plugin.toml",
        ),
        (
            wasm("(component)"),
            parts(&[("LICENSE".to_owned(), "x".repeat(2 << 20))], &[]),
            "its section portreeve:licences has",
        ),
        (
            with_sections(&[("portreeve:tools", b"\xff")]),
            parts(&[], &[]),
            "not UTF-8",
        ),
    ] {
        let error = pack(&component, &parts).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn any_papers_make_the_round_trip(
        texts in prop::collection::vec((".{0,20}", "(?s).{0,200}"), 0..4),
        names in prop::collection::btree_set("[A-Za-z0-9_.-]{1,64}", 0..5),
        description in "[^\\p{C}]{0,100}",
    ) {
        let tools: Vec<_> = names
            .into_iter()
            .map(|name| Tool { name, description: Some(description.clone()), ..tool() })
            .collect();
        let packed = pack(&provider("portreeve:tools/provider@0.1.0"), &parts(&texts, &tools)).unwrap();
        let package = Package::read(&packed, "n", &IntakeLimits::default()).unwrap();
        prop_assert_eq!(package.licence_texts, texts.clone());
        prop_assert_eq!(package.tools, Tools::Recorded(tools.clone()));
        prop_assert_eq!(pack(&packed, &parts(&texts, &tools)).unwrap(), packed);
    }
}
