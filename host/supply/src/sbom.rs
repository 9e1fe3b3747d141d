//! Software bills of materials for other tools: CycloneDX 1.6 and SPDX 2.3, as JSON.
//!
//! The same component gives the same bytes: there is no time and no random serial number in
//! them. What is not known is left out (CycloneDX) or `NOASSERTION` (SPDX).

use portreeve_manifest::plugin::PluginManifest;
use serde_json::{Map, Value, json};

use crate::dependencies::{Dependency, purl};
use crate::{Digest, Package, licence};

/// What a bill is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    manifest: &'a PluginManifest,
    digest: Option<&'a Digest>,
    /// Whether all that it was made from is known.
    whole: bool,
}

impl<'a> Subject<'a> {
    /// A package as it lies there.
    pub fn package(package: &'a Package) -> Subject<'a> {
        Subject {
            manifest: &package.manifest,
            digest: Some(&package.digest),
            whole: package.dependencies.is_whole(),
        }
    }

    /// A plugin that is being packed, and so has no digest yet.
    pub(crate) fn of(manifest: &'a PluginManifest, whole: bool) -> Subject<'a> {
        Subject {
            manifest,
            digest: None,
            whole,
        }
    }

    fn reference(&self) -> String {
        format!(
            "pkg:generic/{}@{}",
            self.manifest.id,
            self.manifest.version.to_string().replace('+', "%2B")
        )
    }
}

/// A bill in CycloneDX 1.6.
pub fn cyclonedx(subject: &Subject<'_>, dependencies: &[Dependency]) -> Value {
    let manifest = subject.manifest;
    let mut root = json!({
        "type": "application",
        "bom-ref": subject.reference(),
        "name": manifest.id,
        "version": manifest.version,
    });
    if let (Some(root), Some(licence)) = (root.as_object_mut(), &manifest.license) {
        root.insert("licenses".into(), json!([{ "expression": licence }]));
    }
    if let (Some(root), Some(digest)) = (root.as_object_mut(), subject.digest) {
        let hash = json!([{ "alg": "SHA-256", "content": hex(digest) }]);
        root.insert("hashes".into(), hash);
    }
    let components: Vec<Value> = dependencies.iter().map(cyclonedx_component).collect();
    let references: Vec<String> = dependencies.iter().map(purl).collect();
    let aggregate = if subject.whole {
        "complete"
    } else {
        "incomplete"
    };
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": root },
        "components": components,
        "dependencies": [{ "ref": subject.reference(), "dependsOn": references }],
        "compositions": [{ "aggregate": aggregate, "dependencies": [subject.reference()] }],
    })
}

fn cyclonedx_component(dependency: &Dependency) -> Value {
    let purl = purl(dependency);
    let mut component = Map::from_iter([
        ("type".to_owned(), json!("library")),
        ("bom-ref".to_owned(), json!(purl)),
        ("name".to_owned(), json!(dependency.name)),
        ("version".to_owned(), json!(dependency.version)),
        ("purl".to_owned(), json!(purl)),
    ]);
    if dependency.build_only {
        component.insert("scope".into(), json!("excluded"));
    }
    if let Some(said) = &dependency.license {
        let licence = match licence::Declared::read(said).expression() {
            Some(expression) => json!({ "expression": expression.to_string() }),
            None => json!({ "license": { "name": said } }),
        };
        component.insert("licenses".into(), json!([licence]));
    }
    Value::Object(component)
}

/// A bill in SPDX 2.3. `created` is the time that it says it was made at.
pub fn spdx(subject: &Subject<'_>, dependencies: &[Dependency], created: &str) -> Value {
    let manifest = subject.manifest;
    let licence = |said: Option<&str>| {
        let declared = said.map(licence::Declared::read);
        declared
            .as_ref()
            .and_then(licence::Declared::expression)
            .map_or("NOASSERTION".to_owned(), ToString::to_string)
    };
    let package = |id: &str, name: &str, version: &str, declared: String, purl: &str| {
        json!({
            "SPDXID": id,
            "name": name,
            "versionInfo": version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": declared,
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl,
            }],
        })
    };
    let said = manifest.license.as_ref().map(ToString::to_string);
    let mut root = package(
        "SPDXRef-plugin",
        manifest.id.as_str(),
        &manifest.version.to_string(),
        licence(said.as_deref()),
        &subject.reference(),
    );
    if let (Some(root), Some(digest)) = (root.as_object_mut(), subject.digest) {
        let sum = json!([{ "algorithm": "SHA256", "checksumValue": hex(digest) }]);
        root.insert("checksums".into(), sum);
    }
    if let (Some(root), false) = (root.as_object_mut(), subject.whole) {
        let why = "what it was made from is not, or not all, known";
        root.insert("comment".into(), json!(why));
    }
    let mut packages = vec![root];
    let mut relationships = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-plugin",
    })];
    for (index, dependency) in dependencies.iter().enumerate() {
        let id = format!("SPDXRef-package-{index}");
        packages.push(package(
            &id,
            &dependency.name,
            &dependency.version,
            licence(dependency.license.as_deref()),
            &purl(dependency),
        ));
        relationships.push(if dependency.build_only {
            json!({
                "spdxElementId": id,
                "relationshipType": "BUILD_DEPENDENCY_OF",
                "relatedSpdxElement": "SPDXRef-plugin",
            })
        } else {
            json!({
                "spdxElementId": "SPDXRef-plugin",
                "relationshipType": "DEPENDS_ON",
                "relatedSpdxElement": id,
            })
        });
    }
    let digest = subject.digest.map_or_else(|| "unpacked".to_owned(), hex);
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{} {}", manifest.id, manifest.version),
        "documentNamespace": format!("urn:portreeve:sbom:{}:{digest}", manifest.id),
        "creationInfo": { "created": created, "creators": ["Tool: portreeve"] },
        "packages": packages,
        "relationships": relationships,
    })
}

fn hex(digest: &Digest) -> String {
    let text = digest.to_string();
    text.split_once(':')
        .map_or(text.clone(), |(_, hex)| hex.to_owned())
}
