//! OCI registries: a thin client of the distribution specification.
//!
//! It is our own, over [`HostClient`], as the libraries for it bring an HTTP client of theirs:
//! that would be a second way out, with other roots, proxies and refusals, and without bounds
//! on what a registry sends. The types are those of `oci-spec`.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>

mod auth;
mod layout;
mod pull;
mod push;
mod referrers;
mod registry;
mod tags;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderValue;
use portreeve_egress::HostClient;
use portreeve_manifest::source::OciReference;
use url::Url;

use crate::credentials::RegistryCredentials;
use crate::fetch::FetchSettings;
use registry::{Access, Repository};

/// All registries: who we are there, and where they are.
pub(crate) struct Registries {
    client: HostClient,
    credentials: Box<dyn RegistryCredentials>,
    settings: FetchSettings,
    /// What a registry is shown, once it was found out.
    sessions: Mutex<HashMap<SessionKey, HeaderValue>>,
    /// Where registries on this machine are: they may speak plain HTTP.
    bases: Mutex<HashMap<String, Url>>,
}

/// Registry, repository, and what for.
type SessionKey = (String, String, Access);

impl Registries {
    pub(crate) fn new(
        client: HostClient,
        credentials: Box<dyn RegistryCredentials>,
        settings: FetchSettings,
    ) -> Registries {
        Registries {
            client,
            credentials,
            settings,
            sessions: Mutex::default(),
            bases: Mutex::default(),
        }
    }

    /// Where to look for what a reference names: at the mirrors, then at the registry.
    fn places(&self, reference: &OciReference) -> Vec<Repository<'_>> {
        let mirrors = self.settings.mirrors.get(reference.registry());
        let mirrors = mirrors.into_iter().flatten().map(|mirror| {
            let name = match mirror.prefix() {
                "" => reference.repository().to_owned(),
                prefix => format!("{prefix}/{}", reference.repository()),
            };
            Repository::new(self, mirror.registry(), name)
        });
        let own = Repository::new(
            self,
            reference.registry(),
            reference.repository().to_owned(),
        );
        mirrors.chain([own]).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
