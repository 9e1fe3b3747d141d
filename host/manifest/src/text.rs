//! Types that are written as one string.

use semver::{Version, VersionReq};
use serde::Deserialize;

/// Gives a type that has `FromStr` and `Display` its place in manifests: serde as a string,
/// and a JSON Schema with a description and a pattern or the like.
macro_rules! written_as_string {
    ($type:ident, $($schema:tt)+) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($($schema)+)
            }
        }
    };
}
pub(crate) use written_as_string;

/// A text as a message quotes it: printable and not too long.
pub(crate) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(CHARS_MAX).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!("`{}{more}`", start.escape_debug())
}

/// Reads a version, with an error that says what one looks like.
pub(crate) fn version<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Version, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| {
        let text = quoted(&text);
        serde::de::Error::custom(format_args!(
            "{text} is no version: {error}; write three numbers, as in \"1.4.0\" (semver.org)"
        ))
    })
}

/// Reads the versions that may run, with an error that says what they look like.
pub(crate) fn version_req<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<VersionReq>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error| {
        let text = quoted(&text);
        serde::de::Error::custom(format_args!(
            "{text} names no versions: {error}; write it as Cargo does, as in \"^1.4\" or \">=1.2, <3\""
        ))
    })
}
