//! First-party plugins that go out, from a grant to its end, against a server on this machine:
//! the way that the README walks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::Project;

/// Stands in the credential, and nowhere but in requests that it was granted for.
const CANARY: &str = "CANARY-5d17-network";

/// A server that answers by path and keeps the heads of what it was asked.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                // A client that leaves is no failure of the server.
                std::thread::spawn(move || stream.map(|stream| answer(stream, &kept)));
            }
        });
        Server { address, heads }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, kept: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    kept.lock().unwrap().push(head);
    let (status, headers, body) = match path.split('?').next().unwrap_or_default() {
        "/page" => (
            "200 OK",
            "content-type: text/html\r\n",
            "<title>Port</title><p>Open <a href=/x>now</a>",
        ),
        "/away" => ("302 Found", "location: http://127.0.0.2:9/page\r\n", ""),
        "/repos/acme/site/commits" => (
            "200 OK",
            "",
            r#"[{"sha": "6dcb09b", "html_url": "u", "author": null,
                 "commit": {"message": "Open the port", "author": null}}]"#,
        ),
        _ => ("404 Not Found", "", r#"{"message": "Not Found"}"#),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A plugin as its author builds it, beside a manifest of the project.
fn built(project: &Project, name: &str) -> PathBuf {
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

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
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
    let server = Server::start();
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
    let server = Server::start();
    let project = Project::with("");
    let package = built(&project, "github");
    done(&project.run(&["add", package.to_str().unwrap()]));
    let mut child = project
        .portreeve(&["secrets", "set", "github-bot", "--kind", "bearer"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(CANARY.as_bytes())
        .unwrap();
    done(&child.wait_with_output().unwrap());
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
    assert_eq!(server.heads().len(), 1);

    let logs = project.guest_log() + &project.host_log();
    assert!(!logs.contains(CANARY), "{logs}");
    let audit = done(&project.run(&["audit", "search", "--json"]));
    assert!(!audit.contains(CANARY), "{audit}");
}
