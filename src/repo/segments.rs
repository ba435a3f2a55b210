//! Opened segments of packs: out of the cache on disk, and from the store what the cache lacks.
//!
//! The cache holds what the store gave, still sealed; a segment that does not open is forgotten and asked for again, so
//! the cache is believed no more than the store. Only what opened is given to it.

use crate::cache::Cache;
use crate::cache::Class;
use crate::crypto::Keys;
use crate::crypto::aead::TAG_BYTES;
use crate::format::FormatError;
use crate::format::sealed::HEADER_BYTES;
use crate::format::sealed::Header;
use crate::format::sealed::ObjectType;
use crate::format::sealed::Opener;
use crate::format::sealed::SEALED_SEGMENT_BYTES;
use crate::id::ObjectId;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::lru::ByteLru;
use crate::repo::pack_name;
use crate::store::AnyStore;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Segments before the wanted ones that are read through to have the header of a pack by the same request.
const LEAD_SEGMENTS_MAX: u64 = 1;
/// What an opened pack takes in memory.
const OPENER_BYTES: usize = 1024;
/// Memory for opened packs.
const OPENERS_BYTES_MAX: usize = 1 << 20;

/// A segment's plaintext. Each stands for itself: a damaged one spoils none of those fetched with it.
pub(super) type OpenedSegment = std::result::Result<Bytes, Arc<Error>>;
/// Opened segments in order.
pub(super) type Segments = Arc<Vec<OpenedSegment>>;

/// What is kept for good, and since when (seconds since 1970).
#[derive(Debug, Clone, Copy)]
pub(super) struct Pin<'a> {
    pub(super) label: &'a str,
    pub(super) now_secs: i64,
}

/// Where segments come from.
pub(super) struct SegmentSource {
    store: AnyStore,
    keys: Keys,
    cache: Option<Arc<Cache>>,
    /// What the cache calls the repository.
    place: String,
    openers: ByteLru<ObjectId, Arc<Opener>>,
}

impl SegmentSource {
    pub(super) fn new(repo: &Repo) -> Arc<SegmentSource> {
        Arc::new(SegmentSource {
            store: repo.store().clone(),
            keys: repo.keys().clone(),
            cache: repo.cache().cloned(),
            place: repo.store().location(),
            openers: ByteLru::new(OPENERS_BYTES_MAX),
        })
    }

    /// How many segments a pack has, if that is known.
    pub(super) fn segments_of(&self, pack: ObjectId) -> Option<u64> {
        Some(self.openers.get(&pack)?.header().segments())
    }

    /// Segments from the cache, and what it lacks by one request. If that fails, so do those which it should have
    /// brought, and no others. Fewer than asked for if the pack is known to end before.
    pub(super) async fn get(self: &Arc<Self>, pack: ObjectId, object_type: ObjectType, range: Range<u64>) -> Segments {
        let mut found = match &self.cache {
            Some(_) => self.cached(pack, object_type, range.clone()).await,
            None => vec![None; (range.end - range.start) as usize],
        };
        let is_missing = |segment: &Option<Bytes>| segment.is_none();
        let Some(first) = found.iter().position(is_missing) else {
            return Arc::new(found.into_iter().flatten().map(Ok).collect());
        };
        // What lies between is fetched again: one request costs less than two.
        let end = found.iter().rposition(is_missing).map_or(first, |last| last + 1);
        let fetched = self.fetched(pack, object_type, range.start + first as u64..range.start + end as u64).await;
        let after = found.split_off(end);
        let between = found.split_off(first);
        let kept = |segments: Vec<Option<Bytes>>| segments.into_iter().flatten().map(Ok);
        let between: Vec<OpenedSegment> = match fetched {
            // A cached one opens, whatever came in its place.
            Ok(fetched) => fetched.into_iter().zip(between).map(|(new, old)| new.or_else(|e| old.ok_or(e))).collect(),
            Err(error) => {
                let error = Arc::new(error);
                between.into_iter().map(|old| old.ok_or_else(|| error.clone())).collect()
            }
        };
        Arc::new(kept(found).chain(between).chain(kept(after)).collect())
    }

    /// What the cache has of a range; the answer is shorter if the pack is known to end before.
    async fn cached(
        self: &Arc<Self>,
        pack: ObjectId,
        object_type: ObjectType,
        range: Range<u64>,
    ) -> Vec<Option<Bytes>> {
        let nothing = vec![None; (range.end - range.start) as usize];
        let this = self.clone();
        let look = move || this.on_disk(pack, object_type, range);
        tokio::task::spawn_blocking(look).await.ok().flatten().unwrap_or(nothing)
    }

    /// Which segments the cache holds, unopened. Blocks.
    pub(super) fn held(&self, pack: ObjectId, range: Range<u64>) -> Vec<bool> {
        self.cache.as_ref().map_or_else(Vec::new, |cache| cache.holds(pack, range))
    }

    /// What the cache has of a range; shorter if the pack is known to end before, `None` if the pack is not known.
    /// Blocks.
    pub(super) fn on_disk(
        &self,
        pack: ObjectId,
        object_type: ObjectType,
        range: Range<u64>,
    ) -> Option<Vec<Option<Bytes>>> {
        let cache = self.cache.as_ref()?;
        let opener = self.openers.get(&pack).or_else(|| {
            let header = cache.object(&self.place, &pack_name(pack))?;
            let opener = Arc::new(Opener::new(&self.keys, object_type, Some(pack), &header).ok()?);
            self.openers.put(pack, opener.clone(), OPENER_BYTES);
            Some(opener)
        })?;
        let range = range.start..range.end.min(opener.header().segments());
        let sealed = cache.read(pack, range.clone());
        let open = |(segment, sealed): (u64, Option<Bytes>)| {
            let opened = open_segment(&opener, segment, &sealed?);
            if opened.is_err() {
                // It is asked for again, and written anew.
                cache.forget(pack, segment..segment + 1);
            }
            opened.ok()
        };
        // Behind the end of the pack there is nothing to be had here: the store says what is wrong.
        Some(range.zip(sealed).map(open).collect()).filter(|found: &Vec<_>| !found.is_empty())
    }

    async fn fetched(&self, pack: ObjectId, object_type: ObjectType, range: Range<u64>) -> Result<Vec<OpenedSegment>> {
        let (opener, body) = self.sealed(pack, object_type, range.clone()).await?;
        Ok(self.open(pack, &opener, range, &body))
    }

    /// The sealed bytes of a range, asked from the store. The body may be longer (checksum).
    async fn sealed(&self, pack: ObjectId, object_type: ObjectType, range: Range<u64>) -> Result<(Arc<Opener>, Bytes)> {
        let name = pack_name(pack);
        let place = |segment: u64| HEADER_BYTES as u64 + segment * SEALED_SEGMENT_BYTES as u64;
        let asked = place(range.start)..place(range.end);
        if let Some(opener) = self.openers.get(&pack) {
            let header = opener.header();
            let range = range.start.min(header.segments())..range.end.min(header.segments());
            if range.is_empty() {
                return Err(damaged(pack, FormatError::Short { what: "pack" }));
            }
            let body = self.store.get_range(&name, header.segment_range(range)).await?;
            return Ok((opener, body));
        }
        let (header, body) = if range.start <= LEAD_SEGMENTS_MAX {
            // One request costs more than what lies between.
            let mut header = self.store.get_range(&name, 0..asked.end).await?;
            let body = header.split_off(header.len().min(asked.start as usize));
            header.truncate(HEADER_BYTES);
            (header, Ok(body))
        } else {
            let header = self.store.get_range(&name, 0..HEADER_BYTES as u64);
            let (header, body) = futures::join!(header, self.store.get_range(&name, asked));
            (header?, body)
        };
        let opener = Opener::new(&self.keys, object_type, Some(pack), &header);
        let opener = Arc::new(opener.map_err(|source| damaged(pack, source))?);
        self.openers.put(pack, opener.clone(), OPENER_BYTES);
        if let Some(cache) = &self.cache {
            cache.keep_object(&self.place, &name, header);
        }
        Ok((opener, body?))
    }

    /// Sees to it that segments are in the cache and stay there, under a label. Returns the bytes that were fetched.
    pub(super) async fn pin(
        self: &Arc<Self>,
        pin: Pin<'_>,
        pack: ObjectId,
        object_type: ObjectType,
        range: Range<u64>,
    ) -> Result<u64> {
        let cache = self.cache.clone().ok_or(Error::NoCache)?;
        let (label, now_secs) = (pin.label.to_owned(), pin.now_secs);
        let (at, place, ranges) = (cache.clone(), self.place.clone(), [(pack, range.clone())]);
        blocking(move || Ok(at.pin(&label, &place, now_secs, &ranges)?)).await?;
        let cached = self.cached(pack, object_type, range.clone()).await;
        let mut fetched = 0;
        let mut at = 0;
        while let Some(first) = cached[at..].iter().position(Option::is_none).map(|gap| at + gap) {
            at = cached[first..].iter().position(Option::is_some).map_or(cached.len(), |len| first + len);
            let missing = range.start + first as u64..range.start + at as u64;
            let (opener, body) = self.sealed(pack, object_type, missing.clone()).await?;
            let opened = self.open(pack, &opener, missing.clone(), &body);
            let count = opened.len();
            opened.into_iter().collect::<std::result::Result<Vec<_>, _>>().map_err(Error::Shared)?;
            let header = opener.header();
            let len: usize = (0..count as u64).map(|i| header.segment_len(missing.start + i) + TAG_BYTES).sum();
            let (at, label, sealed) = (cache.clone(), pin.label.to_owned(), body.slice(..len));
            fetched += sealed.len() as u64;
            let class = class_of(object_type);
            blocking(move || Ok(at.write_pinned(&label, pack, class, missing.start, &sealed)?)).await?;
        }
        Ok(fetched)
    }

    /// Opens the sealed segments of a range, and gives those that are whole to the cache. The body may be longer
    /// (checksum); what it lacks is missing.
    fn open(&self, pack: ObjectId, opener: &Opener, range: Range<u64>, body: &Bytes) -> Vec<OpenedSegment> {
        let header: &Header = opener.header();
        let class = class_of(header.object_type);
        let mut opened = Vec::new();
        for segment in range.start..range.end.min(header.segments()) {
            let start = (segment - range.start) as usize * SEALED_SEGMENT_BYTES;
            let end = start + header.segment_len(segment) + TAG_BYTES;
            let plain = match body.len() >= end {
                true => open_segment(opener, segment, &body[start..end]),
                false => Err(FormatError::Short { what: "pack" }),
            };
            if let (Ok(_), Some(cache)) = (&plain, &self.cache) {
                cache.keep(pack, class, segment, body.slice(start..end));
            }
            opened.push(plain.map_err(|source| Arc::new(damaged(pack, source))));
        }
        opened
    }
}

fn class_of(object_type: ObjectType) -> Class {
    match object_type {
        ObjectType::MetaPack => Class::Metadata,
        _ => Class::Data,
    }
}

/// Work that waits for the disk, where waiting does no harm.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::TaskLost)?
}

fn open_segment(opener: &Opener, segment: u64, sealed: &[u8]) -> std::result::Result<Bytes, FormatError> {
    let mut plain = sealed.to_vec();
    let len = opener.open(segment, &mut plain)?.len();
    plain.truncate(len);
    Ok(Bytes::from(plain))
}

/// The error that names a pack.
pub(super) fn damaged(pack: ObjectId, source: FormatError) -> Error {
    Error::Object { object: pack_name(pack), source }
}
