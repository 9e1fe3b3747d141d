use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn shown(found: &Result<Option<RegistryCredential>, String>) -> String {
    match found {
        Ok(None) => "none".to_owned(),
        Ok(Some(RegistryCredential::Basic { user, password })) => {
            format!("{user}:{}", password.as_str())
        }
        Ok(Some(RegistryCredential::Identity(token))) => format!("token {}", token.as_str()),
        Err(why) => why.clone(),
    }
}

async fn find(file: &str, registry: &str, repository: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, file).unwrap();
    let credentials = DockerCredentials::new(vec![dir.path().join("none.json"), path]);
    let found = credentials.credential(registry, repository).await;
    shown(&found).replace(&dir.path().display().to_string(), "DIR")
}

#[tokio::test]
async fn log_ins_are_found_in_files() {
    let two = r#"{ "auths": {
        "one.example": { "auth": "dXNlcjpzZWNyZXQ=" },
        "one.example/acme": { "auth": "YWNtZTpzZWNyZXQ=" },
        "two.example:5000": { "identitytoken": "abc" },
        "https://index.docker.io/v1/": { "auth": "aHViOnNlY3JldA==" },
        "bad.example": { "auth": "!!!" },
        "torn.example": { "auth": "dXNlcjpzZWNyZXQ=", "username": "user", "password": "other" },
        "none.example": {}
    } }"#;
    for (file, registry, repository, expected) in [
        (two, "one.example", "other/tool", "user:secret"),
        (two, "one.example", "acme/tool", "acme:secret"),
        (two, "one.example", "acmes/tool", "user:secret"),
        (two, "two.example:5000", "a", "token abc"),
        (two, "two.example", "a", "none"),
        (two, "docker.io", "library/a", "hub:secret"),
        (two, "none.example", "a", "none"),
        (
            two,
            "bad.example",
            "a",
            "the log-ins in DIR/config.json can't be used: one is damaged",
        ),
        (
            two,
            "torn.example",
            "a",
            "the log-ins in DIR/config.json can't be used: one says two different things",
        ),
        ("{}", "one.example", "a", "none"),
        (
            "[]",
            "one.example",
            "a",
            "the log-ins in DIR/config.json can't be used: they are no JSON object",
        ),
        (
            "{",
            "one.example",
            "a",
            "the log-ins in DIR/config.json can't be used: they are no JSON",
        ),
        (
            r#"{ "credsStore": "../../bin/evil" }"#,
            "one.example",
            "a",
            "the log-ins in DIR/config.json can't be used: they name a helper program that can't be one",
        ),
    ] {
        assert_eq!(
            find(file, registry, repository).await,
            expected,
            "{registry}/{repository}"
        );
    }
    let large = " ".repeat(1 << 21);
    assert!(
        find(&large, "one.example", "a")
            .await
            .ends_with("the file is too large")
    );
}

/// A helper program of its own name: they are looked for in `PATH`, which all tests share.
fn helper(dir: &Path, script: &str) -> String {
    let path = dir.join("docker-credential-of-a-test");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn helpers_are_programs_with_bounds() {
    let dir = tempfile::tempdir().unwrap();
    for (script, expected) in [
        (
            r#"read name; echo "{\"ServerURL\":\"$name\",\"Username\":\"$1 $name\",\"Secret\":\"s\"}""#,
            "get one.example:s",
        ),
        (r#"echo '{"Username":"<token>","Secret":"s"}'"#, "token s"),
        (
            "echo 'credentials not found in native keychain'; exit 1",
            "none",
        ),
        (
            "echo secret; exit 1",
            "the program P failed: exit status: 1",
        ),
        (
            "echo secret",
            "the program P says something else than a log-in",
        ),
        ("yes", "the program P says too much"),
        ("exec sleep 1000", "the program P took longer than 1 s"),
    ] {
        let program = helper(dir.path(), script);
        let credentials =
            DockerCredentials::new(Vec::new()).with_helper_time(Duration::from_secs(1));
        let found = credentials.run(&program, "one.example").await;
        assert_eq!(shown(&found).replace(&program, "P"), expected, "{script}");
    }
    let missing = DockerCredentials::new(Vec::new())
        .ask("none-such", "a")
        .await;
    assert!(
        missing
            .unwrap_err()
            .contains("docker-credential-none-such can't be run")
    );
}

#[test]
fn the_files_of_a_user() {
    let files = |variables: &[(&str, &str)]| {
        let env = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        DockerCredentials::of_user(env).files
    };
    assert!(files(&[]).is_empty());
    assert_eq!(
        files(&[("HOME", "/h")]),
        ["/h/.config/containers/auth.json", "/h/.docker/config.json"].map(PathBuf::from)
    );
    let all = [
        ("HOME", "/h"),
        ("XDG_RUNTIME_DIR", "/r"),
        ("XDG_CONFIG_HOME", "/c"),
        ("DOCKER_CONFIG", "/d"),
        ("REGISTRY_AUTH_FILE", "/a.json"),
    ];
    assert_eq!(
        files(&all),
        [
            "/a.json",
            "/r/containers/auth.json",
            "/c/containers/auth.json",
            "/d/config.json"
        ]
        .map(PathBuf::from)
    );
}
