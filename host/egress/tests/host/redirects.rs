//! Where a server may send the host on to.

use http::header::{AUTHORIZATION, HeaderValue};
use portreeve_egress::{Answer, GateError, GateErrorKind, HostRequest, Take};
use portreeve_manifest::settings::NetworkSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn to(status: u16, location: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
        .into_bytes()
}

fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

async fn ask(request: HostRequest) -> Result<Answer, GateError> {
    let secret = HeaderValue::from_static("Basic c2VjcmV0");
    let request = request.header(AUTHORIZATION, secret);
    client().send(&request, &Take::at_most(10)).await
}

#[tokio::test]
async fn redirects_are_followed_and_end() {
    let server = Server::start(None, |_, request| match path(request) {
        "/301" => to(301, "/302"),
        "/302" => to(302, "303?x=1#y"),
        "/303?x=1" => to(307, "/308"),
        "/one" => to(308, "/two"),
        "/two" => to(302, "/one"),
        "/self" => to(302, "#a"),
        "/1" => to(302, "/2"),
        "/2" => to(302, "/3"),
        "/3" => to(302, "/4"),
        "/4" => to(302, "/5"),
        "/empty" => to(302, "http://"),
        "/other" => to(302, "ftp://127.0.0.1/x"),
        "/user" => to(302, "http://user:password@127.0.0.1/"),
        _ => FINE.into(),
    })
    .await;
    let answer = ask(get(&server.url("/301"))).await.unwrap();
    assert_eq!(answer.url.path(), "/308");
    assert_eq!(answer.body, b"ok");
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| asked.contains("\r\nauthorization: "))
    );
    for (path, words) in [
        ("/one", "in a circle"),
        ("/self", "in a circle"),
        ("/1", "more than 3 times"),
        ("/empty", "an address that is none"),
        ("/other", "https or http"),
        ("/user", "a user name or a password"),
    ] {
        let error = ask(get(&server.url(path))).await.unwrap_err();
        assert!(error.to_string().contains(words), "{path}: {error}");
    }
    for (method, status) in [("PUT", 307), ("POST", 302), ("PATCH", 308), ("DELETE", 301)] {
        let server = Server::start(None, move |_, _| to(status, "/x")).await;
        let error = ask(request(method, &server.url("/"))).await.unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::Redirect, "{error}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let other = Server::says([FINE]).await;
    let url = other.url("/b");
    let first = Server::start(None, move |_, _| to(302, &url)).await;
    assert_eq!(ask(get(&first.url("/a"))).await.unwrap().body, b"ok");
    assert!(first.asked()[0].contains("\r\nauthorization: basic"));
    assert!(
        !other.asked()[0].contains("authorization"),
        "{:?}",
        other.asked()
    );

    // Back where it came from they are not there again.
    let back = first.url("/back");
    let between = Server::start(None, move |_, _| to(302, &back)).await;
    let there = between.url("/");
    let first = Server::start(None, move |_, request| match path(request) {
        "/a" => to(302, &there),
        _ => FINE.into(),
    })
    .await;
    assert_eq!(ask(get(&first.url("/a"))).await.unwrap().body, b"ok");
    assert!(!between.asked()[0].contains("authorization"));
}

#[tokio::test]
async fn from_https_nothing_leads_to_http() {
    let authority = Authority::new();
    let open = Server::says([FINE]).await;
    let url = open.url("/");
    let tls = authority.acceptor(&["localhost"]);
    let server = Server::start(Some(tls), move |_, request| match path(request) {
        "/down" => to(302, &url),
        _ => FINE.into(),
    })
    .await;
    let client = authority.client(NetworkSettings::default());
    let send = async |path| {
        client
            .send(&get(&server.url(path)), &Take::at_most(10))
            .await
    };
    assert_eq!(send("/").await.unwrap().body, b"ok");
    let error = send("/down").await.unwrap_err();
    assert!(error.to_string().contains("from https to http"), "{error}");
    assert!(open.asked().is_empty());
    // Who is not trusted isn't spoken to, once.
    let error = ask(get(&server.url("/"))).await.unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::Tls, "{error}");
}

#[tokio::test]
async fn http_is_for_this_machine() {
    for url in [
        "http://example.com/",
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
    ] {
        let error = ask(get(url)).await.unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::Redirect, "{error}");
    }
}

/// Behind a proxy this machine is the internet: what a public server may lead to.
#[tokio::test]
async fn a_public_server_leads_to_public_ones_only() {
    let authority = Authority::new();
    let names = ["203.0.114.7", "10.0.0.7", "10.0.0.8"];
    let tls = authority.acceptor(&names);
    let server = Server::start(Some(tls), |_, request| match path(request) {
        "/private" => to(302, "https://10.0.0.8/x"),
        "/public" => to(302, "https://203.0.114.7/x"),
        "/metadata" => to(302, "https://169.254.169.254/latest"),
        "/here" => to(302, "https://localhost/x"),
        "/mapped" => to(302, "https://[::ffff:10.0.0.8]/x"),
        _ => FINE.into(),
    })
    .await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let there = server.address;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = proxy.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await.unwrap());
                }
                let mut far = TcpStream::connect(there).await.unwrap();
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let client = authority.client(NetworkSettings {
        proxy: Some(url.parse().unwrap()),
        ..NetworkSettings::default()
    });
    for (url, refused) in [
        ("https://203.0.114.7/", None),
        ("https://10.0.0.7/", None),
        (
            "https://203.0.114.7/private",
            Some("none that it may lead to"),
        ),
        (
            "https://203.0.114.7/mapped",
            Some("none that it may lead to"),
        ),
        (
            "https://203.0.114.7/metadata",
            Some("none that it may lead to"),
        ),
        ("https://203.0.114.7/here", Some("this machine")),
        // The operator's own network is one.
        ("https://10.0.0.7/private", None),
        ("https://10.0.0.7/public", None),
        (
            "https://10.0.0.7/metadata",
            Some("none that it may lead to"),
        ),
        ("https://10.0.0.7/here", Some("this machine")),
        ("https://169.254.169.254/", Some("their own credentials")),
    ] {
        let result = client.send(&get(url), &Take::at_most(10)).await;
        match refused {
            None => assert_eq!(result.unwrap().body, b"ok", "{url}"),
            Some(words) => {
                let error = result.unwrap_err();
                assert!(error.to_string().contains(words), "{url}: {error}");
            }
        }
    }
}
