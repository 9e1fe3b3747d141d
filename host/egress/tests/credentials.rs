//! Credentials on their way to real servers.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use portreeve_egress::care::{Exchange, OriginCares, Sending};
use portreeve_egress::credential::{Applied, Credential, SecretId};
use portreeve_egress::oauth::{KeepToken, Tokens};
use portreeve_egress::{Body, GateError};
use portreeve_manifest::grant::{CredentialUse, Place};
use support::{Plain, Server, answer, empty, full, text};
use zeroize::Zeroizing;

#[derive(Default)]
struct Vault(Mutex<Vec<String>>);

#[async_trait]
impl KeepToken for Vault {
    async fn keep(&self, _: &SecretId, token: &Zeroizing<String>) -> Result<(), String> {
        self.0.lock().unwrap().push(token.to_string());
        Ok(())
    }
}

fn credential(kind: &str, fields: &[(&str, &str)], tokens: &Tokens) -> Credential {
    let id = SecretId {
        name: "mine".to_owned(),
        version: 1,
    };
    let fields = fields
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Zeroizing::new((*text).to_owned())));
    Credential::new(kind, id, fields, tokens).unwrap()
}

fn used(place: Option<Place>) -> CredentialUse {
    CredentialUse {
        name: "it".parse().unwrap(),
        place,
    }
}

/// What the gate does: adds the credential to each try, and tells it of a 401.
struct Adding<'a> {
    credential: &'a Credential,
    used: CredentialUse,
    applied: Mutex<Option<Applied>>,
}

#[async_trait]
impl Exchange for Adding<'_> {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, GateError> {
        let tokens: Arc<dyn Exchange> = Arc::new(Plain);
        let applied = self
            .credential
            .apply(&self.used, &mut request, &tokens)
            .await?;
        *self.applied.lock().unwrap() = Some(applied);
        Plain.send(request).await
    }

    fn renew(&self) -> bool {
        let applied = self.applied.lock().unwrap();
        applied
            .as_ref()
            .is_some_and(|applied| self.credential.renew(applied))
    }
}

async fn send(
    credential: &Credential,
    place: Option<Place>,
    request: Request<Body>,
) -> Result<Response<Body>, GateError> {
    let used = used(place);
    let adding = Adding {
        credential,
        used: used.clone(),
        applied: Mutex::default(),
    };
    let sending = Sending {
        credential: Some(&used),
        renewable: credential.is_renewable(),
        ..Sending::default()
    };
    let origin = "https://any.example".parse().unwrap();
    OriginCares::new([])
        .client()
        .run(&origin, request, sending, &adding)
        .await
}

#[tokio::test]
async fn a_server_sees_the_hosts_credential_and_none_of_the_guests() {
    let server = Server::start(|seen, _| {
        let shown = |name: &str| {
            let values = seen.headers.get_all(name).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
            values.join("|")
        };
        let all = format!(
            "{} {} {}",
            seen.target,
            shown("authorization"),
            shown("x-key")
        );
        answer(200, &[], &all)
    })
    .await;
    let tokens = Tokens::new(Arc::new(Vault::default()));
    let key = || credential("api-key", &[("value", "a b&c")], &tokens);
    for (credential, place, seen) in [
        (
            credential("bearer", &[("value", "t0ken")], &tokens),
            None,
            "/p?key=guest&a=1 Bearer t0ken guest",
        ),
        (
            credential("basic", &[("user", "u"), ("password", "p")], &tokens),
            None,
            "/p?key=guest&a=1 Basic dTpw guest",
        ),
        (
            key(),
            Some(Place::Header("x-key".to_owned())),
            "/p?key=guest&a=1 guest|guest a b&c",
        ),
        (
            key(),
            Some(Place::Query("key".to_owned())),
            "/p?a=1&key=a%20b%26c guest|guest guest",
        ),
    ] {
        let request = Request::get(format!("{}/p?key=guest&a=1", server.origin))
            .header("authorization", "guest")
            .header("Authorization", "guest")
            .header("x-key", "guest")
            .body(empty())
            .unwrap();
        let response = send(&credential, place, request).await.unwrap();
        assert_eq!(text(response).await, seen);
    }
}

/// A token server whose tokens are its number of requests, each with a new refresh token.
async fn token_server() -> Server {
    Server::start(|seen, number| {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&seen.body)
            .into_owned()
            .collect();
        let token = form
            .iter()
            .find(|(name, _)| name == "refresh_token")
            .unwrap();
        if token.1 != format!("r{}", number - 1) {
            return answer(400, &[], r#"{"error":"invalid_grant"}"#);
        }
        let given = serde_json::json!({
            "access_token": format!("t{number}"),
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": format!("r{number}"),
        });
        answer(200, &[], &given.to_string())
    })
    .await
}

#[tokio::test]
async fn tokens_are_fetched_rotated_and_renewed() {
    let login = token_server().await;
    // It takes one token only: the last that it was told.
    let valid = Arc::new(AtomicUsize::new(1));
    let taken = valid.clone();
    let api = Server::start(move |seen, _| {
        let wanted = format!("Bearer t{}", taken.load(Ordering::SeqCst));
        match seen.headers.get("authorization") {
            Some(value) if value.to_str().unwrap() == wanted => {
                answer(200, &[], &String::from_utf8_lossy(&seen.body))
            }
            _ => answer(401, &[], "who?"),
        }
    })
    .await;
    let vault = Arc::new(Vault::default());
    let tokens = Tokens::new(vault.clone());
    let url = format!("{}/token", login.origin);
    let fields = [
        ("token-url", url.as_str()),
        ("client-id", "id"),
        ("refresh-token", "r0"),
    ];
    let credential = credential("oauth2-refresh-token", &fields, &tokens);
    let ask = || {
        let request = Request::post(&api.origin).body(full("hello")).unwrap();
        send(&credential, None, request)
    };
    for response in futures::future::join_all((0..50).map(|_| ask())).await {
        assert_eq!(text(response.unwrap()).await, "hello");
    }
    assert_eq!((login.count(), api.count()), (1, 50));
    assert_eq!(*vault.0.lock().unwrap(), ["r1"]);
    // A token that was given just now is not refused for its age.
    valid.store(2, Ordering::SeqCst);
    assert_eq!(ask().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!((login.count(), api.count()), (1, 51));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    for response in futures::future::join_all((0..50).map(|_| ask())).await {
        assert_eq!(text(response.unwrap()).await, "hello");
    }
    assert_eq!(login.count(), 2);
    assert_eq!(*vault.0.lock().unwrap(), ["r1", "r2"]);
}
