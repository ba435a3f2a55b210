//! Clouds and memory, through `object_store`.
//!
//! One call is one attempt (plus `object_store`'s own quick second and third try); patience is [`Retrying`]'s.
//! A server that falls silent is noticed below, where bytes move (`http`). Every length is checked: no more is taken
//! than was asked for.
//!
//! [`Retrying`]: crate::store::Retrying

use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::OBJECT_BYTES_MAX;
use crate::store::Result;
use crate::store::Store;
use crate::store::Stored;
use crate::store::checked;
use crate::store::failure::Failure;
use crate::store::is_name;
use crate::store::lock::Locker;
use crate::store::lock::Writer;
use crate::store::trivial_range;
use async_trait::async_trait;
use bytes::Bytes;
use bytes::BytesMut;
use futures::StreamExt;
use object_store::Attribute;
use object_store::Attributes;
use object_store::GetOptions;
use object_store::GetRange;
use object_store::GetResult;
use object_store::ObjectMeta;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::PutMode;
use object_store::PutOptions;
use object_store::PutPayload;
use object_store::path::Path;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// A bucket, a container or memory.
#[derive(Debug)]
pub(crate) struct Remote {
    location: String,
    inner: Arc<dyn ObjectStore>,
    locking: Option<(Writer, Locker)>,
    /// The class of bulk data; none = the one of the bucket.
    class: Option<String>,
    /// Set once the server has said that it does not know conditional puts.
    is_unconditional: AtomicBool,
}

impl Remote {
    pub(crate) fn new(location: String, inner: Arc<dyn ObjectStore>, class: Option<String>) -> Remote {
        Remote { location, inner, locking: None, class, is_unconditional: AtomicBool::new(false) }
    }

    /// The same with what it stores locked: stored through `writer`, and its lock extended by `locker`.
    pub(crate) fn locking(self, writer: Writer, locker: Locker) -> Remote {
        Remote { locking: Some((writer, locker)), ..self }
    }

    /// What objects are stored through.
    fn writer(&self) -> std::result::Result<Arc<dyn ObjectStore>, Failure> {
        match &self.locking {
            Some((writer, _)) => Ok(writer.client()?),
            None => Ok(self.inner.clone()),
        }
    }

    fn path(&self, name: &str, verb: &'static str) -> Result<Path> {
        checked(name, verb, &self.location)?;
        Path::parse(name).map_err(|error| Error::new(ErrorKind::Other, verb, name, &self.location).because(error))
    }

    async fn fetch(&self, name: &str, range: Option<Range<u64>>) -> Result<Bytes> {
        let path = self.path(name, "read")?;
        let options = GetOptions::default().with_range(range.clone().map(GetRange::Bounded));
        let fetched = match self.inner.get_opts(&path, options).await {
            Ok(result) => self.collect(result, range.as_ref()).await,
            Err(error) => Err(Failure::from(error)),
        };
        match (fetched, range) {
            (Ok(bytes), _) => Ok(bytes),
            (Err(failure), Some(range)) if failure.kind == ErrorKind::Other => {
                Err(self.was_short(name, &range, failure).await)
            }
            (Err(failure), _) => Err(failure.at("read", name, &self.location)),
        }
    }

    /// Stores tell of a range behind the end in many ways; the length of the object settles it.
    async fn was_short(&self, name: &str, range: &Range<u64>, mut failure: Failure) -> Error {
        if self.head(name).await.is_ok_and(|stored| stored.len <= range.start) {
            failure.kind = ErrorKind::Truncated;
        }
        failure.at("read", name, &self.location)
    }

    async fn collect(&self, result: GetResult, range: Option<&Range<u64>>) -> std::result::Result<Bytes, Failure> {
        let size = result.meta.size;
        let len = range.map_or(size, |range| range.end.min(size).saturating_sub(range.start));
        if len > OBJECT_BYTES_MAX {
            return Err(Failure::new(ErrorKind::Other, format!("it has {len} bytes, more than any object")));
        }
        let mut stream = result.into_stream();
        let mut pieces = Vec::new();
        let mut got = 0;
        while let Some(piece) = stream.next().await.transpose()? {
            got += piece.len() as u64;
            if got > len {
                return Err(Failure::new(ErrorKind::Other, "the server sent more than was asked for"));
            }
            pieces.push(piece);
        }
        match got {
            _ if got < len => Err(Failure::new(ErrorKind::Truncated, format!("got {got} of {len} bytes"))),
            _ if pieces.len() == 1 => Ok(pieces.swap_remove(0)),
            _ => {
                let mut whole = BytesMut::with_capacity(usize::try_from(got).unwrap_or(0));
                pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                Ok(whole.freeze())
            }
        }
    }

    async fn put(&self, path: &Path, bytes: &Bytes, class: Option<&str>) -> std::result::Result<(), Failure> {
        let attributes: Attributes =
            class.iter().map(|class| (Attribute::StorageClass, String::from(*class))).collect();
        let writer = self.writer()?;
        let put = |mode: PutMode| {
            let options = PutOptions { mode, attributes: attributes.clone(), ..PutOptions::default() };
            writer.put_opts(path, PutPayload::from(bytes.clone()), options)
        };
        if !self.is_unconditional.load(Ordering::Relaxed) {
            match put(PutMode::Create).await.map_err(Failure::from) {
                Ok(_) => return Ok(()),
                Err(failure) if failure.is_not_implemented() => self.is_unconditional.store(true, Ordering::Relaxed),
                Err(failure) => return Err(failure),
            }
        }
        put(PutMode::Overwrite).await?;
        Ok(())
    }

    async fn put_as(&self, name: &str, bytes: Bytes, class: Option<&str>) -> Result<()> {
        let path = self.path(name, "write")?;
        let Err(failure) = self.put(&path, &bytes, class).await else { return Ok(()) };
        if failure.kind != ErrorKind::AlreadyExists {
            return Err(failure.at("write", name, &self.location));
        }
        match self.is_ours(name, &bytes).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(failure.at("write", name, &self.location)),
            // Two puts met, and the other one is not there yet or will not be: ask again later.
            Err(_) => Err(Error { kind: ErrorKind::Unreachable, ..failure.at("write", name, &self.location) }),
        }
    }

    /// Whether the object that was in the way of our put holds what we wanted to put.
    async fn is_ours(&self, name: &str, bytes: &Bytes) -> Result<bool> {
        let len = self.head(name).await?.len;
        Ok(len == bytes.len() as u64 && self.get(name).await? == bytes)
    }

    fn stored(&self, meta: ObjectMeta) -> Stored {
        Stored { name: meta.location.to_string(), len: meta.size, modified_secs: meta.last_modified.timestamp() }
    }

    async fn listed(&self, prefix: &Path) -> std::result::Result<Vec<Stored>, Failure> {
        let mut stream = self.inner.list((!prefix.as_ref().is_empty()).then_some(prefix));
        let mut found = Vec::new();
        while let Some(meta) = stream.next().await.transpose()? {
            if is_name(meta.location.as_ref()) {
                found.push(self.stored(meta));
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

#[async_trait]
impl Store for Remote {
    fn location(&self) -> String {
        self.location.clone()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.fetch(name, None).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        if let Some(answer) = trivial_range(&range, name, &self.location) {
            return answer;
        }
        self.fetch(name, Some(range)).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.put_as(name, bytes, None).await
    }

    async fn put_bulk(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.put_as(name, bytes, self.class.as_deref()).await
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(name, "write")?;
        let put = async {
            self.writer()?.put_opts(&path, PutPayload::from(bytes), PutMode::Overwrite.into()).await?;
            Ok(())
        };
        put.await.map_err(|failure: Failure| failure.at("write", name, &self.location))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let path = self.path(prefix, "list")?;
        self.listed(&path).await.map_err(|failure| failure.at("list", prefix, &self.location))
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        let path = self.path(name, "read")?;
        let meta = self.inner.head(&path).await.map_err(Failure::from);
        meta.map(|meta| self.stored(meta)).map_err(|failure| failure.at("read", name, &self.location))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name, "delete")?;
        match self.inner.delete(&path).await.map_err(Failure::from) {
            Err(failure) if failure.kind != ErrorKind::NotFound => Err(failure.at("delete", name, &self.location)),
            _ => Ok(()),
        }
    }

    async fn extend_lock(&self, name: &str) -> Result<()> {
        let Some((_, locker)) = &self.locking else { return Ok(()) };
        let path = self.path(name, "lock")?;
        locker.extend(&path).await.map_err(|failure| failure.at("lock", name, &self.location))
    }
}
