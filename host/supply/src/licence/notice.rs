//! The file that names everybody whose code a plugin carries, with their licence texts.

use std::fmt::Write as _;

use crate::Package;

/// Writes the attribution of a package: who made what, under which licence, and each text
/// once.
pub fn notice(package: &Package) -> String {
    let manifest = &package.manifest;
    let unknown = "licence unknown".to_owned();
    let licence = manifest
        .license
        .as_ref()
        .map_or(unknown, ToString::to_string);
    let mut notice = format!("{} {}\n{licence}\n", manifest.id, manifest.version);
    for (name, text) in &package.licence_texts {
        write_text(&mut notice, name, text);
    }
    let carried: Vec<_> = package
        .dependencies
        .list
        .iter()
        .filter(|dependency| !dependency.build_only)
        .collect();
    if package.dependencies.sources.is_empty() {
        notice.push_str("\nWhat it was made from is not recorded.\n");
    } else {
        // Writing to a string can't fail.
        let _ = write!(notice, "\nIt was made from {} packages:\n\n", carried.len());
    }
    for dependency in carried {
        let licence = dependency.license.as_deref().unwrap_or("licence unknown");
        let _ = writeln!(notice, "- {}: {licence}", dependency.label());
    }
    for text in &package.dependency_texts {
        let title = format!("{} of {}", text.name, text.packages.join(", "));
        write_text(&mut notice, &title, &text.text);
    }
    notice
}

fn write_text(notice: &mut String, title: &str, text: &str) {
    /// As wide as licences are set.
    const RULE: &str = "------------------------------------------------------------------------";
    // A title is a name of the component's choosing.
    let title: String = title.chars().filter(|c| !c.is_control()).collect();
    let _ = write!(notice, "\n{RULE}\n{title}\n{RULE}\n\n{}\n", text.trim_end());
}
