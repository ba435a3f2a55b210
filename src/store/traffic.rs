//! What moves between this process and its stores: how much, and how fast it may.
//!
//! One [`Traffic`] is shared by every store that is opened with it; so its limits are those of the process, not of a
//! request. Counting costs a few atomic additions and never grows.

use crate::store::pace::Pace;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Counters and limits of a process.
#[derive(Debug, Default)]
pub struct Traffic {
    pub(crate) up: Pace,
    pub(crate) down: Pace,
    pub(crate) requests: Sum,
    pub(crate) retries: Sum,
    pub(crate) throttled: Sum,
    pub(crate) bytes_up: Sum,
    pub(crate) bytes_down: Sum,
}

/// What has moved since the beginning, everything that had to be sent again included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// HTTP requests; none for a folder.
    pub requests: u64,
    /// HTTP requests that failed in a way that is tried again.
    pub retries: u64,
    /// How often a server asked us to slow down. These count as retries, too.
    pub throttled: u64,
    /// Bytes sent or written: heads and bodies, without what encryption of the connection adds.
    pub bytes_up: u64,
    /// Bytes received or read, likewise.
    pub bytes_down: u64,
}

impl Traffic {
    /// Nothing moved yet, no limits.
    pub fn new() -> Arc<Traffic> {
        Arc::default()
    }

    /// Limits both directions, bytes per second; 0 = no limit. Requests under way keep to it, too.
    pub fn limit(&self, upload: u64, download: u64) {
        self.up.set(upload);
        self.down.set(download);
    }

    /// What has moved so far.
    pub fn moved(&self) -> Moved {
        Moved {
            requests: self.requests.get(),
            retries: self.retries.get(),
            throttled: self.throttled.get(),
            bytes_up: self.bytes_up.get(),
            bytes_down: self.bytes_down.get(),
        }
    }
}

/// A sum that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Sum(AtomicU64);

impl Sum {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
