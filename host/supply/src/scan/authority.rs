//! What a component declares, held against what it requests and what plugins have.

use portreeve_manifest::limits::Limits;
use portreeve_manifest::plugin::Origin;

use super::parts::Parts;
use crate::Package;
use crate::evidence::{self, Verdict};
use crate::finding::{Finding, Findings, Place, Rule, rules};

/// An export that componentize-py makes beside those of the world.
const PYTHON_EXPORT: &str = "exports";

/// Namespaces whose interfaces a host of this kind serves.
const SERVED: [&str; 2] = ["wasi:", "portreeve:"];

/// Holds all of it.
pub(super) fn hold(package: &Package, parts: &Parts<'_>, findings: &mut Findings) {
    imports(package, findings);
    exports(package, findings);
    declarations(parts, findings);
}

fn imports(package: &Package, findings: &mut Findings) {
    let at = |rule: &'static Rule, name: &str, what: String| {
        let name = name.to_owned();
        Finding::new(rule, Place::Import { name }, what)
    };
    let surface = &package.surface;
    for import in &surface.imports {
        if !SERVED.iter().any(|namespace| import.starts_with(namespace)) {
            findings.push(at(
                &rules::IMPORT_FOREIGN,
                import,
                "no host of plugins serves it".to_owned(),
            ));
        }
    }
    let declared = package.manifest.origin == Origin::Declared;
    for told in evidence::compare(&package.manifest.requests, surface) {
        let feature = told.feature;
        let first = told.interfaces.first().map_or("", String::as_str);
        match told.verdict {
            Verdict::Unrequested if declared => {
                findings.push(at(
                    &rules::IMPORT_UNREQUESTED,
                    first,
                    format!("it uses {feature}, which plugin.toml doesn't request"),
                ));
            }
            Verdict::Unrequested | Verdict::PerhapsUnrequested => {
                let doubt = match surface.linkage.doubt() {
                    Some(doubt) => doubt,
                    None => "it carries no plugin.toml that could".to_owned(),
                };
                findings.push(at(
                    &rules::IMPORT_DOUBTFUL,
                    first,
                    format!("{feature} isn't requested: {doubt}"),
                ));
            }
            Verdict::Unneeded => {
                let needed = told.interfaces.join(" or ");
                findings.push(Finding::new(
                    &rules::REQUEST_UNNEEDED,
                    Place::Manifest {
                        path: format!("requests.{feature}"),
                        offset: 0,
                    },
                    format!("nothing of {needed} is imported"),
                ));
            }
            Verdict::Fits | Verdict::PerhapsUnneeded | Verdict::Unseen => {}
        }
    }
}

fn exports(package: &Package, findings: &mut Findings) {
    let exports = &package.surface.exports;
    let bare = package.surface.is_bare();
    for export in exports {
        // The plain functions of a bare component are its tools.
        let known = match bare {
            true => !export.contains(':'),
            false => export.starts_with("portreeve:") || export == PYTHON_EXPORT,
        };
        if !known {
            let place = Place::Export {
                name: export.clone(),
            };
            findings.push(Finding::new(
                &rules::EXPORT_FOREIGN,
                place,
                "nothing calls it here",
            ));
        }
    }
}

fn declarations(parts: &Parts<'_>, findings: &mut Findings) {
    let limits = Limits::default();
    for (module, offset) in &parts.starts {
        let place = Place::Bytes {
            part: format!("module {module}"),
            offset: *offset,
            length: 0,
        };
        let what = "its module names a start function";
        findings.push(Finding::new(&rules::START_FUNCTION, place, what));
    }
    if parts.memory > limits.memory {
        let what = format!(
            "its memories begin with {}, and {} are the default",
            parts.memory, limits.memory
        );
        findings.push(Finding::new(
            &rules::MEMORY_DECLARED,
            Place::Component,
            what,
        ));
    }
    if parts.elements > limits.table_elements {
        let what = format!(
            "its tables begin with {} elements, and {} are the default",
            parts.elements, limits.table_elements
        );
        findings.push(Finding::new(&rules::TABLE_DECLARED, Place::Component, what));
    }
}
