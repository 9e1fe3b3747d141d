//! Answers of every kind of content, and one tool that declares what it returns.

use portreeve_test_programs::{
    Answer, Blob, Content, Failure, Guest, Link, Outcome, argument, export, json, no_such_tool,
    outcome, structured, text, tool_document,
};

/// The smallest PNG: one transparent pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

struct Program;

impl Guest for Program {
    fn list_tools() -> Result<Vec<String>, Failure> {
        let mut typed = tool_document(
            "typed",
            "Declares `{\"sum\": integer}`; returns it, or text in its place when `fits` is false.",
            &[("fits", json!({"type": "boolean"}), true)],
        );
        typed["title"] = json!("Typed answer");
        typed["annotations"] = json!({"readOnlyHint": true, "openWorldHint": false});
        typed["outputSchema"] = json!({
            "type": "object",
            "properties": {"sum": {"type": "integer"}},
            "required": ["sum"],
            "additionalProperties": false,
        });
        let plain = [
            ("text", "One text."),
            ("image", "A blob of image/png."),
            ("audio", "A blob of audio/wav."),
            (
                "blob",
                "A blob of application/octet-stream: bytes 0 to 255.",
            ),
            ("link", "A link with a media type, and one without."),
            ("structured", "Structured content alone: {\"answer\": 42}."),
            ("everything", "All of these, in this order, with meta."),
            ("nothing", "No content at all."),
        ];
        let plain = plain.map(|(name, description)| tool_document(name, description, &[]));
        Ok(plain
            .iter()
            .chain([&typed])
            .map(ToString::to_string)
            .collect())
    }

    fn call_tool(name: String, arguments: String) -> Answer {
        Ok(match name.as_str() {
            "text" => text("plain text with ünïcode 🦀"),
            "image" => blob(PNG, "image/png"),
            "audio" => blob(b"RIFF\0\0\0\0WAVE", "audio/wav"),
            "blob" => blob(&(0..=255).collect::<Vec<u8>>(), "application/octet-stream"),
            "link" => outcome(vec![
                link("https://example.com/page", "page", Some("text/html")),
                link("https://example.com/other", "other", None),
            ]),
            "structured" => structured(json!({"answer": 42})),
            "everything" => everything(&arguments)?,
            "nothing" => outcome(Vec::new()),
            "typed" if argument(&arguments, "fits")? => structured(json!({"sum": 3})),
            "typed" => structured(json!({"sum": "three"})),
            _ => return Err(no_such_tool(&name)),
        })
    }
}

fn everything(arguments: &str) -> Answer {
    let mut content = Vec::new();
    for name in ["text", "image", "audio", "blob", "link", "structured"] {
        content.extend(Program::call_tool(name.into(), arguments.into())?.content);
    }
    Ok(Outcome {
        content,
        is_error: false,
        meta: vec![("test.trace-id".into(), "abc".into())],
    })
}

fn blob(data: &[u8], mime_type: &str) -> Outcome {
    outcome(vec![Content::Blob(Blob {
        data: data.to_vec(),
        mime_type: mime_type.into(),
    })])
}

fn link(uri: &str, name: &str, mime_type: Option<&str>) -> Content {
    Content::Link(Link {
        uri: uri.into(),
        name: name.into(),
        mime_type: mime_type.map(Into::into),
    })
}

export!(Program);
