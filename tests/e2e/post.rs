//! Plugins that send, handle and answer messages, and do as they are told: the test program
//! `post` under several names.

use serde_json::{Value, json};

use crate::support::{Client, Project};
use crate::web::{done, said};

/// One such plugin in a project.
pub(crate) struct Post<'a> {
    pub(crate) alias: &'a str,
    /// Whether it has one instance for all calls.
    pub(crate) resident: bool,
    /// More of its table in `portreeve.toml`.
    pub(crate) table: &'a str,
}

impl Post<'_> {
    /// With a fresh instance for each call.
    pub(crate) fn fresh(alias: &str) -> Post<'_> {
        Post {
            alias,
            resident: false,
            table: "",
        }
    }

    fn text(&self) -> String {
        let Post { alias, table, .. } = self;
        format!(
            "[plugins.{alias}]\nsource = \"{alias}.wasm\"\ngrants.storage = {{ kv = \"1 MiB\" }}\n\
             grants.messages = {{ publish = [\">\"], request = [\">\"], subscribe = [\"{alias}.>\", \"all.>\"] }}\n{table}\n"
        )
    }
}

/// Writes `portreeve.toml`: `head`, then the plugins.
pub(crate) fn write(project: &Project, head: &str, plugins: &[Post<'_>]) {
    let tables: String = plugins.iter().map(Post::text).collect();
    project.write(&format!("{head}\n{tables}"));
}

/// A project of them.
pub(crate) fn project(head: &str, plugins: &[Post<'_>]) -> Project {
    let project = Project::with("");
    for plugin in plugins {
        pack(&project, plugin, "1.0.0", &format!("{}.wasm", plugin.alias));
    }
    write(&project, head, plugins);
    project
}

/// Packs a version of such a plugin into a file of the project.
pub(crate) fn pack(project: &Project, plugin: &Post<'_>, version: &str, file: &str) {
    let alias = plugin.alias;
    let dir = project.path().join(format!("{alias}-source"));
    std::fs::create_dir_all(&dir).unwrap();
    let instances = match plugin.resident {
        true => "resident",
        false => "per-call",
    };
    let manifest = format!(
        "schema = 1\n[plugin]\nid = \"{alias}\"\nversion = \"{version}\"\nlicense = \"MIT\"\n\
         instances = \"{instances}\"\n\
         [requests.storage]\nkv = \"1 MiB\"\n\
         [requests.messages]\npublish = [\">\"]\nsubscribe = [\">\"]\nrequest = [\">\"]\n\
         [config.properties]\nstart = {{ type = \"string\" }}\nstop = {{ type = \"string\" }}\n"
    );
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
    let package = project.path().join(file);
    let (dir, package) = (dir.to_str().unwrap(), package.to_str().unwrap());
    let component = portreeve_test_artifacts::POST;
    done(&project.run(&["build", dir, "--component", component, "--out", package]));
}

/// Has a plugin act; its result.
pub(crate) fn act(client: &mut Client, alias: &str, what: &str) -> Value {
    client.call(&format!("{alias}__act"), json!({ "what": what }))
}

/// What an instance of a plugin remembers.
pub(crate) fn seen(client: &mut Client, alias: &str) -> Value {
    let result = client.call(&format!("{alias}__seen"), json!({}));
    assert_ne!(result["isError"], json!(true), "{result}");
    result["structuredContent"].clone()
}

/// The reason of a call that failed.
pub(crate) fn reason(result: &Value) -> &str {
    assert_eq!(result["isError"], json!(true), "{result}");
    let reason = &result["_meta"]["portreeve/error"]["reason"];
    reason.as_str().unwrap_or_else(|| panic!("{result}"))
}

/// Waits until plugins have subscribed.
pub(crate) fn until_they_subscribe(project: &Project, aliases: &[&str]) {
    crate::support::eventually("they subscribe", || {
        let stats = said(&project.run(&["bus", "stats"]));
        aliases
            .iter()
            .all(|alias| stats.contains(&format!("{alias} subscribes to")))
    });
}

/// Dead letters as the command shows them.
pub(crate) fn dead(project: &Project) -> Vec<Value> {
    let list = done(&project.run(&["bus", "dead", "list", "--json"]));
    serde_json::from_str(&list).unwrap()
}
