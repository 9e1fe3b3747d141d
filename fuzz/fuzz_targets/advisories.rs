//! Advisories: no bytes make a reader panic or hang; what is read is found again. The first
//! line is a version that is looked up, the rest an advisory or an archive of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::size::ByteSize;
use portreeve_supply::advisory::{AdvisoryLimits, AdvisoryStore, Collector};
use portreeve_supply::dependencies::{Dependency, Ecosystem};

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (version, advisory) = bytes.split_at(at);
    let limits = AdvisoryLimits {
        advisory: ByteSize(64 << 10),
        advisories: 64,
        archive: ByteSize(1 << 20),
        ..AdvisoryLimits::default()
    };
    let mut found = Collector::new(limits);
    if found.bytes("fuzz", advisory.get(1..).unwrap_or_default().to_vec()).is_err() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = AdvisoryStore::new(dir.path().to_owned());
    let Ok(staged) = store.stage(found, 0) else {
        return;
    };
    let path = staged.keep().expect("kept");
    store.adopt(&path).expect("in its place");
    let database = store.open().expect("reads back").expect("is there");
    // As lists are read: nothing that a terminal would obey is in them.
    let version = String::from_utf8_lossy(version).replace(char::is_control, "");
    for ecosystem in [Ecosystem::Cargo, Ecosystem::Npm, Ecosystem::Pypi] {
        for name in ["minimist", "smallvec", "time", "a"] {
            let package = Dependency {
                ecosystem,
                name: name.to_owned(),
                version: version.clone(),
                build_only: false,
                license: None,
            };
            let hits = database.find(&package).expect("is as it was written");
            assert!(hits.iter().all(|hit| !hit.words().contains(char::is_control)));
        }
    }
});
