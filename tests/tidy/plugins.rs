//! First-party plugins are what people copy: what they ask for, and that it is as little as can
//! be.

use portreeve_manifest::grant::{HostPattern, Scheme};
use portreeve_manifest::plugin::PluginManifest;

use crate::{files, read};

fn manifests() -> Vec<(String, PluginManifest)> {
    let manifests: Vec<_> = files("plugins", &["plugin.toml"])
        .iter()
        .map(|path| {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).unwrap();
            let manifest = PluginManifest::parse(&name, &text).unwrap_or_else(|e| panic!("{e}"));
            (name, manifest)
        })
        .collect();
    assert!(manifests.len() >= 5);
    manifests
}

/// Directory, package and plugin have one name, and the quickstart builds it.
#[test]
fn a_plugin_has_one_name() {
    let quickstart = read("tests/src/bin/quickstart.rs");
    for (path, manifest) in manifests() {
        let id = manifest.id.as_str();
        assert!(
            path.ends_with(&format!("plugins/{id}/plugin.toml")),
            "{path}"
        );
        let cargo = read(&format!("plugins/{id}/Cargo.toml"));
        assert!(
            cargo.contains(&format!("name = \"portreeve-plugin-{id}\"")),
            "{path}"
        );
        assert!(quickstart.contains(&format!("\"{id}\"")), "{path}");
    }
}

/// A credential leaves the machine encrypted, and never for wherever somebody likes.
#[test]
fn credentials_go_to_known_places() {
    let mut seen = 0;
    for (path, manifest) in manifests() {
        for request in &manifest.requests.network {
            if request.credential.is_none() {
                continue;
            }
            seen += 1;
            let allow = &request.allow;
            let local = matches!(&allow.host, HostPattern::Address(host) if host.is_loopback());
            assert!(local || allow.scheme == Scheme::Https, "{path}: {allow}");
            assert!(allow.host != HostPattern::Any, "{path}: {allow}");
        }
    }
    assert!(seen > 0);
}

/// Methods are named, so that a plugin that reads can't write.
#[test]
fn methods_are_named() {
    for (path, manifest) in manifests() {
        for request in &manifest.requests.network {
            assert!(request.allow.methods.is_some(), "{path}: {}", request.allow);
        }
    }
}
