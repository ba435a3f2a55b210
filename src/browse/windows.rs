//! What is remembered of where files inside disk images lie: windows of them, of all parts that this process has open together. A
//! drive may show thousands of disks.

use crate::disk::Run;
use crate::disk::fs::NodeId;
use lru::LruCache;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Memory for them.
const BYTES_MAX: usize = 32 << 20;
/// What a window takes besides its runs.
const WINDOW_OWN_BYTES: usize = 200;

/// What lies in a window of a file, run by run.
pub(super) type Window = Arc<Vec<Run>>;

/// Number of the open part, file, and which of its windows.
pub(super) type Key = (u64, NodeId, u64);

struct Windows {
    known: LruCache<Key, Window>,
    bytes: usize,
}

static WINDOWS: LazyLock<Mutex<Windows>> =
    LazyLock::new(|| Mutex::new(Windows { known: LruCache::unbounded(), bytes: 0 }));

fn windows() -> MutexGuard<'static, Windows> {
    WINDOWS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A window, if it is remembered.
pub(super) fn known(key: &Key) -> Option<Window> {
    windows().known.get(key).cloned()
}

/// Remembers a window; those that were not asked for longest are forgotten.
pub(super) fn keep(key: Key, window: &Window) {
    windows().keep(key, window);
}

/// Memory that a window takes.
fn bytes_of(window: &Window) -> usize {
    let content: usize = window.iter().map(|run| if let Run::Bytes(bytes) = run { bytes.len() } else { 0 }).sum();
    WINDOW_OWN_BYTES + content + window.len() * size_of::<Run>()
}

impl Windows {
    fn keep(&mut self, key: Key, window: &Window) {
        self.bytes += bytes_of(window);
        if let Some((_, old)) = self.known.push(key, window.clone()) {
            self.bytes = self.bytes.saturating_sub(bytes_of(&old));
        }
        while self.bytes > BYTES_MAX
            && let Some((_, old)) = self.known.pop_lru()
        {
            self.bytes = self.bytes.saturating_sub(bytes_of(&old));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_all_parts_are_bounded_together() {
        let mut windows = Windows { known: LruCache::unbounded(), bytes: 0 };
        let content: Window = Arc::new(vec![Run::Bytes(vec![7; 1 << 20])]);
        let pieces: Window = Arc::new(vec![Run::Zero { len: 512 }; 2048]);
        for part in 0..100 {
            windows.keep((part, 5, 0), &content);
            windows.keep((part, 5, 1), &pieces);
            windows.keep((part, 5, 1), &pieces);
            assert!(windows.bytes <= BYTES_MAX);
        }
        let found: usize = windows.known.iter().map(|(_, window)| bytes_of(window)).sum();
        assert_eq!(windows.bytes, found);
        assert!(found > BYTES_MAX / 2 && windows.known.contains(&(99, 5, 0)) && !windows.known.contains(&(0, 5, 0)));
    }
}
