//! A place for named bytes: the only door to where a repository is kept.
//!
//! Objects are written once and whole, never changed. A name is lower-case text with `/` between components.
//! Implementations: `remote` (anything `object_store` reaches: folder, S3, GCS, Azure, memory). Decorators:
//! retries, request counts, and (for tests) faults and latency. All pass the same contract test.

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Name below the root of the store.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// Last modification by the store's clock, seconds since 1970.
    pub modified_secs: i64,
}

/// What went wrong, as far as it decides what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object of that name.
    NotFound,
    /// `put_new` found one already (only stores with conditional create can tell).
    AlreadyExists,
    /// Credentials missing or refused, or a read-only place.
    Denied,
    /// No space or quota left.
    Full,
    /// Server or disk cannot be reached, or did not answer in time. Worth trying again later.
    Unreachable,
    /// The location text cannot be understood.
    BadLocation,
    /// The range asked for is not (wholly) there: the object is shorter.
    Truncated,
    /// Anything else.
    Other,
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} '{name}' at {location}{}", describe(*kind))]
pub struct Error {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// `read`, `write`, `list`, `delete`, `open`.
    pub verb: &'static str,
    /// The object.
    pub name: String,
    /// The store, as people know it (no secrets).
    pub location: String,
    /// What the layer below said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

fn describe(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => ": there is no such object",
        ErrorKind::AlreadyExists => ": it already exists",
        ErrorKind::Denied => ": access denied",
        ErrorKind::Full => ": no space left",
        ErrorKind::Unreachable => ": the storage cannot be reached",
        ErrorKind::BadLocation => ": not a location Bygone understands",
        ErrorKind::Truncated => ": it is shorter than it should be",
        ErrorKind::Other => "",
    }
}

/// Result of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// A place for named bytes. Cheap to share: implementations are used behind [`Arc`].
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Where this is, as people know it: a path or URL without secrets.
    fn location(&self) -> String;

    /// The whole object.
    async fn get(&self, name: &str) -> Result<Bytes>;

    /// This range, or what the object has of it: shorter only if the object ends before the range does;
    /// [`ErrorKind::Truncated`] if it ends before the range begins.
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes>;

    /// Writes a new object, durably: when this returns, the bytes survive a power cut.
    /// [`ErrorKind::AlreadyExists`] where the store can tell; other stores overwrite.
    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()>;

    /// Every object whose name starts with `prefix` (whole components: `log`, not `lo`), sorted by name.
    async fn list(&self, prefix: &str) -> Result<Vec<Stored>>;

    /// Length and time of one object.
    async fn head(&self, name: &str) -> Result<Stored>;

    /// Removes an object; fine if it is gone already.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// A store that may be shared.
pub type AnyStore = Arc<dyn Store>;
