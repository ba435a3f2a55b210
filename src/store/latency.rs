//! A store that is far away: every request takes one more round trip.
//!
//! Under tokio's paused clock (`#[tokio::test(start_paused = true)]`) with memory below, no time really passes and the
//! time that seems to pass is exactly the round trips that lie one after another.

use crate::store::AnyStore;
use crate::store::Result;
use crate::store::Store;
use crate::store::Stored;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Delays each request by one round trip.
#[derive(Debug)]
pub struct Latency {
    inner: AnyStore,
    round_trip: Duration,
}

impl Latency {
    /// `round_trip` is added to every request, before it reaches the store.
    pub fn new(inner: AnyStore, round_trip: Duration) -> Arc<Latency> {
        Arc::new(Latency { inner, round_trip })
    }

    /// The time since then in round trips: under the paused clock, how many lay one after another.
    pub fn round_trips(&self, since: Instant) -> f64 {
        since.elapsed().as_secs_f64() / self.round_trip.as_secs_f64()
    }

    async fn travel(&self) {
        tokio::time::sleep(self.round_trip).await;
    }
}

#[async_trait]
impl Store for Latency {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.travel().await;
        self.inner.get(name).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.travel().await;
        self.inner.get_range(name, range).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.travel().await;
        self.inner.put_new(name, bytes).await
    }

    async fn put_bulk(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.travel().await;
        self.inner.put_bulk(name, bytes).await
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.travel().await;
        self.inner.replace(name, bytes).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        self.travel().await;
        self.inner.list(prefix).await
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        self.travel().await;
        self.inner.head(name).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.travel().await;
        self.inner.delete(name).await
    }

    async fn extend_lock(&self, name: &str) -> Result<()> {
        self.travel().await;
        self.inner.extend_lock(name).await
    }
}
