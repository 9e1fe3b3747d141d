//! Sends requests over `wasi:http`, as its arguments describe them, well or badly.
//!
//! A request is `{"url", "method", "headers": [[name, value]], "chunks": [text], "fill": bytes,
//! "trailers": [[name, value]], "connect_ms", "first_byte_ms", "between_bytes_ms", "read": bytes,
//! "finish": bool}`; all but the URL may be left out. Its answer is `{"status", "headers",
//! "body", "bytes", "trailers"}` or `{"error", "at"}`, with `"host"`: what the host said of it.

use portreeve_test_programs::{Answer, Value, failures, json, structured, tools};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method,
    OutgoingBody, OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::poll::poll;
use wasip2::io::streams::StreamError;

tools! {
    /// Sends one request.
    fn send(request: Value) -> Answer {
        Ok(structured(exchange(&request)))
    }

    /// Sends one request again and again, `times` times, with `pause_ms` between, and answers
    /// all answers.
    fn send_again(request: Value, times: u64, pause_ms: u64) -> Answer {
        let answers: Vec<Value> = (0..times)
            .map(|_| {
                let answer = exchange(&request);
                std::thread::sleep(std::time::Duration::from_millis(pause_ms));
                answer
            })
            .collect();
        Ok(structured(json!({"answers": answers})))
    }

    /// Sends `times` requests at once, then waits for the last `wait` of them, and answers how
    /// often each status or error came.
    fn send_at_once(request: Value, times: u64, wait: u64) -> Answer {
        let mut pending: Vec<_> = (0..times).map(|_| start(&request)).collect();
        let mut counts = serde_json::Map::new();
        for answer in pending.drain((times - wait) as usize..) {
            let answer = answer.and_then(|answer| head(&answer));
            let key = match answer {
                Ok(response) => response.status().to_string(),
                Err(error) => error["error"].as_str().unwrap_or_default().to_owned(),
            };
            let count = counts.get(&key).and_then(Value::as_u64).unwrap_or(0);
            counts.insert(key, json!(count + 1));
        }
        Ok(structured(json!({"counts": counts})))
    }

    /// Makes `times` requests that it never sends, each with a path, headers, and a body of so
    /// many bytes, keeps them, and answers how many of them were taken.
    fn hoard(times: u64, path: u64, headers: u64, body: u64) -> Answer {
        let mut taken = json!({"requests": 0, "paths": 0, "bodies": 0});
        let mut add = |what: &str| taken[what] = json!(taken[what].as_u64().unwrap_or(0) + 1);
        let value = vec![b'a'; headers as usize];
        for _ in 0..times {
            let fields = Fields::new();
            let _ = fields.append("x-large", &value);
            let request = OutgoingRequest::new(fields);
            add("requests");
            let path = format!("/{}", "p".repeat(path as usize));
            if request.set_path_with_query(Some(&path)).is_ok() {
                add("paths");
            }
            let outgoing = request.body().expect("the first body");
            let stream = outgoing.write().expect("the first stream");
            let room = stream.check_write().unwrap_or(0).min(body);
            if room > 0 && stream.write(&vec![b'b'; room as usize]).is_ok() {
                add("bodies");
            }
            std::mem::forget((stream, outgoing, request));
        }
        Ok(structured(taken))
    }

    /// Which of these were taken: a method, scheme, authority and path with so many bytes.
    fn parts(bytes: u64) -> Answer {
        let text = "a".repeat(bytes as usize);
        let request = OutgoingRequest::new(Fields::new());
        Ok(structured(json!({
            "method": request.set_method(&Method::Other(text.clone())).is_ok(),
            "scheme": request.set_scheme(Some(&Scheme::Other(text.clone()))).is_ok(),
            "authority": request.set_authority(Some(&text)).is_ok(),
            "path": request.set_path_with_query(Some(&format!("/{text}"))).is_ok(),
            "none": request.set_path_with_query(None).is_ok() && request.set_authority(None).is_ok()
                && request.set_scheme(None).is_ok(),
        })))
    }

    /// Whether a header of this name is refused before anything is sent.
    fn forbidden(name: String) -> Answer {
        let refused = Fields::from_list(&[(name, b"x".to_vec())]).err();
        Ok(structured(json!({"refused": refused.map(|error| error.to_string())})))
    }

    /// Sends `bytes` bytes to where they come back, and reads while it writes. Answers how many
    /// came back and whether they were the same.
    fn echo(url: String, bytes: u64) -> Answer {
        Ok(structured(echoed(&url, bytes).unwrap_or_else(|error| error)))
    }
}

/// The bytes of an endless text, from a place on.
fn pattern(from: u64, length: usize) -> Vec<u8> {
    (from..).take(length).map(|at| (at % 251) as u8).collect()
}

fn error(code: &ErrorCode, at: &str) -> Value {
    let host = failures::take_last().map(|failure| {
        json!({
            "code": format!("{:?}", failure.code),
            "reason": failure.reason,
            "message": failure.message,
            "retry_after_ms": failure.retry_after_ms,
        })
    });
    json!({"error": format!("{code:?}"), "at": at, "host": host})
}

fn pairs(list: &Value) -> Vec<(String, Vec<u8>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pairs = list.as_array().into_iter().flatten();
    pairs
        .map(|pair| (text(&pair[0]), text(&pair[1]).into_bytes()))
        .collect()
}

fn listed(fields: &Fields) -> Value {
    let entries = fields.entries().into_iter();
    entries
        .map(|(name, value)| json!([name, String::from_utf8_lossy(&value)]))
        .collect()
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        other => Method::Other(other.to_owned()),
    }
}

fn prepare(request: &Value) -> Result<OutgoingRequest, Value> {
    let headers = Fields::from_list(&pairs(&request["headers"]))
        .map_err(|error| json!({"error": error.to_string(), "at": "headers"}))?;
    let prepared = OutgoingRequest::new(headers);
    let url = request["url"].as_str().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let scheme = match scheme {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        "" => None,
        other => Some(Scheme::Other(other.to_owned())),
    };
    let set = prepared
        .set_method(&method(request["method"].as_str().unwrap_or("GET")))
        .and_then(|()| prepared.set_scheme(scheme.as_ref()))
        .and_then(|()| prepared.set_authority(Some(authority)))
        .and_then(|()| prepared.set_path_with_query(Some(path)));
    set.map_err(|()| json!({"error": "not taken", "at": "parts"}))?;
    Ok(prepared)
}

/// Sends all of a request.
fn start(request: &Value) -> Result<FutureIncomingResponse, Value> {
    let prepared = prepare(request)?;
    let options = RequestOptions::new();
    let time = |name: &str| request[name].as_u64().map(|ms| ms * 1_000_000);
    options
        .set_connect_timeout(time("connect_ms"))
        .expect("taken");
    options
        .set_first_byte_timeout(time("first_byte_ms"))
        .expect("taken");
    options
        .set_between_bytes_timeout(time("between_bytes_ms"))
        .expect("taken");
    let chunks = request["chunks"].as_array();
    let fill = request["fill"].as_u64();
    let body = match (chunks, fill) {
        (None, None) => None,
        _ => Some(prepared.body().expect("the first body")),
    };
    let answer = handle(prepared, Some(options)).map_err(|code| error(&code, "handle"))?;
    let Some(body) = body else {
        return Ok(answer);
    };
    let stream = body.write().expect("the first stream");
    let mut open = true;
    for chunk in chunks.into_iter().flatten() {
        let text = chunk.as_str().unwrap_or_default();
        open = open && stream.blocking_write_and_flush(text.as_bytes()).is_ok();
    }
    let mut left = fill.unwrap_or(0);
    while open && left > 0 {
        stream.subscribe().block();
        let Ok(room) = stream.check_write() else {
            break;
        };
        let now = room.min(left);
        open = stream.write(&vec![b'x'; now as usize]).is_ok();
        left -= now;
    }
    drop(stream);
    if request["finish"].as_bool().unwrap_or(true) {
        let trailers = pairs(&request["trailers"]);
        let trailers = match trailers.is_empty() {
            true => None,
            false => Some(Fields::from_list(&trailers).expect("trailers")),
        };
        let finished = OutgoingBody::finish(body, trailers);
        // What is announced and not sent is an error of its own.
        if let Err(code) = finished {
            return Err(error(&code, "finish"));
        }
    }
    Ok(answer)
}

/// Waits for the head of an answer.
fn head(answer: &FutureIncomingResponse) -> Result<IncomingResponse, Value> {
    answer.subscribe().block();
    let head = answer.get().expect("it is ready").expect("the first time");
    head.map_err(|code| error(&code, "head"))
}

fn exchange(request: &Value) -> Value {
    let answered = start(request).and_then(|answer| head(&answer));
    let response = match answered {
        Ok(response) => response,
        Err(error) => return error,
    };
    let most = request["read"].as_u64().unwrap_or(u64::MAX);
    let body = response.consume().expect("the first time");
    let stream = body.stream().expect("the first time");
    let (mut start, mut bytes) = (Vec::new(), 0);
    let whole = loop {
        if bytes >= most {
            break false;
        }
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => {
                bytes += chunk.len() as u64;
                let missing = 1000_usize.saturating_sub(start.len());
                start.extend_from_slice(&chunk[..chunk.len().min(missing)]);
            }
            Err(StreamError::Closed) => break true,
            Err(StreamError::LastOperationFailed(failed)) => {
                let code = http_error_code(&failed);
                let code = code.unwrap_or(ErrorCode::InternalError(Some(failed.to_debug_string())));
                let mut answer = error(&code, "body");
                answer["status"] = json!(response.status());
                answer["bytes"] = json!(bytes);
                return answer;
            }
        }
    };
    drop(stream);
    let trailers = whole.then(|| {
        let trailers = IncomingBody::finish(body);
        trailers.subscribe().block();
        let trailers = trailers.get().expect("ready").expect("the first time");
        match trailers {
            Ok(trailers) => json!(trailers.as_ref().map(listed)),
            Err(code) => error(&code, "trailers"),
        }
    });
    json!({
        "status": response.status(),
        "headers": listed(&response.headers()),
        "body": String::from_utf8_lossy(&start),
        "bytes": bytes,
        "trailers": trailers,
    })
}

fn echoed(url: &str, bytes: u64) -> Result<Value, Value> {
    let prepared = prepare(&json!({"url": url, "method": "POST"}))?;
    let outgoing = prepared.body().expect("the first body");
    let output = outgoing.write().expect("the first stream");
    let answer = handle(prepared, None).map_err(|code| error(&code, "handle"))?;
    // The other side answers when it has the head.
    let response = head(&answer)?;
    let body = response.consume().expect("the first time");
    let input = body.stream().expect("the first time");
    let (mut sent, mut received, mut same) = (0, 0, true);
    let mut sending = Some((output, outgoing));
    loop {
        if let Some((output, outgoing)) = sending.take() {
            let room = output
                .check_write()
                .map_err(|_| json!({"error": "write"}))?;
            let now = room.min(bytes - sent);
            if now > 0 {
                output
                    .write(&pattern(sent, now as usize))
                    .map_err(|_| json!({"error": "write"}))?;
                sent += now;
            }
            if sent < bytes {
                sending = Some((output, outgoing));
            } else {
                drop(output);
                OutgoingBody::finish(outgoing, None).map_err(|code| error(&code, "finish"))?;
            }
        }
        match input.read(64 * 1024) {
            Ok(chunk) if chunk.is_empty() => {
                let readable = input.subscribe();
                match &sending {
                    Some((output, _)) => {
                        poll(&[&readable, &output.subscribe()]);
                    }
                    None => readable.block(),
                }
            }
            Ok(chunk) => {
                same &= chunk == pattern(received, chunk.len());
                received += chunk.len() as u64;
            }
            Err(StreamError::Closed) => break,
            Err(_) => return Err(json!({"error": "read"})),
        }
    }
    Ok(json!({"sent": sent, "received": received, "same": same}))
}
