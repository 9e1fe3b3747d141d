//! What the tests share: a call that may do what a test says, servers of all kinds on this
//! machine, and a server of names whose answers a test chooses.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{Name as DnsName, RData, Record, RecordType};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portreeve_egress::credential::{Credential, SecretId};
use portreeve_egress::oauth::{KeepToken, Tokens};
use portreeve_egress::{
    Body, Budget, CallLimits, CallPolicy, Client, DayUse, Gate, GateError, GateErrorKind,
    PluginBudget, PluginLimits, Timeouts,
};
use portreeve_manifest::grant::{
    AddressRange, CredentialUse, Decision, NetworkPolicy, Place, SocketPolicy, Target,
};
use portreeve_manifest::id::Name;
use portreeve_manifest::settings::NetworkSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use zeroize::Zeroizing;

/// Long enough that no test that passes waits for it.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    connect: LONG,
    first_byte: LONG,
    between_bytes: LONG,
    total: LONG,
};

pub(crate) const CALL: CallLimits = CallLimits {
    requests: 1_000,
    sent: 10 << 20,
    received: 50 << 20,
};

pub(crate) const PLUGIN: PluginLimits = PluginLimits {
    connections: 16,
    requests_a_day: 100_000,
    traffic_a_day: 10 << 30,
};

/// A call that may send everything, to this machine too, unless a test says otherwise.
pub(crate) struct Call {
    /// What it may send; everything, where there are none.
    pub(crate) rules: Option<NetworkPolicy>,
    /// Whether it may send nothing any more.
    pub(crate) revoked: Arc<AtomicBool>,
    pub(crate) ranges: Vec<&'static str>,
    pub(crate) placeholders: HashMap<String, String>,
    /// The credential of all rules, and where it goes.
    pub(crate) credential: Option<Arc<Credential>>,
    pub(crate) place: Option<Place>,
    pub(crate) sockets: Vec<&'static str>,
    pub(crate) limits: CallLimits,
    pub(crate) plugin: Arc<PluginBudget>,
}

impl Default for Call {
    fn default() -> Call {
        Call {
            rules: None,
            revoked: Arc::default(),
            ranges: vec!["127.0.0.0/8", "::1"],
            placeholders: HashMap::new(),
            credential: None,
            place: None,
            sockets: Vec::new(),
            limits: CALL,
            plugin: PluginBudget::new(PLUGIN, DayUse::today()),
        }
    }
}

impl Call {
    pub(crate) fn policy(self) -> Arc<dyn CallPolicy> {
        let sockets = self.sockets.iter().map(|rule| rule.parse().unwrap());
        let sockets = SocketPolicy::new(None, sockets.collect());
        Arc::new(Policy {
            addresses: self
                .ranges
                .iter()
                .map(|range| range.parse().unwrap())
                .collect(),
            sockets: Arc::new(sockets),
            budget: Budget::new(self.limits, self.plugin.clone()),
            call: self,
        })
    }
}

struct Policy {
    call: Call,
    addresses: Arc<[AddressRange]>,
    sockets: Arc<SocketPolicy>,
    budget: Budget,
}

#[async_trait]
impl CallPolicy for Policy {
    fn permit(&self, target: &Target) -> Result<Option<CredentialUse>, GateError> {
        let refused = || GateError::new(GateErrorKind::Refused, "no rule allows it");
        if self.call.revoked.load(Ordering::SeqCst) {
            return Err(refused());
        }
        if let Some(rules) = &self.call.rules {
            return match rules.decide(target) {
                Decision::Allowed { credential } => Ok(credential),
                _ => Err(refused()),
            };
        }
        Ok(self.call.credential.as_ref().map(|_| CredentialUse {
            name: Name::new("test").unwrap(),
            place: self.call.place.clone(),
        }))
    }

    fn addresses(&self) -> Arc<[AddressRange]> {
        self.addresses.clone()
    }

    async fn credential(&self, _: &Name, _: &Target) -> Result<Arc<Credential>, GateError> {
        Ok(self.call.credential.clone().unwrap())
    }

    async fn placeholder(
        &self,
        token: &str,
        _: &Target,
    ) -> Result<Option<Zeroizing<String>>, GateError> {
        Ok(self
            .call
            .placeholders
            .get(token)
            .cloned()
            .map(Zeroizing::new))
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn sockets(&self) -> Arc<SocketPolicy> {
        self.sockets.clone()
    }
}

/// What is requested, with whether the credential is added, and granted in the same words.
pub(crate) fn rules(rules: &[(&str, bool)]) -> NetworkPolicy {
    let used = CredentialUse {
        name: Name::new("test").unwrap(),
        place: None,
    };
    let requests = rules.iter().map(|(rule, credential)| {
        let used = credential.then(|| used.clone());
        (rule.parse().unwrap(), used)
    });
    let grants: Vec<_> = rules
        .iter()
        .map(|(rule, _)| rule.parse().unwrap())
        .collect();
    NetworkPolicy::new(Some(requests.collect()), &grants)
}

/// A vault that forgets.
struct Nowhere;

#[async_trait]
impl KeepToken for Nowhere {
    async fn keep(&self, _: &SecretId, _: &Zeroizing<String>) -> Result<(), String> {
        Ok(())
    }
}

/// A credential of a kind of the vault.
pub(crate) fn secret(kind: &str, fields: &[(&str, &str)]) -> Arc<Credential> {
    let id = SecretId {
        name: "test".to_owned(),
        version: 1,
    };
    let fields = fields
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Zeroizing::new((*text).to_owned())));
    let tokens = Tokens::new(Arc::new(Nowhere));
    Arc::new(Credential::new(kind, id, fields, &tokens).unwrap())
}

pub(crate) fn client() -> Client {
    Gate::new(&NetworkSettings::default(), None)
        .unwrap()
        .client()
}

/// A client that asks a server for names.
pub(crate) fn client_of(dns: SocketAddr) -> Client {
    let settings = NetworkSettings {
        dns: vec![dns],
        ..NetworkSettings::default()
    };
    Gate::new(&settings, None).unwrap().client()
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is written as it is sent, of no length that is known before.
pub(crate) fn channel() -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let frames = futures::stream::unfold(receiver, |mut receiver| async {
        let bytes: Bytes = receiver.recv().await?;
        Some((Ok(http_body::Frame::data(bytes)), receiver))
    });
    (
        sender,
        http_body_util::StreamBody::new(frames).boxed_unsync(),
    )
}

pub(crate) fn get(url: impl AsRef<str>) -> Request<Body> {
    Request::get(url.as_ref()).body(empty()).unwrap()
}

pub(crate) fn post(url: impl AsRef<str>, body: Body) -> Request<Body> {
    Request::post(url.as_ref()).body(body).unwrap()
}

/// Sends a request as a new call that may do everything, and gathers the response.
pub(crate) async fn answer(
    client: &Client,
    request: Request<Body>,
) -> Result<Response<Bytes>, GateError> {
    gathered(client, request, &Call::default().policy(), TIMEOUTS).await
}

pub(crate) async fn gathered(
    client: &Client,
    request: Request<Body>,
    call: &Arc<dyn CallPolicy>,
    timeouts: Timeouts,
) -> Result<Response<Bytes>, GateError> {
    let (head, body) = client.send(request, call, timeouts).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

/// A server, and how many connections it has had.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Does something with each connection.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Server
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Server::start_at("127.0.0.1:0", serve).await
    }

    pub(crate) async fn start_at<F>(
        at: &str,
        serve: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> Server
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(at).await.unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
        };
        let connections = server.connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, number));
            }
        });
        server
    }

    /// An HTTP/1.1 server that answers each request with a function.
    pub(crate) async fn http<F>(
        answer: impl Fn(Request<Incoming>) -> F + Copy + Send + 'static,
    ) -> Server
    where
        F: Future<Output = Response<UnsyncBoxBody<Bytes, GateError>>> + Send + 'static,
    {
        Server::start(move |stream, _| http1(stream, answer)).await
    }

    /// One that answers each request with bytes, whatever was asked, and closes if told so.
    pub(crate) async fn bytes(answer: impl Into<Vec<u8>>, close: bool) -> Server {
        let answer: Arc<[u8]> = answer.into().into();
        Server::start(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                while read_head(&mut stream).await.is_some() {
                    // The other side may have enough before the end.
                    if stream.write_all(&answer).await.is_err() || close {
                        break;
                    }
                }
                let _ = stream.shutdown().await;
            }
        })
        .await
    }
}

pub(crate) async fn http1<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F + Send)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new();
    let _ = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

pub(crate) async fn http2<S, F>(
    stream: S,
    answer: impl Fn(Request<Incoming>) -> F + Copy + Send + 'static,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Reads a request's head from a stream: nothing where it ends before.
pub(crate) async fn read_head<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// The lines of a request's head, in lower case but for the first.
pub(crate) fn lines(head: &str) -> Vec<String> {
    let mut lines = head.trim_end().lines();
    let first = lines.next().unwrap().to_owned();
    std::iter::once(first)
        .chain(lines.map(str::to_ascii_lowercase))
        .collect()
}

/// Answers 204 to each request, and passes its head on.
pub(crate) async fn recorder() -> (Server, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let _ = sender.send(head);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }
    })
    .await;
    (server, receiver)
}

/// What a name leads to: for the first question, the second, and so on; the last for all that
/// come then. A text that is no address is another name.
type Zone = HashMap<&'static str, Vec<Vec<&'static str>>>;

/// A server of names.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    /// Names that were asked for, with what kind of address.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Dns {
    pub(crate) async fn start(
        zone: impl IntoIterator<Item = (&'static str, Vec<Vec<&'static str>>)>,
    ) -> Dns {
        let zone: Zone = zone.into_iter().collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let dns = Dns {
            address: socket.local_addr().unwrap(),
            asked: asked.clone(),
        };
        tokio::spawn(async move {
            let mut buffer = [0; 4_096];
            while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..count]).unwrap();
                let answer = answer_to(&question, &zone, &asked);
                let _ = socket.send_to(&answer.to_vec().unwrap(), from).await;
            }
        });
        dns
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer_to(question: &Message, zone: &Zone, asked: &Mutex<Vec<String>>) -> Message {
    let query = question.queries[0].clone();
    let kind = query.query_type();
    let name = query.name().to_string();
    let this = format!("{kind} {name}");
    let before = {
        let mut asked = asked.lock().unwrap();
        asked.push(this.clone());
        asked.iter().filter(|asked| **asked == this).count() - 1
    };
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.add_query(query.clone());
    let Some(answers) = zone.get(name.trim_end_matches('.')) else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return answer;
    };
    for data in answers.get(before).or(answers.last()).into_iter().flatten() {
        let data = match data.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if kind == RecordType::A => RData::A(A(address)),
            Ok(IpAddr::V6(address)) if kind == RecordType::AAAA => RData::AAAA(AAAA(address)),
            Ok(_) => continue,
            Err(_) => RData::CNAME(CNAME(DnsName::from_ascii(data).unwrap())),
        };
        answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
    }
    answer
}
