//! The tools, resources and prompts that the public conformance suite asks of a server.

use portreeve_test_programs::client_types::{self as client, Form, Request, Role, Said};
use portreeve_test_programs::completion::{self, Completions, Subject};
use portreeve_test_programs::inputs::{self, Given, Input, Kind, Want};
use portreeve_test_programs::prompts::{self, Filled, Message, Role as By, Said as Says};
use portreeve_test_programs::resources::{self, Body, Page, Part};
use portreeve_test_programs::{
    Answer, Blob, Content, ErrorCode, Failure, Guest, Outcome, Value, argument, client_log, export,
    export_content, failure, json, no_such_tool, outcome, progress, sampling, text, tool_document,
};

/// A red pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

/// No sound at all, in the form of some.
const WAV: &[u8] =
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0";

struct Program;

impl Guest for Program {
    fn list_tools() -> Result<Vec<String>, Failure> {
        let plain = [
            ("test_simple_text", "Answers with one text."),
            ("test_image_content", "Answers with an image."),
            ("test_audio_content", "Answers with a sound."),
            ("test_embedded_resource", "Answers with a file."),
            (
                "test_multiple_content_types",
                "Answers with a text, an image and a file.",
            ),
            (
                "test_tool_with_progress",
                "Tells how far it is, then answers.",
            ),
            ("test_error_handling", "Answers with an error of its own."),
            ("test_tool_with_logging", "Writes to the log, then answers."),
            ("test_logging_tool", "Writes to the log, then answers."),
            (
                "test_reconnection",
                "Writes to the log, then answers after a while.",
            ),
            ("test_missing_capability", "Needs a client with a model."),
            ("test_streaming_elicitation", "Asks somebody to confirm."),
            ("test_elicitation_sep1034_defaults", "Asks with defaults."),
            ("test_elicitation_sep1330_enums", "Asks with choices."),
            ("test_input_required_result_elicitation", "Asks for a name."),
            ("test_input_required_result_sampling", "Asks the model."),
            ("test_input_required_result_list_roots", "Asks for places."),
            (
                "test_input_required_result_request_state",
                "Asks somebody to confirm.",
            ),
            (
                "test_input_required_result_multiple_inputs",
                "Asks for a name, a greeting and places.",
            ),
            ("test_trigger_tool_change", "Has the tools changed."),
            ("test_trigger_prompt_change", "Has the prompts changed."),
            ("test_input_required_result_multi_round", "Asks twice."),
            (
                "test_input_required_result_tampered_state",
                "Asks somebody to confirm.",
            ),
            (
                "test_input_required_result_capabilities",
                "Asks for what the client can give.",
            ),
        ];
        let plain = plain.map(|(name, description)| tool_document(name, description, &[]));
        let with_text = [
            ("test_sampling", "Asks the model.", "prompt"),
            ("test_elicitation", "Asks who somebody is.", "message"),
        ];
        let with_text = with_text.map(|(name, description, argument)| {
            let text = json!({"type": "string"});
            tool_document(name, description, &[(argument, text, true)])
        });
        Ok(plain
            .iter()
            .chain(&with_text)
            .chain(&jobs())
            .chain([&json_schema_2020_12(), &with_header()])
            .map(ToString::to_string)
            .collect())
    }

    fn call_tool(name: String, arguments: String) -> Answer {
        Ok(match name.as_str() {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_image_content" => outcome(vec![blob(PNG, "image/png")]),
            "test_audio_content" => outcome(vec![blob(WAV, "audio/wav")]),
            "test_embedded_resource" => outcome(vec![blob(
                b"This is an embedded resource content.",
                "text/plain",
            )]),
            "test_multiple_content_types" => outcome(vec![
                Content::Text("Multiple content types test:".into()),
                blob(PNG, "image/png"),
                blob(br#"{"test":"data","value":123}"#, "application/json"),
            ]),
            "test_tool_with_progress" => {
                for done in [0.0, 50.0, 100.0] {
                    progress::report(done, Some(100.0), None)?;
                    // The host passes on ten reports a second.
                    std::thread::sleep(std::time::Duration::from_millis(120));
                }
                text("progressed")
            }
            "test_error_handling" => Outcome {
                is_error: true,
                ..text("This tool intentionally returns an error for testing")
            },
            "json_schema_2020_12_tool" | "test_custom_header" => text("called"),
            "test_tool_with_logging" | "test_logging_tool" => {
                for entry in [
                    "Tool execution started",
                    "Tool processing data",
                    "Tool execution completed",
                ] {
                    client_log::write(client_log::Level::Info, &json!(entry).to_string())?;
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                text("logged")
            }
            // Longer than the host holds a stream, as the test has it do.
            "test_reconnection" => {
                client_log::write(client_log::Level::Info, &json!("begun").to_string())?;
                std::thread::sleep(std::time::Duration::from_millis(2_500));
                text("answered to whoever came back")
            }
            "greet" => text(format!(
                "Hello, {}!",
                argument::<String>(&arguments, "name")?
            )),
            "slow_compute" => {
                let seconds: f64 = argument(&arguments, "seconds")?;
                std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
                text(format!("computed for {seconds} s"))
            }
            "failing_job" => {
                become_a_task();
                return Err(failure(ErrorCode::Unavailable, "this job always fails"));
            }
            "protocol_error_job" => {
                become_a_task();
                // What its caller can't give, and is told in the protocol's own words.
                gathered(&[("places", Want::Roots)])?;
                return Err(odd());
            }
            "confirm_delete" => {
                become_a_task();
                let file: String = argument(&arguments, "filename")?;
                let confirm = json!({"confirm": {"type": "boolean"}});
                let message = format!("Delete {file}?");
                let answer = asked("confirm", &message, &confirm, &["confirm"])?;
                text(format!("{file}: {answer}"))
            }
            "multi_input" => {
                become_a_task();
                let fields = json!({"name": {"type": "string"}, "confirm": {"type": "boolean"}});
                let want = |message| Want::Question(form(message, &fields, &["name"]));
                let wants = [("first", want("First?")), ("second", want("Second?"))];
                text(format!("{} were given", gathered(&wants)?.len()))
            }
            "test_tool_with_task" => {
                let answer = asked("user_name", "What is your name?", &name_field(), &["name"])?;
                become_a_task();
                text(format!("Hello, {}!", answer["content"]["name"]))
            }
            // What a plugin offers is its component's and its operator's; the latter reads this.
            "test_trigger_tool_change" | "test_trigger_prompt_change" => {
                eprintln!("change what is offered");
                text("asked for")
            }
            "test_sampling" => {
                let prompt: String = argument(&arguments, "prompt")?;
                let reply = sampling::create_message(&request(&prompt, 100))?;
                text(format!("LLM response: {}", said(&reply)))
            }
            "test_missing_capability" => {
                text(said(&sampling::create_message(&request("Hello?", 10))?))
            }
            "test_elicitation" => {
                let message: String = argument(&arguments, "message")?;
                let properties = json!({
                    "username": {"type": "string", "description": "User's response"},
                    "email": {"type": "string", "description": "User's email address"},
                });
                let answer = asked("user", &message, &properties, &["username", "email"])?;
                text(format!("User response: {answer}"))
            }
            "test_elicitation_sep1034_defaults" => {
                let answer = asked("defaults", "Is this you?", &defaults(), &[])?;
                text(format!("Elicitation completed: {answer}"))
            }
            "test_elicitation_sep1330_enums" => {
                let answer = asked("choices", "Which ones?", &choices(), &[])?;
                text(format!("Elicitation completed: {answer}"))
            }
            "test_input_required_result_elicitation" => {
                let answer = asked("user_name", "What is your name?", &name_field(), &["name"])?;
                text(format!("Hello, {}!", answer["content"]["name"]))
            }
            "test_input_required_result_sampling" => {
                let want = Want::Message(request("What is the capital of France?", 100));
                match gathered(&[("capital_question", want)])?.as_slice() {
                    [Given::Message(reply)] => text(said(reply)),
                    _ => return Err(odd()),
                }
            }
            "test_input_required_result_list_roots" => {
                match gathered(&[("client_roots", Want::Roots)])?.as_slice() {
                    [Given::Roots(roots)] => text(places(roots)),
                    _ => return Err(odd()),
                }
            }
            "test_input_required_result_request_state"
            | "test_input_required_result_tampered_state"
            | "test_streaming_elicitation" => {
                let properties = json!({"ok": {"type": "boolean"}});
                asked("confirm", "Please confirm", &properties, &["ok"])?;
                text("state-ok")
            }
            "test_input_required_result_multiple_inputs" => {
                let name = form("What is your name?", &name_field(), &["name"]);
                let wants = [
                    ("user_name", Want::Question(name)),
                    (
                        "greeting",
                        Want::Message(request("Generate a greeting", 50)),
                    ),
                    ("client_roots", Want::Roots),
                ];
                match gathered(&wants)?.as_slice() {
                    [
                        Given::Answer(answer),
                        Given::Message(reply),
                        Given::Roots(roots),
                    ] => text(format!(
                        "{} {} {}",
                        shown(answer),
                        said(reply),
                        places(roots)
                    )),
                    _ => return Err(odd()),
                }
            }
            "test_input_required_result_multi_round" => {
                let name = asked(
                    "step1",
                    "Step 1: What is your name?",
                    &name_field(),
                    &["name"],
                )?;
                let colour = json!({"color": {"type": "string"}});
                let message = "Step 2: What is your favorite color?";
                let colour = asked("step2", message, &colour, &["color"])?;
                text(format!("{name} {colour}"))
            }
            "test_input_required_result_capabilities" => {
                let mut wants = Vec::new();
                if inputs::can(Kind::Question) {
                    let form = form("What is your name?", &name_field(), &["name"]);
                    wants.push(("user_name", Want::Question(form)));
                }
                if inputs::can(Kind::Message) {
                    wants.push((
                        "greeting",
                        Want::Message(request("Generate a greeting", 50)),
                    ));
                }
                if inputs::can(Kind::Roots) {
                    wants.push(("client_roots", Want::Roots));
                }
                text(format!("{} were given", gathered(&wants)?.len()))
            }
            _ => return Err(no_such_tool(&name)),
        })
    }
}

impl resources::Guest for Program {
    fn list_resources(_cursor: Option<String>, _limit: u32) -> Result<Page, Failure> {
        let listed = [
            ("test://static-text", "Static text", "text/plain"),
            ("test://static-binary", "Static bytes", "image/png"),
            ("test://watched-resource", "Watched", "text/plain"),
        ];
        let items = listed.map(|(uri, name, mime_type)| {
            let description = format!("{name}, for the suite");
            json!({"uri": uri, "name": name, "description": description, "mimeType": mime_type})
                .to_string()
        });
        Ok(Page {
            items: items.to_vec(),
            next: None,
        })
    }

    fn list_templates() -> Result<Vec<String>, Failure> {
        let template = json!({
            "uriTemplate": "test://template/{id}/data",
            "name": "Template",
            "description": "Data by their id",
            "mimeType": "application/json",
        });
        Ok(vec![template.to_string()])
    }

    fn read_resource(uri: String) -> Result<Vec<Part>, Failure> {
        let id = uri
            .strip_prefix("test://template/")
            .and_then(|rest| rest.strip_suffix("/data"));
        let (mime_type, body) = match (uri.as_str(), id) {
            ("test://static-text", _) => {
                let text = "This is the content of the static text resource.";
                ("text/plain", Body::Text(text.to_owned()))
            }
            ("test://static-binary", _) => ("image/png", Body::Bytes(PNG.to_vec())),
            ("test://watched-resource", _) => ("text/plain", Body::Text("watched".to_owned())),
            (_, Some(id)) => {
                let data = format!("Data for ID: {id}");
                let data = json!({"id": id, "templateTest": true, "data": data});
                ("application/json", Body::Text(data.to_string()))
            }
            _ => return Err(failure(ErrorCode::NotFound, "there is no such resource")),
        };
        Ok(vec![part(&uri, mime_type, body)])
    }
}

/// What the suite's scenarios of tasks call.
fn jobs() -> [Value; 7] {
    let mut failing = tool_document("failing_job", "Fails after a while.", &[]);
    failing["execution"] = json!({"taskSupport": "required"});
    let text = || json!({"type": "string"});
    let seconds = json!({"type": "number", "minimum": 0, "maximum": 60});
    [
        tool_document("greet", "Greets at once.", &[("name", text(), true)]),
        tool_document(
            "slow_compute",
            "Computes for a while.",
            &[("seconds", seconds, true), ("label", text(), false)],
        ),
        failing,
        tool_document("protocol_error_job", "Breaks after a while.", &[]),
        tool_document(
            "confirm_delete",
            "Asks to confirm, after a while.",
            &[("filename", text(), true)],
        ),
        tool_document("multi_input", "Asks two things, after a while.", &[]),
        tool_document(
            "test_tool_with_task",
            "Asks for a name, then works for a while.",
            &[],
        ),
    ]
}

/// Works for longer than callers wait, as the test has the host be set.
fn become_a_task() {
    std::thread::sleep(std::time::Duration::from_millis(800));
}

fn part(uri: &str, mime_type: &str, body: Body) -> Part {
    Part {
        uri: uri.to_owned(),
        mime_type: Some(mime_type.to_owned()),
        body,
        meta: Vec::new(),
    }
}

impl prompts::Guest for Program {
    fn list_prompts() -> Result<Vec<String>, Failure> {
        let prompt = |name: &str, description: &str, arguments: &[&str]| {
            let arguments: Vec<Value> = arguments
                .iter()
                .map(|name| json!({"name": name, "required": true}))
                .collect();
            json!({"name": name, "description": description, "arguments": arguments}).to_string()
        };
        Ok(vec![
            prompt("test_simple_prompt", "Says one thing.", &[]),
            prompt(
                "test_prompt_with_arguments",
                "Says what it is given.",
                &["arg1", "arg2"],
            ),
            prompt(
                "test_prompt_with_embedded_resource",
                "Shows a resource.",
                &["resourceUri"],
            ),
            prompt("test_prompt_with_image", "Shows an image.", &[]),
            prompt(
                "test_input_required_result_prompt",
                "Asks for its context.",
                &[],
            ),
        ])
    }

    fn get_prompt(name: String, arguments: String) -> Result<Filled, Failure> {
        let says = |content| Message {
            role: By::User,
            content,
        };
        let text = |text: String| says(Says::Text(text));
        let messages = match name.as_str() {
            "test_simple_prompt" => vec![text("This is a simple prompt for testing.".to_owned())],
            "test_prompt_with_arguments" => {
                let one: String = argument(&arguments, "arg1")?;
                let two: String = argument(&arguments, "arg2")?;
                let filled = format!("Prompt with arguments: arg1='{one}', arg2='{two}'");
                vec![text(filled)]
            }
            "test_prompt_with_embedded_resource" => {
                let uri: String = argument(&arguments, "resourceUri")?;
                let body = Body::Text("Embedded resource content for testing.".to_owned());
                vec![
                    says(Says::Embedded(part(&uri, "text/plain", body))),
                    text("Please process the embedded resource above.".to_owned()),
                ]
            }
            "test_prompt_with_image" => {
                let image = Blob {
                    data: PNG.to_vec(),
                    mime_type: "image/png".to_owned(),
                };
                vec![
                    says(Says::Blob(image)),
                    text("Please analyze the image above.".to_owned()),
                ]
            }
            "test_input_required_result_prompt" => {
                let context = json!({"context": {"type": "string"}});
                let message = "What context should the prompt use?";
                let answer = asked("user_context", message, &context, &["context"])?;
                vec![text(format!("In the context of {answer}"))]
            }
            _ => return Err(failure(ErrorCode::NotFound, "there is no such prompt")),
        };
        Ok(Filled {
            description: None,
            messages,
        })
    }
}

impl completion::Guest for Program {
    fn complete(
        _of: Subject,
        _argument: String,
        value: String,
        _known: String,
    ) -> Result<Completions, Failure> {
        let values = ["testing", "tested", "other"];
        let fitting = values.iter().filter(|known| known.starts_with(&value));
        Ok(Completions {
            values: fitting.map(|known| (*known).to_owned()).collect(),
            total: None,
            more: false,
        })
    }
}

fn blob(data: &[u8], mime_type: &str) -> Content {
    Content::Blob(Blob {
        data: data.to_vec(),
        mime_type: mime_type.into(),
    })
}

fn name_field() -> Value {
    json!({"name": {"type": "string"}})
}

fn form(message: &str, properties: &Value, required: &[&str]) -> Form {
    let schema = json!({"type": "object", "properties": properties, "required": required});
    Form {
        message: message.to_owned(),
        schema: schema.to_string(),
    }
}

/// Asks for several things under their names.
fn gathered(wants: &[(&str, Want)]) -> Result<Vec<Given>, Failure> {
    let inputs: Vec<Input> = wants
        .iter()
        .map(|(name, want)| Input {
            name: (*name).to_owned(),
            want: want.clone(),
        })
        .collect();
    inputs::gather(&inputs)
}

/// Asks for one form; what came of it, as the suite words it.
fn asked(
    name: &str,
    message: &str,
    properties: &Value,
    required: &[&str],
) -> Result<Value, Failure> {
    let want = Want::Question(form(message, properties, required));
    match gathered(&[(name, want)])?.as_slice() {
        [Given::Answer(answer)] => Ok(shown(answer)),
        _ => Err(odd()),
    }
}

fn shown(answer: &client::Answer) -> Value {
    match answer {
        client::Answer::Accepted(text) => {
            let content: Value = serde_json::from_str(text).unwrap();
            json!({"action": "accept", "content": content})
        }
        client::Answer::Declined => json!({"action": "decline"}),
        client::Answer::Dismissed => json!({"action": "cancel"}),
    }
}

fn odd() -> Failure {
    failure(ErrorCode::Internal, "the host gave something else")
}

fn request(prompt: &str, max_tokens: u32) -> Request {
    Request {
        messages: vec![Said {
            role: Role::User,
            content: Content::Text(prompt.to_owned()),
        }],
        system: None,
        max_tokens,
        options: String::new(),
    }
}

fn said(reply: &client::Reply) -> String {
    match &reply.content {
        Content::Text(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn places(roots: &[client::Root]) -> String {
    let uris: Vec<&str> = roots.iter().map(|root| root.uri.as_str()).collect();
    uris.join(" ")
}

/// A field of each primitive type, with what stands in it.
fn defaults() -> Value {
    json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    })
}

/// Every way to let somebody choose.
fn choices() -> Value {
    json!({
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": [
            {"const": "value1", "title": "First Option"},
            {"const": "value2", "title": "Second Option"},
            {"const": "value3", "title": "Third Option"},
        ]},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {"type": "array", "items": {"anyOf": [
            {"const": "value1", "title": "First Choice"},
            {"const": "value2", "title": "Second Choice"},
            {"const": "value3", "title": "Third Choice"},
        ]}},
    })
}

/// A tool whose schema has what only the newest JSON Schema has; it must reach clients whole.
fn json_schema_2020_12() -> Value {
    let mut tool = tool_document(
        "json_schema_2020_12_tool",
        "A tool whose schema has what JSON Schema 2020-12 brought.",
        &[],
    );
    tool["inputSchema"] = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    });
    tool
}

/// A tool with an argument that clients repeat in a header.
fn with_header() -> Value {
    let region = json!({"type": "string", "x-mcp-header": "Region"});
    tool_document(
        "test_custom_header",
        "Has an argument that is a header as well.",
        &[("region", region, true)],
    )
}

export!(Program);
export_content!(Program);
