//! The table of the scan's rules is published as it is.

use std::fmt::Write as _;

use portreeve_supply::finding::{Aspect, Certainty, rules};

use crate::read;

/// `host/README.md` has every rule with its severity, certainty and points, and no other.
#[test]
fn the_table_of_rules_is_published() {
    let mut table = String::new();
    for rule in rules::ALL {
        let certainty = match rule.certainty {
            Certainty::Fact => "fact",
            Certainty::Heuristic => "heuristic",
        };
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {certainty} | {} | {} |",
            rule.id, rule.aspect, rule.severity, rule.points, rule.why
        );
    }
    let readme = read("host/README.md");
    let heading =
        "| Rule | About | Severity | | Points | Why it matters |\n|---|---|---|---|---|---|\n";
    let (_, published) = readme.split_once(heading).expect("the table of rules");
    let (published, _) = published.split_once("\n\n").expect("its end");
    assert_eq!(published, table.trim_end());
    assert!(readme.contains(&format!("Rules, version {} (", rules::VERSION)));
    let shares = Aspect::ALL.map(|aspect| format!("{} {}", aspect, aspect.points()));
    assert!(readme.contains(&shares.join(", ")), "{}", shares.join(", "));
}
