//! What GitHub refuses, as a failure that says what to do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portreeve_sdk::{Error, text};
use serde::Deserialize;
use serde_json::json;

use crate::api::Reply;

/// The longest sentence of GitHub's that is passed on, in bytes.
const SENTENCE_BYTES_MAX: usize = 500;

/// How many things that are wrong are passed on.
const DETAILS_MAX: usize = 5;

/// The time to wait at a limit for which GitHub names none, as it asks for.
const PAUSE: Duration = Duration::from_secs(60);

/// The longest time to wait that is believed: limits are per hour.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What GitHub says when it refuses.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    errors: Vec<Detail>,
}

/// What is wrong with a value that was sent; some places give only a sentence.
#[derive(Deserialize)]
#[serde(untagged)]
enum Detail {
    Sentence(String),
    Field {
        #[serde(default)]
        field: String,
        #[serde(default)]
        code: String,
        message: Option<String>,
    },
}

/// The failure that an answer stands for.
pub(crate) fn of(reply: &Reply, now: SystemTime) -> Error {
    let said = serde_json::from_slice::<Refusal>(&reply.body).unwrap_or_default();
    let why = sentence(&said);
    if let Some(wait) = wait(reply, &said, now) {
        return Error::rate_limited(format_args!(
            "GitHub takes no more requests for now; try again in {} s{why}",
            wait.as_secs()
        ))
        .reason("github-rate-limit")
        .retry_after(wait)
        .detail(detail(reply));
    }
    let error = match reply.status {
        401 => Error::unauthenticated(format_args!(
            "GitHub does not accept the credential `github`; it may have expired, and the \
             operator can put another into the vault{why}"
        ))
        .reason("github-credential"),
        403 => Error::permission_denied(format_args!(
            "GitHub does not allow this to the credential `github`{why}"
        ))
        .reason("github-forbidden"),
        404 | 410 => Error::not_found(format_args!(
            "GitHub knows nothing there, or shows it to nobody with the credential `github` \
             (without one, to the public){why}"
        ))
        .reason("github-not-found"),
        301 | 302 | 307 | 308 => Error::not_found(
            "the repository has another name or owner now; look it up and call again with it",
        )
        .reason("github-moved"),
        409 => {
            Error::conflict(format_args!("GitHub can't do this now{why}")).reason("github-conflict")
        }
        400 | 422 => Error::invalid_argument(format_args!("GitHub can't use this{why}"))
            .reason("github-invalid"),
        status => Error::unavailable(format_args!(
            "GitHub answered with status {status}; try again later{why}"
        ))
        .reason("github-unavailable"),
    };
    error.detail(detail(reply))
}

/// How long to wait, if it was a limit that was reached. GitHub answers with 403 or 429; which
/// of its limits it was, the headers say.
/// <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>
fn wait(reply: &Reply, said: &Refusal, now: SystemTime) -> Option<Duration> {
    if !matches!(reply.status, 403 | 429) {
        return None;
    }
    let number = |name: &str| reply.header(name)?.trim().parse::<u64>().ok();
    let used_up = number("x-ratelimit-remaining") == Some(0);
    let wait = if let Some(seconds) = number("retry-after") {
        Duration::from_secs(seconds)
    } else if let (true, Some(reset)) = (used_up, number("x-ratelimit-reset")) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(reset.saturating_sub(now.as_secs()))
    } else if reply.status == 429 || used_up || said.message.contains("rate limit") {
        PAUSE
    } else {
        return None;
    };
    // A moment in the past is one that two clocks disagree about.
    Some(wait.clamp(Duration::from_secs(1), PAUSE_MAX))
}

/// What GitHub says about it, to be put after a sentence.
fn sentence(said: &Refusal) -> String {
    let details = said
        .errors
        .iter()
        .take(DETAILS_MAX)
        .map(|detail| match detail {
            Detail::Sentence(text) => text.clone(),
            Detail::Field {
                message: Some(message),
                ..
            } => message.clone(),
            Detail::Field { field, code, .. } => format!("{field}: {code}"),
        });
    let parts: Vec<String> = std::iter::once(said.message.clone())
        .chain(details)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    let parts = text::line(&parts.join("; "), SENTENCE_BYTES_MAX);
    format!(" (GitHub: {parts})")
}

/// For a program, and for a report to GitHub.
fn detail(reply: &Reply) -> serde_json::Value {
    json!({
        "status": reply.status,
        "request": reply.header("x-github-request-id").map(|id| text::line(id, 100)),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// What is told at the second 1,000,000 of Unix time.
    fn failure(status: u16, headers: &[(&str, &str)], body: &str) -> Error {
        let reply = Reply {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.as_bytes().to_vec(),
        };
        of(&reply, UNIX_EPOCH + Duration::from_secs(1_000_000))
    }

    fn check(status: u16, headers: &[(&str, &str)], body: &str, expected: Expect) {
        expected.assert_eq(&failure(status, headers, body).to_string());
    }

    #[test]
    fn limits_say_when_to_try_again() {
        check(
            403,
            &[
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1000037"),
            ],
            r#"{"message": "API rate limit exceeded for user ID 1."}"#,
            expect![
                "rate-limited (github-rate-limit): GitHub takes no more requests for now; try again in 37 s (GitHub: API rate limit exceeded for user ID 1.)"
            ],
        );
        let secondary = r#"{"message": "You have exceeded a secondary rate limit"}"#;
        let used_up = ("x-ratelimit-remaining", "0");
        for (status, headers, body, seconds) in [
            (429, &[("retry-after", "7"), used_up][..], "", 7),
            (403, &[("retry-after", "120")], "", 120),
            (403, &[], secondary, 60),
            (429, &[("x-ratelimit-remaining", "12")], "", 60),
            (403, &[used_up, ("x-ratelimit-reset", "5")], "", 1),
            (429, &[("retry-after", "99999999999")], "", 86_400),
            (
                429,
                &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")],
                "",
                60,
            ),
        ] {
            let error = failure(status, headers, body);
            let same = error.clone().retry_after(Duration::from_secs(seconds));
            assert_eq!(error, same, "{headers:?}");
            let says = format!("try again in {seconds} s");
            assert!(error.message().contains(&says), "{error}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        check(
            401,
            &[("x-ratelimit-remaining", "0")],
            r#"{"message": "Bad credentials"}"#,
            expect![
                "unauthenticated (github-credential): GitHub does not accept the credential `github`; it may have expired, and the operator can put another into the vault (GitHub: Bad credentials)"
            ],
        );
        check(
            403,
            &[("x-ratelimit-remaining", "4999")],
            r#"{"message": "Resource not accessible by personal access token"}"#,
            expect![
                "permission-denied (github-forbidden): GitHub does not allow this to the credential `github` (GitHub: Resource not accessible by personal access token)"
            ],
        );
        check(
            404,
            &[],
            r#"{"message": "Not Found", "documentation_url": "https://docs.github.com"}"#,
            expect![
                "not-found (github-not-found): GitHub knows nothing there, or shows it to nobody with the credential `github` (without one, to the public) (GitHub: Not Found)"
            ],
        );
        check(
            422,
            &[],
            r#"{"message": "Validation Failed", "errors": [
                {"resource": "Issue", "field": "title", "code": "missing_field"},
                {"code": "invalid", "message": "The listed users cannot be searched"},
                "a sentence\u202e"]}"#,
            expect![
                "invalid-argument (github-invalid): GitHub can't use this (GitHub: Validation Failed; title: missing_field; The listed users cannot be searched; a sentence)"
            ],
        );
        check(
            502,
            &[],
            "<html>Unicorn!</html>",
            expect![
                "unavailable (github-unavailable): GitHub answered with status 502; try again later"
            ],
        );
        check(
            301,
            &[],
            r#"{"message": "Moved Permanently"}"#,
            expect![
                "not-found (github-moved): the repository has another name or owner now; look it up and call again with it"
            ],
        );
        assert_eq!(
            failure(409, &[("x-github-request-id", "A:1\u{7}")], "{}"),
            Error::conflict("GitHub can't do this now")
                .reason("github-conflict")
                .detail(json!({"status": 409, "request": "A:1"}))
        );
    }

    #[test]
    fn what_github_says_is_bounded() {
        let errors = vec![r#""many""#; 10_000].join(",");
        let body = format!(
            r#"{{"message": "{}", "errors": [{errors}]}}"#,
            "x".repeat(100_000)
        );
        let length = failure(400, &[], &body).message().len();
        assert!(length < 1_000, "{length}");
    }
}
