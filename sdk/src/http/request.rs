//! A request: what is asked, and how its answer is reached.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use url::Url;

use super::redirect::{Next, next};
use super::{Exchange, Headers, Response, transport};
use crate::Error;

/// Most redirects that a GET or HEAD follows unless it is told otherwise, as browsers and
/// most clients do about it.
const REDIRECTS: u32 = 10;

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are HTTP's")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    /// Another one, such as `PROPFIND`.
    Other(String),
}

impl Method {
    /// Its name in HTTP.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Other(name) => name,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that is put together, then sent. What is wrong with it is said when it is sent.
pub struct Request {
    method: Method,
    url: Result<Url, Error>,
    headers: Headers,
    body: Result<Option<Vec<u8>>, Error>,
    timeout: Option<Duration>,
    redirects: Option<u32>,
}

impl Request {
    /// A request to a URL, which must be absolute.
    pub fn new(method: Method, url: impl AsRef<str>) -> Self {
        Self {
            method,
            url: parse(url.as_ref()),
            headers: Headers::new(),
            body: Ok(None),
            timeout: None,
            redirects: None,
        }
    }

    /// A GET.
    pub fn get(url: impl AsRef<str>) -> Self {
        Self::new(Method::Get, url)
    }

    /// A HEAD.
    pub fn head(url: impl AsRef<str>) -> Self {
        Self::new(Method::Head, url)
    }

    /// A POST.
    pub fn post(url: impl AsRef<str>) -> Self {
        Self::new(Method::Post, url)
    }

    /// A PUT.
    pub fn put(url: impl AsRef<str>) -> Self {
        Self::new(Method::Put, url)
    }

    /// A PATCH.
    pub fn patch(url: impl AsRef<str>) -> Self {
        Self::new(Method::Patch, url)
    }

    /// A DELETE.
    pub fn delete(url: impl AsRef<str>) -> Self {
        Self::new(Method::Delete, url)
    }

    /// Adds a header. Those of the connection (`Host`, `Connection`, `Transfer-Encoding` and
    /// their like) are the host's own. Names are the same in any case.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref().to_ascii_lowercase();
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    /// Adds pairs to the URL's query, with their characters escaped.
    #[must_use]
    pub fn query<K: AsRef<str>, V: fmt::Display>(mut self, pairs: &[(K, V)]) -> Self {
        if let (Ok(url), false) = (&mut self.url, pairs.is_empty()) {
            let mut query = url.query_pairs_mut();
            for (key, value) in pairs {
                query.append_pair(key.as_ref(), &value.to_string());
            }
        }
        self
    }

    /// Sends these bytes. Say what they are with a header `content-type`.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Ok(Some(bytes.into()));
        self
    }

    /// Sends a JSON document.
    #[must_use]
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        self.body = serde_json::to_vec(value).map(Some).map_err(|error| {
            Error::internal(format_args!("the request's body is no JSON: {error}"))
        });
        self.of_type("application/json")
    }

    /// Sends pairs as an HTML form does.
    #[must_use]
    pub fn form<K: AsRef<str>, V: fmt::Display>(mut self, pairs: &[(K, V)]) -> Self {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in pairs {
            form.append_pair(key.as_ref(), &value.to_string());
        }
        self.body = Ok(Some(form.finish().into_bytes()));
        self.of_type("application/x-www-form-urlencoded")
    }

    fn of_type(mut self, media_type: &str) -> Self {
        if !self.headers.iter().any(|(name, _)| name == "content-type") {
            self = self.header("content-type", media_type);
        }
        self
    }

    /// The time for all of it: connecting, redirects, and reading the body to its end.
    /// Without it the host's own time limits hold, and the call's.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Follows so many redirects; 0 returns the first answer as it is. By default it is 10 for
    /// GET and HEAD, and 0 for the others.
    ///
    /// To another origin go only headers that tell nothing (`accept`, `user-agent` and
    /// their like), so that no key or placeholder of a secret gets there. From HTTPS to HTTP
    /// none is followed.
    #[must_use]
    pub fn redirects(mut self, most: u32) -> Self {
        self.redirects = Some(most);
        self
    }

    /// Sends it and waits for the head of the answer; its body is read from the [`Response`].
    /// Any status is an answer: see [`Response::error_for_status`].
    ///
    /// # Errors
    /// `permission-denied` where the host refuses it, with what would allow it;
    /// `invalid-argument` where the URL or a header is none; `timeout`; `quota-exceeded` at a
    /// limit; `rate-limited` or `unavailable`, often with a time after which to try again.
    pub fn send(self) -> Result<Response, Error> {
        let deadline = self
            .timeout
            .and_then(|time| Instant::now().checked_add(time));
        let mut left = self.redirects.unwrap_or(match self.method {
            Method::Get | Method::Head => REDIRECTS,
            _ => 0,
        });
        let follows = left > 0;
        let mut request = Next {
            method: self.method,
            url: self.url?,
            headers: self.headers,
            body: self.body?,
        };
        loop {
            let (status, headers, body) = transport::exchange(&Exchange {
                method: &request.method,
                url: &request.url,
                headers: &request.headers,
                body: request.body.as_deref(),
                deadline,
            })?;
            let location = headers.iter().find(|(name, _)| name == "location");
            let target = match location {
                Some((_, location)) if follows => next(status, location, &request)?,
                _ => None,
            };
            let Some(target) = target else {
                return Ok(Response::new(request.url, status, headers, body));
            };
            left = left.checked_sub(1).ok_or_else(|| {
                Error::unavailable(format_args!(
                    "{} redirects on and on: the request was redirected more often than it may be",
                    origin(&request.url)
                ))
                .reason("too-many-redirects")
            })?;
            request = target;
        }
    }
}

/// Headers and body may hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_ref().map_or_else(|_| String::new(), origin);
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("origin", &url)
            .finish_non_exhaustive()
    }
}

/// An absolute URL of HTTP.
fn parse(text: &str) -> Result<Url, Error> {
    let wrong = |why: &dyn fmt::Display| {
        Error::invalid_argument(format_args!(
            "the request's URL can't be used: {why}; give one such as https://example.com/path"
        ))
        .reason("invalid-url")
    };
    let url = Url::parse(text).map_err(|error| wrong(&error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(&format_args!(
            "its scheme is `{}`, not http or https",
            url.scheme()
        )));
    }
    Ok(url)
}

/// Scheme, host and port: what of a URL tells nobody a secret.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together() {
        let request = Request::post("https://example.com/a?x=1")
            .header("X-Key", "k")
            .query(&[("q", "a b&c"), ("ü", "=")])
            .json(&serde_json::json!({"a": [1]}));
        assert_eq!(
            request.url.as_ref().unwrap().as_str(),
            "https://example.com/a?x=1&q=a+b%26c&%C3%BC=%3D"
        );
        let content_type = ("content-type".to_owned(), b"application/json".to_vec());
        let key = ("x-key".to_owned(), b"k".to_vec());
        assert_eq!(request.headers, [key, content_type]);
        assert_eq!(request.body.unwrap().unwrap(), br#"{"a":[1]}"#);

        let form = Request::post("http://h/")
            .header("Content-Type", "text/x")
            .form(&[("a", 1), ("b", 2)]);
        assert_eq!(form.headers.len(), 1);
        assert_eq!(form.body.unwrap().unwrap(), b"a=1&b=2");

        let bare = Request::get("http://h/").query::<&str, &str>(&[]);
        assert_eq!(bare.url.unwrap().as_str(), "http://h/");
    }

    #[test]
    fn what_is_no_url_is_said_when_it_is_sent() {
        for (url, why) in [
            ("/relative", "relative URL without a base"),
            ("ftp://h/", "its scheme is `ftp`, not http or https"),
            ("http://", "empty host"),
        ] {
            let error = Request::get(url).query(&[("a", 1)]).send().unwrap_err();
            assert_eq!(error.code(), crate::Code::InvalidArgument);
            assert!(error.message().contains(why), "{error}");
        }
        let unserializable = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Request::post("http://h/").json(&unserializable).send();
        assert!(error.unwrap_err().message().contains("no JSON"));
    }

    #[test]
    fn nothing_secret_shows() {
        let request = Request::get("https://u:p@h/p?key=CANARY").header("a", "CANARY");
        let shown = format!("{request:?}");
        assert!(
            !shown.contains("CANARY") && !shown.contains("u:p"),
            "{shown}"
        );
    }
}
