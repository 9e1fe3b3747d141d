//! Asks the client of a call for things, in ways that fit and in ways that don't.

use portreeve_test_programs::client_types::{Form, Request, Role, Said};
use portreeve_test_programs::inputs::{self, Given, Input, Kind, Want};
use portreeve_test_programs::{
    Answer, Content, Failure, Value, client_log, json, roots, sampling, structured, tools,
};

fn failed(failure: &Failure) -> Value {
    json!({"failed": {
        "code": format!("{:?}", failure.code),
        "reason": failure.reason,
        "message": failure.message,
    }})
}

fn request(prompt: &str, max_tokens: u32, options: &str) -> Request {
    Request {
        messages: vec![Said {
            role: Role::User,
            content: Content::Text(prompt.to_owned()),
        }],
        system: None,
        max_tokens,
        options: options.to_owned(),
    }
}

fn said(content: &Content) -> String {
    match content {
        Content::Text(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

tools! {
    /// Asks the model.
    fn sample(prompt: String, tokens: u64, options: Option<String>) -> Answer {
        let options = options.unwrap_or_default();
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let asked = sampling::create_message(&request(&prompt, tokens, &options));
        Ok(structured(match asked {
            Ok(reply) => json!({"model": reply.model, "said": said(&reply.content)}),
            Err(failure) => failed(&failure),
        }))
    }

    /// Asks the model, and hands on why it could not.
    fn need(prompt: String) -> Answer {
        let reply = sampling::create_message(&request(&prompt, 10, ""))?;
        Ok(structured(json!({"said": said(&reply.content)})))
    }

    /// Fails as if the client lacked something.
    fn pretend() -> Answer {
        Err(Failure {
            code: portreeve_test_programs::ErrorCode::Unsupported,
            reason: "client-capability".to_owned(),
            message: "give me more".to_owned(),
            retry_after_ms: None,
            detail: Some(json!({"clientCapabilities": ["sampling"]}).to_string()),
        })
    }

    /// Asks where the client works.
    fn places() -> Answer {
        Ok(structured(match roots::list_roots() {
            Ok(roots) => {
                let uris: Vec<String> = roots.into_iter().map(|root| root.uri).collect();
                json!({"roots": uris})
            }
            Err(failure) => failed(&failure),
        }))
    }

    /// Writes to the log so many times.
    fn write(data: String, count: u64) -> Answer {
        let mut written = 0;
        for _ in 0..count {
            match client_log::write(client_log::Level::Warning, &data) {
                Ok(()) => written += 1,
                Err(failure) => {
                    return Ok(structured(json!({"written": written, "stopped": failed(&failure)})));
                }
            }
        }
        Ok(structured(json!({"written": written})))
    }

    /// Asks for several things: `NAME=KIND` with commas between.
    fn gather(wants: String) -> Answer {
        let inputs: Vec<Input> = wants
            .split(',')
            .filter(|each| !each.is_empty())
            .map(|each| {
                let (name, kind) = each.split_once('=').unwrap_or((each, ""));
                let want = match kind {
                    "message" => Want::Message(request("Say something", 10, "")),
                    "roots" => Want::Roots,
                    _ => Want::Question(Form {
                        message: format!("What is {name}?"),
                        schema: json!({
                            "type": "object",
                            "properties": {"value": {"type": "integer"}},
                            "required": ["value"],
                        })
                        .to_string(),
                    }),
                };
                Input { name: name.to_owned(), want }
            })
            .collect();
        Ok(structured(match inputs::gather(&inputs) {
            Ok(given) => {
                let shown: Vec<String> = given
                    .into_iter()
                    .map(|given| match given {
                        Given::Answer(answer) => format!("{answer:?}"),
                        Given::Message(reply) => said(&reply.content),
                        Given::Roots(roots) => format!("{} roots", roots.len()),
                    })
                    .collect();
                json!({"given": shown})
            }
            Err(failure) => failed(&failure),
        }))
    }

    /// Does something else first, then asks for one number.
    fn gather_later(ms: u64) -> Answer {
        std::thread::sleep(std::time::Duration::from_millis(ms));
        let want = Want::Question(Form {
            message: "How many?".to_owned(),
            schema: json!({"type": "object", "properties": {"value": {"type": "integer"}}})
                .to_string(),
        });
        let input = Input { name: "many".to_owned(), want };
        Ok(structured(match inputs::gather(&[input]) {
            Ok(given) => json!({"given": format!("{given:?}")}),
            Err(failure) => failed(&failure),
        }))
    }

    /// Says what the client can give.
    fn able() -> Answer {
        let kinds = [Kind::Question, Kind::Message, Kind::Roots];
        Ok(structured(json!({"can": kinds.map(inputs::can)})))
    }
}
