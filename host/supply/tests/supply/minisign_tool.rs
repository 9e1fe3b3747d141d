//! The `minisign` tool and we understand each other's keys and signatures.
//!
//! The tool is the one in `PATH`, or the one that `PORTREEVE_TEST_MINISIGN` names.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use portreeve_manifest::id::PluginId;
use portreeve_supply::signature::{NewKeyPair, PublicKey, SecretKey, SignatureFile, SignatureKind};
use semver::Version;

use crate::signature::{Project, examine};
use crate::skipped::skipped;

const ARTIFACT: &[u8] = b"\0asm the component";
const BINDING: &str = "name=acme-charts version=1.4.0";

/// The tool, in a directory with the component. None, said aloud, where there is no tool.
struct Tool {
    program: OsString,
    project: Project,
}

impl Tool {
    fn find() -> Option<Tool> {
        let program = std::env::var_os("PORTREEVE_TEST_MINISIGN").unwrap_or("minisign".into());
        if Command::new(&program).arg("-v").output().is_err() {
            skipped("minisign is not installed (Debian: `apt install minisign`)");
            return None;
        }
        let project = Project::new();
        fs::write(project.directory.path().join("charts.wasm"), ARTIFACT).unwrap();
        Some(Tool { program, project })
    }

    fn directory(&self) -> &Path {
        self.project.directory.path()
    }

    /// Runs it with something on its standard input, and says whether it succeeded.
    fn run(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(self.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    fn must(&self, arguments: &[&str], input: &str) {
        let (success, said) = self.run(arguments, input);
        assert!(success, "minisign {arguments:?}: {said}");
    }

    fn signature(&self) -> SignatureFile {
        SignatureFile {
            kind: SignatureKind::Minisign,
            bytes: fs::read(self.directory().join("charts.wasm.minisig")).unwrap(),
        }
    }
}

fn sign(key: &SecretKey) -> Vec<u8> {
    let id = PluginId::new("acme-charts").unwrap();
    key.sign(ARTIFACT, &id, &Version::new(1, 4, 0))
        .unwrap()
        .bytes
}

#[test]
fn its_signatures_count_here() {
    let Some(tool) = Tool::find() else { return };
    tool.must(&["-G", "-W", "-p", "its.pub", "-s", "its.key"], "");
    let trust = tool.project.trust("keys = [{ file = 'its.pub' }]");
    let signing = [
        "-S",
        "-W",
        "-s",
        "its.key",
        "-m",
        "charts.wasm",
        "-t",
        BINDING,
    ];
    // Hashed, as is usual today, and not hashed, as it was before 2021.
    for legacy in [None, Some("-l")] {
        let arguments: Vec<_> = signing.into_iter().chain(legacy).collect();
        tool.must(&arguments, "");
        let examined = examine(&trust, ARTIFACT, &[tool.signature()]).unwrap();
        assert!(examined.signer.is_some());
        assert!(examine(&trust, b"\0asm another", &[tool.signature()]).is_err());
    }
    // Its own comment names no plugin.
    tool.must(&["-S", "-W", "-s", "its.key", "-m", "charts.wasm"], "");
    let refusal = examine(&trust, ARTIFACT, &[tool.signature()]).unwrap_err();
    assert!(refusal.finding.contains("not as a plugin"), "{refusal}");
}

#[test]
fn our_signatures_count_there() {
    let Some(tool) = Tool::find() else { return };
    let key = tool.project.key("our");
    let file = tool.directory().join("charts.wasm.minisig");
    fs::write(&file, sign(&key)).unwrap();
    tool.must(&["-V", "-p", "our.pub", "-m", "charts.wasm"], "");
    let line = key.public().to_base64();
    tool.must(&["-V", "-P", &line, "-m", "charts.wasm"], "");
    let (_, said) = tool.run(&["-V", "-Q", "-p", "our.pub", "-m", "charts.wasm"], "");
    assert_eq!(said.trim_end(), BINDING);
    fs::write(tool.directory().join("charts.wasm"), b"\0asm another").unwrap();
    assert!(
        !tool
            .run(&["-V", "-p", "our.pub", "-m", "charts.wasm"], "")
            .0
    );
}

#[test]
fn it_reads_our_secret_keys() {
    let Some(tool) = Tool::find() else { return };
    let pair = NewKeyPair::generate(Some("correct horse")).unwrap();
    let (public, secret) = (
        tool.directory().join("our.pub"),
        tool.directory().join("our.key"),
    );
    pair.write(&public, &secret).unwrap();
    let signing = ["-S", "-s", "our.key", "-m", "charts.wasm", "-t", BINDING];
    assert!(!tool.run(&signing, "battery staple\n").0);
    tool.must(&signing, "correct horse\n");
    let trust = tool.project.trust("keys = [{ file = 'our.pub' }]");
    assert!(examine(&trust, ARTIFACT, &[tool.signature()]).is_ok());
    // It makes the same public key of the secret one.
    tool.must(
        &["-R", "-s", "our.key", "-p", "again.pub"],
        "correct horse\n",
    );
    assert_eq!(
        PublicKey::read(&tool.directory().join("again.pub")).unwrap(),
        pair.public
    );
}

#[test]
fn we_read_its_secret_keys() {
    let Some(tool) = Tool::find() else { return };
    tool.must(&["-G", "-W", "-p", "its.pub", "-s", "its.key"], "");
    let text = SecretKey::read_text(&tool.directory().join("its.key")).unwrap();
    let key = SecretKey::parse(&text, None).unwrap();
    assert_eq!(
        *key.public(),
        PublicKey::read(&tool.directory().join("its.pub")).unwrap()
    );
    fs::write(tool.directory().join("charts.wasm.minisig"), sign(&key)).unwrap();
    tool.must(&["-V", "-p", "its.pub", "-m", "charts.wasm"], "");
}
