//! Where an answer points to, and what goes there: as the Fetch standard has it, stricter
//! towards another origin.

use url::Url;

use super::request::origin;
use super::{Headers, Method};
use crate::Error;

/// What may go to an origin that was not asked: nothing that could be a key.
const TELL_NOTHING: [&str; 9] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-language",
    "content-type",
    "pragma",
    "range",
    "user-agent",
];

/// How the placeholder of a secret begins.
const PLACEHOLDER: &[u8] = b"portreevesecret";

/// A request that is sent, or the one that follows it.
pub(super) struct Next {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Headers,
    pub(super) body: Option<Vec<u8>>,
}

/// The request that an answer asks for, if its status is that of a redirect.
///
/// # Errors
/// The location is no URL of HTTP, or it leads from HTTPS to HTTP.
pub(super) fn next(status: u16, location: &[u8], from: &Next) -> Result<Option<Next>, Error> {
    let keeps = match (status, &from.method) {
        (307 | 308, _) | (301..=303, Method::Get | Method::Head) => true,
        (301 | 302, method) => *method != Method::Post,
        (303, _) => false,
        _ => return Ok(None),
    };
    let stray = |why: &str| {
        Error::unavailable(format_args!("{} redirects {why}", origin(&from.url)))
            .reason("bad-redirect")
    };
    let location = std::str::from_utf8(location)
        .ok()
        .and_then(|location| from.url.join(location).ok())
        .ok_or_else(|| stray("to what is no URL"))?;
    match (from.url.scheme(), location.scheme()) {
        ("https", "http") => return Err(stray("from HTTPS to HTTP, which is not followed")),
        (_, "http" | "https") => {}
        _ => return Err(stray("to what is not HTTP")),
    }
    let same_origin = location.origin() == from.url.origin();
    let goes = |(name, value): &&(String, Vec<u8>)| {
        let about_body = name.starts_with("content-");
        let placeholder = value
            .windows(PLACEHOLDER.len())
            .any(|part| part == PLACEHOLDER);
        (keeps || !about_body)
            && (same_origin || (TELL_NOTHING.contains(&name.as_str()) && !placeholder))
    };
    Ok(Some(Next {
        headers: from.headers.iter().filter(goes).cloned().collect(),
        body: from.body.clone().filter(|_| keeps),
        method: if keeps {
            from.method.clone()
        } else {
            Method::Get
        },
        url: location,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method) -> Next {
        let headers = [
            ("authorization", "Bearer a"),
            ("x-api-key", "k"),
            ("accept", "text/html"),
            ("user-agent", "portreevesecret0123"),
            ("content-type", "text/plain"),
        ];
        Next {
            method,
            url: Url::parse("https://a.example/x/y?q=1").unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: Some(b"body".to_vec()),
        }
    }

    fn shown(next: &Next) -> String {
        let names: Vec<_> = next.headers.iter().map(|(name, _)| name.as_str()).collect();
        let body = if next.body.is_some() { " +body" } else { "" };
        format!("{} {} [{}]{body}", next.method, next.url, names.join(" "))
    }

    #[test]
    fn where_it_goes_and_with_what() {
        use Method::{Delete, Get, Post};
        let all = "[authorization x-api-key accept user-agent content-type] +body";
        let bodiless = "[authorization x-api-key accept user-agent]";
        for (status, method, location, expected) in [
            (301, Get, "z", format!("GET https://a.example/x/z {all}")),
            (
                302,
                Post,
                "/z",
                format!("GET https://a.example/z {bodiless}"),
            ),
            (
                303,
                Delete,
                "/z",
                format!("GET https://a.example/z {bodiless}"),
            ),
            (
                302,
                Delete,
                "/z",
                format!("DELETE https://a.example/z {all}"),
            ),
            (
                307,
                Post,
                "?p",
                format!("POST https://a.example/x/y?p {all}"),
            ),
            (
                308,
                Post,
                "//b.example/z",
                "POST https://b.example/z [accept content-type] +body".to_owned(),
            ),
            (
                303,
                Post,
                "https://a.example:8443/",
                "GET https://a.example:8443/ [accept]".to_owned(),
            ),
        ] {
            let from = request(method);
            let next = next(status, location.as_bytes(), &from).unwrap().unwrap();
            assert_eq!(shown(&next), expected, "{status} {location}");
        }
    }

    #[test]
    fn what_is_not_followed() {
        let from = request(Method::Get);
        for status in [200, 201, 300, 304, 305, 306, 404] {
            assert!(next(status, b"/z", &from).unwrap().is_none(), "{status}");
        }
        for (location, why) in [
            ("http://a.example/", "from HTTPS to HTTP"),
            ("javascript:alert(1)", "to what is not HTTP"),
            ("https://", "to what is no URL"),
        ] {
            let Err(error) = next(302, location.as_bytes(), &from) else {
                panic!("{location} is followed");
            };
            assert!(error.message().contains(why), "{error}");
        }
        assert!(next(302, b"\xff", &from).is_err());
    }
}
