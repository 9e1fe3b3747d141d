//! Whether a component imports only what its code uses: its makers tell.

use wasmparser::{BinaryReader, Encoding, Payload, ProducersSectionReader};

/// What the imports of a component say about its code.
///
/// It rests on what the component says about itself, which nobody has checked: enough to
/// help its author, not to decide anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Linkage {
    /// Its languages link only what is used: an import is used, or could be.
    Used,
    /// It is made of this language as well, whose components import what their world
    /// offers, used or not.
    Language(String),
    /// Its modules are linked when it starts, as those of Python are: what one of them
    /// could use is imported, used or not.
    Dynamic,
    /// It doesn't say how it was made.
    #[default]
    Unsaid,
}

impl Linkage {
    /// Why an import says nothing about the code; none where it does.
    pub fn doubt(&self) -> Option<String> {
        match self {
            Linkage::Used => None,
            Linkage::Language(language) => Some(format!(
                "it is made of {language}, which may import more than it uses"
            )),
            Linkage::Dynamic => Some(
                "its modules are linked when it starts, as Python's are, which import more than they use"
                    .to_owned(),
            ),
            Linkage::Unsaid => {
                Some("it doesn't say what it is made of (was it stripped?)".to_owned())
            }
        }
    }
}

/// The section of a module in which the tools that made it write their names.
const PRODUCERS: &str = "producers";

/// The section of a module that is linked with others when they start.
const DYNAMIC: &str = "dylink.0";

/// The longest name of a language that is repeated.
const LANGUAGE_BYTES_MAX: usize = 40;

/// What was seen of them, in one pass over the component.
#[derive(Debug, Default)]
pub(crate) struct Makers {
    /// Of the module that is being read: whether it said anything. None outside of modules.
    module: Option<bool>,
    /// Whether a module said nothing.
    silent: bool,
    /// Whether a language was named that links only what is used.
    exact: bool,
    /// The first language of another kind.
    other: Option<String>,
    dynamic: bool,
}

impl Makers {
    /// Takes note of what comes next, at any depth.
    pub(crate) fn note(&mut self, payload: &Payload<'_>) {
        match payload {
            // Nothing nests within a module.
            Payload::Version { encoding, .. } => {
                self.module = (*encoding == Encoding::Module).then_some(false);
            }
            Payload::End(_) => self.silent |= self.module.take() == Some(false),
            Payload::CustomSection(section) => match section.name() {
                PRODUCERS => {
                    if let Some(said) = &mut self.module {
                        *said = true;
                    }
                    // A section that can't be read says nothing.
                    let _ = self.producers(section.data());
                }
                DYNAMIC => self.dynamic = true,
                _ => {}
            },
            _ => {}
        }
    }

    fn producers(&mut self, data: &[u8]) -> wasmparser::Result<()> {
        for field in ProducersSectionReader::new(BinaryReader::new(data, 0))? {
            let field = field?;
            if field.name != "language" {
                continue;
            }
            for language in field.values {
                let language = language?.name;
                if links_what_it_uses(language) {
                    self.exact = true;
                } else if self.other.is_none() {
                    self.other = Some(printable(language));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn linkage(self) -> Linkage {
        match self.other {
            Some(language) => Linkage::Language(language),
            None if self.dynamic => Linkage::Dynamic,
            None if self.exact && !self.silent => Linkage::Used,
            None => Linkage::Unsaid,
        }
    }
}

/// Whether the linker leaves out what nothing calls: Rust, C and C++ of any year
/// (`C11`, `C_plus_plus_14`).
fn links_what_it_uses(language: &str) -> bool {
    let c = language
        .strip_prefix("C_plus_plus_")
        .or_else(|| language.strip_prefix('C'));
    language == "Rust"
        || c.is_some_and(|year| !year.is_empty() && year.bytes().all(|b| b.is_ascii_digit()))
}

/// A name as a message repeats it.
fn printable(language: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if language.is_empty() || language.len() > LANGUAGE_BYTES_MAX || !language.chars().all(plain) {
        return "another language".to_owned();
    }
    language.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages() {
        for (language, exact) in [
            ("Rust", true),
            ("C11", true),
            ("C99", true),
            ("C_plus_plus_14", true),
            ("C", false),
            ("CSharp", false),
            ("JavaScript", false),
            ("Go", false),
            ("rust", false),
            ("", false),
        ] {
            assert_eq!(links_what_it_uses(language), exact, "{language}");
        }
        for language in ["a\u{1b}[2J", "", &"x".repeat(41)] {
            assert_eq!(printable(language), "another language");
        }
    }
}
