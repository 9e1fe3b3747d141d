//! Guests that mean harm, or are broken.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request};
use portreeve_egress::{GateErrorKind, Phase, Timeouts};

use crate::support::*;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_refused_request_opens_no_connection() {
    let server = Server::bytes("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let call = Call {
        rules: Some(rules(&[("GET http://elsewhere.example/**", false)])),
        ..Call::default()
    };
    let result = gathered(&client(), get(server.url("/")), &call.policy(), TIMEOUTS).await;
    assert_eq!(result.unwrap_err().kind(), &GateErrorKind::Refused);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_length_that_is_not_the_bodys_is_refused() {
    let (server, _heads) = recorder().await;
    for length in ["3", "5", "-1", "4x", "", "99999999999999999999"] {
        let mut request = post(server.url("/"), full("four"));
        let value = HeaderValue::from_str(length).unwrap();
        request.headers_mut().insert("content-length", value);
        let error = answer(&client(), request).await.unwrap_err();
        assert_eq!(
            error.kind(),
            &GateErrorKind::InvalidRequest,
            "{length}: {error}"
        );
    }
    let mut request = post(server.url("/"), full("four"));
    for length in ["4", "5"] {
        let value = HeaderValue::from_str(length).unwrap();
        request.headers_mut().append("content-length", value);
    }
    let error = answer(&client(), request).await.unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::InvalidRequest, "{error}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_stream_that_is_not_as_long_as_was_told_is_refused() {
    let server = Server::start(|mut stream, _| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    for (length, words) in [("3", "longer"), ("5", "shorter")] {
        let (sender, body) = channel();
        let mut request = post(server.url("/"), body);
        let value = HeaderValue::from_str(length).unwrap();
        request.headers_mut().insert("content-length", value);
        let client = client();
        let sending = answer(&client, request);
        let feeding = async {
            let _ = sender.send(Bytes::from_static(b"fo")).await;
            let _ = sender.send(Bytes::from_static(b"ur")).await;
            drop(sender);
        };
        let (result, ()) = tokio::join!(sending, feeding);
        let error = result.unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::InvalidRequest, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_guest_that_drips_its_body_ends_with_its_time() {
    let server = Server::start(|mut stream, _| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let (sender, body) = channel();
    let drip = async {
        while sender.send(Bytes::from_static(b"x")).await.is_ok() {
            tokio::time::sleep(SHORT / 20).await;
        }
    };
    let timeouts = Timeouts {
        first_byte: SHORT / 3,
        total: SHORT,
        ..TIMEOUTS
    };
    let call = Call::default().policy();
    let client = client();
    let sending = gathered(&client, post(server.url("/"), body), &call, timeouts);
    tokio::select! {
        // Its drips are progress, so that it has all of its time, and no more.
        result = sending => {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), &GateErrorKind::Timeout(Phase::Total), "{error}");
        }
        () = drip => panic!("nobody takes it any more"),
    }
}

#[tokio::test]
async fn a_guest_that_stops_within_its_body_is_left() {
    let server = Server::start(|mut stream, _| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let (sender, body) = channel();
    sender.send(Bytes::from_static(b"x")).await.unwrap();
    let timeouts = Timeouts {
        first_byte: SHORT,
        ..TIMEOUTS
    };
    let call = Call::default().policy();
    let error = gathered(&client(), post(server.url("/"), body), &call, timeouts).await;
    let error = error.unwrap_err();
    assert_eq!(
        error.kind(),
        &GateErrorKind::Timeout(Phase::FirstByte),
        "{error}"
    );
}

#[tokio::test]
async fn a_head_that_is_too_large_is_not_sent() {
    let (server, _heads) = recorder().await;
    for (fields, bytes) in [(200, 1), (50, 2_000)] {
        let mut request = get(server.url("/"));
        for number in 0..fields {
            let name: HeaderName = format!("x-{number}").parse().unwrap();
            let value = HeaderValue::from_str(&"y".repeat(bytes)).unwrap();
            request.headers_mut().insert(name, value);
        }
        let error = answer(&client(), request).await.unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::HeadTooLarge, "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_guest_opens_no_tunnel() {
    let (server, _heads) = recorder().await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(server.url("/"))
        .body(empty())
        .unwrap();
    let error = answer(&client(), request).await.unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::InvalidUrl, "{error}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_method_is_sent_as_it_was_checked() {
    let (server, mut heads) = recorder().await;
    for method in ["GET", "get", "gEt"] {
        let request = Request::builder().method(method).uri(server.url("/"));
        let call = Call {
            rules: Some(rules(&[("GET http://127.0.0.1:*/**", false)])),
            ..Call::default()
        };
        let request = request.body(empty()).unwrap();
        gathered(&client(), request, &call.policy(), TIMEOUTS)
            .await
            .unwrap();
        assert!(heads.recv().await.unwrap().starts_with("GET / "));
    }
}

#[tokio::test]
async fn no_header_makes_another_request_of_it() {
    let (server, mut heads) = recorder().await;
    let mut request = get(server.url("/"));
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_HTTP_METHOD_OVERRIDE",
        "X-Http_Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Host",
        "X-HTTP-Host-Override",
        "Forwarded",
    ] {
        let name: HeaderName = name.parse().unwrap();
        let value = HeaderValue::from_static("DELETE");
        request.headers_mut().append(&name, value.clone());
        request.headers_mut().append(name, value);
    }
    let kept = HeaderValue::from_static("X-HTTP-Method-Override: kept");
    request.headers_mut().insert("x-http", kept);
    answer(&client(), request).await.unwrap();
    let lines = lines(&heads.recv().await.unwrap());
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(!lines.concat().contains("delete"), "{lines:?}");
}

#[tokio::test]
async fn a_request_that_is_given_up_closes_its_connection() {
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            let _ = closed.send(());
        }
    })
    .await;
    let client = client();
    let call = Call::default().policy();
    let given_up = tokio::time::timeout(SHORT, client.send(get(server.url("/")), &call, TIMEOUTS));
    assert!(given_up.await.is_err());
    is_closed.recv().await.unwrap();
}
