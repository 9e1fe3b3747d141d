//! Structured content that is none.

use portreeve_test_programs::{Answer, Content, ErrorCode, failure, outcome, tools};

tools! {
    /// Returns this text as structured content, whatever it is.
    fn raw(text: String) -> Answer {
        answer(text)
    }

    /// Text that is no JSON.
    fn invalid() -> Answer {
        answer(r#"{"unfinished": "#.into())
    }

    /// An object with a key twice.
    fn duplicate_keys() -> Answer {
        answer(r#"{"key": 1, "key": 2}"#.into())
    }

    /// Arrays within arrays, `depth` deep, in an object.
    fn deep(depth: u64) -> Answer {
        let depth = usize::try_from(depth).unwrap_or(usize::MAX);
        answer(format!(r#"{{"deep":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)))
    }

    /// JSON, but no object.
    fn not_an_object() -> Answer {
        answer("[1, 2, 3]".into())
    }

    /// NaN, which JSON doesn't know.
    fn nan() -> Answer {
        answer(r#"{"number": NaN}"#.into())
    }

    /// Two structured pieces in one answer.
    fn two() -> Answer {
        Ok(outcome(vec![
            Content::Structured(r#"{"piece": 1}"#.into()),
            Content::Structured(r#"{"piece": 2}"#.into()),
        ]))
    }

    /// A failure whose detail is no JSON.
    fn detail() -> Answer {
        let mut failure = failure(ErrorCode::Internal, "its detail is no JSON");
        failure.detail = Some("{".into());
        Err(failure)
    }
}

fn answer(json: String) -> Answer {
    Ok(outcome(vec![Content::Structured(json)]))
}
