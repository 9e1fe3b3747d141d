//! Sends requests with the SDK's client.

use std::io::Read;
use std::time::Duration;

use portreeve_sdk::{Error, Json, http, plugin, tool};
use schemars::JsonSchema;
use serde::Serialize;

/// What came of a request.
#[derive(Serialize, JsonSchema)]
struct Came {
    status: u16,
    url: String,
    content_type: Option<String>,
    text: String,
}

fn request(
    method: String,
    url: &str,
    headers: Vec<(String, String)>,
    timeout_ms: Option<u64>,
    redirects: Option<u32>,
) -> http::Request {
    let method = match method.as_str() {
        "GET" => http::Method::Get,
        "POST" => http::Method::Post,
        _ => http::Method::Other(method),
    };
    let mut request = http::Request::new(method, url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(ms) = timeout_ms {
        request = request.timeout(Duration::from_millis(ms));
    }
    if let Some(most) = redirects {
        request = request.redirects(most);
    }
    request
}

/// Sends a request and reads its answer as text of at most `most` bytes.
#[tool]
fn send(
    method: String,
    url: String,
    #[serde(default)] headers: Vec<(String, String)>,
    #[serde(default)] query: Vec<(String, String)>,
    body: Option<String>,
    timeout_ms: Option<u64>,
    redirects: Option<u32>,
    most: Option<u32>,
    #[serde(default)] fails_by_status: bool,
) -> Result<Json<Came>, Error> {
    let mut request = request(method, &url, headers, timeout_ms, redirects).query(&query);
    if let Some(body) = body {
        request = request.body(body);
    }
    let mut response = request.send()?;
    if fails_by_status {
        response = response.error_for_status()?;
    }
    let (status, url) = (response.status(), response.url().to_owned());
    let content_type = response.header("Content-Type").map(str::to_owned);
    let text = response.text(most.unwrap_or(1024) as usize)?;
    Ok(Json(Came {
        status,
        url,
        content_type,
        text,
    }))
}

/// Sends `numbers` as JSON, and answers those of the answer.
#[tool]
fn send_json(url: String, numbers: Vec<u32>) -> Result<String, Error> {
    let response = http::Request::post(url).json(&numbers).send()?;
    Ok(format!("{:?}", response.json::<Vec<u32>>(1024)?))
}

/// Reads the first `bytes` bytes of an answer piece by piece and drops the rest.
#[tool]
fn read_start(url: String, bytes: u32) -> Result<String, Error> {
    let mut response = http::Request::get(url).send()?;
    let mut start = vec![0; bytes as usize];
    response.read_exact(&mut start)?;
    Ok(String::from_utf8_lossy(&start).into_owned())
}

plugin!(send, send_json, read_start);
