//! The API as this plugin uses it: what is asked, what is answered, page by page.
//!
//! Requests carry no key: the host adds the credential on the way out.

use std::time::{Duration, SystemTime};

use portreeve_sdk::http::Request;
use portreeve_sdk::{Error, config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::failure;
use crate::repository::Repository;

/// Where the API is unless the operator has set another place.
const API_URL: &str = "https://api.github.com";

/// The version of the API, which GitHub keeps as it is.
const API_VERSION: &str = "2022-11-28";

/// The largest answer that is read, in bytes: 50 issues of 64 KiB, which is the longest text of
/// one, and as much again for what is told about them.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long GitHub may take for an answer; it gives up after 10 s itself.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What the operator has set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Settings {
    owner: Option<String>,
    api_url: Option<String>,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Call {
    /// The segments of the path, each by itself, so that none can hold a `/`.
    pub(crate) path: Vec<String>,
    /// The query.
    pub(crate) query: Vec<(&'static str, String)>,
    /// What is posted; a call without it only reads.
    pub(crate) body: Option<Value>,
}

/// What is answered.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// Names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What sends requests: the host, or a test.
pub(crate) trait Transport {
    /// Sends one and reads its answer, whatever its status.
    fn send(&self, call: &Call, url: &Url) -> Result<Reply, Error>;
}

/// Sends through the host.
pub(crate) struct ThroughHost;

impl Transport for ThroughHost {
    fn send(&self, call: &Call, url: &Url) -> Result<Reply, Error> {
        let request = match &call.body {
            Some(body) => Request::post(url).json(body),
            None => Request::get(url),
        };
        let response = request
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", API_VERSION)
            .header(
                "user-agent",
                concat!("portreeve-github/", env!("CARGO_PKG_VERSION")),
            )
            .timeout(TIMEOUT)
            // A repository that was renamed: its new name is better than a detour each time.
            .redirects(0)
            .send()?;
        Ok(Reply {
            status: response.status(),
            headers: response
                .headers()
                .filter_map(|(name, value)| {
                    Some((name.to_owned(), String::from_utf8(value.to_vec()).ok()?))
                })
                .collect(),
            body: response.bytes(ANSWER_BYTES_MAX)?,
        })
    }
}

/// The API at its place.
pub(crate) struct Api<T> {
    base: Url,
    owner: Option<String>,
    transport: T,
}

impl Api<ThroughHost> {
    /// As the operator has set it.
    ///
    /// # Errors
    /// A setting is no use.
    pub(crate) fn configured() -> Result<Self, Error> {
        let settings: Settings = config::all()?;
        let url = settings.api_url.as_deref().unwrap_or(API_URL);
        Api::new(url, settings.owner, ThroughHost)
    }
}

impl<T: Transport> Api<T> {
    pub(crate) fn new(url: &str, owner: Option<String>, transport: T) -> Result<Self, Error> {
        let base = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
                Error::internal(
                    "the setting `api-url` of this plugin is no address of HTTP; the operator can \
                     correct it in portreeve.toml",
                )
                .reason("invalid-config")
            })?;
        Ok(Api {
            base,
            owner,
            transport,
        })
    }

    /// The repository that a caller means.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub(crate) fn repository(&self, text: &str) -> Result<Repository, Error> {
        Repository::read(text, self.owner.as_deref())
    }

    /// Asks, and reads what is answered.
    ///
    /// # Errors
    /// What the host refused, what GitHub refused, or that the answer is none.
    pub(crate) fn ask<A: DeserializeOwned>(&self, call: &Call) -> Result<(A, Reply), Error> {
        let url = self.url(call)?;
        let reply = self.transport.send(call, &url)?;
        if !(200..300).contains(&reply.status) {
            return Err(failure::of(&reply, SystemTime::now()));
        }
        let answer = serde_json::from_slice(&reply.body).map_err(|error| {
            Error::unavailable(format_args!(
                "GitHub answered something else than was expected ({error}); is `api-url` the \
                 address of its API?"
            ))
            .reason("bad-response")
        })?;
        Ok((answer, reply))
    }

    fn url(&self, call: &Call) -> Result<Url, Error> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => {
                path.pop_if_empty().extend(&call.path);
            }
            Err(()) => return Err(Error::internal("the address of the API takes no path")),
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }
}

impl Call {
    /// Reads something.
    pub(crate) fn get(path: &[&str]) -> Call {
        Call {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            query: Vec::new(),
            body: None,
        }
    }

    /// Reads something of a repository.
    pub(crate) fn of(repository: &Repository, rest: &[&str]) -> Call {
        let path = ["repos", &repository.owner, &repository.name];
        Call::get(&[&path, rest].concat())
    }

    /// Adds to the query what is given.
    pub(crate) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Call {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Asks for a page of a list.
    pub(crate) fn page(self, page: u32, per_page: u8) -> Call {
        self.with("per_page", Some(per_page))
            .with("page", Some(page))
    }

    /// Posts this.
    pub(crate) fn post(mut self, body: Value) -> Call {
        self.body = Some(body);
        self
    }
}

/// The page after this one, if the answer says that there is one (RFC 8288).
pub(crate) fn next_page(reply: &Reply, page: u32) -> Option<u32> {
    let links = reply.header("link")?;
    links
        .split('<')
        .filter_map(|link| link.split_once('>'))
        .flat_map(|(_, parameters)| parameters.split([';', ',']))
        .filter_map(|parameter| parameter.trim().strip_prefix("rel="))
        .flat_map(|relations| relations.trim_matches('"').split(' '))
        .any(|relation| relation == "next")
        .then(|| page.saturating_add(1))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    /// Answers with what it is given, in turn, and keeps what it was asked.
    #[derive(Default)]
    pub(crate) struct Scripted {
        replies: RefCell<Vec<Reply>>,
        asked: RefCell<Vec<String>>,
    }

    impl Transport for Scripted {
        fn send(&self, call: &Call, url: &Url) -> Result<Reply, Error> {
            let line = match &call.body {
                Some(body) => format!("POST {url} {body}"),
                None => format!("GET {url}"),
            };
            self.asked.borrow_mut().push(line);
            Ok(self.replies.borrow_mut().remove(0))
        }
    }

    /// An API that answers with these statuses, `link` headers and bodies.
    pub(crate) fn api(replies: &[(u16, &str, &str)]) -> Api<Scripted> {
        let scripted = Scripted::default();
        for (status, link, body) in replies {
            scripted.replies.borrow_mut().push(Reply {
                status: *status,
                headers: vec![("link".to_owned(), (*link).to_owned())],
                body: body.as_bytes().to_vec(),
            });
        }
        let url = "https://ghe.example/api/v3/";
        Api::new(url, Some("acme".to_owned()), scripted).unwrap()
    }

    impl Api<Scripted> {
        /// What it was asked, a line each.
        pub(crate) fn asked(&self) -> String {
            self.transport.asked.borrow().join("\n")
        }
    }

    #[test]
    fn addresses_are_put_together() {
        let api = api(&[(200, "", "[1]")]);
        let repository = api.repository("site").unwrap();
        let call = Call::of(&repository, &["contents", "a/../b?c"])
            .with("q", Some("x&y=ü"))
            .with("none", None::<u32>)
            .page(2, 30);
        let (answer, _) = api.ask::<Vec<u8>>(&call).unwrap();
        assert_eq!(answer, [1]);
        assert_eq!(
            api.asked(),
            "GET https://ghe.example/api/v3/repos/acme/site/contents/a%2F..%2Fb%3Fc\
             ?q=x%26y%3D%C3%BC&per_page=30&page=2"
        );
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let api = api(&[(200, "", "<html>")]);
        let call = Call::of(&api.repository("a/b").unwrap(), &[]);
        let error = api.ask::<Vec<u8>>(&call).unwrap_err();
        assert!(error.message().contains("`api-url`"), "{error}");
    }

    #[test]
    fn an_address_that_is_none_is_the_operators_to_correct() {
        for url in ["", "api.github.com", "file:///etc", "mailto:x@y"] {
            let error = Api::new(url, None, ThroughHost).err().unwrap();
            assert!(
                error.to_string().contains("(invalid-config)"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn without_a_host_nothing_is_sent() {
        let api = Api::configured().unwrap();
        let call = Call::of(&api.repository("a/b").unwrap(), &[]);
        let error = api.ask::<Vec<u8>>(&call).unwrap_err();
        assert_eq!(error.code(), portreeve_sdk::Code::PermissionDenied);
    }

    #[test]
    fn links_to_the_next_page_are_found() {
        for (link, next) in [
            (
                r#"<https://x/?page=4>; rel="next", <https://x/?page=9>; rel="last""#,
                Some(4),
            ),
            (
                r#"<https://x/?page=2>; rel="prev",<https://x/?a=1,2>; title="a"; rel=next"#,
                Some(4),
            ),
            (r#"<https://x/?page=2>; rel="prev last""#, None),
            (r#"<https://x/?rel="next">; rel="first""#, None),
            ("", None),
        ] {
            let reply = Reply {
                headers: vec![("link".to_owned(), link.to_owned())],
                ..Reply::default()
            };
            assert_eq!(next_page(&reply, 3), next, "{link}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_its_repository(part in "[./\\\\%2eEfF?#a]{0,12}|\\PC{0,20}") {
            let api = api(&[]);
            let call = Call::of(&api.repository("a/b").unwrap(), &[&part, "x"]);
            let url = api.url(&call).unwrap();
            prop_assert!(url.path().starts_with("/api/v3/repos/a/b/"), "{}", url);
            prop_assert!(url.path().ends_with("/x"), "{}", url);
        }
    }
}
