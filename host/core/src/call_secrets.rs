//! The secrets of one call: found, stood in for and shown under its plugin's grants, each use
//! on record before the plugin has anything of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portreeve_manifest::feature::Feature;
use portreeve_manifest::grant::SecretRef;
use portreeve_manifest::id::Name;
use portreeve_runtime::{ErrorCode, Failure, SecretSource, SecretSummary};
use portreeve_state::audit::AuditKind;
use portreeve_state::vault::{SecretKind, SecretValue, Vault, VaultError};
use serde_json::Map;
use zeroize::Zeroizing;

use crate::grants::InForce;
use crate::scope::CallScope;

/// Placeholders of one call.
const PLACEHOLDERS_MAX: usize = 100;

/// Origins that are remembered for the placeholders of one call; beyond, each use is recorded.
const PLACES_MAX: usize = 100;

/// What secrets a call may use.
pub(crate) struct CallSecrets {
    scope: Arc<CallScope>,
    vault: Arc<Vault>,
    /// The placeholders that were given out, by the plugin's own names: what stands behind
    /// one, and whether it still may be used, is for the moment at which it is replaced.
    placeholders: Mutex<BTreeMap<Name, String>>,
    /// Where secrets went in place of them.
    places: Mutex<BTreeSet<(Name, String)>>,
    /// Whether the log has been told why a secret can't be used.
    told: AtomicBool,
}

/// The secret of the vault behind a plugin's own name, with that name.
fn behind<'a>(names: &'a BTreeMap<Name, SecretRef>, name: &str) -> Option<(&'a Name, &'a Name)> {
    let (name, secret) = names.get_key_value(name)?;
    Some((name, &secret.vault))
}

impl CallSecrets {
    /// The secrets of a call, of which nothing is used yet.
    pub(crate) fn new(scope: Arc<CallScope>, vault: Arc<Vault>) -> CallSecrets {
        CallSecrets {
            scope,
            vault,
            placeholders: Mutex::default(),
            places: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Has it on record that a secret is used, before it is.
    async fn record(
        &self,
        kind: AuditKind,
        name: &Name,
        secret: &Name,
        to: Option<&str>,
    ) -> Result<(), Failure> {
        let mut body = Map::new();
        body.insert("secret".to_owned(), secret.as_str().into());
        body.insert("name".to_owned(), name.as_str().into());
        if let Some(to) = to {
            body.insert("to".to_owned(), to.into());
        }
        let recorded = self.scope.audit.commit(self.scope.event(kind, body)).await;
        recorded.map_err(|error| {
            tracing::error!(%error, "the use of a secret could not be recorded, and was refused");
            Failure::new(
                ErrorCode::Unavailable,
                "audit-unavailable",
                "this host can't write its audit log, and gives out no secret that it could not record",
            )
        })?;
        Ok(())
    }

    /// Notes when a secret was last used.
    async fn used(&self, secret: &Name) {
        if let Err(error) = self.vault.used(secret.as_str()).await {
            tracing::warn!(%error, "the last use of a secret was not noted");
        }
    }

    /// What the plugin is told of a secret that can't be used; what only its operator may
    /// know goes to the log.
    fn unusable(&self, name: &str, error: &VaultError) -> Failure {
        // A plugin that tries again and again fills no log.
        if !self.told.swap(true, Ordering::Relaxed) {
            let (plugin, call) = (&self.scope.plugin.alias, &self.scope.call_id);
            tracing::warn!(plugin, call, name, %error, "a secret can't be used");
        }
        let alias = &self.scope.plugin.alias;
        match error {
            VaultError::NoSuch(secret) => Failure::new(
                ErrorCode::NotFound,
                "no-such-secret",
                format!(
                    "the secret behind `{name}` of `{alias}` is not in the vault: its operator puts it there with `portreeve secrets set {secret}`"
                ),
            ),
            VaultError::Expired(secret) => Failure::new(
                ErrorCode::Unavailable,
                "expired",
                format!(
                    "the secret behind `{name}` of `{alias}` has expired: its operator gives it another value with `portreeve secrets rotate {secret}`"
                ),
            ),
            _ => Failure::new(
                ErrorCode::Unavailable,
                "vault",
                format!(
                    "the secret behind `{name}` of `{alias}` can't be opened; the host's log says why"
                ),
            ),
        }
    }
}

#[async_trait]
impl SecretSource for CallSecrets {
    async fn find(&self, name: &str) -> Result<SecretSummary, Failure> {
        let granted = self.scope.granted();
        let effective = &granted.effective;
        let secret = behind(&effective.inject, name).or_else(|| behind(&effective.reveal, name));
        let Some((_, secret)) = secret else {
            return Err(self.scope.refuse(self.likely(name), name));
        };
        let info = self.vault.info(secret.as_str()).await;
        let info = info.map_err(|error| self.unusable(name, &error))?;
        Ok(SecretSummary {
            kind: info.kind,
            expires_ms: info.expires.and_then(|end| u64::try_from(end).ok()),
        })
    }

    async fn placeholder(&self, name: &str) -> Result<String, Failure> {
        let granted = self.scope.granted();
        let Some((name, secret)) = behind(&granted.effective.inject, name) else {
            return Err(self.scope.refuse(Feature::SecretsInject, name));
        };
        // That there is one to put in its place.
        let info = self.vault.info(secret.as_str()).await;
        info.map_err(|error| self.unusable(name.as_str(), &error))?;
        {
            let placeholders = self.lock();
            if let Some(known) = placeholders.get(name) {
                return Ok(known.clone());
            }
            if placeholders.len() >= PLACEHOLDERS_MAX {
                return Err(Failure::new(
                    ErrorCode::QuotaExceeded,
                    "placeholders",
                    format!("a call may have {PLACEHOLDERS_MAX} placeholders"),
                ));
            }
        }
        let mut random = [0; 16];
        if let Err(error) = getrandom::fill(&mut random) {
            tracing::error!(%error, "no placeholder could be drawn");
            return Err(Failure::new(
                ErrorCode::Internal,
                "random",
                "the system gives no random numbers",
            ));
        }
        self.record(AuditKind::SecretUse, name, secret, None)
            .await?;
        self.still(&granted, Feature::SecretsInject, name)?;
        self.used(secret).await;
        // Letters and digits alone: it goes through headers, URLs and forms as it is.
        let placeholder = format!("portreevesecret{:032x}", u128::from_be_bytes(random));
        self.lock().insert(name.clone(), placeholder.clone());
        Ok(placeholder)
    }

    async fn reveal(&self, name: &str) -> Result<Zeroizing<String>, Failure> {
        let granted = self.scope.granted();
        let Some((name, secret)) = behind(&granted.effective.reveal, name) else {
            return Err(self.scope.refuse(Feature::SecretsReveal, name));
        };
        let value = self.vault.get(secret.as_str()).await;
        let value = value.map_err(|error| self.unusable(name.as_str(), &error))?;
        // The first time in this call is a record of its own, durable before the plugin has
        // the value; how often it was is in the call's. A plugin that reads it in a loop
        // fills no log, and so drives out nothing that was recorded before.
        if !self.scope.has_revealed(name, secret) {
            self.record(AuditKind::SecretReveal, name, secret, None)
                .await?;
        }
        self.still(&granted, Feature::SecretsReveal, name)?;
        self.scope.reveals(name, secret);
        self.used(secret).await;
        Ok(value.to_text())
    }
}

impl CallSecrets {
    /// Which value the vault has of a secret that the host adds to requests.
    pub(crate) async fn version(&self, name: &Name, secret: &Name) -> Result<i64, Failure> {
        let info = self.vault.info(secret.as_str()).await;
        let info = info.map_err(|error| self.unusable(name.as_str(), &error))?;
        Ok(info.version)
    }

    /// A secret that the host adds to requests to an origin, under the plugin's own name. On
    /// record before it is used.
    pub(crate) async fn credential(
        &self,
        name: &Name,
        secret: &Name,
        to: &str,
    ) -> Result<SecretValue, Failure> {
        let granted = self.scope.granted();
        let value = self.vault.get(secret.as_str()).await;
        let value = value.map_err(|error| self.unusable(name.as_str(), &error))?;
        self.record(AuditKind::SecretUse, name, secret, Some(to))
            .await?;
        self.still(&granted, Feature::Credentials, name)?;
        self.used(secret).await;
        Ok(value)
    }

    /// The plugin's own name for what one of this call's placeholders stands for; none for what
    /// is no placeholder of its.
    pub(crate) fn stood_for(&self, token: &str) -> Option<Name> {
        let placeholders = self.lock();
        let mut known = placeholders.iter();
        known.find_map(|(name, known)| (known == token).then(|| name.clone()))
    }

    /// The secret behind a placeholder's name, as far as it still may be used. On record, once
    /// for each origin that it goes to.
    pub(crate) async fn behind_placeholder(
        &self,
        name: &Name,
        to: &str,
    ) -> Result<Zeroizing<String>, Failure> {
        let granted = self.scope.granted();
        let Some((name, secret)) = behind(&granted.effective.inject, name.as_str()) else {
            return Err(self.scope.refuse(Feature::SecretsInject, name.as_str()));
        };
        let value = self.vault.get(secret.as_str()).await;
        let value = value.map_err(|error| self.unusable(name.as_str(), &error))?;
        if !matches!(value.kind(), SecretKind::ApiKey | SecretKind::Bearer) {
            return Err(Failure::new(
                ErrorCode::Unsupported,
                "kind",
                format!(
                    "the secret behind `{name}` is of kind {}, which no text stands in for; use it as the `credential` of a network request",
                    value.kind()
                ),
            ));
        }
        if self.is_new_place(name, to) {
            self.record(AuditKind::SecretUse, name, secret, Some(to))
                .await?;
        }
        self.still(&granted, Feature::SecretsInject, name)?;
        self.used(secret).await;
        Ok(value.to_text())
    }

    /// Whether a secret goes to an origin for the first time in this call, as far as is
    /// remembered.
    fn is_new_place(&self, name: &Name, to: &str) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.len() >= PLACES_MAX || places.insert((name.clone(), to.to_owned()))
    }

    /// Whether all that stands in for secrets in this call still may be filled.
    ///
    /// # Errors
    /// The first that may not.
    pub(crate) fn placeholders_stand(
        &self,
        inject: &BTreeMap<Name, SecretRef>,
    ) -> Result<(), Failure> {
        let gone = {
            let placeholders = self.lock();
            let mut names = placeholders.keys();
            names.find(|name| !inject.contains_key(*name)).cloned()
        };
        match gone {
            Some(name) => Err(self.scope.refuse(Feature::SecretsInject, name.as_str())),
            None => Ok(()),
        }
    }

    /// Which grant would help with a name: the one that the plugin asks for.
    fn likely(&self, name: &str) -> Feature {
        let reveals = self.scope.plugin.manifest().is_some_and(|manifest| {
            let asked = &manifest.requests.secrets;
            let names = |names: &[Name]| names.iter().any(|known| known.as_str() == name);
            names(&asked.reveal) && !names(&asked.inject)
        });
        if reveals {
            Feature::SecretsReveal
        } else {
            Feature::SecretsInject
        }
    }

    /// Whether what was granted is granted still: opening the vault and writing the record
    /// take time, in which it may have been revoked.
    fn still(&self, granted: &InForce, feature: Feature, name: &Name) -> Result<(), Failure> {
        let names = |grants: &InForce| match feature {
            Feature::SecretsReveal => grants.effective.reveal.get(name).cloned(),
            Feature::Credentials => grants.effective.credentials.get(name).cloned(),
            _ => grants.effective.inject.get(name).cloned(),
        };
        if names(&self.scope.granted()) == names(granted) {
            return Ok(());
        }
        Err(self.scope.refuse(feature, name.as_str()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, String>> {
        self.placeholders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
