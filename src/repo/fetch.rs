//! Plaintext of packs, by the segment: fetched once however many wait, and kept in memory.
//!
//! Pages are read ahead in the order of their pack: a walk through a tree opens a growing window, a jump does not. For
//! contents, whoever knows the tree says what comes next ([`Fetch::ahead`]); what nobody waits for queues behind what
//! somebody does.
//!
//! - A failure belongs to the request that met it: who only joined a request asks again before he believes it.
//! - What nobody waits for holds no more than half of the memory for segments while it is under way.

use crate::format::FormatError;
use crate::format::sealed::ObjectType;
use crate::format::sealed::SEGMENT_BYTES;
use crate::id::ObjectId;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::lru::ByteLru;
use crate::repo::segments::Pin;
use crate::repo::segments::SegmentSource;
use crate::repo::segments::Segments;
use crate::repo::segments::damaged;
use crate::repo::span::Span;
use crate::repo::span::cut;
use crate::repo::span::merged;
use crate::repo::streams::Streams;
use crate::store::ErrorKind;
use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use futures::future::Shared;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// Segments of one range request at the most (4 MiB).
const REQUEST_SEGMENTS_MAX: u64 = 64;
/// Read along with any page: its neighbours are wanted next.
const META_SEGMENTS: u64 = 4;
/// Requests nobody waits for, at once: demand finds the line free.
const AHEAD_REQUESTS_MAX: usize = 8;
/// Segments of one of them, give or take a half (4 MiB): several are wanted at once, and none should be waited for long.
const AHEAD_SEGMENTS_MAX: u64 = 64;
/// The shortest of them, however little memory there is (256 KiB).
const AHEAD_SEGMENTS_MIN: u64 = 4;

/// `None` if the task was lost.
type Landing = Shared<BoxFuture<'static, Option<Segments>>>;

/// A range request under way.
#[derive(Clone)]
struct Flight {
    /// Its first segment.
    base: u64,
    /// Somebody waits for it now.
    wanted: Arc<Notify>,
    landing: Landing,
}

/// Whether somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Now,
    Soon,
}

/// Reads plaintext of packs.
pub(crate) struct Fetch {
    source: Arc<SegmentSource>,
    runtime: Handle,
    segments: ByteLru<(ObjectId, u64), Bytes>,
    bytes_max: usize,
    /// Segments of one request that nobody waits for.
    ahead_segments_max: u64,
    flights: Mutex<HashMap<(ObjectId, u64), Flight>>,
    streams: Streams,
    ahead_slots: Arc<Semaphore>,
}

impl Fetch {
    pub(crate) fn new(repo: &Repo, runtime: Handle, bytes_max: usize) -> Arc<Fetch> {
        let half = bytes_max as u64 / 2 / SEGMENT_BYTES as u64;
        let ahead_segments_max = (half / AHEAD_REQUESTS_MAX as u64).clamp(AHEAD_SEGMENTS_MIN, AHEAD_SEGMENTS_MAX);
        Arc::new(Fetch {
            source: SegmentSource::new(repo),
            runtime,
            segments: ByteLru::new(bytes_max),
            bytes_max,
            ahead_segments_max,
            flights: Mutex::default(),
            streams: Streams::new(bytes_max as u64 / 4),
            ahead_slots: Arc::new(Semaphore::new(AHEAD_REQUESTS_MAX)),
        })
    }

    /// The bytes, if all their segments are in memory.
    pub(crate) fn now(self: &Arc<Self>, span: Span) -> Option<Bytes> {
        let bytes = self.at_hand(span);
        if bytes.is_some() {
            self.read_ahead(&span, span.segments());
        }
        bytes
    }

    /// The same for a reader that must not set anything off: nothing is read ahead.
    pub(crate) fn at_hand(&self, span: Span) -> Option<Bytes> {
        let parts = span.segments().map(|s| self.segments.get(&(span.pack, s))).collect::<Option<Vec<_>>>()?;
        cut(&parts, &span)
    }

    /// True if all their segments are in memory.
    pub(crate) fn has(&self, span: Span) -> bool {
        span.segments().all(|segment| self.segments.get(&(span.pack, segment)).is_some())
    }

    /// The bytes out of memory or the cache on disk, never from the store. Blocks while the disk is read.
    pub(crate) fn kept(&self, span: Span) -> Option<Bytes> {
        let range = span.segments();
        let mut parts = Vec::with_capacity((range.end - range.start) as usize);
        let mut on_disk = None;
        for segment in range.clone() {
            parts.push(match self.segments.get(&(span.pack, segment)) {
                Some(bytes) => bytes,
                None => {
                    let read = || self.source.on_disk(span.pack, span.object_type, range.clone());
                    let found = on_disk.get_or_insert_with(read).as_ref()?;
                    let bytes = found.get(usize::try_from(segment - range.start).ok()?)?.clone()?;
                    self.segments.put((span.pack, segment), bytes.clone(), bytes.len());
                    bytes
                }
            });
        }
        cut(&parts, &span)
    }

    /// Whether these can be had without the store, in all likelihood: the cache on disk is not opened, only asked.
    /// Blocks while it is.
    pub(crate) fn are_kept(&self, spans: impl Iterator<Item = Span>) -> bool {
        merged(spans).into_iter().all(|(span, range)| {
            let is_here = |segment: u64| self.segments.get(&(span.pack, segment)).is_some();
            let missing: Vec<u64> = range.filter(|segment| !is_here(*segment)).collect();
            let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return true };
            let held = self.source.held(span.pack, *first..*last + 1);
            missing.iter().all(|segment| held.get((segment - first) as usize).is_some_and(|held| *held))
        })
    }

    /// The bytes, fetched if need be.
    pub(crate) async fn read(self: &Arc<Self>, span: Span) -> Result<Bytes> {
        let range = span.segments();
        let along = if span.object_type == ObjectType::MetaPack { META_SEGMENTS } else { 0 };
        let asked = self.request(&span, range.start..range.end.max(range.start + along), Need::Now);
        self.read_ahead(&span, range.clone());
        let mut coming = asked.into_iter();
        let mut parts = Vec::with_capacity((range.end - range.start) as usize);
        let mut may_ask_again = true;
        let mut segment = range.start;
        while let Some(part) = coming.next().filter(|_| segment < range.end) {
            let is_ours = part.is_ours();
            match part.landed(span.pack, segment).await {
                Ok(bytes) => {
                    parts.push(bytes);
                    segment += 1;
                }
                Err(error) if may_ask_again && (!is_ours || is_garbled(&error)) => {
                    may_ask_again = false;
                    coming = self.request(&span, segment..range.end, Need::Now).into_iter();
                }
                Err(error) => return Err(error),
            }
        }
        cut(&parts, &span).ok_or_else(|| damaged(span.pack, FormatError::Short { what: "pack" }))
    }

    /// Asks for bytes that are wanted now, with what lies behind them up to `segments` in all.
    pub(crate) fn along(self: &Arc<Self>, span: Span, segments: u64) {
        let range = span.segments();
        drop(self.request(&span, range.start..range.end.max(range.start + segments), Need::Now));
    }

    /// Asks for bytes that will be wanted soon, given in the order they will be wanted in.
    pub(crate) fn ahead(self: &Arc<Self>, spans: impl Iterator<Item = Span>) {
        for (first, whole) in merged(spans) {
            drop(self.request(&first, whole, Need::Soon));
        }
    }

    /// Brings bytes into the cache and keeps them there under a label. Returns how many were fetched.
    pub(crate) async fn pin(&self, label: &str, now_secs: i64, spans: impl Iterator<Item = Span>) -> Result<u64> {
        let pin = Pin { label, now_secs };
        let pieces = merged(spans).into_iter().flat_map(|(span, range)| {
            let starts = range.clone().step_by(REQUEST_SEGMENTS_MAX as usize);
            starts.map(move |start| (span, start..range.end.min(start + REQUEST_SEGMENTS_MAX)))
        });
        let pins = pieces.map(|(span, range)| self.source.pin(pin, span.pack, span.object_type, range));
        futures::stream::iter(pins)
            .buffer_unordered(AHEAD_REQUESTS_MAX)
            .try_fold(0, async |sum, more| Ok(sum + more))
            .await
    }

    /// Half of the memory for segments: what was fetched ahead must not push itself out.
    pub(crate) fn ahead_bytes_max(&self) -> u64 {
        self.bytes_max as u64 / 2
    }

    /// Every segment of the range: at hand, on its way, or asked for now in as few requests as possible.
    fn request(self: &Arc<Self>, span: &Span, range: Range<u64>, need: Need) -> Vec<Part> {
        let mut flights = lock(&self.flights);
        let mut parts = Vec::new();
        let mut at = range.start;
        while at < range.end {
            if let Some(bytes) = self.segments.get(&(span.pack, at)) {
                parts.push(Part::Here(bytes));
                at += 1;
            } else if let Some(flight) = flights.get(&(span.pack, at)) {
                if need == Need::Now {
                    flight.wanted.notify_one();
                }
                parts.push(Part::Joined(flight.clone()));
                at += 1;
            } else {
                let limit = at + self.request_segments(range.end - at, need);
                let is_missing =
                    |s: &u64| !flights.contains_key(&(span.pack, *s)) && self.segments.get(&(span.pack, *s)).is_none();
                let end = (at + 1..limit).find(|s| !is_missing(s)).unwrap_or(limit);
                let flight = self.launch(span.pack, span.object_type, at..end, need);
                for segment in at..end {
                    flights.insert((span.pack, segment), flight.clone());
                    parts.push(Part::Ours(flight.clone()));
                }
                at = end;
            }
        }
        parts
    }

    /// Segments of the next request, of so many that are wanted. What nobody waits for goes in equal parts: a short rest
    /// costs as much as any other request.
    fn request_segments(&self, wanted: u64, need: Need) -> u64 {
        match need {
            Need::Now => wanted.min(REQUEST_SEGMENTS_MAX),
            Need::Soon => {
                let max = self.ahead_segments_max;
                let parts = (wanted + max / 2) / max;
                if parts > 1 { wanted.div_ceil(parts) } else { wanted }
            }
        }
    }

    /// Starts one range request that goes on whoever waits for it.
    fn launch(self: &Arc<Self>, pack: ObjectId, object_type: ObjectType, range: Range<u64>, need: Need) -> Flight {
        let (this, base) = (self.clone(), range.start);
        let wanted = Arc::new(Notify::new());
        let hurry = wanted.clone();
        let task = self.runtime.spawn(async move {
            // Made here: a runtime that ends drops tasks within `spawn`, where the list is locked.
            let _flown = Flown { fetch: this.clone(), pack, range: range.clone() };
            let _slot = match need {
                Need::Now => None,
                Need::Soon => this.ahead_slot(&hurry).await,
            };
            let segments = this.source.get(pack, object_type, range.clone()).await;
            for (segment, opened) in range.zip(segments.iter()) {
                if let Ok(bytes) = opened {
                    this.segments.put((pack, segment), bytes.clone(), bytes.len());
                }
            }
            segments
        });
        let landing = async move { task.await.ok() }.boxed().shared();
        Flight { base, wanted, landing }
    }

    /// Waits for its turn, or until somebody waits for it.
    async fn ahead_slot(&self, hurry: &Notify) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            slot = self.ahead_slots.clone().acquire_owned() => slot.ok(),
            () = hurry.notified() => None,
        }
    }

    /// Notes an access to pages and asks for those that will be wanted next.
    fn read_ahead(self: &Arc<Self>, span: &Span, range: Range<u64>) {
        if span.object_type != ObjectType::MetaPack {
            return;
        }
        let segments = self.source.segments_of(span.pack);
        let Some(ahead) = self.streams.progress(span.pack, &range, segments) else { return };
        if !ahead.is_empty() {
            drop(self.request(span, ahead, Need::Soon));
        }
    }
}

/// A segment that is here, or on its way.
enum Part {
    Here(Bytes),
    /// By a request that others made.
    Joined(Flight),
    /// By a request made for this reader.
    Ours(Flight),
}

impl Part {
    fn is_ours(&self) -> bool {
        matches!(self, Part::Ours(_))
    }

    async fn landed(self, pack: ObjectId, segment: u64) -> Result<Bytes> {
        match self {
            Part::Here(bytes) => Ok(bytes),
            Part::Joined(flight) | Part::Ours(flight) => {
                let segments = flight.landing.await.ok_or(Error::TaskLost)?;
                let at = usize::try_from(segment - flight.base).ok().and_then(|at| segments.get(at));
                let opened = at.cloned().ok_or_else(|| damaged(pack, FormatError::Short { what: "pack" }))?;
                opened.map_err(Error::Shared)
            }
        }
    }
}

/// Strikes a request off the list, however it ended.
struct Flown {
    fetch: Arc<Fetch>,
    pack: ObjectId,
    range: Range<u64>,
}

impl Drop for Flown {
    fn drop(&mut self) {
        let mut flights = lock(&self.fetch.flights);
        self.range.clone().for_each(|segment| drop(flights.remove(&(self.pack, segment))));
    }
}

/// True for bytes that came, and not as they should have: the next time they may.
fn is_garbled(error: &Error) -> bool {
    match error.inner() {
        Error::Store(e) => e.kind == ErrorKind::Truncated,
        Error::Object { .. } => true,
        _ => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// True for failures that a look into the index may mend.
pub(crate) fn may_lie_elsewhere(error: &Error) -> bool {
    match error.inner() {
        Error::Store(e) => matches!(e.kind, ErrorKind::NotFound | ErrorKind::Truncated),
        Error::Object { .. } => true,
        _ => false,
    }
}

/// True if the store was not asked, because that is not wanted.
pub(crate) fn is_offline(error: &Error) -> bool {
    matches!(error.inner(), Error::Store(e) if e.kind == ErrorKind::Offline)
}
