//! A store that fails by plan: for tests of everything that must survive a failing store.
//!
//! The plan is asked once for each request, with its number (from 1), and answers with a [`Fault`]. With one request
//! at a time a run repeats exactly; with several at once, which of them gets which number is up to the scheduler.

use crate::store::AnyStore;
use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::Result;
use crate::store::Store;
use crate::store::Stored;
use crate::store::Verb;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// A request as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// 1 for the first request of this store.
    pub number: u64,
    /// What it does.
    pub verb: Verb,
    /// The object, or the prefix of a listing.
    pub name: &'a str,
    /// The range of a `get_range`.
    pub range: Option<Range<u64>>,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    None,
    /// Fails without effect.
    Before(ErrorKind),
    /// Takes effect and then fails: the answer was lost.
    After(ErrorKind),
    /// The server asks to be left alone for a while: [`ErrorKind::Unreachable`], without effect.
    Throttled,
    /// The second half is missing: of what `get` returns, of a listing, of an object written (which then fails as
    /// [`ErrorKind::Unreachable`]). `get_range` fails as [`ErrorKind::Truncated`]. Others fail without effect.
    Torn,
    /// One bit of what is read is wrong. Others: nothing.
    Flipped,
    /// The object is gone: not found, not listed (a listing loses its first). Others fail without effect.
    Vanished,
    /// A listing does not show the last so many objects written through this store. Others: nothing.
    Stale(usize),
}

type Plan = Box<dyn Fn(&Asked<'_>) -> Fault + Send + Sync>;

/// A store that fails by plan.
pub struct Faulty {
    inner: AnyStore,
    plan: Plan,
    number: AtomicU64,
    written: Mutex<Vec<String>>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Faulty {
    /// Fails as the plan says.
    pub fn new(inner: AnyStore, plan: impl Fn(&Asked<'_>) -> Fault + Send + Sync + 'static) -> Arc<Faulty> {
        Arc::new(Faulty { inner, plan: Box::new(plan), number: AtomicU64::new(0), written: Mutex::default() })
    }

    /// Never fails.
    pub fn without_faults(inner: AnyStore) -> Arc<Faulty> {
        Faulty::new(inner, |_| Fault::None)
    }

    /// As if the process had been killed just before its n-th request: it and all later ones fail without effect.
    pub fn stop_at(inner: AnyStore, number: u64) -> Arc<Faulty> {
        Faulty::new(inner, move |asked| match asked.number {
            n if n < number => Fault::None,
            _ => Fault::Before(ErrorKind::Other),
        })
    }

    /// As if the process had been killed while its n-th request was under way: that one takes effect and fails, all
    /// later ones fail without effect.
    pub fn stop_after(inner: AnyStore, number: u64) -> Arc<Faulty> {
        Faulty::new(inner, move |asked| match asked.number {
            n if n < number => Fault::None,
            n if n == number => Fault::After(ErrorKind::Other),
            _ => Fault::Before(ErrorKind::Other),
        })
    }

    /// Bad weather: of a thousand requests so many fail in a way that trying again cures, chosen by the seed.
    pub fn weather(inner: AnyStore, seed: u64, per_mille: u64) -> Arc<Faulty> {
        Faulty::new(inner, move |asked| {
            let random = mixed(seed ^ mixed(asked.number));
            match (random % 1000 < per_mille, (random >> 32) % 3) {
                (false, _) => Fault::None,
                (true, 0) => Fault::Before(ErrorKind::Unreachable),
                (true, 1) => Fault::After(ErrorKind::Unreachable),
                (true, _) => Fault::Throttled,
            }
        })
    }

    /// Requests made so far.
    pub fn requests(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    fn fault(&self, verb: Verb, name: &str, range: Option<Range<u64>>) -> Fault {
        let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
        (self.plan)(&Asked { number, verb, name, range })
    }

    fn error(&self, kind: ErrorKind, verb: Verb, name: &str) -> Error {
        let verb = match verb {
            Verb::Get | Verb::Head => "read",
            Verb::Put => "write",
            Verb::List => "list",
            Verb::Delete => "delete",
            Verb::Lock => "lock",
        };
        Error::new(kind, verb, name, self.location()).because("a fault by plan")
    }

    /// The failure of a request that this fault lets have no effect.
    fn fails(&self, fault: Fault, verb: Verb, name: &str) -> Result<()> {
        match fault {
            Fault::Before(kind) => Err(self.error(kind, verb, name)),
            Fault::Throttled => Err(self.error(ErrorKind::Unreachable, verb, name).because("SlowDown by plan")),
            Fault::Vanished if verb != Verb::List => Err(self.error(ErrorKind::NotFound, verb, name)),
            Fault::Torn if matches!(verb, Verb::Head | Verb::Delete) => {
                Err(self.error(ErrorKind::Unreachable, verb, name))
            }
            _ => Ok(()),
        }
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.written.lock().expect("no panic while holding the lock")
    }
}

/// A number that looks random but is not (splitmix64).
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The bytes with one bit turned, in their middle.
fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
    bytes.into()
}

#[async_trait]
impl Store for Faulty {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        let fault = self.fault(Verb::Get, name, None);
        self.fails(fault, Verb::Get, name)?;
        let bytes = self.inner.get(name).await?;
        match fault {
            Fault::After(kind) => Err(self.error(kind, Verb::Get, name)),
            Fault::Torn => Ok(bytes.slice(..bytes.len() / 2)),
            Fault::Flipped => Ok(flipped(&bytes)),
            _ => Ok(bytes),
        }
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let fault = self.fault(Verb::Get, name, Some(range.clone()));
        self.fails(fault, Verb::Get, name)?;
        let bytes = self.inner.get_range(name, range).await?;
        match fault {
            Fault::After(kind) => Err(self.error(kind, Verb::Get, name)),
            Fault::Torn => Err(self.error(ErrorKind::Truncated, Verb::Get, name)),
            Fault::Flipped => Ok(flipped(&bytes)),
            _ => Ok(bytes),
        }
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        let fault = self.fault(Verb::Put, name, None);
        self.fails(fault, Verb::Put, name)?;
        let torn = fault == Fault::Torn;
        let whole = if torn { bytes.slice(..bytes.len() / 2) } else { bytes };
        self.inner.put_new(name, whole).await?;
        self.written().push(name.to_owned());
        match fault {
            Fault::After(kind) => Err(self.error(kind, Verb::Put, name)),
            Fault::Torn => Err(self.error(ErrorKind::Unreachable, Verb::Put, name)),
            _ => Ok(()),
        }
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        let fault = self.fault(Verb::Put, name, None);
        self.fails(fault, Verb::Put, name)?;
        self.inner.replace(name, bytes).await?;
        match fault {
            Fault::After(kind) => Err(self.error(kind, Verb::Put, name)),
            _ => Ok(()),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let fault = self.fault(Verb::List, prefix, None);
        self.fails(fault, Verb::List, prefix)?;
        let mut found = self.inner.list(prefix).await?;
        match fault {
            Fault::After(kind) => return Err(self.error(kind, Verb::List, prefix)),
            Fault::Torn => found.truncate(found.len() / 2),
            Fault::Vanished => drop(found.drain(..found.len().min(1))),
            Fault::Stale(count) => {
                let written = self.written();
                let hidden = &written[written.len().saturating_sub(count)..];
                found.retain(|stored| !hidden.contains(&stored.name));
            }
            _ => {}
        }
        Ok(found)
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        let fault = self.fault(Verb::Head, name, None);
        self.fails(fault, Verb::Head, name)?;
        let stored = self.inner.head(name).await?;
        match fault {
            Fault::After(kind) => Err(self.error(kind, Verb::Head, name)),
            _ => Ok(stored),
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let fault = self.fault(Verb::Delete, name, None);
        self.fails(fault, Verb::Delete, name)?;
        self.inner.delete(name).await?;
        match fault {
            Fault::After(kind) => Err(self.error(kind, Verb::Delete, name)),
            _ => Ok(()),
        }
    }

    async fn extend_lock(&self, name: &str) -> Result<()> {
        let fault = self.fault(Verb::Lock, name, None);
        self.fails(fault, Verb::Lock, name)?;
        self.inner.extend_lock(name).await
    }
}
