//! Placeholders of secrets: where they are filled, and where not.

use std::collections::HashMap;

use bytes::Bytes;
use http::header::HeaderValue;
use portreeve_egress::GateErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::*;

const TOKEN: &str = "portreevesecret0123456789abcdef0123456789abcdef";
const SECRET: &str = "s3cret/with&signs=é";

fn knowing(secret: &str) -> Call {
    Call {
        placeholders: HashMap::from([(TOKEN.to_owned(), secret.to_owned())]),
        ..Call::default()
    }
}

#[tokio::test]
async fn placeholders_are_filled_in_headers_and_in_the_query() {
    let (server, mut heads) = recorder().await;
    let url = server.url(&format!("/a?x={TOKEN}&y=1"));
    let mut request = get(url);
    let value = HeaderValue::from_str(&format!("token {TOKEN}, again {TOKEN}")).unwrap();
    request.headers_mut().insert("x-key", value);
    let call = knowing("s3cret/with&signs=").policy();
    gathered(&client(), request, &call, TIMEOUTS).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(
        head.starts_with("GET /a?x=s3cret%2Fwith%26signs%3D&y=1 HTTP/1.1"),
        "{head}"
    );
    assert!(
        head.contains("token s3cret/with&signs=, again s3cret/with&signs=\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn placeholders_are_filled_nowhere_else() {
    let server = Server::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        let mut body = vec![0; TOKEN.len()];
        stream.read_exact(&mut body).await.unwrap();
        let all = [head.as_bytes(), &body].concat();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", all.len());
        stream
            .write_all(&[answer.as_bytes(), &all].concat())
            .await
            .unwrap();
    })
    .await;
    let mut request = post(server.url(&format!("/{TOKEN}")), full(TOKEN));
    let name: http::HeaderName = TOKEN.parse().unwrap();
    request
        .headers_mut()
        .insert(name, HeaderValue::from_static("x"));
    let call = knowing(SECRET).policy();
    let answer = gathered(&client(), request, &call, TIMEOUTS).await.unwrap();
    let all = String::from_utf8(answer.into_body().into()).unwrap();
    assert_eq!(all.matches(TOKEN).count(), 3, "{all}");
    assert!(!all.contains("s3cret"), "{all}");
}

#[tokio::test]
async fn what_is_no_placeholder_of_the_call_stays() {
    let (server, mut heads) = recorder().await;
    let unknown = TOKEN.replace("01", "10");
    for text in [
        &*unknown,
        "portreevesecret",
        "portreevesecretportreevesecret0123",
        &TOKEN[..46],
    ] {
        let mut request = get(server.url("/"));
        request
            .headers_mut()
            .insert("x-key", HeaderValue::from_str(text).unwrap());
        let call = knowing(SECRET).policy();
        gathered(&client(), request, &call, TIMEOUTS).await.unwrap();
        let head = heads.recv().await.unwrap();
        assert!(head.contains(&format!("x-key: {text}\r\n")), "{head}");
    }
    // A broken one just before a whole one does not hide it.
    let mut request = get(server.url("/"));
    let value = HeaderValue::from_str(&format!("portreevesecret{TOKEN}")).unwrap();
    request.headers_mut().insert("x-key", value);
    let call = knowing("s3cret").policy();
    gathered(&client(), request, &call, TIMEOUTS).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(head.contains("x-key: portreevesecrets3cret\r\n"), "{head}");
}

#[tokio::test]
async fn a_secret_that_no_header_can_hold_is_not_shown_in_the_error() {
    let (server, _heads) = recorder().await;
    let mut request = get(server.url("/"));
    request
        .headers_mut()
        .insert("x-key", HeaderValue::from_str(TOKEN).unwrap());
    let call = knowing("s3cret\r\nhost: evil").policy();
    let error = gathered(&client(), request, &call, TIMEOUTS)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::InvalidRequest);
    assert!(
        !format!("{error} {error:?}").contains("s3cret"),
        "{error:?}"
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_flood_of_placeholders_is_refused() {
    let (server, _heads) = recorder().await;
    let request = get(server.url(&format!("/?{}", TOKEN.repeat(17))));
    let call = knowing(SECRET).policy();
    let error = gathered(&client(), request, &call, TIMEOUTS)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::InvalidRequest, "{error}");
}

#[tokio::test]
async fn a_secret_counts_as_what_it_is_when_sent() {
    let (server, _heads) = recorder().await;
    let long: &'static str = Box::leak("x".repeat(5_000).into_boxed_str());
    let mut request = get(server.url("/"));
    request
        .headers_mut()
        .insert("x-key", HeaderValue::from_str(TOKEN).unwrap());
    let call = knowing(long).policy();
    let _: Bytes = gathered(&client(), request, &call, TIMEOUTS)
        .await
        .unwrap()
        .into_body();
    assert!(call.budget().used().1 > 5_000);
}
