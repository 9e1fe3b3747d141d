//! The parsers of `portreeve-manifest`: no text makes them panic, and what is shown of a
//! value can be read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::edit::{Edit, Selector, granted_by};
use portreeve_manifest::json::{self, JsonLimits};
use portreeve_manifest::lock::Lockfile;
use portreeve_manifest::plugin::PluginManifest;
use portreeve_manifest::project::ProjectManifest;
use portreeve_manifest::size::ByteSize;
use portreeve_manifest::tool::{Tool, exposed_name};

fuzz_target!(|text: &str| {
    if let Err(mistakes) = PluginManifest::parse("plugin.toml", text) {
        assert!(!mistakes.to_string().is_empty());
    }
    if let Err(mistakes) = ProjectManifest::parse("portreeve.toml", text) {
        assert!(!mistakes.to_string().is_empty());
    }
    match Lockfile::parse("portreeve.lock", text) {
        Ok(lock) => assert_eq!(Lockfile::parse("again", &lock.to_text()).ok(), Some(lock)),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
    // Edits keep a file valid, or leave it alone.
    if let Ok(project) = ProjectManifest::parse("portreeve.toml", text)
        && let Some(alias) = project.plugins.keys().next()
        && let Ok(granted) = granted_by("ui.progress", None)
    {
        for edit in [
            Edit::Grant(alias.clone(), granted),
            Edit::Revoke(alias.clone(), vec![Selector::All]),
            Edit::Remove(alias.clone()),
        ] {
            if let Ok(edited) = edit.apply("portreeve.toml", text) {
                assert!(ProjectManifest::parse("portreeve.toml", &edited).is_ok());
            }
        }
    }
    let _ = text.parse::<Selector>();
    let _ = granted_by(text, None);
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    if let Ok(duration) = text.parse::<HumanDuration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    if let Ok(value) = json::parse(text, &JsonLimits::default()) {
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(text).ok(),
            Some(value)
        );
    }
    if let Ok(tool) = Tool::parse(text) {
        let written = serde_json::to_string(&tool).unwrap();
        // Numbers in its schemas may be written in more digits than they were read from.
        if written.len() <= text.len() {
            let again = Tool::parse(&written).unwrap();
            assert_eq!(
                (&again.name, &again.icons, &again.execution, &again.meta),
                (&tool.name, &tool.icons, &tool.execution, &tool.meta)
            );
            assert_eq!(
                again.header_arguments().len(),
                tool.header_arguments().len()
            );
        }
    }
    let name = exposed_name("alias", text);
    assert!((1..=64).contains(&name.len()));
    assert!(
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    );
});
