//! What passes as it should: HTTP/1.1 and HTTP/2, streams, trailers, redirects.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use portreeve_egress::{Body, CallLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::*;

#[tokio::test]
async fn what_was_checked_is_what_is_sent() {
    let (server, mut heads) = recorder().await;
    let client = client();
    let port = server.port();
    let request = http::Request::post(format!("http://127.0.0.1:{port}/a?q=1"))
        .header("Host", "elsewhere.example")
        .header("Connection", "keep-alive, x-hop")
        .header("X-Hop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("Proxy-Connection", "keep-alive")
        .header("Transfer-Encoding", "chunked")
        .header("TE", "gzip")
        .header("Upgrade", "websocket")
        .header("Expect", "100-continue")
        .header("Content-Length", "2")
        .header("X-Kept", "yes")
        .body(full("ok"))
        .unwrap();
    let answer = answer(&client, request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let mut lines = lines(&heads.recv().await.unwrap());
    assert_eq!(lines.remove(0), "POST /a?q=1 HTTP/1.1");
    lines.sort();
    assert_eq!(
        lines,
        [
            "content-length: 2".to_owned(),
            format!("host: 127.0.0.1:{port}"),
            "x-kept: yes".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_guest_may_ask_for_trailers() {
    let (server, mut heads) = recorder().await;
    let mut request = get(server.url("/"));
    let trailers = HeaderValue::from_static("trailers");
    request.headers_mut().insert("te", trailers);
    answer(&client(), request).await.unwrap();
    assert!(heads.recv().await.unwrap().contains("te: trailers"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::bytes("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    for to in [
        elsewhere.url("/secret"),
        "https://elsewhere.example/".to_owned(),
    ] {
        let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let server = Server::bytes(redirect, false).await;
        let answer = answer(&client(), get(server.url("/"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND);
        assert_eq!(answer.headers()["location"], to);
        assert_eq!(server.connections(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_response_comes_as_it_is_sent() {
    let server = Server::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let head =
            b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: keep-alive\r\nx: y\r\n\r\none";
        stream.write_all(head).await.unwrap();
        // The rest only when the other side says that it has the first.
        let two = stream.read_u8().await.unwrap();
        stream.write_all(&[b't', b'w', two]).await.unwrap();
    })
    .await;
    let (sender, body) = channel();
    let call = Call::default().policy();
    let response = client()
        .send(post(server.url("/"), body), &call, TIMEOUTS)
        .await
        .unwrap();
    assert_eq!(response.headers()["x"], "y");
    assert!(!response.headers().contains_key("connection"));
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "one");
    sender.send(Bytes::from_static(b"o")).await.unwrap();
    assert!(body.frame().await.unwrap().is_ok());
}

/// Sends what it is sent back, part by part, with a trailer for the trailer.
async fn echo(request: http::Request<hyper::body::Incoming>) -> Response<Body> {
    let failed =
        |_| portreeve_egress::GateError::new(portreeve_egress::GateErrorKind::Protocol, "");
    Response::new(request.into_body().map_err(failed).boxed_unsync())
}

/// A body in two parts with trailers.
fn with_trailers() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"one"))),
        Ok(Frame::data(Bytes::from_static(b"two"))),
        Ok(Frame::trailers(trailers)),
    ];
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let plain = Server::http(echo).await;
    let (secure, trusting) = crate::trust::server(&[b"h2"], |stream| http2(stream, echo)).await;
    let secure_url = format!("https://localhost:{}/", secure.port());
    for (client, url) in [(client(), plain.url("/")), (trusting, secure_url)] {
        let mut request = post(&url, with_trailers());
        request
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("x-sum"));
        request
            .headers_mut()
            .insert("te", HeaderValue::from_static("trailers"));
        let call = Call::default().policy();
        let response = client.send(request, &call, TIMEOUTS).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        let sum = collected
            .trailers()
            .map(|trailers| trailers["x-sum"].clone());
        assert_eq!(collected.to_bytes(), "onetwo", "{url}");
        // Over HTTP/1.1 the server announces none, so that it sends none.
        if url.starts_with("https") {
            assert_eq!(sum.unwrap(), "42");
        }
    }
}

#[tokio::test]
async fn trailers_of_a_response_over_http_1_pass() {
    let server = Server::bytes(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\none\r\n0\r\nx-sum: 42\r\n\r\n",
        false,
    )
    .await;
    let call = Call::default().policy();
    let response = client()
        .send(get(server.url("/")), &call, TIMEOUTS)
        .await
        .unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "42");
}

#[tokio::test]
async fn a_body_is_sent_without_waiting_for_leave() {
    // Asked or not, some servers give leave; some never do.
    for leave in [
        "",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n",
    ] {
        let server = Server::start(move |mut stream, _| async move {
            let head = read_head(&mut stream).await.unwrap();
            assert!(!head.to_ascii_lowercase().contains("expect"), "{head}");
            stream.write_all(leave.as_bytes()).await.unwrap();
            let mut body = [0; 5];
            stream.read_exact(&mut body).await.unwrap();
            let answer = [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", &body[..]].concat();
            stream.write_all(&answer).await.unwrap();
        })
        .await;
        let mut request = post(server.url("/"), full("hello"));
        let expect = HeaderValue::from_static("100-continue");
        request.headers_mut().insert("expect", expect);
        let answer = answer(&client(), request).await.unwrap();
        assert_eq!(answer.into_body(), "hello");
    }
}

#[tokio::test]
async fn a_response_may_come_before_the_body_is_sent() {
    let server = Server::bytes(
        "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno",
        false,
    )
    .await;
    let (_sender, body) = channel();
    let answer = answer(&client(), post(server.url("/"), body))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.into_body(), "no");
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_does() {
    for (protocols, version) in [
        (&[&b"h2"[..], b"http/1.1"][..], http::Version::HTTP_2),
        (&[b"http/1.1"], http::Version::HTTP_11),
        (&[], http::Version::HTTP_11),
    ] {
        let h2 = version == http::Version::HTTP_2;
        let answer = |request: http::Request<hyper::body::Incoming>| async move {
            let authority = request.uri().authority().map(ToString::to_string);
            let host = request
                .headers()
                .get("host")
                .map(|host| host.to_str().unwrap().to_owned());
            let words = format!("{:?} {authority:?} {host:?}", request.version());
            Response::new(full(words))
        };
        let (server, client) = crate::trust::server(protocols, move |stream| async move {
            if h2 {
                http2(stream, answer).await;
            } else {
                http1(stream, answer).await;
            }
        })
        .await;
        let host = format!("localhost:{}", server.port());
        let response = crate::support::answer(&client, get(format!("https://{host}/")))
            .await
            .unwrap();
        assert_eq!(response.version(), version);
        let expected = if h2 {
            format!("HTTP/2.0 Some({host:?}) None")
        } else {
            format!("HTTP/1.1 None Some({host:?})")
        };
        assert_eq!(response.into_body(), expected);
    }
}

#[tokio::test]
async fn a_gzip_bomb_passes_unopened_and_counted() {
    // A gibibyte of zeros, packed twice.
    const BOMB: &[u8] = include_bytes!("bomb.gz.gz");
    let server = Server::http(|_| async {
        let body = Full::new(Bytes::from_static(BOMB));
        let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
        let coding = HeaderValue::from_static("gzip, gzip");
        response.headers_mut().insert("content-encoding", coding);
        response
    })
    .await;
    let call = Call::default().policy();
    let answer = gathered(&client(), get(server.url("/")), &call, TIMEOUTS)
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip, gzip");
    assert_eq!(answer.into_body(), BOMB);
    let (_, _, received) = call.budget().used();
    let bomb = BOMB.len() as u64;
    assert!((bomb..bomb + 1_000).contains(&received), "{received}");
}

#[tokio::test]
async fn a_head_has_no_body_whatever_it_says() {
    let server = Server::bytes("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", false).await;
    let client = client();
    for _ in 0..2 {
        let request = http::Request::head(server.url("/")).body(empty()).unwrap();
        let answer = answer(&client, request).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "1000");
        assert!(answer.into_body().is_empty());
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_large_body_passes_both_ways_in_little_memory() {
    // Parts of 64 KiB of which no more than some can be under way.
    let server = Server::http(echo).await;
    let (sender, body) = channel();
    // More than the system ever holds for the four ends of two streams.
    let limits = CallLimits {
        sent: 64 << 20,
        received: 64 << 20,
        ..CALL
    };
    let call = Call {
        limits,
        ..Call::default()
    };
    let response = client()
        .send(post(server.url("/"), body), &call.policy(), TIMEOUTS)
        .await
        .unwrap();
    let part = Bytes::from(vec![7; 64 << 10]);
    let mut stalled = 0;
    // Nobody reads: at some point no more is taken.
    while let Ok(sent) =
        tokio::time::timeout(Duration::from_millis(500), sender.send(part.clone())).await
    {
        sent.unwrap();
        stalled += part.len();
        assert!(stalled < 64 << 20);
    }
    drop(sender);
    let all = response.into_body().collect().await.unwrap().to_bytes();
    assert!(all.len() >= stalled && all.iter().all(|byte| *byte == 7));
}
