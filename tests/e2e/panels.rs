//! Panels: as clients of MCP see them, as pages over HTTP, and in a browser.

use portreeve_test_artifacts as programs;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::http::HttpHost;
use crate::support::{Project, plugin};
use crate::web::{Server, done};
use crate::web_plugins::built;

const GRANTED: &str = "grants.ui = { panels = true }\n";

/// One with a panel, and another plugin that has one as well.
fn project() -> Project {
    Project::with(&format!(
        "{}{GRANTED}{}{GRANTED}{}",
        plugin("probe", programs::PANEL),
        plugin("other", programs::RESOURCES),
        plugin("echo", programs::ECHO),
    ))
}

fn ui(client: &mut crate::support::Client) -> Value {
    let listed = client.request("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let ui = tools.iter().map(|tool| {
        (
            tool["name"].as_str().unwrap().to_owned(),
            tool["_meta"]["ui"].clone(),
        )
    });
    Value::Object(
        ui.filter(|(name, _)| !name.starts_with("echo__") || name == "echo__echo")
            .collect(),
    )
}

#[test]
fn clients_are_told_which_panel_belongs_to_a_tool() {
    let project = project();
    let mut client = project.serve();
    let told = ui(&mut client);
    // Whoever's panel asks a client for a call, the host can't tell: with those of two plugins
    // there, tools are no panel's.
    assert_eq!(
        told["probe__add"],
        json!({"resourceUri": "ui://probe/probe", "visibility": ["model"]})
    );
    assert_eq!(told["probe__about"], json!({"visibility": []}));
    // A client takes all for tools of one server: those without panels say that they are for
    // models alone.
    assert_eq!(
        told["echo__echo"],
        json!({"visibility": ["model"]}),
        "{told}"
    );

    let panel = client.request("resources/read", json!({"uri": "ui://probe/probe"}));
    let panel = &panel["result"]["contents"][0];
    assert_eq!(panel["mimeType"], "text/html;profile=mcp-app");
    assert_eq!(panel["_meta"]["ui"]["csp"]["connectDomains"], json!([]));
    let html = panel["text"].as_str().unwrap();
    let names = r#"<script>globalThis.portreeve={"tools":{"about":"probe__about","add":"probe__add"}}</script>"#;
    assert!(
        html.starts_with(&format!("<!doctype html>{names}")),
        "{html}"
    );

    // With one, they are that one's.
    done(&project.run(&["revoke", "other", "ui.panels"]));
    let told = ui(&mut client);
    assert_eq!(
        told["probe__add"],
        json!({"resourceUri": "ui://probe/probe"})
    );
    assert_eq!(told["probe__about"], json!({"visibility": ["app"]}));
    assert_eq!(told["echo__echo"], json!({"visibility": ["model"]}));
    done(&project.run(&["grant", "other", "ui.panels"]));
    done(&project.run(&["revoke", "probe", "ui.panels"]));
    let told = ui(&mut client);
    assert_eq!(told["probe__add"], json!({"visibility": ["model"]}));
    assert_eq!(told["probe__about"], json!({"visibility": []}));
    done(&project.run(&["revoke", "other", "ui.panels"]));
    assert_eq!(ui(&mut client)["probe__add"], Value::Null);
}

#[test]
fn panels_of_several_plugins_call_tools_in_clients_only_where_their_operator_wants_that() {
    let text = std::fs::read_to_string(project().manifest()).unwrap();
    let text = text.trim_start_matches("schema = 1\n");
    let shared = Project::with(&format!("[serve]\nshared-panels = true\n{text}"));
    let told = ui(&mut shared.serve());
    assert_eq!(
        told["probe__add"],
        json!({"resourceUri": "ui://probe/probe"})
    );
    assert_eq!(told["probe__about"], json!({"visibility": ["app"]}));
    assert_eq!(told["echo__echo"], json!({"visibility": ["model"]}));
    // What leads to all tools is no panel's in any case.
    let settings = "[serve]\nshared-panels = true\nmeta-tools = true\n";
    let few = Project::with(&format!("{settings}{text}"));
    let told = ui(&mut few.serve());
    for name in ["search_tools", "describe_tool", "call_tool"] {
        assert_eq!(told[name], json!({"visibility": ["model"]}), "{told}");
    }
}

#[test]
fn pages_are_for_people_who_open_them() {
    let project = project();
    let host = HttpHost::start(&project);
    let get = |path: &str, fields: &str| host.exchange("GET", path, fields, "");
    let index = get("/panels", "");
    assert!(
        index.contains("<a href=\"/panels/probe/probe\">Probe &lt;b&gt;&amp;</a>"),
        "{index}"
    );
    assert!(index.contains("href=\"/panels/other/board\""), "{index}");

    let page = get("/panels/probe/probe", "");
    for part in [
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "<iframe sandbox=\"allow-scripts\"",
        "src=\"/panel-frames/probe/probe\"",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // Nothing of the plugin's stands in it.
    assert!(!page.contains("Probe"), "{page}");
    let frame = get("/panel-frames/probe/probe", "");
    assert!(
        frame.contains("content-security-policy: sandbox allow-scripts; default-src 'none';"),
        "{frame}"
    );
    assert!(get("/panels/probe", "").starts_with("HTTP/1.1 404"));
    assert!(get("/panels/nobody/probe", "").starts_with("HTTP/1.1 404"));

    // Pages of others may lead here; they neither frame nor fetch, nor call.
    let elsewhere = "sec-fetch-site: cross-site\r\nsec-fetch-mode: ";
    let led = get(
        "/panels/probe/probe",
        &format!("{elsewhere}navigate\r\nsec-fetch-dest: document\r\n"),
    );
    assert!(led.starts_with("HTTP/1.1 200"), "{led}");
    for fields in [
        "navigate\r\nsec-fetch-dest: iframe\r\n",
        "no-cors\r\nsec-fetch-dest: empty\r\n",
    ] {
        let refused = get("/panel-frames/probe/probe", &format!("{elsewhere}{fields}"));
        assert!(refused.starts_with("HTTP/1.1 403"), "{fields}: {refused}");
    }
    let json = "content-type: application/json\r\n";
    let call = |panel: &str, fields: &str, body: &str| host.exchange("POST", panel, fields, body);
    let add = r#"{"name": "probe__add", "arguments": {"a": 2, "b": 3}}"#;
    let (probe, other) = ("/panels/probe/probe", "/panels/other/board");
    assert!(call(probe, json, add).contains(r#""text":"5""#));
    for (panel, fields, body, part) in [
        (
            probe,
            "origin: null\r\ncontent-type: application/json\r\n",
            add,
            "may not call this host",
        ),
        (
            probe,
            "host: evil.example\r\ncontent-type: application/json\r\n",
            add,
            "stands twice",
        ),
        (
            probe,
            "content-type: text/plain\r\n",
            add,
            "application/json",
        ),
        (probe, json, "{", "HTTP/1.1 400"),
        (probe, json, r#"{"name": "a", "more": 1}"#, "unknown field"),
        (probe, json, r#"{"name": "a", "name": "b"}"#, "HTTP/1.1 400"),
        (other, json, add, "its own ones alone"),
        (
            probe,
            json,
            r#"{"name": "other__touch"}"#,
            "its own ones alone",
        ),
        ("/panels/nobody/x", json, add, "no such panel"),
    ] {
        let told = call(panel, fields, body);
        assert!(told.contains(part), "{part}: {told}");
    }
    done(&project.run(&["revoke", "probe", "ui.panels"]));
    assert!(call(probe, json, add).contains("ui.panels"));
    assert!(get("/panel-frames/probe/probe", "").contains("ui.panels"));
    assert!(!get("/panels", "").contains("/panels/probe"));
    let found = project.run(&["audit", "search", "--json", "--kind", "refusal"]);
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("other__touch"), "{found}");
}

#[test]
fn a_panel_works_in_a_browser_and_reaches_nothing_else() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    // The same document, without a sandbox or a policy, shows that what is tried would reach it.
    let reached = |browser: &mut Browser, place: &_, server: &Server, origin: &str| {
        let tried = browser.value(place, &format!("tries({origin:?})"));
        let paths: Vec<String> = server
            .heads()
            .iter()
            .filter_map(|head| Some(head.split(' ').nth(1)?.to_owned()))
            .filter(|path| path != "/" && path != "/favicon.ico")
            .collect();
        (tried, paths)
    };
    let control = Server::start(|port, path| {
        let page = include_str!("../programs/examples/panel.html");
        let page = page.replace("SERVER", &format!("http://127.0.0.1:{port}"));
        let body = if path == "/" { page } else { String::new() };
        let head = "content-type: text/html\r\nconnection: close\r\n";
        (200, head.to_owned(), body)
    });
    let place = browser.open(&control.url("/"));
    let (_, paths) = reached(&mut browser, &place, &control, &control.url(""));
    for path in [
        "/fetch", "/request", "/image", "/script", "/style", "/beacon", "/iframe", "/form",
    ] {
        assert!(paths.iter().any(|found| found == path), "{path}: {paths:?}");
    }

    let project = project();
    let host = HttpHost::start(&project);
    let origin = format!("http://{}", host.address);
    let server = Server::start(|_, _| (200, String::new(), String::new()));
    let panel = format!("/probe/probe/{}", server.port);
    let before = browser.pages();
    let page = browser.open(&format!("{origin}/panels{panel}"));
    let frame = browser.frame(&format!("/panel-frames{panel}"));

    // It works, with its own tools.
    let used = browser.value(&frame, "uses()");
    assert_eq!(used["host"], "portreeve", "{used}");
    assert_eq!(used["sum"], "5");
    assert_eq!(used["about"], "the probe");
    assert_eq!(
        browser.value(&frame, "document.getElementById('sum').textContent"),
        "5"
    );
    assert_eq!(
        browser.value(&page, "document.querySelector('iframe').style.height"),
        "321px"
    );
    for (asked, part) in [
        ("wrong", ""),
        ("others", "its own ones alone"),
        ("unknown", "its own ones alone"),
        ("resources", "nothing else"),
        ("links", "nothing else"),
        ("nonsense", "nothing else"),
    ] {
        let told = used[asked].as_str().unwrap();
        assert!(
            told.starts_with("error") || told.starts_with("Error"),
            "{asked}: {used}"
        );
        assert!(told.contains(part), "{asked}: {used}");
    }

    // It reaches nothing else.
    let (tried, paths) = reached(&mut browser, &frame, &server, &origin);
    for (what, came) in tried.as_object().unwrap() {
        let came = came.as_str().unwrap();
        assert!(
            came.starts_with("blocked") || (what == "top" && came == "asked"),
            "{what}: {tried}"
        );
    }
    assert_eq!(paths, <[&str; 0]>::default());
    let shown = browser.value(&page, "location.href");
    assert_eq!(shown, format!("{origin}/panels{panel}"));
    assert_eq!(browser.pages(), before + 1);
    browser.value(&frame, "leaves()");
    browser.value(&page, "new Promise((end) => setTimeout(end, 1000))");
    assert_eq!(server.heads(), <[&str; 0]>::default());
    let calls = ["audit", "search", "--json", "--kind", "call", "--plugin"];
    let called = |plugin| {
        let found = project.run(&[&calls[..], &[plugin]].concat());
        String::from_utf8(found.stdout).unwrap()
    };
    assert!(called("probe").contains("\"add\""));
    assert_eq!(called("echo"), "");
}

#[test]
fn notes_are_kept_in_a_panel() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let project = Project::with("");
    let package = built(&project, "notes-keeper");
    done(&project.run(&["add", package.to_str().unwrap()]));
    done(&project.run(&["grant", "notes-keeper", "storage.kv=1 MiB", "ui.panels"]));
    // Compiled before somebody waits for it.
    done(&project.run(&["call", "notes-keeper", "list"]));
    let host = HttpHost::start(&project);
    let page = browser.open(&format!(
        "http://{}/panels/notes-keeper/notes",
        host.address
    ));
    let frame = browser.frame("/panel-frames/notes-keeper/notes");
    assert_eq!(
        browser.value(&page, "document.title"),
        "notes-keeper: a panel"
    );
    let until = |browser: &mut Browser, what: &str| {
        let waits = format!(
            "(async () => {{ for (let i = 0; i < 500; i++) {{ if ({what}) return true; await new Promise((end) => setTimeout(end, 100)); }} return document.body.innerText; }})()"
        );
        assert_eq!(browser.value(&frame, &waits), true, "{what}");
    };
    until(&mut browser, "at('status').textContent === '0 notes'");
    browser.value(
        &frame,
        "at('text').value = '# Milk\\n2 l'; at('save').click()",
    );
    until(
        &mut browser,
        "at('status').textContent === 'Saved.' && open?.number === 1",
    );
    let shown = browser.value(
        &frame,
        "[...document.querySelectorAll('li')].map((item) => item.innerText)",
    );
    assert_eq!(shown, json!(["Milk"]));
    // Somebody else changes it: what is saved over it is refused, and nothing is lost.
    let edit = r#"{"number": 1, "revision": 1, "text": "3 l"}"#;
    done(&project.run(&["call", "notes-keeper", "edit", edit]));
    browser.value(&frame, "at('text').value = '4 l'; at('save').click()");
    until(
        &mut browser,
        "at('status').textContent.includes('somebody changed it')",
    );
    browser.value(&frame, "document.querySelector('li button').click()");
    until(&mut browser, "at('text').value === '3 l'");
    browser.value(&frame, "at('delete').click()");
    until(&mut browser, "at('status').textContent === 'Deleted.'");
    let told = done(&project.run(&["call", "notes-keeper", "list"]));
    assert!(
        told.contains("\"notes\":[]") || told.contains("\"notes\": []"),
        "{told}"
    );
}
