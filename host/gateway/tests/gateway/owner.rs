//! The owner's socket and the proxies to it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use portreeve_gateway::Error;
use portreeve_gateway::owner::{OwnerSocket, connect};
use portreeve_gateway::relay::{Left, Relay};
use serde_json::json;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, PATIENCE};
use crate::project::TestProject;

struct Owner {
    path: PathBuf,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

fn own(project: &TestProject) -> Owner {
    let path = project.host.sockets().mcp.clone();
    let socket = OwnerSocket::bind(&path).unwrap();
    let shutdown = CancellationToken::new();
    Owner {
        path,
        served: tokio::spawn(socket.serve(
            project.host.clone(),
            CancellationToken::new(),
            shutdown.clone(),
        )),
        shutdown,
    }
}

/// A client behind a proxy of its own.
fn proxied(path: PathBuf) -> (Client, JoinHandle<Result<Left, Error>>) {
    let (client, server) = tokio::io::duplex(64 << 10);
    let (reader, writer) = tokio::io::split(server);
    let passing = tokio::spawn(async move {
        let stream = connect(&path).await?;
        Relay::new(reader, writer).pass(stream).await
    });
    (Client::new(client), passing)
}

#[tokio::test]
async fn only_this_user_can_reach_it() {
    let project = TestProject::open().await;
    let owner = own(&project);
    let mode = std::fs::metadata(&owner.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nothing of its making is left.
    let dir = std::fs::read_dir(owner.path.parent().unwrap()).unwrap();
    let hidden: Vec<_> = dir
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .as_encoded_bytes()
                .starts_with(b".")
        })
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[tokio::test]
async fn clients_of_proxies_see_the_owners_host() {
    let project = TestProject::open().await;
    // The second begins before the owner listens.
    let (mut early, _) = proxied(project.host.sockets().mcp.clone());
    let greeted = tokio::spawn(async move {
        early.greet().await;
        early
    });
    let owner = own(&project);
    let (mut client, passing) = proxied(owner.path.clone());
    client.greet().await;
    let mut early = timeout(PATIENCE, greeted).await.unwrap().unwrap();
    project.change(&["calc", "more"]).await;
    for client in [&mut client, &mut early] {
        assert_eq!(
            client.receive().await["method"],
            "notifications/tools/list_changed"
        );
        let listed = client.ask(1, "tools/list", json!({})).await;
        assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 2);
    }
    assert_eq!(client.leave().await, "");
    let left = timeout(PATIENCE, passing).await.unwrap().unwrap();
    assert_eq!(left.unwrap(), Left::Client);
    early.ask(2, "ping", json!({})).await;
}

#[tokio::test]
async fn an_owner_that_ends_is_told_from_a_client_that_leaves() {
    let project = TestProject::open().await;
    let owner = own(&project);
    let (mut client, passing) = proxied(owner.path.clone());
    client.greet().await;
    owner.shutdown.cancel();
    timeout(PATIENCE, owner.served).await.unwrap().unwrap();
    let ended = timeout(PATIENCE, passing).await.unwrap().unwrap();
    assert_eq!(ended.unwrap(), Left::Owner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_connects_while_the_owner_leaves_is_served() {
    let project = TestProject::open().await;
    let path = project.host.sockets().mcp.clone();
    for _ in 0..20 {
        let socket = OwnerSocket::bind(&path).unwrap();
        let leave = CancellationToken::new();
        let served = tokio::spawn(socket.serve(
            project.host.clone(),
            leave.clone(),
            CancellationToken::new(),
        ));
        leave.cancel();
        // It has the socket away for a moment, and may be gone after that.
        let mut connected = Vec::new();
        while !served.is_finished() {
            if let Ok(stream) = UnixStream::connect(&path).await {
                connected.push(Client::new(stream));
                break;
            }
            tokio::task::yield_now().await;
        }
        for client in &mut connected {
            client.greet().await;
        }
        drop(connected);
        timeout(PATIENCE, served).await.unwrap().unwrap();
        assert!(!path.exists() && !path.with_extension("away").exists());
    }
}

#[tokio::test]
async fn an_owner_that_does_not_answer_is_named() {
    let project = TestProject::open().await;
    let connecting = connect(&project.host.sockets().mcp);
    let error = timeout(PATIENCE, connecting).await.unwrap().unwrap_err();
    // Whoever connects can try again then.
    assert!(matches!(error, Error::NoAnswer { .. }), "{error:?}");
    let error = error.to_string();
    assert!(
        error.contains("host.sock") && error.contains("end that `portreeve serve`"),
        "{error}"
    );
}

#[tokio::test]
async fn clients_at_once_are_bounded() {
    let project = TestProject::open().await;
    let owner = own(&project);
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = Client::new(UnixStream::connect(&owner.path).await.unwrap());
        client.greet().await;
        clients.push(client);
    }
    let mut refused = Client::new(UnixStream::connect(&owner.path).await.unwrap());
    let answer = refused.receive().await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("64 clients"),
        "{answer}"
    );
    let (mut proxy, passing) = proxied(owner.path.clone());
    let answer = proxy.receive().await;
    assert_eq!(answer["error"]["code"], -32010, "{answer}");
    let refused = timeout(PATIENCE, passing).await.unwrap().unwrap();
    assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
    // One that leaves makes room.
    clients.pop().unwrap().leave().await;
    let mut client = loop {
        let mut client = Client::new(UnixStream::connect(&owner.path).await.unwrap());
        client
            .send(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
            .await;
        if client.receive().await.get("result").is_some() {
            break client;
        }
    };
    client.greet().await;
}
