//! Licences: texts of many, policies, what goes together; lists of packages that are honest,
//! damaged or huge.

use std::collections::BTreeSet;

use auditable_serde::{DependencyKind, Package as Crate, Source, VersionInfo};
use portreeve_manifest::id::Alias;
use portreeve_manifest::project::ProjectManifest;
use portreeve_supply::dependencies::{Dependency, Ecosystem, write_auditable};
use portreeve_supply::licence::{self, Answer, Rules, Told};
use portreeve_supply::{DependencyText, PackParts, Package, pack, sbom};

use crate::common::{append, read, wasm, with_sections};

fn parts() -> PackParts<'static> {
    PackParts {
        manifest_toml: "schema = 1\n[plugin]\nid = \"p\"\nversion = \"1.0.0\"\nlicense = \"Apache-2.0\"\n",
        ..PackParts::default()
    }
}

fn dependency(name: &str, license: Option<&str>) -> Dependency {
    Dependency {
        ecosystem: Ecosystem::Cargo,
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        build_only: false,
        license: license.map(str::to_owned),
    }
}

fn made_from(dependencies: &[Dependency]) -> Package {
    let parts = PackParts {
        dependencies,
        ..parts()
    };
    read(&pack(&wasm("(component)"), &parts).unwrap()).unwrap()
}

fn rules(policy: &str) -> Rules {
    let text = format!("schema = 1\n{policy}");
    let manifest = ProjectManifest::parse("portreeve.toml", &text).unwrap();
    let licenses = manifest.policy.licenses.as_ref();
    Rules::load(licenses, std::path::Path::new("/nowhere")).unwrap()
}

fn refusal(package: &Package, policy: &str) -> Option<String> {
    let alias = Alias::new("p").unwrap();
    licence::judge(package, &alias, &rules(policy)).refusal(&alias)
}

#[test]
fn texts_of_many_licences_are_told() {
    // Those whose texts differ from each other by more than names.
    let wanted = [
        "0BSD",
        "AFL-2.1",
        "AFL-3.0",
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-1.1",
        "Apache-2.0",
        "APSL-2.0",
        "Artistic-1.0",
        "Artistic-2.0",
        "BSD-1-Clause",
        "BSD-2-Clause",
        "BSD-2-Clause-Patent",
        "BSD-3-Clause",
        "BSD-3-Clause-Clear",
        "BSD-4-Clause",
        "BSL-1.0",
        "BUSL-1.1",
        "BlueOak-1.0.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDDL-1.0",
        "CDDL-1.1",
        "CECILL-2.1",
        "CPL-1.0",
        "ECL-2.0",
        "EPL-1.0",
        "EPL-2.0",
        "EUPL-1.1",
        "EUPL-1.2",
        "FTL",
        "GFDL-1.3-only",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "HPND",
        "IJG",
        "IPL-1.0",
        "ISC",
        "LGPL-2.0-only",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LPPL-1.3c",
        "MIT",
        "MIT-0",
        "MPL-1.1",
        "MPL-2.0",
        "MS-PL",
        "MS-RL",
        "MulanPSL-2.0",
        "NCSA",
        "OFL-1.1",
        "OSL-3.0",
        "OpenSSL",
        "PostgreSQL",
        "Python-2.0",
        "QPL-1.0",
        "SSPL-1.0",
        "Sleepycat",
        "UPL-1.0",
        "Unicode-3.0",
        "Unlicense",
        "Vim",
        "W3C",
        "WTFPL",
        "X11",
        "ZPL-2.1",
        "Zlib",
        "curl",
    ];
    assert!(wanted.len() >= 60);
    let mut wrong = BTreeSet::new();
    for id in wanted {
        let (_, text) = spdx::text::LICENSE_TEXTS
            .iter()
            .find(|(name, _)| *name == id)
            .unwrap_or_else(|| panic!("no text of {id}"));
        let own = spdx::Expression::parse(id).unwrap();
        if licence::tell(text, Some(&own)) != Told::Declared(id.to_owned()) {
            wrong.insert(format!("{id} is not told as declared"));
        }
        // Under another name it is a mismatch.
        let other = spdx::Expression::parse("Beerware").unwrap();
        if matches!(licence::tell(text, Some(&other)), Told::Declared(_)) {
            wrong.insert(format!("{id} passes for Beerware"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn policies() {
    let mit = "[policy.licenses]\nallow = ['Apache-2.0', 'MIT']\n";
    let plain = made_from(&[dependency("a", Some("MIT/Apache-2.0"))]);
    assert_eq!(refusal(&plain, ""), None);
    assert_eq!(refusal(&plain, mit), None);
    let told = refusal(&plain, "[policy.licenses]\nallow = ['MIT']\n").unwrap();
    for part in [
        "licence: its licence `Apache-2.0`",
        "portreeve licenses p",
        "exceptions = [",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let denied = format!("{mit}deny = ['Apache-2.0']\n");
    assert!(
        refusal(&plain, &denied)
            .unwrap()
            .contains("Apache-2.0 is not allowed")
    );

    let gpl = made_from(&[dependency("g", Some("GPL-3.0-only"))]);
    assert!(
        refusal(&gpl, mit)
            .unwrap()
            .contains("the licence of g 1.0.0 (cargo)")
    );
    let exception = |plugin| {
        format!(
            "{mit}exceptions = [{{ plugin = '{plugin}', allow = ['GPL-3.0-only'], reason = 'seen' }}]\n"
        )
    };
    assert_eq!(refusal(&gpl, &exception("p")), None);
    assert!(refusal(&gpl, &exception("q")).is_some());

    // Of a package only needed to build there is no code in the component.
    let built = made_from(&[Dependency {
        build_only: true,
        ..dependency("g", Some("GPL-3.0-only"))
    }]);
    assert_eq!(refusal(&built, mit), None);
    // What isn't known refuses nothing, but the plugin's own licence has to be.
    assert_eq!(refusal(&made_from(&[dependency("u", None)]), mit), None);
    let none = read(&wasm("(component)")).unwrap();
    assert!(refusal(&none, mit).unwrap().contains("unlicensed = true"));
    let unlicensed =
        format!("{mit}exceptions = [{{ plugin = 'p', unlicensed = true, reason = 'ours' }}]\n");
    assert_eq!(refusal(&none, &unlicensed), None);
}

#[test]
fn what_goes_together() {
    let package = made_from(&[
        dependency("fine", Some("MIT")),
        dependency("odd", Some("LicenseRef-odd")),
        dependency("strict", Some("GPL-2.0-only")),
        dependency("unsaid", None),
    ]);
    let alias = Alias::new("p").unwrap();
    let report = licence::examine(&package, &alias, &Rules::default());
    let fits: Vec<_> = report.rows.iter().map(|row| row.fits).collect();
    let expected = [
        Answer::Fine,
        Answer::Unknown,
        Answer::Conflict,
        Answer::Unknown,
    ];
    assert_eq!(fits.first(), Some(&None));
    assert_eq!(fits.get(1..).unwrap(), expected.map(Some));
    let rules: Vec<_> = report.notes.iter().map(|note| note.rule).collect();
    assert_eq!(rules, ["licence-conflict", "licence-text-missing"]);
    assert!(report.compatibility.contains("OSADL"));
}

#[test]
fn texts_are_held_against_what_is_declared() {
    let text = |id: &str| {
        let mut texts = spdx::text::LICENSE_TEXTS.iter();
        texts.find(|(name, _)| *name == id).unwrap().1.to_owned()
    };
    for (texts, expected) in [
        (vec![text("Apache-2.0")], vec![]),
        (vec![text("MPL-2.0")], vec!["licence-text"]),
        (vec!["all mine".to_owned()], vec!["licence-text-unknown"]),
        (vec![], vec!["licence-text-missing"]),
    ] {
        let texts: Vec<_> = texts
            .into_iter()
            .map(|t| ("LICENSE".to_owned(), t))
            .collect();
        let parts = PackParts {
            licence_texts: &texts,
            ..parts()
        };
        let package = read(&pack(&wasm("(component)"), &parts).unwrap()).unwrap();
        let report = licence::examine(&package, &Alias::new("p").unwrap(), &Rules::default());
        let rules: Vec<_> = report.notes.iter().map(|note| note.rule).collect();
        assert_eq!(rules, expected);
    }
}

fn crates(number: usize) -> VersionInfo {
    let root = Crate {
        name: "p".to_owned(),
        version: semver::Version::new(1, 0, 0),
        source: Source::Local,
        kind: DependencyKind::Runtime,
        dependencies: Vec::new(),
        root: true,
    };
    let others = (0..number).map(|n| Crate {
        name: format!("c{n:07}"),
        source: Source::CratesIo,
        root: false,
        ..root.clone()
    });
    VersionInfo {
        packages: std::iter::once(root.clone()).chain(others).collect(),
        format: 1,
    }
}

#[test]
fn a_list_of_crates_comes_back() {
    let crates = crates(2);
    let texts = [DependencyText {
        name: "LICENSE".to_owned(),
        text: "words".to_owned(),
        packages: vec!["c0000000 1.0.0".to_owned()],
    }];
    let parts = PackParts {
        crates: Some(&crates),
        dependencies: &[dependency("c0000000", Some("MIT"))],
        dependency_texts: &texts,
        ..parts()
    };
    let packed = pack(&wasm("(component)"), &parts).unwrap();
    assert_eq!(pack(&packed, &parts).unwrap(), packed);
    let package = read(&packed).unwrap();
    let found: Vec<_> = package
        .dependencies
        .list
        .iter()
        .map(|d| (d.label(), d.license.clone()))
        .collect();
    assert_eq!(
        found,
        [
            ("c0000000 1.0.0".to_owned(), Some("MIT".to_owned())),
            ("c0000001 1.0.0".to_owned(), None)
        ]
    );
    assert_eq!(package.dependencies.sources, [".dep-v0", "CycloneDX"]);
    assert!(package.dependencies.is_whole());
    assert_eq!(package.dependency_texts, texts);
    assert!(package.licence_texts.is_empty());
    let notice = licence::notice(&package);
    for part in [
        "p 1.0.0\nApache-2.0",
        "- c0000000 1.0.0: MIT",
        "- c0000001 1.0.0: licence unknown",
        "words",
    ] {
        assert!(notice.contains(part), "{notice}");
    }
    // A packing without a list keeps the one that the builder wrote.
    let again = read(
        &pack(
            &packed,
            &PackParts {
                crates: None,
                ..parts
            },
        )
        .unwrap(),
    )
    .unwrap();
    assert_eq!(again.dependencies.list, package.dependencies.list);
}

#[test]
fn lists_that_are_damaged_or_huge_are_said_to_be_unread() {
    let zip = |text: &[u8]| miniz_oxide::deflate::compress_to_vec_zlib(text, 6);
    let list = |number: usize| write_auditable(&crates(number)).unwrap();
    let bill = |number: usize| {
        let one = serde_json::json!({ "name": "n", "version": "1" });
        let bill = serde_json::json!({ "bomFormat": "CycloneDX", "components": vec![one; number] });
        bill.to_string().into_bytes()
    };
    // Each needs the next one, and the last one the first.
    let circle = |number: usize| {
        let package = |place: usize| {
            serde_json::json!({
                "name": format!("n{place}"), "version": "1.0.0", "source": "local",
                "dependencies": [(place + 1) % number], "root": place == 0,
            })
        };
        let packages: Vec<_> = (0..number).map(package).collect();
        serde_json::json!({ "packages": packages })
            .to_string()
            .into_bytes()
    };
    let nested = format!(
        "{}{}",
        "{\"components\":[".repeat(100_000),
        "]}".repeat(100_000)
    );
    let hostile = r#"{"bomFormat":"CycloneDX","components":[{"name":"a\u001b[2J","version":"1"}]}"#;
    for (name, data, expected) in [
        (".dep-v0", vec![0; 100], "not compressed"),
        (".dep-v0", vec![0; 2 << 20], "`dependency-list`"),
        (".dep-v0", zip(&vec![b' '; 64 << 20]), "`dependency-text`"),
        (".dep-v0", zip(b"{}"), "packages"),
        (".dep-v0", zip(b"\xff"), "UTF-8"),
        (".dep-v0", zip(&circle(2)), "cyclic dependency graph"),
        (".dep-v0", zip(&circle(9_000)), "cyclic dependency graph"),
        (".dep-v0", list(20_000), "more than 10000 packages"),
        (".dep-v0", list(1_000_000), "`dependency-list`"),
        ("portreeve:sbom", bill(20_000), "more than 10000 packages"),
        ("sbom", bill(1_000_000), "(`sbom`)"),
        ("sbom", nested.into_bytes(), "within each other"),
        ("sbom", hostile.as_bytes().to_vec(), "is no name"),
        ("sbom", b"{}".to_vec(), "neither CycloneDX nor SPDX"),
    ] {
        let package = read(&with_sections(&[(name, &data)])).unwrap();
        assert!(!package.dependencies.is_whole(), "{name}: {expected}");
        let problems = package.dependencies.problems.join("; ");
        assert!(problems.contains(expected), "{problems}, not {expected}");
    }
    // A component of a thousand parts.
    let one = list(1);
    let many = append(
        wasm("(component)"),
        &vec![(".dep-v0", one.as_slice()); 1_000],
    );
    let read = read(&many).unwrap().dependencies;
    assert_eq!(read.list.len(), 1);
    assert!(read.problems.join("").contains("`dependency-sections`"));
}

#[test]
fn bills_go_out_and_come_in() {
    let list = [
        dependency("a", Some("MIT")),
        Dependency {
            ecosystem: Ecosystem::Npm,
            ..dependency("@scope/b", Some("ISC"))
        },
    ];
    let package = made_from(&list);
    let subject = sbom::Subject::package(&package);
    let cyclonedx = sbom::cyclonedx(&subject, &package.dependencies.list);
    let spdx = sbom::spdx(&subject, &package.dependencies.list, "2026-11-21T00:00:00Z");
    let purls = serde_json::to_string(&cyclonedx).unwrap();
    assert!(purls.contains("pkg:npm/%40scope/b@1.0.0"), "{purls}");
    for bill in [cyclonedx, spdx] {
        let component = with_sections(&[("sbom", bill.to_string().as_bytes())]);
        let read = read(&component).unwrap().dependencies;
        assert_eq!(read.problems, [] as [&str; 0]);
        assert_eq!(read.list, package.dependencies.list);
    }
}
