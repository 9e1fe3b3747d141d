//! Answers that are big in one way or another.

use portreeve_test_programs::{
    Answer, Blob, Content, ErrorCode, Outcome, failure, json, outcome, structured, text, tools,
};

tools! {
    /// A text of `bytes` bytes.
    fn big_text(bytes: u64) -> Answer {
        Ok(text("x".repeat(size(bytes))))
    }

    /// A text of `bytes` bytes or up to three more, of characters of four bytes each.
    fn big_multibyte_text(bytes: u64) -> Answer {
        Ok(text("🦀".repeat(size(bytes).div_ceil(4))))
    }

    /// A blob of `bytes` bytes.
    fn big_blob(bytes: u64) -> Answer {
        Ok(outcome(vec![Content::Blob(Blob {
            data: vec![7; size(bytes)],
            mime_type: "application/octet-stream".into(),
        })]))
    }

    /// Structured content with a text of `bytes` bytes.
    fn big_structured(bytes: u64) -> Answer {
        Ok(structured(json!({"text": "x".repeat(size(bytes))})))
    }

    /// `count` pieces of content, each the text `x`.
    fn many_pieces(count: u64) -> Answer {
        Ok(outcome((0..count).map(|_| Content::Text("x".into())).collect()))
    }

    /// `count` pairs of meta, each `test.N` and `x`.
    fn many_meta(count: u64) -> Answer {
        let meta = (0..count).map(|n| (format!("test.{n}"), "x".into())).collect();
        Ok(Outcome { meta, ..text("x") })
    }

    /// A failure (`internal`) with a message of `bytes` bytes.
    fn big_failure(bytes: u64) -> Answer {
        Err(failure(ErrorCode::Internal, "x".repeat(size(bytes))))
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
