//! Proxies: the operator's, and those that the environment speaks of.

use http::Response;
use portreeve_egress::{Client, Gate, GateErrorKind};
use portreeve_manifest::settings::{NetworkSettings, Roots};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::*;
use crate::trust::Authority;

/// A proxy that says what it was asked for.
async fn proxy() -> (Server, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            let Some(head) = read_head(&mut stream).await else {
                return;
            };
            let to = head.split(' ').nth(1).unwrap().to_owned();
            let _ = sender.send(head);
            let Ok(mut other) = TcpStream::connect(to).await else {
                let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
                return;
            };
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
        }
    })
    .await;
    (server, receiver)
}

fn through(proxy: &str, dns: Option<&Dns>, roots: Option<&Authority>) -> Client {
    let settings = NetworkSettings {
        proxy: Some(proxy.parse().unwrap()),
        dns: dns.iter().map(|dns| dns.address).collect(),
        roots: roots.map_or(Roots::System, |_| Roots::File("roots.pem".parse().unwrap())),
        ..NetworkSettings::default()
    };
    let pem = roots.map(|roots| roots.pem().into_bytes());
    Gate::new(&settings, pem).unwrap().client()
}

#[tokio::test]
async fn a_proxy_is_told_the_address_that_was_checked() {
    let (proxy, mut heads) = proxy().await;
    let server = Server::bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false).await;
    let dns = Dns::start([("api.test", vec![vec!["127.0.0.1"]])]).await;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let client = through(&url, Some(&dns), None);
    for _ in 0..2 {
        let url = format!("http://api.test:{}/", server.port());
        assert_eq!(answer(&client, get(url)).await.unwrap().into_body(), "ok");
    }
    let head = heads.recv().await.unwrap();
    let to = server.address;
    assert!(
        head.starts_with(&format!("CONNECT {to} HTTP/1.1\r\n")),
        "{head}"
    );
    assert_eq!((proxy.connections(), server.connections()), (1, 1));
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_what_is_refused() {
    let (proxy, _heads) = proxy().await;
    let dns = Dns::start([("inner.test", vec![vec!["10.0.0.1"]])]).await;
    let client = through(
        &format!("http://127.0.0.1:{}", proxy.port()),
        Some(&dns),
        None,
    );
    for url in [
        "http://inner.test/",
        "http://169.254.169.254/",
        "https://inner.test/",
    ] {
        let error = answer(&client, get(url)).await.unwrap_err();
        assert!(
            matches!(error.kind(), GateErrorKind::AddressRefused { .. }),
            "{error}"
        );
    }
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn tls_goes_through_a_proxy_untouched() {
    let (proxy, mut heads) = proxy().await;
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = crate::trust::server_of(&ours, &[b"h2"], |stream| {
        http2(stream, |_| async { Response::new(full("ok")) })
    })
    .await;
    let url = format!("https://localhost:{}/", server.port());
    let at = format!("http://127.0.0.1:{}", proxy.port());
    let fine = answer(&through(&at, None, Some(&ours)), get(&url))
        .await
        .unwrap();
    assert_eq!(fine.version(), http::Version::HTTP_2);
    assert!(heads.recv().await.unwrap().starts_with("CONNECT "));
    // Of somebody else: it is refused through the proxy as it would be without.
    let error = answer(&through(&at, None, Some(&theirs)), get(&url))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::Tls, "{error}");
}

#[tokio::test]
async fn a_proxy_that_does_not_connect_is_an_error() {
    for reply in [
        "HTTP/1.1 407 Who Are You\r\ncontent-length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
        "",
    ] {
        let proxy = Server::bytes(reply, true).await;
        let client = through(&format!("http://127.0.0.1:{}", proxy.port()), None, None);
        let error = answer(&client, get("http://127.0.0.1:9/"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::Connect, "{error}");
        assert!(error.to_string().contains("proxy"), "{error}");
    }
}

#[test]
fn what_is_no_proxy_is_refused() {
    for url in [
        "https://proxy.test/",
        "socks5://proxy.test/",
        "http://proxy.test/path",
        "http://user@proxy.test/",
        "http://proxy.test/?q",
    ] {
        let settings = NetworkSettings {
            proxy: Some(url.parse().unwrap()),
            ..NetworkSettings::default()
        };
        let error = Gate::new(&settings, None).unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::Setup, "{url}");
    }
}

/// Where the test below is started once more, and what it is to reach.
const TARGET: &str = "PORTREEVE_TEST_TARGET";

#[tokio::test]
async fn proxies_of_the_environment_are_ignored() {
    if let Ok(target) = std::env::var(TARGET) {
        assert_eq!(
            answer(&client(), get(target)).await.unwrap().into_body(),
            "ok"
        );
        return;
    }
    let (proxy, _heads) = proxy().await;
    let server = Server::bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true).await;
    let this = std::env::current_exe().unwrap();
    let mut again = tokio::process::Command::new(this);
    again.args(["--exact", "proxies::proxies_of_the_environment_are_ignored"]);
    again.env(TARGET, server.url("/"));
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        again.env(variable, proxy.url("/"));
        again.env(variable.to_ascii_lowercase(), proxy.url("/"));
    }
    let output = again
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!((proxy.connections(), server.connections()), (0, 1));
}
