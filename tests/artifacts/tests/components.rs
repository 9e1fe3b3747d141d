//! Every program is what it says it is.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use portreeve_test_artifacts as artifacts;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

const PROVIDER: &str = "portreeve:tools/provider@0.1.0";
const RESOURCES: &str = "portreeve:content/resources@0.1.0";
const PROMPTS: &str = "portreeve:content/prompts@0.1.0";
const COMPLETION: &str = "portreeve:content/completion@0.1.0";
const HANDLER: &str = "portreeve:messages/handler@0.1.0";
const RESPONDER: &str = "portreeve:messages/responder@0.1.0";
const LIFECYCLE: &str = "portreeve:lifecycle/lifecycle@0.1.0";

/// What a component's outermost sections hold.
#[derive(Default)]
struct Surface {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    custom_sections: BTreeSet<String>,
}

fn surface(path: &str) -> Result<Surface> {
    let wasm = fs::read(path)?;
    let mut surface = Surface::default();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    surface.imports.insert(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    surface.exports.insert(export?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if depth == 0 => {
                surface.custom_sections.insert(section.name().to_owned());
            }
            _ => {}
        }
    }
    Ok(surface)
}

/// Names of a group's programs, each with its path.
macro_rules! group {
    ($function:ident, $foreach:ident) => {
        fn $function() -> Vec<(&'static str, &'static str)> {
            let mut names = Vec::new();
            macro_rules! push {
                ($name:ident) => {
                    names.push(stringify!($name));
                };
            }
            artifacts::$foreach!(push);
            let path = |name: &str| {
                let found = artifacts::ALL.iter().find(|(other, _)| *other == name);
                found.map(|(_, path)| *path).expect("a listed program")
            };
            names.into_iter().map(|name| (name, path(name))).collect()
        }
    };
}
group!(programs, foreach_program);
group!(providers, foreach_provider);
group!(bare, foreach_bare);
group!(text, foreach_text);

#[test]
fn groups_make_up_the_whole() {
    assert_eq!(programs(), artifacts::ALL);
    let mut parts = [providers(), bare(), text()].concat();
    parts.sort_unstable();
    assert_eq!(parts, artifacts::ALL);
    let paths: BTreeSet<&str> = artifacts::ALL.iter().map(|(_, path)| *path).collect();
    assert_eq!(paths.len(), artifacts::ALL.len());
}

#[test]
fn every_program_is_a_valid_component_but_the_core_module() -> Result<()> {
    for (name, path) in artifacts::ALL {
        let wasm = fs::read(path)?;
        let version = Parser::new(0)
            .parse_all(&wasm)
            .next()
            .context("an empty file")??;
        let Payload::Version { encoding, .. } = version else {
            panic!("{name} has no version")
        };
        let expected = match *name {
            "core_module" => Encoding::Module,
            _ => Encoding::Component,
        };
        assert_eq!(encoding, expected, "{name}");
        // Streams and futures are the only proposal that one of them needs.
        let features = match *name {
            "streams" => WasmFeatures::default() | WasmFeatures::CM_ASYNC,
            _ => WasmFeatures::default() - WasmFeatures::CM_ASYNC,
        };
        Validator::new_with_features(features)
            .validate_all(&wasm)
            .with_context(|| format!("{name} is not valid"))?;
    }
    Ok(())
}

#[test]
fn providers_export_what_they_should_and_nothing_else() -> Result<()> {
    for (name, path) in providers() {
        let expected: BTreeSet<String> = match name {
            "lifecycle" | "lifecycle_fails" | "lifecycle_spins" => [PROVIDER, LIFECYCLE].into(),
            "post" => [PROVIDER, LIFECYCLE, HANDLER, RESPONDER].into(),
            "conformance" | "panel" | "resources" => {
                [PROVIDER, RESOURCES, PROMPTS, COMPLETION].into()
            }
            _ => BTreeSet::from([PROVIDER]),
        }
        .into_iter()
        .map(str::to_owned)
        .collect();
        assert_eq!(surface(path)?.exports, expected, "{name}");
    }
    Ok(())
}

#[test]
fn programs_import_only_wasi_and_portreeve() -> Result<()> {
    for (name, path) in [providers(), bare()].concat() {
        for import in surface(path)?.imports {
            let known = import.starts_with("wasi:") || import.starts_with("portreeve:");
            assert!(known, "{name} imports {import}");
        }
    }
    Ok(())
}

/// A host that serves an interface must have a program that uses it.
#[test]
fn each_import_of_the_contract_is_used_by_a_program() -> Result<()> {
    let mut used = BTreeSet::new();
    for (_, path) in providers() {
        used.extend(surface(path)?.imports);
    }
    for import in [
        "portreeve:host/context@0.1.0",
        "portreeve:host/config@0.1.0",
        "portreeve:ui/progress@0.1.0",
        "portreeve:prompt/notices@0.1.0",
        "portreeve:prompt/questions@0.1.0",
        "portreeve:secrets/store@0.1.0",
        "portreeve:secrets/inject@0.1.0",
        "portreeve:secrets/reveal@0.1.0",
        "portreeve:network/failures@0.1.0",
    ] {
        assert!(used.contains(import), "no program imports {import}");
    }
    Ok(())
}

#[test]
fn bare_components_and_texts_export_their_functions() -> Result<()> {
    let check = |path, exports: &[&str]| -> Result<()> {
        let expected: BTreeSet<String> = exports.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(surface(path)?.exports, expected, "{path}");
        Ok(())
    };
    let values = ["add", "greet", "portreeve-test:values/roundtrip@1.0.0"];
    check(artifacts::BARE_VALUES, &values)?;
    check(artifacts::BARE_DOCUMENTED, &values)?;
    check(
        artifacts::BARE_INVENTORY,
        &["portreeve-test:inventory/room@0.2.0"],
    )?;
    check(artifacts::MEMORIES, &["grow-a", "grow-b", "grow-c"])?;
    check(artifacts::TABLE_GROW, &["grow"])?;
    check(artifacts::UNKNOWN_IMPORT, &["ask", "answer"])?;
    check(
        artifacts::STREAMS,
        &["read-stream", "await-future", "answer"],
    )?;
    check(artifacts::NESTED_TYPE, &["take", "answer"])?;
    check(artifacts::EXPLODING_TYPE, &["take", "answer"])?;
    for path in [
        artifacts::MANY_INSTANCES,
        artifacts::NESTED_COMPONENTS,
        artifacts::START_SPINS,
    ] {
        check(path, &["answer"])?;
    }
    assert_eq!(surface(artifacts::MANY_EXPORTS)?.exports.len(), 10_000);
    let longest = surface(artifacts::LONG_NAME)?
        .exports
        .iter()
        .map(String::len)
        .max();
    assert_eq!(longest, Some(90_000));
    assert!(
        surface(artifacts::UNKNOWN_IMPORT)?
            .imports
            .contains("foo:bar/baz@1.0.0")
    );
    Ok(())
}

#[test]
fn the_documented_component_alone_carries_documentation() -> Result<()> {
    for (name, path) in artifacts::ALL {
        if *name == "core_module" {
            continue;
        }
        let documented = surface(path)?.custom_sections.contains("package-docs");
        assert_eq!(documented, *name == "bare_documented", "{name}");
    }
    let wasm = fs::read(artifacts::BARE_DOCUMENTED)?;
    let has = |text: &str| {
        wasm.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(has("Adds two numbers; more than 32 bits are cut off."));
    assert!(has("Metres to the east."));
    Ok(())
}
