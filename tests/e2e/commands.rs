//! Commands and the process that owns the project: one host for all of them.

use std::process::{Child, Output, Stdio};

use portreeve_test_artifacts as programs;
use serde_json::json;

use crate::support::{Project, eventually, plugin, until_it_spins};

/// Of a plugin that runs one call at a time, for as long as it likes.
const ENDLESS: &str =
    "limits = { fuel = 9007199254740991, timeout = \"1h\", concurrent-calls = 1, queue = 0 }\n";

fn spinning() -> Project {
    Project::with(&format!("{}{ENDLESS}", plugin("spin", programs::SPIN)))
}

/// A command that owns the project and runs until it is stopped.
fn spin(project: &Project) -> Child {
    let child = project
        .portreeve(&["call", "spin__spin"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_it_spins(child.id());
    child
}

fn interrupt(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut ended = None;
    eventually("the command ends", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
}

/// Its place was taken by a call of another process.
fn is_refused(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("rate-limited"), "{said}");
}

#[test]
fn a_command_beside_a_server_asks_it() {
    let project = spinning();
    let mut server = project.serve();
    server.call("spin__work", json!({"rounds": 1}));
    let calling = server.ask("tools/call", json!({"name": "spin__spin", "arguments": {}}));
    until_it_spins(server.pid());
    is_refused(&project.run(&["call", "spin__work", "--arg", "rounds=1"]));
    let listed = project.run(&["list", "--json"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("spin__work"));
    server.notify("notifications/cancelled", json!({"requestId": calling}));
    eventually("its place is free", || {
        project
            .run(&["call", "spin__work", "--arg", "rounds=1"])
            .status
            .success()
    });
    // An interrupted command gives up its call in the server.
    let mut command = spin_in(&project, server.pid());
    interrupt(&mut command);
    eventually("its place is free", || {
        server.call("spin__work", json!({"rounds": 1}))["isError"] != json!(true)
    });
    assert!(server.close());
}

/// A command whose call spins in the server.
fn spin_in(project: &Project, server: u32) -> Child {
    let child = project
        .portreeve(&["call", "spin__spin"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_it_spins(server);
    child
}

#[test]
fn commands_at_once_share_one_host() {
    let project = spinning();
    let mut first = spin(&project);
    is_refused(&project.run(&["call", "spin__work", "--arg", "rounds=1"]));
    interrupt(&mut first);
    let alone = project.run(&["call", "spin__work", "--arg", "rounds=1"]);
    assert!(alone.status.success());
    // Many at once are all answered, whichever of them is the owner.
    let echo = Project::of(&[("echo", programs::ECHO)]);
    let commands: Vec<_> = (0..8)
        .map(|number| {
            let argument = format!("number={number}");
            echo.portreeve(&["call", "echo__echo", "--arg", &argument])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (number, command) in commands.into_iter().enumerate() {
        let output = command.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{number}: {said}");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(answer.contains(&number.to_string()), "{number}: {answer}");
    }
}

#[test]
fn a_server_waits_for_a_command_and_takes_over_one_that_was_killed() {
    let project = spinning();
    let mut command = spin(&project);
    let mut server = project.connect();
    let greeting = server.ask(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "e2e", "version": "1"},
        }),
    );
    assert!(
        server
            .message_within(std::time::Duration::from_millis(500))
            .is_none(),
        "it does not own the project yet"
    );
    command.kill().unwrap();
    command.wait().unwrap();
    assert!(server.answer(greeting)["result"].is_object());
    server.notify("notifications/initialized", json!({}));
    assert!(server.tools().contains(&"spin__spin".to_owned()));
    assert!(server.close());
}

fn both(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[test]
fn what_expose_names_and_is_not_there_is_told() {
    let project = Project::with(&format!(
        "{}expose.only = [\"nope\"]\nexpose.tool.nope2 = {{ title = \"No\" }}\n",
        plugin("echo", programs::ECHO)
    ));
    let _host = project.serve();
    for command in ["list", "status", "doctor"] {
        let said = both(&project.run(&[command]));
        for told in ["`expose.only` names `nope`", "`expose.tool` names `nope2`"] {
            assert!(said.contains(told), "{command}: {said}");
        }
        assert!(said.contains("its tools are `"), "{command}: {said}");
    }
    assert!(project.host_log().contains("`expose.only` names `nope`"));
}

#[test]
fn errors_say_what_to_do_next() {
    let project = Project::of(&[("echo", programs::ECHO)]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let tls = "[serve]\ntls = { certificate = \"a.pem\", key = \"a.key\" }\n";
    for (arguments, expected) in [
        (&["serve", "--listen", &*taken][..], "choose another port"),
        (
            &["serve", "--listen", "unix:/nope/x.sock"],
            "unix:/nope/x.sock can't be listened on: entity not found; make the directory",
        ),
        (
            &["call", "echo"],
            "`echo` is a plugin; name one of its tools: `echo__",
        ),
    ] {
        let said = both(&project.run(arguments));
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    project.write(tls);
    let said = both(&project.run(&["serve", "--listen", "127.0.0.1:0"]));
    assert!(
        said.contains("name a file that this user can read"),
        "{said}"
    );
    let project = Project::with("");
    std::fs::write(project.path().join(".portreeve"), "").unwrap();
    let said = both(&project.run(&["list"]));
    assert!(said.contains("is not a directory"), "{said}");
    assert!(said.contains("remove it"), "{said}");
}
