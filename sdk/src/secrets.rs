//! Secrets that the operator keeps for the plugin, under the names that its `plugin.toml` asks
//! for. Needs the grants `secrets.inject` or `secrets.reveal`.

use std::time::{Duration, SystemTime};

use crate::Error;
use crate::host::{inject, reveal, store};

/// A secret that may be used.
#[derive(Debug)]
pub struct Secret(store::Secret);

/// The secret behind a name of `[requests.secrets]`.
///
/// ```
/// use portreeve_sdk::{Error, secrets};
///
/// fn header() -> Result<String, Error> {
///     let token = secrets::get("webhook-token")?;
///     // The host puts the secret in its place on the way out: the plugin never sees it.
///     Ok(format!("Bearer {}", token.placeholder()?))
/// }
/// # assert!(header().is_err());
/// ```
///
/// # Errors
/// `permission-denied` where none is granted under the name, and in a native build;
/// `not-found` where the operator has not put it into the vault; `unavailable` where it has
/// expired or can't be opened.
pub fn get(name: &str) -> Result<Secret, Error> {
    store::get(name).map(Secret).map_err(Error::from_failure)
}

impl Secret {
    /// The plugin's own name for it.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Its kind, such as `bearer`.
    pub fn kind(&self) -> String {
        self.0.kind()
    }

    /// When it ends.
    pub fn expires(&self) -> Option<SystemTime> {
        let since = Duration::from_millis(self.0.expires_ms()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    /// A text to put where the secret belongs in an outbound request, in the value of a header
    /// or in the query: it is replaced on the way out, holds for this call, and is of no use
    /// anywhere else, be it in a path or a body. Only secrets of the kinds `api-key` and
    /// `bearer` have one; others are used as the `credential` of a `[[requests.network]]`.
    ///
    /// # Errors
    /// `permission-denied` where `secrets.inject` is not granted for it.
    pub fn placeholder(&self) -> Result<String, Error> {
        inject::placeholder(&self.0).map_err(Error::from_failure)
    }

    /// The secret itself: the text for `api-key` and `bearer`, a JSON object of its fields for
    /// the other kinds. Each use is on record.
    ///
    /// # Errors
    /// `permission-denied` where `secrets.reveal` is not granted for it.
    pub fn reveal(&self) -> Result<String, Error> {
        reveal::value(&self.0).map_err(Error::from_failure)
    }
}
