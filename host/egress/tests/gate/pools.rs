//! Connections that are kept, and for whom.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use http::Response;
use http_body_util::BodyExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn two_requests_share_a_connection() {
    let server = Server::bytes(FINE, false).await;
    let client = client();
    for _ in 0..10 {
        assert_eq!(
            answer(&client, get(server.url("/")))
                .await
                .unwrap()
                .into_body(),
            "ok"
        );
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn plugins_share_no_connection() {
    let server = Server::bytes(FINE, false).await;
    let gate = portreeve_egress::Gate::new(&Default::default(), None).unwrap();
    let (one, other) = (gate.client(), gate.client());
    for client in [&one, &other, &one] {
        answer(client, get(server.url("/"))).await.unwrap();
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn requests_at_a_time_share_an_http_2_connection() {
    static AT_A_TIME: AtomicUsize = AtomicUsize::new(0);
    let service = |_| async {
        AT_A_TIME.fetch_add(1, Ordering::SeqCst);
        while AT_A_TIME.load(Ordering::SeqCst) < 11 {
            tokio::task::yield_now().await;
        }
        Response::new(full("ok"))
    };
    let (server, client) =
        crate::trust::server(&[b"h2"], move |stream| http2(stream, service)).await;
    let url = format!("https://localhost:{}/", server.port());
    AT_A_TIME.store(10, Ordering::SeqCst);
    answer(&client, get(&url)).await.unwrap();
    AT_A_TIME.store(1, Ordering::SeqCst);
    let all = join_all((0..10).map(|_| answer(&client, get(&url)))).await;
    assert!(all.into_iter().all(|one| one.is_ok()));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced() {
    // It closes each after one response, without a word about that.
    let server = Server::bytes(FINE, true).await;
    let client = client();
    for number in 1..=5 {
        answer(&client, get(server.url("/"))).await.unwrap();
        assert_eq!(server.connections(), number);
    }
}

#[tokio::test]
async fn a_response_that_nobody_has_asked_for_reaches_nobody() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let server = Server::start(move |mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            if stream
                .write_all(format!("{FINE}{evil}").as_bytes())
                .await
                .is_err()
            {
                break;
            }
        }
    })
    .await;
    let client = client();
    for _ in 0..5 {
        assert_eq!(
            answer(&client, get(server.url("/")))
                .await
                .unwrap()
                .into_body(),
            "ok"
        );
    }
}

#[tokio::test]
async fn a_response_that_was_not_read_to_its_end_leaves_no_connection() {
    let server = Server::bytes("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfi", false).await;
    let client = client();
    let call = Call::default().policy();
    for number in 1..=3 {
        let response = client
            .send(get(server.url("/")), &call, TIMEOUTS)
            .await
            .unwrap();
        let mut body = response.into_body();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "fi"
        );
        drop(body);
        assert_eq!(server.connections(), number);
    }
}

#[tokio::test]
async fn what_is_kept_has_a_bound() {
    // The guest chooses the origins, and how many there are.
    let (open, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let counts: &'static _ = Box::leak(Box::new((open, closed)));
    let client = client();
    for _ in 0..40 {
        let server = Server::start(move |mut stream, _| async move {
            counts.0.fetch_add(1, Ordering::SeqCst);
            while read_head(&mut stream).await.is_some() {
                let _ = stream.write_all(FINE.as_bytes()).await;
            }
            counts.1.fetch_add(1, Ordering::SeqCst);
        })
        .await;
        answer(&client, get(server.url("/"))).await.unwrap();
    }
    let kept = || counts.0.load(Ordering::SeqCst) - counts.1.load(Ordering::SeqCst);
    // Long before any of them is closed for its age.
    let at_most = async |count| {
        let closed = async {
            while kept() > count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let soon = tokio::time::timeout(Duration::from_secs(10), closed);
        soon.await.expect("too many are kept");
    };
    at_most(16).await;
    // And it ends with the client.
    drop(client);
    at_most(0).await;
}

#[tokio::test]
async fn what_is_not_used_is_closed_after_a_while() {
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                let _ = stream.write_all(FINE.as_bytes()).await;
            }
            let _ = closed.send(());
        }
    })
    .await;
    let client = client();
    answer(&client, get(server.url("/"))).await.unwrap();
    // The clock runs ahead once there is nothing to do but to wait.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    is_closed.recv().await.unwrap();
    let kept = began.elapsed();
    assert!(
        (Duration::from_secs(20)..Duration::from_secs(40)).contains(&kept),
        "{kept:?}"
    );
    drop(client);
}

#[tokio::test]
async fn an_upload_that_nobody_waits_for_ends_with_the_response() {
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(FINE.as_bytes()).await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            let _ = closed.send(());
        }
    })
    .await;
    let client = client();
    let plugin = Call::default().plugin;
    // Of a body that never ends, whether the response is read or not.
    for read in [true, false] {
        let (_sender, body) = channel();
        let call = Call {
            plugin: plugin.clone(),
            ..Call::default()
        };
        let response = client
            .send(post(server.url("/"), body), &call.policy(), TIMEOUTS)
            .await;
        if read {
            response.unwrap().into_body().collect().await.unwrap();
        } else {
            drop(response);
        }
        let ended = async {
            is_closed.recv().await.unwrap();
            while plugin.connections() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let soon = tokio::time::timeout(Duration::from_secs(10), ended);
        soon.await.expect("it goes on");
    }
}
