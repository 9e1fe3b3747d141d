//! Log-ins at registries: none, basic, and tokens
//! (<https://distribution.github.io/distribution/spec/auth/token/>).
//!
//! A registry names the server that a token is had from, and so could have our log-in sent
//! anywhere. It goes to the registry's own host, to hosts below it, to the few that are known
//! for theirs, and to those that the operator names; over https, or on this machine.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};
use portreeve_egress::{Answer, HostRequest, Take};
use portreeve_manifest::settings::is_loopback;
use serde::Deserialize;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::registry::{Access, Repository, WORDS_BYTES_MAX};
use crate::credentials::RegistryCredential;
use crate::fetch::FetchError;

/// Token servers of registries that are elsewhere, as their operators document them.
const KNOWN: [(&str, &str); 2] = [
    ("docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
];

/// Bytes of what is shown: servers take some 8 KiB in a header.
const SESSION_BYTES_MAX: usize = 16 << 10;

/// What a registry wants to be shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    /// In lower case.
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Logs in as a registry has asked for: what it is shown from now on.
pub(super) async fn log_in(
    repository: &Repository<'_>,
    access: Access,
    answer: &Answer,
) -> Result<HeaderValue, FetchError> {
    let registry = &repository.registry;
    let credential = repository
        .registries
        .credentials
        .credential(registry, &repository.name)
        .await
        .map_err(|why| FetchError::Credential {
            registry: registry.clone(),
            why,
        })?;
    let challenges = challenges(&answer.headers);
    if let Some(bearer) = challenges.iter().find(|one| one.scheme == "bearer") {
        return token(repository, access, bearer, credential).await;
    }
    match credential {
        Some(RegistryCredential::Basic { user, password })
            if challenges.iter().any(|one| one.scheme == "basic") =>
        {
            Ok(basic(&user, &password))
        }
        _ => Err(repository.unauthorized(answer)),
    }
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    secret(&value)
}

/// Base64 and tokens that were looked at are fit for a header.
fn secret(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Gets a token from the server that a registry names.
async fn token(
    repository: &Repository<'_>,
    access: Access,
    bearer: &Challenge,
    credential: Option<RegistryCredential>,
) -> Result<HeaderValue, FetchError> {
    let realm = bearer
        .parameter("realm")
        .and_then(|realm| Url::parse(realm).ok());
    let Some(mut realm) = realm else {
        return Err(repository.protocol("", "it wants a token, and names no server of tokens"));
    };
    check_realm(repository, &realm).await?;
    let scope = format!("repository:{}:{}", repository.name, access.actions());
    let service = bearer.parameter("service");
    let request = match credential {
        Some(RegistryCredential::Identity(identity)) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "portreeve")
                .append_pair("scope", &scope)
                .append_pair("refresh_token", &identity);
            form.extend_pairs(service.map(|service| ("service", service)));
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            HostRequest::new(Method::POST, realm)
                .header(CONTENT_TYPE, kind)
                .body(form.finish())
        }
        other => {
            realm
                .query_pairs_mut()
                .extend_pairs(service.map(|service| ("service", service)))
                .append_pair("scope", &scope);
            let request = HostRequest::get(realm);
            match other {
                Some(RegistryCredential::Basic { user, password }) => {
                    request.header(AUTHORIZATION, basic(&user, &password))
                }
                _ => request,
            }
        }
    };
    let answer = repository
        .exchange(&request, &Take::at_most(WORDS_BYTES_MAX))
        .await?;
    if !answer.status.is_success() {
        return Err(repository.unauthorized(&answer));
    }
    #[derive(Deserialize)]
    struct Given {
        token: Option<String>,
        access_token: Option<String>,
    }
    let given: Option<Given> = serde_json::from_slice(&answer.body).ok();
    let given = given.and_then(|given| given.token.or(given.access_token));
    let is_fit = |token: &String| {
        !token.is_empty()
            && token.len() <= SESSION_BYTES_MAX
            && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match given.filter(is_fit).map(Zeroizing::new) {
        Some(token) => Ok(secret(&Zeroizing::new(format!("Bearer {}", *token)))),
        None => Err(repository.protocol("", "its server of tokens gives none")),
    }
}

/// Whether a server of tokens is the registry's.
async fn check_realm(repository: &Repository<'_>, realm: &Url) -> Result<(), FetchError> {
    let base = repository.url("").await?;
    let (Some(host), Some(own)) = (realm.host(), base.host()) else {
        return Err(repository.protocol("", "it names a server of tokens that is none"));
    };
    let (name, own_name) = (host.to_string(), own.to_string());
    let registry = repository.registry.as_str();
    let named = repository.registries.settings.token_hosts.get(registry);
    let is_own = name == own_name
        || name
            .strip_suffix(&own_name)
            .is_some_and(|front| front.ends_with('.'))
        || KNOWN.contains(&(registry, &name))
        || named.is_some_and(|hosts| hosts.contains(&name));
    let is_safe = match realm.scheme() {
        "https" => true,
        "http" => is_loopback(&host) && is_loopback(&own),
        _ => false,
    };
    let has_user = !realm.username().is_empty() || realm.password().is_some();
    if is_own && is_safe && !has_user {
        return Ok(());
    }
    Err(FetchError::Credential {
        registry: registry.to_owned(),
        why: format!(
            "it wants it to be shown to {}, which is not its own over https; if that is right, name it among the token hosts of {registry}",
            realm.origin().ascii_serialization()
        ),
    })
}

/// What a registry wants to be shown, by `WWW-Authenticate` (RFC 9110, section 11.6.1).
fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse)
        .collect()
}

/// The challenges of one header: `Bearer realm="…",service="…", Basic realm="…"`.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    for part in split(text) {
        let (head, value) = match part.split_once('=') {
            Some((head, value)) => (head.trim(), Some(value.trim())),
            None => (part.trim(), None),
        };
        // A scheme stands before the first of its parameters, or alone.
        let (scheme, name) = match (head.split_once(char::is_whitespace), value) {
            (Some((scheme, name)), _) => (Some(scheme), name.trim()),
            (None, None) => (Some(head), ""),
            (None, Some(_)) => (None, head),
        };
        if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
            found.push(Challenge {
                scheme: scheme.to_ascii_lowercase(),
                parameters: Vec::new(),
            });
        }
        if let (Some(challenge), Some(value), false) = (found.last_mut(), value, name.is_empty()) {
            let parameter = (name.to_ascii_lowercase(), unquoted(value));
            challenge.parameters.push(parameter);
        }
    }
    found
}

/// What stands between commas, but for those within quotes.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        match letter {
            ',' if !quoted => {
                parts.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = letter == '\\' && quoted && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

fn unquoted(value: &str) -> String {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    let Some(inner) = inner else {
        return value.to_owned();
    };
    let mut text = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.extend(letters.next()),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_are_read() {
        let shown = |text: &str| {
            let mut lines = Vec::new();
            for one in parse(text) {
                let parameters = one
                    .parameters
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                lines.push(format!(
                    "{} {}",
                    one.scheme,
                    parameters.collect::<Vec<_>>().join(" ")
                ));
            }
            lines.join("; ")
        };
        for (text, expected) in [
            ("Basic", "basic "),
            (r#"Basic realm="a, \"b\"""#, r#"basic realm=a, "b""#),
            (
                r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#,
                "bearer realm=https://auth.example/token service=registry scope=repository:a/b:pull,push",
            ),
            (
                r#"Negotiate, BASIC realm=x , bearer  Realm = y"#,
                "negotiate ; basic realm=x; bearer realm=y",
            ),
            ("", ""),
            (",,=,", ""),
            ("realm=x", ""),
            (
                r#"Bearer realm="unclosed, service=x"#,
                r#"bearer realm="unclosed, service=x"#,
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,80}|[a-zB \"=,\\\\]{0,40}") {
            parse(&text);
        }
    }
}
