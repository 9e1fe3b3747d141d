//! Whether a request is tried again, and when.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::error::{GateError, GateErrorKind, Phase};

/// The most tries of one request, the first included.
pub(super) const ATTEMPTS_MAX: u32 = 10;

/// The longest that the first pause can be; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest that any pause can be, unless the server asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The longest that a server can ask for: who waits for the answer would wait in vain.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Whether a request means the same however often it is sent: RFC 9110, section 9.2.2.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

/// How long to wait after the try with this number before the next; nothing where another
/// would not help.
pub(super) fn pause<B>(outcome: &Result<Response<B>, GateError>, attempt: u32) -> Option<Duration> {
    let own = full_jitter(attempt);
    match outcome {
        Ok(response) => {
            if !is_passing(response.status()) {
                return None;
            }
            let asked = retry_after(response.headers(), SystemTime::now());
            let asked = asked.unwrap_or_default();
            (asked <= RETRY_AFTER_MAX).then(|| own.max(asked))
        }
        // Nothing was sent, so that nothing can have happened twice.
        Err(error) => matches!(
            error.kind(),
            GateErrorKind::Connect | GateErrorKind::Dns | GateErrorKind::Timeout(Phase::Connect)
        )
        .then_some(own),
    }
}

/// Whether a status is of a trouble that passes.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ]
    .contains(&status)
}

/// Anything up to a bound that doubles: what spreads those best that failed together
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
fn full_jitter(attempt: u32) -> Duration {
    let most = PAUSE_FIRST
        .saturating_mul(
            1u32.checked_shl(attempt.saturating_sub(1))
                .unwrap_or(u32::MAX),
        )
        .min(PAUSE_MAX);
    // Without randomness it waits the longest.
    let share = getrandom::u32().unwrap_or(u32::MAX);
    most.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

/// What `Retry-After` asks for, in seconds or as a date: RFC 9110, section 10.2.3.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time all the same.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Result<Response<()>, GateError> {
        let mut answer = Response::builder().status(status);
        if let Some(value) = retry_after {
            answer = answer.header(RETRY_AFTER, value);
        }
        Ok(answer.body(()).unwrap())
    }

    #[test]
    fn what_is_tried_again() {
        for (status, again) in [
            (200, false),
            (301, false),
            (400, false),
            (401, false),
            (408, false),
            (429, true),
            (500, false),
            (501, false),
            (502, true),
            (503, true),
            (504, true),
        ] {
            assert_eq!(pause(&answer(status, None), 1).is_some(), again, "{status}");
        }
        for (kind, again) in [
            (GateErrorKind::Connect, true),
            (GateErrorKind::Dns, true),
            (GateErrorKind::Timeout(Phase::Connect), true),
            (GateErrorKind::Timeout(Phase::FirstByte), false),
            (GateErrorKind::Protocol, false),
            (GateErrorKind::Tls, false),
            (GateErrorKind::Refused, false),
            (GateErrorKind::Incomplete, false),
        ] {
            let failed: Result<Response<()>, _> = Err(GateError::new(kind, ""));
            assert_eq!(pause(&failed, 1).is_some(), again, "{failed:?}");
        }
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        for (attempt, most) in [
            (1, 100),
            (2, 200),
            (4, 800),
            (8, 10_000),
            (u32::MAX, 10_000),
        ] {
            let pauses: Vec<_> = (0..200).map(|_| full_jitter(attempt)).collect();
            let most = Duration::from_millis(most);
            assert!(pauses.iter().all(|pause| *pause <= most), "{attempt}");
            // Both halves are met: the chance that one isn't is 2^-199.
            assert!(pauses.iter().any(|pause| *pause < most / 2), "{attempt}");
            assert!(pauses.iter().any(|pause| *pause > most / 2), "{attempt}");
        }
    }

    #[test]
    fn what_the_server_asks_for() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, asked) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = answer(503, Some(text)).unwrap().headers().clone();
            let asked = asked.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), asked, "{text}");
        }
        let asked = pause(&answer(503, Some("7")), 1).unwrap();
        assert_eq!(asked, Duration::from_secs(7));
        assert_eq!(pause(&answer(503, Some("61")), 1), None);
    }

    #[test]
    fn which_methods_may_be_repeated() {
        for (method, may) in [
            ("GET", true),
            ("HEAD", true),
            ("OPTIONS", true),
            ("PUT", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
            ("CONNECT", false),
            ("PURGE", false),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(is_idempotent(&method), may, "{method}");
        }
    }
}
