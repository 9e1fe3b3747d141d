//! The whole way of a request: rules, credentials, tokens, and the care of its origin.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::HeaderValue;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use portreeve_egress::{
    CallLimits, Client, DayUse, Gate, GateErrorKind, PluginBudget, PluginLimits,
};
use portreeve_manifest::grant::Place;
use portreeve_manifest::settings::{NetworkSettings, OriginBreaker, OriginCare, OriginRate};
use portreeve_manifest::size::ByteSize;
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

/// A server that answers requests with what comes of their number, from 1 on, and their head.
async fn numbered(
    answer: impl Fn(usize, &str) -> String + Send + Sync + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, answer) = (count.clone(), Arc::new(answer));
    let server = Server::start(move |mut stream, _| {
        let (counted, answer) = (counted.clone(), answer.clone());
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let answer = answer(number, &head);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    })
    .await;
    (server, count)
}

fn with_body(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn gate(server: &Server, care: OriginCare) -> Gate {
    let settings = NetworkSettings {
        origins: [(server.url("").parse().unwrap(), care)].into(),
        ..NetworkSettings::default()
    };
    Gate::new(&settings, None).unwrap()
}

fn bearer() -> Call {
    Call {
        credential: Some(secret("bearer", &[("value", "s3cret")])),
        ..Call::default()
    }
}

#[tokio::test]
async fn a_credential_reaches_the_origin_of_its_rule_alone() {
    let (other, mut others) = recorder().await;
    let to = other.url("/elsewhere");
    let (server, _) = numbered(move |_, head| {
        assert!(head.contains("authorization: Bearer s3cret\r\n"), "{head}");
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let call = Call {
        rules: Some(rules(&[
            (&format!("GET {}", server.url("/**")), true),
            (&format!("GET {}", other.url("/**")), false),
        ])),
        ..bearer()
    };
    let (client, call) = (client(), call.policy());
    let redirect = gathered(&client, get(server.url("/")), &call, TIMEOUTS)
        .await
        .unwrap();
    // Nobody has followed it. A guest that does makes a request of its own.
    assert!(others.try_recv().is_err());
    let to = redirect.headers()["location"].to_str().unwrap();
    gathered(&client, get(to), &call, TIMEOUTS).await.unwrap();
    let head = others.recv().await.unwrap();
    assert!(!head.contains("s3cret"), "{head}");
}

#[tokio::test]
async fn what_a_guest_writes_gives_way_to_the_credential() {
    let key = || secret("api-key", &[("value", "s3cret")]);
    for (call, url, said, line) in [
        (
            bearer(),
            "/",
            "authorization",
            "authorization: Bearer s3cret\r\n",
        ),
        (
            Call {
                credential: Some(key()),
                place: Some(Place::header("X-Key").unwrap()),
                ..Call::default()
            },
            "/",
            "x-key",
            "x-key: s3cret\r\n",
        ),
        (
            Call {
                credential: Some(key()),
                place: Some(Place::query("key").unwrap()),
                ..Call::default()
            },
            "/?key=guest&a=b&key=guest",
            "x-other",
            "GET /?a=b&key=s3cret HTTP/1.1\r\n",
        ),
    ] {
        let (server, mut heads) = recorder().await;
        let mut request = get(server.url(url));
        for _ in 0..2 {
            let guest = HeaderValue::from_static("guest");
            let name: http::HeaderName = said.parse().unwrap();
            request.headers_mut().append(name, guest);
        }
        gathered(&client(), request, &call.policy(), TIMEOUTS)
            .await
            .unwrap();
        let head = heads.recv().await.unwrap();
        assert!(head.contains(line), "{head}");
        if said != "x-other" {
            assert!(!head.contains("guest"), "{head}");
        }
    }
}

#[tokio::test]
async fn a_credential_goes_over_http_2() {
    let answer = |request: http::Request<hyper::body::Incoming>| async move {
        let shown = request.headers().get("authorization").cloned();
        Response::new(full(shown.unwrap().as_bytes().to_vec()))
    };
    let (server, client) =
        crate::trust::server(&[b"h2"], move |stream| http2(stream, answer)).await;
    let url = format!("https://localhost:{}/", server.port());
    let call = bearer().policy();
    let answer = gathered(&client, get(url), &call, TIMEOUTS).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.into_body(), "Bearer s3cret");
}

/// A server of tokens, each with its number.
async fn tokens() -> (Server, Arc<AtomicUsize>) {
    let answer = |number: usize, head: &str| {
        assert!(head.starts_with("POST /token "), "{head}");
        let body =
            format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#);
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    numbered(answer).await
}

fn oauth(tokens: &Server) -> Call {
    let fields = [
        ("token-url", &*tokens.url("/token")),
        ("client-id", "id"),
        ("client-secret", "s3cret"),
    ];
    Call {
        // The token's server is none that the plugin may reach.
        ranges: vec!["127.0.0.2"],
        credential: Some(secret("oauth2-client-credentials", &fields)),
        ..Call::default()
    }
}

#[tokio::test]
async fn a_token_is_fetched_and_fetched_anew_once_when_it_is_refused() {
    for (good, status, asked) in [("t1", 200, 1), ("t2", 200, 2), ("never", 401, 2)] {
        let (login, logins) = tokens().await;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let api = Server::start_at("127.0.0.2:0", move |mut stream, _| {
            let counted = counted.clone();
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    // All but the first request wants another token.
                    let wanted = match head.starts_with("GET /first ") {
                        true => "t1",
                        false => good,
                    };
                    let taken = head.contains(&format!("authorization: Bearer {wanted}\r\n"));
                    let status = if taken { "200 OK" } else { "401 Unauthorized" };
                    let _ = stream.write_all(with_body(status, "").as_bytes()).await;
                }
            }
        })
        .await;
        let (client, call) = (client(), oauth(&login).policy());
        let first = gathered(&client, get(api.url("/first")), &call, TIMEOUTS).await;
        assert_eq!(first.unwrap().status(), StatusCode::OK);
        // A token that is refused just after it was given was not refused for its age.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
        let second = gathered(&client, get(api.url("/")), &call, TIMEOUTS).await;
        assert_eq!(second.unwrap().status(), status, "{good}");
        assert_eq!(logins.load(Ordering::SeqCst), asked, "{good}");
        assert_eq!(count.load(Ordering::SeqCst), asked + 1, "{good}");
        // Tokens are the host's matter, tries are the call's.
        assert_eq!(call.budget().used().0, asked as u64 + 1);
    }
}

#[tokio::test]
async fn a_server_of_tokens_is_none_where_machines_keep_their_credentials() {
    let (server, _heads) = recorder().await;
    for place in ["169.254.169.254", "[fe80::1]", "100.100.100.200"] {
        let fields = [
            ("token-url", &*format!("https://{place}/token")),
            ("client-id", "id"),
            ("client-secret", "s3cret"),
        ];
        let call = Call {
            credential: Some(secret("oauth2-client-credentials", &fields)),
            ..Call::default()
        };
        let error = gathered(&client(), get(server.url("/")), &call.policy(), TIMEOUTS).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains("is not spoken to"), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

const TRIES: OriginCare = OriginCare {
    attempts: 5,
    rate: None,
    breaker: None,
    cache: None,
};

const BUSY: &str = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn each_try_counts_as_a_request() {
    let (server, count) = numbered(|number, _| match number {
        1 | 2 => BUSY.to_owned(),
        _ => with_body("200 OK", "at last"),
    })
    .await;
    let client = gate(&server, TRIES).client();
    let call = Call::default().policy();
    let answer = gathered(&client, get(server.url("/")), &call, TIMEOUTS).await;
    assert_eq!(answer.unwrap().into_body(), "at last");
    assert_eq!(call.budget().used().0, 3);
    // Where there are fewer, there are fewer tries.
    count.store(0, Ordering::SeqCst);
    let call = Call {
        limits: CallLimits {
            requests: 2,
            ..CALL
        },
        ..Call::default()
    };
    let error = gathered(&client, get(server.url("/")), &call.policy(), TIMEOUTS).await;
    let error = error.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            GateErrorKind::Budget {
                setting: "requests",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_revoke_between_two_tries_stops_the_second() {
    let call = bearer();
    let revoked = call.revoked.clone();
    let (server, count) = numbered(move |_, _| {
        revoked.store(true, Ordering::SeqCst);
        BUSY.to_owned()
    })
    .await;
    let client = gate(&server, TRIES).client();
    let error = gathered(&client, get(server.url("/")), &call.policy(), TIMEOUTS).await;
    assert_eq!(error.unwrap_err().kind(), &GateErrorKind::Refused);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_kept_answer_costs_nothing_and_is_given_to_nobody_else() {
    let (server, count) = numbered(|number, _| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 1";
        format!("{head}\r\n\r\n{number}")
    })
    .await;
    let care = OriginCare {
        attempts: 1,
        cache: Some(ByteSize(1 << 20)),
        ..TRIES
    };
    let gate = gate(&server, care);
    let (mine, others) = (gate.client(), gate.client());
    let ask = async |client: &Client, call: Call| {
        let call = call.policy();
        let answer = gathered(client, get(server.url("/")), &call, TIMEOUTS).await;
        (answer.map(Response::into_body), call.budget().used().0)
    };
    let (first, used) = ask(&mine, Call::default()).await;
    assert_eq!((first.unwrap(), used), ("1".into(), 1));
    let (again, used) = ask(&mine, Call::default()).await;
    assert_eq!((again.unwrap(), used), ("1".into(), 0));
    let (other, used) = ask(&others, Call::default()).await;
    assert_eq!((other.unwrap(), used), ("2".into(), 1));
    // What may not be asked for is not answered either.
    let call = Call::default();
    call.revoked.store(true, Ordering::SeqCst);
    let (refused, _) = ask(&mine, call).await;
    assert_eq!(refused.unwrap_err().kind(), &GateErrorKind::Refused);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_origin_that_fails_is_left_alone_by_all_plugins() {
    let (server, count) = numbered(|_, _| with_body("500 Oh", "")).await;
    let care = OriginCare {
        attempts: 1,
        breaker: Some(OriginBreaker {
            failures: 2,
            pause: LONG,
        }),
        ..TRIES
    };
    let gate = gate(&server, care);
    for _ in 0..2 {
        let answer = answer(&gate.client(), get(server.url("/"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    let error = answer(&gate.client(), get(server.url("/")))
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), GateErrorKind::CircuitOpen { .. }),
        "{error}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_rate_of_an_origin_holds_for_all_plugins() {
    let (server, count) = numbered(|_, _| with_body("200 OK", "")).await;
    let care = OriginCare {
        attempts: 1,
        rate: Some(OriginRate {
            count: 2,
            per: Duration::from_secs(600),
        }),
        ..TRIES
    };
    let gate = gate(&server, care);
    let call = Call::default().policy();
    for _ in 0..2 {
        let client = gate.client();
        gathered(&client, get(server.url("/")), &call, TIMEOUTS)
            .await
            .unwrap();
    }
    let error = gathered(&gate.client(), get(server.url("/")), &call, TIMEOUTS).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error.kind(), GateErrorKind::RateLimited { .. }),
        "{error}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 2);
    // What was not sent counts as no request.
    assert_eq!(call.budget().used().0, 2);
    assert_eq!(gate.status()[0].rate_limited, 1);
}

/// Whatever a request waits for, what is revoked meanwhile is not sent.
#[tokio::test]
async fn what_is_revoked_while_it_waits_is_not_sent() {
    let call = Call {
        plugin: PluginBudget::new(
            PluginLimits {
                connections: 1,
                ..PLUGIN
            },
            DayUse::today(),
        ),
        ..Call::default()
    };
    let revoked = call.revoked.clone();
    let (server, count) = numbered(|_, _| with_body("200 OK", "hello")).await;
    let client = Gate::new(&NetworkSettings::default(), None)
        .unwrap()
        .client();
    let call = call.policy();
    let url = server.url("/");
    // A connection is kept, and its only place is taken.
    gathered(&client, get(url.clone()), &call, TIMEOUTS)
        .await
        .unwrap();
    let place = call.budget().try_connection().unwrap();
    let asking = {
        let (client, call) = (client.clone(), call.clone());
        tokio::spawn(async move { gathered(&client, get(url), &call, TIMEOUTS).await })
    };
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    revoked.store(true, Ordering::SeqCst);
    drop(place);
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::Refused);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_revoke_ends_a_body_that_is_on_its_way() {
    let call = Call::default();
    let revoked = call.revoked.clone();
    let (server, _) = numbered(|_, _| with_body("200 OK", &"x".repeat(8 << 20))).await;
    let client = Gate::new(&NetworkSettings::default(), None)
        .unwrap()
        .client();
    let response = client
        .send(get(server.url("/")), &call.policy(), TIMEOUTS)
        .await;
    let mut body = response.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    revoked.store(true, Ordering::SeqCst);
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::Refused);
}
