//! Servers that follow a script, and a client with short pauses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use portreeve_egress::{Answer, Gate, GateError, HostClient, HostLimits, HostRequest, Take};
use portreeve_manifest::settings::{NetworkSettings, Roots};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Pauses that nobody waits for; all the rest has time enough.
pub(crate) const LIMITS: HostLimits = HostLimits {
    total: Duration::from_secs(60),
    tries: 4,
    pause_first: Duration::from_millis(1),
    pause_longest: Duration::from_millis(5),
    redirects: 3,
};

pub(crate) fn client() -> HostClient {
    client_with(LIMITS)
}

pub(crate) fn client_with(limits: HostLimits) -> HostClient {
    HostClient::new(
        &Gate::new(&NetworkSettings::default(), None).unwrap(),
        limits,
    )
}

pub(crate) fn get(url: &str) -> HostRequest {
    HostRequest::get(url.parse().unwrap())
}

pub(crate) async fn fetch(server: &Server, max: u64) -> Result<Answer, GateError> {
    client()
        .send(&get(&server.url("/a")), &Take::at_most(max))
        .await
}

pub(crate) fn request(method: &str, url: &str) -> HostRequest {
    HostRequest::new(
        Method::from_bytes(method.as_bytes()).unwrap(),
        url.parse().unwrap(),
    )
}

/// A server, and what it was asked.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What a server does with the request of that number: the bytes of an answer. It closes
/// behind each.
type Script = dyn Fn(usize, &str) -> Vec<u8> + Send + Sync;

impl Server {
    /// One that gives these answers one after the other, and the last for ever.
    pub(crate) async fn says<const N: usize>(answers: [&str; N]) -> Server {
        let answers = answers.map(|answer| answer.as_bytes().to_vec());
        Server::start(None, move |number, _| answers[number.min(N - 1)].clone()).await
    }

    pub(crate) async fn start(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            asked: Arc::default(),
        };
        let (asked, script) = (
            server.asked.clone(),
            Arc::<Script>::from(Box::new(script) as Box<Script>),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, script, tls) = (asked.clone(), script.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => one(stream, &asked, &*script).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                one(stream, &asked, &*script).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    /// The heads of its requests, with their bodies behind them.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    asked: &Mutex<Vec<String>>,
    script: &Script,
) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    let number = {
        let mut asked = asked.lock().unwrap();
        asked.push(request.clone());
        asked.len() - 1
    };
    let answer = script(number, &request);
    let endless = answer.ends_with("…".as_bytes());
    let _ = stream
        .write_all(answer.strip_suffix("…".as_bytes()).unwrap_or(&answer))
        .await;
    // Chunks for ever, for as long as somebody takes them.
    let chunk = [b"8000\r\n".to_vec(), vec![b'x'; 0x8000], b"\r\n".to_vec()].concat();
    while endless && stream.write_all(&chunk).await.is_ok() {}
    let _ = stream.shutdown().await;
}

/// A request's head, in lower case but for its first line, and its body.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    let rest = rest.to_ascii_lowercase();
    let length = rest
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(format!(
        "{first}\r\n{rest}{}",
        String::from_utf8_lossy(&body)
    ))
}

/// Somebody who makes certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// What a server for these names needs.
    pub(crate) fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate)], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A client that trusts this one alone, with more settings.
    pub(crate) fn client(&self, settings: NetworkSettings) -> HostClient {
        let settings = NetworkSettings {
            roots: Roots::File("roots.pem".parse().unwrap()),
            ..settings
        };
        let gate = Gate::new(&settings, Some(self.0.pem().into_bytes())).unwrap();
        HostClient::new(&gate, LIMITS)
    }
}
