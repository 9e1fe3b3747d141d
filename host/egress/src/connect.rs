//! From a host's name to a stream: look-up, check, TCP, a proxy if there is one, TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::header::HOST;
use http::{Method, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portreeve_manifest::grant::AddressRange;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::address;
use crate::error::{GateError, GateErrorKind};
use crate::resolve::Resolver;
use crate::tls;

/// How long one address has before the next is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Bytes of what a proxy answers.
const PROXY_HEAD_BYTES_MAX: usize = 16 << 10;

/// A stream of bytes to a server.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Which addresses may be reached.
#[derive(Clone, Copy)]
pub(crate) enum Reach<'a> {
    /// A plugin: public ones, and those in granted ranges.
    Granted(&'a [AddressRange]),
    /// The host, where its operator sent it.
    Host,
}

/// A proxy that the operator has configured.
struct Proxy {
    host: Host<String>,
    port: u16,
}

impl Proxy {
    fn new(url: &Url) -> Result<Proxy, GateError> {
        let unusable = || {
            GateError::setup(
                "`proxy` under [network] in portreeve.toml must be an http:// address without user, password and path",
            )
        };
        let host = url.host().filter(|_| url.scheme() == "http");
        let host = host.ok_or_else(unusable)?.to_owned();
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.path() != "/" || url.query().is_some() {
            return Err(unusable());
        }
        Ok(Proxy {
            host,
            port: url.port_or_known_default().ok_or_else(unusable)?,
        })
    }
}

/// Makes connections.
pub(crate) struct Connector {
    resolver: Resolver,
    proxy: Option<Proxy>,
}

impl Connector {
    pub(crate) fn new(resolver: Resolver, proxy: Option<&Url>) -> Result<Connector, GateError> {
        let proxy = proxy.map(Proxy::new).transpose()?;
        Ok(Connector { resolver, proxy })
    }

    /// The addresses of a host that may be reached. One look-up: what comes out of it is what
    /// is connected to.
    pub(crate) async fn addresses(
        &self,
        host: &Host<&str>,
        reach: Reach<'_>,
    ) -> Result<Vec<IpAddr>, GateError> {
        let found = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => self.resolver.look_up(name).await?,
        };
        let Reach::Granted(granted) = reach else {
            let local = portreeve_manifest::settings::is_loopback(host);
            return checked(host, found, |address| {
                address::refused_to_host(address, local).map_or(Ok(()), |why| {
                    Err(GateError::new(
                        GateErrorKind::AddressRefused { address },
                        format!("{host} is not spoken to: {address} {why}"),
                    ))
                })
            });
        };
        checked(host, found, |address| address::permit(address, granted))
    }

    /// A stream to a port of a host, and the address that it leads to.
    pub(crate) async fn connect(
        &self,
        host: &Host<&str>,
        port: u16,
        reach: Reach<'_>,
    ) -> Result<(Box<dyn Io>, IpAddr), GateError> {
        let addresses = self.addresses(host, reach).await?;
        let Some(proxy) = &self.proxy else {
            let (stream, address) = race(host, addresses, port).await?;
            return Ok((Box::new(stream), address));
        };
        // Where the proxy is, is the operator's choice.
        let at = as_ref(&proxy.host);
        let near = match at {
            Host::Ipv4(address) => vec![IpAddr::V4(address)],
            Host::Ipv6(address) => vec![IpAddr::V6(address)],
            Host::Domain(name) => self.resolver.look_up(name).await?,
        };
        let mut why = None;
        for address in addresses {
            let (stream, _) = race(&at, near.clone(), proxy.port).await?;
            // The proxy is told the address that was checked, not the name: it might find
            // another one for it.
            match tunnel(stream, proxy, SocketAddr::new(address, port)).await {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => why = Some(error),
            }
        }
        Err(why.unwrap_or_else(|| nowhere(host)))
    }
}

/// TLS on a stream; whether HTTP/2 is to be spoken.
pub(crate) async fn secure(
    stream: Box<dyn Io>,
    host: &Host<&str>,
    config: Arc<ClientConfig>,
) -> Result<(Box<dyn Io>, bool), GateError> {
    let name = tls::server_name(host)?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| {
            GateError::new(
                GateErrorKind::Tls,
                format!("no safe connection to {host} came about: {error}"),
            )
        })?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Box::new(stream), h2))
}

/// The addresses that pass; why none does.
fn checked(
    host: &Host<&str>,
    found: Vec<IpAddr>,
    check: impl Fn(IpAddr) -> Result<(), GateError>,
) -> Result<Vec<IpAddr>, GateError> {
    let mut why = None;
    let mut passed = found;
    passed.retain(|address| match check(*address) {
        Ok(()) => true,
        Err(error) => {
            why = Some(error);
            false
        }
    });
    if !passed.is_empty() {
        return Ok(passed);
    }
    Err(match (why, host) {
        (None, _) => nowhere(host),
        (Some(why), Host::Domain(name)) => GateError::new(
            why.kind().clone(),
            format!("{name} leads to an address that is refused: {why}"),
        ),
        (Some(why), _) => why,
    })
}

fn nowhere(host: &Host<&str>) -> GateError {
    GateError::new(GateErrorKind::Dns, format!("{host} has no address"))
}

/// The first connection that comes about. Each address has a head start over the next; one
/// that fails lets the next go at once.
async fn race(
    host: &Host<&str>,
    addresses: Vec<IpAddr>,
    port: u16,
) -> Result<(TcpStream, IpAddr), GateError> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut why = None;
    loop {
        if let Some(address) = waiting.next() {
            running.push(async move {
                let stream = TcpStream::connect(SocketAddr::new(address, port)).await?;
                Ok::<_, std::io::Error>((stream, address))
            });
        }
        let next = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(HEAD_START).await;
        };
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok((stream, address))) => {
                    // Small writes are whole messages here. Only a delay if it can't be set.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, address));
                }
                Some(Err(error)) => why = Some(error),
                None => {
                    let why = why.map_or_else(|| "it has no address".to_owned(), |why| why.to_string());
                    return Err(GateError::new(
                        GateErrorKind::Connect,
                        format!("{host} does not answer on port {port}: {why}"),
                    ));
                }
            },
            () = next => {}
        }
    }
}

/// A stream through a proxy.
async fn tunnel(
    stream: TcpStream,
    proxy: &Proxy,
    to: SocketAddr,
) -> Result<Box<dyn Io>, GateError> {
    let failed = |why: String| {
        GateError::new(
            GateErrorKind::Connect,
            format!("the proxy {} does not connect to {to}: {why}", proxy.host),
        )
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(PROXY_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(to.to_string())
        .header(HOST, to.to_string());
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(failed(format!("it answered {}", answer.status())));
        }
        hyper::upgrade::on(answer)
            .await
            .map_err(|error| failed(error.to_string()))
    };
    let mut exchange = std::pin::pin!(exchange);
    // On this task: what is given up ends here.
    let upgraded = tokio::select! {
        upgraded = &mut exchange => upgraded,
        ended = connection.with_upgrades() => {
            ended.map_err(|error| failed(error.to_string()))?;
            exchange.await
        }
    };
    Ok(Box::new(TokioIo::new(upgraded?)))
}

/// A host, borrowed.
pub(crate) fn as_ref(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name.as_str()),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}
