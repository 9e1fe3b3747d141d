//! Signed plugins: keys made, components signed, and those refused whose signatures don't count.

use crate::support::{CALCULATOR, Sandbox};

/// A project that takes only what the key has signed; the plugin is in it, unsigned.
fn strict() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.component("calculator.wasm", CALCULATOR);
    sandbox
        .run(&["keys", "new", "acme", "--without-passphrase"])
        .exits(0)
        .shows(&["acme.pub", "acme.key", "[policy.signatures]"]);
    policy(&sandbox, "{ file = \"acme.pub\" }");
    sandbox
}

fn policy(sandbox: &Sandbox, keys: &str) {
    sandbox.write(
        "portreeve.toml",
        format!(
            "schema = 1\n[policy.signatures]\nrequire = \"trusted\"\nkeys = [{keys}]\n\
             [plugins.calc]\nsource = \"calculator.wasm\"\n"
        ),
    );
}

fn sign(sandbox: &Sandbox) {
    sandbox
        .run(&["sign", "calculator.wasm", "--key", "acme.key"])
        .exits(0)
        .shows(&["signed calculator", "calculator.wasm.minisig"]);
}

fn status(sandbox: &Sandbox) -> String {
    let listed = sandbox.run(&["list", "--json"]).exits(0).json();
    listed["plugins"][0].to_string()
}

#[test]
fn only_what_is_signed_runs_where_it_must_be() {
    let sandbox = strict();
    let told = status(&sandbox);
    assert!(
        told.contains("not signed") && told.contains("failed"),
        "{told}"
    );
    sign(&sandbox);
    assert!(status(&sandbox).contains("ready"), "{}", status(&sandbox));
    let lock = sandbox.read("portreeve.lock");
    assert!(lock.contains("signer = \"minisign "), "{lock}");
    sandbox
        .run(&["inspect", "calc"])
        .exits(0)
        .shows(&["signed by minisign "]);
    sandbox
        .run(&["call", "calc__add", "--arg", "a=1", "--arg", "b=2"])
        .exits(0)
        .shows(&["3"]);
}

#[test]
fn a_signature_stands_for_these_bytes_alone() {
    let sandbox = strict();
    sign(&sandbox);
    // Another component under the same name, with the signature of the first.
    let other = CALCULATOR.replacen("(component", "(component (type (func))", 1);
    assert_ne!(other, CALCULATOR);
    sandbox.component("calculator.wasm", &other);
    let told = status(&sandbox);
    assert!(told.contains("doesn't count"), "{told}");
}

#[test]
fn a_key_that_is_revoked_or_over_counts_no_more() {
    let sandbox = strict();
    sign(&sandbox);
    assert!(status(&sandbox).contains("ready"));
    for (terms, says) in [
        ("revoked = \"lost\"", "lost"),
        ("not-after = \"2020-01-01\"", "2020-01-01"),
        ("plugins = [\"other-*\"]", "calculator"),
    ] {
        policy(&sandbox, &format!("{{ file = \"acme.pub\", {terms} }}"));
        let told = status(&sandbox);
        assert!(
            told.contains("failed") && told.contains(says),
            "{terms}: {told}"
        );
    }
    policy(&sandbox, "{ file = \"acme.pub\" }");
    assert!(status(&sandbox).contains("ready"));
}

/// Somebody else who is trusted as well may not take a plugin over unnoticed.
#[test]
fn a_changed_signer_stops_a_new_component() {
    let sandbox = strict();
    sign(&sandbox);
    assert!(status(&sandbox).contains("ready"));
    sandbox
        .run(&["keys", "new", "other", "--without-passphrase"])
        .exits(0);
    policy(
        &sandbox,
        "{ file = \"acme.pub\" }, { file = \"other.pub\" }",
    );
    let changed = CALCULATOR.replacen("(component", "(component (type (func))", 1);
    sandbox.component("calculator.wasm", &changed);
    sandbox
        .run(&["sign", "calculator.wasm", "--key", "other.key"])
        .exits(0);
    let told = status(&sandbox);
    assert!(
        told.contains("it was signed by") && told.contains("portreeve grant calc"),
        "{told}"
    );
    // Signed by whom it was before, it goes on.
    sign(&sandbox);
    assert!(status(&sandbox).contains("ready"), "{}", status(&sandbox));
}

#[test]
fn keys_are_made_once_and_sealed() {
    let sandbox = Sandbox::new();
    sandbox.component("calculator.wasm", CALCULATOR);
    sandbox
        .run_with(&["keys", "new", "acme"], "a long passphrase\n")
        .exits(0);
    sandbox
        .run_with(&["keys", "new", "acme"], "a long passphrase\n")
        .exits(1)
        .says(&["acme.pub"]);
    let sign = ["sign", "calculator.wasm", "--key", "acme.key"];
    sandbox
        .run_with(&sign, "another\n")
        .exits(1)
        .says(&["passphrase"]);
    sandbox.run_with(&sign, "").exits(1).says(&["passphrase"]);
    assert!(!sandbox.path("calculator.wasm.minisig").exists());
    sandbox.run_with(&sign, "a long passphrase\n").exits(0);
    let mode = std::fs::metadata(sandbox.path("acme.key")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
}
