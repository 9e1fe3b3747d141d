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
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portreeve_egress::care::{Exchange, OriginCares, Sending};
use portreeve_egress::credential::{Applied, Credential, SecretId};
use portreeve_egress::oauth::{KeepToken, Tokens};
use portreeve_egress::pending::{Body, CredentialUse, GateError, GateErrorKind, Place};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use support::{Plain, Server, answer, empty, full, text};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
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
    let origin = "any".to_owned();
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

/// A certificate with its key.
struct Certified {
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

fn certified(name: &str) -> Certified {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    Certified {
        certificate: made.cert,
        key: made.signing_key,
    }
}

fn roots(of: &Certified) -> Arc<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(of.certificate.der().clone()).unwrap();
    Arc::new(roots)
}

/// A server that wants to see one certificate, and says whether it did.
async fn tls_server(server: &Certified, client: &Certified) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(client), provider.clone())
        .build()
        .unwrap();
    let key = PrivateKeyDer::try_from(server.key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
            let service = service_fn(move |_| async move {
                Ok::<_, std::convert::Infallible>(answer(200, &[], &shown.to_string()))
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    port
}

/// The gate's part: a connection under an identity.
struct Tls<'a> {
    credential: &'a Credential,
    roots: Arc<rustls::RootCertStore>,
}

#[async_trait]
impl Exchange for Tls<'_> {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, GateError> {
        let tokens: Arc<dyn Exchange> = Arc::new(Plain);
        let used = used(None);
        let _applied = self.credential.apply(&used, &mut request, &tokens).await?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_client_cert_resolver(self.credential.identity().unwrap().resolver());
        let stream = TcpStream::connect(request.uri().authority().unwrap().as_str())
            .await
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| GateError::new(GateErrorKind::Tls, error.to_string()))?;
        support::over(TokioIo::new(stream), request).await
    }
}

#[tokio::test]
async fn a_certificate_is_shown_to_a_server_that_wants_it() {
    let (server, mine, other) = (certified("localhost"), certified("me"), certified("me"));
    let port = tls_server(&server, &mine).await;
    let tokens = Tokens::new(Arc::new(Vault::default()));
    for (certified, fine) in [(&mine, true), (&other, false)] {
        let (chain, key) = (certified.certificate.pem(), certified.key.serialize_pem());
        let fields = [("certificate", chain.as_str()), ("key", key.as_str())];
        let credential = credential("certificate", &fields, &tokens);
        let tls = Tls {
            credential: &credential,
            roots: roots(&server),
        };
        let request = Request::get(format!("https://127.0.0.1:{port}/"))
            .body(empty())
            .unwrap();
        match tls.send(request).await {
            Ok(response) => assert_eq!((text(response).await.as_str(), fine), ("1", true)),
            Err(error) => assert!(!fine, "{error}"),
        }
    }
}
