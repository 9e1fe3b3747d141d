//! Calls: arguments, answers, exit codes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use crate::support::Sandbox;
use serde_json::json;

#[test]
fn every_spelling_of_a_tool_and_its_arguments() {
    let sandbox = Sandbox::with_calculator();
    sandbox.write("args.json", r#"{"a": 2, "b": 3}"#);
    for args in [
        &["call", "calc__add", r#"{"a": 2, "b": 3}"#][..],
        &["call", "calc/add", r#"{"a": 2, "b": 3}"#],
        &["call", "calc", "add", "--arg", "a=2", "--arg", "b=3"],
        &["call", "calc__add", "--args-file", "args.json"],
    ] {
        let ran = sandbox.run(args).exits(0);
        assert_eq!(ran.out, "5\n", "{args:?}");
    }
    let mut child = sandbox
        .command(&["call", "calc__add", "--args-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(br#"{"a": -1, "b": 1}"#)
        .unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"0\n");
}

#[test]
fn the_whole_response_as_json() {
    let sandbox = Sandbox::with_calculator();
    sandbox.forget_compiled();
    let ran = sandbox
        .run(&["call", "calc__add", r#"{"a": 2, "b": 3}"#, "--json"])
        .exits(0);
    ran.says(&["compiling"]);
    let response = sandbox
        .run(&["call", "calc__add", r#"{"a": 2, "b": 3}"#, "--json"])
        .exits(0)
        .json();
    assert_eq!(
        response["result"]["content"],
        json!([{ "type": "text", "text": "5" }])
    );
    assert_eq!(response["result"]["structured"], json!({ "result": 5 }));
    assert_eq!(response["result"]["is-error"], false);
    assert!(
        response["usage"]["fuel"].as_u64().unwrap() > 0,
        "{response}"
    );
    assert!(!response["call-id"].as_str().unwrap().is_empty());
}

#[test]
fn what_fails_says_who_and_why() {
    let sandbox = Sandbox::with_calculator();
    let call = |args: &[&str]| sandbox.run(&[&["call"], args].concat());
    call(&["calc__refuse"]).exits(1).says(&["reports an error"]);
    call(&["calc__fail"])
        .exits(1)
        .says(&["the plugin failed (internal)"]);
    call(&["calc__add", r#"{"a": 1}"#])
        .exits(1)
        .says(&["not done (invalid-argument)", "b: it is required"]);
    call(&["calc__add", r#"{"a": 1, "b": 2147483648}"#])
        .exits(1)
        .says(&["invalid-argument", "b: it must be an integer"]);
    call(&["calc__ad"])
        .exits(1)
        .says(&["no tool `calc__ad`", "did you mean `calc__add`?"]);
    let failed = call(&["calc__fail", "--json"]).exits(1).json();
    assert_eq!(failed["error"]["origin"], "plugin");
    assert_eq!(failed["error"]["code"], "internal");
    assert_eq!(failed["error"]["kind"], "failed");
}

#[test]
fn arguments_are_read_strictly() {
    let sandbox = Sandbox::with_calculator();
    for (arguments, said) in [
        (r#"{"a": 1, "a": 2, "b": 3}"#, "twice"),
        (r#"{"a": NaN}"#, "line 1"),
        ("[1, 2]", "JSON object"),
        (r#"{"a": 1} x"#, "line 1"),
    ] {
        let ran = sandbox
            .run(&["call", "calc__add", arguments])
            .exits(2)
            .says(&[said]);
        assert!(ran.out.is_empty());
    }
    sandbox
        .run(&["call", "calc__add", "{}", "--arg", "a=1"])
        .exits(2)
        .says(&["once"]);
    sandbox
        .run(&["call", "calc__add", "--arg", "a"])
        .exits(2)
        .says(&["a=VALUE"]);
    sandbox.run(&["call"]).exits(2).says(&["Usage"]);
}

#[test]
fn a_limit_names_its_setting() {
    let sandbox = Sandbox::with_calculator();
    let manifest = sandbox.read("portreeve.toml") + "limits = { fuel = 100_000 }\n";
    sandbox.write("portreeve.toml", manifest);
    let ran = sandbox
        .run(&["call", "calc__spin", "--json"])
        .exits(1)
        .says(&["`fuel`", "[plugins.calc]"]);
    assert_eq!(ran.json()["error"]["limit"]["setting"], "fuel");
}

#[test]
fn an_interrupt_ends_a_call() {
    let sandbox = Sandbox::with_calculator();
    sandbox.forget_compiled();
    let mut child = sandbox
        .command(&["call", "calc__spin"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = || lines.next().unwrap().unwrap();
    while !said().contains("compiling") {}
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(said().contains("cancelled"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
