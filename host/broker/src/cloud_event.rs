//! The envelope outside of the host: CloudEvents 1.0 in JSON
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! The topic is the `type`, the plugin the `source`, the key the `partitionkey`; headers are
//! extension attributes, whose names they have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::message::{Message, Publish, RESERVED, Sender};

/// Why something is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EventError(String);

/// A message as an event.
pub fn to_event(message: &Message) -> Value {
    let mut event = Map::new();
    let time = jiff::Timestamp::from_millisecond(message.time_ms).unwrap_or_default();
    let source = match &*message.sender.holder.alias {
        "" => "/host".to_owned(),
        alias => format!("/plugins/{alias}"),
    };
    for (name, value) in [
        ("specversion", json!("1.0")),
        ("id", json!(message.id)),
        ("source", json!(source)),
        ("type", json!(message.topic.as_str())),
        ("time", json!(time.to_string())),
        ("datacontenttype", json!(message.content_type)),
        ("sequence", json!(message.position.to_string())),
        ("principal", json!(message.sender.principal)),
    ] {
        event.insert(name.to_owned(), value);
    }
    if let Some(key) = &message.key {
        event.insert("partitionkey".to_owned(), json!(key));
    }
    if !message.sender.path.is_empty() {
        event.insert("path".to_owned(), json!(message.sender.path.join(" ")));
    }
    for (name, value) in &message.headers {
        event.insert(name.clone(), json!(value));
    }
    let (name, data) = data(message);
    event.insert(name.to_owned(), data);
    Value::Object(event)
}

fn data(message: &Message) -> (&'static str, Value) {
    let bytes = &message.payload;
    if is_json(&message.content_type)
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        return ("data", value);
    }
    match std::str::from_utf8(bytes) {
        // A text of a JSON type that is none would be read back as another.
        Ok(text) if !is_json(&message.content_type) => ("data", json!(text)),
        _ => ("data_base64", json!(STANDARD.encode(bytes))),
    }
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or("").trim();
    let media = media.to_ascii_lowercase();
    media.ends_with("/json") || media.ends_with("+json")
}

/// A message of an event that came from outside. Whose it is says the host, not the event: its
/// `source`, `principal` and `path` are ignored; its `id` with its `source` is the dedup id, as
/// the standard has it.
///
/// # Errors
/// When it is no event of version 1.0, or its type is no topic.
pub fn from_event(event: &Value, sender: Sender) -> Result<Publish, EventError> {
    let refuse = |why: &str| EventError(format!("this is no event of CloudEvents 1.0: {why}"));
    let event = event.as_object().ok_or_else(|| refuse("it is no object"))?;
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    if text("specversion") != Some("1.0") {
        return Err(refuse("`specversion` is not \"1.0\""));
    }
    let required = |name: &str| {
        let found = text(name).filter(|text| !text.is_empty());
        found.ok_or_else(|| refuse(&format!("`{name}` is missing")))
    };
    let (id, source) = (required("id")?, required("source")?);
    let topic = required("type")?
        .parse()
        .map_err(|error| refuse(&format!("its type is to be a topic: {error}")))?;
    let content_type = text("datacontenttype").unwrap_or("application/json");
    let payload = match (event.get("data"), text("data_base64")) {
        (Some(_), Some(_)) => return Err(refuse("it has both `data` and `data_base64`")),
        (None, Some(encoded)) => STANDARD
            .decode(encoded)
            .map_err(|_| refuse("`data_base64` is not in base64"))?,
        (Some(Value::String(text)), None) if !is_json(content_type) => text.as_bytes().to_vec(),
        (Some(data), None) => data.to_string().into_bytes(),
        (None, None) => Vec::new(),
    };
    let known = |name: &str| RESERVED.contains(&name) || name == "data_base64";
    let mut headers = Vec::new();
    for (name, value) in event.iter().filter(|(name, _)| !known(name)) {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null => continue,
            _ => return Err(refuse(&format!("`{name}` is neither a text nor a number"))),
        };
        headers.push((name.clone(), value));
    }
    let mut publish = Publish::new(topic, payload, sender);
    publish.content_type = content_type.to_owned();
    publish.headers = headers;
    publish.key = text("partitionkey").map(str::to_owned);
    publish.dedup_id = Some(format!("{source} {id}"));
    Ok(publish)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use portreeve_state::Holder;

    fn sender() -> Sender {
        Sender {
            holder: Holder::plugin("feed"),
            principal: "local".to_owned(),
            path: Vec::new(),
        }
    }

    fn message(content_type: &str, payload: &[u8]) -> Message {
        let mut publish = Publish::new("a.b".parse().unwrap(), payload.to_vec(), sender());
        publish.content_type = content_type.to_owned();
        publish.headers = vec![("lang".to_owned(), "en".to_owned())];
        publish.key = Some("k".to_owned());
        Message::new(&publish, "1".to_owned(), 1_000)
    }

    #[test]
    fn a_message_is_an_event() {
        assert_eq!(
            to_event(&message("application/json", b"{\"a\":1}")),
            json!({
                "specversion": "1.0", "id": "1", "source": "/plugins/feed", "type": "a.b",
                "time": "1970-01-01T00:00:01Z", "datacontenttype": "application/json",
                "sequence": "0", "principal": "local", "partitionkey": "k", "lang": "en",
                "data": {"a": 1},
            })
        );
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let good = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b"});
        assert!(from_event(&good, sender()).is_ok());
        for (name, value) in [
            ("specversion", json!("0.3")),
            ("id", json!("")),
            ("source", json!(null)),
            ("type", json!("A")),
            ("type", json!("a.*")),
            ("data_base64", json!("%")),
            ("extra", json!([])),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            assert!(from_event(&bad, sender()).is_err(), "{name}");
        }
        assert!(from_event(&json!("text"), sender()).is_err());
    }

    proptest! {
        #[test]
        fn what_an_event_says_comes_back(
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            content_type in proptest::sample::select(vec!["application/json", "text/plain", "a/b+json"]),
        ) {
            let sent = message(content_type, &payload);
            let read = from_event(&to_event(&sent), sender()).unwrap();
            let same = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
            let equal = read.payload == sent.payload
                || (same(&read.payload).is_some() && same(&read.payload) == same(&sent.payload));
            prop_assert!(equal, "{:?} {:?}", read.payload, sent.payload);
            prop_assert_eq!(read.headers, sent.headers);
            prop_assert_eq!(read.key, sent.key);
            prop_assert_eq!(read.topic, sent.topic);
        }
    }
}
