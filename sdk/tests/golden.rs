//! The golden component covers the contract: every interface of its version is in it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is not as it should be"
)]

use std::collections::BTreeSet;
use std::path::Path;

use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{Resolve, WorldItem, WorldKey};

/// A component of more than this is no example of a small one.
const BYTES_MAX: usize = 100 * 1024;

fn interfaces<'a>(
    resolve: &Resolve,
    items: impl Iterator<Item = (&'a WorldKey, &'a WorldItem)>,
) -> BTreeSet<String> {
    items
        .map(|(key, _)| resolve.name_world_key(key))
        .filter(|name| name.starts_with("portreeve:"))
        .collect()
}

#[test]
fn the_golden_component_has_every_interface_of_0_1_0() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tool-plugin-0.1.0.wasm");
    let bytes = std::fs::read(path).unwrap();
    assert!(bytes.len() < BYTES_MAX, "it has {} bytes", bytes.len());
    let DecodedWasm::Component(resolve, world) = decode(&bytes).unwrap() else {
        panic!("it is a WIT package, not a component");
    };
    let world = &resolve.worlds[world];
    let expected = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    assert_eq!(
        interfaces(&resolve, world.imports.iter()),
        expected(&[
            "portreeve:host/config@0.1.0",
            "portreeve:host/context@0.1.0",
            "portreeve:types/types@0.1.0",
            "portreeve:ui/progress@0.1.0",
        ])
    );
    assert_eq!(
        interfaces(&resolve, world.exports.iter()),
        expected(&[
            "portreeve:lifecycle/lifecycle@0.1.0",
            "portreeve:tools/provider@0.1.0",
        ])
    );
}
