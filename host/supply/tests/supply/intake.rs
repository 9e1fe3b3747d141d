//! What is taken in, what is refused, and in which words.

use expect_test::{Expect, expect};
use portreeve_manifest::plugin::Origin;
use portreeve_manifest::size::ByteSize;
use portreeve_supply::{Digest, IntakeLimits, Package, Tools};

use crate::common::{append, provider, read, refusal, wasm, with_sections};

fn check(bytes: &[u8], expected: Expect) {
    expected.assert_eq(&refusal(bytes));
}

#[test]
fn files_that_are_no_components() {
    check(
        b"",
        expect!["the file is empty: a build or a download was cut off; make it again"],
    );
    check(
        b"(component)",
        expect![
            "this is WebAssembly text (WAT), not a binary component: translate it with `wasm-tools parse FILE -o FILE.wasm`"
        ],
    );
    check(
        b";; a comment\n  (module)",
        expect![
            "this is WebAssembly text (WAT), not a binary component: translate it with `wasm-tools parse FILE -o FILE.wasm`"
        ],
    );
    check(
        "schema = 1\n# é".as_bytes(),
        expect![
            "this is a text file that begins with `schema = 1 # é`, not a WebAssembly component: give the *.wasm that `portreeve build` writes"
        ],
    );
    check(
        b"{}",
        expect![
            "this is a text file that begins with `{}`, not a WebAssembly component: give the *.wasm that `portreeve build` writes"
        ],
    );
    check(
        b"\x7fELF\x02\x01\x01\0\0\0",
        expect![
            "this is no WebAssembly: it begins with the bytes 7f 45 4c 46, where a component has 00 61 73 6d; give the *.wasm that `portreeve build` writes"
        ],
    );
    check(
        b"\0asm",
        expect![
            "the component ends in the middle of its data, at byte 4: the file was cut off; build or fetch it again"
        ],
    );
    check(
        b"\0a",
        expect![
            "the component ends in the middle of its data, at byte 2: the file was cut off; build or fetch it again"
        ],
    );
    check(
        b"\0asm\x02\0\x07\0",
        expect![
            "this is WebAssembly of an unknown binary version (02 00 07 00): it was made by a much older or newer tool; build it again with current ones"
        ],
    );
    check(
        &wasm("(module (func))"),
        expect![
            "this is a core WebAssembly module, not a component: build it for `wasm32-wasip2` (`portreeve build` does), or wrap it with `wasm-tools component new`"
        ],
    );
}

#[test]
fn damaged_components() {
    let component =
        wasm(r#"(component (core module (func (export "f") (result i32) i32.const 1)))"#);
    check(
        &component[..component.len() - 10],
        expect![
            "the component ends in the middle of its data, at byte 34: the file was cut off; build or fetch it again"
        ],
    );
    let mut garbage = component.clone();
    garbage.extend_from_slice(b"garbage");
    check(
        &garbage,
        expect![
            "the component is not valid WebAssembly: unexpected end-of-file (at byte 46); it is damaged or its tool is faulty: build or fetch it again"
        ],
    );
    // `i32.const 1` becomes `i64.const 1`.
    let mut wrong = component.clone();
    let at = wrong.windows(2).position(|pair| pair == [0x41, 1]).unwrap();
    wrong[at] = 0x42;
    check(
        &wrong,
        expect![
            "the component is not valid WebAssembly: type mismatch: expected i32, found i64 (at byte 43); it is damaged or its tool is faulty: build or fetch it again"
        ],
    );
    let unchecked = IntakeLimits {
        check_code: false,
        ..IntakeLimits::default()
    };
    assert!(Package::read(&wrong, "n", &unchecked).is_ok());
}

#[test]
fn features_that_are_off() {
    for (text, expected) in [
        (
            "(memory i64 1)",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (memory64; memory64 must be enabled for 64-bit memories, at byte 21): build it without that feature"
            ],
        ),
        (
            "(memory 1) (memory 1)",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (multi-memory; multiple memories, at byte 20): build it without that feature"
            ],
        ),
        (
            "(memory 1 1 shared)",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (threads; threads must be enabled for shared memories, at byte 21): build it without that feature"
            ],
        ),
        (
            "(tag)",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (exceptions; exceptions proposal not enabled, at byte 26): build it without that feature"
            ],
        ),
        (
            "(func return_call 0)",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (tail-call; tail calls support is not enabled, at byte 33): build it without that feature"
            ],
        ),
        (
            "(type (struct))",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (gc; struct indexed types not supported without the gc feature, at byte 21): build it without that feature"
            ],
        ),
        (
            "(func (param externref))",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (gc-types; gc types are disallowed but found type which requires gc, at byte 21): build it without that feature"
            ],
        ),
        (
            "(func (param v128) local.get 0 local.get 0 local.get 0 f32x4.relaxed_madd drop)",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (relaxed-simd; relaxed SIMD support is not enabled, at byte 40): build it without that feature"
            ],
        ),
        (
            "(func (param i64 i64) local.get 0 local.get 1 i64.mul_wide_s drop drop)",
            expect![
                "the component uses a WebAssembly feature that this host has switched off (wide-arithmetic; wide arithmetic support is not enabled, at byte 39): build it without that feature"
            ],
        ),
    ] {
        check(
            &wasm(&format!("(component (core module {text}))")),
            expected,
        );
    }
}

#[test]
fn features_that_are_on() {
    for text in [
        "(func (param v128) local.get 0 local.get 0 f32x4.add drop)",
        "(memory 1) (func i32.const 0 i32.const 0 i32.const 0 memory.copy)",
        "(func (param funcref))",
        "(func (result i32 i32) i32.const 0 i32.const 0)",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
    ] {
        read(&wasm(&format!("(component (core module {text}))"))).unwrap();
    }
    let package = read(&wasm("(component (type (stream u8)))")).unwrap();
    assert!(package.surface.asynchronous);
    assert!(
        !read(&wasm("(component (type (list u8)))"))
            .unwrap()
            .surface
            .asynchronous
    );
}

#[test]
fn inferred_manifests() {
    // An empty name section; subsection 0 holds the component's name.
    let named = |name: &str| {
        [
            &[0, name.len() as u8 + 1, name.len() as u8],
            name.as_bytes(),
        ]
        .concat()
    };
    for (sections, expected) in [
        (vec![], "file-name 0.0.0 None"),
        (
            vec![("component-name", named("Acme:Greeter (2)"))],
            "acme-greeter-2 0.0.0 None",
        ),
        (
            vec![("component-name", named("---"))],
            "file-name 0.0.0 None",
        ),
        (
            vec![("component-name", b"\0\xff".to_vec())],
            "file-name 0.0.0 None",
        ),
        (
            vec![
                ("version", b"1.2.3".to_vec()),
                ("description", br#"Says "hi" \ bye"#.to_vec()),
            ],
            r#"file-name 1.2.3 Some("Says \"hi\" \\ bye")"#,
        ),
        (
            vec![("version", b"nonsense".to_vec())],
            "file-name 0.0.0 None",
        ),
        (
            vec![("description", b"two\nlines".to_vec())],
            "file-name 0.0.0 None",
        ),
    ] {
        let sections: Vec<_> = sections
            .iter()
            .map(|(name, data)| (*name, data.as_slice()))
            .collect();
        let package = read(&with_sections(&sections)).unwrap();
        assert_eq!(package.manifest.origin, Origin::Inferred);
        let plugin = package.manifest;
        assert_eq!(
            format!("{} {} {:?}", plugin.id, plugin.version, plugin.description),
            expected
        );
    }
    let component = wasm("(component)");
    let error = Package::read(&component, "日本", &IntakeLimits::default()).unwrap_err();
    expect!["this component carries no name, and its file's name `日本` has no letter a-z or digit to make an id of: rename the file, or pack the component with a plugin.toml (`portreeve build`)"].assert_eq(&error.to_string());
    let long = Package::read(&component, &"a-".repeat(100), &IntakeLimits::default()).unwrap();
    assert_eq!(
        long.manifest.id.as_str(),
        format!("{}-a", ["a"; 31].join("-"))
    );
}

#[test]
fn digest_and_size() {
    let component = wasm("(component)");
    let package = read(&component).unwrap();
    assert_eq!(package.digest, Digest::of(&component));
    assert_eq!(package.size, component.len() as u64);
    assert_eq!(package.tools, Tools::None);
}

#[test]
fn our_sections() {
    check(
        &with_sections(&[("portreeve:manifest", b""), ("portreeve:manifest", b"")]),
        expect![
            "the component has more than one section `portreeve:manifest`: other tools have merged two packages; pack it again with `portreeve build`"
        ],
    );
    check(
        &with_sections(&[("portreeve:manifest", b"\xff")]),
        expect![
            "the section `portreeve:manifest` is not as `portreeve build` writes it: it is not UTF-8 (at its byte 0); pack the component again"
        ],
    );
    check(
        &with_sections(&[("portreeve:manifest", &vec![b'#'; (256 << 10) + 1])]),
        expect![
            "the component is too large to take in: its section portreeve:manifest has 262145 bytes, where the limit is 256 KiB; shorten what goes into it and pack again"
        ],
    );
    check(
        &with_sections(&[("portreeve:tools", b"[]")]),
        expect![
            "tools are recorded for this component, but it doesn't export `portreeve:tools/provider`: pack it again with `portreeve build`"
        ],
    );
    check(
        &with_sections(&[("portreeve:licences", b"[{}]")]),
        expect![
            "the section `portreeve:licences` is not as `portreeve build` writes it: missing field `name` at line 1 column 3; pack the component again"
        ],
    );
    let twice = with_sections(&[(
        "portreeve:licences",
        br#"[{"name": "a", "name": "b", "text": ""}]"#,
    )]);
    assert!(refusal(&twice).contains("\"name\" stands twice"));
    let provider = provider("portreeve:tools/provider@0.1.0");
    for (tools, expected) in [
        (
            "{}",
            expect![
                "the section `portreeve:tools` is not as `portreeve build` writes it: it is no JSON array; pack the component again"
            ],
        ),
        (
            "[1]",
            expect![
                "the section `portreeve:tools` is not as `portreeve build` writes it: the tool document is refused: it must be a JSON object; pack the component again"
            ],
        ),
        (
            r#"[{"name": "a"}]"#,
            expect![
                "the section `portreeve:tools` is not as `portreeve build` writes it: the tool document is refused: missing field `inputSchema`; pack the component again"
            ],
        ),
        (
            r#"[{"name": "a b", "inputSchema": {"type": "object"}}]"#,
            expect![[
                r#"the section `portreeve:tools` is not as `portreeve build` writes it: the tool "a b" is refused: a name has 1 to 64 characters of A-Z, a-z, 0-9, `_`, `.` and `-`; pack the component again"#
            ]],
        ),
        (
            r#"[{"name": "a", "inputSchema": {"type": "object"}}, {"name": "a", "inputSchema": {"type": "object"}}]"#,
            expect![[
                r#"the section `portreeve:tools` is not as `portreeve build` writes it: two tools are named "a"; give each a name of its own; pack the component again"#
            ]],
        ),
    ] {
        check(
            &append(provider.clone(), &[("portreeve:tools", tools.as_bytes())]),
            expected,
        );
    }
    // Sections of ours that are not known, and those within nested modules, say nothing.
    read(&with_sections(&[("portreeve:future", b"\xff")])).unwrap();
    read(&wasm(
        r#"(component (core module (@custom "portreeve:manifest" "\ff")))"#,
    ))
    .unwrap();
}

#[test]
fn interfaces_of_ours() {
    let package = read(&provider("portreeve:tools/provider@0.1.3")).unwrap();
    assert_eq!(
        (package.surface.provides_tools, package.surface.lifecycle),
        (true, false)
    );
    assert_eq!(package.tools, Tools::Unrecorded);
    let package = read(&provider("portreeve:lifecycle/lifecycle@0.1.0")).unwrap();
    assert_eq!(
        (package.surface.provides_tools, package.surface.lifecycle),
        (false, true)
    );
    assert_eq!(package.tools, Tools::None);
    let package = read(&provider("portreeve:messages/handler@0.1.0")).unwrap();
    assert!(package.surface.handles_messages && !package.surface.answers_requests);
    assert_eq!(package.surface.skipped, []);
    let package = read(&provider("portreeve:messages/responder@0.1.0")).unwrap();
    assert!(package.surface.answers_requests && !package.surface.handles_messages);
    assert_eq!(package.surface.skipped, []);
    let package = read(&provider("portreeve:other/thing@3.0.0")).unwrap();
    expect![[r#"[("portreeve:other/thing@3.0.0", "an interface that this version of Portreeve doesn't use")]"#]].assert_eq(&format!("{:?}", package.surface.skipped));
    check(
        &provider("portreeve:tools/provider@0.2.0"),
        expect![
            "the component exports `portreeve:tools/provider@0.2.0`, and this host knows `portreeve:tools/provider@0.1.x`: it was made for a newer Portreeve: update this host"
        ],
    );
    check(
        &provider("portreeve:tools/provider@0.0.1"),
        expect![
            "the component exports `portreeve:tools/provider@0.0.1`, and this host knows `portreeve:tools/provider@0.1.x`: it was made for an older Portreeve: build it again with a current SDK"
        ],
    );
}

#[test]
fn names_of_imports_and_exports() {
    let package = read(&wasm(
        r#"(component
            (import "wasi:cli/stdin@0.2.3" (instance))
            (import "acme:x/y" (instance))
            (component $nested (import "not-this" (func)))
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "f"))))"#,
    ))
    .unwrap();
    expect![[r#"
        Surface {
            imports: [
                "wasi:cli/stdin@0.2.3",
                "acme:x/y",
            ],
            exports: [
                "run",
            ],
            provides_tools: false,
            lifecycle: false,
            handles_messages: false,
            answers_requests: false,
            resources: false,
            prompts: false,
            completion: false,
            asynchronous: false,
            linkage: Unsaid,
            skipped: [],
        }
    "#]]
    .assert_debug_eq(&package.surface);
}

#[test]
fn limits_can_be_lowered() {
    let component = wasm(r#"(component (import "one-name" (func)) (import "b" (func)))"#);
    let defaults = IntakeLimits::default;
    for (limits, expected) in [
        (
            IntakeLimits {
                component: ByteSize(4),
                ..defaults()
            },
            "the file has",
        ),
        (
            IntakeLimits {
                imports: 1,
                ..defaults()
            },
            "its imports: 2",
        ),
        (
            IntakeLimits {
                name: 4,
                ..defaults()
            },
            "the length of a name",
        ),
        (
            IntakeLimits {
                sections: 1,
                ..defaults()
            },
            "its sections: 2",
        ),
        (
            IntakeLimits {
                definitions: 2,
                ..defaults()
            },
            "its definitions",
        ),
        (
            IntakeLimits {
                declarations: ByteSize(4),
                ..defaults()
            },
            "its component-level declarations have",
        ),
        (
            IntakeLimits {
                nesting: 0,
                ..defaults()
            },
            "components within components, levels: 1",
        ),
    ] {
        let error = Package::read(&component, "n", &limits)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}
