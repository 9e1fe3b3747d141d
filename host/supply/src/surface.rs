//! What a component asks of its host and gives to it.

use semver::Version;

use crate::intake::Intake;
use crate::{Error, Linkage};

/// The component's interface to its host, by names. It says nothing about permissions:
/// Python and JavaScript guests import whole worlds of which they use little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// What it imports: interfaces (`wasi:cli/environment@0.2.3`) and functions.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Whether it exports `portreeve:tools/provider@0.1.x`.
    pub provides_tools: bool,
    /// Whether it exports `portreeve:lifecycle/lifecycle@0.1.x`.
    pub lifecycle: bool,
    /// Whether it exports `portreeve:messages/handler@0.1.x`.
    pub handles_messages: bool,
    /// Whether it exports `portreeve:messages/responder@0.1.x`.
    pub answers_requests: bool,
    /// Whether it exports `portreeve:content/resources@0.1.x`.
    pub resources: bool,
    /// Whether it exports `portreeve:content/prompts@0.1.x`.
    pub prompts: bool,
    /// Whether it exports `portreeve:content/completion@0.1.x`.
    pub completion: bool,
    /// Whether it needs the component model's asynchronous side, as WASI 0.3 does. A
    /// runtime that serves WASI 0.2 only can't run it.
    pub asynchronous: bool,
    /// Whether it imports only what its code uses, as far as that can be told.
    pub linkage: Linkage,
    /// What it exports and this host doesn't offer, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// The namespace of our own interfaces.
const NAMESPACE: &str = "portreeve:";

/// What an exported interface of ours means.
struct Known {
    /// Its name without a version.
    interface: &'static str,
    /// The versions that this host speaks, for people.
    served: &'static str,
    /// Where to note it.
    field: fn(&mut Surface) -> &mut bool,
}

const KNOWN: &[Known] = &[
    Known {
        interface: "portreeve:tools/provider",
        served: "portreeve:tools/provider@0.1.x",
        field: |surface| &mut surface.provides_tools,
    },
    Known {
        interface: "portreeve:lifecycle/lifecycle",
        served: "portreeve:lifecycle/lifecycle@0.1.x",
        field: |surface| &mut surface.lifecycle,
    },
    Known {
        interface: "portreeve:messages/handler",
        served: "portreeve:messages/handler@0.1.x",
        field: |surface| &mut surface.handles_messages,
    },
    Known {
        interface: "portreeve:messages/responder",
        served: "portreeve:messages/responder@0.1.x",
        field: |surface| &mut surface.answers_requests,
    },
    Known {
        interface: "portreeve:content/resources",
        served: "portreeve:content/resources@0.1.x",
        field: |surface| &mut surface.resources,
    },
    Known {
        interface: "portreeve:content/prompts",
        served: "portreeve:content/prompts@0.1.x",
        field: |surface| &mut surface.prompts,
    },
    Known {
        interface: "portreeve:content/completion",
        served: "portreeve:content/completion@0.1.x",
        field: |surface| &mut surface.completion,
    },
];

impl Surface {
    /// Reads the names that the pass has gathered.
    ///
    /// # Errors
    /// An export of ours in a version that isn't spoken here: such a plugin would seem to
    /// offer nothing.
    pub(crate) fn read(intake: &Intake<'_>) -> Result<Surface, Error> {
        let mut surface = Surface {
            imports: intake.imports.clone(),
            exports: intake.exports.clone(),
            asynchronous: intake.asynchronous,
            linkage: intake.linkage.clone(),
            ..Surface::default()
        };
        for export in &intake.exports {
            let (interface, version) = export.split_once('@').unwrap_or((export, ""));
            match KNOWN.iter().find(|known| known.interface == interface) {
                Some(known) => {
                    served(export, version, known.served)?;
                    *(known.field)(&mut surface) = true;
                }
                None if export.starts_with(NAMESPACE) => {
                    let why = "an interface that this version of Portreeve doesn't use";
                    surface.skipped.push((export.clone(), why.to_owned()));
                }
                None => {}
            }
        }
        Ok(surface)
    }

    /// Whether nothing of it is made for Portreeve: then its plain functions are tools.
    pub(crate) fn is_bare(&self) -> bool {
        !self
            .exports
            .iter()
            .any(|export| export.starts_with(NAMESPACE))
    }
}

/// Whether a version of one of our packages is on the track that this host speaks.
fn served(found: &str, version: &str, known: &'static str) -> Result<(), Error> {
    let track = (0, 1);
    let advice = match Version::parse(version) {
        Ok(version) if version.pre.is_empty() && (version.major, version.minor) == track => {
            return Ok(());
        }
        Ok(version) if (version.major, version.minor) > track => {
            "it was made for a newer Portreeve: update this host"
        }
        _ => "it was made for an older Portreeve: build it again with a current SDK",
    };
    Err(Error::Contract {
        found: found.to_owned(),
        known,
        advice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_our_packages() {
        for (version, expected) in [
            ("0.1.0", "served"),
            ("0.1.17", "served"),
            ("0.1.0+build", "served"),
            ("0.1.0-rc.1", "older"),
            ("0.0.9", "older"),
            ("", "older"),
            ("0.2.0", "newer"),
            ("1.0.0", "newer"),
        ] {
            let result = match served("x", version, "y") {
                Ok(()) => "served".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(result.contains(expected), "{version}: {result}");
        }
    }
}
