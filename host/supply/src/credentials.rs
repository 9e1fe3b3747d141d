//! Log-ins of registries.

mod docker;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use docker::DockerCredentials;

/// What a registry is shown.
#[derive(Clone)]
pub enum RegistryCredential {
    /// A user and a password, or a token in its place.
    Basic {
        /// Who.
        user: String,
        /// What proves it.
        password: Zeroizing<String>,
    },
    /// A token that others are had for (the OAuth2 flow of Docker's registries).
    Identity(Zeroizing<String>),
}

impl std::fmt::Debug for RegistryCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RegistryCredential::Basic { .. } => "Basic(…)",
            RegistryCredential::Identity(_) => "Identity(…)",
        })
    }
}

/// Who knows log-ins.
#[async_trait]
pub trait RegistryCredentials: Send + Sync {
    /// The log-in for a repository of a registry; nothing where there is none.
    ///
    /// # Errors
    /// A sentence, without secrets: why there should be one and isn't.
    async fn credential(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<RegistryCredential>, String>;
}

/// Nobody: what is public is had without.
#[derive(Clone, Copy, Debug)]
pub struct Anonymous;

#[async_trait]
impl RegistryCredentials for Anonymous {
    async fn credential(&self, _: &str, _: &str) -> Result<Option<RegistryCredential>, String> {
        Ok(None)
    }
}
