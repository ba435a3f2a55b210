//! At most so many requests at once; the others wait their turn in order.
//!
//! A server that asks us to slow down is asked less: half as many at once, then slowly more again.

use crate::store::AnyStore;
use crate::store::Result;
use crate::store::Store;
use crate::store::Stored;
use crate::store::throttle::Throttle;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

/// All requests under way meet the same overload: it halves their number once.
const HALVED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// So many times the number of requests at once must pass before there is one more at once.
const ROUNDS_PER_STEP: usize = 4;

/// Bounds the number of requests under way. A request that is being tried again keeps its place, so a server in
/// trouble is not asked more often.
#[derive(Debug)]
pub struct Limited {
    inner: AnyStore,
    places: Semaphore,
    throttle: Arc<Throttle>,
    width: Mutex<Width>,
}

/// How many requests there may be at once.
#[derive(Debug)]
struct Width {
    most: usize,
    wanted: usize,
    /// Places there are; follows `wanted` as requests end.
    places: usize,
    /// Requests that passed since the last change.
    passed: usize,
    /// How often the server had complained when we last looked, and when we last heeded it.
    complaints: u64,
    halved: Option<Instant>,
}

impl Limited {
    /// `requests_max` of 0 is taken as 1.
    pub fn new(inner: AnyStore, requests_max: usize) -> Arc<Limited> {
        Limited::cautious(inner, requests_max, Arc::default())
    }

    /// The same for a store whose complaints are heard.
    pub(crate) fn cautious(inner: AnyStore, requests_max: usize, throttle: Arc<Throttle>) -> Arc<Limited> {
        let most = requests_max.clamp(1, Semaphore::MAX_PERMITS);
        let complaints = throttle.times();
        let width = Width { most, wanted: most, places: most, passed: 0, complaints, halved: None };
        Arc::new(Limited { inner, places: Semaphore::new(most), throttle, width: Mutex::new(width) })
    }

    /// How many requests there may be at once now.
    #[cfg(test)]
    fn width(&self) -> usize {
        self.width.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }

    async fn turn(&self) -> Turn<'_> {
        let place = self.places.acquire().await.expect("the semaphore is never closed");
        Turn { limited: self, place: Some(place) }
    }
}

impl Width {
    /// A request has ended.
    fn ended(&mut self, complaints: u64) {
        if complaints != self.complaints {
            self.complaints = complaints;
            self.passed = 0;
            if self.halved.is_none_or(|at| at.elapsed() >= HALVED_AGAIN_AFTER) {
                self.halved = Some(Instant::now());
                self.wanted = (self.wanted / 2).max(1);
                tracing::info!(requests_max = self.wanted, "Asking the storage for less at once");
            }
            return;
        }
        self.passed += 1;
        if self.wanted < self.most && self.passed >= self.wanted.saturating_mul(ROUNDS_PER_STEP) {
            self.wanted += 1;
            self.passed = 0;
        }
    }
}

/// A place that is given back, or given up.
struct Turn<'a> {
    limited: &'a Limited,
    place: Option<SemaphorePermit<'a>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Limited { places, throttle, width, .. } = self.limited;
        let mut width = width.lock().unwrap_or_else(PoisonError::into_inner);
        width.ended(throttle.times());
        if width.places > width.wanted {
            width.places -= 1;
            self.place.take().into_iter().for_each(SemaphorePermit::forget);
        } else if width.places < width.wanted {
            width.places += 1;
            places.add_permits(1);
        }
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

    async fn put_bulk(&self, name: &str, bytes: Bytes) -> Result<()> {
        let _turn = self.turn().await;
        self.inner.put_bulk(name, bytes).await
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        let _turn = self.turn().await;
        self.inner.replace(name, bytes).await
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

    async fn extend_lock(&self, name: &str) -> Result<()> {
        let _turn = self.turn().await;
        self.inner.extend_lock(name).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::store::Faulty;
    use crate::store::Limited;
    use crate::store::Store;
    use crate::store::StoreOptions;
    use crate::store::limited::HALVED_AGAIN_AFTER;
    use crate::store::limited::ROUNDS_PER_STEP;
    use crate::store::open;
    use crate::store::throttle::Throttle;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn complaints_halve_and_peace_restores() {
        let memory = open(&"memory://limited-width".parse().unwrap(), &StoreOptions::default()).unwrap();
        let throttle = Arc::<Throttle>::default();
        let limited = Limited::cautious(Faulty::without_faults(memory), 8, throttle.clone());
        let ask = async |times: usize| {
            for _ in 0..times {
                limited.list("").await.unwrap();
            }
        };
        ask(100).await;
        assert_eq!((limited.width(), limited.places.available_permits()), (8, 8));
        for expected in [4, 2, 1, 1] {
            throttle.asked(None);
            throttle.asked(None);
            ask(1).await;
            throttle.asked(None);
            ask(1).await;
            assert_eq!(limited.width(), expected);
            tokio::time::advance(HALVED_AGAIN_AFTER).await;
        }
        ask(7).await;
        assert!(limited.places.available_permits() <= 2);
        let rounds: usize = (1..8).map(|width| width * ROUNDS_PER_STEP).sum();
        ask(rounds + 8).await;
        assert_eq!((limited.width(), limited.places.available_permits()), (8, 8));
        ask(100).await;
        assert_eq!((limited.width(), limited.places.available_permits()), (8, 8));
    }
}
