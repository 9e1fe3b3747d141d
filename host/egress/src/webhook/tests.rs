//! A webhook against servers of all kinds, on this machine.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A certificate for localhost that nobody trusts, and its key: for these tests only.
const CERTIFICATE: &[u8] = include_bytes!("localhost.pem");

/// Answers one connection with some bytes; what it was sent.
async fn server(answer: Vec<u8>) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &answer).await
    });
    (port, served)
}

async fn serve(mut stream: impl Io, answer: &[u8]) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4_096];
    while !request.ends_with(b"}") {
        let count = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..count]);
    }
    // The other side may have enough before the end.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
    String::from_utf8(request).unwrap()
}

fn webhook(url: &str) -> Webhook {
    Webhook::new(&Url::parse(url).unwrap()).unwrap()
}

async fn answered_with(answer: &[u8]) -> Result<(), EgressError> {
    let (port, _) = server(answer.to_vec()).await;
    let webhook = webhook(&format!("http://127.0.0.1:{port}/"));
    webhook.send(Bytes::from_static(b"{}")).await
}

#[tokio::test]
async fn a_request_says_what_it_is() {
    let (port, served) = server(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()).await;
    let webhook = webhook(&format!("http://localhost:{port}/a/b?token=x%20y"));
    webhook
        .send(Bytes::from_static(b"{\"a\":1}"))
        .await
        .unwrap();
    let request = served.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /a/b?token=x%20y HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        &*format!("host: localhost:{port}"),
        "content-type: application/json",
        "content-length: 7",
    ] {
        assert!(head.lines().any(|head| head == line), "{line}: {head}");
    }
    assert_eq!(body, "{\"a\":1}");
    // What lets one in is in no log.
    assert_eq!(format!("{webhook:?}"), "Webhook(localhost)");
}

#[tokio::test]
async fn answers() {
    let later = |result: Result<(), EgressError>| match result {
        Err(EgressError::Later(why)) => why,
        other => panic!("{other:?}"),
    };
    let never = |result: Result<(), EgressError>| match result {
        Err(EgressError::Never(why)) => why,
        other => panic!("{other:?}"),
    };
    for fine in ["200 OK", "202 Accepted", "204 No Content"] {
        let answer = format!("HTTP/1.1 {fine}\r\ncontent-length: 0\r\n\r\n");
        answered_with(answer.as_bytes()).await.unwrap();
    }
    for status in ["500 Oh", "503 Busy", "429 Slow", "408 Late"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        assert!(later(answered_with(answer.as_bytes()).await).contains(&status[..3]));
    }
    for status in ["400 What", "404 No", "410 Gone"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        assert!(never(answered_with(answer.as_bytes()).await).contains(&status[..3]));
    }
    for broken in ["", "HTTP/1.1", "nonsense\r\n\r\n"] {
        assert!(later(answered_with(broken.as_bytes()).await).contains("broke off"));
    }
    let redirect = "HTTP/1.1 307 Go\r\nlocation: http://169.254.169.254/\r\n\r\n";
    assert!(never(answered_with(redirect.as_bytes()).await).contains("not followed"));
}

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    let mut huge = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n".to_vec();
    huge.resize(8 << 20, b'x');
    answered_with(&huge).await.unwrap();
    let mut head = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    head.resize(8 << 20, b'x');
    let error = answered_with(&head).await.unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn one_that_hangs_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hang = tokio::spawn(async move {
        let connection = listener.accept().await.unwrap();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        drop(connection);
    });
    let webhook = webhook(&format!("http://127.0.0.1:{port}/"));
    // The clock runs ahead once there is nothing to do but to wait.
    tokio::time::pause();
    let error = webhook.send(Bytes::from_static(b"{}")).await.unwrap_err();
    assert!(matches!(error, EgressError::Later(_)), "{error}");
    assert!(error.to_string().contains("longer than"), "{error}");
    hang.abort();
}

#[tokio::test]
async fn only_https_goes_elsewhere() {
    for url in [
        "http://example.com/",
        "ftp://localhost/",
        "http://10.0.0.1/",
    ] {
        let error = Webhook::new(&Url::parse(url).unwrap()).unwrap_err();
        assert!(matches!(error, EgressError::Setup(_)), "{url}");
    }
    for url in [
        "https://169.254.169.254/",
        "https://[fe80::1]/",
        "https://0.0.0.0/",
    ] {
        let error = webhook(url).send(Bytes::from_static(b"{}")).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("not spoken to"), "{error}");
    }
}

async fn tls_server() -> u16 {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(CERTIFICATE).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(stream) = acceptor.accept(stream).await {
            serve(stream, b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    port
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_of_the_host() {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = trusting(roots).unwrap();
    for (host, trusts, taken) in [
        ("localhost", true, true),
        ("localhost", false, false),
        // The certificate is of another name.
        ("127.0.0.1", true, false),
    ] {
        let port = tls_server().await;
        let mut webhook = webhook(&format!("https://{host}:{port}/"));
        if trusts {
            webhook.tls = Some(trusting.clone());
        }
        let result = webhook.send(Bytes::from_static(b"{}")).await;
        assert_eq!(result.is_ok(), taken, "{host} {trusts}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("no safe connection"), "{error}");
        }
    }
}
