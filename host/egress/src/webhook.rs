//! POST requests to an address of the operator's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portreeve_manifest::settings::is_loopback;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::{EgressError, address};

/// Time to find the host and to connect to it, TLS included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Time for all of a request, with its answer.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Bytes of an answer's body that are read, only to be polite: nothing of it is used.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A webhook: JSON goes to it in POST requests, a connection for each. Redirects are not
/// followed: where else it went would be somebody else's choice.
#[derive(Clone)]
pub struct Webhook {
    url: Url,
    host: url::Host<String>,
    port: u16,
    /// None where it is spoken to without.
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The path and the query are often what lets one in.
        write!(f, "Webhook({})", self.host)
    }
}

impl Webhook {
    /// A webhook at an address: https, or http on this machine. Certificates are held
    /// against the roots of the system.
    ///
    /// # Errors
    /// When the address is none of them, or the system has no roots.
    pub fn new(url: &Url) -> Result<Webhook, EgressError> {
        let unusable = || EgressError::Setup("a webhook is an https:// address".to_owned());
        let host = url.host().ok_or_else(unusable)?;
        let local = is_loopback(&host);
        let tls = match url.scheme() {
            "https" => Some(connector(system_roots()?)?),
            "http" if local => None,
            _ => return Err(unusable()),
        };
        Ok(Webhook {
            host: host.to_owned(),
            port: url.port_or_known_default().ok_or_else(unusable)?,
            url: url.clone(),
            tls,
        })
    }

    /// Sends a body of JSON, once.
    ///
    /// # Errors
    /// When the host can't be reached, may not be spoken to, or doesn't say that it took it.
    pub async fn send(&self, body: Bytes) -> Result<(), EgressError> {
        let late = |_| {
            let secs = TIME_MAX.as_secs();
            EgressError::Later(format!("{} took longer than {secs} s", self.host))
        };
        tokio::time::timeout(TIME_MAX, self.exchange(body))
            .await
            .map_err(late)?
    }

    async fn exchange(&self, body: Bytes) -> Result<(), EgressError> {
        let late = |_| {
            let secs = CONNECT_TIME_MAX.as_secs();
            EgressError::Later(format!("{} did not answer within {secs} s", self.host))
        };
        let status = match &self.tls {
            None => {
                let stream = tokio::time::timeout(CONNECT_TIME_MAX, self.connect());
                self.post(stream.await.map_err(late)??, body).await?
            }
            Some(tls) => {
                let stream = tokio::time::timeout(CONNECT_TIME_MAX, self.connect_tls(tls));
                self.post(stream.await.map_err(late)??, body).await?
            }
        };
        let answer = format!("{} answered {status}", self.host);
        if status.is_success() {
            Ok(())
        } else if status.is_redirection() {
            Err(EgressError::Never(format!(
                "{answer}, but redirects are not followed; write the address that it leads to"
            )))
        } else if status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
        {
            Err(EgressError::Later(answer))
        } else {
            Err(EgressError::Never(answer))
        }
    }

    /// The first of its addresses that takes a connection.
    async fn connect(&self) -> Result<TcpStream, EgressError> {
        let local = is_loopback(&as_ref(&self.host));
        let addresses = address::resolve(&self.host, self.port, local).await?;
        let mut why = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => why = Some(error),
            }
        }
        let why = why.map_or_else(String::new, |why| why.to_string());
        Err(EgressError::Later(format!(
            "{} can't be reached: {why}",
            self.host
        )))
    }

    async fn connect_tls(
        &self,
        tls: &TlsConnector,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, EgressError> {
        let name = match &self.host {
            url::Host::Domain(name) => ServerName::try_from(name.clone()).ok(),
            url::Host::Ipv4(address) => Some(ServerName::IpAddress((*address).into())),
            url::Host::Ipv6(address) => Some(ServerName::IpAddress((*address).into())),
        };
        let name = name.ok_or_else(|| {
            EgressError::Never(format!("{} is no name that a certificate has", self.host))
        })?;
        let stream = self.connect().await?;
        tls.connect(name, stream)
            .await
            .map_err(|error| EgressError::Later(format!("{} is not trusted: {error}", self.host)))
    }

    /// One request; what it was answered with.
    async fn post<S>(&self, stream: S, body: Bytes) -> Result<StatusCode, EgressError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let failed =
            |error: hyper::Error| EgressError::Later(format!("{} broke off: {error}", self.host));
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let request = self.request(body)?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(failed)?;
            let status = answer.status();
            // How it ends is of no interest: the status says all.
            let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            Ok(status)
        };
        let mut exchange = std::pin::pin!(exchange);
        // On this task: with the request its connection ends.
        tokio::select! {
            status = &mut exchange => status,
            ended = connection => {
                // The answer may be there already.
                ended.map_err(failed)?;
                exchange.await
            }
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, EgressError> {
        let host = match self.url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        };
        let target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        Request::post(target)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("portreeve/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| EgressError::Never(format!("this is no request: {error}")))
    }
}

fn as_ref(host: &url::Host<String>) -> url::Host<&str> {
    match host {
        url::Host::Domain(name) => url::Host::Domain(name.as_str()),
        url::Host::Ipv4(address) => url::Host::Ipv4(*address),
        url::Host::Ipv6(address) => url::Host::Ipv6(*address),
    }
}

/// What the system trusts.
fn system_roots() -> Result<rustls::RootCertStore, EgressError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    // Some are of an age or a form that nobody takes.
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why = found.errors.first().map_or_else(
            || "there are none; install the package ca-certificates".to_owned(),
            ToString::to_string,
        );
        return Err(EgressError::Setup(format!(
            "the certificates that this system trusts can't be read: {why}"
        )));
    }
    Ok(roots)
}

fn connector(roots: rustls::RootCertStore) -> Result<TlsConnector, EgressError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EgressError::Setup(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
