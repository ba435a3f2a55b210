//! A store that remembers: config, key slots, records and indexes never change, so what was read once is not asked for
//! again; listings are remembered too, for when an old answer will do.
//!
//! What is remembered is believed no more than the store: everything is opened with the keys of the repository, and an
//! opening that fails or finds anything strange is tried again with [`Freshness::Ask`].

use crate::cache::Cache;
use crate::cache::Listed;
use crate::repo::CONFIG_NAME;
use crate::store::AnyStore;
use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::Result;
use crate::store::Store;
use crate::store::Stored;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// How old the answers may be with which a repository is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Everything is asked; the answers are remembered.
    Ask,
    /// What was read before is not read again; which records there are, is asked.
    Newest,
    /// Which records there are is not asked either, if it was before.
    Known,
    /// The store is never asked.
    Offline,
}

/// Where a repository's past answers are, and how old they may be.
#[derive(Clone)]
pub struct Memory {
    /// The cache that keeps them.
    pub cache: Arc<Cache>,
    /// How old they may be.
    pub freshness: Freshness,
}

/// A store in front of which a cache remembers small objects and listings.
pub(crate) struct Remembering {
    inner: AnyStore,
    cache: Arc<Cache>,
    place: String,
    believes_objects: bool,
    /// Listings for which an old answer will do.
    believed: &'static [&'static str],
    is_offline: bool,
    used: AtomicBool,
}

impl fmt::Debug for Remembering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembering").field("inner", &self.inner).field("believed", &self.believed).finish()
    }
}

impl Remembering {
    /// For opening a repository.
    pub(crate) fn opening(inner: AnyStore, memory: &Memory) -> Arc<Remembering> {
        // A new password does not make the old one wrong.
        let believed: &[_] = match memory.freshness {
            Freshness::Ask => &[],
            Freshness::Newest => &["keys"],
            Freshness::Known | Freshness::Offline => &["keys", "log", "index"],
        };
        let is_offline = memory.freshness == Freshness::Offline;
        Remembering::new(inner, &memory.cache, memory.freshness != Freshness::Ask, believed, is_offline)
    }

    /// For the time after: a listing is asked for whenever there is somebody to ask.
    pub(crate) fn opened(inner: AnyStore, memory: &Memory) -> Arc<Remembering> {
        let is_offline = memory.freshness == Freshness::Offline;
        Remembering::new(
            inner,
            &memory.cache,
            true,
            if is_offline { &["keys", "log", "index"] } else { &[] },
            is_offline,
        )
    }

    fn new(
        inner: AnyStore,
        cache: &Arc<Cache>,
        believes_objects: bool,
        believed: &'static [&'static str],
        is_offline: bool,
    ) -> Arc<Remembering> {
        let (cache, place) = (cache.clone(), inner.location());
        let used = AtomicBool::new(false);
        Arc::new(Remembering { inner, cache, place, believes_objects, believed, is_offline, used })
    }

    /// True if anything was answered from memory.
    pub(crate) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    fn used<T>(&self, answer: T) -> Result<T> {
        self.used.store(true, Ordering::Relaxed);
        Ok(answer)
    }

    fn online(&self, verb: &'static str, name: &str) -> Result<()> {
        if self.is_offline {
            return Err(Error::new(ErrorKind::Offline, verb, name, self.place.clone()));
        }
        Ok(())
    }
}

/// True for objects that are read whole and never change.
fn is_remembered(name: &str) -> bool {
    name == CONFIG_NAME || ["keys/", "log/", "index/"].iter().any(|folder| name.starts_with(folder))
}

#[async_trait]
impl Store for Remembering {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        let remembers = is_remembered(name);
        if remembers
            && self.believes_objects
            && let Some(bytes) = self.cache.object(&self.place, name)
        {
            return self.used(bytes);
        }
        self.online("read", name)?;
        let bytes = self.inner.get(name).await?;
        if remembers {
            self.cache.keep_object(&self.place, name, bytes.clone());
        }
        Ok(bytes)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.online("read", name)?;
        self.inner.get_range(name, range).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.online("write", name)?;
        self.inner.put_new(name, bytes).await
    }

    async fn put_bulk(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.online("write", name)?;
        self.inner.put_bulk(name, bytes).await
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.online("write", name)?;
        self.cache.forget_object(&self.place, name);
        self.inner.replace(name, bytes).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        if self.believed.contains(&prefix)
            && let Some(listing) = self.cache.listing(&self.place, prefix)
        {
            return self.used(listing.into_iter().map(stored).collect());
        }
        self.online("list", prefix)?;
        let listing = self.inner.list(prefix).await?;
        if ["keys", "log", "index"].contains(&prefix) {
            self.cache.keep_listing(&self.place, prefix, &listing.iter().map(listed).collect::<Vec<_>>());
        }
        Ok(listing)
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        self.online("read", name)?;
        self.inner.head(name).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.online("delete", name)?;
        self.cache.forget_object(&self.place, name);
        self.inner.delete(name).await
    }

    async fn extend_lock(&self, name: &str) -> Result<()> {
        self.online("lock", name)?;
        self.inner.extend_lock(name).await
    }
}

fn stored(Listed { name, len, modified_secs }: Listed) -> Stored {
    Stored { name, len, modified_secs }
}

fn listed(Stored { name, len, modified_secs }: &Stored) -> Listed {
    Listed { name: name.clone(), len: *len, modified_secs: *modified_secs }
}
