//! Why a component could not be made ready, and why a call failed.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a component could not be made ready to run, or the runtime not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// wasmtime refused its configuration.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
    /// The operating system refused something that the runtime needs.
    #[error("{what}: {error}")]
    Setup {
        /// What failed.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The cache directory or its key can't be trusted.
    #[error("{path} {why}; {action}", path = path.display())]
    Untrusted {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do about it.
        action: String,
    },
    /// The compiler process refused the component.
    #[error("the component could not be compiled: {0}")]
    Compile(String),
    /// The compiler process ran into one of its limits.
    #[error("compiling the component {0}; it is larger or stranger than this host accepts")]
    CompileLimit(String),
    /// The component imports something that this host doesn't have, or exports an
    /// interface of ours in another shape.
    #[error("the component does not fit this host: {0}")]
    Mismatch(String),
    /// The bytes could not be read, or are not those that were examined.
    #[error("{0}")]
    Source(String),
    /// More different stack limits than engines.
    #[error(
        "plugins with {max} different stack limits are running already; give this one a `stack` that another one has"
    )]
    TooManyStackSizes {
        /// How many there may be.
        max: usize,
    },
}

impl Error {
    pub(crate) fn engine(error: wasmtime::Error) -> Error {
        Error::Engine(format!("{error:#}"))
    }
}

/// The closed set of codes of `portreeve:types`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "documented where they are defined: wit/types")]
pub enum ErrorCode {
    InvalidArgument,
    NotFound,
    Conflict,
    PermissionDenied,
    Unauthenticated,
    RateLimited,
    QuotaExceeded,
    Timeout,
    Cancelled,
    Unavailable,
    Unsupported,
    Internal,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [ErrorCode; 12] = [
        ErrorCode::InvalidArgument,
        ErrorCode::NotFound,
        ErrorCode::Conflict,
        ErrorCode::PermissionDenied,
        ErrorCode::Unauthenticated,
        ErrorCode::RateLimited,
        ErrorCode::QuotaExceeded,
        ErrorCode::Timeout,
        ErrorCode::Cancelled,
        ErrorCode::Unavailable,
        ErrorCode::Unsupported,
        ErrorCode::Internal,
    ];

    /// The code that is written so in WIT.
    pub fn parse(text: &str) -> Option<ErrorCode> {
        ErrorCode::ALL
            .into_iter()
            .find(|code| code.as_str() == text)
    }

    /// The code as it is written in WIT.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::InvalidArgument => "invalid-argument",
            ErrorCode::NotFound => "not-found",
            ErrorCode::Conflict => "conflict",
            ErrorCode::PermissionDenied => "permission-denied",
            ErrorCode::Unauthenticated => "unauthenticated",
            ErrorCode::RateLimited => "rate-limited",
            ErrorCode::QuotaExceeded => "quota-exceeded",
            ErrorCode::Timeout => "timeout",
            ErrorCode::Cancelled => "cancelled",
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::Unsupported => "unsupported",
            ErrorCode::Internal => "internal",
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, as `portreeve:types` defines it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The class, from a closed list.
    pub code: ErrorCode,
    /// A finer reason in kebab-case; may be empty.
    pub reason: String,
    /// A sentence for a person.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// More, for a program.
    pub detail: Option<serde_json::Value>,
}

impl Failure {
    /// A failure without retry time and detail.
    pub fn new(code: ErrorCode, reason: &str, message: impl Into<String>) -> Failure {
        Failure {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            retry_after: None,
            detail: None,
        }
    }
}

/// Who says that a call failed. The three never look alike to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The plugin said so, or broke.
    Plugin,
    /// The host refused or stopped it.
    Host,
    /// Something broke inside the host.
    Internal,
}

/// A limit that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitHit {
    /// The setting that raises it, as in `limits = { … }`.
    pub setting: Cow<'static, str>,
    /// What is allowed, with its unit.
    pub allowed: String,
    /// What was used or asked for, with its unit.
    pub used: String,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallError {
    /// Who says so.
    pub origin: Origin,
    /// What is told to the caller.
    pub failure: Failure,
    /// The limit that was reached, if that was the reason.
    pub limit: Option<LimitHit>,
    /// What only the host's log may know: it goes nowhere else.
    #[serde(skip)]
    pub log: Option<String>,
}

impl CallError {
    /// The plugin's own words.
    pub fn plugin(failure: Failure) -> CallError {
        CallError {
            origin: Origin::Plugin,
            failure,
            limit: None,
            log: None,
        }
    }

    /// The host's refusal.
    pub fn host(code: ErrorCode, reason: &str, message: impl Into<String>) -> CallError {
        CallError {
            origin: Origin::Host,
            failure: Failure::new(code, reason, message),
            limit: None,
            log: None,
        }
    }

    /// The caller gave up.
    pub fn cancelled() -> CallError {
        CallError::host(ErrorCode::Cancelled, "cancelled", "the call was cancelled")
    }

    /// Something broke inside the host: `log` stays there.
    pub fn internal(log: impl Into<String>) -> CallError {
        CallError {
            origin: Origin::Internal,
            failure: Failure::new(
                ErrorCode::Internal,
                "host-error",
                "something broke inside the host; its log has the details under this call's id",
            ),
            limit: None,
            log: Some(log.into()),
        }
    }

    /// The plugin broke: it trapped, left early, or answered with something unusable.
    pub(crate) fn broken(reason: &str, message: impl Into<String>) -> CallError {
        CallError::plugin(Failure::new(ErrorCode::Internal, reason, message))
    }

    /// A limit was reached.
    pub fn limit(hit: LimitHit) -> CallError {
        let (code, sentence) = match &*hit.setting {
            "timeout" => (ErrorCode::Timeout, "the call took longer than"),
            "queue" => (ErrorCode::RateLimited, "too many calls: there may be"),
            _ => (ErrorCode::QuotaExceeded, "the call went over its limit of"),
        };
        let message = format!(
            "{sentence} {allowed} ({used}); the setting `{setting}` in the plugin's `limits` raises it",
            allowed = hit.allowed,
            used = hit.used,
            setting = hit.setting,
        );
        CallError {
            origin: Origin::Host,
            failure: Failure::new(code, &format!("limit-{}", hit.setting), message),
            limit: Some(hit),
            log: None,
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.failure.code, self.failure.message)
    }
}

impl std::error::Error for CallError {}
