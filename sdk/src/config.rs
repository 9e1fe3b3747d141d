//! What the operator has set for this plugin under `config` in `portreeve.toml`. The host has
//! checked it against the JSON Schema in `plugin.toml`.
//!
//! In a native build nothing is set.

use serde::de::DeserializeOwned;

use crate::Error;
use crate::host::config;

/// One setting; `None` where the operator has not set it.
///
/// ```
/// let depth: u32 = portreeve_sdk::config::get("depth")?.unwrap_or(3);
/// assert_eq!(depth, 3);
/// # Ok::<(), portreeve_sdk::Error>(())
/// ```
///
/// # Errors
/// `internal` where the value doesn't fit `T`.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    config::get(key)
        .map(|json| serde_json::from_str(&json).map_err(|error| misfit(Some(key), &error)))
        .transpose()
}

/// All settings as one type, usually a struct with `#[serde(default)]`.
///
/// # Errors
/// `internal` where they don't fit `T`.
pub fn all<T: DeserializeOwned>() -> Result<T, Error> {
    serde_json::from_str(&config::all()).map_err(|error| misfit(None, &error))
}

/// The settings are the operator's, so the caller is not to blame.
pub(crate) fn misfit(key: Option<&str>, error: &serde_json::Error) -> Error {
    let what = key.map_or_else(
        || "the configuration of this plugin doesn't".to_owned(),
        |key| format!("the setting `{key}` of this plugin doesn't"),
    );
    Error::internal(format_args!(
        "{what} fit what the plugin expects ({error}); the operator can correct it in \
         portreeve.toml"
    ))
    .reason("invalid-config")
}
