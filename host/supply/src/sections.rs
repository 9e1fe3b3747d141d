//! The custom sections of a package that mean something to us: our own, and those of the
//! registry metadata and the documentation that other tools write.

use wasmparser::{BinaryReader, ComponentName, ComponentNameSectionReader};

use crate::{Error, IntakeLimits};

/// `plugin.toml`, as the author wrote it.
pub(crate) const MANIFEST: &str = "portreeve:manifest";
/// A JSON array of tool documents.
pub(crate) const TOOLS: &str = "portreeve:tools";
/// A JSON array of `{"name", "text"}`: licence texts.
pub(crate) const LICENCES: &str = "portreeve:licences";
/// What a module was made from, as `cargo auditable` writes it.
pub(crate) const DEPENDENCIES: &str = ".dep-v0";
/// A software bill of materials that we wrote: CycloneDX.
pub(crate) const SBOM: &str = "portreeve:sbom";
/// Bills of other tools; no name is settled.
pub(crate) const SBOMS: [&str; 3] = [SBOM, "sbom", ".sbom"];
/// What the names of all our sections begin with.
pub(crate) const OURS: &str = "portreeve:";

/// WIT documentation: a version byte and JSON.
pub(crate) const DOCS: &str = "package-docs";
/// Names of things, the component's own among them.
pub(crate) const NAMES: &str = "component-name";
/// Registry metadata: the version, as text.
pub(crate) const VERSION: &str = "version";
/// Registry metadata: an SPDX expression.
pub(crate) const LICENSES: &str = "licenses";
/// Registry metadata: a sentence.
pub(crate) const DESCRIPTION: &str = "description";

/// A registry-metadata text that is longer is taken for none: it would be shown to people.
const METADATA_BYTES_MAX: usize = 4 << 10;

/// The outermost custom sections of a component, borrowed from its bytes.
#[derive(Debug, Default)]
pub(crate) struct Sections<'a> {
    pub(crate) manifest: Option<&'a str>,
    pub(crate) tools: Option<&'a str>,
    pub(crate) licences: Option<&'a str>,
    /// Lists of packages, and how many were left out as too many.
    pub(crate) dependencies: Vec<&'a [u8]>,
    pub(crate) sboms: Vec<&'a [u8]>,
    pub(crate) lists_left_out: bool,
    pub(crate) docs: Option<&'a [u8]>,
    pub(crate) name: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
    pub(crate) license: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
}

impl<'a> Sections<'a> {
    /// Takes note of a list of packages, which stands at any depth: a linker puts that of
    /// `cargo auditable` into the module, and composing components nests it further.
    pub(crate) fn note_list(&mut self, name: &str, data: &'a [u8], limits: &IntakeLimits) {
        let lists = match name {
            DEPENDENCIES => &mut self.dependencies,
            name if SBOMS.contains(&name) => &mut self.sboms,
            _ => return,
        };
        if lists.len() < limits.dependency_sections as usize {
            lists.push(data);
        } else {
            self.lists_left_out = true;
        }
    }

    /// Takes note of a section. Ours must be there once, be UTF-8 and keep their bounds;
    /// those of other tools are used when they make sense.
    pub(crate) fn note(
        &mut self,
        name: &str,
        data: &'a [u8],
        limits: &IntakeLimits,
    ) -> Result<(), Error> {
        match name {
            MANIFEST => ours(
                &mut self.manifest,
                MANIFEST,
                data,
                "its section portreeve:manifest has",
                limits.manifest,
            ),
            TOOLS => ours(
                &mut self.tools,
                TOOLS,
                data,
                "its section portreeve:tools has",
                limits.tools,
            ),
            LICENCES => ours(
                &mut self.licences,
                LICENCES,
                data,
                "its section portreeve:licences has",
                limits.licences,
            ),
            _ => {
                match name {
                    DOCS if data.len() as u64 <= limits.docs.0 => {
                        self.docs = self.docs.or(Some(data))
                    }
                    NAMES => self.name = self.name.or_else(|| component_name(data)),
                    VERSION => self.version = self.version.or_else(|| metadata(data)),
                    LICENSES => self.license = self.license.or_else(|| metadata(data)),
                    DESCRIPTION => self.description = self.description.or_else(|| metadata(data)),
                    _ => {}
                }
                Ok(())
            }
        }
    }
}

fn ours<'a>(
    place: &mut Option<&'a str>,
    section: &'static str,
    data: &'a [u8],
    what: &'static str,
    limit: portreeve_manifest::size::ByteSize,
) -> Result<(), Error> {
    if place.is_some() {
        return Err(Error::DuplicateSection(section));
    }
    if data.len() as u64 > limit.0 {
        return Err(Error::too_many_bytes(
            what,
            data.len() as u64,
            limit,
            "shorten what goes into it and pack again",
        ));
    }
    match std::str::from_utf8(data) {
        Ok(text) => *place = Some(text),
        Err(error) => {
            return Err(Error::BadSection {
                section,
                reason: format!("it is not UTF-8 (at its byte {})", error.valid_up_to()),
            });
        }
    }
    Ok(())
}

fn metadata(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?.trim();
    let sound =
        !text.is_empty() && text.len() <= METADATA_BYTES_MAX && !text.contains(char::is_control);
    sound.then_some(text)
}

/// The name of the outermost component, which stands first in its section.
fn component_name(data: &[u8]) -> Option<&str> {
    for entry in ComponentNameSectionReader::new(BinaryReader::new(data, 0)) {
        if let ComponentName::Component { name, .. } = entry.ok()? {
            return metadata(name.as_bytes());
        }
    }
    None
}
