//! Where answers are kept: so many bytes, the longest unused go first.

use std::sync::Arc;

use hashlink::LruCache;
use http::Uri;

use super::Entry;

/// The most answers that are kept of one address: those to requests that differ in what the
/// answers vary by.
pub(super) const VARIANTS_MAX: usize = 8;

/// Whose answer, and to what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    partition: u64,
    uri: String,
}

impl Key {
    pub(super) fn new(partition: u64, uri: &Uri) -> Key {
        Key {
            partition,
            uri: uri.to_string(),
        }
    }
}

/// Answers within a bound of bytes.
#[derive(Debug)]
pub(super) struct Store {
    /// The newest variant is the last.
    entries: LruCache<Key, Vec<Arc<Entry>>>,
    bytes: u64,
    bytes_max: u64,
}

impl Store {
    pub(super) fn new(bytes_max: u64) -> Store {
        Store {
            entries: LruCache::new_unbounded(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All variants, the newest first.
    pub(super) fn get(&mut self, key: &Key) -> Vec<Arc<Entry>> {
        let variants = self.entries.get(key);
        variants.into_iter().flatten().rev().cloned().collect()
    }

    /// Adds a variant, in the place of those that it replaces.
    pub(super) fn insert(&mut self, key: Key, entry: Entry, replaces: impl Fn(&Entry) -> bool) {
        let mut variants = self.entries.remove(&key).unwrap_or_default();
        self.bytes -= sum(&variants);
        variants.retain(|other| !replaces(other));
        variants.push(Arc::new(entry));
        if variants.len() > VARIANTS_MAX {
            variants.remove(0);
        }
        self.bytes += sum(&variants);
        self.entries.insert(key, variants);
        while self.bytes > self.bytes_max {
            match self.entries.remove_lru() {
                Some((_, variants)) => self.bytes -= sum(&variants),
                None => break,
            }
        }
    }

    /// Removes one variant, if it is still there.
    pub(super) fn remove(&mut self, key: &Key, entry: &Arc<Entry>) {
        let Some(variants) = self.entries.peek_mut(key) else {
            return;
        };
        self.bytes -= sum(variants);
        variants.retain(|other| !Arc::ptr_eq(other, entry));
        self.bytes += sum(variants);
        if variants.is_empty() {
            self.entries.remove(key);
        }
    }

    /// Removes all variants.
    pub(super) fn remove_all(&mut self, key: &Key) {
        if let Some(variants) = self.entries.remove(key) {
            self.bytes -= sum(&variants);
        }
    }

    /// Removes all that is one's.
    pub(super) fn remove_partition(&mut self, partition: u64) {
        let mut bytes = 0;
        self.entries.retain(|key, variants| {
            let stays = key.partition != partition;
            if !stays {
                bytes += sum(variants);
            }
            stays
        });
        self.bytes -= bytes;
    }
}

fn sum(variants: &[Arc<Entry>]) -> u64 {
    variants.iter().map(|entry| entry.bytes).sum()
}
