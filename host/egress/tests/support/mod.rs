//! A server on loopback, and a plain way to it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portreeve_egress::care::{Chunked, Exchange};
use portreeve_egress::{Body, GateError, GateErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as a server saw it.
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A server that answers by a function; it ends with the test.
pub(crate) struct Server {
    pub(crate) origin: String,
    count: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(
        answer: impl Fn(Seen, usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let (answer, counted) = (Arc::new(answer), count.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, counted) = (answer.clone(), counted.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, counted) = (answer.clone(), counted.clone());
                    async move {
                        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                        let (parts, body) = request.into_parts();
                        let seen = Seen {
                            method: parts.method.to_string(),
                            target: parts.uri.to_string(),
                            headers: parts.headers,
                            body: body.collect().await.unwrap().to_bytes(),
                        };
                        Ok::<_, Infallible>(answer(seen, number))
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Server { origin, count }
    }

    /// Requests so far.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// A server that gives everybody the same bytes and then hangs up; its origin, and how many
/// it gave them to.
pub(crate) async fn raw(bytes: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(bytes.as_bytes()).await.unwrap();
        }
    });
    (origin, count)
}

/// A connection for each request.
pub(crate) struct Plain;

#[async_trait]
impl Exchange for Plain {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, GateError> {
        let authority = request.uri().authority().unwrap().to_string();
        let stream = TcpStream::connect(&authority)
            .await
            .map_err(|error| GateError::new(GateErrorKind::Connect, error.to_string()))?;
        over(TokioIo::new(stream), request).await
    }
}

/// One request over a connection.
pub(crate) async fn over<S>(
    stream: S,
    mut request: Request<Body>,
) -> Result<Response<Body>, GateError>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| GateError::new(GateErrorKind::Incomplete, error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .map_err(broken)?;
    tokio::spawn(connection);
    let host = request.uri().authority().unwrap().to_string();
    request.headers_mut().insert("host", host.parse().unwrap());
    let path = request.uri().path_and_query().unwrap().to_string();
    *request.uri_mut() = path.parse().unwrap();
    let (mut parts, body) = sender
        .send_request(request)
        .await
        .map_err(broken)?
        .into_parts();
    if parts.headers.remove("transfer-encoding").is_some() {
        parts.extensions.insert(Chunked);
    }
    Ok(Response::from_parts(
        parts,
        body.map_err(broken).boxed_unsync(),
    ))
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(full(body.to_owned())).unwrap()
}

/// A body, read to its end.
pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
