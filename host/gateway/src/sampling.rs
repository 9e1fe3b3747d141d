//! Requests to a client's model, and what it says, between the protocol's form and ours.
#![allow(deprecated, reason = "sampling is served while clients have it")]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use portreeve_core::{Content, SamplingReply, SamplingRequest, Speaker, Utterance};
use rmcp::model::{
    CreateMessageRequestParams, CreateMessageResult, Role as WireRole, SamplingMessageContentBlock,
};
use serde_json::{Value, json};

/// The member of `_meta` that says which plugin asks.
const META_PLUGIN: &str = "portreeve/plugin";

/// What the model is asked, as the protocol has it.
pub(crate) fn params(
    request: &SamplingRequest,
    plugin: &str,
) -> Result<CreateMessageRequestParams, String> {
    let messages: Result<Vec<Value>, String> = request.messages.iter().map(message).collect();
    let mut params = request.options.clone();
    params.insert("messages".to_owned(), messages?.into());
    params.insert("maxTokens".to_owned(), request.max_tokens.into());
    params.insert("_meta".to_owned(), json!({META_PLUGIN: plugin}));
    if let Some(system) = &request.system {
        params.insert("systemPrompt".to_owned(), system.clone().into());
    }
    serde_json::from_value(Value::Object(params)).map_err(|error| error.to_string())
}

fn message(said: &Utterance) -> Result<Value, String> {
    let content = match &said.content {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Blob { data, mime_type } => {
            let kind = match mime_type.split('/').next() {
                Some("audio") => "audio",
                _ => "image",
            };
            json!({"type": kind, "data": BASE64_STANDARD.encode(data), "mimeType": mime_type})
        }
        Content::Link { .. } => return Err("a model is shown no links".to_owned()),
    };
    let role = match said.role {
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
    };
    Ok(json!({"role": role, "content": content}))
}

/// What the model says. Several texts are one.
pub(crate) fn reply(result: CreateMessageResult) -> Result<SamplingReply, String> {
    let mut content: Option<Content> = None;
    for block in result.message.content.into_vec() {
        let next = match block {
            SamplingMessageContentBlock::Text(text) => Content::Text(text.text),
            SamplingMessageContentBlock::Image(image) => blob(&image.data, image.mime_type)?,
            SamplingMessageContentBlock::Audio(audio) => blob(&audio.data, audio.mime_type)?,
            _ => return Err("the model used tools, which nobody offered to it".to_owned()),
        };
        content = Some(match (content.take(), next) {
            (None, next) => next,
            (Some(Content::Text(before)), Content::Text(next)) => {
                Content::Text(format!("{before}\n{next}"))
            }
            // What the model says about an image comes after it, or before.
            (Some(Content::Text(_)), next) => next,
            (Some(before), _) => before,
        });
    }
    Ok(SamplingReply {
        said: Utterance {
            role: match result.message.role {
                WireRole::User => Speaker::User,
                WireRole::Assistant => Speaker::Assistant,
            },
            content: content.ok_or("the model said nothing")?,
        },
        model: result.model,
        stop_reason: result.stop_reason,
    })
}

fn blob(data: &str, mime_type: String) -> Result<Content, String> {
    let data = BASE64_STANDARD
        .decode(data)
        .map_err(|error| format!("what the model made is no base64: {error}"))?;
    Ok(Content::Blob { data, mime_type })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn requests_have_the_protocols_form() {
        let request = SamplingRequest {
            messages: vec![
                Utterance {
                    role: Speaker::User,
                    content: Content::Text("hi".to_owned()),
                },
                Utterance {
                    role: Speaker::Assistant,
                    content: Content::Blob {
                        data: vec![0, 255],
                        mime_type: "image/png".to_owned(),
                    },
                },
            ],
            system: Some("be brief".to_owned()),
            max_tokens: 100,
            options: json!({"temperature": 0.5}).as_object().unwrap().clone(),
        };
        let shown = serde_json::to_value(params(&request, "notes").unwrap()).unwrap();
        expect![[r#"{"_meta":{"portreeve/plugin":"notes"},"maxTokens":100,"messages":[{"content":{"text":"hi","type":"text"},"role":"user"},{"content":{"data":"AP8=","mimeType":"image/png","type":"image"},"role":"assistant"}],"systemPrompt":"be brief","temperature":0.5}"#]]
        .assert_eq(&shown.to_string());
    }

    #[test]
    fn what_a_model_says_is_one_piece() {
        let said = |content: Value| {
            let result = json!({"role": "assistant", "model": "m", "content": content});
            let result = serde_json::from_value(result).unwrap();
            reply(result).map(|reply| reply.said.content)
        };
        let text = |text: &str| json!({"type": "text", "text": text});
        assert_eq!(said(text("a")), Ok(Content::Text("a".to_owned())));
        assert_eq!(
            said(json!([text("a"), text("b")])),
            Ok(Content::Text("a\nb".to_owned()))
        );
        assert!(said(json!([])).is_err());
        let image = json!({"type": "image", "data": "AP8=", "mimeType": "image/png"});
        let png = Content::Blob {
            data: vec![0, 255],
            mime_type: "image/png".to_owned(),
        };
        assert_eq!(said(image.clone()), Ok(png.clone()));
        assert_eq!(said(json!([text("here:"), image])), Ok(png));
        assert!(said(json!({"type": "image", "data": "?", "mimeType": "image/png"})).is_err());
        assert!(said(json!({"type": "tool_use", "id": "1", "name": "n", "input": {}})).is_err());
    }
}
