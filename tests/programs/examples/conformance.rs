//! The tools that the public conformance suite asks of a server.

use portreeve_test_programs::{
    Answer, Blob, Content, Failure, Guest, Outcome, export, json, no_such_tool, outcome, progress,
    text, tool_document,
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
        ];
        let plain = plain.map(|(name, description)| tool_document(name, description, &[]));
        Ok(plain
            .iter()
            .chain([&json_schema_2020_12()])
            .map(ToString::to_string)
            .collect())
    }

    fn call_tool(name: String, _arguments: String) -> Answer {
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
            "json_schema_2020_12_tool" => text("called"),
            _ => return Err(no_such_tool(&name)),
        })
    }
}

fn blob(data: &[u8], mime_type: &str) -> Content {
    Content::Blob(Blob {
        data: data.to_vec(),
        mime_type: mime_type.into(),
    })
}

/// A tool whose schema has what only the newest JSON Schema has; it must reach clients whole.
fn json_schema_2020_12() -> portreeve_test_programs::Value {
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

export!(Program);
