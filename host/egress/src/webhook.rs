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
use rustls::ClientConfig;
use url::Url;

use crate::connect::{Connector, Io, Reach, as_ref, secure};
use crate::error::GateError;
use crate::resolve::Resolver;
use crate::{EgressError, tls};

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
///
/// Its address is the operator's own, so that one in a private network is fine. What a name
/// leads to may be somebody else's: that is looked at when it is used.
#[derive(Clone)]
pub struct Webhook {
    url: Url,
    host: url::Host<String>,
    port: u16,
    connector: Arc<Connector>,
    /// None where it is spoken to without.
    tls: Option<Arc<ClientConfig>>,
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
            "https" => Some(trusting(tls::system_roots().map_err(setup)?)?),
            "http" if local => None,
            _ => return Err(unusable()),
        };
        Ok(Webhook {
            connector: Arc::new(Connector::new(Resolver::new(&[]), None).map_err(setup)?),
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
        self.send_with("application/json", &[], body).await
    }

    /// Sends a body of another type, with headers of its own.
    ///
    /// # Errors
    /// Those of [`Webhook::send`].
    pub async fn send_with(
        &self,
        content_type: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<(), EgressError> {
        let request = self.request(content_type, headers, body)?;
        let late = |_| {
            let secs = TIME_MAX.as_secs();
            EgressError::Later(format!("{} took longer than {secs} s", self.host))
        };
        tokio::time::timeout(TIME_MAX, self.exchange(request))
            .await
            .map_err(late)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(), EgressError> {
        let late = |_| {
            let secs = CONNECT_TIME_MAX.as_secs();
            EgressError::Later(format!("{} did not answer within {secs} s", self.host))
        };
        let stream = tokio::time::timeout(CONNECT_TIME_MAX, self.connect());
        let stream = stream.await.map_err(late)?.map_err(later)?;
        let status = self.post(stream, request).await?;
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

    async fn connect(&self) -> Result<Box<dyn Io>, GateError> {
        let host = as_ref(&self.host);
        let (stream, _) = self
            .connector
            .connect(&host, self.port, Reach::Host)
            .await?;
        match &self.tls {
            None => Ok(stream),
            Some(tls) => Ok(secure(stream, &host, tls.clone()).await?.0),
        }
    }

    /// One request; what it was answered with.
    async fn post(
        &self,
        stream: Box<dyn Io>,
        request: Request<Full<Bytes>>,
    ) -> Result<StatusCode, EgressError> {
        let failed =
            |error: hyper::Error| EgressError::Later(format!("{} broke off: {error}", self.host));
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
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

    fn request(
        &self,
        content_type: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, EgressError> {
        let host = match self.url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        };
        let target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let mut request = Request::post(target)
            .header(HOST, host)
            .header(CONTENT_TYPE, content_type)
            .header(USER_AGENT, concat!("portreeve/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request
            .body(Full::new(body))
            .map_err(|error| EgressError::Never(format!("this is no request: {error}")))
    }
}

fn trusting(roots: rustls::RootCertStore) -> Result<Arc<ClientConfig>, EgressError> {
    tls::config(roots, &[]).map(Arc::new).map_err(setup)
}

fn setup(error: GateError) -> EgressError {
    EgressError::Setup(error.to_string())
}

/// What an address answers with can change, and so can what a name leads to.
fn later(error: GateError) -> EgressError {
    EgressError::Later(error.to_string())
}

#[cfg(test)]
mod tests;
