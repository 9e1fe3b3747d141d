//! A component and its papers in one file.

use std::borrow::Cow;

use portreeve_manifest::tool::Tool;
use serde::{Deserialize, Serialize};
use wasm_encoder::{ComponentSection as _, CustomSection, RawSection};
use wasm_metadata::ComponentNames;
use wasmparser::{Parser, Payload};

use crate::error::shorten;
use crate::package::parse_manifest;
use crate::sections::{self, DESCRIPTION, LICENCES, LICENSES, MANIFEST, NAMES, TOOLS, VERSION};
use crate::surface::Surface;
use crate::{Error, IntakeLimits, Package, intake};

/// What is packed with a component.
#[derive(Clone, Copy, Debug)]
pub struct PackParts<'a> {
    /// The text of `plugin.toml`, kept to the letter.
    pub manifest_toml: &'a str,
    /// Licence texts: names of files and what is in them.
    pub licence_texts: &'a [(String, String)],
    /// The tools that the component's `list-tools` returns. Recorded for components that
    /// export `portreeve:tools/provider`; none for others.
    pub tools: &'a [Tool],
}

/// One licence text, as it stands in the section.
#[derive(Serialize, Deserialize)]
pub(crate) struct LicenceText<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) text: Cow<'a, str>,
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
    copy(component, manifest.id.as_str(), &mut output)?;
    let mut add = |name: &str, text: &str| {
        CustomSection {
            name: name.into(),
            data: text.as_bytes().into(),
        }
        .append_to_component(&mut output);
    };
    add(VERSION, &manifest.version.to_string());
    if let Some(licence) = &manifest.license {
        add(LICENSES, &licence.to_string());
    }
    if let Some(description) = &manifest.description {
        add(DESCRIPTION, description);
    }
    add(MANIFEST, parts.manifest_toml);
    if !parts.licence_texts.is_empty() {
        let texts: Vec<_> = parts
            .licence_texts
            .iter()
            .map(|(name, text)| LicenceText {
                name: name.into(),
                text: text.into(),
            })
            .collect();
        add(LICENCES, &json(LICENCES, &texts)?);
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
fn copy(component: &[u8], name: &str, output: &mut Vec<u8>) -> Result<(), Error> {
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
            Payload::CustomSection(section) if is_replaced(section.name()) => {}
            _ => {
                if let Some((id, range)) = payload.as_section() {
                    let data = component.get(range).unwrap_or_default();
                    RawSection { id, data }.append_to_component(output);
                }
            }
        }
    }
    names.set_name(name);
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

fn is_replaced(section: &str) -> bool {
    section.starts_with(sections::OURS) || [VERSION, LICENSES, DESCRIPTION].contains(&section)
}

fn json<T: Serialize + ?Sized>(section: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::BadSection {
        section,
        reason: error.to_string(),
    })
}
