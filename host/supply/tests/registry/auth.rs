//! Log-ins: who is shown what.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use portreeve_supply::credentials::{RegistryCredential, RegistryCredentials};
use portreeve_supply::fetch::{FetchError, FetchSettings};
use portreeve_supply::{Fetched, Fetcher};

use crate::fake::*;
use crate::support::*;

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

/// One that lets in who shows `right`, and asks for it as `challenge` says.
async fn closed(challenge: String, right: &'static str) -> Fake {
    let fake = Fake::with(move |_, headers, given| {
        let shown = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        match shown == Some(right) {
            true => given,
            false => header(answer(401, ""), "www-authenticate", &challenge),
        }
    })
    .await;
    fake.put("1.0.0", &component("good"));
    fake
}

/// A server of tokens, and what it was asked and shown.
async fn tokens(body: &'static str) -> (Fake, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let asked = seen.clone();
    let fake = Fake::with(move |what, headers: &HeaderMap, _| {
        let shown = headers
            .get("authorization")
            .map(|value| value.to_str().unwrap());
        asked
            .lock()
            .unwrap()
            .push(format!("{what} {}", shown.unwrap_or("nothing")));
        answer(200, body)
    })
    .await;
    (fake, seen)
}

async fn get(fetcher: Fetcher, fake: &Fake) -> Result<Fetched, FetchError> {
    fetcher
        .fetch(&oci(&fake.oci("a/tool:1.0.0")), &|_| {})
        .await
}

fn user() -> Fetcher {
    fetcher_of("user", "secret")
}

#[tokio::test]
async fn basic() {
    let fake = closed("Basic realm=\"x\"".to_owned(), BASIC).await;
    assert_eq!(get(user(), &fake).await.unwrap().bytes, component("good"));
    // What it wants is found out once.
    let unauthorised = {
        let kept = fake.kept.lock().unwrap();
        let requests = kept.asked.iter().filter(|(what, _)| what != "GET /v2/");
        requests
            .filter(|(_, headers)| !headers.contains_key("authorization"))
            .count()
    };
    assert_eq!(unauthorised, 1);
    for fetcher in [fetcher_of("user", "wrong"), fetcher()] {
        let error = get(fetcher, &fake).await.unwrap_err();
        assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
        assert!(
            error.to_string().contains("docker login 127.0.0.1:"),
            "{error}"
        );
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let fake = closed("Negotiate".to_owned(), BASIC).await;
    let error = get(user(), &fake).await.unwrap_err();
    assert!(matches!(error, FetchError::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn tokens_are_had_from_the_registrys_own_server() {
    let (server, seen) = tokens(r#"{"token":"abc"}"#).await;
    let realm = format!("http://{}/token?x=y", server.address);
    let challenge =
        format!(r#"Bearer realm="{realm}",service="the registry",scope="repository:other:delete""#);
    let fake = closed(challenge, "Bearer abc").await;
    assert_eq!(get(user(), &fake).await.unwrap().bytes, component("good"));
    let scope = "service=the+registry&scope=repository%3Aa%2Ftool%3Apull";
    assert_eq!(
        std::mem::take(&mut *seen.lock().unwrap()),
        [format!("GET /token?x=y&{scope} {BASIC}")]
    );
    // In public without a log-in.
    assert!(get(fetcher(), &fake).await.is_ok());
    assert_eq!(
        std::mem::take(&mut *seen.lock().unwrap()),
        [format!("GET /token?x=y&{scope} nothing")]
    );
    for body in [
        "",
        "{}",
        r#"{"token":""}"#,
        r#"{"token":"a b"}"#,
        r#"{"token":"a\r\nx: y"}"#,
    ] {
        let (server, _) = tokens(body).await;
        let challenge = format!(r#"Bearer realm="http://{}/""#, server.address);
        let fake = closed(challenge, "Bearer abc").await;
        let error = get(user(), &fake).await.unwrap_err();
        assert!(error.to_string().contains("gives none"), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_log_in_is_not_shown_to_others() {
    let (other, seen) = tokens(r#"{"token":"abc"}"#).await;
    let port = other.address.port();
    for realm in [
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.2:{port}/"),
        format!("http://user@127.0.0.1:{port}/"),
        "https://127.0.0.1.evil.example/".to_owned(),
        "https://evil127.0.0.1/".to_owned(),
        "https://auth.docker.io/token".to_owned(),
        "http://auth.docker.io/token".to_owned(),
        "file:///etc/passwd".to_owned(),
        "token".to_owned(),
        String::new(),
    ] {
        let fake = closed(format!(r#"Bearer realm="{realm}""#), "Bearer abc").await;
        let error = get(user(), &fake).await.unwrap_err();
        let said = error.to_string();
        assert!(
            ["not its own over https", "names no server", "that is none"]
                .iter()
                .any(|why| said.contains(why)),
            "{realm}: {said}"
        );
        assert!(!said.contains("secret"), "{said}");
    }
    assert!(seen.lock().unwrap().is_empty());
    // Where the operator says so, it is.
    let fake = closed(
        format!(r#"Bearer realm="http://localhost:{port}/""#),
        "Bearer abc",
    )
    .await;
    let settings = FetchSettings {
        token_hosts: [(fake.address.to_string(), vec!["localhost".to_owned()])].into(),
        ..settings()
    };
    // The fake listens on one address, whatever this machine is called.
    let fetcher = Fetcher::new(&gate(), Box::new(User("user", "secret")), settings);
    assert_eq!(get(fetcher, &fake).await.unwrap().bytes, component("good"));
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_log_in_does_not_follow_a_redirect() {
    let (other, seen) = tokens("").await;
    let elsewhere = format!("http://{}/blob", other.address);
    let fake = Fake::with(move |what, headers, given| {
        if !headers.contains_key("authorization") {
            return header(answer(401, ""), "www-authenticate", "Basic");
        }
        match what.contains("/blobs/") {
            true => header(answer(307, ""), "location", &elsewhere),
            false => given,
        }
    })
    .await;
    fake.put("1.0.0", &component("good"));
    // What is there is not it.
    assert!(get(user(), &fake).await.is_err());
    let seen = seen.lock().unwrap();
    assert!(
        !seen.is_empty() && seen.iter().all(|seen| seen == "GET /blob nothing"),
        "{seen:?}"
    );
}

/// One who has an identity token, or nothing but words.
struct Other(Result<&'static str, &'static str>);

#[async_trait::async_trait]
impl RegistryCredentials for Other {
    async fn credential(&self, _: &str, _: &str) -> Result<Option<RegistryCredential>, String> {
        let token = self.0.map_err(str::to_owned)?;
        Ok(Some(RegistryCredential::Identity(token.to_owned().into())))
    }
}

#[tokio::test]
async fn identity_tokens_are_exchanged() {
    let (server, seen) = tokens(r#"{"access_token":"abc"}"#).await;
    let challenge = format!(
        r#"Bearer realm="http://{}/token",service=s"#,
        server.address
    );
    let fake = closed(challenge, "Bearer abc").await;
    let of = |other| Fetcher::new(&gate(), Box::new(Other(other)), settings());
    assert!(get(of(Ok("identity")), &fake).await.is_ok());
    assert_eq!(*seen.lock().unwrap(), ["POST /token nothing"]);
    let error = get(of(Err("the helper is away")), &fake).await.unwrap_err();
    assert!(error.to_string().contains("the helper is away"), "{error}");
}
