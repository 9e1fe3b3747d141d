//! A component and its papers in one file.

use std::borrow::Cow;

use auditable_serde::VersionInfo;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::tool::Tool;
use serde::{Deserialize, Serialize};
use wasm_encoder::{ComponentSection as _, CustomSection, RawSection};
use wasm_metadata::ComponentNames;
use wasmparser::{Parser, Payload};

use crate::dependencies::{self, Dependency};
use crate::error::shorten;
use crate::package::parse_manifest;
use crate::sections::{
    self, DEPENDENCIES, DESCRIPTION, LICENCES, LICENSES, MANIFEST, NAMES, SBOM, TOOLS, VERSION,
};
use crate::surface::Surface;
use crate::{DependencyText, Error, IntakeLimits, Package, intake, sbom};

/// What is packed with a component.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackParts<'a> {
    /// The text of `plugin.toml`, kept to the letter.
    pub manifest_toml: &'a str,
    /// Licence texts: names of files and what is in them.
    pub licence_texts: &'a [(String, String)],
    /// The tools that the component's `list-tools` returns. Recorded for components that
    /// export `portreeve:tools/provider`; none for others.
    pub tools: &'a [Tool],
    /// The crates that it was made from, in the format of `cargo auditable`.
    pub crates: Option<&'a VersionInfo>,
    /// All packages that it was made from, with their licences: these become its bill of
    /// materials.
    pub dependencies: &'a [Dependency],
    /// Whether there are more, of which it isn't known which.
    pub more_dependencies: bool,
    /// Their licence texts.
    pub dependency_texts: &'a [DependencyText],
}

/// One licence text, as it stands in the section.
#[derive(Serialize, Deserialize)]
pub(crate) struct LicenceText<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) text: Cow<'a, str>,
    /// The packages whose licence it is; none for the plugin's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) packages: Vec<String>,
}

/// Puts a plugin's papers into its component: `plugin.toml`, licence texts and the list of
/// tools as custom sections, and the plugin's id, version, licence and description where
/// registries and other tools look for them. Papers of an earlier packing are replaced.
///
/// The result is a valid component with the same code, and the same bytes for the same
/// input: packing what was packed changes nothing.
///
/// # Errors
/// A component or a manifest that [`Package::read`] would not take, papers over its bounds,
/// and tools for a component that provides none.
pub fn pack(component: &[u8], parts: &PackParts<'_>) -> Result<Vec<u8>, Error> {
    let limits = IntakeLimits::default();
    let surface = Surface::read(&intake::read(component, &limits)?)?;
    if !surface.provides_tools && !parts.tools.is_empty() {
        return Err(Error::ToolsWithoutProvider);
    }
    let manifest = parse_manifest(parts.manifest_toml)?;

    let mut output = wasm_encoder::Component::HEADER.to_vec();
    copy(component, &manifest, parts, &mut output)?;
    let mut add_bytes = |name: &str, data: &[u8]| {
        CustomSection {
            name: name.into(),
            data: data.into(),
        }
        .append_to_component(&mut output);
    };
    if let Some(crates) = parts.crates {
        let list = dependencies::write_auditable(crates).map_err(|error| Error::BadSection {
            section: DEPENDENCIES,
            reason: error.to_string(),
        })?;
        add_bytes(DEPENDENCIES, &list);
    }
    let mut add = |name: &str, text: &str| add_bytes(name, text.as_bytes());
    add(VERSION, &manifest.version.to_string());
    if let Some(licence) = &manifest.license {
        add(LICENSES, &licence.to_string());
    }
    if let Some(description) = &manifest.description {
        add(DESCRIPTION, description);
    }
    add(MANIFEST, parts.manifest_toml);
    let own = parts.licence_texts.iter().map(|(name, text)| LicenceText {
        name: name.into(),
        text: text.into(),
        packages: Vec::new(),
    });
    let others = parts.dependency_texts.iter().map(|licence| LicenceText {
        name: licence.name.as_str().into(),
        text: licence.text.as_str().into(),
        packages: licence.packages.clone(),
    });
    let texts: Vec<_> = own.chain(others).collect();
    if !texts.is_empty() {
        add(LICENCES, &json(LICENCES, &texts)?);
    }
    if !parts.dependencies.is_empty() || parts.more_dependencies {
        let subject = sbom::Subject::of(&manifest, !parts.more_dependencies);
        let bill = sbom::cyclonedx(&subject, parts.dependencies);
        add(SBOM, &json(SBOM, &bill)?);
    }
    if surface.provides_tools {
        add(TOOLS, &json(TOOLS, &parts.tools)?);
    }

    // What was made must be what a reader takes, its bounds included.
    Package::read(&output, manifest.id.as_str(), &limits)?;
    Ok(output)
}

/// Copies the sections of a component, apart from those that are written anew, and names
/// it.
fn copy(
    component: &[u8],
    manifest: &PluginManifest,
    parts: &PackParts<'_>,
    output: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut depth = 0_u32;
    let mut names = ComponentNames::empty();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| Error::from_validator(&error, component))?;
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ if depth != 1 => {}
            Payload::CustomSection(section) if section.name() == NAMES => {
                // Names are for debugging: damaged ones are dropped.
                names = ComponentNames::from_bytes(section.data(), 0).unwrap_or(names);
            }
            Payload::CustomSection(section) if is_replaced(section.name(), parts) => {}
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    let data = component.get(range).unwrap_or_default();
                    RawSection { id, data }.append_to_component(output);
                }
            }
        }
    }
    names.set_name(manifest.id.as_str());
    let section = names
        .raw_custom_section()
        .map_err(|error| Error::BadSection {
            section: NAMES,
            reason: shorten(&error.to_string()),
        })?;
    output.push(wasm_encoder::SectionId::Custom as u8);
    output.extend_from_slice(&section);
    Ok(())
}

fn is_replaced(section: &str, parts: &PackParts<'_>) -> bool {
    section.starts_with(sections::OURS)
        || [VERSION, LICENSES, DESCRIPTION].contains(&section)
        // One that its builder wrote stays where we have none.
        || (section == DEPENDENCIES && parts.crates.is_some())
}

fn json<T: Serialize + ?Sized>(section: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::BadSection {
        section,
        reason: error.to_string(),
    })
}
