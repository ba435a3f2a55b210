//! Patience with a store that cannot be reached: tries again, later and later, until a time is up.
//!
//! Only [`ErrorKind::Unreachable`] is tried again; every request of a [`Store`] may be repeated without harm. A store
//! that has never answered is given up much sooner, one whose name is not known at once: then the address is wrong more
//! often than the server is away.

use crate::store::AnyStore;
use crate::store::ErrorKind;
use crate::store::Result;
use crate::store::Store;
use crate::store::Stored;
use async_trait::async_trait;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long a store is asked that never answered so far.
const FIRST_ANSWER_SECS_MAX: u64 = 30;
/// The same if not even its name is known.
const UNKNOWN_HOST_SECS_MAX: u64 = 2;
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Who has little patience is tried for more often.
const PAUSES_MIN: u32 = 10;

/// Tries requests again that may pass later.
#[derive(Debug)]
pub struct Retrying {
    inner: AnyStore,
    limit: Duration,
    has_answered: AtomicBool,
}

impl Retrying {
    /// Gives up once `secs_max` have gone by since a request was first made; 0 = at its first failure.
    /// The last attempt begins then, and is not cut short.
    pub fn new(inner: AnyStore, secs_max: u64) -> Arc<Retrying> {
        let limit = Duration::from_secs(secs_max);
        Arc::new(Retrying { inner, limit, has_answered: AtomicBool::new(false) })
    }

    async fn patiently<T, F: Future<Output = Result<T>>>(&self, attempt: impl Fn() -> F) -> Result<T> {
        let began = Instant::now();
        let pause_max = (self.limit / PAUSES_MIN).clamp(PAUSE_MIN, PAUSE_MAX);
        let mut pause = PAUSE_MIN;
        loop {
            let result = attempt().await;
            let error = match result {
                Err(error) if error.is_transient() => error,
                answer => {
                    if !matches!(&answer, Err(error) if error.kind == ErrorKind::Other) {
                        self.has_answered.store(true, Ordering::Relaxed);
                    }
                    return answer;
                }
            };
            let limit = match self.has_answered.load(Ordering::Relaxed) {
                true => self.limit,
                false if error.is_unknown_host() => self.limit.min(Duration::from_secs(UNKNOWN_HOST_SECS_MAX)),
                false => self.limit.min(Duration::from_secs(FIRST_ANSWER_SECS_MAX)),
            };
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(error);
            }
            // The last attempt is made when the time is up, not before.
            let wait = jittered(pause).min(left);
            let cause = crate::monitor::chain(&error);
            tracing::warn!(wait_ms = wait.as_millis(), cause, "Storage does not answer, trying again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(pause_max);
        }
    }
}

/// Between half and the whole of a pause, so that many clients do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[async_trait]
impl Store for Retrying {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.patiently(|| self.inner.get(name)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.patiently(|| self.inner.get_range(name, range.clone())).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.patiently(|| self.inner.put_new(name, bytes.clone())).await
    }

    async fn put_bulk(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.patiently(|| self.inner.put_bulk(name, bytes.clone())).await
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.patiently(|| self.inner.replace(name, bytes.clone())).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        self.patiently(|| self.inner.list(prefix)).await
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        self.patiently(|| self.inner.head(name)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.patiently(|| self.inner.delete(name)).await
    }

    async fn extend_lock(&self, name: &str) -> Result<()> {
        self.patiently(|| self.inner.extend_lock(name)).await
    }
}

#[cfg(test)]
mod tests {
    use crate::store::Error;
    use crate::store::ErrorKind;
    use crate::store::Result;
    use crate::store::Retrying;
    use crate::store::Store;
    use crate::store::Stored;
    use crate::store::UnknownHost;
    use async_trait::async_trait;
    use bytes::Bytes;
    use std::ops::Range;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;
    use tokio::time::Instant;

    /// A store whose name is known only sometimes.
    #[derive(Debug, Default)]
    struct Somewhere {
        is_known: AtomicBool,
    }

    impl Somewhere {
        fn answer<T>(&self, answer: T) -> Result<T> {
            if self.is_known.load(Ordering::Relaxed) {
                return Ok(answer);
            }
            let cause = UnknownHost { host: "host".to_owned(), said: "no such name".to_owned() };
            Err(Error::new(ErrorKind::Unreachable, "read", "", "there").because(cause))
        }
    }

    #[async_trait]
    impl Store for Somewhere {
        fn location(&self) -> String {
            "there".to_owned()
        }

        async fn get(&self, _: &str) -> Result<Bytes> {
            self.answer(Bytes::new())
        }

        async fn get_range(&self, _: &str, _: Range<u64>) -> Result<Bytes> {
            self.answer(Bytes::new())
        }

        async fn put_new(&self, _: &str, _: Bytes) -> Result<()> {
            self.answer(())
        }

        async fn list(&self, _: &str) -> Result<Vec<Stored>> {
            self.answer(Vec::new())
        }

        async fn head(&self, name: &str) -> Result<Stored> {
            self.answer(Stored { name: name.to_owned(), len: 0, modified_secs: 0 })
        }

        async fn delete(&self, _: &str) -> Result<()> {
            self.answer(())
        }

        async fn extend_lock(&self, _: &str) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_name_is_given_up_at_once_unless_it_was_known_before() {
        let somewhere = Arc::<Somewhere>::default();
        let patient = Retrying::new(somewhere.clone(), 300);
        let began = Instant::now();
        assert!(patient.get("x").await.is_err_and(|error| error.is_unknown_host()));
        assert!(began.elapsed().as_secs() <= 2, "{:?}", began.elapsed());
        somewhere.is_known.store(true, Ordering::Relaxed);
        assert!(patient.get("x").await.is_ok());
        somewhere.is_known.store(false, Ordering::Relaxed);
        let began = Instant::now();
        assert!(patient.get("x").await.is_err());
        assert_eq!(began.elapsed().as_secs(), 300, "the last attempt is made when the time is up");
    }
}
