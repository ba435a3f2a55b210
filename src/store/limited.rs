//! At most so many requests at once; the others wait their turn in order.
//!
//! A server that asks us to slow down is asked less: half as many at once, then slowly more again.
//!
//! Each request runs in a task of its own. Else one that holds a place, or is next, could be kept from going on by whoever
//! asked for it: a stream of requests is not polled while its consumer waits for another request, for ever if that finds no place.

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
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
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
    line: Arc<Line>,
}

/// Where requests wait their turn.
#[derive(Debug)]
struct Line {
    places: Arc<Semaphore>,
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
        let places = Arc::new(Semaphore::new(most));
        Arc::new(Limited { inner, line: Arc::new(Line { places, throttle, width: Mutex::new(width) }) })
    }

    /// How many requests there may be at once now.
    #[cfg(test)]
    fn width(&self) -> usize {
        self.line.width.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }

    /// Sends a request when it is its turn. It is given up if nobody waits for it any more.
    async fn in_turn<T, F>(&self, request: impl FnOnce(AnyStore) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (line, request) = (self.line.clone(), request(self.inner.clone()));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _turn = line.turn().await;
            request.await
        });
        match task.join_next().await {
            Some(Ok(answer)) => answer,
            Some(Err(ended)) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // The runtime ends, and with it whoever waits here.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }
}

impl Line {
    async fn turn(self: Arc<Self>) -> Turn {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        Turn { line: self, place: Some(place) }
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
struct Turn {
    line: Arc<Line>,
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Line { places, throttle, width } = &*self.line;
        let mut width = width.lock().unwrap_or_else(PoisonError::into_inner);
        width.ended(throttle.times());
        if width.places > width.wanted {
            width.places -= 1;
            self.place.take().into_iter().for_each(OwnedSemaphorePermit::forget);
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
        let name = name.to_owned();
        self.in_turn(|inner| async move { inner.get(&name).await }).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let name = name.to_owned();
        self.in_turn(|inner| async move { inner.get_range(&name, range).await }).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        let name = name.to_owned();
        self.in_turn(|inner| async move { inner.put_new(&name, bytes).await }).await
    }

    async fn put_bulk(&self, name: &str, bytes: Bytes) -> Result<()> {
        let name = name.to_owned();
        self.in_turn(|inner| async move { inner.put_bulk(&name, bytes).await }).await
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        let name = name.to_owned();
        self.in_turn(|inner| async move { inner.replace(&name, bytes).await }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let prefix = prefix.to_owned();
        self.in_turn(|inner| async move { inner.list(&prefix).await }).await
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        let name = name.to_owned();
        self.in_turn(|inner| async move { inner.head(&name).await }).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.in_turn(|inner| async move { inner.delete(&name).await }).await
    }

    async fn extend_lock(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.in_turn(|inner| async move { inner.extend_lock(&name).await }).await
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
    use futures::StreamExt;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn who_waits_for_another_request_keeps_no_place() {
        let memory = open(&"memory://limited-stream".parse().unwrap(), &StoreOptions::default()).unwrap();
        let limited = Limited::new(memory, 2);
        let lists = (0..50).map(|_| limited.list(""));
        let mut lists = futures::stream::iter(lists).buffered(16);
        while let Some(listed) = lists.next().await {
            // The others are not polled meanwhile.
            let other = tokio::time::timeout(Duration::from_secs(60), limited.list("")).await;
            assert_eq!((listed.unwrap(), other.expect("there is a place for it").unwrap()), (vec![], vec![]));
        }
    }

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
        assert_eq!((limited.width(), limited.line.places.available_permits()), (8, 8));
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
        assert!(limited.line.places.available_permits() <= 2);
        let rounds: usize = (1..8).map(|width| width * ROUNDS_PER_STEP).sum();
        ask(rounds + 8).await;
        assert_eq!((limited.width(), limited.line.places.available_permits()), (8, 8));
        ask(100).await;
        assert_eq!((limited.width(), limited.line.places.available_permits()), (8, 8));
    }
}
