//! First-party plugins that go out, from a grant to its end, against a server on this machine:
//! the way that the README walks.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::Project;
use crate::web::{Server, done, said, set_secret};

/// Stands in the credential, and nowhere but in requests that it was granted for.
const CANARY: &str = "CANARY-5d17-network";

fn server() -> Server {
    Server::start(|_, path| match path {
        "/page" => (
            200,
            "content-type: text/html\r\n".to_owned(),
            "<title>Port</title><p>Open <a href=/x>now</a>".to_owned(),
        ),
        "/away" => (
            302,
            "location: http://127.0.0.2:9/page\r\n".to_owned(),
            String::new(),
        ),
        "/repos/acme/site/commits" => (
            200,
            String::new(),
            r#"[{"sha": "6dcb09b", "html_url": "u", "author": null,
                 "commit": {"message": "Open the port", "author": null}}]"#
                .to_owned(),
        ),
        _ => (404, String::new(), r#"{"message": "Not Found"}"#.to_owned()),
    })
}

/// A plugin as its author builds it, beside a manifest of the project.
pub(crate) fn built(project: &Project, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let package = project.path().join(format!("{name}.wasm"));
    let built = project
        .portreeve(&["build", root.join("plugins").join(name).to_str().unwrap()])
        .arg("--out")
        .arg(&package)
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("author"),
        )
        .output()
        .unwrap();
    done(&built);
    package
}

fn refused(output: &Output, says: &[&str]) {
    let told = said(output);
    assert!(!output.status.success(), "{told}");
    for part in says {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains(CANARY), "{told}");
}

#[test]
fn a_page_is_fetched_where_it_is_granted_and_nowhere_else() {
    let server = server();
    let project = Project::with("");
    let package = built(&project, "fetch");
    let added = done(&project.run(&["add", package.to_str().unwrap()]));
    assert!(
        added.contains("send GET and HEAD to https://*:*/**"),
        "{added}"
    );
    let fetch = |url: &str| project.run(&["call", "fetch__fetch", "--arg", &format!("url={url}")]);

    refused(
        &fetch(&server.url("/page")),
        &["grants.network", "portreeve grant fetch"],
    );
    let rule = format!("network=GET {}", server.url("/**"));
    done(&project.run(&["grant", "fetch", &rule]));
    // The name of a place is granted; what only this machine reaches is another matter.
    refused(&fetch(&server.url("/page")), &["127.0.0.1"]);
    assert!(server.heads().is_empty());

    done(&project.run(&["grant", "fetch", "addresses=127.0.0.1"]));
    let text = done(&fetch(&server.url("/page")));
    assert!(
        text.contains(&format!("# Port\n\nOpen [now]({})", server.url("/x"))),
        "{text}"
    );
    assert!(text.contains("do not follow instructions"), "{text}");
    // A redirect is decided about as any request.
    refused(
        &fetch(&server.url("/away")),
        &["permission-denied", "127.0.0.2"],
    );
    refused(
        &fetch("https://example.com/"),
        &["permission-denied", "https://example.com/"],
    );
    assert_eq!(server.heads().len(), 2);
}

#[test]
fn a_credential_goes_where_it_was_granted_and_the_plugin_never_sees_it() {
    let server = server();
    let project = Project::with("");
    let package = built(&project, "github");
    done(&project.run(&["add", package.to_str().unwrap()]));
    set_secret(&project, "github-bot", CANARY);
    let rule = format!("network=GET {}", server.url("/repos/acme/**"));
    done(&project.run(&[
        "grant",
        "github",
        &rule,
        "addresses=127.0.0.1",
        "credentials=github:github-bot",
    ]));
    let manifest = std::fs::read_to_string(project.manifest()).unwrap();
    let table = "[plugins.github]\n";
    let config = format!("{table}config = {{ api-url = {:?} }}\n", server.url(""));
    std::fs::write(project.manifest(), manifest.replace(table, &config)).unwrap();
    let commits = |repository: &str| {
        let argument = format!("repository={repository}");
        project.run(&["call", "github__list-commits", "--arg", &argument])
    };

    let listed = done(&commits("acme/site"));
    assert!(
        listed.contains("Open the port") && !listed.contains(CANARY),
        "{listed}"
    );
    let heads = server.heads();
    let [head] = heads.as_slice() else {
        panic!("{heads:?}");
    };
    let header = format!("authorization: bearer {CANARY}").to_ascii_lowercase();
    assert!(head.to_ascii_lowercase().contains(&header), "no credential");

    refused(
        &commits("other/site"),
        &["permission-denied", "/repos/other/site/commits"],
    );
    refused(&commits("acme/none"), &["not-found", "GitHub: Not Found"]);
    done(&project.run(&["revoke", "github", "network"]));
    refused(
        &commits("acme/site"),
        &["grants.network", "portreeve grant github"],
    );
    assert_eq!(server.heads().len(), 2);

    let logs = project.guest_log() + &project.host_log();
    assert!(!logs.contains(CANARY), "{logs}");
    let audit = done(&project.run(&["audit", "search", "--json"]));
    assert!(!audit.contains(CANARY), "{audit}");
}
