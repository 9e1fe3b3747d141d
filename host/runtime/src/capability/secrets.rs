//! `portreeve:secrets`: handles to secrets, placeholders for them, and their values under a
//! grant of its own.

use async_trait::async_trait;
use wasmtime::component::Resource;
use zeroize::Zeroizing;

use crate::bindings::portreeve::secrets::{inject, reveal, store};
use crate::bindings::portreeve::types::types as wit;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Longest name that is looked for, in bytes: names are shorter.
const NAME_BYTES_MAX: usize = 128;

/// What is known of a secret without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSummary {
    /// Its kind.
    pub kind: String,
    /// When it ends: milliseconds since 1970, UTC.
    pub expires_ms: Option<u64>,
}

/// Gives out secrets. Each use asks again: grants may have changed.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The secret behind the plugin's own name for it.
    ///
    /// # Errors
    /// It is not granted, not there, or can't be opened.
    async fn find(&self, name: &str) -> Result<SecretSummary, Failure>;

    /// A text that stands in for it in outbound requests.
    ///
    /// # Errors
    /// As [`SecretSource::find`].
    async fn placeholder(&self, name: &str) -> Result<String, Failure>;

    /// Its value.
    ///
    /// # Errors
    /// As [`SecretSource::find`].
    async fn reveal(&self, name: &str) -> Result<Zeroizing<String>, Failure>;
}

/// Where nothing is granted.
#[derive(Clone, Copy, Debug)]
pub struct NoSecrets;

fn none() -> Failure {
    Failure::new(
        ErrorCode::PermissionDenied,
        "listing",
        "tools are listed without any grant",
    )
}

#[async_trait]
impl SecretSource for NoSecrets {
    async fn find(&self, _: &str) -> Result<SecretSummary, Failure> {
        Err(none())
    }

    async fn placeholder(&self, _: &str) -> Result<String, Failure> {
        Err(none())
    }

    async fn reveal(&self, _: &str) -> Result<Zeroizing<String>, Failure> {
        Err(none())
    }
}

/// A handle of a guest.
#[expect(unreachable_pub, reason = "the generated bindings name it")]
pub struct SecretHandle {
    name: String,
    summary: SecretSummary,
}

/// A handle that is none: the guest made it up, or the table is full.
fn broken(error: impl std::fmt::Display) -> wit::Failure {
    Failure::new(
        ErrorCode::QuotaExceeded,
        "handles",
        format!("the handle can't be used or made: {error}; the setting `handles` in the plugin's `limits` says how many there may be"),
    )
    .into()
}

impl store::Host for Guest {
    async fn get(&mut self, name: String) -> Result<Resource<SecretHandle>, wit::Failure> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Failure::new(
                ErrorCode::InvalidArgument,
                "name",
                "no secret has so long a name",
            )
            .into());
        }
        let summary = self.context.secrets.clone().find(&name).await?;
        self.table()
            .push(SecretHandle { name, summary })
            .map_err(broken)
    }
}

impl store::HostSecret for Guest {
    async fn name(&mut self, secret: Resource<SecretHandle>) -> String {
        let found = self.table().get(&secret);
        found.map_or_else(|_| String::new(), |secret| secret.name.clone())
    }

    async fn kind(&mut self, secret: Resource<SecretHandle>) -> String {
        let found = self.table().get(&secret);
        found.map_or_else(|_| String::new(), |secret| secret.summary.kind.clone())
    }

    async fn expires_ms(&mut self, secret: Resource<SecretHandle>) -> Option<u64> {
        let found = self.table().get(&secret);
        found.ok().and_then(|secret| secret.summary.expires_ms)
    }

    async fn drop(&mut self, secret: Resource<SecretHandle>) -> wasmtime::Result<()> {
        self.table().delete(secret)?;
        Ok(())
    }
}

impl inject::Host for Guest {
    async fn placeholder(
        &mut self,
        secret: Resource<SecretHandle>,
    ) -> Result<String, wit::Failure> {
        let name = self.table().get(&secret).map_err(broken)?.name.clone();
        Ok(self.context.secrets.clone().placeholder(&name).await?)
    }
}

impl reveal::Host for Guest {
    async fn value(&mut self, secret: Resource<SecretHandle>) -> Result<String, wit::Failure> {
        let name = self.table().get(&secret).map_err(broken)?.name.clone();
        let value = self.context.secrets.clone().reveal(&name).await?;
        // From here on it is the guest's: its memory ends with the call.
        Ok(value.as_str().to_owned())
    }
}
