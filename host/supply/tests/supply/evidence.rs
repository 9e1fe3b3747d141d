//! What imports tell about requests.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use portreeve_manifest::plugin::PluginManifest;
use portreeve_supply::evidence::{Verdict, compare};

use crate::common::{append, read, wasm};

const RUST: &str = r#"(core module (@producers (language "Rust" "") (language "C11" "")))"#;

/// A plugin that asks for most of what an import can show, with a component that imports
/// `imports` and is made of `modules`.
fn check(modules: &str, imports: &[&str], requests: &str, expected: Expect) {
    let imports: String = imports
        .iter()
        .map(|name| format!("(import {name:?} (instance))"))
        .collect();
    let package = read(&wasm(&format!("(component {imports} {modules})"))).unwrap();
    let manifest = PluginManifest::parse(
        "plugin.toml",
        &format!(
            "schema = 1\n[plugin]\nid = \"p\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n{requests}"
        ),
    )
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut shown = String::new();
    for evidence in compare(&manifest.requests, &package.surface) {
        let _ = writeln!(
            shown,
            "{}: {:?} {}",
            evidence.feature,
            evidence.verdict,
            evidence.interfaces.join(" ")
        );
    }
    if let Some(doubt) = package.surface.linkage.doubt() {
        let _ = writeln!(shown, "{doubt}");
    }
    expected.assert_eq(&shown);
}

const PROGRESS: &str = "[requests.ui]\nprogress = \"show it\"\n";
const NETWORK: &str = "[[requests.network]]\nallow = \"GET https://example.com/**\"\ncredential = \"key\"\nreason = \"read\"\n";
const FILES: &str = "[[requests.directories]]\npath = \"/notes\"\nreason = \"keep notes\"\n";

/// What Rust's standard library imports of itself.
const STANDARD: &[&str] = &[
    "wasi:io/poll@0.2.6",
    "wasi:io/streams@0.2.6",
    "wasi:cli/environment@0.2.6",
    "wasi:cli/stdin@0.2.6",
    "wasi:clocks/wall-clock@0.2.6",
    "wasi:random/insecure-seed@0.2.6",
    "wasi:filesystem/types@0.2.6",
    "wasi:filesystem/preopens@0.2.6",
    "portreeve:host/context@0.1.0",
];

#[test]
fn a_standard_library_raises_no_alarm() {
    check(RUST, STANDARD, "", expect![""]);
    check(
        RUST,
        STANDARD,
        FILES,
        expect![[r#"
            directories: Fits wasi:filesystem/preopens@0.2.6
        "#]],
    );
}

#[test]
fn imports_of_rust_are_proof() {
    check(
        RUST,
        &["portreeve:ui/progress@0.1.0"],
        PROGRESS,
        expect![[r#"
            ui.progress: Fits portreeve:ui/progress@0.1.0
        "#]],
    );
    check(
        RUST,
        &[
            "wasi:http/types@0.2.6",
            "wasi:sockets/network@0.2.6",
            "wasi:sockets/tcp@0.2.6",
            "wasi:sockets/udp@0.2.6",
            "portreeve:ui/progress@0.1.3",
        ],
        &format!("{NETWORK}{FILES}"),
        expect![[r#"
            network: Unneeded wasi:http/outgoing-handler
            credentials: Unneeded wasi:http/outgoing-handler
            sockets: Unrequested wasi:sockets/tcp@0.2.6 wasi:sockets/udp@0.2.6
            directories: Unneeded wasi:filesystem/preopens
            ui.progress: Unrequested portreeve:ui/progress@0.1.3
        "#]],
    );
}

#[test]
fn what_imports_more_than_it_uses_proves_only_absence() {
    let all = &[
        "portreeve:ui/progress@0.1.0",
        "wasi:sockets/tcp@0.2.6",
        "wasi:filesystem/preopens@0.2.6",
    ];
    let requests = &format!("{PROGRESS}{NETWORK}");
    let shim = r#"(core module (@producers (processed-by "wit-component" "0.245.1")))"#;
    check(
        &format!(
            r#"(core module (@producers (language "Rust" "") (language "JavaScript" ""))) {shim}"#
        ),
        all,
        requests,
        expect![[r#"
            network: Unneeded wasi:http/outgoing-handler
            credentials: Unneeded wasi:http/outgoing-handler
            sockets: PerhapsUnrequested wasi:sockets/tcp@0.2.6
            ui.progress: PerhapsUnneeded portreeve:ui/progress@0.1.0
            it is made of JavaScript, which may import more than it uses
        "#]],
    );
    // Python says that it is Rust.
    let python = format!("{RUST} (core module (@dylink.0 (mem-info (memory 8 4))))");
    check(
        &python,
        all,
        "",
        expect![[r#"
            sockets: PerhapsUnrequested wasi:sockets/tcp@0.2.6
            ui.progress: PerhapsUnrequested portreeve:ui/progress@0.1.0
            its modules are linked when it starts, as Python's are, which import more than they use
        "#]],
    );
    // One module that says nothing is enough, as an adapter in Rust says something.
    for modules in [
        "",
        "(core module)",
        shim,
        &format!("{RUST} (core module)"),
        &format!("(core module) {RUST}"),
        &format!("{RUST} (component (core module))"),
    ] {
        check(
            modules,
            &["wasi:sockets/tcp@0.2.6"],
            "",
            expect![[r#"
                sockets: PerhapsUnrequested wasi:sockets/tcp@0.2.6
                it doesn't say what it is made of (was it stripped?)
            "#]],
        );
    }
}

#[test]
fn the_language_may_stand_on_the_component() {
    let component = wasm(&format!("(component {RUST})"));
    assert_eq!(read(&component).unwrap().surface.linkage.doubt(), None);
    // One field, `language`, with one value, `JavaScript` of no version.
    let producers = b"\x01\x08language\x01\x0aJavaScript\x00";
    let doubt = |data: &[u8]| {
        let component = append(component.clone(), &[("producers", data)]);
        read(&component).unwrap().surface.linkage.doubt()
    };
    assert!(doubt(producers).unwrap().contains("JavaScript"));
    // What can't be read says nothing.
    assert_eq!(doubt(&producers[..12]), None);
    assert_eq!(doubt(b"\xff\xff\xff\xff\xff"), None);
}

#[test]
fn what_no_import_shows_is_unseen() {
    let requests = "[requests.messages]\nsubscribe = [\"a.b\"]\nreason = \"hear\"\n";
    check(
        RUST,
        &[],
        requests,
        expect![[r#"
            messages.subscribe: Unseen 
        "#]],
    );
}

#[test]
fn components_of_wasi_0_3_are_not_judged() {
    let mut package = read(&wasm(&format!("(component {RUST})"))).unwrap();
    package.surface.asynchronous = true;
    package.surface.imports = vec!["wasi:sockets/tcp@0.2.6".to_owned()];
    let requests = &package.manifest.requests;
    assert_eq!(compare(requests, &package.surface), []);
    package.surface.asynchronous = false;
    let found = compare(requests, &package.surface);
    assert_eq!(found[0].verdict, Verdict::Unrequested);
}
