//! What it costs to look at a component that is installed and was examined before.
//!
//! `cargo bench -p portreeve --bench supply`: wall-clock ratios, since one of the two is about
//! all cores.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

#[path = "figures.rs"]
mod figures;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use figures::{median, report};
use portreeve_supply::{ArtifactStore, Digest, on_all_cores};

/// Turns of each pair.
const TURNS: usize = 15;

/// Plugins of a large project, and the bytes of each: what a small component has.
const PLUGINS: usize = 1_000;
const PLUGIN_BYTES: usize = 256 << 10;

/// Bytes of one component that is looked at alone: what a large one has.
const LARGE_BYTES: usize = 16 << 20;

/// Bytes that nobody else has.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let word = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()
    };
    std::iter::repeat_with(word)
        .take(length / 8)
        .flatten()
        .collect()
}

/// What any program has to do: read and hash.
fn hash(path: &Path) {
    let read = std::fs::read(path).expect("the file");
    black_box(Digest::of(&read));
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = ArtifactStore::open(dir.path(), 8 << 30).expect("a store");
    let put = |seed, length| store.put(&bytes(seed, length)).expect("it is stored");
    let large = put(0, LARGE_BYTES);
    let all: Vec<_> = (1..=PLUGINS).map(|seed| put(seed, PLUGIN_BYTES)).collect();
    let (mut one, mut loaded, mut many) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn fills the system's cache of files.
    for turn in 0..=TURNS {
        let base = timed(|| hash(&store.path(&large)));
        let ours = timed(|| assert!(store.holds(&large).expect("the store")));
        let read = timed(|| drop(black_box(store.get(&large).expect("the store"))));
        let base_all = timed(|| drop(on_all_cores(&all, |digest| hash(&store.path(digest)))));
        let ours_all = timed(|| {
            let found = on_all_cores(&all, |digest| store.holds(digest).expect("the store"));
            assert!(found.iter().all(|there| *there));
        });
        if turn > 0 {
            one.push(ours / base);
            loaded.push(read / base);
            many.push(ours_all / base_all);
        }
    }
    report(
        "verifying an examined component, against reading and hashing it",
        median(one),
        1.5,
        "×",
    );
    report(
        "giving it out for use, against the same",
        median(loaded),
        1.5,
        "×",
    );
    report(
        &format!("verifying {PLUGINS} of them, against hashing them with all cores"),
        median(many),
        2.0,
        "×",
    );
}
