//! TLS: whom the gate trusts, and whom servers trust.

use std::sync::Arc;

use http::Response;
use portreeve_egress::{Client, Gate, GateErrorKind};
use portreeve_manifest::settings::{NetworkSettings, Roots};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::*;

/// Somebody who makes certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a name with its key, in PEM.
    pub(crate) fn certify(&self, name: &str) -> String {
        self.certify_as(CertificateParams::new([name.to_owned()]).unwrap())
    }

    fn certify_as(&self, params: CertificateParams) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        format!("{}{}", certificate.pem(), key.serialize_pem())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A client that trusts this one alone.
    pub(crate) fn client(&self) -> Client {
        client_with(Roots::File("roots.pem".parse().unwrap()), self.pem())
    }
}

fn client_with(roots: Roots, pem: String) -> Client {
    let settings = NetworkSettings {
        roots,
        ..NetworkSettings::default()
    };
    Gate::new(&settings, Some(pem.into_bytes()))
        .unwrap()
        .client()
}

pub(crate) fn client_that_trusts_nobody() -> Client {
    Authority::new().client()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS with a certificate; clients must show one of `clients`, if there is such.
fn acceptor(pem: &str, protocols: &[&[u8]], clients: Option<RootCertStore>) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            // Those who show none are served, and told so.
            config.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        }
    };
    let mut config = config.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn start<F>(
    acceptor: TlsAcceptor,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    // Its state is shared by threads, each connection has a copy.
    let serve = std::sync::Mutex::new(serve);
    Server::start(move |stream, _| {
        let acceptor = acceptor.clone();
        let serving = {
            let serve = serve.lock().unwrap().clone();
            move |stream| serve(stream)
        };
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serving(stream).await;
            }
        }
    })
    .await
}

/// A server for localhost, and a client that trusts it.
pub(crate) async fn server<F>(
    protocols: &[&[u8]],
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> (Server, Client)
where
    F: Future<Output = ()> + Send + 'static,
{
    let authority = Authority::new();
    let server = server_of(&authority, protocols, serve).await;
    (server, authority.client())
}

/// A server for localhost that somebody vouches for.
pub(crate) async fn server_of<F>(
    authority: &Authority,
    protocols: &[&[u8]],
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    start(
        acceptor(&authority.certify("localhost"), protocols, None),
        serve,
    )
    .await
}

async fn fine(_: http::Request<hyper::body::Incoming>) -> Response<portreeve_egress::Body> {
    Response::new(full("ok"))
}

#[tokio::test]
async fn a_server_must_be_named_by_somebody_trusted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut old = CertificateParams::new(["localhost".to_owned()]).unwrap();
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    for (certificate, client, host, trusted) in [
        (ours.certify("localhost"), ours.client(), "localhost", true),
        (ours.certify("127.0.0.1"), ours.client(), "127.0.0.1", true),
        // A root that is private, but not the one that is configured.
        (
            theirs.certify("localhost"),
            ours.client(),
            "localhost",
            false,
        ),
        // Of another name, or for an address.
        (
            ours.certify("elsewhere.test"),
            ours.client(),
            "localhost",
            false,
        ),
        (ours.certify("localhost"), ours.client(), "127.0.0.1", false),
        (ours.certify_as(old), ours.client(), "localhost", false),
    ] {
        let acceptor = acceptor(&certificate, &[], None);
        let server = start(acceptor, |stream| http1(stream, fine)).await;
        let url = format!("https://{host}:{}/", server.port());
        let result = answer(&client, get(url)).await;
        assert_eq!(result.is_ok(), trusted, "{host}: {result:?}");
        if let Err(error) = result {
            assert_eq!(error.kind(), &GateErrorKind::Tls);
            assert!(error.to_string().contains(host), "{error}");
        }
    }
}

#[tokio::test]
async fn a_private_root_may_stand_beside_those_of_the_system() {
    let authority = Authority::new();
    let both = || client_with(Roots::Both("roots.pem".parse().unwrap()), authority.pem());
    for (certificate, trusted) in [
        (authority.certify("localhost"), true),
        (Authority::new().certify("localhost"), false),
    ] {
        let acceptor = acceptor(&certificate, &[], None);
        let server = start(acceptor, |stream| http1(stream, fine)).await;
        let url = format!("https://localhost:{}/", server.port());
        let result = answer(&both(), get(url)).await;
        assert_eq!(result.is_ok(), trusted, "{result:?}");
    }
}

#[test]
fn roots_that_are_none_are_refused() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "nonsense", broken] {
        let settings = NetworkSettings {
            roots: Roots::File("roots.pem".parse().unwrap()),
            ..NetworkSettings::default()
        };
        let error = Gate::new(&settings, Some(pem.into())).unwrap_err();
        assert_eq!(error.kind(), &GateErrorKind::Setup);
        assert!(Gate::new(&settings, None).is_err());
    }
}

#[tokio::test]
async fn plain_text_is_no_tls() {
    let server = Server::start(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let url = format!("https://127.0.0.1:{}/", server.port());
    let error = answer(&client_that_trusts_nobody(), get(url))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &GateErrorKind::Tls, "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_for_its_own_requests_only() {
    let authority = Authority::new();
    let certificate = authority.certify("localhost");
    for protocols in [&[][..], &[&b"h2"[..]]] {
        let h2 = !protocols.is_empty();
        let acceptor = acceptor(&certificate, protocols, Some(authority.roots()));
        let server = start(acceptor, move |stream| async move {
            let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
            let words = move |_| async move { Response::new(full(format!("{shown} shown"))) };
            if h2 {
                http2(stream, words).await;
            } else {
                http1(stream, words).await;
            }
        })
        .await;
        let url = format!("https://localhost:{}/", server.port());
        let client = authority.client();
        let credential = |pem: String| {
            let (chain, key) = pem.split_at(pem.find("-----BEGIN PRIVATE").unwrap());
            Some(secret(
                "certificate",
                &[("certificate", chain), ("key", key)],
            ))
        };
        let (one, other) = (
            credential(authority.certify("one")),
            credential(authority.certify("other")),
        );
        for (credential, words, connections) in [
            (&one, "1 shown", 1),
            (&one, "1 shown", 1),
            // Nobody else's connection is used, and none is used for somebody else.
            (&None, "0 shown", 2),
            (&other, "1 shown", 3),
            (&None, "0 shown", 3),
            (&one, "1 shown", 3),
        ] {
            let call = Call {
                credential: credential.clone(),
                ..Call::default()
            };
            let answer = gathered(&client, get(&url), &call.policy(), TIMEOUTS)
                .await
                .unwrap();
            assert_eq!(answer.into_body(), words);
            assert_eq!(server.connections(), connections);
        }
    }
}
