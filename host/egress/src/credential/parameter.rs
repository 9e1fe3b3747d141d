//! A secret as a parameter of a query.

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use url::form_urlencoded;
use zeroize::Zeroizing;

/// What is not an unreserved character: RFC 3986, section 2.3. A space becomes `%20`, which
/// both those read that take `+` for a space and those that don't.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An address with one more parameter; those of the same name, however it is written, are
/// gone. The others stay as they are. Nothing if it gets too long.
pub(super) fn with(uri: &Uri, name: &str, value: &[u8]) -> Option<Uri> {
    let others = || {
        let parts = uri.query().unwrap_or_default().split('&');
        parts.filter(|part| !part.is_empty() && !is_called(part, name))
    };
    let length = uri.path().len()
        + others().map(|part| part.len() + 1).sum::<usize>()
        + 3 * (name.len() + value.len())
        + 2;
    let mut target = Zeroizing::new(Vec::with_capacity(length));
    let mut push = |text: &str| target.extend_from_slice(text.as_bytes());
    push(uri.path());
    push("?");
    for part in others() {
        push(part);
        push("&");
    }
    percent_encode(name.as_bytes(), ENCODED).for_each(&mut push);
    push("=");
    percent_encode(value, ENCODED).for_each(&mut push);
    let mut parts = uri.clone().into_parts();
    let target = PathAndQuery::from_maybe_shared(Bytes::from_owner(target)).ok()?;
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).ok()
}

fn is_called(part: &str, name: &str) -> bool {
    form_urlencoded::parse(part.as_bytes())
        .next()
        .is_some_and(|(called, _)| called == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parameter_is_added_or_replaced() {
        for (before, name, value, after) in [
            ("https://a.example", "key", "s", "https://a.example/?key=s"),
            (
                "https://a.example/x?",
                "key",
                "s",
                "https://a.example/x?key=s",
            ),
            (
                "https://a.example/x?a=1&b=%20+&c",
                "key",
                "s",
                "https://a.example/x?a=1&b=%20+&c&key=s",
            ),
            (
                "https://a.example/?key=guest&a=1&k%65y=guest&key&key=",
                "key",
                "s",
                "https://a.example/?a=1&key=s",
            ),
            (
                "https://a.example/?keys=1&Key=2",
                "key",
                "s",
                "https://a.example/?keys=1&Key=2&key=s",
            ),
            (
                "https://a.example/?api+key=1&api%20key=2",
                "api key",
                "s",
                "https://a.example/?api%20key=s",
            ),
            (
                "https://a.example/",
                "key",
                "a&b=c d#é+%",
                "https://a.example/?key=a%26b%3Dc%20d%23%C3%A9%2B%25",
            ),
        ] {
            let uri = with(&before.parse().unwrap(), name, value.as_bytes()).unwrap();
            assert_eq!(uri.to_string(), after);
        }
        let long = "x".repeat(70_000);
        let uri = "https://a.example/".parse().unwrap();
        assert_eq!(with(&uri, "key", long.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn it_comes_out_as_it_went_in(
            guest in "[a-z%&=+?/0-9.-]{0,40}",
            name in ".{1,10}",
            value in ".{0,40}",
        ) {
            let uri: Uri = format!("https://a.example/p?{guest}").parse().unwrap();
            let uri = with(&uri, &name, value.as_bytes()).unwrap();
            let url = url::Url::parse(&uri.to_string()).unwrap();
            let found: Vec<_> = url.query_pairs().filter(|(called, _)| *called == name).collect();
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(&found[0].1, &value);
            let others = |query: &str| -> Vec<(String, String)> {
                let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
                pairs.filter(|(called, _)| *called != name).collect()
            };
            prop_assert_eq!(others(&guest), others(uri.query().unwrap()));
        }
    }
}
