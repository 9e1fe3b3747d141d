//! Tells people things and asks them.

use portreeve_test_programs::{
    Answer, Failure, Value, json, notices, questions, structured, tools,
};

fn failed(failure: &Failure) -> Value {
    json!({
        "code": format!("{:?}", failure.code),
        "reason": failure.reason,
        "message": failure.message,
        "retry": failure.retry_after_ms.is_some(),
    })
}

fn shown(answer: questions::Answer) -> Value {
    match answer {
        questions::Answer::Accepted(answer) => {
            json!({"accepted": serde_json::from_str::<Value>(&answer).unwrap()})
        }
        questions::Answer::Declined => json!("declined"),
        questions::Answer::Dismissed => json!("dismissed"),
    }
}

fn question(message: &str, schema: &Value) -> questions::Question {
    questions::Question {
        message: message.to_owned(),
        schema: schema.to_string(),
    }
}

tools! {
    /// Tells something.
    fn tell(level: String, title: String, body: String, link: Option<String>) -> Answer {
        let level = match level.as_str() {
            "info" => notices::Level::Info,
            "warning" => notices::Level::Warning,
            _ => notices::Level::Error,
        };
        let told = notices::notify(&notices::Notice { level, title, body, link });
        Ok(structured(match told {
            Ok(()) => json!({"told": true}),
            Err(failure) => json!({"failed": failed(&failure)}),
        }))
    }

    /// Tells so many things.
    fn flood(count: u64) -> Answer {
        let mut told = 0;
        for number in 0..count {
            let notice = notices::Notice {
                level: notices::Level::Info,
                title: format!("{number}"),
                body: String::new(),
                link: None,
            };
            match notices::notify(&notice) {
                Ok(()) => told += 1,
                Err(failure) => {
                    return Ok(structured(json!({"told": told, "failed": failed(&failure)})));
                }
            }
        }
        Ok(structured(json!({"told": told})))
    }

    /// Asks something, and counts in memory how often it ran.
    fn ask(message: String, schema: Value) -> Answer {
        eprintln!("asking");
        let answer = questions::ask(&question(&message, &schema));
        Ok(structured(match answer {
            Ok(answer) => json!({"answer": shown(answer)}),
            Err(failure) => json!({"failed": failed(&failure)}),
        }))
    }

    /// Asks several things.
    fn ask_many(message: String, schemas: Value) -> Answer {
        eprintln!("asking");
        let schemas = schemas.as_array().cloned().unwrap_or_default();
        let asked: Vec<_> = schemas.iter().map(|schema| question(&message, schema)).collect();
        Ok(structured(match questions::ask_many(&asked) {
            Ok(answers) => {
                let answers: Vec<Value> = answers.into_iter().map(shown).collect();
                json!({"answers": answers})
            }
            Err(failure) => json!({"failed": failed(&failure)}),
        }))
    }

    /// Asks so many things, one after the other.
    fn ask_often(schema: Value, count: u64) -> Answer {
        let mut answers = Vec::new();
        for _ in 0..count {
            match questions::ask(&question("Again?", &schema)) {
                Ok(answer) => answers.push(shown(answer)),
                Err(failure) => answers.push(json!({"failed": failed(&failure)})),
            }
        }
        Ok(structured(json!({"answers": answers})))
    }

    /// Asks with a schema that is no JSON, or of so many bytes.
    fn ask_raw(schema: String, bytes: u64) -> Answer {
        let schema = if bytes > 0 { "[".repeat(bytes as usize) } else { schema };
        let asked = questions::Question { message: "m".to_owned(), schema };
        Ok(structured(match questions::ask(&asked) {
            Ok(answer) => json!({"answer": shown(answer)}),
            Err(failure) => json!({"failed": failed(&failure)}),
        }))
    }
}
