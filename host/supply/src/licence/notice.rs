//! The file that names everybody whose code a plugin carries, with their licence texts.

use std::fmt::Write as _;

use portreeve_manifest::clean;

use crate::Package;

/// The longest line of names, in characters: one text may be that of many packages.
const LINE_CHARS_MAX: usize = 4_000;

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
        let (number, plural) = match carried.len() {
            1 => (1, ""),
            number => (number, "s"),
        };
        let _ = write!(notice, "\nIt was made from {number} package{plural}:\n\n");
    }
    for dependency in carried {
        let licence = dependency.license.as_deref().unwrap_or("licence unknown");
        let line = format!("{}: {licence}", dependency.label());
        let _ = writeln!(notice, "- {}", clean::line(&line, LINE_CHARS_MAX));
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
    let title = clean::line(title, LINE_CHARS_MAX);
    let _ = write!(notice, "\n{RULE}\n{title}\n{RULE}\n\n{}\n", text.trim_end());
}
