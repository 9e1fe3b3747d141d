//! Fails as it is told.

use portreeve_test_programs::{Answer, ErrorCode, Failure, Outcome, text, tools};

const CODES: [(&str, ErrorCode); 12] = [
    ("invalid-argument", ErrorCode::InvalidArgument),
    ("not-found", ErrorCode::NotFound),
    ("conflict", ErrorCode::Conflict),
    ("permission-denied", ErrorCode::PermissionDenied),
    ("unauthenticated", ErrorCode::Unauthenticated),
    ("rate-limited", ErrorCode::RateLimited),
    ("quota-exceeded", ErrorCode::QuotaExceeded),
    ("timeout", ErrorCode::Timeout),
    ("cancelled", ErrorCode::Cancelled),
    ("unavailable", ErrorCode::Unavailable),
    ("unsupported", ErrorCode::Unsupported),
    ("internal", ErrorCode::Internal),
];

tools! {
    /// Returns a failure of these parts; `code` as in WIT, `internal` when it is another,
    /// `detail` a JSON document as text.
    fn fail(
        code: String,
        reason: Option<String>,
        message: Option<String>,
        retry_after_ms: Option<u64>,
        detail: Option<String>,
    ) -> Answer {
        let known = CODES.iter().find(|(name, _)| *name == code);
        Err(Failure {
            code: known.map_or(ErrorCode::Internal, |(_, code)| *code),
            reason: reason.unwrap_or_default(),
            message: message.unwrap_or_default(),
            retry_after_ms,
            detail,
        })
    }

    /// Returns an answer that is marked as an error, with this text.
    fn error_outcome(message: String) -> Answer {
        Ok(Outcome { is_error: true, ..text(message) })
    }
}
