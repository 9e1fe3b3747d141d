//! What one connection sees of a host.

use std::sync::Arc;

use portreeve_core::{Caller, Host};
use portreeve_gateway::serve_connection;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, PATIENCE, request, stateless, without_tasks};
use crate::project::TestProject;

fn connect(host: &Arc<Host>) -> (Client, JoinHandle<()>) {
    let (client, server) = tokio::io::duplex(64 << 10);
    let (reader, writer) = tokio::io::split(server);
    let host = host.clone();
    let served = tokio::spawn(async move {
        let caller = Caller::local("test");
        serve_connection(host, caller, reader, writer, CancellationToken::new())
            .await
            .unwrap();
    });
    (Client::new(client), served)
}

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_list_is_the_same_for_every_client_and_era() {
    let project = TestProject::open().await;
    let (mut older, _) = connect(&project.host);
    older.greet().await;
    let (mut newer, _) = connect(&project.host);
    let in_older = older.ask(1, "tools/list", json!({})).await;
    let in_newer = newer.ask(1, "tools/list", stateless(json!({}))).await;
    assert_eq!(names(&in_older), ["calc__add"]);
    let tools = without_tasks(in_older["result"]["tools"].clone());
    assert_eq!(tools, in_newer["result"]["tools"]);
    let tool = &in_older["result"]["tools"][0];
    assert_eq!(tool["title"], "add");
    assert_eq!(tool["inputSchema"]["type"], "object");
    let foreign = older.ask(2, "tools/list", json!({"cursor": "x"})).await;
    assert_eq!(foreign["error"]["code"], -32602);
    let discovered = newer.ask(2, "server/discover", stateless(json!({}))).await;
    assert!(
        discovered["result"]["supportedVersions"]
            .as_array()
            .unwrap()
            .len()
            > 1
    );
}

#[tokio::test]
async fn an_unknown_tool_is_an_error_of_the_protocol_that_helps() {
    let project = TestProject::open().await;
    let (mut client, _) = connect(&project.host);
    client.greet().await;
    let answer = client
        .ask(1, "tools/call", json!({"name": "calc__ad"}))
        .await;
    assert_eq!(answer["error"]["code"], -32602);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("`calc__add`"), "{message}");
}

#[tokio::test]
async fn what_breaks_inside_the_host_is_an_error_that_tells_nothing_of_it() {
    // Its compiler is missing; where it should be is nobody's business.
    let project = TestProject::open().await;
    let (mut client, _) = connect(&project.host);
    client.greet().await;
    let call = json!({"name": "calc__add", "arguments": {"a": 1, "b": 2}});
    let answer = client.ask(1, "tools/call", call).await;
    let error = &answer["error"];
    assert_eq!(error["code"], -32603, "{answer}");
    assert_eq!(error["data"]["origin"], "internal", "{answer}");
    assert!(error["data"]["callId"].is_string(), "{answer}");
    assert!(!answer.to_string().contains("no-compiler"), "{answer}");
}

#[tokio::test]
async fn older_clients_hear_of_changes_once_they_are_greeted() {
    let project = TestProject::open().await;
    let (mut client, served) = connect(&project.host);
    client.greet().await;
    project.change(&["calc", "more"]).await;
    let told = client.receive().await;
    assert_eq!(
        told,
        json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    );
    let answer = client.ask(1, "tools/list", json!({})).await;
    assert_eq!(names(&answer), ["calc__add", "more__add"]);
    // What offers the same is no change.
    project.change(&["more", "calc"]).await;
    assert_eq!(client.leave().await, "");
    timeout(PATIENCE, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn newer_clients_hear_of_changes_only_by_subscription() {
    let project = TestProject::open().await;
    let (mut client, served) = connect(&project.host);
    client.ask(1, "tools/list", stateless(json!({}))).await;
    client
        .send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    project.change(&[]).await;
    let answer = client.ask(2, "tools/list", stateless(json!({}))).await;
    assert!(names(&answer).is_empty());

    let wanted =
        stateless(json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}}));
    client
        .send(request(3, "subscriptions/listen", wanted))
        .await;
    let acknowledged = client.receive().await;
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({"toolsListChanged": true, "promptsListChanged": true})
    );
    // The change since the connection began is told of too: it may have been missed.
    for aliases in [None, Some(["calc"])] {
        if let Some(aliases) = aliases {
            project.change(&aliases).await;
        }
        let told = client.receive().await;
        assert_eq!(told["method"], "notifications/tools/list_changed");
        assert_eq!(
            told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            3
        );
    }

    client
        .send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}}))
        .await;
    client.ask(4, "tools/list", stateless(json!({}))).await;
    project.change(&[]).await;
    client.ask(5, "tools/list", stateless(json!({}))).await;
    assert_eq!(client.leave().await, "");
    timeout(PATIENCE, served).await.unwrap().unwrap();
}
