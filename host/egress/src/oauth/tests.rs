use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};

use super::*;
use crate::body::Body;
use crate::credential::{Applied, Credential};
use portreeve_manifest::grant::CredentialUse;

const GRANTED: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;

/// What a request to a token server was.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    authorization: Option<String>,
    form: Vec<(String, String)>,
}

/// A token server that says what it was told to, one thing after the other, and then numbers
/// its tokens.
#[derive(Default)]
struct Server {
    answers: Mutex<VecDeque<Result<(u16, String), GateError>>>,
    asked: Mutex<Vec<Asked>>,
    count: AtomicUsize,
    /// Time for an answer.
    delay: Duration,
}

impl Server {
    fn says<const N: usize>(answers: [(u16, &str); N]) -> Arc<Server> {
        let answers = answers.map(|(status, body)| Ok((status, body.to_owned())));
        Arc::new(Server {
            answers: Mutex::new(answers.into()),
            ..Server::default()
        })
    }

    fn slow(secs: u64) -> Arc<Server> {
        Arc::new(Server {
            delay: Duration::from_secs(secs),
            ..Server::default()
        })
    }

    fn say(&self, status: u16, body: &str) {
        let mut answers = self.answers.lock().unwrap();
        answers.push_back(Ok((status, body.to_owned())));
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn exchange(self: &Arc<Self>) -> Arc<dyn Exchange> {
        Arc::clone(self) as _
    }
}

#[async_trait]
impl Exchange for Server {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, GateError> {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "https://login.example/token");
        assert_eq!(
            request.headers()["content-type"],
            "application/x-www-form-urlencoded"
        );
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let authorization = request.headers().get("authorization");
        let authorization = authorization.map(|value| {
            assert!(value.is_sensitive());
            value.to_str().unwrap().to_owned()
        });
        let form = request.into_body().collect().await.unwrap().to_bytes();
        let form = url::form_urlencoded::parse(&form).into_owned().collect();
        self.asked.lock().unwrap().push(Asked {
            authorization,
            form,
        });
        tokio::time::sleep(self.delay).await;
        let answer = self.answers.lock().unwrap().pop_front();
        let (status, body) = answer
            .unwrap_or_else(|| Ok((200, GRANTED.replace("t0ken", &format!("t0ken-{count}")))))?;
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        let response = Response::builder().status(status);
        Ok(response.body(body.boxed_unsync()).unwrap())
    }
}

/// A vault of one refresh token.
#[derive(Default)]
struct Vault {
    kept: Mutex<Vec<String>>,
    fails: AtomicUsize,
}

#[async_trait]
impl KeepToken for Vault {
    async fn keep(&self, secret: &SecretId, token: &Zeroizing<String>) -> Result<(), String> {
        assert_eq!(secret.name, "mine");
        if self.fails.load(Ordering::SeqCst) > 0 {
            self.fails.fetch_sub(1, Ordering::SeqCst);
            return Err("the vault is closed".to_owned());
        }
        self.kept.lock().unwrap().push(token.to_string());
        Ok(())
    }
}

struct Setup {
    vault: Arc<Vault>,
    tokens: Tokens,
}

fn setup() -> Setup {
    let vault = Arc::new(Vault::default());
    Setup {
        tokens: Tokens::new(vault.clone()),
        vault,
    }
}

impl Setup {
    fn credential(
        &self,
        kind: &str,
        version: i64,
        more: &[(&str, &str)],
    ) -> Result<Arc<Credential>, GateError> {
        let fields = [
            ("token-url", "https://login.example/token"),
            ("client-id", "id"),
            ("client-secret", "s3cret"),
        ];
        let mut all: BTreeMap<&str, &str> = fields.into_iter().collect();
        all.extend(more.iter().copied());
        let fields = all
            .into_iter()
            .map(|(name, text)| (name.to_owned(), Zeroizing::new(text.to_owned())));
        let id = SecretId {
            name: "mine".to_owned(),
            version,
        };
        Credential::new(kind, id, fields, &self.tokens).map(Arc::new)
    }

    fn client(&self) -> Arc<Credential> {
        self.credential("oauth2-client-credentials", 1, &[])
            .unwrap()
    }

    fn refreshing(&self, version: i64, token: &str) -> Arc<Credential> {
        let fields = [("refresh-token", token)];
        self.credential("oauth2-refresh-token", version, &fields)
            .unwrap()
    }
}

/// The token that a request is given.
async fn token(
    credential: &Credential,
    server: &Arc<Server>,
) -> Result<(String, Applied), GateError> {
    let used = CredentialUse {
        name: "it".parse().unwrap(),
        place: None,
    };
    let mut request = Request::get("https://api.example/")
        .header("authorization", "guest")
        .body(())
        .unwrap();
    let applied = credential
        .apply(&used, &mut request, &server.exchange())
        .await?;
    let values: Vec<_> = request.headers().get_all("authorization").iter().collect();
    assert_eq!(values.len(), 1);
    assert!(values[0].is_sensitive());
    let token = values[0].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    Ok((token.to_owned(), applied))
}

async fn plain(credential: &Credential, server: &Arc<Server>) -> String {
    token(credential, server).await.unwrap().0
}

async fn failure(credential: &Credential, server: &Arc<Server>) -> String {
    token(credential, server).await.unwrap_err().to_string()
}

fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

async fn pass(secs: u64) {
    tokio::time::advance(Duration::from_secs(secs)).await;
}

#[tokio::test]
async fn requests_are_those_of_the_rfc() {
    let setup = setup();
    let server = Server::says([]);
    let more = [
        ("client-id", "a:b c"),
        ("client-secret", "é+&"),
        ("scopes", "read write"),
    ];
    let client = setup
        .credential("oauth2-client-credentials", 1, &more)
        .unwrap();
    assert_eq!(plain(&client, &server).await, "t0ken-1");
    let refreshing = setup.credential(
        "oauth2-refresh-token",
        2,
        &[("client-secret", ""), ("refresh-token", "r&1")],
    );
    assert_eq!(plain(&refreshing.unwrap(), &server).await, "t0ken-2");
    let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "a%3Ab+c:%C3%A9%2B%26");
    assert_eq!(
        server.asked(),
        [
            Asked {
                authorization: Some(format!("Basic {encoded}")),
                form: form(&[
                    ("grant_type", "client_credentials"),
                    ("scope", "read write")
                ]),
            },
            Asked {
                authorization: None,
                form: form(&[
                    ("grant_type", "refresh_token"),
                    ("refresh_token", "r&1"),
                    ("client_id", "id"),
                ]),
            },
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_wants_the_secret_in_the_form_gets_it() {
    for refusal in [
        (401, ""),
        (401, r#"{"error":"invalid_client"}"#),
        (400, r#"{"error":"invalid_client"}"#),
        (400, r#"{"error":"invalid_request"}"#),
    ] {
        let setup = setup();
        let client = setup.client();
        let server = Server::says([refusal]);
        assert_eq!(plain(&client, &server).await, "t0ken-2");
        pass(3600).await;
        assert_eq!(plain(&client, &server).await, "t0ken-3");
        let asked = server.asked();
        let by_form = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", "id"),
            ("client_secret", "s3cret"),
        ]);
        assert!(asked[0].authorization.is_some());
        for asked in &asked[1..] {
            assert_eq!(asked.authorization, None);
            assert_eq!(asked.form, by_form);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_not_shown_twice_without_need() {
    let setup = setup();
    let refreshing = setup.refreshing(1, "r1");
    let server = Server::says([(400, r#"{"error":"invalid_grant"}"#)]);
    let error = failure(&refreshing, &server).await;
    assert!(
        error.contains("(invalid_grant); its refresh token is over"),
        "{error}"
    );
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn fifty_at_once_ask_once() {
    let setup = setup();
    let server = Server::slow(1);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            // Each call makes its own of what the vault has.
            let (client, server) = (setup.client(), Arc::clone(&server));
            tokio::spawn(async move { plain(&client, &server).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), "t0ken-1");
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_renewed_before_they_end() {
    for (lifetime, renewal) in [("3600", 3540), ("100", 80), ("10", 8)] {
        let setup = setup();
        let client = setup.client();
        let server = Server::says([]);
        server.say(200, &GRANTED.replace("3600", lifetime));
        assert_eq!(plain(&client, &server).await, "t0ken");
        pass(renewal - 1).await;
        assert_eq!(plain(&client, &server).await, "t0ken");
        pass(1).await;
        assert_eq!(plain(&client, &server).await, "t0ken-2", "{lifetime}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_left_alone_for_longer_and_longer() {
    let setup = setup();
    let client = setup.client();
    let server = Server::says([(500, "CANARY"), (503, "CANARY"), (500, "")]);
    for (pause, count) in [(1, 1), (2, 2), (4, 3)] {
        let tasks: Vec<_> = (0..10).map(|_| failure(&client, &server)).collect();
        for error in futures::future::join_all(tasks).await {
            assert!(error.contains("its server answered 50"), "{error}");
            assert!(!error.contains("CANARY"), "{error}");
        }
        assert_eq!(server.count(), count);
        pass(pause).await;
    }
    assert_eq!(plain(&client, &server).await, "t0ken-4");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_still_works_outlasts_a_failure() {
    let setup = setup();
    let client = setup.client();
    let server = Server::says([(200, GRANTED), (500, "")]);
    assert_eq!(plain(&client, &server).await, "t0ken");
    pass(3541).await;
    assert_eq!(plain(&client, &server).await, "t0ken");
    assert_eq!(server.count(), 2);
    assert_eq!(plain(&client, &server).await, "t0ken");
    assert_eq!(server.count(), 2);
    pass(1).await;
    assert_eq!(plain(&client, &server).await, "t0ken-3");
}

#[tokio::test(start_paused = true)]
async fn what_one_caller_may_not_do_the_next_one_may() {
    let setup = setup();
    let client = setup.client();
    let server = Server::says([]);
    let used_up = GateErrorKind::Budget {
        setting: "requests",
        allowed: 1,
        used: 2,
    };
    let used_up = GateError::new(used_up, "no more requests");
    server.answers.lock().unwrap().push_back(Err(used_up));
    assert_eq!(failure(&client, &server).await, "no more requests");
    assert_eq!(plain(&client, &server).await, "t0ken-2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_renewed_once() {
    let setup = setup();
    let client = setup.client();
    let server = Server::says([]);
    let (_, young) = token(&client, &server).await.unwrap();
    assert!(!client.renew(&young));
    assert_eq!(plain(&client, &server).await, "t0ken-1");
    pass(10).await;
    let (_, old) = token(&client, &server).await.unwrap();
    let others: Vec<_> = (0..50).map(|_| client.renew(&old)).collect();
    assert!(others.iter().all(|worth| *worth));
    let again = (0..50).map(|_| plain(&client, &server));
    for token in futures::future::join_all(again).await {
        assert_eq!(token, "t0ken-2");
    }
    assert_eq!(server.count(), 2);
    // Told late, of a token that has gone already.
    assert!(client.renew(&old));
    assert_eq!(plain(&client, &server).await, "t0ken-2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_used_when_there_is_no_other() {
    let setup = setup();
    let client = setup.client();
    let server = Server::says([(200, GRANTED), (500, "")]);
    let (_, lease) = token(&client, &server).await.unwrap();
    pass(10).await;
    assert!(client.renew(&lease));
    failure(&client, &server).await;
    failure(&client, &server).await;
}

const ROTATED: &str =
    r#"{"access_token":"t0ken","token_type":"bearer","expires_in":60,"refresh_token":"r2"}"#;

#[tokio::test(start_paused = true)]
async fn a_replaced_refresh_token_is_kept_and_used() {
    let setup = setup();
    let server = Server::says([(200, ROTATED), (200, &ROTATED.replace("r2", "r3"))]);
    let first = setup.refreshing(1, "r1");
    assert_eq!(plain(&first, &server).await, "t0ken");
    assert_eq!(*setup.vault.kept.lock().unwrap(), ["r2"]);
    // What the vault has now is of the same source: nobody asks again.
    let second = setup.refreshing(2, "r2");
    assert_eq!(plain(&second, &server).await, "t0ken");
    assert_eq!(server.count(), 1);
    // Nor does a call that began before use up the old one.
    pass(60).await;
    assert_eq!(plain(&first, &server).await, "t0ken");
    assert_eq!(plain(&second, &server).await, "t0ken");
    let used: Vec<_> = server
        .asked()
        .into_iter()
        .map(|asked| asked.form[1].1.clone())
        .collect();
    assert_eq!(used, ["r1", "r2"]);
    assert_eq!(*setup.vault.kept.lock().unwrap(), ["r2", "r3"]);
    // What a person stores is something else.
    assert_eq!(
        plain(&setup.refreshing(4, "mine"), &server).await,
        "t0ken-3"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_could_not_be_kept_is_kept_later() {
    let setup = setup();
    setup.vault.fails.store(1, Ordering::SeqCst);
    let server = Server::says([(200, ROTATED), (200, ROTATED)]);
    let refreshing = setup.refreshing(1, "r1");
    assert_eq!(plain(&refreshing, &server).await, "t0ken");
    assert!(setup.vault.kept.lock().unwrap().is_empty());
    pass(60).await;
    assert_eq!(plain(&refreshing, &server).await, "t0ken");
    assert_eq!(*setup.vault.kept.lock().unwrap(), ["r2"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_loses_nothing() {
    let setup = setup();
    let server = Server::slow(5);
    server.say(200, ROTATED);
    let refreshing = setup.refreshing(1, "r1");
    let impatient = token(&refreshing, &server);
    let waited = tokio::time::timeout(Duration::from_secs(1), impatient).await;
    assert!(waited.is_err());
    assert_eq!(plain(&refreshing, &server).await, "t0ken");
    assert_eq!(server.count(), 1);
    assert_eq!(*setup.vault.kept.lock().unwrap(), ["r2"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let setup = setup();
    let server = Server::slow(31);
    let error = failure(&setup.client(), &server).await;
    assert!(error.contains("took longer than 30 s"), "{error}");
}

#[tokio::test]
async fn answers_are_read_strictly_and_never_repeated() {
    let long = format!(r#"{{"access_token":"CANARY{}"}}"#, "x".repeat(64 << 10));
    for (status, answer, said) in [
        (200, "CANARY", "none of RFC 6749"),
        (200, r#"{"access_token":"CANARY"}"#, "none of RFC 6749"),
        (
            200,
            r#"{"access_token":7,"token_type":"bearer"}"#,
            "none of RFC 6749",
        ),
        (
            200,
            r#"{"access_token":"CANARY","token_type":"bearer","expires_in":"soon"}"#,
            "none of RFC 6749",
        ),
        (
            200,
            r#"{"access_token":"CANARY","token_type":"bearer","expires_in":-1}"#,
            "none of RFC 6749",
        ),
        (
            200,
            r#"{"access_token":"a","access_token":"CANARY","token_type":"bearer"}"#,
            "none of RFC 6749",
        ),
        (
            200,
            r#"{"access_token":"CANARY","token_type":"bearer"} x"#,
            "none of RFC 6749",
        ),
        (
            200,
            r#"{"access_token":"CANARY","token_type":"mac"}"#,
            "no bearer token",
        ),
        (
            200,
            r#"{"access_token":"","token_type":"bearer"}"#,
            "no header can have",
        ),
        (
            200,
            r#"{"access_token":"CANARY\r\n","token_type":"bearer"}"#,
            "no header can have",
        ),
        (200, &long, "more than 65536 bytes"),
        (201, GRANTED, "answered 201"),
        (
            400,
            r#"{"error":"CANARY","error_description":"CANARY"}"#,
            "answered 400 Bad Request",
        ),
        (
            400,
            r#"{"error":"invalid_scope","error_description":"CANARY"}"#,
            "check its scopes",
        ),
        (302, "", "redirects are not followed"),
        (404, "", "check its token-url"),
    ] {
        let error = failure(&setup().client(), &Server::says([(status, answer)])).await;
        assert!(error.contains(said), "{answer}: {error}");
        assert!(
            !error.contains("CANARY") && !error.contains("s3cret"),
            "{error}"
        );
    }
    // Twice, as the other way of saying who it is was tried.
    let twice = Server::says([(401, ""), (401, "")]);
    let error = failure(&setup().client(), &twice).await;
    assert!(error.contains("answered 401"), "{error}");
    // What a strict reader still takes.
    let fine = r#"{"token_type":"BEARER","access_token":"t","scope":"a","more":{}}"#;
    assert_eq!(
        plain(&setup().client(), &Server::says([(200, fine)])).await,
        "t"
    );
    let forever = GRANTED.replace("3600", &u64::MAX.to_string());
    assert_eq!(
        plain(&setup().client(), &Server::says([(200, &forever)])).await,
        "t0ken"
    );
}

#[test]
fn secrets_go_to_safe_addresses_alone() {
    for (url, fine) in [
        ("https://login.example/token?tenant=1", true),
        ("http://127.0.0.1:8080/token", true),
        ("http://localhost/token", true),
        ("http://login.example/token", false),
        ("ftp://login.example/token", false),
        ("https://user:pass@login.example/token", false),
        ("https://login.example/token#x", false),
        ("login.example/token", false),
        ("", false),
    ] {
        let made = setup().credential("oauth2-client-credentials", 1, &[("token-url", url)]);
        assert_eq!(made.is_ok(), fine, "{url}");
    }
}

#[tokio::test]
async fn old_values_and_lost_secrets_are_forgotten() {
    let setup = setup();
    for version in 0..100 {
        setup.refreshing(version, &format!("r{version}"));
    }
    assert_eq!(setup.tokens.sources()["mine"].len(), VERSIONS_MAX);
    setup.tokens.forget("mine");
    assert!(setup.tokens.sources().is_empty());
}
