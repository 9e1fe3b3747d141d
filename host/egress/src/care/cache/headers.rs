//! Headers as the cache looks at them.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, DATE, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use portreeve_manifest::grant::{CredentialUse, Place};

/// The greatest age there is, in seconds: RFC 9111, section 1.2.2.
const AGE_MAX: u64 = 1 << 31;

/// Headers with one value each, as the library wants them that looks only at the first: what
/// comes several times is joined. The directives of `Cache-Control` are in lower case; it
/// would not know them otherwise.
pub(super) fn plain(headers: &HeaderMap) -> HeaderMap {
    let mut plain = HeaderMap::with_capacity(headers.keys_len());
    for name in headers.keys() {
        // The gate writes its own; cookies don't decide anything here, and can't be joined.
        if name == HOST || name == SET_COOKIE {
            continue;
        }
        let values: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let mut value = values.join(&b", "[..]);
        if name == CACHE_CONTROL || name == PRAGMA {
            value.make_ascii_lowercase();
        }
        // Joining what is allowed gives what is allowed.
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            plain.insert(name.clone(), value);
        }
    }
    plain
}

/// An answer's headers in plain form, with their age as it was when it came: RFC 9111, section
/// 4.2.3. The delay on the way is counted by whom knows when it was sent.
pub(super) fn plain_answer(headers: &HeaderMap, came: SystemTime) -> HeaderMap {
    let mut plain = plain(headers);
    let said = plain.get(AGE).and_then(|age| age.to_str().ok());
    let said = said.map_or(0, |age| match age.trim().parse() {
        Ok(age) => age,
        Err(_) if age.bytes().all(|byte| byte.is_ascii_digit()) => AGE_MAX,
        Err(_) => 0,
    });
    let date = plain.get(DATE).and_then(|date| date.to_str().ok());
    let apparent = date
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .and_then(|date| came.duration_since(date).ok())
        .map_or(0, |age| age.as_secs());
    plain.insert(AGE, HeaderValue::from(said.max(apparent).min(AGE_MAX)));
    plain
}

/// Whether a request is one that a cache had better not touch: it has conditions of its own,
/// wants a part, or wants no trace of itself.
pub(super) fn is_for_itself(headers: &HeaderMap) -> bool {
    [
        RANGE,
        IF_RANGE,
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
    ]
    .iter()
    .any(|name| headers.contains_key(name))
        || has_directive(&plain(headers), "no-store")
}

/// Whether a request (in plain form) wants what is kept, or nothing.
pub(super) fn only_if_cached(plain: &HeaderMap) -> bool {
    has_directive(plain, "only-if-cached")
}

fn has_directive(plain: &HeaderMap, directive: &str) -> bool {
    let text = plain.get(CACHE_CONTROL).and_then(|text| text.to_str().ok());
    text.is_some_and(|text| text.split(',').any(|part| part.trim() == directive))
}

/// Whether a guest says itself who it is.
pub(super) fn has_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE)
}

/// The header that a credential goes into; the parameter of a query is none.
pub(super) fn of_credential(used: &CredentialUse) -> String {
    match &used.place {
        Some(Place::Header(name)) => name.clone(),
        Some(Place::Query(_)) => String::new(),
        None => crate::credential::API_KEY_HEADER.to_owned(),
    }
}

/// The headers that an answer (in plain form) was chosen by; nothing where that can't be told.
pub(super) fn vary(plain: &HeaderMap) -> Option<Vec<HeaderName>> {
    let Some(vary) = plain.get(VARY) else {
        return Some(Vec::new());
    };
    vary.to_str()
        .ok()?
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        // A star is a name, too, but none that a request has.
        .map(|name| if name == "*" { None } else { name.parse().ok() })
        .collect()
}

/// An answer's headers without those that were for its connection: RFC 9110, section 7.6.1.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for value in headers.get_all(CONNECTION) {
        for name in value.to_str().unwrap_or_default().split(',') {
            kept.remove(name.trim());
        }
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "age",
    ] {
        kept.remove(name);
    }
    kept
}

/// Replaces headers by those of a 304, but for what describes the content that stays: RFC
/// 9111, section 3.2.
pub(super) fn update(headers: &mut HeaderMap, newer: &HeaderMap) {
    let newer = end_to_end(newer);
    for name in newer.keys() {
        if name.as_str().starts_with("content-") {
            continue;
        }
        headers.remove(name);
        for value in newer.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Writes when an answer came that doesn't say it: RFC 9110, section 6.6.1.
pub(super) fn set_date(headers: &mut HeaderMap, now: SystemTime) {
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
        headers.insert(DATE, date);
    }
}

/// The age of an answer, as a header.
pub(super) fn age(age: Duration) -> HeaderValue {
    HeaderValue::from(age.as_secs().min(AGE_MAX))
}
