//! A place for named bytes: the only door to where a repository is kept.
//!
//! Objects are written once and whole, never changed. A name is lower-case text with `/` between components
//! (`a-z 0-9 . _ -`, no component begins with a dot), see [`is_name`]. Whatever else lies in the same folder or
//! bucket is left alone and never listed.
//!
//! # Opening one
//! [`Location`] is parsed from text (`/path`, `s3://bucket/prefix`, `gs://`, `az://`, `memory://name`); [`open()`]
//! makes an [`AnyStore`] of it and of [`StoreOptions`]. What comes back is already decorated: at most
//! `requests_max` requests at once ([`Limited`]) and, for clouds, patience with a server that is away ([`Retrying`]).
//! [`probe()`] finds out what the store can do; `init` writes that down.
//!
//! # Who does what
//! | type | what it is |
//! |---|---|
//! | `Folder` | a local or network folder: durable writes, notices a disk that went away |
//! | `Remote` | clouds and memory through `object_store`: time-outs, errors sorted into [`ErrorKind`] |
//! | `http`, `body` | the HTTP client below: paces, counts, notices silence and the wish of a server to be left alone |
//! | `cloud`, `profile`, `class` | clients for the clouds from variables, settings and the profiles of the AWS tools |
//! | `lock` | Object Lock of S3 |
//! | [`Traffic`] | what moved, and how fast it may: one for all stores of a process |
//! | [`Limited`], [`Retrying`] | bounds requests under way; tries again what may pass |
//! | [`Counted`] | counts requests, for tests remembers them: the measure of every promise about round trips |
//! | [`Faulty`], [`Latency`] | for tests: a store that fails by plan, a store that is far away |
//!
//! All of them pass the same contract test (`tests/it/contract.rs`).

mod body;
mod class;
mod cloud;
mod counted;
mod failure;
mod faulty;
mod folder;
mod http;
mod latency;
mod limited;
mod location;
mod lock;
mod open;
mod options;
mod pace;
mod probe;
mod profile;
mod remote;
mod reserve;
mod retrying;
mod throttle;
mod traffic;

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

pub use counted::Counted;
pub use counted::Health;
pub use counted::Request;
pub use counted::Totals;
pub use counted::Verb;
pub use counted::depth;
pub use faulty::Asked;
pub use faulty::Fault;
pub use faulty::Faulty;
pub use latency::Latency;
pub use limited::Limited;
pub use location::Cloud;
pub use location::Location;
pub use lock::LockMode;
pub use lock::ObjectLock;
pub use open::open;
pub use options::StoreOptions;
pub use options::parse_rate;
pub use probe::Probed;
pub use probe::probe;
pub use retrying::Retrying;
pub use traffic::Moved;
pub use traffic::Traffic;

/// No object is larger, and none larger is read whole: a hostile server cannot make us take more memory.
pub const OBJECT_BYTES_MAX: u64 = 1 << 30;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object of that name; for `open`, `list` and `write`: no such folder, bucket or container.
    NotFound,
    /// `put_new` found another object of that name (only stores with conditional create can tell).
    AlreadyExists,
    /// Credentials missing or refused, or a read-only place.
    Denied,
    /// No space or quota left.
    Full,
    /// Server or disk cannot be reached, or did not answer in time. Worth trying again later.
    Unreachable,
    /// The location or an option cannot be understood.
    BadLocation,
    /// Nobody was asked, because that is not wanted, and the answer is not known.
    Offline,
    /// The range asked for is not (wholly) there: the object is shorter.
    Truncated,
    /// Anything else.
    Other,
}

/// A request that failed. Display tells what was wanted, where and what kind of failure; the source says why.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// `read`, `write`, `list`, `delete`, `open`.
    pub verb: &'static str,
    /// The object; empty if the request was about the store as a whole.
    pub name: String,
    /// The store, as people know it (no secrets).
    pub location: String,
    /// What the layer below said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause. `name` may be empty.
    pub fn new(kind: ErrorKind, verb: &'static str, name: &str, location: impl Into<String>) -> Error {
        Error { kind, verb, name: name.to_owned(), location: location.into(), source: None }
    }

    /// The same with a cause: an error, or simply a text.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// True if the name of the server is not known: most often the address is wrong, or there is no network at all.
    pub fn is_unknown_host(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is::<UnknownHost>())
    }

    /// True if the server shows a certificate that is not trusted here.
    pub fn is_untrusted(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is::<Untrusted>())
    }

    /// True if the same request may succeed later with nobody doing anything about it.
    pub fn is_transient(&self) -> bool {
        self.kind == ErrorKind::Unreachable
    }
}

/// The cause of an error whose server has a name that nobody knows.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the name '{host}' is not known: {said}")]
pub(crate) struct UnknownHost {
    pub(crate) host: String,
    /// The system's explanation.
    pub(crate) said: String,
}

/// The cause of an error whose server shows a certificate that nobody here vouches for.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the certificate of '{host}' is not trusted: {said}")]
pub(crate) struct Untrusted {
    pub(crate) host: String,
    /// The verifier's explanation.
    pub(crate) said: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.verb)?;
        if !self.name.is_empty() {
            write!(f, "'{}' at ", self.name)?;
        }
        write!(f, "{}", self.location)?;
        f.write_str(match (self.kind, self.verb) {
            (ErrorKind::NotFound, "open" | "list" | "write") => ": there is no such folder, bucket or container",
            (ErrorKind::NotFound, _) => ": there is no such object",
            (ErrorKind::AlreadyExists, _) => ": it already exists",
            (ErrorKind::Denied, _) => ": access denied",
            (ErrorKind::Full, _) => ": no space left",
            (ErrorKind::Unreachable, _) => ": the storage cannot be reached",
            (ErrorKind::Offline, _) => ": it is not in the cache, and the storage is not asked (--offline)",
            (ErrorKind::BadLocation, _) => ": Bygone does not understand this",
            (ErrorKind::Truncated, _) => ": it is shorter than it should be",
            (ErrorKind::Other, _) => "",
        })
    }
}

/// Result of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// A place for named bytes. Cheap to share: implementations are used behind [`Arc`].
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Where this is, as people know it: a path or URL without secrets.
    fn location(&self) -> String;

    /// The whole object. Refuses one longer than [`OBJECT_BYTES_MAX`].
    async fn get(&self, name: &str) -> Result<Bytes>;

    /// This range, or as much of it as the object has: fewer bytes only if the object ends within the range, and
    /// [`ErrorKind::Truncated`] if it ends before. An empty range needs no request and is always there.
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes>;

    /// Writes a new object, durably: when this returns, the bytes survive a power cut.
    /// [`ErrorKind::AlreadyExists`] where the store can tell; other stores overwrite.
    /// Finding the very same bytes there is success: an earlier attempt may have arrived without our hearing of it.
    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()>;

    /// The same for bulk data, which is many bytes and read seldom: a cloud may keep it in the cheaper class of
    /// `StoreOptions::storage_class`. Who does not know the difference stores it like any other object; who passes
    /// requests on passes this one on as it is.
    async fn put_bulk(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.put_new(name, bytes).await
    }

    /// Puts these bytes in the place of a damaged object, at one stroke where the store can: until then the old ones are
    /// there. The bytes are those that were written first: nobody who has read them before sees another object.
    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.delete(name).await?;
        self.put_new(name, bytes).await
    }

    /// Every object below `prefix` (whole components: `log` is not `logs/1`; empty = all), sorted by name.
    async fn list(&self, prefix: &str) -> Result<Vec<Stored>>;

    /// Length and time of one object.
    async fn head(&self, name: &str) -> Result<Stored>;

    /// Removes an object; fine if it is gone already. Not durable: a power cut may bring it back.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Puts off the end of an object's lock, as if it were stored now. Nothing to do where nothing is locked
    /// (`StoreOptions::object_lock`).
    async fn extend_lock(&self, name: &str) -> Result<()>;
}

/// A store that may be shared.
pub type AnyStore = Arc<dyn Store>;

/// True for text that may name an object. Anything else is refused when used and ignored when listed.
pub fn is_name(name: &str) -> bool {
    const NAME_LEN_MAX: usize = 512;
    name.len() <= NAME_LEN_MAX && name.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    const COMPONENT_LEN_MAX: usize = 200;
    (1..=COMPONENT_LEN_MAX).contains(&component.len())
        && !component.starts_with('.')
        && component.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// A name that may be used, or the error that says it may not. An empty prefix is the whole store.
fn checked(name: &str, verb: &'static str, location: &str) -> Result<()> {
    if is_name(name) || (verb == "list" && name.is_empty()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Other, verb, name, location).because("this is no name for an object"))
}

/// The answer to an empty range, which needs no request; a reversed one is refused.
fn trivial_range(range: &Range<u64>, name: &str, location: &str) -> Option<Result<Bytes>> {
    if range.start < range.end && range.end - range.start <= OBJECT_BYTES_MAX {
        return None;
    }
    Some(if range.start == range.end {
        Ok(Bytes::new())
    } else {
        let said = format!("the range {}..{} makes no sense", range.start, range.end);
        Err(Error::new(ErrorKind::Other, "read", name, location).because(said))
    })
}

#[cfg(test)]
mod tests {
    use crate::store::Error;
    use crate::store::ErrorKind;
    use crate::store::is_name;

    #[test]
    fn names() {
        for good in ["config", "packs/00/0f-a_b.c", "log/w/000001"] {
            assert!(is_name(good), "{good}");
        }
        let long = "a/".repeat(300) + "a";
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", ".staging/x", "A", "a#1", "a b", "é", &long] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn errors_read_as_sentences() {
        let read = Error::new(ErrorKind::NotFound, "read", "config", "/b");
        assert_eq!(read.to_string(), "cannot read 'config' at /b: there is no such object");
        let open = Error::new(ErrorKind::NotFound, "open", "", "/b");
        assert_eq!(open.to_string(), "cannot open /b: there is no such folder, bucket or container");
    }
}
