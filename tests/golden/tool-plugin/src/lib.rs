//! The golden component of the contract at 0.1.0: it imports and exports every interface of it,
//! with nothing but wit-bindgen, so that it stands for what any tool chain makes of the WIT.
//!
//! Tools: `echo` (`{"text": …}` comes back as text), `context` (what the host says of the call, as
//! a structured answer), `content` (every kind of content, and meta), `config` (`{"key": …}`),
//! `progress` (one report), `fail` (a failure with every field set).

wit_bindgen::generate!({
    path: [
        "../../../wit/types",
        "../../../wit/tools",
        "../../../wit/host",
        "../../../wit/lifecycle",
        "../../../wit/ui",
        "../../../wit/secrets",
        "../../../wit/network",
        "../../../wit/storage",
        "../../../wit/messages",
        "../../../wit/plugin",
    ],
    world: "portreeve:plugin/lifecycle-plugin",
    generate_all,
});

use std::cell::Cell;

use exports::portreeve::lifecycle::lifecycle;
use exports::portreeve::tools::provider::{Guest, Outcome};
use portreeve::host::{config, context};
use portreeve::types::types::{Blob, Content, ErrorCode, Failure, Link};
use portreeve::ui::progress;

struct Plugin;

export!(Plugin);

thread_local! {
    /// How often `start` ran in this instance.
    static STARTS: Cell<u32> = const { Cell::new(0) };
}

/// Each tool with its arguments' properties.
const TOOLS: [(&str, &str, &str); 6] = [
    ("echo", "Gives the text back", r#""text":{"type":"string"}"#),
    ("context", "Tells what the host says of the call", ""),
    ("content", "Answers with every kind of content", ""),
    ("config", "Gives a setting, or all", r#""key":{"type":"string"}"#),
    ("progress", "Reports progress", ""),
    ("fail", "Fails with every field set", ""),
];

impl Guest for Plugin {
    fn list_tools() -> Result<Vec<String>, Failure> {
        let document = |(name, description, properties): (&str, &str, &str)| {
            format!(
                r#"{{"name":"{name}","description":"{description}","inputSchema":{{"type":"object","properties":{{{properties}}},"additionalProperties":false}}}}"#
            )
        };
        Ok(TOOLS.map(document).to_vec())
    }

    fn call_tool(name: String, arguments: String) -> Result<Outcome, Failure> {
        match name.as_str() {
            "echo" => Ok(outcome(vec![Content::Text(member(&arguments).to_owned())])),
            "context" => Ok(outcome(vec![Content::Structured(format!(
                r#"{{"callId":"{}","caller":"{}","deadlineMs":{},"isCancelled":{},"fuelLeft":{},"starts":{}}}"#,
                context::call_id(),
                context::caller(),
                context::deadline_ms(),
                context::is_cancelled(),
                context::fuel_left(),
                STARTS.get(),
            ))])),
            "content" => Ok(Outcome {
                content: vec![
                    Content::Text("text".to_owned()),
                    Content::Blob(Blob {
                        data: vec![0, 159, 146, 150],
                        mime_type: "application/octet-stream".to_owned(),
                    }),
                    Content::Link(Link {
                        uri: "https://example.com/".to_owned(),
                        name: "example".to_owned(),
                        mime_type: Some("text/html".to_owned()),
                    }),
                    Content::Structured(r#"{"structured":true}"#.to_owned()),
                ],
                is_error: true,
                meta: vec![("golden.name".to_owned(), "value".to_owned())],
            }),
            "config" => {
                let json = match member(&arguments) {
                    "" => config::all(),
                    key => config::get(key).unwrap_or_else(|| "nothing".to_owned()),
                };
                Ok(outcome(vec![Content::Text(json)]))
            }
            "progress" => {
                progress::report(1.0, Some(2.0), Some("half"))?;
                progress::report(2.0, None, None)?;
                Ok(outcome(vec![Content::Text("reported".to_owned())]))
            }
            "fail" => Err(Failure {
                code: ErrorCode::Conflict,
                reason: "golden-reason".to_owned(),
                message: "it failed as told".to_owned(),
                retry_after_ms: Some(1_500),
                detail: Some(r#"{"detail":[1,2]}"#.to_owned()),
            }),
            _ => Err(Failure {
                code: ErrorCode::NotFound,
                reason: "unknown-tool".to_owned(),
                message: format!("there is no tool {name}"),
                retry_after_ms: None,
                detail: None,
            }),
        }
    }
}

impl lifecycle::Guest for Plugin {
    /// Fails where the configuration is `{"refuse":true}`.
    fn start(config: String) -> Result<(), Failure> {
        STARTS.set(STARTS.get() + 1);
        if config.contains(r#""refuse":true"#) {
            return Err(Failure {
                code: ErrorCode::Unavailable,
                reason: "refused".to_owned(),
                message: "the configuration says to refuse".to_owned(),
                retry_after_ms: None,
                detail: None,
            });
        }
        Ok(())
    }

    fn stop(_deadline_ms: u64) {
        STARTS.set(0);
    }

    fn health() -> Result<(), Failure> {
        Ok(())
    }

    fn migrate(_from_version: String) -> Result<(), Failure> {
        Ok(())
    }
}

fn outcome(content: Vec<Content>) -> Outcome {
    Outcome {
        content,
        is_error: false,
        meta: Vec::new(),
    }
}

/// The only member's text, as far as the first quote: enough for arguments without escapes, and
/// there is no JSON library to carry along.
fn member(arguments: &str) -> &str {
    let value = arguments.split_once(':').map_or("", |(_, value)| value);
    value.split('"').nth(1).unwrap_or("")
}
