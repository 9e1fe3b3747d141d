//! Files that somebody made to do harm: each ends in a clear error, soon.

use std::time::{Duration, Instant};

use portreeve_supply::{Error, IntakeLimits, PackParts, Package, pack};
use proptest::prelude::*;
use wasm_encoder::{
    Component, ComponentExportKind, ComponentExportSection, ComponentImportSection,
    ComponentTypeRef, ComponentTypeSection, CustomSection, NestedComponentSection,
    PrimitiveValType,
};

use crate::common::{provider, read, wasm};

/// Far above what any of these takes, far below what a person calls a hang.
const SOON: Duration = Duration::from_secs(10);

/// Reads and holds the error against a part of the text that it must have.
fn refused(bytes: &[u8], expected: &str) {
    let start = Instant::now();
    let error = read(bytes)
        .map(|package| package.size)
        .unwrap_err()
        .to_string();
    assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
    assert!(error.contains(expected), "{error}");
    assert!(error.chars().count() < 1_000, "{error}");
}

/// A component that imports one function and exports it so many times.
fn exporting(count: u32, name: impl Fn(u32) -> String) -> Component {
    let mut component = Component::new();
    let mut types = ComponentTypeSection::new();
    types
        .function()
        .params([("x", PrimitiveValType::U8)])
        .result(None);
    component.section(&types);
    let mut imports = ComponentImportSection::new();
    imports.import("f", ComponentTypeRef::Func(0));
    component.section(&imports);
    let mut exports = ComponentExportSection::new();
    for n in 0..count {
        exports.export(&*name(n), ComponentExportKind::Func, 0, None);
    }
    component.section(&exports);
    component
}

#[test]
fn ten_thousand_exports() {
    let name = |n| format!("function-number{n}");
    refused(
        &exporting(10_000, name).finish(),
        "its exports: 10000, where the limit is 1000",
    );
    refused(
        &exporting(1_000, name).finish(),
        "the functions that it exports: more than 512",
    );
    read(&exporting(512, name).finish()).unwrap();
}

#[test]
fn enormous_names() {
    let long = |bytes: usize| exporting(1, move |_| "a".repeat(bytes)).finish();
    refused(&long(100 << 20), "the file has 104857");
    refused(
        &long(60 << 20),
        "its component-level declarations have 62914",
    );
    refused(&long(200_000), "string size");
    refused(
        &long(2_000),
        "the length of a name that it imports or exports: 2000, where the limit is 1024",
    );
    // A name that says it is longer than the file.
    let mut bytes = Component::HEADER.to_vec();
    bytes.extend_from_slice(&[0x00, 0x05, 0xff, 0xff, 0xff, 0xff, 0x07]);
    refused(&bytes, "not valid WebAssembly");
    let mut bytes = Component::HEADER.to_vec();
    bytes.extend_from_slice(&[0x0b, 0xff, 0xff, 0xff, 0xff, 0x07]);
    refused(&bytes, "cut off");
}

/// Components within components, from the inside out.
fn nesting(levels: usize) -> Vec<u8> {
    let mut component = Component::new();
    for _ in 0..levels {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&component));
        component = outer;
    }
    component.finish()
}

#[test]
fn deep_nesting() {
    read(&nesting(15)).unwrap();
    refused(&nesting(16), "levels: 17, where the limit is 16");
    refused(&nesting(5_000), "levels: 17, where the limit is 16");
}

#[test]
fn deep_types() {
    let mut types = "(type $t0 u8)".to_owned();
    for n in 0..200 {
        types.push_str(&format!("(type $t{} (list $t{n}))", n + 1));
    }
    refused(
        &wasm(&format!("(component {types})")),
        "type nesting is too deep",
    );
    // A component type within a component type, and so on: some bytes for each level.
    for kind in [0x41, 0x42] {
        let mut types = vec![1];
        for _ in 0..100_000 {
            types.extend_from_slice(&[kind, 1, 1]);
        }
        let mut component = Component::new();
        component.section(&wasm_encoder::RawSection {
            id: 7,
            data: &types,
        });
        refused(
            &component.finish(),
            "types within types, levels: 17, where the limit is 16",
        );
    }
}

#[test]
fn many_small_things() {
    // 30 million types in one module.
    let module = |count: u32, entry: &[u8], id: u8| {
        let mut data = Vec::new();
        wasm_encoder::Encode::encode(&count, &mut data);
        for _ in 0..count {
            data.extend_from_slice(entry);
        }
        let mut module = wasm_encoder::Module::new();
        module.section(&wasm_encoder::RawSection { id, data: &data });
        let mut component = Component::new();
        component.section(&wasm_encoder::ModuleSection(&module));
        component.finish()
    };
    refused(
        &module(10_000_000, &[0x60, 0, 0], 1),
        "its definitions (types, functions, …): 10000000",
    );
    // Empty sections without end.
    let mut component = Component::new();
    for _ in 0..150_000 {
        component.section(&CustomSection {
            name: "".into(),
            data: (&[]).into(),
        });
    }
    refused(&component.finish(), "its sections: 100001");
}

/// A nested component of many exports, instantiated many times: each instance copies them.
#[test]
fn multiplied_instances() {
    let mut text = r#"(component (component $c (import "r" (type $r (sub resource)))"#.to_owned();
    for n in 0..4_000 {
        text.push_str(&format!(r#"(export "e{n}" (type $r))"#));
    }
    text.push_str(r#") (import "r" (type $r (sub resource)))"#);
    for _ in 0..1_000 {
        text.push_str(r#"(instance (instantiate $c (with "r" (type $r))))"#);
    }
    text.push(')');
    refused(&wasm(&text), "its instances of nested components copy");
}

/// A type of an instance with many resources, imported many times: each import makes them
/// anew.
#[test]
fn multiplied_resources() {
    use wasm_encoder::{InstanceType, TypeBounds};
    let component = |resources: u32, imports: u32| {
        let mut instance = InstanceType::new();
        for n in 0..resources {
            instance.export(
                &*format!("e{n}"),
                ComponentTypeRef::Type(TypeBounds::SubResource),
            );
        }
        let mut types = ComponentTypeSection::new();
        types.instance(&instance);
        let mut section = ComponentImportSection::new();
        for n in 0..imports {
            section.import(&*format!("i{n}"), ComponentTypeRef::Instance(0));
        }
        let mut component = Component::new();
        component.section(&types).section(&section);
        component.finish()
    };
    read(&component(40, 100)).unwrap();
    refused(
        &component(1_000, 1_000),
        "its resource types, for all instances together: 1000000",
    );
}

fn samples() -> Vec<Vec<u8>> {
    let manifest = "schema = 1\n[plugin]\nid = \"a\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n";
    let parts = PackParts {
        manifest_toml: manifest,
        licence_texts: &[],
        tools: &[],
        ..PackParts::default()
    };
    vec![
        pack(&provider("portreeve:tools/provider@0.1.0"), &parts).unwrap(),
        wasm(
            r#"(component
                (type $r' (record (field "a" u8) (field "b" (option string))))
                (import "r" (type $r (eq $r')))
                (import "f" (func $f (param "x" $r) (result (result (list $r) (error string)))))
                (import "a:b/c@1.0.0" (instance $i (export "g" (func (param "y" (tuple f32 char))))))
                (core module $m
                    (memory (export "memory") 1)
                    (func (export "h") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
                (core instance $m (instantiate $m))
                (func (export "h") (param "x" s32) (param "y" s32) (result s32) (canon lift (core func $m "h")))
                (export "f" (func $f))
                (export "a:b/c@1.0.0" (instance $i))
                (@custom "package-docs" "\01{\"worlds\": {}}"))"#,
        ),
    ]
}

fn any_outcome(bytes: &[u8]) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let result: Result<Package, Error> = Package::read(bytes, "n", &IntakeLimits::default());
    if let Err(error) = result {
        prop_assert!(!error.to_string().is_empty());
    }
    prop_assert!(start.elapsed() < SOON);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        any_outcome(&bytes)?;
        any_outcome(&[Component::HEADER.as_slice(), &bytes].concat())?;
    }

    #[test]
    fn mutated_components(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let samples = samples();
        let mut bytes = which.get(&samples).clone();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes[8..]) = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        any_outcome(&bytes)?;
    }
}
