//! The parsers of `portreeve-manifest`: no text makes them panic, and what is shown of a
//! value can be read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::json::{self, JsonLimits};
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
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    if let Ok(duration) = text.parse::<HumanDuration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    if let Ok(value) = json::parse(text, &JsonLimits::default()) {
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).ok(), Some(value));
    }
    let _ = Tool::parse(text);
    let name = exposed_name("alias", text);
    assert!((1..=64).contains(&name.len()));
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
});
