//! An outlet with what can happen at its other end.

use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(5),
    count: 3,
};

/// A server that answers each request with the next of `statuses`, and then with the last.
/// Gives what it took.
async fn server(statuses: &'static [u16]) -> (OutletSettings, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let served = AtomicUsize::new(0);
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 4_096];
            while !request.ends_with(b"}") {
                let count = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            let turn = served
                .fetch_add(1, Ordering::SeqCst)
                .min(statuses.len() - 1);
            let status = statuses[turn];
            let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let text = String::from_utf8(request).unwrap();
            let body = text.split_once("\r\n\r\n").unwrap().1;
            let _ = taken.send(serde_json::from_str(body).unwrap());
        }
    });
    let settings = OutletSettings {
        webhook: Some(format!("http://127.0.0.1:{port}/").parse().unwrap()),
        command: Vec::new(),
    };
    (settings, receiver)
}

fn command(script: &str) -> OutletSettings {
    OutletSettings {
        webhook: None,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
    }
}

fn open(settings: &OutletSettings) -> Outlet {
    Outlet::with_pauses("tests", settings, PAUSES).unwrap()
}

fn counts(sent: u64, failed: u64, full: u64) -> OutletCounts {
    OutletCounts { sent, failed, full }
}

#[tokio::test]
async fn what_fails_is_tried_again_in_order() {
    let (settings, mut taken) = server(&[500, 503, 204]).await;
    let outlet = open(&settings);
    outlet.send(&json!({"number": 1}));
    outlet.send(&json!({"number": 2}));
    outlet.close().await;
    assert_eq!(outlet.counts(), counts(2, 0, 0));
    let mut numbers = Vec::new();
    while let Ok(body) = taken.try_recv() {
        numbers.push(body["number"].as_u64().unwrap());
    }
    assert_eq!(numbers, [1, 1, 1, 2]);
    // Nothing is taken any more.
    outlet.send(&json!({"number": 3}));
    assert_eq!(outlet.counts(), counts(2, 0, 0));
}

#[tokio::test]
async fn it_gives_up_after_some_tries() {
    for (statuses, tries) in [(&[500_u16][..], 4), (&[404], 1), (&[302], 1)] {
        let (settings, mut taken) = server(statuses).await;
        let outlet = open(&settings);
        outlet.send(&json!({}));
        outlet.close().await;
        assert_eq!(outlet.counts(), counts(0, 1, 0), "{statuses:?}");
        let mut tried = 0;
        while taken.try_recv().is_ok() {
            tried += 1;
        }
        assert_eq!(tried, tries, "{statuses:?}");
    }
}

#[tokio::test]
async fn what_there_is_no_room_for_is_counted() {
    let (settings, _taken) = server(&[204]).await;
    let outlet = open(&settings);
    // Nothing is sent before this task waits.
    for _ in 0..QUEUE_MAX + 10 {
        outlet.send(&json!({}));
    }
    outlet.send(&"x".repeat(MESSAGE_BYTES_MAX));
    assert_eq!(outlet.counts(), counts(0, 1, 10));
    outlet.close().await;
    assert_eq!(outlet.counts(), counts(QUEUE_MAX as u64, 1, 10));
}

#[tokio::test]
async fn a_program_gets_lines_and_little_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("taken");
    let script = format!("cat >> {0}; env >> {0}", path.display());
    let outlet = open(&command(&script));
    outlet.send(&json!({"number": 1}));
    outlet.send(&json!({"number": 2}));
    outlet.close().await;
    assert_eq!(outlet.counts(), counts(2, 0, 0));
    let taken = std::fs::read_to_string(path).unwrap();
    let (numbers, rest): (Vec<_>, Vec<_>) = taken.lines().partition(|line| line.starts_with('{'));
    assert_eq!(numbers, ["{\"number\":1}", "{\"number\":2}"]);
    // What a shell sets itself.
    let own = ["PATH=", "PWD=", "SHLVL=", "_=", "OLDPWD="];
    for line in rest {
        assert!(own.iter().any(|own| line.starts_with(own)), "{line}");
    }
}

#[tokio::test]
async fn a_program_that_fails_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("once");
    let script = format!("test -e {0} || {{ touch {0}; exit 3; }}", path.display());
    for (script, expected) in [(&*script, counts(1, 0, 0)), ("exit 3", counts(0, 1, 0))] {
        let outlet = open(&command(script));
        outlet.send(&json!({}));
        outlet.close().await;
        assert_eq!(outlet.counts(), expected, "{script}");
    }
    let nowhere = OutletSettings {
        command: vec!["/no/such/program".to_owned()],
        webhook: None,
    };
    let outlet = open(&nowhere);
    outlet.send(&json!({}));
    outlet.close().await;
    assert_eq!(outlet.counts(), counts(0, 1, 0));
}

/// At the end nobody waits for one that hangs, and it doesn't stay behind.
#[tokio::test]
async fn a_program_that_hangs_is_killed_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("number");
    let script = format!("sleep 600 & echo $! > {}; wait", path.display());
    let outlet = open(&command(&script));
    outlet.send(&json!({}));
    let started = || std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'));
    while !started() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let number: i32 = std::fs::read_to_string(&path)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    drop(outlet);
    let number = rustix::process::Pid::from_raw(number).unwrap();
    // One that nobody waited for is still there, but ended.
    let ended = || {
        rustix::process::test_kill_process(number).is_err()
            || std::fs::read_to_string(format!("/proc/{}/stat", number.as_raw_nonzero()))
                .is_ok_and(|stat| stat.contains(") Z "))
    };
    for _ in 0..1_000 {
        if ended() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it stayed behind");
}

#[tokio::test]
async fn a_program_has_ten_seconds() {
    let program = Command::new(&command("sleep 600").command).unwrap();
    tokio::time::pause();
    let error = program.send(b"{}").await.unwrap_err().to_string();
    assert!(error.contains("killed"), "{error}");
}

#[tokio::test]
async fn nothing_is_sent_where_nothing_is_set() {
    let outlet = open(&OutletSettings::default());
    outlet.send(&json!({}));
    outlet.close().await;
    assert_eq!(outlet.counts(), counts(0, 0, 0));
}
