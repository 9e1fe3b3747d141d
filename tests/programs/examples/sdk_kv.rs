//! Keeps keys and values with the SDK.

use std::time::{Duration, SystemTime};

use portreeve_sdk::{Code, Error, Json, kv, plugin, tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize, Serialize, JsonSchema)]
struct Names {
    names: Vec<String>,
}

/// Adds a name to those that are kept.
#[tool]
fn add(name: String) -> Result<Json<Names>, Error> {
    let names = kv::update("names", |names: Option<Names>| {
        let mut names = names.unwrap_or_default();
        names.names.push(name.clone());
        Ok(names)
    })?;
    Ok(Json(names))
}

#[derive(Serialize, JsonSchema)]
struct Tried {
    listed: usize,
    last: String,
    conflict: bool,
    sum: i64,
    seconds: u64,
    left: usize,
    json: Option<Vec<u32>>,
}

/// Goes through what the module has.
#[tool]
fn all() -> Result<Json<Tried>, Error> {
    for number in 0..1_200 {
        kv::set(&format!("n/{number:04}"), [])?;
    }
    let listed = kv::list("n/").collect::<Result<Vec<_>, _>>()?;
    let version = kv::put("once").new_only().value("x")?;
    let again = kv::put("once").new_only().value("y").unwrap_err();
    kv::put("once").replacing(version).value("z")?;
    let stale = kv::delete_version("once", version).unwrap_err();
    kv::put("soon").ttl(Duration::from_secs(100)).value("x")?;
    let end = kv::stat("soon")?.and_then(|info| info.expires);
    let left = end.and_then(|end| end.duration_since(SystemTime::now()).ok());
    kv::increment("count", 5)?;
    kv::set_json("json", &[1, 2])?;
    for info in &listed {
        kv::delete(&info.key)?;
    }
    Ok(Json(Tried {
        listed: listed.len(),
        last: listed
            .last()
            .map(|info| info.key.clone())
            .unwrap_or_default(),
        conflict: again.code() == Code::Conflict && stale.code() == Code::Conflict,
        sum: kv::increment("count", -7)?,
        seconds: left.unwrap_or_default().as_secs(),
        left: kv::list("n/").count(),
        json: kv::get_json("json")?,
    }))
}

plugin!(add, all);
