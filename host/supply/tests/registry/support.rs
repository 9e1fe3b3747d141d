//! What the tests share: components, and fetchers that don't wait long.

use std::sync::Mutex;
use std::time::Duration;

use portreeve_egress::{Gate, HostLimits};
use portreeve_manifest::settings::{NetworkSettings, Roots};
use portreeve_supply::credentials::{Anonymous, RegistryCredential, RegistryCredentials};
use portreeve_supply::fetch::{FetchError, FetchProgress, FetchSettings};
use portreeve_supply::{Fetched, Fetcher, Reference};

/// Pauses that nobody waits for.
pub(crate) const HTTP: HostLimits = HostLimits {
    total: Duration::from_secs(60),
    tries: 3,
    pause_first: Duration::from_millis(1),
    pause_longest: Duration::from_millis(5),
    redirects: 3,
};

pub(crate) const COMPONENT_MAX: u64 = 1 << 20;

/// A component that exports one function; `name` makes it another one.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m (func (export "run") (result i32) i32.const 42))
            (core instance $i (instantiate $m))
            (func (export "{name}") (result u32) (canon lift (core func $i "run"))))"#
    );
    wat::parse_str(text).unwrap()
}

pub(crate) fn gate() -> Gate {
    Gate::new(&NetworkSettings::default(), None).unwrap()
}

/// A gate that trusts this certificate alone.
pub(crate) fn gate_of(pem: &str) -> Gate {
    let settings = NetworkSettings {
        roots: Roots::File("roots.pem".parse().unwrap()),
        ..NetworkSettings::default()
    };
    Gate::new(&settings, Some(pem.as_bytes().to_vec())).unwrap()
}

pub(crate) fn settings() -> FetchSettings {
    FetchSettings {
        component_max: COMPONENT_MAX,
        http: HTTP,
        ..FetchSettings::default()
    }
}

pub(crate) fn fetcher() -> Fetcher {
    Fetcher::new(&gate(), Box::new(Anonymous), settings())
}

/// One user of all registries.
pub(crate) struct User(pub(crate) &'static str, pub(crate) &'static str);

#[async_trait::async_trait]
impl RegistryCredentials for User {
    async fn credential(&self, _: &str, _: &str) -> Result<Option<RegistryCredential>, String> {
        Ok(Some(RegistryCredential::Basic {
            user: self.0.to_owned(),
            password: self.1.to_owned().into(),
        }))
    }
}

pub(crate) fn fetcher_of(user: &'static str, password: &'static str) -> Fetcher {
    Fetcher::new(&gate(), Box::new(User(user, password)), settings())
}

pub(crate) fn oci(text: &str) -> Reference {
    Reference::Oci(text.parse().unwrap())
}

pub(crate) async fn pull(text: &str) -> Result<Fetched, FetchError> {
    fetcher().fetch(&oci(text), &|_| {}).await
}

/// What was told of the way.
pub(crate) async fn watched(
    fetcher: &Fetcher,
    reference: &Reference,
) -> (Fetched, Vec<FetchProgress>) {
    let seen = Mutex::new(Vec::new());
    let fetched = fetcher
        .fetch(reference, &|step| seen.lock().unwrap().push(step))
        .await
        .unwrap();
    (fetched, seen.into_inner().unwrap())
}
