use std::path::Path;

use portreeve_manifest::policy::AdvisoryPolicy;
use portreeve_manifest::size::ByteSize;
use proptest::prelude::*;

use portreeve_manifest::id::Alias;

use super::report::examine_list;
use super::*;
use crate::dependencies::Dependencies;

/// Genuine records; its README says whose they are.
fn genuine() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/advisories"))
}

fn dependency(ecosystem: Ecosystem, name: &str, version: &str) -> Dependency {
    Dependency {
        ecosystem,
        name: name.to_owned(),
        version: version.to_owned(),
        build_only: false,
        license: None,
    }
}

/// A database of a collector's advisories, written and read again.
fn database(found: Collector) -> Result<Database, AdvisoryError> {
    let dir = tempfile::tempdir().unwrap();
    let store = AdvisoryStore::new(dir.path().join("advisories"));
    assert!(store.open().unwrap().is_none());
    let staged = store.stage(found, 1_700_000_000_000)?;
    let info = staged.info.clone();
    let path = staged.keep().unwrap();
    assert!(store.open().unwrap().is_none(), "not in its place yet");
    assert_eq!(store.staged(&path).unwrap(), info);
    store.adopt(&path).unwrap();
    let database = store.open().unwrap().unwrap();
    assert_eq!(*database.info(), info);
    Ok(database)
}

fn of_texts(texts: &[&str]) -> Result<Database, AdvisoryError> {
    let mut found = Collector::default();
    for text in texts {
        found.bytes("test", text.as_bytes().to_vec())?;
    }
    database(found)
}

fn real() -> Database {
    let mut found = Collector::default();
    found.path(genuine()).unwrap();
    database(found).unwrap()
}

#[test]
fn packages_are_held_against_genuine_advisories() {
    use Ecosystem::{Cargo, Npm, Other, Pypi};
    let database = real();
    for (ecosystem, name, version, expected) in [
        // Two databases tell of it: once, and as bad as the worse of them says.
        (Cargo, "hyper", "0.14.9", "RUSTSEC-2021-0078 medium"),
        (Cargo, "hyper", "0.14.10", ""),
        (Cargo, "hyper", "0.14.10-rc.1", "RUSTSEC-2021-0078 medium"),
        (Cargo, "hyper", "0.14.10+build", ""),
        (Cargo, "hyper", "odd", "RUSTSEC-2021-0078 medium ?"),
        (Npm, "hyper", "0.14.9", ""),
        (Other, "hyper", "0.14.9", ""),
        // Patched in two lines, and not affected before.
        (Cargo, "smallvec", "0.6.2", ""),
        (Cargo, "smallvec", "0.6.3", "RUSTSEC-2021-0003 critical"),
        (Cargo, "smallvec", "0.6.14", ""),
        (Cargo, "smallvec", "1.0.0", "RUSTSEC-2021-0003 critical"),
        (Cargo, "smallvec", "1.6.1", ""),
        // Single versions in between that are not.
        (Cargo, "time", "0.1.45", "RUSTSEC-2020-0071 medium"),
        (Cargo, "time", "0.2.3", ""),
        (Cargo, "time", "0.2.22", "RUSTSEC-2020-0071 medium"),
        (Cargo, "time", "0.3.0", ""),
        (
            Cargo,
            "instant",
            "0.1.13",
            "RUSTSEC-2024-0384 for information",
        ),
        // Withdrawn.
        (Cargo, "ring", "0.17.8", ""),
        (Npm, "minimist", "1.2.5", "GHSA-xvch-5gv4-984h critical"),
        (Npm, "minimist", "v1.2.5", "GHSA-xvch-5gv4-984h critical"),
        (Npm, "minimist", "1.2.6", ""),
        (Npm, "minimist", "0.2.3", "GHSA-xvch-5gv4-984h critical"),
        (Npm, "minimist", "0.2.4", ""),
        (Npm, "lodash-es", "4.17.20", "GHSA-35jh-r3h4-6jhm high"),
        (Npm, "lodash-e", "4.17.20", ""),
        (Pypi, "Idna", "3.6", "GHSA-jjg7-2v4v-x38h medium"),
        (Pypi, "idna", "3.7rc1", "GHSA-jjg7-2v4v-x38h medium"),
        (Pypi, "idna", "3.7.dev1", "GHSA-jjg7-2v4v-x38h medium"),
        (Pypi, "idna", "3.7", ""),
        (Pypi, "idna", "3.7.post1", ""),
        (Pypi, "idna", "1!0.1", ""),
        (Pypi, "3Web.Py", "1.0", "MAL-2024-9934 critical"),
        (Pypi, "3web_py", "1.0.1", ""),
    ] {
        let hits = database.find(&dependency(ecosystem, name, version));
        let words: Vec<String> = hits
            .unwrap()
            .iter()
            .map(|hit| {
                let sure = if hit.certain { "" } else { " ?" };
                format!("{} {}{sure}", hit.id, hit.severity_word())
            })
            .collect();
        assert_eq!(words.join("; "), expected, "{name} {version}");
    }
    let hits = database
        .find(&dependency(Cargo, "hyper", "0.14.9"))
        .unwrap();
    assert_eq!(hits[0].aliases, ["CVE-2021-32715", "GHSA-f3pg-qwvg-p99c"]);
    assert_eq!(hits[0].fixed, ["0.14.10"]);
    assert_eq!(
        hits[0].words(),
        "RUSTSEC-2021-0078 hyper 0.14.9 Lenient `hyper` header parsing of `Content-Length` could allow request smuggling [medium]; mended in 0.14.10"
    );
}

#[test]
fn a_database_says_what_it_is() {
    let real = real();
    let info = real.info();
    assert_eq!((info.advisories, info.unread), (10, 0));
    assert_eq!(info.newest.as_deref(), Some("2025-12-11"));
    let age = |now: &str| info.age_days(now.parse().unwrap());
    assert_eq!(age("2025-12-11T23:00:00Z"), Some(0));
    assert_eq!(age("2026-01-10T00:00:00Z"), Some(30));
    assert_eq!(info.words(), "10 advisories, the newest of 2025-12-11");
}

/// What OSV publishes: an archive of files.
#[test]
fn archives_are_read() {
    use std::io::Write as _;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for name in [
        "npm/GHSA-xvch-5gv4-984h.json",
        "crates/time/RUSTSEC-2020-0071.md",
        "README.md",
    ] {
        archive.start_file(name, options).unwrap();
        let bytes = std::fs::read(genuine().join(name)).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    // A bomb: small where it lies, a gigabyte where it is read.
    archive.start_file("bomb.json", options).unwrap();
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..64 {
        archive.write_all(&zeros).unwrap();
    }
    let bytes = archive.finish().unwrap().into_inner();
    let mut found = Collector::default();
    found.bytes("oci://example", bytes.clone()).unwrap();
    assert_eq!((found.advisories, found.unread), (2, 1));
    assert!(
        found.problems[0].contains("bomb.json: it has more than 1 MiB"),
        "{found:?}"
    );
    let database = database(found).unwrap();
    let hits = database.find(&dependency(Ecosystem::Npm, "minimist", "1.0.0"));
    assert_eq!(hits.unwrap().len(), 1);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.zip");
    std::fs::write(&path, &bytes).unwrap();
    let mut found = Collector::default();
    found.path(&path).unwrap();
    assert_eq!(found.advisories, 2);
    let limits = AdvisoryLimits {
        archive: ByteSize(1_000),
        ..AdvisoryLimits::default()
    };
    let error = Collector::new(limits).path(&path).unwrap_err().to_string();
    assert!(error.contains("where 1000 B are read"), "{error}");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Collector::default().path(&path).is_err());
}

#[test]
fn what_is_no_advisory_is_counted_or_refused() {
    let huge = format!("{{\"id\": \"{}\"}}", "x".repeat(2 << 20));
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let twice = r#"{"id": "A-1", "id": "A-2", "modified": "2024-01-01"}"#;
    let ranges = ">1,".repeat(5_000);
    let rust_sec = format!(
        "```toml\n[advisory]\nid = \"RUSTSEC-2024-0001\"\npackage = \"a\"\ndate = \"2024-01-01\"\n[versions]\npatched = [\"{ranges}\"]\n```\n# A\nb\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(genuine().join("npm/GHSA-35jh-r3h4-6jhm.json")).unwrap();
    for (name, text) in [
        ("a.json", good.as_str()),
        ("b.json", "{"),
        ("c.json", &huge),
        ("d.json", &deep),
        ("e.json", twice),
        ("RUSTSEC-1.md", "no toml"),
        ("RUSTSEC-2.md", "```toml\n€€€€€€€€€€€€€€€€"),
        ("RUSTSEC-3.md", &rust_sec),
        ("README.md", "no advisory"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    // A directory that holds itself.
    std::os::unix::fs::symlink(dir.path(), dir.path().join("circle")).unwrap();
    let mut found = Collector::default();
    found.path(dir.path()).unwrap();
    assert_eq!(
        (found.advisories, found.unread),
        (1, 7),
        "{:?}",
        found.problems
    );

    let many = AdvisoryLimits {
        advisories: 4,
        ..AdvisoryLimits::default()
    };
    let error = Collector::new(many)
        .path(dir.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 4 files"), "{error}");
    let small = AdvisoryLimits {
        database: ByteSize(100),
        ..AdvisoryLimits::default()
    };
    let error = Collector::new(small)
        .path(dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the database has more than 100 B"),
        "{error}"
    );
    let below = dir.path().join("1/2/3");
    std::fs::create_dir_all(&below).unwrap();
    let flat = AdvisoryLimits {
        depth: 2,
        ..AdvisoryLimits::default()
    };
    let error = Collector::new(flat)
        .path(dir.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 2 deep"), "{error}");

    let empty = tempfile::tempdir().unwrap();
    let mut none = Collector::default();
    none.path(empty.path()).unwrap();
    let error = database(none).unwrap_err().to_string();
    assert!(error.contains("no advisory in"), "{error}");
    let gone = Collector::default().path(Path::new("/nowhere/at/all"));
    assert!(gone.is_err());
}

#[test]
fn what_people_are_shown_has_nothing_that_a_terminal_obeys() {
    let long = "1".repeat(10_000);
    let database = of_texts(&[&format!(
        r#"{{"id": "A-1", "modified": "2024-01-01T00:00:00Z", "summary": "red \u001b[31m\nalarm",
            "affected": [{{"package": {{"ecosystem": "npm", "name": "a"}}, "ranges": [
                {{"type": "SEMVER", "events": [
                    {{"introduced": "0"}}, {{"fixed": "1.0.0\u001b[31m\u0007"}}, {{"fixed": "{long}"}}
                ]}}
            ]}}]}}"#
    )])
    .unwrap();
    let hits = database
        .find(&dependency(Ecosystem::Npm, "a", "1.0.0"))
        .unwrap();
    let [hit] = hits.as_slice() else {
        panic!("{hits:?}");
    };
    assert!(!hit.certain, "such versions can't be compared");
    let words = hit.words();
    assert!(!words.contains(char::is_control), "{words:?}");
    assert!(words.contains("mended in 1.0.0 [31m"), "{words:?}");
    assert!(words.len() < 500, "{words:?}");
}

#[test]
fn a_damaged_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = AdvisoryStore::new(dir.path().to_owned());
    let mut found = Collector::default();
    found.path(genuine()).unwrap();
    let staged = store.stage(found, 0).unwrap().keep().unwrap();
    store.adopt(&staged).unwrap();
    let whole = std::fs::read_to_string(store.path()).unwrap();
    for (text, expected) in [
        (
            whole.replace("1.2.6", "1.2.5"),
            "changed after it was written",
        ),
        (
            whole[..whole.len() - 10].to_owned(),
            "changed after it was written",
        ),
        (whole.replace("\"schema\":1", "\"schema\":2"), "of form 2"),
        (String::new(), "it is empty"),
        ("{}\n".to_owned(), "missing field"),
    ] {
        std::fs::write(store.path(), text).unwrap();
        let error = store.open().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("advisories update"), "{error}");
    }
    // Only what was written for this place is put there.
    for path in ["/etc/passwd", "elsewhere/.new-x"] {
        let error = store.staged(Path::new(path)).unwrap_err().to_string();
        assert!(error.contains("not written for this place"), "{error}");
    }
}

fn names_in_a_circle() -> Database {
    let text = |id: &str, alias: &str| {
        format!(
            r#"{{"id": "{id}", "modified": "2024-01-01T00:00:00Z", "aliases": ["{alias}"],
                "affected": [{{"package": {{"ecosystem": "npm", "name": "a"}}, "versions": ["1.0.0"]}}]}}"#
        )
    };
    of_texts(&[
        &text("A-1", "B-1"),
        &text("C-1", "D-1"),
        &text("B-1", "C-1"),
        &text("D-1", "A-1"),
    ])
    .unwrap()
}

#[test]
fn names_that_form_a_circle_are_one_weakness() {
    let database = names_in_a_circle();
    let hits = database
        .find(&dependency(Ecosystem::Npm, "a", "1.0.0"))
        .unwrap();
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].names().count(), 4);
    // It doesn't say how bad it is.
    assert_eq!((hits[0].severity, hits[0].weight()), (None, Severity::High));
}

/// A list as long as is taken in, against a database: no package costs more than finding it.
#[test]
fn a_list_of_ten_thousand_packages_is_looked_up() {
    let database = real();
    let list = (0..10_000).map(|number| dependency(Ecosystem::Npm, &format!("p{number}"), "1.0.0"));
    for package in list {
        assert_eq!(database.find(&package).unwrap(), []);
    }
}

fn policy(toml: &str) -> AdvisoryPolicy {
    let text = format!("schema = 1\n[policy.advisories]\n{toml}");
    let project = portreeve_manifest::project::ProjectManifest::parse("portreeve.toml", &text);
    project.unwrap().policy.advisories.unwrap()
}

#[test]
fn the_policy_says_what_refuses() {
    use Ecosystem::{Cargo, Npm, Pypi};
    let database = real();
    let smallvec = dependency(Cargo, "smallvec", "1.0.0");
    let build = Dependency {
        build_only: true,
        ..smallvec.clone()
    };
    for (package, toml, expected) in [
        (&smallvec, "", "told"),
        (&smallvec, "deny = \"critical\"", "refuses"),
        (&build, "deny = \"low\"", "told"),
        (
            &dependency(Cargo, "time", "0.1.0"),
            "deny = \"medium\"",
            "refuses",
        ),
        (
            &dependency(Cargo, "time", "0.1.0"),
            "deny = \"high\"",
            "told",
        ),
        (&dependency(Cargo, "time", "odd"), "deny = \"low\"", "told"),
        (
            &dependency(Cargo, "instant", "0.1.1"),
            "deny = \"low\"",
            "told",
        ),
        (
            &dependency(Pypi, "3web-py", "1.0.0"),
            "deny = \"critical\"",
            "refuses",
        ),
        (&dependency(Npm, "lodash", "4.17.21"), "deny = \"low\"", ""),
        (
            &smallvec,
            "deny = \"low\"\nignore = [{ id = \"CVE-2021-25900\", reason = \"not called\" }]",
            "ignored: not called",
        ),
        (
            &smallvec,
            "deny = \"low\"\nignore = [{ id = \"RUSTSEC-2021-0003\", plugin = \"other\", reason = \"x\" }]",
            "refuses",
        ),
        (
            &smallvec,
            "deny = \"low\"\nignore = [{ id = \"RUSTSEC-2021-0003\", plugin = \"mine\", reason = \"x\", until = \"2026-11-21\" }]",
            "ignored: x",
        ),
        (
            &smallvec,
            "deny = \"low\"\nignore = [{ id = \"RUSTSEC-2021-0003\", reason = \"x\", until = \"2026-11-20\" }]",
            "refuses",
        ),
    ] {
        let list = Dependencies {
            list: vec![package.clone()],
            sources: vec![".dep-v0"],
            problems: Vec::new(),
        };
        let alias = Alias::new("mine").unwrap();
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let report = examine_list(&list, &alias, Ok(Some(&database)), Some(&policy(toml)), now);
        let standing = report.found.first().map(|judged| match &judged.standing {
            Standing::Refuses => "refuses".to_owned(),
            Standing::Told => "told".to_owned(),
            Standing::Ignored { reason, .. } => format!("ignored: {reason}"),
        });
        assert_eq!(standing.unwrap_or_default(), expected, "{package:?} {toml}");
        assert_eq!(report.refusal(&alias).is_some(), expected == "refuses");
        assert_eq!(
            report.alarming().count() == 1,
            !expected.is_empty()
                && !expected.starts_with("ign")
                && !package.build_only
                && package.name != "instant"
        );
        assert!(report.stale, "of 2025");
    }
}

#[test]
fn what_is_not_known_is_said() {
    let now = "2025-12-20T00:00:00Z".parse().unwrap();
    let alias = Alias::new("mine").unwrap();
    let unknown = Dependencies::default();
    let gaps = |database: Result<Option<&Database>, &str>, list: &Dependencies| {
        examine_list(list, &alias, database, None, now)
            .gaps()
            .join("; ")
    };
    assert!(gaps(Ok(None), &unknown).contains("no database of advisories here"));
    assert!(gaps(Err("it is damaged"), &unknown).contains("it is damaged"));
    let database = real();
    assert_eq!(
        gaps(Ok(Some(&database)), &unknown),
        "what it was made from is not, or not all, recorded"
    );
    let other = Dependencies {
        list: vec![dependency(Ecosystem::Other, "x", "1")],
        sources: vec!["SPDX"],
        problems: Vec::new(),
    };
    assert!(gaps(Ok(Some(&database)), &other).contains("1 of its packages are of kinds"));
    let fresh = |days: &str| {
        let policy = policy(&format!("stale-after = \"{days}d\""));
        examine_list(&other, &alias, Ok(Some(&database)), Some(&policy), now).stale
    };
    assert!(fresh("8") && !fresh("9"));
}

proptest! {
    /// Whatever a file holds, it is read or counted.
    #[test]
    fn any_text_is_answered(text in "\\PC*", version in "\\PC{0,40}") {
        let _ = osv::read(&text);
        let _ = rust_sec::read(&format!("```toml\n{text}\n```\n# A\nb\n"));
        let database = names_in_a_circle();
        let _ = database.find(&dependency(Ecosystem::Npm, "a", &version));
    }

    /// Genuine records with something else in one place are read or counted, whatever
    /// becomes of their ranges.
    #[test]
    fn damaged_records_are_answered(
        which in 0_usize..4,
        at: prop::sample::Index,
        cut in 0_usize..12,
        instead in prop::sample::select(vec![
            "", "9", "99999999999999999999", "*", ">", ">= 1, < 0", "=", "^0", "\"", "\n", "€", "-", "a", ", \"> 2\"",
        ]),
        version in "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}[a-z.0-9+-]{0,6}",
    ) {
        let records = [
            "crates/time/RUSTSEC-2020-0071.md",
            "crates/smallvec/RUSTSEC-2021-0003.md",
            "npm/GHSA-xvch-5gv4-984h.json",
            "pypi/GHSA-jjg7-2v4v-x38h.json",
        ];
        let text = std::fs::read_to_string(genuine().join(records[which])).unwrap();
        let at = at.index(text.len().min(1_600));
        let (Some(before), Some(after)) = (text.get(..at), text.get(at + cut..)) else {
            return Ok(());
        };
        let mut found = Collector::default();
        found.bytes("test", format!("{before}{instead}{after}").into_bytes()).unwrap();
        prop_assert!(found.advisories + found.unread >= 1);
        if found.advisories == 1 {
            let database = database(found).unwrap();
            for (ecosystem, name) in [
                (Ecosystem::Cargo, "time"),
                (Ecosystem::Cargo, "smallvec"),
                (Ecosystem::Npm, "minimist"),
                (Ecosystem::Pypi, "idna"),
            ] {
                database.find(&dependency(ecosystem, name, &version)).unwrap();
            }
        }
    }

    /// The order in which a range's events are written doesn't matter.
    #[test]
    fn ranges_are_evaluated_in_the_order_of_versions(version in (0_u64..6, 0_u64..6), swap: bool) {
        let (major, minor) = version;
        let mut events = [
            r#"{"introduced": "1.0.0"}"#, r#"{"fixed": "2.0.0"}"#,
            r#"{"introduced": "3.0.0"}"#, r#"{"last_affected": "4.2.0"}"#,
        ];
        if swap {
            events.reverse();
        }
        let text = format!(
            r#"{{"id": "A-1", "modified": "2024-01-01", "affected": [{{
                "package": {{"ecosystem": "crates.io", "name": "a_b"}},
                "ranges": [{{"type": "SEMVER", "events": [{}]}}]}}]}}"#,
            events.join(",")
        );
        let database = of_texts(&[&text]).unwrap();
        let version = format!("{major}.{minor}.0");
        let hits = database.find(&dependency(Ecosystem::Cargo, "a-b", &version)).unwrap();
        let expected = major == 1 || major == 3 || (major == 4 && minor <= 2);
        prop_assert_eq!(!hits.is_empty(), expected, "{}", version);
    }
}
