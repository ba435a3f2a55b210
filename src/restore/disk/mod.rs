//! Writing a whole disk back: to a block device, or to a file.
//!
//! # Always
//! - Every byte of the target, up to the length of the disk, is what the snapshot has there: data is written, and where
//!   the snapshot has a hole the target has zeros. A new file is sparse; anything else is read there, and zeros are
//!   written where something else stands. What devices promise about discarded blocks is not relied upon.
//! - What is lost in the repository becomes zeros, is told, and does not keep the rest from being restored.
//! - What came of it is on the disk when this returns.
//!
//! # Never
//! - A disk that is in use is written to, nor one that is there already unless [`DiskOptions::overwrite`] says so.
//! - A byte behind the end of the disk is touched on a device that is larger.

mod blocks;
mod fault;

mod verify;

pub use self::fault::DiskError;

use self::blocks::Compared;
use self::blocks::Manner;
use self::blocks::add_range;
use self::blocks::clear;
use self::blocks::compare;
use self::blocks::within;
use self::fault::DiskProblem;
use crate::browse::Browse;
use crate::browse::DataStream;
use crate::browse::disk_of;
use crate::extent::Extent;
use crate::format::FormatError;
use crate::format::disk::Disk;
use crate::image;
use crate::meta::Content;
use crate::meta::Node;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::repo;
use crate::restore::problem::is_damage;
use crate::store::ErrorKind;
use crate::target::DiskFault;
use crate::target::DiskTarget;
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Bytes of the disk that are compared at once.
const SPAN_BYTES: u64 = 64 << 20;
/// The next are compared when fewer chunks than this are waiting to be fetched.
const WAITING_MIN: usize = 1024;
/// Bytes written by one trip to another thread.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes after which the device has to say that they are written.
const SYNC_BYTES: u64 = 1 << 30;
/// Ranges kept for the summary.
const RANGES_MAX: usize = 4096;

/// What to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskOptions {
    /// Write over a device, or over a file that is there.
    pub overwrite: bool,
    /// Read what is there and write only what differs.
    pub delta: bool,
    /// Read everything back and compare.
    pub verify: bool,
    /// Write nothing, only tell.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskSummary {
    /// Bytes of the disk.
    pub bytes: u64,
    /// Those of them that are no holes.
    pub bytes_data: u64,
    /// Data written, or that would be.
    pub bytes_written: u64,
    /// Zeros written in place of something else, or that would be.
    pub bytes_zeroed: u64,
    /// Data that was there already.
    pub bytes_same: u64,
    /// Bytes of the device behind the end of the disk, which were not touched.
    pub bytes_behind: u64,
    /// True if everything was read back and is right.
    pub verified: bool,
    /// What could not be read when the disk was backed up.
    pub unreadable: Vec<Range<u64>>,
    /// What is lost in the repository.
    pub lost: Vec<Range<u64>>,
    /// What was read back and differs.
    pub differs: Vec<Range<u64>>,
    /// Problems told to the monitor.
    pub problems: u64,
}

type Result<T> = std::result::Result<T, DiskError>;

/// Writes the disk that `node` holds to the device or file `target`; a file is made if nothing is there.
///
/// What is wrong with parts of the disk is told to the monitor and counted; an error leaves the target as it was, or is
/// [`DiskError::Incomplete`]. Must be called within a tokio runtime.
pub async fn restore_disk(
    browse: &Browse,
    node: &Node,
    target: &Path,
    options: &DiskOptions,
    monitor: &dyn Monitor,
) -> Result<DiskSummary> {
    let disk = disk_of(node).ok_or_else(|| DiskError::NotADisk { path: node.name.clone() })?;
    let (path, len, own) = (target.to_owned(), node.content.len(), *options);
    let found = blocking(move || look(&path, len, &disk, own).map(|found| (found, disk))).await?;
    let (found, disk) = found?;
    let mut job = Job::new(browse, node, *options, monitor);
    job.summary.bytes_behind = found.as_ref().map_or(0, |found| if found.is_device() { found.len() - len } else { 0 });
    for range in &disk.unreadable {
        job.tell(&DiskProblem::Unreadable { range: range.clone() });
    }
    job.summary.unreadable.clone_from(&disk.unreadable);
    // Nothing is touched before the repository has shown that it gives something.
    browse.read(&node.content, 0, 1).await.map(drop).or_else(pass)?;
    if options.dry_run {
        let manner = Manner { is_blank: found.is_none() || job.replaces(found.as_ref()), ..job.manner() };
        if let Some(found) = found {
            job.write(Arc::new(found), manner).await?;
        } else {
            job.summary.bytes_written = job.summary.bytes_data;
        }
        return Ok(job.summary);
    }
    let (path, own) = (target.to_owned(), *options);
    let (disk_target, is_blank) = blocking(move || open(&path, len, found, own)).await??;
    let opened = Arc::new(disk_target);
    let manner = Manner { is_blank, ..job.manner() };
    let done = job.write_and_verify(opened, manner, &disk).await;
    let path = || target.to_owned();
    done.map_err(|source| DiskError::Incomplete { path: path(), source: Box::new(source) })?;
    Ok(job.summary)
}

/// What is at the target, if it may be written to.
fn look(path: &Path, len: u64, disk: &Disk, options: DiskOptions) -> Result<Option<DiskTarget>> {
    let Some(found) = DiskTarget::look(path)? else { return Ok(None) };
    let own = || path.to_owned();
    match image::used_by(path) {
        Ok(None) => {}
        Ok(Some(used)) => return Err(DiskError::InUse { path: own(), used }),
        Err(source) => return Err(DiskError::Uses { path: own(), source }),
    }
    if found.is_device() {
        if found.len() < len {
            return Err(DiskError::TooSmall { path: own(), has: found.len(), needs: len });
        }
        let (has, needs) = (found.sector_bytes(), disk.sector_bytes);
        if !disk.table.is_empty() && has != needs {
            return Err(DiskError::Sectors { path: own(), has, needs });
        }
    }
    if !options.overwrite && !options.dry_run {
        return Err(DiskError::Exists { path: own() });
    }
    Ok(Some(found))
}

/// Opens the target, and says whether it reads as zeros all over.
fn open(path: &Path, len: u64, found: Option<DiskTarget>, options: DiskOptions) -> Result<(DiskTarget, bool)> {
    let Some(found) = found else { return Ok((DiskTarget::create(path, len)?, true)) };
    // The lock on a file ends when any handle of it is closed.
    drop(found);
    let mut disk = DiskTarget::open(path)?;
    if disk.is_device() {
        return match disk.len() < len {
            true => Err(DiskError::TooSmall { path: path.to_owned(), has: disk.len(), needs: len }),
            false => Ok((disk, false)),
        };
    }
    if !options.delta {
        disk.set_len(0)?;
    }
    disk.set_len(len)?;
    Ok((disk, !options.delta))
}

fn too_short() -> repo::Error {
    repo::Error::Object { object: "chunk of a disk".to_owned(), source: FormatError::Short { what: "disk" } }
}

/// Damage to one chunk is told where it is met.
fn pass(error: repo::Error) -> std::result::Result<(), repo::Error> {
    if can_go_on(&error) { Ok(()) } else { Err(error) }
}

/// True if other chunks may be whole.
fn can_go_on(error: &repo::Error) -> bool {
    let is_offline = matches!(error.inner(), repo::Error::Store(store) if store.kind == ErrorKind::Offline);
    is_damage(error) && !is_offline
}

/// One disk on its way.
struct Job<'a> {
    browse: &'a Browse,
    monitor: &'a dyn Monitor,
    name: &'a [u8],
    content: &'a Content,
    options: DiskOptions,
    summary: DiskSummary,
    /// Lost, and not told yet because it may go on.
    losing: Option<(Range<u64>, repo::Error)>,
}

impl<'a> Job<'a> {
    fn new(browse: &'a Browse, node: &'a Node, options: DiskOptions, monitor: &'a dyn Monitor) -> Job<'a> {
        let bytes_data = match &node.content {
            Content::Extents { data, .. } => *data,
            content => content.len(),
        };
        let summary = DiskSummary { bytes: node.content.len(), bytes_data, ..DiskSummary::default() };
        let (name, content) = (&node.name[..], &node.content);
        Job { browse, monitor, name, content, options, summary, losing: None }
    }

    fn manner(&self) -> Manner {
        Manner { is_blank: false, delta: self.options.delta, dry_run: self.options.dry_run }
    }

    /// True if a file that is there would be written anew.
    fn replaces(&self, found: Option<&DiskTarget>) -> bool {
        found.is_some_and(|found| !found.is_device()) && !self.options.delta
    }

    fn len(&self) -> u64 {
        self.content.len()
    }

    fn tell(&mut self, problem: &DiskProblem) {
        self.summary.problems += 1;
        self.monitor.event(Event::Problem { path: self.name, cause: problem });
    }

    fn done(&self, bytes: u64) {
        self.monitor.event(Event::Done { nodes: 0, bytes });
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.monitor.is_cancelled() { Err(DiskError::Cancelled) } else { Ok(()) }
    }

    async fn write_and_verify(&mut self, disk: Arc<DiskTarget>, manner: Manner, about: &Disk) -> Result<()> {
        self.write(disk.clone(), manner).await?;
        let written = disk.clone();
        blocking(move || written.sync()).await??;
        if self.options.verify {
            self.verify(disk, about).await?;
        }
        self.monitor.event(Event::Done { nodes: 1, bytes: 0 });
        Ok(())
    }

    /// Writes what has to be written.
    async fn write(&mut self, disk: Arc<DiskTarget>, manner: Manner) -> Result<()> {
        let own = if manner.is_blank { self.summary.bytes_data } else { self.len() };
        let bytes = own + if self.options.verify && !manner.dry_run { self.len() } else { 0 };
        self.monitor.event(Event::Total { nodes: 1, bytes });
        self.monitor.event(Event::Path(self.name));
        let mut writer = Writer { disk: disk.clone(), running: None, unsynced: 0 };
        let done = self.write_all(&disk, manner, &mut writer).await;
        // Whatever became of it: nothing goes on behind the caller's back.
        let written = writer.wait().await;
        self.end_losing();
        done.and(written)
    }

    async fn write_all(&mut self, disk: &Arc<DiskTarget>, manner: Manner, writer: &mut Writer) -> Result<()> {
        let mut data = DataStream::of_chunks(self.browse.chunks());
        let (mut at, mut batch) = (0, Vec::new());
        let mut batch_bytes = 0;
        loop {
            self.check_cancelled()?;
            while at < self.len() && data.waiting() < WAITING_MIN {
                self.check_cancelled()?;
                at = self.compare_from(at, disk, manner, &mut data).await?;
            }
            let Some((range, bytes)) = data.next_or_fault().await? else { break };
            let len = range.end - range.start;
            match bytes {
                Ok(bytes) if bytes.len() as u64 == len => {
                    self.end_losing();
                    batch_bytes += bytes.len();
                    batch.push((range.start, bytes));
                    self.summary.bytes_written += len;
                }
                Ok(_) => return Err(too_short().into()),
                Err(error) if can_go_on(&error) => {
                    self.lose(range.clone(), error);
                    if !manner.is_blank {
                        let disk = disk.clone();
                        self.summary.bytes_zeroed += blocking(move || clear(&disk, &range, false)).await??;
                    }
                }
                Err(error) => return Err(error.into()),
            }
            self.done(len);
            if batch_bytes >= BATCH_BYTES {
                batch_bytes = 0;
                writer.write(std::mem::take(&mut batch)).await?;
            }
        }
        writer.write(batch).await
    }

    /// Compares the disk from `at` on with the snapshot; gives what has to be written to `data`, and returns up to where.
    async fn compare_from(
        &mut self,
        at: u64,
        disk: &Arc<DiskTarget>,
        manner: Manner,
        data: &mut DataStream,
    ) -> Result<u64> {
        let (pieces, end) = self.pieces(at).await?;
        let (disk, keys) = (disk.clone(), self.browse.chunks().repo().keys().clone());
        let compared = blocking(move || compare(&disk, &keys, &pieces, manner)).await??;
        let Compared { wanted, same, zeroed, done } = compared;
        self.summary.bytes_same += same;
        self.summary.bytes_zeroed += zeroed;
        self.done(done);
        for (offset, chunk) in wanted {
            if manner.dry_run {
                self.summary.bytes_written += u64::from(chunk.len);
            } else {
                data.add(offset, chunk);
            }
        }
        Ok(end)
    }

    /// What the snapshot has from `at` on, and up to where.
    async fn pieces(&self, at: u64) -> Result<(Vec<(Range<u64>, Extent)>, u64)> {
        let span = at..self.len().min(at.saturating_add(SPAN_BYTES));
        let pieces = self.browse.pieces(self.content, span.clone()).await?;
        // What is nowhere would be left as it is.
        let first = pieces.first().map(|piece| piece.offset);
        let has_gap = pieces.windows(2).any(|pair| pair[0].end() != pair[1].offset);
        let is_short = pieces.last().is_none_or(|last| last.end() < span.end);
        if has_gap || is_short || first.is_none_or(|first| first > at) {
            return Err(too_short().into());
        }
        Ok((within(pieces, &span), span.end))
    }

    /// Takes note of a chunk that is lost; neighbours are told together.
    fn lose(&mut self, range: Range<u64>, error: repo::Error) {
        if self.summary.lost.len() < RANGES_MAX {
            add_range(&mut self.summary.lost, range.clone());
        }
        match &mut self.losing {
            Some((last, _)) if last.end == range.start => last.end = range.end,
            _ => {
                self.end_losing();
                self.losing = Some((range, error));
            }
        }
    }

    fn end_losing(&mut self) {
        if let Some((range, source)) = self.losing.take() {
            self.tell(&DiskProblem::Lost { range, source });
        }
    }
}

/// Writes batches, one while the next is fetched.
struct Writer {
    disk: Arc<DiskTarget>,
    running: Option<JoinHandle<std::result::Result<(), DiskFault>>>,
    unsynced: u64,
}

impl Writer {
    async fn write(&mut self, batch: Vec<(u64, Bytes)>) -> Result<()> {
        self.wait().await?;
        let disk = self.disk.clone();
        self.unsynced += batch.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let syncs = self.unsynced >= SYNC_BYTES;
        if syncs {
            self.unsynced = 0;
        }
        self.running = Some(tokio::task::spawn_blocking(move || {
            for (offset, bytes) in batch {
                disk.write_at(offset, &bytes)?;
            }
            if syncs { disk.sync() } else { Ok(()) }
        }));
        Ok(())
    }

    async fn wait(&mut self) -> Result<()> {
        match self.running.take() {
            Some(running) => Ok(running.await.map_err(|_| repo::Error::TaskLost)??),
            None => Ok(()),
        }
    }
}

/// Runs something that blocks on the disk, away from the async threads.
async fn blocking<T: Send + 'static>(deed: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(deed).await.map_err(|_| repo::Error::TaskLost.into())
}
