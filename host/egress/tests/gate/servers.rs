//! Servers that mean harm, or are broken.

use std::time::Duration;

use http::Response;
use http::header::{HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use portreeve_egress::{CallLimits, GateErrorKind, Phase, Timeouts};
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

const SHORT: Duration = Duration::from_millis(300);

/// Writes some bytes, and then others for ever.
async fn dripping(head: &'static str, drip: &'static str, pause: Duration) -> Server {
    Server::start(move |mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(drip.as_bytes()).await.is_ok() {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    })
    .await
}

async fn kind_of(server: &Server, timeouts: Timeouts) -> GateErrorKind {
    let call = Call::default().policy();
    let result = gathered(&client(), get(server.url("/")), &call, timeouts).await;
    result.unwrap_err().kind().clone()
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left() {
    let server = dripping("", "", LONG).await;
    let timeouts = Timeouts {
        first_byte: SHORT,
        ..TIMEOUTS
    };
    assert_eq!(
        kind_of(&server, timeouts).await,
        GateErrorKind::Timeout(Phase::FirstByte)
    );
}

#[tokio::test]
async fn a_server_that_drips_its_head_is_left() {
    let server = dripping("HTTP/1.1 200 OK\r\n", "x: y\r\n", SHORT / 10).await;
    let timeouts = Timeouts {
        first_byte: SHORT,
        ..TIMEOUTS
    };
    assert_eq!(
        kind_of(&server, timeouts).await,
        GateErrorKind::Timeout(Phase::FirstByte)
    );
}

#[tokio::test]
async fn a_server_that_stops_within_a_body_is_left() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome";
    let server = dripping(head, "", LONG).await;
    let timeouts = Timeouts {
        between_bytes: SHORT,
        ..TIMEOUTS
    };
    assert_eq!(
        kind_of(&server, timeouts).await,
        GateErrorKind::Timeout(Phase::BetweenBytes)
    );
}

#[tokio::test]
async fn a_server_that_drips_its_body_is_left() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
    let server = dripping(head, "x", SHORT / 10).await;
    let timeouts = Timeouts {
        between_bytes: LONG,
        total: SHORT,
        ..TIMEOUTS
    };
    assert_eq!(
        kind_of(&server, timeouts).await,
        GateErrorKind::Timeout(Phase::Total)
    );
}

#[tokio::test]
async fn an_endless_body_ends_with_its_time() {
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let server = dripping(head, "0123456789abcdef", Duration::ZERO).await;
    let timeouts = Timeouts {
        total: SHORT,
        ..TIMEOUTS
    };
    assert_eq!(
        kind_of(&server, timeouts).await,
        GateErrorKind::Timeout(Phase::Total)
    );
}

#[tokio::test]
async fn an_endless_body_that_is_never_waited_for_ends_with_its_time() {
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let server = dripping(head, "0123456789abcdef", Duration::ZERO).await;
    let timeouts = Timeouts {
        total: SHORT,
        ..TIMEOUTS
    };
    let call = Call::default().policy();
    let response = client().send(get(server.url("/")), &call, timeouts).await;
    let mut body = response.unwrap().into_body();
    // There is always more when it is asked for.
    for _ in 0..30 {
        tokio::time::sleep(SHORT / 6).await;
        if let Err(error) = body.frame().await.unwrap() {
            assert_eq!(error.kind(), &GateErrorKind::Timeout(Phase::Total));
            return;
        }
    }
    panic!("it goes on");
}

#[tokio::test]
async fn an_endless_body_ends_with_the_budget() {
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let server = dripping(head, "0123456789abcdef0123456789abcdef", Duration::ZERO).await;
    let call = Call {
        limits: CallLimits {
            received: 100_000,
            ..CALL
        },
        ..Call::default()
    };
    let call = call.policy();
    let response = client()
        .send(get(server.url("/")), &call, TIMEOUTS)
        .await
        .unwrap();
    let mut body = response.into_body();
    let mut bytes = 0;
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(frame) => bytes += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(bytes <= 100_000);
    assert!(
        matches!(
            error.kind(),
            GateErrorKind::Budget {
                setting: "received",
                ..
            }
        ),
        "{error}"
    );
    // An error is the end.
    assert!(body.frame().await.is_none());
    assert_eq!(call.budget().used().2.min(200_000), call.budget().used().2);
}

#[tokio::test]
async fn a_flood_of_header_fields_is_refused() {
    let mut head = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_owned();
    for number in 0..1_000 {
        head.push_str(&format!("x-{number}: y\r\n"));
    }
    head.push_str("\r\n");
    let server = Server::bytes(head, false).await;
    assert_eq!(
        kind_of(&server, TIMEOUTS).await,
        GateErrorKind::HeadTooLarge
    );
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    for head in ["HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 200 ", ""] {
        let server = dripping(head, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", Duration::ZERO).await;
        let kind = kind_of(&server, TIMEOUTS).await;
        assert!(
            matches!(kind, GateErrorKind::HeadTooLarge | GateErrorKind::Protocol),
            "{head}: {kind:?}"
        );
    }
}

#[tokio::test]
async fn a_flood_of_header_fields_over_http_2_is_refused() {
    for (fields, bytes) in [(200, 1), (50, 2_000)] {
        let answer = move |_| async move {
            let mut response = Response::new(empty());
            for number in 0..fields {
                let name: HeaderName = format!("x-{number}").parse().unwrap();
                let value = HeaderValue::from_str(&"y".repeat(bytes)).unwrap();
                response.headers_mut().insert(name, value);
            }
            response
        };
        let (server, client) =
            crate::trust::server(&[b"h2"], move |stream| http2(stream, answer)).await;
        let url = format!("https://localhost:{}/", server.port());
        let error = answer_of(&client, &url).await.unwrap_err();
        assert!(
            matches!(
                error.kind(),
                GateErrorKind::HeadTooLarge | GateErrorKind::Protocol
            ),
            "{error}"
        );
    }
}

async fn answer_of(
    client: &portreeve_egress::Client,
    url: &str,
) -> Result<Response<bytes::Bytes>, portreeve_egress::GateError> {
    answer(client, get(url)).await
}

#[tokio::test]
async fn a_flood_of_trailers_is_refused() {
    let mut body =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n".to_owned();
    for number in 0..10_000 {
        body.push_str(&format!("x-{number}: y\r\n"));
    }
    body.push_str("\r\n");
    let server = Server::bytes(body, true).await;
    let kind = kind_of(&server, TIMEOUTS).await;
    assert!(
        matches!(
            kind,
            GateErrorKind::HeadTooLarge | GateErrorKind::Protocol | GateErrorKind::Incomplete
        ),
        "{kind:?}"
    );
}

#[tokio::test]
async fn interim_responses_without_end_are_refused() {
    let flood = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";
    let server = dripping("", flood, Duration::ZERO).await;
    assert_eq!(kind_of(&server, TIMEOUTS).await, GateErrorKind::Protocol);
}

#[tokio::test]
async fn a_response_that_ends_early_is_an_error() {
    for (answer, body) in [
        ("", false),
        ("HTTP/1.1", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive5", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfive5\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfi",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfive5\r\n0\r\n",
            true,
        ),
    ] {
        let server = Server::bytes(answer, true).await;
        let call = Call::default().policy();
        let response = client().send(get(server.url("/")), &call, TIMEOUTS).await;
        assert_eq!(response.is_ok(), body, "{answer:?}");
        let error = match response {
            Ok(response) => response.into_body().collect().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(
            error.kind(),
            &GateErrorKind::Incomplete,
            "{answer:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_cut_within_tls_is_an_error() {
    // Of no length that is told: its end is the end of the connection, which TLS has a word
    // for that nobody in between can say.
    for (says_goodbye, ends) in [(true, true), (false, false)] {
        let (server, client) = crate::trust::server(&[], move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await;
            let _ = stream.flush().await;
            if says_goodbye {
                let _ = stream.shutdown().await;
            }
        })
        .await;
        let url = format!("https://localhost:{}/", server.port());
        let result = answer(&client, get(url)).await;
        assert_eq!(result.is_ok(), ends, "{result:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
    ] {
        let server = Server::bytes(answer, true).await;
        let kind = kind_of(&server, TIMEOUTS).await;
        assert_eq!(kind, GateErrorKind::Protocol, "{answer:?}");
    }
}

#[tokio::test]
async fn a_change_of_protocol_is_refused() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let server = Server::bytes(answer, false).await;
    assert_eq!(kind_of(&server, TIMEOUTS).await, GateErrorKind::Protocol);
}

#[tokio::test]
async fn a_server_that_hangs_in_the_tls_handshake_is_left() {
    let server = Server::start(|stream, _| async move {
        tokio::time::sleep(LONG).await;
        drop(stream);
    })
    .await;
    let client = crate::trust::client_that_trusts_nobody();
    let timeouts = Timeouts {
        connect: SHORT,
        ..TIMEOUTS
    };
    let call = Call::default().policy();
    let url = format!("https://127.0.0.1:{}/", server.port());
    let error = gathered(&client, get(url), &call, timeouts)
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        &GateErrorKind::Timeout(Phase::Connect),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_that_listens_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = answer(&client(), get(format!("http://{address}/")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::Connect, "{error}");
    assert!(error.to_string().contains("does not answer"), "{error}");
}
