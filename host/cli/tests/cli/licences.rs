//! Licences as operators meet them: a refusal, an exception, the attribution file, bills.

use crate::support::{CALCULATOR, Sandbox};

/// A plugin under the MPL that was made from two packages of npm.
fn project(policy: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.component("built.wasm", CALCULATOR);
    sandbox.write(
        "plugin.toml",
        "schema = 1\n[plugin]\nid = \"calc\"\nversion = \"1.0.0\"\nlicense = \"MPL-2.0\"\n",
    );
    sandbox.write(
        "package-lock.json",
        r#"{"packages": {"node_modules/left-pad": {"version": "1.3.0", "license": "MIT"},
            "node_modules/tool": {"version": "2.0.0", "license": "GPL-3.0-only", "dev": true}}}"#,
    );
    sandbox.write("node_modules/left-pad/LICENSE", "do what you want");
    sandbox
        .run(&["build", "--component", "built.wasm", "--out", "calc.wasm"])
        .exits(0);
    sandbox.write("portreeve.toml", format!("schema = 1\n{policy}"));
    sandbox
}

#[test]
fn a_licence_that_is_not_allowed_is_refused_until_an_exception_says_why() {
    let strict = "[policy.licenses]\nallow = [\"MIT\"]\n";
    let sandbox = project(strict);
    sandbox.run(&["add", "calc.wasm"]).exits(3).says(&[
        "licence: its licence `MPL-2.0` is refused by [policy.licenses]",
        "`portreeve licenses calc`",
        "exceptions = [{ plugin = \"calc\", allow = [\"MPL-2.0\"], reason = \"...\" }]",
    ]);
    assert!(!sandbox.read("portreeve.toml").contains("calc"));
    sandbox.run(&["licenses", "calc.wasm"]).exits(3).shows(&[
        "calc 1.0.0",
        "MPL-2.0",
        "denied",
        "left-pad 1.3.0",
        "build only",
    ]);

    sandbox.run(&["inspect", "calc.wasm"]).exits(0).shows(&[
        "licences of it and 1 package",
        "refused: licence: its licence `MPL-2.0`",
        "licence-text-missing",
    ]);

    let exception = "exceptions = [{ plugin = \"calc\", allow = [\"MPL-2.0\"], reason = \"approved 2026-11\" }]\n";
    sandbox.write("portreeve.toml", format!("schema = 1\n{strict}{exception}"));
    sandbox.run(&["add", "calc.wasm"]).exits(0);
    sandbox
        .run(&["licenses"])
        .exits(0)
        .shows(&["exception", "reason: approved 2026-11", "OSADL"]);
    // Whoever takes the exception back stops the plugin.
    let text = sandbox.read("portreeve.toml").replace(exception, "");
    sandbox.write("portreeve.toml", text);
    let listed = sandbox.run(&["list", "--json"]).exits(0).json();
    let plugin = listed["plugins"][0].to_string();
    assert!(plugin.contains("refused by [policy.licenses]"), "{plugin}");
}

#[test]
fn a_dependency_that_is_not_allowed_is_refused() {
    let sandbox = project("[policy.licenses]\nallow = [\"MPL-2.0\"]\n");
    sandbox
        .run(&["add", "calc.wasm"])
        .exits(3)
        .says(&["the licence of left-pad 1.3.0 (npm), which it was made from, `MIT`"]);
}

#[test]
fn the_attribution_file_names_everybody() {
    let sandbox = project("");
    sandbox
        .run(&["licenses", "calc.wasm", "--notice", "NOTICE"])
        .exits(0)
        .shows(&["no policy"]);
    let notice = sandbox.read("NOTICE");
    for part in [
        "calc 1.0.0\nMPL-2.0",
        "- left-pad 1.3.0: MIT",
        "do what you want",
    ] {
        assert!(notice.contains(part), "{notice}");
    }
    assert!(!notice.contains("tool 2.0.0"), "{notice}");
}

#[test]
fn bills_are_written() {
    let sandbox = project("");
    let bill = sandbox.run(&["sbom", "calc.wasm"]).exits(0).json();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["components"][0]["purl"], "pkg:npm/left-pad@1.3.0");
    sandbox
        .run(&[
            "sbom",
            "calc.wasm",
            "--format",
            "spdx",
            "--out",
            "bill.json",
        ])
        .exits(0);
    let bill: serde_json::Value = serde_json::from_str(&sandbox.read("bill.json")).unwrap();
    assert_eq!(bill["spdxVersion"], "SPDX-2.3");
    assert_eq!(bill["packages"][0]["licenseDeclared"], "MPL-2.0");
}

/// The blocks of the README's section on licences.
fn readme(fence: &str) -> Vec<String> {
    let readme = include_str!("../../../../README.md");
    let (_, section) = readme.split_once("### Under which terms\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let fence = format!("```{fence}\n");
    let blocks = section.split(&fence).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_readme_shows_what_happens() {
    let toml = readme("toml").remove(0);
    let [refusal, notice] = readme("text").try_into().unwrap();
    let sandbox = project("");
    let (strict, _) = toml.split_once("exceptions").unwrap();
    sandbox.write("portreeve.toml", strict);
    sandbox
        .run(&["add", "calc.wasm"])
        .exits(3)
        .says(&[refusal.trim()]);
    sandbox.write("portreeve.toml", &toml);
    sandbox.run(&["add", "calc.wasm"]).exits(0);
    sandbox
        .run(&["licenses", "calc", "--notice", "NOTICE"])
        .exits(0)
        .shows(&["approved 2026-11"]);
    assert!(
        sandbox.read("NOTICE").starts_with(&notice),
        "{}",
        sandbox.read("NOTICE")
    );
}
