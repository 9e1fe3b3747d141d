//! What is recorded.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rows::Holder;

/// Longest body of a record, in bytes of JSON. A longer one is replaced by a note of its
/// size.
pub const BODY_BYTES_MAX: usize = 16 << 10;

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident => $name:literal),+ $(,)?) => {
        /// The kind of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum AuditKind {
            $($(#[$doc])+ $kind,)+
        }

        impl AuditKind {
            /// Every kind.
            pub const ALL: &[AuditKind] = &[$(AuditKind::$kind),+];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(AuditKind::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A host began to run.
    Started => "started",
    /// It ended in order.
    Stopped => "stopped",
    /// Something is missing before this: the record says what is known of it.
    Gap => "gap",
    /// The wall clock jumped.
    Clock => "clock",
    /// A plugin was installed.
    Add => "add",
    /// A plugin came with another component.
    Update => "update",
    /// A plugin was taken out.
    Remove => "remove",
    /// Something was granted.
    Grant => "grant",
    /// Something was revoked.
    Revoke => "revoke",
    /// The operator's file was changed by hand, and with it what is granted.
    Edit => "edit",
    /// What was announced by the record that this one names was not done.
    Undone => "undone",
    /// A secret was put into the vault.
    SecretSet => "secret-set",
    /// A secret got another value.
    SecretRotate => "secret-rotate",
    /// A secret was removed.
    SecretRemove => "secret-remove",
    /// A secret was used without being shown.
    SecretUse => "secret-use",
    /// A secret was shown to a plugin.
    SecretReveal => "secret-reveal",
    /// The vault got another key.
    VaultRotate => "vault-rotate",
    /// What a plugin keeps was taken out.
    DataExport => "data-export",
    /// Something was put among what a plugin keeps.
    DataImport => "data-import",
    /// What a plugin keeps was removed.
    DataClear => "data-clear",
    /// Another database of known weaknesses took the place of the former one.
    Advisories => "advisories",
    /// Somebody published a message by hand.
    BusPublish => "bus-publish",
    /// Somebody outside published through a webhook, or was refused.
    Webhook => "webhook",
    /// A subscription was moved within a topic.
    BusReplay => "bus-replay",
    /// A dead letter was delivered once more.
    BusDeadRetry => "bus-dead-retry",
    /// A dead letter was removed.
    BusDeadDrop => "bus-dead-drop",
    /// A plugin told people something.
    Notify => "notify",
    /// A plugin asked people something.
    Ask => "ask",
    /// What came of what a plugin asked.
    Answer => "answer",
    /// The inbox was cleared.
    InboxClear => "inbox-clear",
    /// A call ended.
    Call => "call",
    /// A use of a capability was refused.
    Refusal => "refusal",
    /// A limit was reached.
    Limit => "limit",
    /// Somebody could not prove who they are.
    LoginFailed => "login-failed",
    /// A threshold was crossed.
    Alert => "alert",
    /// Old records were removed.
    Prune => "prune",
}

impl std::fmt::Display for AuditKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for AuditKind {
    type Err = String;

    fn from_str(text: &str) -> Result<AuditKind, String> {
        let found = AuditKind::ALL.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or_else(|| {
            let all: Vec<_> = AuditKind::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("there is no kind `{text}`; there are {}", all.join(", "))
        })
    }
}

/// Something to record.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// What it is.
    pub kind: AuditKind,
    /// Whom it is about.
    pub holder: Holder,
    /// Who did it, or for whom it was done.
    pub caller: Arc<str>,
    /// The call's id; empty outside of calls.
    pub call: String,
    /// The rest.
    pub body: Map<String, Value>,
}

impl AuditEvent {
    /// Something that the host itself does, about itself.
    pub fn host(kind: AuditKind, body: Map<String, Value>) -> AuditEvent {
        AuditEvent {
            kind,
            holder: Holder::host(),
            caller: "host".into(),
            call: String::new(),
            body,
        }
    }
}

/// A record: one line of JSON, whose members have this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord<'a> {
    /// Its place: 1, 2, 3 …
    pub seq: i64,
    /// When it was made: milliseconds since 1970, UTC, by the wall clock.
    pub time: i64,
    /// The kind of event.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// The plugin; empty for the host.
    #[serde(borrow)]
    pub plugin: Cow<'a, str>,
    /// The tenant; empty where there is only one.
    #[serde(borrow)]
    pub tenant: Cow<'a, str>,
    /// Who did it, or for whom it was done.
    #[serde(borrow)]
    pub caller: Cow<'a, str>,
    /// The call's id; empty outside of calls.
    #[serde(borrow)]
    pub call: Cow<'a, str>,
    /// The rest.
    pub body: Map<String, Value>,
}

impl AuditRecord<'_> {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is no record.
    pub fn parse(line: &str) -> Result<AuditRecord<'_>, String> {
        serde_json::from_str(line).map_err(|error| format!("this is no record: {error}"))
    }
}

/// Writes the line of an event to the end of `line`; nothing of it where that fails.
pub(crate) fn write_line(
    line: &mut String,
    seq: i64,
    time_ms: i64,
    event: &AuditEvent,
) -> Result<(), String> {
    let body = serde_json::to_string(&event.body).map_err(|error| error.to_string())?;
    // Writing to a text can't fail.
    let _ = write!(
        line,
        "{{\"seq\":{seq},\"time\":{time_ms},\"kind\":\"{}\"",
        event.kind.as_str()
    );
    let texts = [
        ("plugin", &*event.holder.alias),
        ("tenant", &*event.holder.tenant),
        ("caller", &*event.caller),
        ("call", &*event.call),
    ];
    for (name, text) in texts {
        for part in [",\"", name, "\":"] {
            line.push_str(part);
        }
        write_text(line, text);
    }
    line.push_str(",\"body\":");
    if body.len() > BODY_BYTES_MAX {
        let _ = write!(line, "{{\"cut\":{}}}", body.len());
    } else {
        line.push_str(&body);
    }
    line.push('}');
    Ok(())
}

/// Writes a text as JSON. Most have nothing to escape.
fn write_text(line: &mut String, text: &str) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        line.push('"');
        line.push_str(text);
        line.push('"');
    } else {
        line.push_str(&Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(seq: i64, time_ms: i64, event: &AuditEvent) -> String {
        let mut line = String::from("before\n");
        write_line(&mut line, seq, time_ms, event).unwrap();
        line.strip_prefix("before\n").unwrap().to_owned()
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in AuditKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        assert!("nothing".parse::<AuditKind>().is_err());
    }

    #[test]
    fn a_long_body_is_cut() {
        let mut body = Map::new();
        body.insert("text".to_owned(), "x".repeat(BODY_BYTES_MAX).into());
        let event = AuditEvent::host(AuditKind::Edit, body);
        let line = line(1, 2, &event);
        assert!(line.len() < 200, "{line}");
        assert!(AuditRecord::parse(&line).unwrap().body.contains_key("cut"));
    }

    proptest! {
        /// A record is one line and reads back as it was, whatever callers are called.
        #[test]
        fn records_read_back(caller in "\\PC*|[\\x00-\\x7f]*", call in ".*", alias in ".*", value in ".*") {
            let mut body = Map::new();
            body.insert(value.clone(), value.clone().into());
            let event = AuditEvent {
                kind: AuditKind::Call,
                holder: Holder::plugin(&alias),
                caller: caller.as_str().into(),
                call: call.clone(),
                body: body.clone(),
            };
            let line = line(7, -1, &event);
            prop_assert!(!line.contains('\n'));
            let read = AuditRecord::parse(&line).unwrap();
            prop_assert_eq!((read.seq, read.time, &*read.kind), (7, -1, "call"));
            prop_assert_eq!(&*read.caller, caller);
            prop_assert_eq!(&*read.call, call);
            prop_assert_eq!(&*read.plugin, alias);
            prop_assert_eq!(read.body, body);
            // Writing it again gives the same line: serde and the hot path agree.
            prop_assert_eq!(serde_json::to_string(&AuditRecord::parse(&line).unwrap()).unwrap(), line);
        }
    }
}
