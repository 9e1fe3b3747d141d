//! Returns what it is given, with as little work as possible: the program of the benches.

use portreeve_test_programs::{Answer, Content, Failure, Guest, export, no_such_tool, outcome};

struct Program;

impl Guest for Program {
    fn list_tools() -> Result<Vec<String>, Failure> {
        Ok(vec![
            r#"{"name":"echo","description":"Returns its arguments as text.","inputSchema":{"type":"object"}}"#.into(),
            r#"{"name":"echo_structured","description":"Returns its arguments as structured content.","inputSchema":{"type":"object"}}"#.into(),
        ])
    }

    fn call_tool(name: String, arguments: String) -> Answer {
        match name.as_str() {
            "echo" => Ok(outcome(vec![Content::Text(arguments)])),
            "echo_structured" => Ok(outcome(vec![Content::Structured(arguments)])),
            _ => Err(no_such_tool(&name)),
        }
    }
}

export!(Program);
