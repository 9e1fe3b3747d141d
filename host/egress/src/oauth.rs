//! OAuth 2 tokens that the host gets for itself: by client credentials (RFC 6749, section
//! 4.4) and by a refresh token (section 6).
//!
//! [`Tokens`] is one per host. A token is fetched when it is first needed and again shortly
//! before it ends, once however many wait for it, and on a task of its own: a refresh token
//! that the server has already replaced must not be lost because a caller went away.

mod exchange;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::care::Exchange;
use crate::credential::{Fields, SecretId, secret_header, unusable};
use crate::error::{GateError, GateErrorKind};
use exchange::{Granted, How};

/// A token is renewed this long before it ends, or at four fifths of a short life.
const SKEW: Duration = Duration::from_secs(60);

/// A token that is younger was not refused for its age: it is not renewed for a 401.
const REFUSED_AGE_MIN: Duration = Duration::from_secs(10);

/// The first and the longest pause after a failure; they double.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Values of one secret that are remembered: calls that began with an older one still use it.
const VERSIONS_MAX: usize = 4;

/// Who keeps a refresh token that the server has replaced.
#[async_trait]
pub trait KeepToken: Send + Sync {
    /// Keeps the new token in the place of the one that the secret had. Until it is kept, a
    /// host that stops has none that works.
    ///
    /// # Errors
    /// It can't be kept; the words are logged, and must not hold the token.
    async fn keep(
        &self,
        secret: &SecretId,
        refresh_token: &Zeroizing<String>,
    ) -> Result<(), String>;
}

/// The tokens of all secrets.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    keeper: Arc<dyn KeepToken>,
    sources: Mutex<BTreeMap<String, BTreeMap<i64, Arc<TokenSource>>>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl Tokens {
    /// No tokens yet.
    pub fn new(keeper: Arc<dyn KeepToken>) -> Tokens {
        Tokens(Arc::new(Inner {
            keeper,
            sources: Mutex::default(),
        }))
    }

    /// Forgets a secret that is gone.
    pub fn forget(&self, name: &str) {
        self.sources().remove(name);
    }

    /// The source of a secret's tokens: the same for all who use the same value of it.
    pub(crate) fn source(
        &self,
        kind: &str,
        fields: &mut Fields<'_>,
    ) -> Result<Arc<TokenSource>, GateError> {
        let (client, refresh_token) = Client::read(kind, fields)?;
        let id = fields.id;
        let mut sources = self.sources();
        let versions = sources.entry(id.name.clone()).or_default();
        if let Some(source) = versions.get(&id.version) {
            return Ok(Arc::clone(source));
        }
        // A refresh token that was replaced by the server makes a new value of the same
        // source. Two sources of one refresh token would end it for each other.
        let same = versions
            .values()
            .find(|source| source.client == client && *source.refresh_token() == refresh_token);
        let source = same.cloned().unwrap_or_else(|| {
            Arc::new(TokenSource {
                id: id.clone(),
                client,
                keeper: Arc::clone(&self.0.keeper),
                refresh_token: Mutex::new(refresh_token),
                token: Mutex::new(None),
                state: Arc::default(),
            })
        });
        versions.insert(id.version, Arc::clone(&source));
        while versions.len() > VERSIONS_MAX {
            versions.pop_first();
        }
        Ok(source)
    }

    fn sources(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<i64, Arc<TokenSource>>>> {
        self.0
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks for tokens, and where.
#[derive(PartialEq, Eq)]
struct Client {
    url: Url,
    id: Zeroizing<String>,
    secret: Option<Zeroizing<String>>,
    scopes: Option<Zeroizing<String>>,
}

impl Client {
    fn read(
        kind: &str,
        fields: &mut Fields<'_>,
    ) -> Result<(Client, Option<Zeroizing<String>>), GateError> {
        let url = fields.line("token-url")?;
        let url = Url::parse(&url).ok().filter(is_safe).ok_or_else(|| {
            fields.unusable(format_args!(
                "needs a `token-url` with https://, without a user or a fragment"
            ))
        })?;
        let refreshes = kind == "oauth2-refresh-token";
        let client = Client {
            url,
            id: fields.line("client-id")?,
            secret: if refreshes {
                fields.line_if_any("client-secret")?
            } else {
                Some(fields.line("client-secret")?)
            },
            scopes: fields.line_if_any("scopes")?,
        };
        let refresh_token = if refreshes {
            Some(fields.line("refresh-token")?)
        } else {
            None
        };
        Ok((client, refresh_token))
    }
}

/// Whether secrets may go there: not in the clear, but within this machine.
fn is_safe(url: &Url) -> bool {
    let local = url
        .host()
        .is_some_and(|host| portreeve_manifest::settings::is_loopback(&host));
    (url.scheme() == "https" || (url.scheme() == "http" && local))
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

/// What gets tokens with one value of a secret.
pub(crate) struct TokenSource {
    id: SecretId,
    client: Client,
    keeper: Arc<dyn KeepToken>,
    /// The one that works now.
    refresh_token: Mutex<Option<Zeroizing<String>>>,
    token: Mutex<Option<Token>>,
    /// Held by who fetches.
    state: Arc<tokio::sync::Mutex<State>>,
}

#[derive(Default)]
struct State {
    how: How,
    serial: u64,
    failed: Option<Failed>,
    /// Whether the vault still has an older refresh token.
    unkept: bool,
}

struct Failed {
    error: GateError,
    until: Instant,
    pause: Duration,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    serial: u64,
    since: Instant,
    renewal: Instant,
    end: Instant,
    refused: bool,
}

/// Which token a request was given.
#[derive(Debug)]
pub(crate) struct Lease(u64);

impl TokenSource {
    /// The header with a token that is good for now.
    pub(crate) async fn token(
        self: &Arc<Self>,
        exchange: &Arc<dyn Exchange>,
    ) -> Result<(HeaderValue, Lease), GateError> {
        let token = match self.current(|token, now| now < token.renewal) {
            Some(token) => token,
            None => self.renewed(exchange).await?,
        };
        Ok((token.header, Lease(token.serial)))
    }

    /// Told that a token was refused. Whether the next will be another.
    pub(crate) fn refuse(&self, lease: &Lease) -> bool {
        match &mut *self.slot() {
            Some(token) if token.serial == lease.0 => {
                token.refused |= token.since.elapsed() >= REFUSED_AGE_MIN;
                token.refused
            }
            // It has been replaced since.
            _ => true,
        }
    }

    async fn renewed(self: &Arc<Self>, exchange: &Arc<dyn Exchange>) -> Result<Token, GateError> {
        let state = Arc::clone(&self.state).lock_owned().await;
        // Somebody else may have fetched it while this one waited.
        if let Some(token) = self.current(|token, now| now < token.renewal) {
            return Ok(token);
        }
        if let Some(failed) = &state.failed
            && Instant::now() < failed.until
        {
            return self.still_good().ok_or_else(|| failed.error.clone());
        }
        let fetching = tokio::spawn(Arc::clone(self).fetch(state, Arc::clone(exchange)));
        fetching.await.unwrap_or_else(|_| {
            let what = format_args!("got no token: its request broke off; try again");
            Err(unusable(&self.id, what))
        })
    }

    async fn fetch(
        self: Arc<Self>,
        mut state: OwnedMutexGuard<State>,
        exchange: Arc<dyn Exchange>,
    ) -> Result<Token, GateError> {
        let refresh_token = self.refresh_token().clone();
        let asked = Instant::now();
        let granted = exchange::get(
            &self.id,
            &self.client,
            refresh_token.as_ref(),
            &mut state.how,
            &*exchange,
        );
        match granted.await {
            Ok(granted) => {
                state.failed = None;
                state.serial += 1;
                let token = self.install(&granted, state.serial, asked)?;
                self.rotate(&mut state, granted.refresh_token).await;
                Ok(token)
            }
            Err(error) => {
                // What this caller may not do, the next one may.
                let own = matches!(
                    error.kind(),
                    GateErrorKind::Refused
                        | GateErrorKind::Budget { .. }
                        | GateErrorKind::RateLimited { .. }
                        | GateErrorKind::CircuitOpen { .. }
                );
                if !own {
                    let before = state.failed.as_ref().map(|failed| failed.pause * 2);
                    let pause = before.unwrap_or(PAUSE_FIRST).min(PAUSE_MAX);
                    state.failed = Some(Failed {
                        error: error.clone(),
                        until: Instant::now() + pause,
                        pause,
                    });
                    tracing::warn!(secret = %self.id.name, %error, ?pause, "no token");
                }
                self.still_good().ok_or(error)
            }
        }
    }

    fn install(&self, granted: &Granted, serial: u64, asked: Instant) -> Result<Token, GateError> {
        let header = secret_header(&["Bearer ", &granted.access_token]).ok_or_else(|| {
            let what = format_args!("was given a token that no header can have");
            unusable(&self.id, what)
        })?;
        let skew = SKEW.min(granted.lifetime / 5);
        let token = Token {
            header,
            serial,
            since: asked,
            renewal: asked + (granted.lifetime - skew),
            end: asked + granted.lifetime,
            refused: false,
        };
        *self.slot() = Some(token.clone());
        Ok(token)
    }

    /// Uses a new refresh token from now on, and has it kept.
    async fn rotate(&self, state: &mut State, new: Option<Zeroizing<String>>) {
        if let Some(new) = new {
            // Client credentials need none, whatever the server gives.
            if let Some(current) = &mut *self.refresh_token()
                && *current != new
            {
                *current = new;
                state.unkept = true;
            }
        }
        let current = self.refresh_token().clone();
        if let Some(current) = current.filter(|_| state.unkept) {
            match self.keeper.keep(&self.id, &current).await {
                Ok(()) => state.unkept = false,
                Err(why) => tracing::error!(
                    secret = %self.id.name,
                    why,
                    "the server replaced the refresh token, and the new one could not be kept; it is used until the host stops"
                ),
            }
        }
    }

    fn current(&self, good: impl Fn(&Token, Instant) -> bool) -> Option<Token> {
        let now = Instant::now();
        let slot = self.slot();
        let token = slot.as_ref()?;
        (!token.refused && good(token, now)).then(|| token.clone())
    }

    /// The token, if it is due for renewal and not over yet.
    fn still_good(&self) -> Option<Token> {
        self.current(|token, now| now < token.end)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh_token(&self) -> MutexGuard<'_, Option<Zeroizing<String>>> {
        self.refresh_token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
