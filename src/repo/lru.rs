//! A least-recently-used cache with a bound in bytes, for decoded chunks, pages and opened segments.

use lru::LruCache;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::MutexGuard;

/// Shared by all threads; values are cheap to clone.
pub(crate) struct ByteLru<K: Hash + Eq, V: Clone> {
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K: Hash + Eq, V> {
    entries: LruCache<K, (V, usize)>,
    bytes: usize,
    bytes_max: usize,
}

/// Memory an entry takes beside its value.
const ENTRY_BYTES: usize = 128;

impl<K: Hash + Eq, V: Clone> ByteLru<K, V> {
    pub(crate) fn new(bytes_max: usize) -> ByteLru<K, V> {
        ByteLru { inner: Mutex::new(Inner { entries: LruCache::unbounded(), bytes: 0, bytes_max }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.lock().entries.get(key).map(|(value, _)| value.clone())
    }

    /// Keeps a value of about `bytes`; the least recently used ones make room. A value above the bound is not kept.
    pub(crate) fn put(&self, key: K, value: V, bytes: usize) {
        let bytes = bytes + ENTRY_BYTES;
        let mut inner = self.lock();
        if bytes > inner.bytes_max {
            return;
        }
        inner.bytes += bytes;
        if let Some((_, (_, old))) = inner.entries.push(key, (value, bytes)) {
            inner.bytes -= old;
        }
        while inner.bytes > inner.bytes_max {
            match inner.entries.pop_lru() {
                Some((_, (_, old))) => inner.bytes -= old,
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_bound_and_the_recent() {
        let lru = ByteLru::new(10 * (ENTRY_BYTES + 100));
        for i in 0..10 {
            lru.put(i, i, 100);
        }
        assert_eq!(lru.get(&0), Some(0));
        lru.put(10, 10, 100);
        assert_eq!((lru.get(&1), lru.get(&0), lru.get(&10)), (None, Some(0), Some(10)));
        lru.put(10, 11, 100);
        assert_eq!(lru.get(&10), Some(11));
        lru.put(99, 99, 1 << 30);
        assert_eq!(lru.get(&99), None);
        let inner = lru.lock();
        assert!(inner.bytes <= inner.bytes_max);
    }
}
