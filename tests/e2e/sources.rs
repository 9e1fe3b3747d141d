//! Plugins that come from a registry, as their author and their operator see them.

use std::process::{Command, Output};

use portreeve_test_artifacts as programs;
use serde_json::Value;

use crate::docker_registry::{AUTH, Registry};
use crate::support::Project;
use crate::web::said;

const MORE: &str = "[requests.ui]\nprogress = \"show how far it has come\"\n";
const MUCH: &str =
    "[requests.ui]\nprogress = \"show how far it has come\"\n[requests.storage]\nkv = \"1 MiB\"\n";

/// One who publishes and one who installs, on machines of their own.
struct Harbour {
    registry: Registry,
    author: Project,
    operator: Project,
}

impl Harbour {
    fn open() -> Option<Harbour> {
        let registry = Registry::start(true)?;
        let harbour = Harbour {
            author: Project::with("[network]\nroots = { file = \"ca.pem\" }\n"),
            operator: Project::with(
                "[network]\nroots = { file = \"ca.pem\" }\n[policy.signatures]\nkeys = [{ file = \"acme.pub\" }]\n",
            ),
            registry,
        };
        for project in [&harbour.author, &harbour.operator] {
            std::fs::write(project.path().join("ca.pem"), &harbour.registry.roots).unwrap();
        }
        let key = harbour.author.path().join("acme");
        let key = key.to_str().unwrap();
        done(&harbour.run(
            &harbour.author,
            &["keys", "new", key, "--without-passphrase"],
        ));
        let public = harbour.author.path().join("acme.pub");
        std::fs::copy(public, harbour.operator.path().join("acme.pub")).unwrap();
        Some(harbour)
    }

    /// A command on a machine of the project's own.
    fn command(&self, project: &Project, arguments: &[&str]) -> Command {
        let mut command = project.portreeve(arguments);
        command
            .env("PORTREEVE_STATE_DIR", project.path().join("machine"))
            .env("PORTREEVE_CACHE_DIR", project.path().join("cache"))
            .env("DOCKER_CONFIG", self.registry.log_in(AUTH));
        command
    }

    fn run(&self, project: &Project, arguments: &[&str]) -> Output {
        self.command(project, arguments).output().unwrap()
    }

    /// Runs a command of the operator's.
    fn operate(&self, arguments: &[&str]) -> Output {
        self.run(&self.operator, arguments)
    }

    /// Builds a version, signs it unless nobody shall, and publishes it.
    fn publish(&self, version: &str, requests: &str, key: Option<&str>) -> String {
        let dir = self.author.path().join(format!("reporter-{version}"));
        std::fs::create_dir_all(&dir).unwrap();
        let manifest = format!(
            "schema = 1\n[plugin]\nid = \"reporter\"\nversion = \"{version}\"\nlicense = \"MIT\"\n{requests}"
        );
        std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
        std::fs::write(dir.join("LICENSE"), "MIT License\n").unwrap();
        let path = dir.to_str().unwrap();
        done(&self.run(
            &self.author,
            &["build", path, "--component", programs::PROGRESS],
        ));
        let repository = self.registry.oci("acme/reporter");
        let mut publish = vec!["publish", path, &repository];
        let key = key.map(|key| self.author.path().join(key));
        match &key {
            Some(key) => {
                let key = key.to_str().unwrap();
                done(&self.run(&self.author, &["sign", path, "--key", key]));
            }
            None => publish.push("--unsigned"),
        }
        done(&self.run(&self.author, &publish));
        repository
    }

    /// The version that runs, and the digest that the lockfile has.
    fn installed(&self) -> (String, String) {
        let listed: Value =
            serde_json::from_str(&done(&self.operate(&["list", "--json"]))).unwrap();
        let plugin = &listed["plugins"][0];
        assert_eq!(plugin["status"], "ready", "{plugin}");
        let text = |key: &str| plugin[key].as_str().unwrap().to_owned();
        (text("version"), text("digest"))
    }

    fn lock(&self) -> String {
        std::fs::read_to_string(self.operator.path().join("portreeve.lock")).unwrap()
    }

    fn works(&self) {
        let called = done(&self.operate(&["call", "reporter__report", "--arg", "times=1"]));
        assert!(called.contains("accepted"), "{called}");
    }
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output, because: &str) {
    assert_eq!(output.status.code(), Some(3), "{}", said(output));
    assert!(said(output).contains(because), "{}", said(output));
}

#[test]
fn published_added_locked_updated_refused() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", MORE, Some("acme.key"));
    let added = done(&harbour.operate(&["add", &source, "--version", "^1"]));
    assert!(added.contains("reporter 1.0.0"), "{added}");
    let (version, first) = harbour.installed();
    assert_eq!(version, "1.0.0");
    harbour.works();
    let lock = harbour.lock();
    for part in [
        &format!("source = \"{source}\""),
        &format!("resolved = \"{source}@sha256:"),
        "sha512 = \"sha512:",
        "signer = \"minisign",
        &format!("digest = \"{first}\""),
    ] {
        assert!(lock.contains(part), "{part}\n{lock}");
    }

    // What is newer is shown, and taken within what is wanted.
    harbour.publish("1.1.0", MORE, Some("acme.key"));
    harbour.publish("2.0.0", MORE, Some("acme.key"));
    let outdated = done(&harbour.operate(&["outdated"]));
    assert!(
        outdated.contains("1.0.0 is installed, 1.1.0 is wanted, 2.0.0 is the newest"),
        "{outdated}"
    );
    let looked = said(&harbour.operate(&["update", "--dry-run"]));
    assert!(looked.contains("1.0.0 -> 1.1.0"), "{looked}");
    assert_eq!(harbour.installed(), ("1.0.0".to_owned(), first.clone()));
    let updated = done(&harbour.operate(&["update"]));
    assert!(updated.contains("`reporter` is 1.1.0 now"), "{updated}");
    let (version, second) = harbour.installed();
    assert_eq!(version, "1.1.0");
    assert_ne!(first, second);
    harbour.works();

    // What asks for more waits until somebody agrees; nothing is granted by that.
    harbour.publish("1.2.0", MUCH, Some("acme.key"));
    let lock = harbour.lock();
    let stopped = harbour.operate(&["update", "reporter"]);
    refused(&stopped, "+ storage.kv 1 MiB");
    assert_eq!(
        (harbour.lock(), harbour.installed().0),
        (lock, "1.1.0".to_owned())
    );
    done(&harbour.operate(&["update", "reporter", "--agree"]));
    assert_eq!(harbour.installed().0, "1.2.0");
    assert!(
        !std::fs::read_to_string(harbour.operator.manifest())
            .unwrap()
            .contains("kv")
    );

    // Another signer stops it as well, and so does none.
    let other = harbour.author.path().join("other");
    done(&harbour.run(
        &harbour.author,
        &[
            "keys",
            "new",
            other.to_str().unwrap(),
            "--without-passphrase",
        ],
    ));
    harbour.publish("1.3.0", MUCH, Some("other.key"));
    let lock = harbour.lock();
    refused(&harbour.operate(&["update"]), "signature");
    harbour.publish("1.4.0", MUCH, None);
    refused(&harbour.operate(&["update"]), "signature");
    assert_eq!(
        (harbour.lock(), harbour.installed().0),
        (lock, "1.2.0".to_owned())
    );
}

#[test]
fn an_update_reaches_a_host_that_runs() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", "", Some("acme.key"));
    done(&harbour.operate(&["add", &source]));
    let mut client = crate::support::Client::start(harbour.command(&harbour.operator, &["serve"]));
    client.initialize();
    assert!(
        client
            .tools()
            .iter()
            .any(|tool| tool.starts_with("reporter__"))
    );
    harbour.publish("1.1.0", "", Some("acme.key"));
    done(&harbour.operate(&["update"]));
    assert_eq!(harbour.installed().0, "1.1.0");
    let records = done(&harbour.operate(&["audit", "search", "--json", "--kind", "update"]));
    let record: Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert_eq!(record["body"]["by"], "install", "{record}");
    assert!(client.close());
}

#[test]
fn what_would_not_work_takes_nothings_place() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", "", Some("acme.key"));
    done(&harbour.operate(&["add", &source]));
    let needs = "[config]\ntype = \"object\"\nrequired = [\"owner\"]\n[config.properties.owner]\ntype = \"string\"\n";
    harbour.publish("2.0.0", needs, Some("acme.key"));
    let lock = harbour.lock();
    refused(&harbour.operate(&["update", "--agree"]), "owner");
    assert_eq!(
        (harbour.lock(), harbour.installed().0),
        (lock, "1.0.0".to_owned())
    );
    // With what it needs it is taken.
    let text = std::fs::read_to_string(harbour.operator.manifest()).unwrap();
    let set = text + "config = { owner = \"acme\" }\n";
    std::fs::write(harbour.operator.manifest(), set).unwrap();
    done(&harbour.operate(&["update", "--agree"]));
    assert_eq!(harbour.installed().0, "2.0.0");
}

#[test]
fn another_machine_installs_what_is_locked() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", "", Some("acme.key"));
    done(&harbour.operate(&["add", &source]));
    harbour.publish("1.1.0", "", Some("acme.key"));
    let other = Project::none();
    for file in ["portreeve.toml", "portreeve.lock", "ca.pem", "acme.pub"] {
        std::fs::copy(harbour.operator.path().join(file), other.path().join(file)).unwrap();
    }
    let listed = said(&harbour.run(&other, &["list"]));
    assert!(
        listed.contains("`portreeve install` fetches it"),
        "{listed}"
    );
    let installed = done(&harbour.run(&other, &["install", "--locked"]));
    assert!(
        installed.contains("installed reporter 1.0.0"),
        "{installed}"
    );
    let lock =
        |project: &Project| std::fs::read_to_string(project.path().join("portreeve.lock")).unwrap();
    assert_eq!(lock(&other), lock(&harbour.operator));

    // What was changed in the store is put aside, and fetched again.
    let (_, digest) = harbour.installed();
    let stored = other
        .path()
        .join("machine/store/sha256")
        .join(digest.trim_start_matches("sha256:"));
    let mut bytes = std::fs::read(&stored).unwrap();
    bytes.push(0);
    std::fs::remove_file(&stored).unwrap();
    std::fs::write(&stored, bytes).unwrap();
    let listed = said(&harbour.run(&other, &["list"]));
    assert!(listed.contains("was changed"), "{listed}");
    let installed = done(&harbour.run(&other, &["install", "--locked"]));
    assert!(
        installed.contains("installed reporter 1.0.0"),
        "{installed}"
    );

    // From here on without the registry.
    let Harbour {
        registry, operator, ..
    } = harbour;
    drop(registry);
    let run = |arguments: &[&str]| {
        let mut command = other.portreeve(arguments);
        command
            .env("PORTREEVE_STATE_DIR", other.path().join("machine"))
            .env("PORTREEVE_CACHE_DIR", other.path().join("cache"));
        command.output().unwrap()
    };
    assert!(done(&run(&["install", "--locked"])).contains("1 plugin there already"));
    done(&run(&["list"]));

    // What the lockfile doesn't pin is refused.
    let text = std::fs::read_to_string(operator.manifest()).unwrap();
    std::fs::write(
        other.manifest(),
        text.replace("acme/reporter", "acme/other"),
    )
    .unwrap();
    refused(
        &run(&["install", "--locked"]),
        "which is not what portreeve.lock pins",
    );
    std::fs::write(
        other.manifest(),
        text.replace(&source, &format!("{source}\"\nversion = \"^2")),
    )
    .unwrap();
    refused(
        &run(&["install", "--locked"]),
        "which is not what portreeve.lock pins",
    );
}

#[test]
fn what_nobody_signed_is_refused_before_anything_is_written() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", "", None);
    let before = std::fs::read_to_string(harbour.operator.manifest()).unwrap();
    refused(&harbour.operate(&["add", &source]), "signature");
    assert_eq!(
        std::fs::read_to_string(harbour.operator.manifest()).unwrap(),
        before
    );
    assert!(!harbour.operator.path().join("portreeve.lock").exists());
    // Written by hand it is not run either, and says what to do.
    std::fs::write(
        harbour.operator.manifest(),
        format!("{before}[plugins.reporter]\nsource = \"{source}\"\n"),
    )
    .unwrap();
    refused(&harbour.operate(&["install"]), "signature");
    let listed = said(&harbour.operate(&["list"]));
    assert!(listed.contains("`portreeve install`"), "{listed}");
    // The operator's own choice, in the file.
    let text = std::fs::read_to_string(harbour.operator.manifest()).unwrap();
    let open = text.replace(
        "[policy.signatures]\n",
        "[policy.signatures]\nrequire = \"none\"\n",
    );
    std::fs::write(harbour.operator.manifest(), open).unwrap();
    done(&harbour.operate(&["install"]));
    assert_eq!(harbour.installed().0, "1.0.0");
}

#[test]
fn a_version_stands_for_one_component() {
    let Some(harbour) = Harbour::open() else {
        return;
    };
    let source = harbour.publish("1.0.0", "", Some("acme.key"));
    let dir = harbour.author.path().join("reporter-1.0.0");
    std::fs::write(
        dir.join("plugin.toml"),
        "schema = 1\n[plugin]\nid = \"reporter\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\ndescription = \"another\"\n",
    )
    .unwrap();
    let path = dir.to_str().unwrap();
    done(&harbour.run(
        &harbour.author,
        &["build", path, "--component", programs::PROGRESS],
    ));
    let told = harbour.run(&harbour.author, &["publish", path, &source, "--unsigned"]);
    assert!(!told.status.success());
    assert!(said(&told).contains("is there already"), "{}", said(&told));
}
