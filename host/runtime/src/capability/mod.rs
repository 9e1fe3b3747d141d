//! What a guest can ask of its host: one room per capability, each with its own check.
//!
//! Everything is linked always and refused at the moment of use, since Python and
//! JavaScript guests import the whole world and an import list therefore is no request.

pub(crate) mod changes;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod directories;
pub(crate) mod keyvalue;
pub(crate) mod last_failure;
pub(crate) mod messages;
pub(crate) mod network;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod secrets;
pub(crate) mod storage;

use crate::bindings::portreeve::types::types as wit;
use crate::error::{ErrorCode, Failure};

impl wit::Host for crate::guest::Guest {}

impl From<wit::ErrorCode> for ErrorCode {
    fn from(code: wit::ErrorCode) -> ErrorCode {
        match code {
            wit::ErrorCode::InvalidArgument => ErrorCode::InvalidArgument,
            wit::ErrorCode::NotFound => ErrorCode::NotFound,
            wit::ErrorCode::Conflict => ErrorCode::Conflict,
            wit::ErrorCode::PermissionDenied => ErrorCode::PermissionDenied,
            wit::ErrorCode::Unauthenticated => ErrorCode::Unauthenticated,
            wit::ErrorCode::RateLimited => ErrorCode::RateLimited,
            wit::ErrorCode::QuotaExceeded => ErrorCode::QuotaExceeded,
            wit::ErrorCode::Timeout => ErrorCode::Timeout,
            wit::ErrorCode::Cancelled => ErrorCode::Cancelled,
            wit::ErrorCode::Unavailable => ErrorCode::Unavailable,
            wit::ErrorCode::Unsupported => ErrorCode::Unsupported,
            wit::ErrorCode::Internal => ErrorCode::Internal,
        }
    }
}

impl From<ErrorCode> for wit::ErrorCode {
    fn from(code: ErrorCode) -> wit::ErrorCode {
        match code {
            ErrorCode::InvalidArgument => wit::ErrorCode::InvalidArgument,
            ErrorCode::NotFound => wit::ErrorCode::NotFound,
            ErrorCode::Conflict => wit::ErrorCode::Conflict,
            ErrorCode::PermissionDenied => wit::ErrorCode::PermissionDenied,
            ErrorCode::Unauthenticated => wit::ErrorCode::Unauthenticated,
            ErrorCode::RateLimited => wit::ErrorCode::RateLimited,
            ErrorCode::QuotaExceeded => wit::ErrorCode::QuotaExceeded,
            ErrorCode::Timeout => wit::ErrorCode::Timeout,
            ErrorCode::Cancelled => wit::ErrorCode::Cancelled,
            ErrorCode::Unavailable => wit::ErrorCode::Unavailable,
            ErrorCode::Unsupported => wit::ErrorCode::Unsupported,
            ErrorCode::Internal => wit::ErrorCode::Internal,
        }
    }
}

impl From<Failure> for wit::Failure {
    fn from(failure: Failure) -> wit::Failure {
        wit::Failure {
            code: failure.code.into(),
            reason: failure.reason,
            message: failure.message,
            retry_after_ms: failure
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            detail: failure.detail.map(|detail| detail.to_string()),
        }
    }
}
