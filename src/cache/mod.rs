//! The local chunk cache: runs of sealed segments of packs, and whole small objects, kept on disk for all repositories
//! of a user.
//!
//! What is kept is what the storage gave: ciphertext. The cache has no keys and vouches for nothing; a reader opens
//! what it is given and calls [`Cache::forget`] for what does not open. That is why nothing here needs to be synced,
//! and why no reader waits for a writer:
//!
//! | while X | Y may |
//! |---|---|
//! | one process reads | any other read, write, evict, clear; a slot that changes hands does not open |
//! | one process writes | others read; others write after it, or drop what they had |
//! | a process is killed | its transaction never happened; bytes it wrote do not open |
//! | the folder is deleted | writers make it anew; readers find nothing until then |
//! | the database or the slots are damaged | the cache empties itself |
//! | the disk is full or read-only | nothing new is kept for a while |
//!
//! *The bound is exact*: what the folder takes on disk, without what is pinned, never exceeds the limit, and the cache
//! never takes the last twentieth of the disk. *Recency decides* what goes, but data goes before metadata as long as
//! metadata takes less than its part, so that reading a large file does not push out the pages of folders.
//!
//! Reading never fails: trouble is a miss. Writing goes through a bounded queue to a thread; what does not fit is
//! dropped. The cache never asks the storage and never decrypts.

mod budget;
mod fault;
mod figures;
mod folder;
mod keeper;
mod ledger;
mod objects;
mod pins;
mod queue;
mod reader;
mod schema;
mod slots;
mod writer;

pub use budget::LIMIT_BYTES_DEFAULT;
pub use budget::LIMIT_BYTES_MIN;
pub use budget::METADATA_FLOOR;
pub use budget::OBJECT_BYTES_MAX;
pub use budget::RUN_SEGMENTS;
pub use fault::Error;
pub use fault::Result;
pub use figures::PinInfo;
pub use figures::Stats;
pub use figures::Status;
pub use objects::Listed;

use crate::cache::budget::Budget;
use crate::cache::budget::STRIDE;
use crate::cache::fault::Fault;
use crate::cache::folder::Folder;
use crate::cache::keeper::Keeper;
use crate::cache::objects::Key;
use crate::cache::reader::len;
use crate::cache::schema::DATA;
use crate::cache::schema::METADATA;
use crate::cache::writer::Work;
use crate::cache::writer::cut_into_runs;
use crate::id::ObjectId;
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a process waits at its end for what is still to be written.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// What a run is part of, as far as it decides how long it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Contents of files.
    Data,
    /// Pages of trees.
    Metadata,
}

impl Class {
    fn state(self) -> i64 {
        match self {
            Class::Data => DATA,
            Class::Metadata => METADATA,
        }
    }
}

/// How to open a cache. `Default` is right for everybody.
#[derive(Debug, Clone)]
pub struct Options {
    /// A limit for this process instead of the one of all, bytes on disk. What lies above it is evicted.
    pub limit: Option<u64>,
    /// Bytes that may wait to be written; more are dropped.
    pub queue_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { limit: None, queue_bytes_max: 32 << 20 }
    }
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    bytes_hit: AtomicU64,
    object_hits: AtomicU64,
    object_misses: AtomicU64,
    bytes_kept: AtomicU64,
    bytes_dropped: AtomicU64,
    forgotten: AtomicU64,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open cache. All of it may be called from any thread.
pub struct Cache {
    keeper: Arc<Keeper>,
    thread: Option<std::thread::JoinHandle<()>>,
    counters: Counters,
    queue_bytes_max: usize,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("folder", &self.folder()).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the cache in a folder, which is made if it is missing and must belong to it alone.
    ///
    /// # Errors
    /// If the folder is somebody else's, cannot be written to, or lies on a file system that cannot do what is needed.
    pub fn open(folder: &Path, options: &Options) -> Result<Arc<Cache>> {
        check_limit(options.limit)?;
        let folder = Folder { path: folder.to_owned() };
        let keeper = Keeper::new(folder.clone(), options.limit).map_err(|fault| fault.at(&folder.path))?;
        let keeper = Arc::new(keeper);
        let at_work = keeper.clone();
        let thread = std::thread::Builder::new().name("cache".to_owned()).spawn(move || at_work.run());
        let thread = Some(thread.map_err(|error| Fault::from(error).at(&folder.path))?);
        let queue_bytes_max = options.queue_bytes_max;
        Ok(Arc::new(Cache { keeper, thread, counters: Counters::default(), queue_bytes_max }))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.keeper.folder.path
    }

    fn fault(&self, fault: Fault) -> Error {
        fault.at(self.folder())
    }

    /// The sealed segments that are here, one for each that was asked for. They may be bad: see [`Cache::forget`].
    pub fn read(&self, pack: ObjectId, segments: Range<u64>) -> Vec<Option<Bytes>> {
        let found = self.keeper.with_reader(|reader| reader.read(pack, segments.clone()));
        let Some(found) = found else {
            add(&self.counters.misses, len(&segments) as u64);
            return vec![None; len(&segments)];
        };
        let (mut hits, mut bytes) = (0, 0);
        for segment in found.segments.iter().flatten() {
            hits += 1;
            bytes += segment.len() as u64;
        }
        add(&self.counters.hits, hits);
        add(&self.counters.bytes_hit, bytes);
        add(&self.counters.misses, found.segments.len() as u64 - hits);
        if hits > 0 {
            self.keeper.queue.touch_runs(pack, &found.runs);
        }
        for run in found.lost {
            self.keeper.queue.forget(pack, run, u8::MAX);
        }
        found.segments
    }

    /// Whether these segments are here, without reading them.
    pub fn holds(&self, pack: ObjectId, segments: Range<u64>) -> Vec<bool> {
        let found = self.keeper.with_reader(|reader| reader.holds(pack, segments.clone()));
        found.unwrap_or_else(|| vec![false; len(&segments)])
    }

    /// Gives consecutive sealed segments to be kept, as the storage gave them: whole ones, the last may be shorter if
    /// it is the last of its pack. Returns at once; what comes too fast is dropped.
    pub fn keep(&self, pack: ObjectId, class: Class, first_segment: u64, sealed: Bytes) {
        let bytes = sealed.len();
        let runs = cut_into_runs(pack, class, first_segment, &sealed);
        self.enqueue(runs.into_iter().map(Work::Keep).collect(), bytes);
    }

    fn enqueue(&self, work: Vec<Work>, bytes: usize) {
        let is_added = self.keeper.queue.add(work, bytes, self.queue_bytes_max);
        add(if is_added { &self.counters.bytes_kept } else { &self.counters.bytes_dropped }, bytes as u64);
    }

    /// Tells that segments do not open: they are dropped, and what is given next in their place is kept.
    pub fn forget(&self, pack: ObjectId, segments: Range<u64>) {
        add(&self.counters.forgotten, len(&segments) as u64);
        for segment in segments {
            if let Ok(run) = i64::try_from(segment / RUN_SEGMENTS) {
                self.keeper.queue.forget(pack, run, 1 << (segment % RUN_SEGMENTS));
            }
        }
    }

    fn whole(&self, key: Key) -> Option<Bytes> {
        let found = self.keeper.with_reader(|reader| reader.object(&key)).flatten();
        add(if found.is_some() { &self.counters.object_hits } else { &self.counters.object_misses }, 1);
        if found.is_some() {
            self.keeper.queue.touch_object(key);
        }
        found
    }

    fn keep_whole(&self, key: Key, bytes: Bytes) {
        let len = bytes.len();
        if len as u64 <= OBJECT_BYTES_MAX {
            self.enqueue(vec![Work::KeepObject(key, bytes)], len);
        }
    }

    /// A whole object of the repository at a place, as it was kept.
    pub fn object(&self, place: &str, name: &str) -> Option<Bytes> {
        self.whole(Key::object(place, name))
    }

    /// Gives a whole object to be kept; longer ones than [`OBJECT_BYTES_MAX`] are not.
    pub fn keep_object(&self, place: &str, name: &str, bytes: Bytes) {
        self.keep_whole(Key::object(place, name), bytes);
    }

    /// Drops an object.
    pub fn forget_object(&self, place: &str, name: &str) {
        self.enqueue(vec![Work::ForgetObject(Key::object(place, name))], 0);
    }

    /// What a listing of the names with a prefix said when it was kept.
    pub fn listing(&self, place: &str, prefix: &str) -> Option<Vec<Listed>> {
        objects::decode_listing(&self.whole(Key::listing(place, prefix))?)
    }

    /// Gives a listing to be kept.
    pub fn keep_listing(&self, place: &str, prefix: &str, listed: &[Listed]) {
        if let Some(bytes) = objects::encode_listing(listed) {
            self.keep_whole(Key::listing(place, prefix), bytes);
        }
    }

    /// Keeps these segments of packs (whole runs of them) and the objects of the place for good, those that are here
    /// and those to come, until [`Cache::unpin`]. A label that is there already is added to.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn pin(&self, label: &str, place: &str, now_secs: i64, ranges: &[(ObjectId, Range<u64>)]) -> Result<()> {
        let runs: Vec<_> = ranges.iter().map(|(pack, segments)| (*pack, runs_of(segments))).collect();
        let pinned = self.keeper.with_writer(|writer| writer.pin(label, place, now_secs, &runs));
        pinned.map_err(|fault| self.fault(fault))
    }

    /// Writes consecutive sealed segments, as for [`Cache::keep`], and pins them. Waits until they are kept.
    ///
    /// # Errors
    /// [`Error::NoPin`] without a pin of that label; [`Error::DiskShort`] if less than a twentieth of the disk would
    /// stay free.
    pub fn write_pinned(
        &self,
        label: &str,
        pack: ObjectId,
        class: Class,
        first_segment: u64,
        sealed: &Bytes,
    ) -> Result<()> {
        let runs = cut_into_runs(pack, class, first_segment, sealed);
        self.keeper.with_writer(|writer| writer.write_pinned(label, &runs)).map_err(|fault| self.fault(fault))
    }

    /// Takes note of whether all is there that a pin is to keep: to be told before the first of it comes, and at the end.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn note_whole(&self, label: &str, is_whole: bool) -> Result<()> {
        self.keeper.with_writer(|writer| writer.note_whole(label, is_whole)).map_err(|fault| self.fault(fault))
    }

    /// Drops a pin. What it kept can be evicted from now on; what lies above the limit goes at once.
    ///
    /// # Errors
    /// [`Error::NoPin`] if there is none.
    pub fn unpin(&self, label: &str) -> Result<()> {
        self.keeper.with_writer(|writer| writer.unpin(label)).map_err(|fault| self.fault(fault))
    }

    /// All pins, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn pins(&self) -> Result<Vec<PinInfo>> {
        self.keeper.with_writer(|writer| pins::pins(&writer.db)).map_err(|fault| self.fault(fault))
    }

    /// Drops everything, or everything but what is pinned, and gives the room back.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn clear(&self, pinned_too: bool) -> Result<()> {
        self.flush(STOP_WAIT);
        self.keeper.with_writer(|writer| writer.clear(pinned_too)).map_err(|fault| self.fault(fault))
    }

    /// The limit that holds for this process, bytes on disk.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn limit(&self) -> Result<u64> {
        self.keeper.budget().map(|budget| budget.limit).map_err(|fault| self.fault(fault))
    }

    /// The limit a new cache would get in its place, bytes on disk.
    ///
    /// # Errors
    /// If it cannot be found out.
    pub fn usual_limit(&self) -> Result<u64> {
        let status = self.status()?;
        Ok(Budget::default_limit(status.disk_free_bytes.saturating_add(status.disk_bytes)))
    }

    /// Changes the limit for all processes, for good. A lower one takes effect at once.
    ///
    /// # Errors
    /// [`Error::LimitTooSmall`], or if it cannot be written down.
    pub fn set_limit(&self, bytes: u64) -> Result<()> {
        check_limit(Some(bytes))?;
        self.keeper.with_writer(|writer| writer.set_limit(bytes)).map_err(|fault| self.fault(fault))
    }

    /// What this process has found so far.
    pub fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Stats {
            hits: get(&counters.hits),
            misses: get(&counters.misses),
            bytes_hit: get(&counters.bytes_hit),
            object_hits: get(&counters.object_hits),
            object_misses: get(&counters.object_misses),
            bytes_kept: get(&counters.bytes_kept),
            bytes_dropped: get(&counters.bytes_dropped),
            forgotten: get(&counters.forgotten),
        }
    }

    /// What is kept, by all processes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn status(&self) -> Result<Status> {
        self.keeper.status().map_err(|fault| self.fault(fault))
    }

    /// Waits until all that was given before is written or dropped; false if that takes longer than `time`.
    pub fn flush(&self, time: Duration) -> bool {
        self.keeper.queue.flush(time)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let has_ended = self.keeper.queue.stop(STOP_WAIT);
        if let Some(thread) = self.thread.take().filter(|_| has_ended) {
            // It has said its last word; if that was a panic there is nothing to add.
            let _ended = thread.join();
        }
    }
}

fn check_limit(limit: Option<u64>) -> Result<()> {
    match limit {
        Some(bytes) if bytes < LIMIT_BYTES_MIN => Err(Error::LimitTooSmall { bytes, bytes_min: LIMIT_BYTES_MIN }),
        _ => Ok(()),
    }
}

/// The runs in which segments lie.
fn runs_of(segments: &Range<u64>) -> Range<i64> {
    let run = |run: u64| i64::try_from(run).unwrap_or(i64::MAX);
    run(segments.start / RUN_SEGMENTS)..run(segments.end.div_ceil(RUN_SEGMENTS))
}

/// Bytes of so many slots.
fn slot_bytes(slots: i64) -> u64 {
    u64::try_from(slots).unwrap_or(0).saturating_mul(STRIDE)
}
