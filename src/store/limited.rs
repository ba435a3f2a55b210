//! At most so many requests at once; the others wait their turn in order.

use crate::store::AnyStore;
use crate::store::Result;
use crate::store::Store;
use crate::store::Stored;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;

/// Bounds the number of requests under way. A request that is being tried again keeps its place, so a server in
/// trouble is not asked more often.
#[derive(Debug)]
pub struct Limited {
    inner: AnyStore,
    places: Semaphore,
}

impl Limited {
    /// `requests_max` of 0 is taken as 1.
    pub fn new(inner: AnyStore, requests_max: usize) -> Arc<Limited> {
        let places = Semaphore::new(requests_max.clamp(1, Semaphore::MAX_PERMITS));
        Arc::new(Limited { inner, places })
    }

    async fn turn(&self) -> SemaphorePermit<'_> {
        self.places.acquire().await.expect("the semaphore is never closed")
    }
}

#[async_trait]
impl Store for Limited {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        let _turn = self.turn().await;
        self.inner.get(name).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let _turn = self.turn().await;
        self.inner.get_range(name, range).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        let _turn = self.turn().await;
        self.inner.put_new(name, bytes).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let _turn = self.turn().await;
        self.inner.list(prefix).await
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        let _turn = self.turn().await;
        self.inner.head(name).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let _turn = self.turn().await;
        self.inner.delete(name).await
    }
}
