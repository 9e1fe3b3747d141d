//! Watches feeds: `check` reads each feed that the operator has set, and publishes what is new to
//! the topic `feeds.item`, as JSON:
//!
//! ```json
//! {"feed": "https://example.org/feed.xml", "id": "tag:1", "title": "News", "link": "https://example.org/1"}
//! ```
//!
//! An item is published before it is remembered, so that none is lost where a call is stopped
//! between; its id is the message's dedup id, so that it enters the topic once nevertheless. Who
//! wants to do something with items subscribes to the topic, as `digest-writer` does.
#![deny(missing_docs)]

mod feed;

use std::time::Duration;

use portreeve_sdk::http::{Method, Request};
use portreeve_sdk::{Error, Json, config, kv, messages, plugin, tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest feed that is read, in bytes.
const FEED_BYTES_MAX: usize = 2 << 20;

/// Items of one feed whose ids are remembered: more than feeds carry at a time.
const SEEN_MAX: usize = 500;

/// How long a server may take for all of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the operator has set.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    feeds: Vec<String>,
}

/// An item, as it is published.
#[derive(Serialize)]
struct Published<'a> {
    feed: &'a str,
    id: &'a str,
    title: &'a str,
    link: &'a str,
}

/// What came of a look at the feeds.
#[derive(Serialize, JsonSchema)]
struct Checked {
    /// Items that were published.
    published: u32,
    /// Feeds that could not be read, and why.
    failed: Vec<String>,
}

/// Reads the feeds that the operator has set, and publishes what is new in them to the topic
/// `feeds.item`. A feed that can't be read hides no other.
#[tool(title = "Look for news", open_world)]
fn check() -> Result<Json<Checked>, Error> {
    let settings: Settings = config::all()?;
    let mut checked = Checked {
        published: 0,
        failed: Vec::new(),
    };
    for feed in &settings.feeds {
        match look(feed) {
            Ok(published) => checked.published = checked.published.saturating_add(published),
            Err(error) => checked.failed.push(format!("{feed}: {}", error.message())),
        }
    }
    Ok(Json(checked))
}

/// Publishes what is new in one feed; how many items that were.
fn look(address: &str) -> Result<u32, Error> {
    let response = Request::new(Method::Get, address)
        .timeout(TIMEOUT)
        .send()?
        .error_for_status()?;
    let body = response.bytes(FEED_BYTES_MAX)?;
    let items = feed::read(&body)?;
    let key = format!("seen/{}", address.get(..900).unwrap_or(address));
    let seen: Vec<String> = kv::get_json(&key)?.unwrap_or_default();
    let mut new = Vec::new();
    // Feeds begin with the newest.
    for item in items.iter().rev().filter(|item| !seen.contains(&item.id)) {
        let published = Published {
            feed: address,
            id: &item.id,
            title: &item.title,
            link: &item.link,
        };
        messages::to("feeds.item")
            .key(address.get(..200).unwrap_or(address))
            .dedup_id(&feed::dedup_id(address, &item.id))
            .publish_json(&published)?;
        new.push(item.id.clone());
    }
    let count = u32::try_from(new.len()).unwrap_or(u32::MAX);
    if count > 0 {
        kv::update(&key, |seen: Option<Vec<String>>| {
            let mut all = seen.unwrap_or_default();
            all.extend(new.iter().cloned());
            let over = all.len().saturating_sub(SEEN_MAX);
            all.drain(..over);
            Ok(all)
        })?;
    }
    Ok(count)
}

plugin!(check);
