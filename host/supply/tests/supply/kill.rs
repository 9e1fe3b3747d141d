//! Processes that are killed while they write to the store.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use portreeve_supply::{ArtifactStore, Digest};

const DIR: &str = "PORTREEVE_SUPPLY_STORE";
const ROOM: u64 = 1 << 30;

/// The bytes of an artifact by number: large enough that writing takes a while.
fn artifact(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(200_000)
}

/// What a process does that is to be killed: it says what was stored.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = ArtifactStore::open(Path::new(&dir), ROOM).unwrap();
    println!();
    for number in 0..u32::MAX {
        let _lease = store.lease().unwrap();
        println!("begin {number}");
        let digest = store.put(&artifact(number)).unwrap();
        store.put_sidecar(&digest, "minisig", b"signed").unwrap();
        println!("done {number}");
    }
}

/// Starts one, reads `lines` of what it says, waits `more`, and kills it. What it has stored.
fn killed(dir: &Path, lines: usize, more: Duration) -> Vec<u32> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done = Vec::new();
    let mut note = |line: String| {
        if let Some(number) = line.strip_prefix("done ") {
            done.push(number.parse().unwrap());
        }
    };
    let mut seen = 0;
    while seen < lines {
        let line = said.next().unwrap().unwrap();
        seen += usize::from(line.starts_with("begin ") || line.starts_with("done "));
        note(line);
    }
    // Some way into what it does next: where exactly does not matter, so long as it differs.
    let until = std::time::Instant::now() + more;
    while std::time::Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    said.map_while(Result::ok).for_each(note);
    done
}

#[test]
fn what_was_stored_is_whole_and_the_rest_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let mut unfinished = 0;
    for round in 0..40 {
        let done = killed(
            dir.path(),
            round % 7 + 1,
            Duration::from_micros(round as u64 * 37),
        );
        let store = ArtifactStore::open(dir.path(), ROOM).unwrap();
        for number in done {
            let bytes = artifact(number);
            let digest = Digest::of(&bytes);
            assert!(
                store
                    .get(&digest)
                    .unwrap()
                    .is_some_and(|stored| stored == bytes)
            );
            assert_eq!(
                store.sidecar(&digest, "minisig").unwrap().unwrap(),
                b"signed"
            );
        }
        // All that is there under a name is whole, said or not.
        for entry in std::fs::read_dir(dir.path().join("sha256")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".d") {
                let digest: Digest = format!("sha256:{name}").parse().unwrap();
                assert!(store.get(&digest).unwrap().is_some());
            }
        }
        let half = || std::fs::read_dir(dir.path().join("tmp")).unwrap().count();
        unfinished += half();
        // Its lease has ended with it.
        assert!(!store.collect(|_| true).unwrap().busy);
        assert_eq!(half(), 0);
        // For the next round there is all to do again.
        store.collect_unused_for(Duration::ZERO, |_| false).unwrap();
        assert_eq!(store.size().unwrap(), 0);
    }
    assert!(
        unfinished > 0,
        "nobody was killed while it wrote, so this proves nothing"
    );
}
