//! What the host itself has to read, for clients with the scope: in both eras of the protocol,
//! over standard input and output and over HTTP.

use std::io::Write;
use std::process::Stdio;

use portreeve_test_artifacts as programs;
use rmcp::RoleClient;
use rmcp::model::{
    ProtocolVersion, ReadResourceRequestParams, ResourceUpdatedNotificationParam,
    SubscribeRequestParams, SubscriptionFilter,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, NotificationContext};
use rmcp::transport::TokioChildProcess;
use serde_json::{Value, json};

use crate::http::{self, HttpHost};
use crate::support::{Client, Project, eventually, plugin};
use crate::web::{done, said};

const PAPERS: &str = "portreeve://plugins/echo/papers";

/// How a client speaks with the host.
enum Way<'a> {
    Stdio(Box<Client>),
    Http(&'a HttpHost, String),
}

/// A client, of one era, on one way.
struct Reader<'a> {
    way: Way<'a>,
    newer: bool,
}

fn stateless(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    });
    params
}

/// The fields of a request of the newer era.
fn newer_fields(method: &str, name: Option<&str>) -> String {
    let name = name.map_or(String::new(), |name| format!("mcp-name: {name}\r\n"));
    format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{name}")
}

impl Reader<'_> {
    fn request(&mut self, method: &str, params: Value) -> Value {
        let name = params["uri"].as_str().map(str::to_owned);
        let params = if self.newer {
            stateless(params)
        } else {
            params
        };
        match &mut self.way {
            Way::Stdio(client) => client.request(method, params),
            Way::Http(host, session) => {
                let message =
                    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
                let fields = match self.newer {
                    true => newer_fields(method, name.as_deref()),
                    false => http::older(session),
                };
                let (head, mut answers) = host.post(&fields, &message);
                answers.pop().unwrap_or_else(|| panic!("{head}"))
            }
        }
    }

    /// Addresses of all that is listed, page by page, and of the templates.
    fn listed(&mut self) -> (Vec<String>, Vec<String>) {
        let texts = |list: &Value, name: &str| -> Vec<String> {
            let list = list.as_array().unwrap_or_else(|| panic!("{list}")).iter();
            list.map(|one| one[name].as_str().unwrap().to_owned())
                .collect()
        };
        let mut uris = Vec::new();
        let mut params = json!({});
        loop {
            let page = self.request("resources/list", params);
            uris.extend(texts(&page["result"]["resources"], "uri"));
            match &page["result"]["nextCursor"] {
                Value::Null => break,
                next => params = json!({"cursor": next}),
            }
        }
        let templates = self.request("resources/templates/list", json!({}));
        let templates = texts(&templates["result"]["resourceTemplates"], "uriTemplate");
        (uris, templates)
    }

    fn client(&mut self) -> &mut Client {
        match &mut self.way {
            Way::Stdio(client) => client,
            Way::Http(..) => panic!("it is no process"),
        }
    }

    /// What it was told of since it was last asked.
    fn updated(&mut self) -> Vec<String> {
        self.request("tools/list", json!({}));
        let told = self.client().notifications.drain(..);
        let updated = told.filter(|told| told["method"] == "notifications/resources/updated");
        updated
            .map(|told| told["params"]["uri"].as_str().unwrap().to_owned())
            .collect()
    }

    fn read(&mut self, uri: &str) -> Value {
        self.request("resources/read", json!({"uri": uri}))
    }

    /// What was read, as JSON.
    fn document(&mut self, uri: &str) -> Value {
        let answer = self.read(uri);
        let part = &answer["result"]["contents"][0];
        assert_eq!(part["uri"], uri, "{answer}");
        serde_json::from_str(part["text"].as_str().unwrap()).unwrap()
    }
}

/// One of each.
fn readers<'a>(project: &Project, host: &'a HttpHost) -> [Reader<'a>; 4] {
    [false, true]
        .map(|newer| {
            let client = match newer {
                true => project.connect(),
                false => project.serve(),
            };
            let session = match newer {
                true => String::new(),
                false => host.greet_as(&json!({})),
            };
            [Way::Stdio(Box::new(client)), Way::Http(host, session)]
                .map(|way| Reader { way, newer })
        })
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| panic!("not four"))
}

/// Holds a refusal against what it is to say.
fn check_refused(answer: &Value, parts: &[&str]) {
    let told = answer["error"]["message"].as_str();
    let told = told.unwrap_or_else(|| panic!("{answer}"));
    for part in parts
        .iter()
        .chain(&["not-granted", "portreeve.toml", "[serve]"])
    {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn without_the_scope_no_papers_are_listed_or_read() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let host = HttpHost::start(&project);
    for mut reader in readers(&project, &host) {
        assert_eq!(reader.listed(), (vec![], vec![]));
        let door = match reader.way {
            Way::Stdio(_) => "scopes = { stdio = [\"papers:read\"] }",
            Way::Http(..) => "scopes = { http = [\"papers:read\"] }",
        };
        // Whether there is such a plugin is not told.
        for uri in [PAPERS, "portreeve://plugins/none/papers"] {
            check_refused(&reader.read(uri), &["papers:read", door]);
            if !reader.newer {
                let refused = reader.request("resources/subscribe", json!({"uri": uri}));
                check_refused(&refused, &["papers:read", door]);
            }
        }
        if let (Way::Stdio(client), true) = (&mut reader.way, reader.newer) {
            let listen = json!({"notifications": {"resourceSubscriptions": [PAPERS]}});
            client.ask("subscriptions/listen", stateless(listen));
            let accepted = client.message();
            let accepted = &accepted["params"]["notifications"]["resourceSubscriptions"];
            assert!(accepted.is_null() || *accepted == json!([]), "{accepted}");
        }
    }
    // Two addresses, read four times and subscribed to twice; one was listened to.
    eventually("all of it is on record", || {
        let refusals = done(&project.run(&["audit", "export", "--kind", "refusal"]));
        let of_papers = refusals.lines().filter(|line| line.contains("papers:read"));
        of_papers.count() == 13
    });
}

#[test]
fn papers_are_read_with_the_scope_and_no_longer_without() {
    let scoped = format!(
        "[serve]\nscopes = {{ stdio = ['papers:read'], http = ['papers:read'] }}\n{}{}",
        plugin("echo", programs::ECHO),
        // Names that could be taken for the host's own.
        plugin("plugins", programs::RESOURCES),
    );
    let project = Project::with(&scoped);
    let host = HttpHost::start(&project);
    let inspected = done(&project.run(&["inspect", "echo", "--json"]));
    let mut inspected: Value = serde_json::from_str(&inspected).unwrap();
    let inspected = inspected.as_object_mut().unwrap();
    // What is this machine's own affair.
    for own in ["file", "grants", "withheld"] {
        assert!(inspected.remove(own).is_some(), "{own}");
    }
    let mut readers = readers(&project, &host);
    for reader in &mut readers {
        let (uris, templates) = reader.listed();
        assert_eq!(uris[3..], [PAPERS, "portreeve://plugins/plugins/papers"]);
        assert_eq!(
            templates.last().unwrap(),
            "portreeve://plugins/{alias}/papers"
        );
        let mut papers = reader.document(PAPERS);
        let papers = papers.as_object_mut().unwrap();
        assert_eq!(papers.remove("alias"), Some(json!("echo")));
        assert_eq!(papers, inspected);
        assert!(papers["scan"]["score"]["score"].is_u64());
        let none = reader.read("portreeve://plugins/none/papers");
        assert_eq!(
            none["error"]["data"]["reason"], "no-such-resource",
            "{none}"
        );
        // A plugin's own are where they were.
        let shelf = reader.read("portreeve://plugins/shelf://text");
        assert_eq!(shelf["result"]["contents"][0]["text"], "on the shelf");
    }
    eventually("it is on record", || {
        let reads = done(&project.run(&["audit", "export", "--kind", "call"]));
        let of_papers = reads.lines().filter(|line| line.contains(PAPERS));
        of_papers.count() == 4
    });

    // It is asked at each use, on each way by itself.
    project.write(&scoped.replace("http = ['papers:read']", "http = []"));
    for reader in &mut readers {
        let stays = matches!(reader.way, Way::Stdio(_));
        eventually("the scope is gone", || {
            stays != reader.read(PAPERS)["error"].is_object()
        });
        let papers = reader.listed().0.contains(&PAPERS.to_owned());
        assert_eq!(papers, stays);
    }
    let edits = done(&project.run(&["audit", "export", "--kind", "edit"]));
    assert!(edits.contains("serve"), "{edits}");
}

#[test]
fn readers_hear_of_other_plugins_and_of_another_component() {
    let with = |scopes: &str, program: &str| {
        format!(
            "[serve]\nscopes = {{ stdio = [{scopes}] }}\n{}",
            plugin("echo", program)
        )
    };
    let more = plugin("more", programs::ECHO);
    let text = with("'papers:read'", programs::ECHO);
    let project = Project::with(&text);
    let mut readers = listeners(&project, PAPERS);
    let text = format!("{text}{more}");
    let other = format!("{}{more}", with("'papers:read'", programs::SLEEP));
    project.write(&text);
    for reader in &mut readers {
        reader
            .client()
            .notification("notifications/resources/list_changed");
    }
    project.write(&other);
    for reader in &mut readers {
        let told = reader
            .client()
            .notification("notifications/resources/updated");
        assert_eq!(told["params"]["uri"], PAPERS);
    }
    // What is revoked is told no more, and is not told again once it is given back.
    project.write(&format!("{}{more}", with("", programs::SLEEP)));
    for reader in &mut readers {
        eventually("the scope is gone", || {
            reader.read(PAPERS)["error"].is_object()
        });
        reader.client().notifications.clear();
    }
    project.write(&text);
    for reader in &mut readers {
        eventually("it is there again", || {
            reader.read(PAPERS)["result"].is_object()
        });
    }
    project.write(&other);
    for reader in &mut readers {
        eventually("it is another one", || {
            reader.document(PAPERS)["digest"]
                != reader.document("portreeve://plugins/more/papers")["digest"]
        });
        assert_eq!(reader.updated(), [""; 0]);
    }
}

/// Clients of both eras over standard input and output that have subscribed to this.
fn listeners(project: &Project, uri: &str) -> [Reader<'static>; 2] {
    let mut older = Reader {
        way: Way::Stdio(Box::new(project.serve())),
        newer: false,
    };
    let subscribed = older.request("resources/subscribe", json!({"uri": uri}));
    assert!(subscribed["result"].is_object(), "{subscribed}");
    let mut newer = Reader {
        way: Way::Stdio(Box::new(project.connect())),
        newer: true,
    };
    let listen = json!({"notifications": {
        "resourcesListChanged": true, "resourceSubscriptions": [uri],
    }});
    let client = newer.client();
    client.ask("subscriptions/listen", stateless(listen));
    let accepted = client.message();
    let accepted = &accepted["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(*accepted, json!([uri]));
    [older, newer]
}

#[test]
fn what_is_no_scope_is_refused_with_those_there_are() {
    let project = Project::with("[serve]\nscopes = { http = ['papers:write'] }\n");
    let refused = project.run(&["list"]);
    let told = said(&refused);
    assert!(!refused.status.success());
    for part in [
        "portreeve.toml:3",
        "papers:write",
        "papers:read",
        "topics:read",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

const FAILED: &str = "portreeve://topics/builds.failed";

/// Messages are kept, since nobody handles them.
fn with_topics(scopes: &str) -> String {
    format!(
        "[serve]\nscopes = {{ {scopes} }}\n[messages.topics.'builds.>']\nkeep = '1d'\n[messages.topics.'feeds.>']\nkeep = '1d'\n[messages.topics.'builds-large']\nkeep = '1d'\n"
    )
}

fn publish(project: &Project, topic: &str, text: &str) {
    done(&project.run(&["bus", "publish", topic, text]));
}

/// What is no text, and too large for a command line.
fn publish_bytes(project: &Project, topic: &str, bytes: &[u8]) {
    let arguments = ["bus", "publish", topic, "-", "--content-type", "image/png"];
    let mut command = project.portreeve(&arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut publishing = command.spawn().unwrap();
    let mut to = publishing.stdin.take().unwrap();
    to.write_all(bytes).unwrap();
    drop(to);
    assert!(publishing.wait().unwrap().success());
}

#[test]
fn messages_are_read_in_the_topics_of_the_scope() {
    let some = "'topics:read:builds.>'";
    let text = with_topics(&format!("stdio = [{some}], http = [{some}]"));
    let project = Project::with(&text);
    let host = HttpHost::start(&project);
    publish(&project, "builds.failed", "{\"number\": 1}");
    publish(&project, "builds.failed", "two");
    publish(&project, "feeds.item", "secret");
    let mut readers = readers(&project, &host);
    for reader in &mut readers {
        let (uris, templates) = reader.listed();
        assert_eq!(uris, [FAILED]);
        assert_eq!(templates, ["portreeve://topics/{topic}"]);
        let complete = json!({
            "ref": {"type": "ref/resource", "uri": "portreeve://topics/{topic}"},
            "argument": {"name": "topic", "value": ""},
        });
        let found = reader.request("completion/complete", complete);
        let found = &found["result"]["completion"]["values"];
        assert_eq!(*found, json!(["builds.failed"]));
        // Reading takes nothing away.
        for _ in 0..2 {
            let answer = reader.read(FAILED);
            let part = &answer["result"]["contents"][0];
            assert_eq!(part["mimeType"], "application/cloudevents-batch+json");
            let events = reader.document(FAILED);
            let events = events.as_array().unwrap();
            assert_eq!(events.len(), 2, "{events:?}");
            assert_eq!(events[0]["data"], json!({"number": 1}));
            assert_eq!(events[0]["specversion"], "1.0");
            assert_eq!(events[0]["sequence"], "1");
            assert_eq!(events[1]["data"], "two");
        }
        for uri in [
            "portreeve://topics/feeds.item",
            "portreeve://topics/feeds.none",
        ] {
            let scope = format!("topics:read:{}", &uri[19..]);
            check_refused(&reader.read(uri), &[&scope]);
        }
        let none = reader.read("portreeve://topics/builds.none");
        assert_eq!(
            none["error"]["data"]["reason"], "no-such-resource",
            "{none}"
        );
    }
    // What is taken away ends at once, on each way by itself.
    project.write(&with_topics(&format!("stdio = [{some}]")));
    for reader in &mut readers {
        let stays = matches!(reader.way, Way::Stdio(_));
        eventually("the scope is gone", || {
            stays != reader.read(FAILED)["error"].is_object()
        });
        assert_eq!(reader.listed().0.is_empty(), !stays);
        let complete = json!({
            "ref": {"type": "ref/resource", "uri": "portreeve://plugins/{alias}/papers"},
            "argument": {"name": "alias", "value": ""},
        });
        let found = reader.request("completion/complete", complete);
        assert!(found["error"].is_object(), "{found}");
    }
    eventually("refusals and readings are on record", || {
        let refusals = done(&project.run(&["audit", "export", "--kind", "refusal"]));
        let reads = done(&project.run(&["audit", "export", "--kind", "call"]));
        refusals.contains("topics:read:feeds.item") && reads.contains(FAILED)
    });
}

#[test]
fn what_is_no_text_comes_in_base64_and_only_the_newest_come() {
    let project = Project::with(&with_topics("stdio = ['topics:read']"));
    let mut reader = Reader {
        way: Way::Stdio(Box::new(project.serve())),
        newer: false,
    };
    publish_bytes(&project, "builds.bytes", b"\xff\x00");
    let events = reader.document("portreeve://topics/builds.bytes");
    assert_eq!(events[0]["data_base64"], "/wA=");
    // Six messages of a fifth of a mebibyte are more than a client is given.
    for _ in 0..6 {
        publish_bytes(&project, "builds.large", &[b'x'; 200 << 10]);
    }
    let answer = reader.read("portreeve://topics/builds.large");
    assert!(answer.to_string().len() < (1 << 20) + 4_096);
    let events = reader.document("portreeve://topics/builds.large");
    assert_eq!(events.as_array().unwrap().last().unwrap()["sequence"], "6");
}

#[test]
fn who_subscribed_to_a_topic_hears_of_messages_until_the_scope_is_gone() {
    let text = with_topics("stdio = ['topics:read:builds.>']");
    let project = Project::with(&text);
    // The topic is still to come.
    let mut readers = listeners(&project, FAILED);
    for refused in ["portreeve://topics/feeds.item", "portreeve://topics/builds"] {
        let answer = readers[0].request("resources/subscribe", json!({"uri": refused}));
        check_refused(&answer, &["topics:read:"]);
    }
    publish(&project, "feeds.item", "1");
    publish(&project, "builds.failed", "1");
    for reader in &mut readers {
        reader
            .client()
            .notification("notifications/resources/list_changed");
        let told = reader
            .client()
            .notification("notifications/resources/updated");
        assert_eq!(told["params"]["uri"], FAILED);
    }
    // A storm is told of in a few words.
    for number in 0..40 {
        publish(&project, "builds.failed", &number.to_string());
    }
    for reader in &mut readers {
        let last = reader.document(FAILED);
        assert_eq!(last[40]["data"], 39);
        reader
            .client()
            .notification("notifications/resources/updated");
        let told = reader.updated();
        assert!(
            told.len() < 40 && told.iter().all(|uri| uri == FAILED),
            "{told:?}"
        );
    }
    project.write(&with_topics("stdio = []"));
    for reader in &mut readers {
        eventually("the scope is gone", || {
            reader.read(FAILED)["error"].is_object()
        });
        reader.updated();
    }
    publish(&project, "builds.failed", "unheard");
    project.write(&text);
    for reader in &mut readers {
        eventually("it is there again", || {
            reader.read(FAILED)["result"].is_object()
        });
    }
    publish(&project, "builds.new", "1");
    for reader in &mut readers {
        eventually("of new topics it hears", || {
            reader
                .listed()
                .0
                .contains(&"portreeve://topics/builds.new".to_owned())
        });
        assert_eq!(reader.updated(), [""; 0]);
    }
}

#[test]
fn over_http_too_those_who_subscribed_hear_of_messages() {
    let project = Project::with(&with_topics("http = ['topics:read:builds.>']"));
    let host = HttpHost::start(&project);
    let feeds = "portreeve://topics/feeds.item";
    let session = host.greet_as(&json!({}));
    let mut reader = Reader {
        way: Way::Http(&host, session.clone()),
        newer: false,
    };
    let subscribed = reader.request("resources/subscribe", json!({"uri": FAILED}));
    assert!(subscribed["result"].is_object(), "{subscribed}");
    let refused = reader.request("resources/subscribe", json!({"uri": feeds}));
    check_refused(&refused, &["topics:read:feeds.item", "http"]);
    let older = host.listen(&session);
    let mut newer = listen(&host, &[feeds.to_owned(), FAILED.to_owned()]);
    let accepted = newer.message();
    let accepted = &accepted["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(*accepted, json!([FAILED]));
    publish(&project, "feeds.item", "1");
    publish(&project, "builds.failed", "1");
    for mut stream in [older, newer] {
        let told = std::iter::from_fn(|| Some(stream.message()))
            .find(|told| told["method"] == "notifications/resources/updated");
        assert_eq!(told.unwrap()["params"]["uri"], FAILED);
    }
    // One request fills no log.
    let many = (0..500).map(|number| format!("portreeve://topics/x.{number}"));
    listen(&host, &many.collect::<Vec<_>>()).message();
    eventually("the rest is on record as one", || {
        let reads = done(&project.run(&["audit", "export", "--kind", "call"]));
        reads.contains("480 more")
    });
    let refusals = done(&project.run(&["audit", "export", "--kind", "refusal"]));
    let of_many = refusals.lines().filter(|line| line.contains("topics/x."));
    assert_eq!(of_many.count(), 20, "{refusals}");
}

/// The official SDK's client, told of what was published in its era's way.
#[derive(Clone)]
struct Official(tokio::sync::mpsc::UnboundedSender<String>);

impl rmcp::ClientHandler for Official {
    async fn on_resource_updated(
        &self,
        told: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.0.send(told.uri).unwrap();
    }
}

#[test]
#[expect(deprecated, reason = "clients of the older era subscribe so")]
fn the_official_client_reads_a_topic_and_hears_of_it() {
    let project = Project::with(&with_topics("stdio = ['topics:read:builds.>']"));
    publish(&project, "builds.failed", "1");
    let older = ClientLifecycleMode::Initialize;
    let newer = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let threads = tokio::runtime::Runtime::new().unwrap();
    threads.block_on(async {
        for (mode, is_newer) in [(older, false), (newer, true)] {
            let command = tokio::process::Command::from(project.portreeve(&["serve"]));
            let transport = TokioChildProcess::new(command).unwrap();
            let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
            let client = Official(sender).serve_with_lifecycle(transport, mode);
            let client = client.await.unwrap();
            let listed = client.list_all_resources().await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].uri, FAILED);
            let told = if is_newer {
                let filter = SubscriptionFilter::builder();
                let filter = filter.resource_subscriptions([FAILED.to_owned()]);
                let mut subscription = client.listen(filter.build()).await.unwrap();
                publish(&project, "builds.failed", "2");
                let told = subscription.next().await.unwrap();
                serde_json::to_value(told.unwrap()).unwrap()["params"]["uri"].clone()
            } else {
                let wanted = SubscribeRequestParams::new(FAILED);
                client.subscribe(wanted).await.unwrap();
                publish(&project, "builds.failed", "2");
                heard.recv().await.unwrap().into()
            };
            assert_eq!(told, FAILED);
            let wanted = ReadResourceRequestParams::new(FAILED);
            let read = client.read_resource(wanted).await.unwrap();
            let read = serde_json::to_value(read).unwrap();
            let events = read["contents"][0]["text"].as_str().unwrap();
            assert!(events.contains("\"data\":2"), "{events}");
            client.cancel().await.unwrap();
        }
    });
}

/// What a client of the newer era is told that listens for these.
fn listen(host: &HttpHost, uris: &[String]) -> http::Messages {
    let params = json!({"notifications": {"resourceSubscriptions": uris}});
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": stateless(params),
    });
    host.stream(&newer_fields("subscriptions/listen", None), &message)
}

#[test]
fn a_tail_begins_where_it_is_told_to() {
    let project = Project::with(&with_topics("stdio = []"));
    for number in 1..=40 {
        publish(&project, "builds.failed", &number.to_string());
    }
    publish(&project, "builds.mended", "1");
    publish(&project, "feeds.item", "1");
    // More than is read at once.
    for _ in 0..8 {
        publish_bytes(&project, "builds-large", &[b'x'; 200 << 10]);
    }
    let tail = |arguments: &[&str]| -> Vec<Value> {
        let shown = done(&project.run(&[&["bus", "tail"], arguments].concat()));
        let lines = shown.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let check = || {
        let all = tail(&["builds.>", "--from", "1h", "--count", "41"]);
        let data: Vec<_> = all
            .iter()
            .map(|event| event["data"].as_i64().unwrap())
            .collect();
        assert_eq!(data, (1..=40).chain([1]).collect::<Vec<_>>());
        assert_eq!(all[40]["type"], "builds.mended");
        let large = tail(&["builds-large", "--from", "1", "--count", "7"]);
        let places: Vec<_> = large
            .iter()
            .map(|event| event["sequence"].clone())
            .collect();
        assert_eq!(places, ["1", "2", "3", "4", "5", "6", "7"]);
        let some = tail(&["builds.failed", "--from", "38", "--count", "3"]);
        assert_eq!(some[0]["sequence"], "38");
        assert_eq!(some[2]["data"], 40);
    };
    // By a command that owns the project for a moment, and by asking its owner.
    check();
    let serving = project.serve();
    check();
    let mut looking = project.portreeve(&[
        "bus",
        "tail",
        "builds.failed",
        "--from",
        "40",
        "--count",
        "2",
    ]);
    let looking = looking.stdout(Stdio::piped()).spawn().unwrap();
    publish(&project, "builds.mended", "2");
    publish(&project, "builds.failed", "41");
    let shown = looking.wait_with_output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let data: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (data[0]["data"].clone(), data[1]["data"].clone()),
        (json!(40), json!(41)),
        "{shown}"
    );
    for wrong in ["0", "soon"] {
        let refused = project.run(&["bus", "tail", "--from", wrong]);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    }
    assert!(serving.close());
}
