//! The care of origins, from a request to its answer.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use portreeve_egress::care::{ClientCares, Exchange, OriginCares, REPLAY_BYTES_MAX, Sending};
use portreeve_egress::{Body, GateError, GateErrorKind, Phase};
use portreeve_manifest::grant::Origin;
use portreeve_manifest::settings::{OriginBreaker, OriginCare, OriginRate};
use portreeve_manifest::size::ByteSize;
use support::{Plain, Server, answer, empty, full, raw, text};
use tokio::time::Instant;

const ORIGIN: &str = "https://api.example";

fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

/// What comes of a try.
#[derive(Clone)]
enum Comes {
    Status(u16),
    After(u16, &'static str),
    Error(GateErrorKind),
}
use Comes::{After, Error, Status};

/// A way out that gives one outcome after the other, and then 200.
#[derive(Default)]
struct Script {
    outcomes: Mutex<VecDeque<Comes>>,
    /// The body of each try.
    bodies: Mutex<Vec<usize>>,
    times: Mutex<Vec<Instant>>,
    renewals: AtomicUsize,
    /// Whether there is another credential.
    renews: bool,
    /// Time for each answer.
    delay: Duration,
}

impl Script {
    fn new(outcomes: &[Comes]) -> Script {
        Script {
            outcomes: Mutex::new(outcomes.iter().cloned().collect()),
            ..Script::default()
        }
    }

    fn bodies(&self) -> Vec<usize> {
        self.bodies.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.bodies().len()
    }

    /// Seconds between the tries.
    fn pauses(&self) -> Vec<u64> {
        let times = self.times.lock().unwrap();
        times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs())
            .collect()
    }
}

#[async_trait]
impl Exchange for Script {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, GateError> {
        self.times.lock().unwrap().push(Instant::now());
        let body = request.into_body().collect().await?.to_bytes();
        self.bodies.lock().unwrap().push(body.len());
        tokio::time::sleep(self.delay).await;
        let comes = self.outcomes.lock().unwrap().pop_front();
        match comes.unwrap_or(Status(200)) {
            Status(status) => Ok(answer(status, &[], "body")),
            After(status, wait) => Ok(answer(status, &[("retry-after", wait)], "body")),
            Error(kind) => Err(GateError::new(kind, "failed")),
        }
    }

    fn renew(&self) -> bool {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        self.renews
    }
}

const NONE: OriginCare = OriginCare {
    attempts: 1,
    rate: None,
    breaker: None,
    cache: None,
};

fn client(care: OriginCare) -> ClientCares {
    OriginCares::new([(origin(ORIGIN), care)]).client()
}

fn attempts(attempts: u32) -> ClientCares {
    client(OriginCare { attempts, ..NONE })
}

async fn run(
    client: &ClientCares,
    method: &str,
    body: Body,
    sending: Sending<'_>,
    exchange: &dyn Exchange,
) -> Result<StatusCode, GateErrorKind> {
    let request = Request::builder()
        .method(method)
        .uri(format!("{ORIGIN}/a"))
        .body(body)
        .unwrap();
    match client
        .run(&origin(ORIGIN), request, sending, exchange)
        .await
    {
        Ok(response) => Ok(response.status()),
        Err(error) => Err(error.kind().clone()),
    }
}

async fn get(client: &ClientCares, script: &Script) -> Result<StatusCode, GateErrorKind> {
    run(client, "GET", empty(), Sending::default(), script).await
}

fn used_up() -> GateErrorKind {
    GateErrorKind::Budget {
        setting: "requests",
        allowed: 1,
        used: 2,
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again() {
    let connect = || Error(GateErrorKind::Connect);
    for (method, tries, outcomes, status, count) in [
        ("GET", 1, vec![Status(503)], Ok(503), 1),
        ("GET", 3, vec![Status(503)], Ok(200), 2),
        ("GET", 3, vec![Status(503), Status(429)], Ok(200), 3),
        (
            "GET",
            3,
            vec![Status(503), Status(502), Status(504)],
            Ok(504),
            3,
        ),
        ("HEAD", 2, vec![connect()], Ok(200), 2),
        ("DELETE", 2, vec![connect()], Ok(200), 2),
        (
            "PUT",
            2,
            vec![Error(GateErrorKind::Timeout(Phase::Connect))],
            Ok(200),
            2,
        ),
        (
            "OPTIONS",
            2,
            vec![connect(), connect()],
            Err(GateErrorKind::Connect),
            2,
        ),
        ("POST", 3, vec![Status(503)], Ok(503), 1),
        ("POST", 3, vec![connect()], Err(GateErrorKind::Connect), 1),
        ("PATCH", 3, vec![connect()], Err(GateErrorKind::Connect), 1),
        ("GET", 3, vec![Status(500)], Ok(500), 1),
        ("GET", 3, vec![Status(404)], Ok(404), 1),
        (
            "GET",
            3,
            vec![Error(GateErrorKind::Refused)],
            Err(GateErrorKind::Refused),
            1,
        ),
        (
            "GET",
            3,
            vec![Error(GateErrorKind::Incomplete)],
            Err(GateErrorKind::Incomplete),
            1,
        ),
        // What may not go out a second time ends it.
        (
            "GET",
            9,
            vec![Status(503), Error(used_up())],
            Err(used_up()),
            2,
        ),
        (
            "GET",
            9,
            vec![connect(), Error(GateErrorKind::Refused)],
            Err(GateErrorKind::Refused),
            2,
        ),
        // More than there may be.
        ("GET", 1000, vec![Status(503); 20], Ok(503), 10),
        ("GET", 0, vec![Status(503); 20], Ok(503), 1),
    ] {
        let script = Script::new(&outcomes);
        let client = attempts(tries);
        let found = run(&client, method, empty(), Sending::default(), &script).await;
        let status = status.map(|status| StatusCode::from_u16(status).unwrap());
        assert_eq!(found, status, "{method} {tries}");
        assert_eq!(script.count(), count, "{method} {tries}");
    }
}

#[tokio::test(start_paused = true)]
async fn servers_say_when_within_reason() {
    for (outcomes, pauses) in [
        (vec![After(503, "7"), After(429, "60")], vec![7, 60]),
        (vec![After(503, "61")], vec![]),
        (vec![After(503, "99999999999999999999")], vec![]),
        (vec![After(503, "Fri, 31 Dec 9999 23:59:59 GMT")], vec![]),
        // It has passed: as if it had said nothing.
        (vec![After(503, "Sun, 06 Nov 1994 08:49:37 GMT")], vec![0]),
        (vec![After(503, "soon")], vec![0]),
    ] {
        let script = Script::new(&outcomes);
        get(&attempts(5), &script).await.unwrap();
        assert_eq!(script.pauses(), pauses);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_behind_the_deadline() {
    for (secs, count) in [(3, 1), (7, 1), (8, 2), (15, 3)] {
        let script = Script::new(&[After(503, "7"), After(503, "7"), After(503, "7")]);
        let sending = Sending {
            deadline: Some(Instant::now() + Duration::from_secs(secs)),
            ..Sending::default()
        };
        let before = Instant::now();
        let found = run(&attempts(9), "GET", empty(), sending, &script).await;
        assert_eq!(found, Ok(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(script.count(), count, "{secs}");
        // It isn't waited for either.
        assert!(before.elapsed() < Duration::from_secs(secs));
    }
}

fn streamed(sizes: &[usize]) -> Body {
    let frames: Vec<_> = sizes
        .iter()
        .map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; *size]))))
        .collect();
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

#[tokio::test(start_paused = true)]
async fn bodies_are_sent_again_if_they_are_small() {
    let small = || full("hello");
    let large = || streamed(&[REPLAY_BYTES_MAX, 1]);
    for (body, bodies) in [
        (small(), vec![5, 5]),
        (streamed(&[3, 4]), vec![7, 7]),
        (large(), vec![REPLAY_BYTES_MAX + 1]),
    ] {
        let script = Script::new(&[Status(503)]);
        run(&attempts(2), "PUT", body, Sending::default(), &script)
            .await
            .unwrap();
        assert_eq!(script.bodies(), bodies);
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_is_repeated_once_with_another_credential() {
    let renewable = Sending {
        renewable: true,
        ..Sending::default()
    };
    let cared = attempts(3);
    let bare = OriginCares::new([]).client();
    for client in [&cared, &bare] {
        for (method, body, sending, renews, outcomes, status, count, renewals) in [
            (
                "GET",
                empty(),
                renewable,
                true,
                vec![Status(401)],
                200,
                2,
                1,
            ),
            (
                "POST",
                full("hello"),
                renewable,
                true,
                vec![Status(401)],
                200,
                2,
                1,
            ),
            (
                "GET",
                empty(),
                renewable,
                true,
                vec![Status(401), Status(401)],
                401,
                2,
                1,
            ),
            (
                "GET",
                empty(),
                renewable,
                false,
                vec![Status(401)],
                401,
                1,
                1,
            ),
            (
                "GET",
                empty(),
                Sending::default(),
                true,
                vec![Status(401)],
                401,
                1,
                0,
            ),
            (
                "POST",
                streamed(&[REPLAY_BYTES_MAX, 1]),
                renewable,
                true,
                vec![Status(401)],
                401,
                1,
                1,
            ),
            (
                "GET",
                empty(),
                renewable,
                true,
                vec![Status(403)],
                403,
                1,
                0,
            ),
        ] {
            let script = Script {
                renews,
                ..Script::new(&outcomes)
            };
            let found = run(client, method, body, sending, &script).await;
            assert_eq!(found, Ok(StatusCode::from_u16(status).unwrap()), "{method}");
            assert_eq!(script.count(), count);
            assert_eq!(script.renewals.load(Ordering::SeqCst), renewals);
            assert!(script.bodies().windows(2).all(|pair| pair[0] == pair[1]));
        }
    }
    // Not when it is too late.
    let late = Sending {
        deadline: Some(Instant::now()),
        ..renewable
    };
    let script = Script {
        renews: true,
        ..Script::new(&[Status(401)])
    };
    let found = run(&bare, "GET", empty(), late, &script).await;
    assert_eq!(found, Ok(StatusCode::UNAUTHORIZED));
    // Besides the tries for other causes.
    let script = Script {
        renews: true,
        ..Script::new(&[Status(503), Status(401), Status(503)])
    };
    assert_eq!(
        run(&cared, "GET", empty(), renewable, &script).await,
        Ok(StatusCode::OK)
    );
    assert_eq!(script.count(), 4);
}

fn breaking(failures: u32, tries: u32) -> ClientCares {
    let pause = Duration::from_secs(30);
    client(OriginCare {
        attempts: tries,
        breaker: Some(OriginBreaker { failures, pause }),
        ..NONE
    })
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_is_left_alone() {
    let client = breaking(3, 1);
    let failing = [
        Status(500),
        Error(GateErrorKind::Tls),
        Error(GateErrorKind::Timeout(Phase::FirstByte)),
    ];
    let script = Script::new(&failing);
    for _ in 0..3 {
        let _ = get(&client, &script).await;
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    let open = GateErrorKind::CircuitOpen {
        retry_after: Duration::from_secs(20),
    };
    assert_eq!(get(&client, &script).await, Err(open));
    assert_eq!(script.count(), 3);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(get(&client, &script).await, Ok(StatusCode::OK));
    assert_eq!(get(&client, &script).await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn one_tries_for_all() {
    let client = breaking(1, 1);
    get(&client, &Script::new(&[Status(500)])).await.unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;
    let script = Script {
        delay: Duration::from_secs(1),
        ..Script::default()
    };
    let tries = (0..10).map(|_| get(&client, &script));
    let found = futures::future::join_all(tries).await;
    assert_eq!(found.iter().filter(|found| found.is_ok()).count(), 1);
    assert_eq!(script.count(), 1);
    // One that is given up leaves the trial to the next.
    get(&client, &Script::new(&[Status(500)])).await.unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;
    let given_up = tokio::time::timeout(Duration::from_millis(500), get(&client, &script)).await;
    assert!(given_up.is_err());
    assert_eq!(get(&client, &script).await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn only_the_origins_own_failures_count() {
    let client = breaking(1, 1);
    for kind in [
        GateErrorKind::Refused,
        GateErrorKind::AddressRefused {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
        },
        used_up(),
        GateErrorKind::Credential,
    ] {
        let script = Script::new(&[Error(kind.clone())]);
        assert_eq!(get(&client, &script).await, Err(kind));
    }
    for status in [404, 429, 501] {
        get(&client, &Script::new(&[Status(status)])).await.unwrap();
    }
    assert_eq!(get(&client, &Script::default()).await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn tries_end_when_the_breaker_opens() {
    let client = breaking(2, 9);
    let script = Script::new(&[Status(503), Status(502), Status(503)]);
    // The server's own words, not the breaker's.
    assert_eq!(get(&client, &script).await, Ok(StatusCode::BAD_GATEWAY));
    assert_eq!(script.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_of_all_plugins_and_all_tries() {
    let rate = OriginRate {
        count: 3,
        per: Duration::from_secs(30),
    };
    let care = OriginCare {
        attempts: 2,
        rate: Some(rate),
        ..NONE
    };
    let cares = OriginCares::new([(origin(ORIGIN), care)]);
    let (one, other) = (cares.client(), cares.client());
    let script = Script::new(&[Status(503)]);
    assert_eq!(get(&one, &script).await, Ok(StatusCode::OK));
    assert_eq!(get(&other, &script).await, Ok(StatusCode::OK));
    let Err(GateErrorKind::RateLimited { retry_after }) = get(&one, &script).await else {
        panic!("it was let through");
    };
    // The pause before the second try has passed since.
    assert!((9..=10).contains(&retry_after.as_secs()), "{retry_after:?}");
    tokio::time::advance(retry_after).await;
    assert_eq!(get(&one, &script).await, Ok(StatusCode::OK));
    assert_eq!(script.count(), 4);
    assert_eq!(cares.status()[0].rate_limited, 1);
    assert_eq!(cares.status()[0].retries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_status_says_it_all() {
    let rate = OriginRate {
        count: 9,
        per: Duration::from_secs(30),
    };
    let breaker = OriginBreaker {
        failures: 2,
        pause: Duration::from_secs(30),
    };
    let all = OriginCare {
        attempts: 2,
        rate: Some(rate),
        breaker: Some(breaker),
        cache: Some(ByteSize(1 << 20)),
    };
    let cares = OriginCares::new([
        (origin(ORIGIN), all),
        (origin("https://bare.example"), NONE),
    ]);
    let script = Script::new(&[Status(503), Status(503)]);
    get(&cares.client(), &script).await.unwrap();
    let mut status = serde_json::to_value(cares.status()).unwrap();
    let since = status[0]["breaker"]["since"].take();
    assert!(since.as_str().unwrap().ends_with('Z'), "{since}");
    assert_eq!(
        status,
        serde_json::json!([
            {
                "origin": ORIGIN,
                "retries": 1,
                "rate-limited": 0,
                "breaker": { "state": "open", "since": null },
                "cache": { "hits": 0, "misses": 1, "bytes": 0 },
            },
            { "origin": "https://bare.example", "retries": 0, "rate-limited": 0 },
        ])
    );
    tokio::time::advance(Duration::from_secs(30)).await;
    let status = serde_json::to_value(cares.status()).unwrap();
    assert_eq!(status[0]["breaker"]["state"], "half-open");
}

async fn ask(client: &ClientCares, origin: &String, path: &str) -> Response<Body> {
    let request = Request::get(format!("{origin}{path}"))
        .body(empty())
        .unwrap();
    client
        .run(
            &origin.parse().unwrap(),
            request,
            Sending::default(),
            &Plain,
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn a_real_server_is_retried_and_kept() {
    let server = Server::start(|seen, number| {
        assert_eq!(seen.method, "GET");
        if number == 1 {
            return answer(503, &[("retry-after", "0")], "later");
        }
        if seen
            .headers
            .get("if-none-match")
            .is_some_and(|tag| tag == "\"v1\"")
        {
            return answer(304, &[("etag", "\"v1\"")], "");
        }
        answer(
            200,
            &[("etag", "\"v1\""), ("cache-control", "no-cache")],
            "hello",
        )
    })
    .await;
    let care = OriginCare {
        attempts: 3,
        cache: Some(ByteSize(1 << 20)),
        ..NONE
    };
    let cares = OriginCares::new([(origin(&server.origin), care)]);
    let client = cares.client();
    for count in [2, 3, 4] {
        let response = ask(&client, &server.origin, "/").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, "hello");
        assert_eq!(server.count(), count);
    }
    let status = &cares.status()[0];
    assert_eq!(status.retries, 1);
    assert_eq!(status.cache.unwrap().hits, 2);
}

#[tokio::test]
async fn a_real_body_is_kept_when_it_is_whole() {
    for (bytes, whole, count) in [
        ("content-length: 5\r\n\r\nhello", true, 1),
        (
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            true,
            1,
        ),
        ("content-length: 5\r\n\r\nhel", false, 2),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", false, 2),
        // Nobody knows whether there was more.
        ("connection: close\r\n\r\nhello", true, 2),
    ] {
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\n";
        let (origin, asked) = raw(format!("{head}{bytes}").leak()).await;
        let care = OriginCare {
            cache: Some(ByteSize(1 << 20)),
            ..NONE
        };
        let cares = OriginCares::new([(origin.parse().unwrap(), care)]);
        let client = cares.client();
        for _ in 0..2 {
            let body = ask(&client, &origin, "/").await.into_body().collect().await;
            assert_eq!(body.is_ok(), whole, "{bytes}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), count, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_tried_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let care = OriginCare {
        attempts: 4,
        ..NONE
    };
    let cares = OriginCares::new([(origin.parse().unwrap(), care)]);
    let request = Request::get(format!("{origin}/")).body(empty()).unwrap();
    let client = cares.client();
    let found = client
        .run(
            &origin.parse().unwrap(),
            request,
            Sending::default(),
            &Plain,
        )
        .await;
    assert_eq!(*found.unwrap_err().kind(), GateErrorKind::Connect);
    assert_eq!(cares.status()[0].retries, 3);
}
