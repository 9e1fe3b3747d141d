//! Keys and values that the plugin keeps between calls. Needs the grant `storage.kv`.
//!
//! ```toml
//! [requests.storage]
//! kv = "10 MiB"
//! ```
//!
//! A change is on disk when its function returns, and other calls see it from then on. Keys are
//! texts of 1 to 1,024 bytes; a value has as many bytes as the limit `value` allows, 1 MiB unless
//! the operator sets it otherwise. No other plugin sees them.
//!
//! ```
//! use portreeve_sdk::{Error, kv};
//! use std::time::Duration;
//!
//! fn remember() -> Result<(), Error> {
//!     kv::set("greeting", "hello")?;
//!     assert_eq!(kv::get("greeting")?.as_deref(), Some(&b"hello"[..]));
//!     // For an hour.
//!     kv::put("token").ttl(Duration::from_secs(3_600)).value("t0k3n")?;
//!     for info in kv::list("note/") {
//!         let info = info?;
//!         println!("{} has {} bytes", info.key, info.size);
//!     }
//!     kv::delete("greeting")?;
//!     Ok(())
//! }
//! # assert!(remember().is_err());
//! ```
//!
//! Calls run at the same time. What is read, changed and written back goes through [`update`], or
//! through [`read`] and [`Put::replacing`], so that nothing that another call wrote is lost; a
//! number through [`increment`].
//!
//! Each function fails with `permission-denied` where storage is not granted, or is so no more,
//! and in a native build; with `invalid-argument` where a key is empty or too long; and with
//! `unavailable` where the host can't read or write it now.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::tools::portreeve::storage::kv as wire;
use crate::host::kv;
use crate::{Code, Error};

/// How often [`update`] begins anew where other calls are faster.
const TRIES_MAX: u32 = 1_000;

/// Keys that are asked for at once.
const PAGE: u32 = 1_000;

/// The version of a value: another with each change of its key, and never one that was there
/// before. It has no order or meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(u64);

/// A value and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Its version.
    pub version: Version,
    /// When it ends, if it does.
    pub expires: Option<SystemTime>,
}

/// What is known of a value without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its version.
    pub version: Version,
    /// When it ends, if it does.
    pub expires: Option<SystemTime>,
}

/// What is kept, and how much may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Keys; one whose value has ended counts for a minute longer.
    pub keys: u64,
    /// How many there may be.
    pub keys_max: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// How many there may be.
    pub bytes_max: u64,
}

fn time(ms: Option<u64>) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms?))
}

fn info(info: wire::Info) -> Info {
    Info {
        key: info.key,
        size: info.size,
        version: Version(info.version),
        expires: time(info.expires_ms),
    }
}

/// The value of a key, if it is there.
///
/// # Errors
/// Those of the [module](self).
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(read(key)?.map(|entry| entry.value))
}

/// The value of a key, from JSON.
///
/// # Errors
/// Those of the [module](self); `internal` where the value is not of this type.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    read(key)?.map(|entry| from_json(key, &entry)).transpose()
}

fn from_json<T: DeserializeOwned>(key: &str, entry: &Entry) -> Result<T, Error> {
    serde_json::from_slice(&entry.value).map_err(|error| {
        Error::internal(format_args!(
            "what is kept under `{key}` is not what it must be: {error}"
        ))
        .reason("kept-json")
    })
}

/// The value of a key and what is known of it, if it is there.
///
/// # Errors
/// Those of the [module](self).
pub fn read(key: &str) -> Result<Option<Entry>, Error> {
    let found = kv::get(key).map_err(Error::from_failure)?;
    Ok(found.map(|found| Entry {
        value: found.value,
        version: Version(found.version),
        expires: time(found.expires_ms),
    }))
}

/// What is known of the value of a key, if it is there.
///
/// # Errors
/// Those of the [module](self).
pub fn stat(key: &str) -> Result<Option<Info>, Error> {
    let found = kv::stat(key).map_err(Error::from_failure)?;
    Ok(found.map(info))
}

/// Sets a key for good, whatever was there.
///
/// # Errors
/// Those of [`Put::value`], but for `conflict`.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<Version, Error> {
    put(key).value(value)
}

/// Sets a key to a value as JSON, whatever was there.
///
/// # Errors
/// Those of [`Put::json`], but for `conflict`.
pub fn set_json(key: &str, value: &impl Serialize) -> Result<Version, Error> {
    put(key).json(value)
}

/// A value that is about to be set: with [`Put::value`] or [`Put::json`].
#[must_use = "nothing is set before `value` or `json`"]
#[derive(Clone, Debug)]
pub struct Put<'a> {
    key: &'a str,
    ttl: Option<Duration>,
    expected: wire::Expected,
}

/// Sets a key under conditions.
///
/// ```
/// use portreeve_sdk::{Code, Error, kv};
///
/// /// Whether this call is the first of the day.
/// fn is_first(day: &str) -> Result<bool, Error> {
///     match kv::put(&format!("seen/{day}")).new_only().value("") {
///         Ok(_) => Ok(true),
///         Err(error) if error.code() == Code::Conflict => Ok(false),
///         Err(error) => Err(error),
///     }
/// }
/// # assert!(is_first("2026-10-01").is_err());
/// ```
pub fn put(key: &str) -> Put<'_> {
    Put {
        key,
        ttl: None,
        expected: wire::Expected::Anything,
    }
}

impl Put<'_> {
    /// Has the value end after a time, in whole milliseconds.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Only where there is no value.
    pub fn new_only(mut self) -> Self {
        self.expected = wire::Expected::Absent;
        self
    }

    /// Only in place of the value of this version.
    pub fn replacing(mut self, version: Version) -> Self {
        self.expected = wire::Expected::Version(version.0);
        self
    }

    /// Sets it.
    ///
    /// # Errors
    /// Those of the [module](self); `conflict` where something else is there than is expected;
    /// `quota-exceeded` where the value is too large, or where there would be more bytes or
    /// keys than there may be; `rate-limited` where too many changes wait for the disk.
    pub fn value(self, value: impl AsRef<[u8]>) -> Result<Version, Error> {
        let ttl = self
            .ttl
            .map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let set = kv::set(self.key, value.as_ref(), ttl, self.expected);
        set.map(Version).map_err(Error::from_failure)
    }

    /// Sets it to a value as JSON.
    ///
    /// # Errors
    /// Those of [`Put::value`]; `internal` where the value can't be JSON.
    pub fn json(self, value: &impl Serialize) -> Result<Version, Error> {
        self.value(serde_json::to_vec(value)?)
    }
}

/// Deletes a key; whether it was there.
///
/// # Errors
/// Those of the [module](self).
pub fn delete(key: &str) -> Result<bool, Error> {
    kv::delete(key, wire::Expected::Anything).map_err(Error::from_failure)
}

/// Deletes a key whose value is of this version.
///
/// # Errors
/// Those of the [module](self); `conflict` where something else is there, or nothing.
pub fn delete_version(key: &str, version: Version) -> Result<(), Error> {
    let done = kv::delete(key, wire::Expected::Version(version.0));
    done.map(|_| ()).map_err(Error::from_failure)
}

/// Adds to the whole number that a key holds in decimal digits, and gives the sum. A key that is
/// not there counts as 0; it ends when it would have ended.
///
/// ```
/// use portreeve_sdk::{Error, kv};
///
/// fn next_ticket() -> Result<i64, Error> {
///     kv::increment("tickets", 1)
/// }
/// # assert!(next_ticket().is_err());
/// ```
///
/// # Errors
/// Those of the [module](self); `conflict` where the value is no such number, or the sum is too
/// large; `quota-exceeded` as for [`Put::value`].
pub fn increment(key: &str, delta: i64) -> Result<i64, Error> {
    kv::increment(key, delta).map_err(Error::from_failure)
}

/// Reads a value from JSON, lets `change` make another one of it, and writes that back, again
/// and again until no other call came between. It is then kept for good.
///
/// ```
/// use portreeve_sdk::{Error, kv};
///
/// fn add(name: String) -> Result<Vec<String>, Error> {
///     kv::update("names", |names: Option<Vec<String>>| {
///         let mut names = names.unwrap_or_default();
///         names.push(name.clone());
///         Ok(names)
///     })
/// }
/// # assert!(add("Ada".to_owned()).is_err());
/// ```
///
/// # Errors
/// Those of `change`, [`get_json`] and [`Put::json`]; `conflict` where other calls were faster a
/// thousand times.
pub fn update<T: Serialize + DeserializeOwned>(
    key: &str,
    mut change: impl FnMut(Option<T>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut tries = 1;
    loop {
        let before = read(key)?;
        let put = match &before {
            Some(entry) => put(key).replacing(entry.version),
            None => put(key).new_only(),
        };
        let value = before.map(|entry| from_json(key, &entry)).transpose()?;
        let value = change(value)?;
        match put.json(&value) {
            Ok(_) => return Ok(value),
            Err(error) if error.code() == Code::Conflict && tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The keys that begin with `prefix`, in the order of their bytes, page by page. Keys that are
/// set or deleted meanwhile may be missing or there; all others are there once.
///
/// Each item fails with the errors of the [module](self), and nothing comes after that.
pub fn list(prefix: &str) -> List {
    List {
        prefix: prefix.to_owned(),
        page: Vec::new().into_iter(),
        next: Next::First,
    }
}

/// Keys; see [`list`].
#[derive(Debug)]
pub struct List {
    prefix: String,
    page: std::vec::IntoIter<wire::Info>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    End,
}

impl Iterator for List {
    type Item = Result<Info, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.page.next() {
                return Some(Ok(info(found)));
            }
            let cursor = match std::mem::replace(&mut self.next, Next::End) {
                Next::First => None,
                Next::After(cursor) => Some(cursor),
                Next::End => return None,
            };
            match kv::list_keys(&self.prefix, cursor.as_deref(), PAGE) {
                Ok(page) => {
                    self.page = page.entries.into_iter();
                    self.next = page.cursor.map_or(Next::End, Next::After);
                }
                Err(failure) => return Some(Err(Error::from_failure(failure))),
            }
        }
    }
}

/// What is kept, and how much may be.
///
/// # Errors
/// Those of the [module](self).
pub fn used() -> Result<Usage, Error> {
    let used = kv::used().map_err(Error::from_failure)?;
    Ok(Usage {
        keys: used.keys,
        keys_max: used.keys_max,
        bytes: used.bytes,
        bytes_max: used.bytes_max,
    })
}
