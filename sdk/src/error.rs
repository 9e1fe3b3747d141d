//! What a tool returns when it fails.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// The class of a failure, from the closed list of the contract.
pub use crate::bindings::tools::portreeve::types::types::ErrorCode as Code;
pub(crate) use crate::bindings::tools::portreeve::types::types::Failure;

/// Why a tool failed: for a program a [`Code`] and a reason, for a person a sentence.
///
/// Any standard error becomes one through `?`, with the code [`Code::Internal`] and the
/// error's own text as the message. Where the caller is to blame, say so:
///
/// ```
/// use portreeve_sdk::Error;
///
/// fn parse_port(text: &str) -> Result<u16, Error> {
///     text.parse().map_err(Error::invalid_argument)
/// }
///
/// assert_eq!(
///     parse_port("70000").unwrap_err().to_string(),
///     "invalid-argument: number too large to fit in target type",
/// );
/// ```
///
/// Like `anyhow::Error`, this type does not itself implement [`std::error::Error`]: that is
/// what lets `?` accept every type which does.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    code: Code,
    reason: String,
    message: String,
    retry_after: Option<Duration>,
    detail: Option<Value>,
}

/// Writes a constructor for every code.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident,)*) => {
        $(
            $(#[$doc])*
            pub fn $name(message: impl fmt::Display) -> Self {
                Self::new(Code::$code, message)
            }
        )*
    };
}

impl Error {
    /// A failure of any class. The message is one sentence that says what happened and what
    /// to do; it goes to the caller, so nothing secret belongs in it.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            reason: String::new(),
            message: message.to_string(),
            retry_after: None,
            detail: None,
        }
    }

    constructors! {
        /// The arguments are wrong; the same call can't succeed.
        invalid_argument => InvalidArgument,
        /// What was asked for does not exist.
        not_found => NotFound,
        /// The state of things does not allow it: a lost compare-and-set, a duplicate.
        conflict => Conflict,
        /// The caller or the plugin may not do this.
        permission_denied => PermissionDenied,
        /// The caller is not known.
        unauthenticated => Unauthenticated,
        /// Too many requests; say when to try again with [`Error::retry_after`].
        rate_limited => RateLimited,
        /// A quota or a limit was reached.
        quota_exceeded => QuotaExceeded,
        /// It took longer than allowed.
        timeout => Timeout,
        /// The caller gave up.
        cancelled => Cancelled,
        /// Something that is needed can't be reached now; trying again may help.
        unavailable => Unavailable,
        /// This plugin, host or client can't do this.
        unsupported => Unsupported,
        /// Something broke that is not the caller's doing.
        internal => Internal,
    }

    /// Adds a finer, stable reason in kebab-case, such as `issue-locked`.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Says after what time a new try makes sense; whole milliseconds count.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// Adds more for a program to read. A value that is no JSON (a map with keys that are
    /// no strings, say) is left out.
    #[must_use]
    pub fn detail(mut self, detail: impl Serialize) -> Self {
        self.detail = serde_json::to_value(detail).ok();
        self
    }

    /// The class of the failure.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Takes over what the host said, code and all.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        Self {
            code: failure.code,
            reason: failure.reason,
            message: failure.message,
            retry_after: failure.retry_after_ms.map(Duration::from_millis),
            detail: failure
                .detail
                .and_then(|json| serde_json::from_str(&json).ok()),
        }
    }

    pub(crate) fn into_failure(self) -> Failure {
        Failure {
            code: self.code,
            reason: self.reason,
            message: self.message,
            retry_after_ms: self
                .retry_after
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            detail: self.detail.map(|detail| detail.to_string()),
        }
    }
}

/// The code as it stands in the contract, then the reason where there is one, then the
/// message.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(code_name(self.code))?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Some libraries repeat the cause in their own text.
            if !message.ends_with(&cause_text) {
                message.push_str(": ");
                message.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self::internal(message)
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "invalid-argument",
        Code::NotFound => "not-found",
        Code::Conflict => "conflict",
        Code::PermissionDenied => "permission-denied",
        Code::Unauthenticated => "unauthenticated",
        Code::RateLimited => "rate-limited",
        Code::QuotaExceeded => "quota-exceeded",
        Code::Timeout => "timeout",
        Code::Cancelled => "cancelled",
        Code::Unavailable => "unavailable",
        Code::Unsupported => "unsupported",
        Code::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_error_keeps_its_causes() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("reading the port")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        fn run() -> Result<(), Error> {
            Err("x".parse::<u16>().map_err(Outer).unwrap_err())?
        }
        assert_eq!(
            run().unwrap_err(),
            Error::internal("reading the port: invalid digit found in string"),
        );
    }

    #[test]
    fn everything_reaches_the_contract_and_comes_back() {
        let error = Error::rate_limited("wait a little")
            .reason("burst")
            .retry_after(Duration::from_micros(1_500_900))
            .detail(serde_json::json!({"used": 3}));
        assert_eq!(error.to_string(), "rate-limited (burst): wait a little");
        let failure = error.clone().into_failure();
        assert_eq!(failure.retry_after_ms, Some(1_500));
        assert_eq!(failure.detail.as_deref(), Some(r#"{"used":3}"#));
        let back = Error::from_failure(failure);
        assert_eq!(back, error.retry_after(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_time_beyond_the_contract_is_capped() {
        let failure = Error::unavailable("later")
            .retry_after(Duration::MAX)
            .into_failure();
        assert_eq!(failure.retry_after_ms, Some(u64::MAX));
    }
}
