//! A registry that keeps the rules, and whose answers a test can change.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portreeve_supply::Digest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// Changes what is answered to a request, its method and path behind each other.
type Change = dyn Fn(&str, &HeaderMap, Answer) -> Answer + Send + Sync;

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) blobs: BTreeMap<String, Bytes>,
    /// By tag and digest.
    pub(crate) manifests: BTreeMap<String, (String, Bytes)>,
    /// What was asked, with what it was asked with.
    pub(crate) asked: Vec<(String, HeaderMap)>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) kept: Arc<Mutex<Kept>>,
}

impl Fake {
    pub(crate) async fn start() -> Fake {
        Fake::with(|_, _, answer| answer).await
    }

    pub(crate) async fn with(
        change: impl Fn(&str, &HeaderMap, Answer) -> Answer + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Fake {
            address: listener.local_addr().unwrap(),
            kept: Arc::default(),
        };
        let (kept, change) = (
            fake.kept.clone(),
            Arc::<Change>::from(Box::new(change) as Box<Change>),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, change) = (kept.clone(), change.clone());
                let service = service_fn(move |request| {
                    let (kept, change) = (kept.clone(), change.clone());
                    async move { Ok::<_, Infallible>(serve(request, &kept, &*change).await) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        fake
    }

    /// A repository of it.
    pub(crate) fn oci(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        kept.asked.iter().map(|(what, _)| what.clone()).collect()
    }

    pub(crate) fn put_blob(&self, blob: &[u8]) -> String {
        let digest = Digest::of(blob).to_string();
        let mut kept = self.kept.lock().unwrap();
        kept.blobs
            .insert(digest.clone(), Bytes::copy_from_slice(blob));
        digest
    }

    /// Puts a manifest under a tag; its digest.
    pub(crate) fn put_manifest(&self, tag: &str, manifest: &Value) -> String {
        let bytes = Bytes::from(serde_json::to_vec(manifest).unwrap());
        let kind = manifest["mediaType"]
            .as_str()
            .unwrap_or(MANIFEST)
            .to_owned();
        let digest = Digest::of(&bytes).to_string();
        let mut kept = self.kept.lock().unwrap();
        for item in [tag, &digest] {
            kept.manifests
                .insert(item.to_owned(), (kind.clone(), bytes.clone()));
        }
        digest
    }

    /// Puts a component under a tag, as other tools do it; the digest of its manifest.
    pub(crate) fn put(&self, tag: &str, component: &[u8]) -> String {
        self.put_blob(component);
        self.put_manifest(tag, &manifest(component))
    }
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn manifest(component: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.wasm.config.v0+json",
            "digest": Digest::of(b"{}").to_string(),
            "size": 2,
        },
        "layers": [{
            "mediaType": "application/wasm",
            "digest": Digest::of(component).to_string(),
            "size": component.len(),
        }],
    })
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {});
    Response::builder()
        .status(status)
        .body(body.boxed_unsync())
        .unwrap()
}

pub(crate) fn header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    answer.headers_mut().insert(name, value.parse().unwrap());
    answer
}

/// A body of these bytes that goes on for ever.
pub(crate) fn endless() -> Answer {
    let frame = || Ok(Frame::data(Bytes::from_static(&[0; 0x8000])));
    let body = StreamBody::new(futures::stream::repeat_with(frame));
    Response::new(body.boxed_unsync())
}

/// A body that breaks off, of so many bytes as it says.
pub(crate) fn broken(bytes: &[u8], says: usize) -> Answer {
    let first = Ok(Frame::data(Bytes::copy_from_slice(bytes)));
    // What was written is there before it breaks off.
    let rest = futures::stream::once(async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("broken"))
    });
    let body = StreamBody::new(futures::stream::iter([first]).chain(rest));
    header(
        Response::new(body.boxed_unsync()),
        "content-length",
        &says.to_string(),
    )
}

fn error(status: u16, code: &str) -> Answer {
    answer(status, json!({ "errors": [{ "code": code }] }).to_string())
}

async fn serve(request: Request<Incoming>, kept: &Mutex<Kept>, change: &Change) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let target = head.uri.path_and_query().unwrap().to_string();
    let what = format!("{} {target}", head.method);
    let given = {
        let mut kept = kept.lock().unwrap();
        kept.asked.push((what.clone(), head.headers.clone()));
        given(&head, body, &mut kept)
    };
    change(&what, &head.headers, given)
}

fn given(head: &http::request::Parts, body: Bytes, kept: &mut Kept) -> Answer {
    let path = head.uri.path();
    if path == "/v2/" {
        return answer(200, "{}");
    }
    let (front, item) = path.rsplit_once('/').unwrap();
    let method = head.method.as_str();
    if front.ends_with("/manifests") {
        if method == "PUT" {
            let kind = head.headers["content-type"].to_str().unwrap().to_owned();
            let digest = Digest::of(&body).to_string();
            for item in [item, &digest] {
                kept.manifests
                    .insert(item.to_owned(), (kind.clone(), body.clone()));
            }
            return header(answer(201, ""), "docker-content-digest", &digest);
        }
        return match kept.manifests.get(item) {
            Some((kind, bytes)) => header(answer(200, bytes.clone()), "content-type", kind),
            None => error(404, "MANIFEST_UNKNOWN"),
        };
    }
    if front.ends_with("/blobs/uploads") {
        if method == "POST" {
            return header(
                answer(202, ""),
                "location",
                &format!("{front}/1?state=x%2Fy"),
            );
        }
        let query = head.uri.query().unwrap_or_default();
        let digest = query
            .split_once("digest=")
            .map(|(_, digest)| digest.replace("%3A", ":"));
        assert!(query.starts_with("state=x%2Fy&"), "{query}");
        assert_eq!(digest, Some(Digest::of(&body).to_string()));
        kept.blobs.insert(digest.unwrap(), body);
        return answer(201, "");
    }
    if front.ends_with("/blobs") {
        return match kept.blobs.get(item) {
            Some(bytes) => answer(200, bytes.clone()),
            None => error(404, "BLOB_UNKNOWN"),
        };
    }
    if path.ends_with("/tags/list") {
        let tags: Vec<_> = kept
            .manifests
            .keys()
            .filter(|key| !key.contains(':'))
            .collect();
        return answer(200, json!({ "name": "x", "tags": tags }).to_string());
    }
    error(404, "UNSUPPORTED")
}
