//! The list of tools, written once for all who ask: over HTTP, an answer takes it up as it is.

use std::sync::{Arc, OnceLock};

use rmcp::RoleServer;
use rmcp::service::TxJsonRpcMessage;

use crate::written::written;

/// Where the server of one request leaves the tools of its answer, as the text of a JSON array.
/// The protocol's machinery then writes an answer without tools.
#[derive(Clone, Default)]
pub(crate) struct Prepared(Arc<OnceLock<Arc<str>>>);

/// What stands for the tools in such an answer. Nothing else in it can look so: within a text,
/// quotes are escaped.
const NONE: &[u8] = br#""tools":[]"#;

impl Prepared {
    pub(crate) fn leave(&self, tools: Arc<str>) {
        let _ = self.0.set(tools);
    }

    /// Whether anything was left.
    pub(crate) fn is_there(&self) -> bool {
        self.0.get().is_some()
    }

    /// A message as its client reads it, an answer with its tools.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn write(
        &self,
        message: &TxJsonRpcMessage<RoleServer>,
    ) -> serde_json::Result<Vec<u8>> {
        written(message).map(|text| self.put_into(text))
    }

    /// The answer with its tools.
    pub(crate) fn put_into(&self, answer: Vec<u8>) -> Vec<u8> {
        let Some(tools) = self.0.get() else {
            return answer;
        };
        let Some(at) = memchr::memmem::find(&answer, NONE) else {
            return answer;
        };
        let (before, rest) = answer.split_at(at);
        let after = rest.get(NONE.len()..).unwrap_or_default();
        let name = br#""tools":"#;
        [before, name, tools.as_bytes(), after].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_put_where_they_belong() {
        for (answer, expected) in [
            (
                r#"{"id":1,"result":{"tools":[]}}"#,
                r#"{"id":1,"result":{"tools":[{"name":"a"}]}}"#,
            ),
            (
                r#"{"id":"\"tools\":[]","result":{"resultType":"complete","tools":[],"ttlMs":0}}"#,
                r#"{"id":"\"tools\":[]","result":{"resultType":"complete","tools":[{"name":"a"}],"ttlMs":0}}"#,
            ),
            (
                r#"{"id":1,"error":{"code":1}}"#,
                r#"{"id":1,"error":{"code":1}}"#,
            ),
        ] {
            let prepared = Prepared::default();
            assert!(!prepared.is_there());
            let same = prepared.put_into(answer.into());
            assert_eq!(same, answer.as_bytes());
            prepared.leave(r#"[{"name":"a"}]"#.into());
            let put = prepared.put_into(answer.into());
            assert_eq!(std::str::from_utf8(&put).unwrap(), expected);
        }
    }
}
