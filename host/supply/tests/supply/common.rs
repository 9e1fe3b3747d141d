//! What the tests share.

use portreeve_supply::{Error, IntakeLimits, Package};

/// A component (or module) from its text.
pub(crate) fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// Reads with the default limits.
pub(crate) fn read(bytes: &[u8]) -> Result<Package, Error> {
    Package::read(bytes, "file-name", &IntakeLimits::default())
}

/// The message of the error that reading must end in.
pub(crate) fn refusal(bytes: &[u8]) -> String {
    match read(bytes) {
        Ok(package) => panic!("taken in as {package:?}"),
        Err(error) => error.to_string(),
    }
}

/// A component with the given custom sections after an empty body.
pub(crate) fn with_sections(sections: &[(&str, &[u8])]) -> Vec<u8> {
    append(wasm("(component)"), sections)
}

/// Appends custom sections.
pub(crate) fn append(mut component: Vec<u8>, sections: &[(&str, &[u8])]) -> Vec<u8> {
    use wasm_encoder::{ComponentSection as _, CustomSection};
    for (name, data) in sections {
        CustomSection {
            name: (*name).into(),
            data: (*data).into(),
        }
        .append_to_component(&mut component);
    }
    component
}

/// A component that exports an interface with the functions of a provider of tools. The
/// functions have no parameters: names are all that counts here.
pub(crate) fn provider(interface: &str) -> Vec<u8> {
    wasm(&format!(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $provider (export "list-tools" (func $f)) (export "call-tool" (func $f)))
            (export "{interface}" (instance $provider)))"#
    ))
}
