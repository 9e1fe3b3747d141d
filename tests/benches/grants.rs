//! What it costs to put another set of grants in force: 10,000 of them against 10, until a
//! call that runs has it. What a look into the set costs is told beside it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "it may fail loudly: nothing but a developer runs it"
)]

mod figures;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use portreeve_core::{GrantCell, InForce};
use portreeve_manifest::grant::SecretRef;
use portreeve_manifest::id::Name;

use figures::{median, report};

const TURNS: usize = 31;
const SWAPS: usize = 200;

/// Sets of so many grants, each a little different from the one before.
fn sets(grants: usize) -> Vec<Arc<InForce>> {
    (0..SWAPS)
        .map(|set| {
            let reveal = (0..grants)
                .map(|number| {
                    let name = Name::new(format!("n{number}")).expect("a name");
                    let vault = Name::new(format!("s{set}")).expect("a name");
                    (name, SecretRef { vault })
                })
                .collect();
            let mut grants = InForce::default();
            grants.effective.reveal = reveal;
            Arc::new(grants)
        })
        .collect()
}

/// Seconds of one turn of swaps. What was in force before is let go afterwards, as the host
/// does it outside of the way of a call.
fn turn(cell: &GrantCell, sets: &[Arc<InForce>], probe: Option<&Name>) -> f64 {
    let mut before = Vec::with_capacity(sets.len());
    let began = Instant::now();
    for set in sets {
        before.push(cell.swap(set.clone()));
        let now = cell.load();
        match probe {
            Some(probe) => drop(black_box(now.effective.reveal.get(probe).cloned())),
            None => drop(black_box(now)),
        }
    }
    began.elapsed().as_secs_f64()
}

fn main() {
    let (few, many) = (sets(10), sets(10_000));
    let probe = Name::new("n5").expect("a name");
    let cell = GrantCell::default();
    let ratio = |probe: Option<&Name>| {
        let ratios = (0..TURNS).map(|_| {
            let few = turn(&cell, &few, probe);
            let many = turn(&cell, &many, probe);
            many / few
        });
        median(ratios.collect())
    };
    let what = "swapping 10,000 grants against 10";
    report(what, ratio(None), 2.0, "x");
    println!(
        "with the first look into each set, which is in no cache: {:.2}x",
        ratio(Some(&probe))
    );
}
