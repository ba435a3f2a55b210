//! Counts requests and, if asked, remembers each: so a test can say how many requests a deed makes, and how many of
//! them lie one after another. Counting alone takes a few atomic additions, and no more memory for more requests.

use crate::store::AnyStore;
use crate::store::Error;
use crate::store::Result;
use crate::store::Store;
use crate::store::Stored;
use crate::store::traffic::Sum;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// What a request does. Counters stand in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `get` and `get_range`.
    Get,
    /// `put_new`, `put_bulk` and `replace`.
    Put,
    /// `list`.
    List,
    /// `head`.
    Head,
    /// `delete`.
    Delete,
    /// `extend_lock`.
    Lock,
}

/// One request that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it did.
    pub verb: Verb,
    /// The object, or the prefix of a listing.
    pub name: String,
    /// The range of a `get_range`.
    pub range: Option<Range<u64>>,
    /// Content read or written, bytes; 0 if it failed.
    pub bytes: u64,
    /// Whether it succeeded.
    pub is_ok: bool,
    /// When it began: a number that grows by one with every beginning and every end of a request.
    pub began: u64,
    /// When it ended, on the same scale.
    pub ended: u64,
}

/// Sums since the beginning. Failed requests count as requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// All requests.
    pub requests: u64,
    /// Whole objects and ranges read.
    pub gets: u64,
    /// Objects written.
    pub puts: u64,
    /// Listings; a long one is one.
    pub lists: u64,
    /// Objects removed.
    pub deletes: u64,
    /// Lengths asked for.
    pub heads: u64,
    /// Locks extended.
    pub locks: u64,
    /// Content read, bytes.
    pub bytes_read: u64,
    /// Content written, bytes.
    pub bytes_written: u64,
}

/// How a store has been doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Requests that failed, after all trying again.
    pub failed: u64,
    /// The last failure with its causes, and how long ago it was.
    pub last_error: Option<(String, Duration)>,
    /// False if the last request that ended found nobody.
    pub reachable: bool,
    /// How long the oldest request under way has been waiting, trying again included.
    pub waiting: Option<Duration>,
}

/// A store that counts.
#[derive(Debug)]
pub struct Counted {
    inner: AnyStore,
    /// Requests, in the order of [`Verb`].
    requests: [Sum; 6],
    bytes_read: Sum,
    bytes_written: Sum,
    pulse: Mutex<Pulse>,
    log: Option<Mutex<Log>>,
}

/// How the store is doing right now.
#[derive(Debug, Default)]
struct Pulse {
    next: u64,
    /// When each request under way began, the oldest first.
    under_way: BTreeMap<u64, Instant>,
    failed: u64,
    last_error: Option<(String, Instant)>,
    unreachable: bool,
}

/// A request under way. One that is given up counts as ended.
struct UnderWay<'a> {
    counted: &'a Counted,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.counted.pulse().under_way.remove(&self.number);
    }
}

#[derive(Debug, Default)]
struct Log {
    clock: u64,
    requests: Vec<Request>,
}

impl Log {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Counted {
    /// Counts only.
    pub fn new(inner: AnyStore) -> Arc<Counted> {
        Counted::of(inner, None)
    }

    /// Counts and remembers every request: memory grows with each.
    pub fn with_log(inner: AnyStore) -> Arc<Counted> {
        Counted::of(inner, Some(Mutex::default()))
    }

    fn of(inner: AnyStore, log: Option<Mutex<Log>>) -> Arc<Counted> {
        let (bytes_read, bytes_written) = Default::default();
        let (requests, pulse) = Default::default();
        Arc::new(Counted { inner, requests, bytes_read, bytes_written, pulse, log })
    }

    /// The sums so far.
    pub fn totals(&self) -> Totals {
        let [gets, puts, lists, heads, deletes, locks] = self.requests.each_ref().map(Sum::get);
        Totals {
            requests: gets + puts + lists + heads + deletes + locks,
            gets,
            puts,
            lists,
            deletes,
            heads,
            locks,
            bytes_read: self.bytes_read.get(),
            bytes_written: self.bytes_written.get(),
        }
    }

    /// The requests that have ended so far, in the order of their ends; empty without a log.
    pub fn log(&self) -> Vec<Request> {
        self.locked().map(|log| log.requests.clone()).unwrap_or_default()
    }

    /// How the store has been doing.
    pub fn health(&self) -> Health {
        let pulse = self.pulse();
        Health {
            failed: pulse.failed,
            last_error: pulse.last_error.as_ref().map(|(text, when)| (text.clone(), when.elapsed())),
            reachable: !pulse.unreachable,
            waiting: pulse.under_way.values().next().map(Instant::elapsed),
        }
    }

    /// Begins again from nothing. Requests under way are counted when they end.
    pub fn reset(&self) {
        self.requests.iter().for_each(Sum::reset);
        self.bytes_read.reset();
        self.bytes_written.reset();
        self.locked().into_iter().for_each(|mut log| log.requests.clear());
    }

    fn locked(&self) -> Option<MutexGuard<'_, Log>> {
        Some(self.log.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> UnderWay<'_> {
        let mut pulse = self.pulse();
        let number = pulse.next;
        pulse.next += 1;
        pulse.under_way.insert(number, Instant::now());
        UnderWay { counted: self, number }
    }

    fn note(&self, error: Option<&Error>) {
        let mut pulse = self.pulse();
        pulse.unreachable = error.is_some_and(Error::is_transient);
        if let Some(error) = error {
            pulse.failed += 1;
            pulse.last_error = Some((crate::monitor::chain(error), Instant::now()));
        }
    }

    async fn count<T>(
        &self,
        (verb, name, range): (Verb, &str, Option<Range<u64>>),
        bytes_of: impl Fn(&T) -> u64,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let began = self.locked().map_or(0, |mut log| log.tick());
        let under_way = self.begin();
        let result = request.await;
        drop(under_way);
        self.note(result.as_ref().err());
        let bytes = result.as_ref().map_or(0, bytes_of);
        self.requests[verb as usize].add(1);
        let sum = if verb == Verb::Put { &self.bytes_written } else { &self.bytes_read };
        sum.add(bytes);
        if let Some(mut log) = self.locked() {
            let ended = log.tick();
            let name = name.to_owned();
            log.requests.push(Request { verb, name, range, bytes, is_ok: result.is_ok(), began, ended });
        }
        result
    }
}

/// How many of these requests lie one after another at most: the round trips nobody can save by doing more at once.
pub fn depth(log: &[Request]) -> usize {
    let mut by_end: Vec<&Request> = log.iter().collect();
    by_end.sort_unstable_by_key(|request| request.ended);
    let mut depth = 0;
    let mut last_end = 0;
    for request in by_end {
        if request.began > last_end {
            depth += 1;
            last_end = request.ended;
        }
    }
    depth
}

#[async_trait]
impl Store for Counted {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.count((Verb::Get, name, None), |bytes: &Bytes| bytes.len() as u64, self.inner.get(name)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let what = (Verb::Get, name, Some(range.clone()));
        self.count(what, |bytes: &Bytes| bytes.len() as u64, self.inner.get_range(name, range)).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        self.count((Verb::Put, name, None), |()| len, self.inner.put_new(name, bytes)).await
    }

    async fn put_bulk(&self, name: &str, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        self.count((Verb::Put, name, None), |()| len, self.inner.put_bulk(name, bytes)).await
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        self.count((Verb::Put, name, None), |()| len, self.inner.replace(name, bytes)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        self.count((Verb::List, prefix, None), |_| 0, self.inner.list(prefix)).await
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        self.count((Verb::Head, name, None), |_| 0, self.inner.head(name)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.count((Verb::Delete, name, None), |()| 0, self.inner.delete(name)).await
    }

    async fn extend_lock(&self, name: &str) -> Result<()> {
        self.count((Verb::Lock, name, None), |()| 0, self.inner.extend_lock(name)).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::store::AnyStore;
    use crate::store::Asked;
    use crate::store::Counted;
    use crate::store::ErrorKind;
    use crate::store::Fault;
    use crate::store::Faulty;
    use crate::store::Request;
    use crate::store::Store;
    use crate::store::Verb;
    use crate::store::depth;

    fn request(began: u64, ended: u64) -> Request {
        Request { verb: Verb::Get, name: String::new(), range: None, bytes: 0, is_ok: true, began, ended }
    }

    #[tokio::test]
    async fn health_is_that_of_the_last_request() {
        let location = "memory://health".parse().unwrap();
        let inner: AnyStore = crate::store::open(&location, &crate::store::StoreOptions::default()).unwrap();
        let plan = |asked: &Asked<'_>| match asked.number {
            2 => Fault::Before(ErrorKind::Unreachable),
            4 => Fault::Before(ErrorKind::Denied),
            _ => Fault::None,
        };
        let counted = Counted::new(Faulty::new(inner, plan));
        let mut seen = Vec::new();
        for _ in 0..5 {
            let _may_fail = counted.list("").await;
            let health = counted.health();
            assert_eq!(health.waiting, None);
            seen.push((health.failed, health.reachable));
        }
        assert_eq!(seen, [(0, true), (1, false), (1, true), (2, true), (2, true)]);
        let (error, _) = counted.health().last_error.unwrap();
        assert!(error.contains("access denied"), "{error}");
        // One that is given up waits no longer.
        let mut request = Box::pin(counted.list(""));
        assert!(futures::poll!(&mut request).is_ready() || counted.health().waiting.is_some());
        drop(request);
        assert_eq!(counted.health().waiting, None);
    }

    #[test]
    fn depth_is_the_longest_chain() {
        assert_eq!(depth(&[]), 0);
        assert_eq!(depth(&[request(1, 6), request(2, 5), request(3, 4)]), 1);
        assert_eq!(depth(&[request(1, 2), request(3, 4), request(5, 6)]), 3);
        // A long one beside two short ones.
        assert_eq!(depth(&[request(1, 6), request(2, 3), request(4, 5)]), 2);
    }
}
