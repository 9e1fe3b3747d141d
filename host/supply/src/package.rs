//! A component file, read.

use portreeve_manifest::id::{NAME_BYTES_MAX, PluginId};
use portreeve_manifest::json::{self, JsonLimits};
use portreeve_manifest::plugin::{DESCRIPTION_BYTES_MAX, PluginManifest};
use portreeve_manifest::size::ByteSize;
use portreeve_manifest::tool::{self, Tool};
use portreeve_manifest::wit_type::BareFunction;
use semver::Version;

use crate::dependencies::Dependencies;
use crate::error::shorten;
use crate::intake::{self, Intake};
use crate::pack::LicenceText;
use crate::sections::{LICENCES, Sections, TOOLS};
use crate::surface::Surface;
use crate::{Digest, Error, IntakeLimits, bare};

/// What a component file says about itself. The bytes are not kept.
#[derive(Clone, Debug)]
pub struct Package {
    /// The digest of the file.
    pub digest: Digest,
    /// The size of the file, in bytes.
    pub size: u64,
    /// Who it is and what it asks for: the author's `plugin.toml`, or a manifest inferred
    /// from registry metadata and the file's name, which requests nothing.
    pub manifest: PluginManifest,
    /// What it offers.
    pub tools: Tools,
    /// What it imports and exports.
    pub surface: Surface,
    /// The licence texts that were packed with it: file names and texts.
    pub licence_texts: Vec<(String, String)>,
    /// What it says it was made from.
    pub dependencies: Dependencies,
    /// The licence texts of those packages that were packed with it.
    pub dependency_texts: Vec<DependencyText>,
}

/// A licence text of packages that a component was made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DependencyText {
    /// The name of the file.
    pub name: String,
    /// What is in it.
    pub text: String,
    /// The packages that carry it, by name and version.
    pub packages: Vec<String>,
}

/// The tools of a package, as far as they are known without running it.
#[derive(Clone, Debug, PartialEq)]
pub enum Tools {
    /// A provider whose list `portreeve build` recorded.
    Recorded(Vec<Tool>),
    /// A provider without a recorded list: it has to be asked.
    Unrecorded,
    /// A component that isn't made for Portreeve: its plain functions.
    Bare(Vec<BareFunction>),
    /// A plugin that offers no tools.
    None,
}

impl Package {
    /// Reads a component: its digest, its papers and its surface, in one pass over bytes
    /// that may be anything. `name` is the name of the file without its ending; an inferred
    /// manifest takes its id from it where the component doesn't carry a name.
    ///
    /// # Errors
    /// What is no component, is damaged, exceeds a limit, needs what the runtime has
    /// switched off, or has papers that don't hold together.
    pub fn read(bytes: &[u8], name: &str, limits: &IntakeLimits) -> Result<Package, Error> {
        let intake = intake::read(bytes, limits)?;
        let mut surface = Surface::read(&intake)?;
        let manifest = match intake.sections.manifest {
            Some(text) => parse_manifest(text)?,
            None => infer(&intake.sections, name)?,
        };
        let tools = tools(&intake, &mut surface, limits)?;
        let (licence_texts, dependency_texts) = licence_texts(&intake.sections, limits)?;
        Ok(Package {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            manifest,
            tools,
            surface,
            licence_texts,
            dependencies: dependencies(&intake.sections, limits),
            dependency_texts,
        })
    }
}

fn tools(
    intake: &Intake<'_>,
    surface: &mut Surface,
    limits: &IntakeLimits,
) -> Result<Tools, Error> {
    if surface.is_bare() {
        if intake.sections.tools.is_some() {
            return Err(Error::ToolsWithoutProvider);
        }
        let functions = bare::functions(intake, limits, &mut surface.skipped)?;
        return Ok(if functions.is_empty() {
            Tools::None
        } else {
            Tools::Bare(functions)
        });
    }
    match (surface.provides_tools, intake.sections.tools) {
        (true, Some(text)) => Ok(Tools::Recorded(recorded(text, limits)?)),
        (true, None) => Ok(Tools::Unrecorded),
        (false, Some(_)) => Err(Error::ToolsWithoutProvider),
        (false, None) => Ok(Tools::None),
    }
}

/// Reads the recorded list with the same strictness as a list that a plugin returns.
fn recorded(text: &str, limits: &IntakeLimits) -> Result<Vec<Tool>, Error> {
    let bad = |reason: String| Error::BadSection {
        section: TOOLS,
        reason: shorten(&reason),
    };
    let bounds = section_json(limits.tools, tool::DOCUMENT_DEPTH_MAX + 1);
    let list = json::parse(text, &bounds).map_err(|error| bad(error.to_string()))?;
    let list = list
        .as_array()
        .ok_or_else(|| bad("it is no JSON array".to_owned()))?;
    let documents: Vec<String> = list.iter().map(ToString::to_string).collect();
    Tool::parse_list(&documents).map_err(|error| bad(error.to_string()))
}

/// Those of the plugin itself by name, and those of what it was made from.
type LicenceTexts = (Vec<(String, String)>, Vec<DependencyText>);

fn licence_texts(sections: &Sections<'_>, limits: &IntakeLimits) -> Result<LicenceTexts, Error> {
    /// Array, object, list, text.
    const DEPTH_MAX: usize = 4;
    let Some(text) = sections.licences else {
        return Ok(Default::default());
    };
    let bad = |reason: String| Error::BadSection {
        section: LICENCES,
        reason: shorten(&reason),
    };
    json::parse(text, &section_json(limits.licences, DEPTH_MAX))
        .map_err(|error| bad(error.to_string()))?;
    let texts: Vec<LicenceText<'_>> =
        serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    let (own, others): (Vec<_>, Vec<_>) = texts
        .into_iter()
        .partition(|licence| licence.packages.is_empty());
    let own = own
        .into_iter()
        .map(|licence| (licence.name.into_owned(), licence.text.into_owned()));
    let others = others.into_iter().map(|licence| DependencyText {
        name: licence.name.into_owned(),
        text: licence.text.into_owned(),
        packages: licence.packages,
    });
    Ok((own.collect(), others.collect()))
}

fn dependencies(sections: &Sections<'_>, limits: &IntakeLimits) -> Dependencies {
    let mut read = Dependencies::read(&sections.dependencies, &sections.sboms, limits);
    if sections.lists_left_out {
        read.problems.push(format!(
            "more than {} sections list packages; the rest is not read (`dependency-sections`)",
            limits.dependency_sections
        ));
    }
    read
}

fn section_json(bytes: ByteSize, depth_max: usize) -> JsonLimits {
    JsonLimits {
        bytes_max: bytes.as_usize(),
        depth_max,
    }
}

/// Reads the text of a `plugin.toml`.
pub(crate) fn parse_manifest(text: &str) -> Result<PluginManifest, Error> {
    PluginManifest::parse("plugin.toml", text)
        .map_err(|mistakes| Error::Manifest(Box::new(mistakes)))
}

/// A manifest for a component that carries none: who it is, as far as registry metadata
/// and the file's name tell, and no request at all.
fn infer(sections: &Sections<'_>, file: &str) -> Result<PluginManifest, Error> {
    let id = [sections.name, Some(file)]
        .into_iter()
        .flatten()
        .find_map(to_id);
    let id = id.ok_or_else(|| Error::NoId(shorten(file)))?;
    let version = sections.version.and_then(|text| Version::parse(text).ok());
    let licence = sections.license.and_then(|text| text.parse().ok());
    let description = sections
        .description
        .filter(|text| text.len() <= DESCRIPTION_BYTES_MAX);
    Ok(PluginManifest::inferred(
        id,
        version,
        licence,
        description.map(str::to_owned),
    ))
}

/// The nearest id to a name: `Acme:Greeter` becomes `acme-greeter`.
fn to_id(name: &str) -> Option<PluginId> {
    let mut id = String::new();
    for c in name.chars() {
        if id.len() >= NAME_BYTES_MAX {
            break;
        }
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => id.push(c),
            _ if id.is_empty() || id.ends_with('-') => {}
            _ => id.push('-'),
        }
    }
    PluginId::new(id.trim_end_matches('-')).ok()
}
