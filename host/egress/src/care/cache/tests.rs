use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::HeaderMap;
use http::{HeaderName, HeaderValue};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use proptest::prelude::*;

use super::super::replay::empty;
use super::super::{Chunked, ClientCares, Exchange, OriginCares};
use super::*;
use crate::error::{GateError, GateErrorKind};
use portreeve_manifest::grant::{CredentialUse, Place};
use portreeve_manifest::settings::OriginCare;
use portreeve_manifest::size::ByteSize;

const ORIGIN: &str = "https://api.example";

type Answer = dyn Fn(&Request<Body>) -> Response<Body> + Send + Sync;

/// A server that answers by a function, and counts.
struct Server {
    answer: Box<Answer>,
    count: AtomicU32,
    last: Mutex<HeaderMap>,
}

impl Server {
    fn new(answer: impl Fn(&Request<Body>) -> Response<Body> + Send + Sync + 'static) -> Server {
        Server {
            answer: Box::new(answer),
            count: AtomicU32::new(0),
            last: Mutex::default(),
        }
    }

    /// One that gives numbered bodies with these headers.
    fn with(headers: &'static [(&'static str, &'static str)]) -> Server {
        Server::new(move |_| answer(200, headers, "body"))
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Exchange for Server {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, GateError> {
        self.count.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap() = request.headers().clone();
        Ok((self.answer)(&request))
    }
}

fn full(text: &str) -> Body {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(full(body)).unwrap()
}

fn cares(bytes: u64) -> Arc<OriginCares> {
    let care = OriginCare {
        attempts: 1,
        rate: None,
        breaker: None,
        cache: Some(ByteSize(bytes)),
    };
    OriginCares::new([(ORIGIN.parse().unwrap(), care)])
}

fn client() -> ClientCares {
    cares(1 << 20).client()
}

fn asking(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{ORIGIN}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(empty()).unwrap()
}

/// What a request is answered with, read to its end.
async fn read(
    client: &ClientCares,
    server: &Server,
    request: Request<Body>,
    sending: Sending<'_>,
) -> (StatusCode, HeaderMap, String) {
    let origin = ORIGIN.parse().unwrap();
    let response = client.run(&origin, request, sending, server);
    let (parts, body) = response.await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    (parts.status, parts.headers, body)
}

async fn get(client: &ClientCares, server: &Server, headers: &[(&str, &str)]) -> String {
    let request = asking("GET", "/a", headers);
    read(client, server, request, Sending::default()).await.2
}

fn status(client: &ClientCares) -> CacheStatus {
    client.cares.status()[0].cache.unwrap()
}

/// Lets time pass: a little more or less, as the calendar is not stopped by tests.
async fn pass(secs: u64) {
    tokio::time::advance(Duration::from_secs(secs)).await;
}

/// How often a server is asked when the same is requested twice.
async fn asked(server: Server, request: &[(&str, &str)], sending: Sending<'_>) -> u32 {
    let client = client();
    for _ in 0..2 {
        let request = asking("GET", "/a", request);
        assert_eq!(read(&client, &server, request, sending).await.2, "body");
    }
    server.count()
}

#[tokio::test(start_paused = true)]
async fn what_is_kept() {
    let fresh: &[(&str, &str)] = &[("cache-control", "max-age=60")];
    for (request, response, count) in [
        (&[][..], fresh, 1),
        (&[], &[("cache-control", "private, max-age=60")], 1),
        (
            &[],
            &[("cache-control", "max-age=60"), ("set-cookie", "a=1")],
            1,
        ),
        (&[], &[("expires", "Fri, 31 Dec 9999 23:59:59 GMT")], 1),
        // Not without a lifetime, and none is guessed.
        (&[], &[], 2),
        (
            &[],
            &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
            2,
        ),
        (&[], &[("cache-control", "immutable")], 2),
        (&[], &[("cache-control", "public")], 2),
        (&[], &[("cache-control", "s-maxage=60")], 2),
        (&[], &[("cache-control", "max-age=0")], 2),
        (&[], &[("cache-control", "max-age=x")], 2),
        (&[], &[("cache-control", "max-age=60, no-store")], 2),
        (&[], &[("cache-control", "Max-Age=60, No-Store")], 2),
        (
            &[],
            &[
                ("cache-control", "max-age=60"),
                ("cache-control", "no-store"),
            ],
            2,
        ),
        (&[], &[("cache-control", "max-age=60, no-cache")], 2),
        (&[], &[("cache-control", "max-age=60, NO-CACHE")], 2),
        (&[], &[("cache-control", "max-age=60"), ("age", "60")], 2),
        (&[], &[("cache-control", "max-age=60"), ("age", "59")], 1),
        (
            &[],
            &[
                ("cache-control", "max-age=60"),
                ("age", "18446744073709551615"),
            ],
            2,
        ),
        (
            &[],
            &[
                ("cache-control", "max-age=60"),
                ("age", "99999999999999999999"),
            ],
            2,
        ),
        (
            &[],
            &[
                ("cache-control", "max-age=60"),
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ],
            2,
        ),
        (&[], &[("cache-control", "max-age=18446744073709551615")], 1),
        (&[], &[("cache-control", "max-age=60"), ("vary", "*")], 2),
        (
            &[],
            &[("cache-control", "max-age=60"), ("vary", "accept, *")],
            2,
        ),
        (
            &[],
            &[("cache-control", "max-age=60"), ("vary", "not a name")],
            2,
        ),
        (
            &[],
            &[("cache-control", "max-age=60"), ("content-length", "x")],
            2,
        ),
        (
            &[],
            &[("cache-control", "max-age=60"), ("content-length", "9")],
            2,
        ),
        // What the request has to say.
        (&[("cache-control", "no-cache")], fresh, 2),
        (&[("cache-control", "No-Cache")], fresh, 2),
        (&[("pragma", "No-Cache")], fresh, 2),
        (&[("cache-control", "no-store")], fresh, 2),
        (&[("cache-control", "min-fresh=61")], fresh, 2),
        (
            &[("cache-control", "min-fresh=18446744073709551615")],
            fresh,
            2,
        ),
        (&[("cache-control", "max-age=9")], fresh, 1),
        (&[("range", "bytes=0-1")], fresh, 2),
        (&[("if-none-match", "\"a\"")], fresh, 2),
        (
            &[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")],
            fresh,
            2,
        ),
        // Who says who it is: as a shared cache.
        (&[("authorization", "Bearer x")], fresh, 2),
        (&[("cookie", "a=1")], fresh, 2),
        (
            &[("authorization", "Bearer x")],
            &[("cache-control", "public, max-age=60")],
            1,
        ),
        (
            &[("authorization", "Bearer x")],
            &[("cache-control", "s-maxage=60")],
            1,
        ),
        (
            &[("authorization", "Bearer x")],
            &[("cache-control", "must-revalidate, max-age=60")],
            1,
        ),
        (
            &[("authorization", "Bearer x")],
            &[("cache-control", "private, max-age=60")],
            2,
        ),
        (
            &[("authorization", "Bearer x")],
            &[("cache-control", "public, s-maxage=0, max-age=60")],
            2,
        ),
    ] {
        let found = asked(Server::with(response), request, Sending::default()).await;
        assert_eq!(found, count, "{request:?} {response:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_requests_with_a_credential_of_the_hosts() {
    let used = |place| CredentialUse {
        name: "it".parse().unwrap(),
        place,
    };
    let header = used(Some(Place::Header("x-token".to_owned())));
    let query = used(Some(Place::Query("key".to_owned())));
    let plain = used(None);
    let public = ("cache-control", "public, max-age=60");
    for (credential, response, count) in [
        (&plain, &[("cache-control", "max-age=60")][..], 2),
        (&header, &[("cache-control", "max-age=60")], 2),
        (&query, &[("cache-control", "private, max-age=60")], 2),
        (&plain, &[public], 1),
        (&header, &[public], 1),
        (&query, &[public], 1),
        (&plain, &[public, ("set-cookie", "a=1")], 1),
        // Of somebody, whatever else it says.
        (&plain, &[public, ("vary", "Authorization")], 2),
        (&plain, &[public, ("vary", "x-api-key")], 2),
        (&plain, &[public, ("vary", "accept"), ("vary", "cookie")], 2),
        (&header, &[public, ("vary", "X-Token")], 2),
        (&header, &[public, ("vary", "x-api-key")], 1),
    ] {
        let response: &'static [_] = response.to_vec().leak();
        let sending = Sending {
            credential: Some(credential),
            ..Sending::default()
        };
        let found = asked(Server::with(response), &[], sending).await;
        assert_eq!(found, count, "{credential:?} {response:?}");
    }
    let personal = Sending {
        personal: true,
        ..Sending::default()
    };
    assert_eq!(
        asked(
            Server::with(&[("cache-control", "max-age=60")]),
            &[],
            personal
        )
        .await,
        2
    );
    assert_eq!(
        asked(
            Server::with(&[("cache-control", "public, max-age=60")]),
            &[],
            personal
        )
        .await,
        1
    );
}

#[tokio::test]
async fn with_and_without_a_credential_are_two() {
    let client = client();
    let server = Server::with(&[("cache-control", "public, max-age=60")]);
    let personal = Sending {
        personal: true,
        ..Sending::default()
    };
    for (sending, count) in [(personal, 1), (Sending::default(), 2), (personal, 3)] {
        read(&client, &server, asking("GET", "/a", &[]), sending).await;
        assert_eq!(server.count(), count);
    }
}

#[tokio::test]
async fn only_get_is_answered_and_changes_are_noticed() {
    let client = client();
    let server = Server::with(&[("cache-control", "max-age=60")]);
    let ask = |method: &'static str, path: &'static str| {
        let request = asking(method, path, &[]);
        read(&client, &server, request, Sending::default())
    };
    for (method, path, count) in [
        ("GET", "/a", 1),
        ("GET", "/a?b", 2),
        ("GET", "/a", 2),
        ("HEAD", "/a", 3),
        ("OPTIONS", "/a", 4),
        ("GET", "/a", 4),
        ("POST", "/a", 5),
        ("POST", "/a", 6),
        ("GET", "/a", 7),
        ("GET", "/a?b", 7),
        ("DELETE", "/a?b", 8),
        ("GET", "/a?b", 9),
        ("GET", "/a", 9),
    ] {
        ask(method, path).await;
        assert_eq!(server.count(), count, "{method} {path}");
    }
    // What failed has changed nothing.
    let failing = Server::new(|_| answer(500, &[], ""));
    read(
        &client,
        &failing,
        asking("PUT", "/a", &[]),
        Sending::default(),
    )
    .await;
    ask("GET", "/a").await;
    assert_eq!(server.count(), 9);
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_its_age_and_ends() {
    let client = client();
    let server = Server::with(&[
        ("cache-control", "max-age=60"),
        ("connection", "x-hop, close"),
        ("x-hop", "1"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x-end", "1"),
    ]);
    let request = || asking("GET", "/a", &[]);
    read(&client, &server, request(), Sending::default()).await;
    pass(58).await;
    let (status, headers, body) = read(&client, &server, request(), Sending::default()).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "body"));
    assert!(headers["age"] == "57" || headers["age"] == "58");
    assert_eq!(headers["x-end"], "1");
    assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
    assert!(headers.contains_key("date"));
    assert!(!headers.contains_key("x-hop") && !headers.contains_key("connection"));
    pass(3).await;
    read(&client, &server, request(), Sending::default()).await;
    assert_eq!(server.count(), 2);
    let hits = super::super::CareStatus::clone(&client.cares.status()[0]);
    let cache = hits.cache.unwrap();
    assert_eq!((cache.hits, cache.misses), (1, 2));
}

/// A server whose one thing has a tag, which it is asked about.
fn tagged(tag: &'static str, newer: &'static [(&'static str, &'static str)]) -> Server {
    Server::new(
        move |request| match request.headers().get("if-none-match") {
            Some(asked)
                if asked.to_str().unwrap().trim_start_matches("W/")
                    == tag.trim_start_matches("W/") =>
            {
                answer(304, newer, "")
            }
            _ => answer(
                200,
                &[
                    ("etag", tag),
                    ("cache-control", "max-age=10"),
                    ("content-type", "text/plain"),
                    ("x-old", "1"),
                    ("x-both", "old"),
                ],
                "body",
            ),
        },
    )
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_asked_about() {
    for tag in ["\"v1\"", "W/\"v1\""] {
        let client = client();
        let newer = &[
            ("etag", "\"v1\""),
            ("cache-control", "max-age=100"),
            ("content-type", "text/html"),
            ("x-both", "new"),
            ("x-both", "newer"),
        ];
        let server = tagged(tag, newer);
        assert_eq!(get(&client, &server, &[]).await, "body");
        pass(11).await;
        let request = asking("GET", "/a", &[]);
        let (status, headers, body) = read(&client, &server, request, Sending::default()).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "body"));
        assert_eq!(server.count(), 2);
        assert_eq!(server.last.lock().unwrap()["if-none-match"], tag);
        assert_eq!(headers["content-type"], "text/plain");
        assert_eq!(headers["x-old"], "1");
        let both: Vec<_> = headers.get_all("x-both").iter().collect();
        assert_eq!(both, ["new", "newer"]);
        // It is young again, for as long as was said last.
        pass(98).await;
        assert_eq!(get(&client, &server, &[]).await, "body");
        assert_eq!(server.count(), 2);
        pass(3).await;
        assert_eq!(get(&client, &server, &[]).await, "body");
        assert_eq!(server.count(), 3);
        let cache = self::status(&client);
        assert_eq!((cache.hits, cache.misses), (3, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_is_asked_about_too() {
    let client = client();
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let server = Server::new(move |request| {
        if request.headers().get("if-modified-since").is_some() {
            return answer(304, &[], "");
        }
        answer(200, &[("last-modified", date)], "body")
    });
    for count in 1..4 {
        assert_eq!(get(&client, &server, &[]).await, "body");
        assert_eq!(server.count(), count);
    }
    assert_eq!(server.last.lock().unwrap()["if-modified-since"], date);
    assert_eq!(status(&client).hits, 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_is_not_taken_for_this() {
    let client = client();
    // It says 304, but of something that was never asked for.
    let server = tagged("\"v1\"", &[("etag", "\"v2\"")]);
    get(&client, &server, &[]).await;
    pass(11).await;
    assert_eq!(get(&client, &server, &[]).await, "body");
    assert_eq!(server.count(), 3);
    assert!(!server.last.lock().unwrap().contains_key("if-none-match"));
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_goes() {
    let client = client();
    let old = tagged("\"v1\"", &[]);
    get(&client, &old, &[]).await;
    pass(11).await;
    // A failure replaces nothing, and is passed on as it is.
    let failing = Server::new(|_| answer(503, &[], "later"));
    assert_eq!(get(&client, &failing, &[]).await, "later");
    assert!(status(&client).bytes > 0);
    let new = Server::new(|_| answer(200, &[("cache-control", "no-store")], "new"));
    assert_eq!(get(&client, &new, &[]).await, "new");
    assert_eq!(status(&client).bytes, 0);
}

#[tokio::test]
async fn nothing_but_what_is_kept_may_be_wanted() {
    let client = client();
    let server = Server::with(&[("cache-control", "max-age=60")]);
    let only = &[("cache-control", "only-if-cached")];
    let request = || asking("GET", "/a", only);
    let (status, ..) = read(&client, &server, request(), Sending::default()).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    get(&client, &server, &[]).await;
    let (status, ..) = read(&client, &server, request(), Sending::default()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn plugins_are_not_answered_with_each_others() {
    let cares = cares(1 << 20);
    let server = Server::with(&[("cache-control", "public, max-age=60")]);
    let (one, other) = (cares.client(), cares.client());
    get(&one, &server, &[]).await;
    get(&other, &server, &[]).await;
    assert_eq!(server.count(), 2);
    let both = status(&one).bytes;
    drop(other);
    assert_eq!(status(&one).bytes, both / 2);
    get(&one, &server, &[]).await;
    assert_eq!(server.count(), 2);
    // What is still being read when its plugin goes is not kept for nobody.
    let third = cares.client();
    let request = asking("GET", "/late", &[]);
    let origin = ORIGIN.parse().unwrap();
    let late = third.run(&origin, request, Sending::default(), &Streaming);
    let late = late.await.unwrap();
    drop(third);
    late.into_body().collect().await.unwrap();
    assert_eq!(status(&one).bytes, both / 2);
}

/// A server that streams four parts.
struct Streaming;

#[async_trait::async_trait]
impl Exchange for Streaming {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, GateError> {
        let part = Bytes::from(vec![b'x'; 1000]);
        let mut frames: Vec<_> = (0..4).map(|_| Ok(Frame::data(part.clone()))).collect();
        if request.uri().path() == "/broken" {
            frames.push(Err(GateError::new(GateErrorKind::Incomplete, "cut")));
        }
        if request.uri().path() == "/trailers" {
            frames.push(Ok(Frame::trailers(HeaderMap::new())));
        }
        let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        let mut answer = Response::new(body);
        answer
            .headers_mut()
            .insert("cache-control", HeaderValue::from_static("max-age=60"));
        if request.uri().path() == "/length" {
            let length = HeaderValue::from_static("4000");
            answer.headers_mut().insert("content-length", length);
        } else if request.uri().path() != "/unsure" {
            answer.extensions_mut().insert(Chunked);
        }
        Ok(answer)
    }
}

#[tokio::test]
async fn only_what_is_whole_is_kept() {
    for (path, frames, kept) in [
        ("/chunked", 9, true),
        ("/length", 9, true),
        // Half of it.
        ("/chunked", 2, false),
        ("/unsure", 9, false),
        ("/broken", 9, false),
        ("/trailers", 9, false),
    ] {
        let client = client();
        let origin = ORIGIN.parse().unwrap();
        let request = asking("GET", path, &[]);
        let answer = client.run(&origin, request, Sending::default(), &Streaming);
        let body = answer.await.unwrap().into_body();
        let read = body.into_data_stream().take(frames).count().await;
        assert_eq!(status(&client).bytes > 0, kept, "{path} {read}");
    }
}

#[tokio::test]
async fn room_is_bounded() {
    let client = cares(64 << 10).client();
    let ask = |path: String, size: usize| {
        let server = Server::new(move |_| {
            answer(200, &[("cache-control", "max-age=60")], &"x".repeat(size))
        });
        let client = &client;
        async move {
            let request = asking("GET", &path, &[]);
            read(client, &server, request, Sending::default()).await;
            server.count()
        }
    };
    // More than a quarter.
    ask("/big".to_owned(), 16 << 10).await;
    assert_eq!(status(&client).bytes, 0);
    for number in 0..100 {
        assert_eq!(ask("/first".to_owned(), 5000).await, u32::from(number == 0));
        ask(format!("/{number}"), 5000).await;
        assert!(status(&client).bytes <= 64 << 10);
    }
    assert!(status(&client).bytes > 48 << 10);
    // The longest unused went, the last ones are there.
    assert_eq!(ask("/0".to_owned(), 5000).await, 1);
    assert_eq!(ask("/99".to_owned(), 5000).await, 0);
    // Headers count, too.
    let server = Server::new(|_| {
        let long = "x".repeat(10 << 10);
        answer(
            200,
            &[("cache-control", "max-age=60"), ("x-long", &long)],
            "",
        )
    });
    for _ in 0..2 {
        read(
            &client,
            &server,
            asking("GET", "/long", &[]),
            Sending::default(),
        )
        .await;
    }
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn variants_are_bounded() {
    let client = client();
    let server = Server::with(&[("cache-control", "max-age=60"), ("vary", "accept")]);
    for number in 0..100 {
        get(&client, &server, &[("accept", &format!("a/{number}"))]).await;
    }
    let eight = status(&client).bytes;
    assert!(eight < 20_000, "{eight}");
    assert_eq!(server.count(), 100);
    get(&client, &server, &[("accept", "a/99")]).await;
    get(&client, &server, &[("accept", "a/92")]).await;
    assert_eq!(server.count(), 100);
    get(&client, &server, &[("accept", "a/91")]).await;
    assert_eq!(server.count(), 101);
}

#[tokio::test]
async fn what_is_kept_of_a_request_is_little() {
    let client = client();
    let server = Server::with(&[("cache-control", "public, max-age=60"), ("vary", "accept")]);
    get(
        &client,
        &server,
        &[
            ("authorization", "CANARY"),
            ("x-key", "CANARY"),
            ("accept", "b"),
        ],
    )
    .await;
    assert!(status(&client).bytes > 0);
    let shown = format!("{:?}", client.cares);
    assert!(
        shown.contains("accept") && !shown.contains("CANARY"),
        "{shown}"
    );
}

const NAMES: [&str; 3] = ["accept", "accept-language", "x-tenant"];

fn headers() -> impl Strategy<Value = Vec<(usize, String)>> {
    prop::collection::vec((0..NAMES.len(), "[ab]{0,1}(, [ab])?"), 0..4)
}

fn map(headers: &[(usize, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_static(NAMES[*name]),
            value.parse().unwrap(),
        );
    }
    map
}

proptest! {
    /// Whatever was asked before, nobody gets what was chosen by other headers than theirs:
    /// as a client without a cache would.
    #[test]
    fn nobody_gets_another_variant(
        requests in prop::collection::vec((headers(), 0..8usize), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let client = client();
            for (headers, varied) in requests {
                let vary: Vec<_> = NAMES
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| varied & (1 << bit) != 0)
                    .map(|(_, name)| *name)
                    .collect();
                let mut request = asking("GET", "/a", &[]);
                *request.headers_mut() = map(&headers);
                let chosen = |headers: &HeaderMap, vary: &[&str]| {
                    let values = vary.iter().map(|name| {
                        let values = headers.get_all(*name).iter();
                        let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
                        (name.to_string(), values.join(", "))
                    });
                    serde_json::to_string(&values.collect::<Vec<_>>()).unwrap()
                };
                let asked = request.headers().clone();
                let server = Server::new(move |request| {
                    let vary_text = vary.join(", ");
                    let body = chosen(request.headers(), &vary);
                    answer(200, &[("cache-control", "max-age=60"), ("vary", &vary_text)], &body)
                });
                let (_, _, body) = read(&client, &server, request, Sending::default()).await;
                let said: Vec<(String, String)> = serde_json::from_str(&body).unwrap();
                let vary: Vec<&str> = said.iter().map(|(name, _)| name.as_str()).collect();
                let values = said.iter().map(|(name, value)| (name.clone(), value.clone()));
                let expected = chosen(&asked, &vary);
                let got = serde_json::to_string(&values.collect::<Vec<_>>()).unwrap();
                assert_eq!(got, expected);
            }
        });
    }

    /// No header of a server's makes the cache panic, or fail to answer.
    #[test]
    fn any_header_is_survived(
        headers in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "age", "cache-control", "connection", "content-length", "date", "etag",
                    "expires", "last-modified", "pragma", "vary", "warning",
                ]),
                "[ -~]{0,20}|[0-9]{0,22}|max-age=[0-9]{0,21}|[\\x80-\\xff]{1,3}|W/\"a\"|\"a\"",
            ),
            0..6,
        ),
        asking_for in "|max-age=[0-9]{0,21}|max-stale(=[0-9]{0,21})?|min-fresh=[0-9]{0,21}",
        status in prop::sample::select(vec![200u16, 203, 204, 301, 302, 304, 404, 410, 500]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let client = client();
            let server = Server::new(move |request| {
                let status = if request.headers().contains_key("if-none-match") { 304 } else { status };
                let mut answer = answer(status, &[], "");
                for (name, value) in &headers {
                    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                        answer.headers_mut().append(*name, value);
                    }
                }
                answer
            });
            for _ in 0..3 {
                get(&client, &server, &[("cache-control", &asking_for)]).await;
            }
        });
    }
}
