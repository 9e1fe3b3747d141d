//! `wasi:sockets`, with real sockets of this machine behind them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portreeve_manifest::limits::Limits;
use portreeve_runtime::{ErrorCode, Failure, SocketRoom, SocketSource, SocketUse, Stream};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Recorder, guest, run};

/// Decides about sockets by lists, and records what it was asked.
struct Nets {
    names: BTreeMap<&'static str, Vec<IpAddr>>,
    permitted: Vec<(SocketUse, SocketAddr)>,
    asked: Mutex<Vec<(SocketUse, SocketAddr)>>,
    looked_up: Mutex<Vec<String>>,
    rooms: Arc<Semaphore>,
    sent: AtomicU64,
    received: AtomicU64,
    /// Most bytes in each direction.
    sent_max: u64,
    received_max: u64,
}

impl Nets {
    /// One that permits these uses, with 8 sockets and without limit to bytes.
    fn permitting(permitted: Vec<(SocketUse, SocketAddr)>) -> Nets {
        Nets {
            names: BTreeMap::new(),
            permitted,
            asked: Mutex::default(),
            looked_up: Mutex::default(),
            rooms: Arc::new(Semaphore::new(8)),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent_max: u64::MAX,
            received_max: u64::MAX,
        }
    }
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> Failure {
    Failure::new(code, "test", message)
}

fn count(used: &AtomicU64, bytes: u64, max: u64, what: &str) -> Result<(), Failure> {
    if used.fetch_add(bytes, Ordering::Relaxed) + bytes > max {
        return Err(refuse(
            ErrorCode::QuotaExceeded,
            format!("no more is {what}"),
        ));
    }
    Ok(())
}

#[async_trait::async_trait]
impl SocketSource for Nets {
    fn open(&self) -> Result<SocketRoom, Failure> {
        match self.rooms.clone().try_acquire_owned() {
            Ok(room) => Ok(Box::new(room)),
            Err(_) => Err(refuse(ErrorCode::QuotaExceeded, "no more sockets")),
        }
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        self.looked_up.lock().unwrap().push(name.to_owned());
        match self.names.get(name) {
            Some(addresses) if addresses.is_empty() => {
                Err(refuse(ErrorCode::NotFound, "it has no address"))
            }
            Some(addresses) => Ok(addresses.clone()),
            None => {
                let message = format!("{name} is not granted");
                Err(refuse(ErrorCode::PermissionDenied, message))
            }
        }
    }

    async fn permits(&self, used: SocketUse, address: SocketAddr) -> Result<(), Failure> {
        tokio::task::yield_now().await;
        self.asked.lock().unwrap().push((used, address));
        let any_port = |port: u16| port == 0;
        let permitted = self.permitted.iter().any(|(permitted, to)| {
            *permitted == used
                && to.ip() == address.ip()
                && (any_port(to.port()) || to.port() == address.port())
        });
        match permitted {
            true => Ok(()),
            false => {
                let message = format!("{used:?} {address} is not granted");
                Err(refuse(ErrorCode::PermissionDenied, message))
            }
        }
    }

    fn sent(&self, bytes: u64) -> Result<(), Failure> {
        count(&self.sent, bytes, self.sent_max, "sent")
    }

    fn received(&self, bytes: u64) -> Result<(), Failure> {
        count(&self.received, bytes, self.received_max, "received")
    }
}

fn recorder(nets: &Arc<Nets>) -> Recorder {
    Recorder {
        sockets: Some(nets.clone() as Arc<dyn SocketSource>),
        ..Recorder::default()
    }
}

fn ask(nets: &Arc<Nets>, tool: &str, arguments: Value) -> Value {
    let sockets = guest(portreeve_test_artifacts::SOCKETS);
    let limits = Limits {
        timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let finished = run(sockets.calling(tool, arguments, &limits, &recorder(nets)));
    Value::Object(finished.result.unwrap().structured.unwrap())
}

/// Sends back what comes, on as many connections as come, until the test ends.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..bytes]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn localhost(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn denied_by_default_with_a_sentence() {
    let address = echo().to_string();
    let sockets = guest(portreeve_test_artifacts::SOCKETS);
    for (tool, arguments) in [
        ("exchange", json!({"address": address, "bytes": 1})),
        ("serve", json!({"address": "127.0.0.1:0"})),
        (
            "datagrams",
            json!({"address": address, "datagrams": 1, "bytes": 1}),
        ),
        ("look_up", json!({"name": "localhost"})),
    ] {
        let answer = sockets.structured(tool, arguments);
        let host = answer["host"].as_str().unwrap_or_default();
        assert!(host.contains("without any grant"), "{tool}: {answer}");
    }
}

#[test]
fn only_permitted_addresses_are_connected_to() {
    let (here, other) = (echo(), echo());
    let nets = Arc::new(Nets::permitting(vec![(SocketUse::TcpConnect, here)]));
    let exchange = |address: SocketAddr| {
        let arguments = json!({"address": address.to_string(), "bytes": 10_000});
        ask(&nets, "exchange", arguments)
    };
    assert_eq!(exchange(here), json!({"ok": 10_000}));
    let refused = exchange(other);
    assert_eq!(refused["kind"], "PermissionDenied");
    assert_eq!(
        refused["host"],
        format!("TcpConnect {other} is not granted")
    );
    // Any own port was nobody's business.
    let asked = nets.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            (SocketUse::TcpConnect, here),
            (SocketUse::TcpConnect, other)
        ]
    );
    // Each byte counts, both ways.
    assert_eq!(nets.sent.load(Ordering::Relaxed), 10_000);
    assert_eq!(nets.received.load(Ordering::Relaxed), 10_000);
    assert_eq!(nets.rooms.available_permits(), 8);
}

#[test]
fn bytes_beyond_the_budget_do_not_pass() {
    let here = echo();
    for (sent_max, received_max, why, worked) in [
        (3, u64::MAX, "no more is sent", 3),
        (u64::MAX, 2, "no more is received", 2),
    ] {
        let nets = Arc::new(Nets {
            sent_max,
            received_max,
            ..Nets::permitting(vec![(SocketUse::TcpConnect, here)])
        });
        let arguments = json!({"address": here.to_string(), "times": 5, "pause_ms": 0});
        let answer = ask(&nets, "chat", arguments);
        assert_eq!(answer["worked"], worked, "{answer}");
        assert_eq!(answer["host"], why);
    }
}

#[test]
fn sockets_are_bounded_and_their_room_is_given_back() {
    let here = echo();
    let nets = Arc::new(Nets::permitting(vec![(SocketUse::TcpConnect, here)]));
    let arguments = json!({"address": here.to_string(), "again": true});
    let answer = ask(&nets, "hoard", arguments);
    assert_eq!(answer["opened"], 8, "{answer}");
    assert_eq!(answer["host"], "no more sockets");
    assert_eq!(answer["again"], true);
    // What a guest leaves open is closed with it.
    let arguments = json!({"address": here.to_string(), "again": false});
    ask(&nets, "hoard", arguments);
    assert_eq!(nets.rooms.available_permits(), 8);
}

#[test]
fn listening_is_refused_unless_it_is_granted() {
    let nets = Arc::new(Nets::permitting(vec![]));
    for address in ["127.0.0.1:0", "0.0.0.0:0", "127.0.0.1:18123"] {
        let answer = ask(&nets, "serve", json!({"address": address}));
        let host = answer["host"].as_str().unwrap_or_default();
        assert!(
            host.starts_with("TcpListen") && host.ends_with("not granted"),
            "{answer}"
        );
    }
    let granted = Arc::new(Nets::permitting(vec![
        (SocketUse::TcpListen, localhost(0)),
        (SocketUse::TcpAccept, localhost(0)),
    ]));
    let sockets = guest(portreeve_test_artifacts::SOCKETS);
    let recorder = recorder(&granted);
    let limits = Limits {
        timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let arguments = json!({"address": "127.0.0.1:0"});
    let serving = sockets.calling("serve", arguments, &limits, &recorder);
    let lines = recorder.clone();
    let client = std::thread::spawn(move || {
        let address = loop {
            if let Some((Stream::Stdout, line)) = lines.lines().first() {
                break line.strip_prefix("listening on ").unwrap().to_owned();
            }
            std::thread::yield_now();
        };
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        back
    });
    let finished = run(serving);
    assert_eq!(&client.join().unwrap(), b"hello");
    let answer = Value::Object(finished.result.unwrap().structured.unwrap());
    assert_eq!(answer, json!({"ok": 5}));
    assert_eq!(granted.sent.load(Ordering::Relaxed), 5);
    assert_eq!(granted.received.load(Ordering::Relaxed), 5);
    assert_eq!(granted.rooms.available_permits(), 8);
}

#[test]
fn datagrams_are_checked_and_counted() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let here = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((bytes, from)) = server.recv_from(&mut buffer) {
            server.send_to(&buffer[..bytes], from).unwrap();
        }
    });
    let permitted = vec![(SocketUse::UdpSend, here), (SocketUse::UdpReceive, here)];
    let nets = Arc::new(Nets::permitting(permitted.clone()));
    let arguments = json!({"address": here.to_string(), "datagrams": 3, "bytes": 500});
    assert_eq!(
        ask(&nets, "datagrams", arguments.clone()),
        json!({"ok": 1_500})
    );
    assert_eq!(nets.sent.load(Ordering::Relaxed), 1_500);
    assert_eq!(nets.received.load(Ordering::Relaxed), 1_500);
    assert_eq!(nets.rooms.available_permits(), 8);

    for (sent_max, received_max, why) in [
        (1_000, u64::MAX, "no more is sent"),
        (u64::MAX, 1_000, "no more is received"),
    ] {
        let nets = Arc::new(Nets {
            sent_max,
            received_max,
            ..Nets::permitting(permitted.clone())
        });
        assert_eq!(ask(&nets, "datagrams", arguments.clone())["host"], why);
    }
    let nets = Arc::new(Nets::permitting(vec![]));
    let answer = ask(&nets, "datagrams", arguments);
    assert_eq!(answer["host"], format!("UdpSend {here} is not granted"));
}

#[test]
fn only_granted_names_are_looked_up() {
    let here = echo();
    let mut nets = Nets::permitting(vec![(SocketUse::TcpConnect, here)]);
    nets.names = BTreeMap::from([
        ("db.example", vec![here.ip(), [192, 0, 2, 1].into()]),
        ("gone.example", vec![]),
    ]);
    let nets = Arc::new(nets);
    let look_up = |name: &str| ask(&nets, "look_up", json!({"name": name}));
    assert_eq!(
        look_up("db.example"),
        json!({"ok": ["127.0.0.1", "192.0.2.1"]})
    );
    let refused = look_up("localhost");
    assert_eq!(refused["host"], "localhost is not granted");
    assert_eq!(look_up("gone.example")["host"], "it has no address");
    // An address is its own, and tells nothing.
    assert_eq!(look_up("192.0.2.7"), json!({"ok": ["192.0.2.7"]}));
    let long = look_up(&"n".repeat(2_000));
    assert!(
        long["host"].as_str().unwrap().contains("longer than names"),
        "{long}"
    );
    assert_eq!(
        *nets.looked_up.lock().unwrap(),
        ["db.example", "localhost", "gone.example"]
    );
    let connected = ask(
        &nets,
        "look_up_and_connect",
        json!({"name": "db.example", "port": here.port()}),
    );
    assert_eq!(connected, json!({"ok": "connected"}));
}

#[test]
fn what_is_revoked_is_refused_from_the_next_use_on() {
    /// Permits all until three bytes were sent.
    struct Revoked(Nets);

    #[async_trait::async_trait]
    impl SocketSource for Revoked {
        fn open(&self) -> Result<SocketRoom, Failure> {
            self.0.open()
        }
        async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
            self.0.resolve(name).await
        }
        async fn permits(&self, used: SocketUse, address: SocketAddr) -> Result<(), Failure> {
            if self.0.sent.load(Ordering::Relaxed) >= 3 {
                return Err(refuse(ErrorCode::PermissionDenied, "revoked"));
            }
            self.0.permits(used, address).await
        }
        fn sent(&self, bytes: u64) -> Result<(), Failure> {
            if self.0.sent.load(Ordering::Relaxed) >= 3 {
                return Err(refuse(ErrorCode::PermissionDenied, "revoked"));
            }
            self.0.sent(bytes)
        }
        fn received(&self, bytes: u64) -> Result<(), Failure> {
            self.0.received(bytes)
        }
    }

    let here = echo();
    let nets = Nets::permitting(vec![(SocketUse::TcpConnect, here)]);
    let recorder = Recorder {
        sockets: Some(Arc::new(Revoked(nets))),
        ..Recorder::default()
    };
    let sockets = guest(portreeve_test_artifacts::SOCKETS);
    let chat = |times: u64| {
        let arguments = json!({"address": here.to_string(), "times": times, "pause_ms": 0});
        let limits = Limits::default();
        let finished = run(sockets.calling("chat", arguments, &limits, &recorder));
        Value::Object(finished.result.unwrap().structured.unwrap())
    };
    // In the middle of a connection, and for the next one.
    let answer = chat(10);
    assert_eq!(
        (&answer["worked"], &answer["host"]),
        (&json!(3), &json!("revoked"))
    );
    assert_eq!(chat(1)["host"], "revoked");
}
