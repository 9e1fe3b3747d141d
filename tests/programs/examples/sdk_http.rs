//! Sends requests with the SDK's client.

use std::io::Read;
use std::time::Duration;

use portreeve_sdk::{Error, Json, http, plugin, secrets, tool};
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

fn method(name: String) -> http::Method {
    match name.as_str() {
        "GET" => http::Method::Get,
        "POST" => http::Method::Post,
        _ => http::Method::Other(name),
    }
}

/// Sends a request and reads its answer as text of at most 1024 bytes.
#[tool]
fn send(
    method: String,
    url: String,
    #[serde(default)] headers: Vec<(String, String)>,
    #[serde(default)] query: Vec<(String, String)>,
    body: Option<String>,
    timeout_ms: Option<u64>,
    redirects: Option<u32>,
) -> Result<Json<Came>, Error> {
    let mut request = http::Request::new(self::method(method), url).query(&query);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.body(body);
    }
    if let Some(ms) = timeout_ms {
        request = request.timeout(Duration::from_millis(ms));
    }
    if let Some(most) = redirects {
        request = request.redirects(most);
    }
    let response = request.send()?;
    let (status, url) = (response.status(), response.url().to_owned());
    let content_type = response.header("Content-Type").map(str::to_owned);
    let text = response.text(1024)?;
    Ok(Json(Came {
        status,
        url,
        content_type,
        text,
    }))
}

/// Fails where the status says that it failed.
#[tool]
fn succeed(url: String) -> Result<String, Error> {
    let response = http::Request::get(url).send()?.error_for_status()?;
    response.text(1024)
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

/// Sends a request with what stands for a secret in a header, in the query, in the path and in
/// the body, and answers what stood for it.
#[tool]
fn send_secret(url: String, name: String) -> Result<String, Error> {
    let placeholder = secrets::get(&name)?.placeholder()?;
    http::Request::post(format!("{url}/{placeholder}"))
        .header("x-key", format!("Key {placeholder}"))
        .query(&[("key", placeholder.as_str())])
        .body(placeholder.clone())
        .send()?;
    Ok(placeholder)
}

plugin!(send, succeed, send_json, read_start, send_secret);
