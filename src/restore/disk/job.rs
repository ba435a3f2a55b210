//! Writing a disk block by block: what is fetched, compared, written and lost on the way.

use crate::browse::Browse;
use crate::browse::DataStream;
use crate::extent::Extent;
use crate::format::FormatError;
use crate::format::disk::Disk;
use crate::meta::Content;
use crate::meta::Node;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::repo;
use crate::restore::disk::DiskError;
use crate::restore::disk::DiskOptions;
use crate::restore::disk::DiskSummary;
use crate::restore::disk::Result;
use crate::restore::disk::blocks::Compared;
use crate::restore::disk::blocks::Manner;
use crate::restore::disk::blocks::add_range;
use crate::restore::disk::blocks::clear;
use crate::restore::disk::blocks::compare;
use crate::restore::disk::blocks::within;
use crate::restore::disk::fault::DiskProblem;
use crate::restore::problem::is_damage;
use crate::store::ErrorKind;
use crate::target::DiskFault;
use crate::target::DiskTarget;
use crate::tree::Piece;
use bytes::Bytes;
use std::ops::Range;
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
pub(super) const RANGES_MAX: usize = 4096;

pub(super) fn too_short() -> repo::Error {
    repo::Error::Object { object: "chunk of a disk".to_owned(), source: FormatError::Short { what: "disk" } }
}

/// Damage to one chunk is told where it is met.
pub(super) fn pass(error: repo::Error) -> std::result::Result<(), repo::Error> {
    if can_go_on(&error) { Ok(()) } else { Err(error) }
}

/// True if other chunks may be whole.
pub(super) fn can_go_on(error: &repo::Error) -> bool {
    let is_offline = matches!(error.inner(), repo::Error::Store(store) if store.kind == ErrorKind::Offline);
    is_damage(error) && !is_offline
}

/// One disk, or one part of it, on its way. All offsets are those on the target.
pub(super) struct Job<'a> {
    pub(super) browse: &'a Browse,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) name: &'a [u8],
    pub(super) content: &'a Content,
    /// What of the content is meant. A chunk begins where it begins; the last one may go on behind its end.
    range: Range<u64>,
    pub(super) options: DiskOptions,
    pub(super) summary: DiskSummary,
    /// Lost, and not told yet because it may go on.
    losing: Option<(Range<u64>, repo::Error)>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        browse: &'a Browse,
        node: &'a Node,
        range: Range<u64>,
        options: DiskOptions,
        monitor: &'a dyn Monitor,
    ) -> Job<'a> {
        let (name, content) = (&node.name[..], &node.content);
        let range = range.start.min(content.len())..range.end.min(content.len());
        let bytes = range.end.saturating_sub(range.start);
        let summary = DiskSummary { bytes, ..DiskSummary::default() };
        Job { browse, monitor, name, content, range, options, summary, losing: None }
    }

    /// Finds out how much of it is no hole.
    pub(super) async fn count_data(&mut self) -> Result<()> {
        self.summary.bytes_data = match self.content {
            Content::Extents { data, .. } if self.len() == self.content.len() => *data,
            Content::Extents { .. } => {
                let (mut at, mut data) = (0, 0);
                while at < self.len() {
                    let (pieces, end) = self.pieces(at).await?;
                    let found = pieces.iter().filter(|(_, extent)| matches!(extent, Extent::Data(_)));
                    data += found.map(|(range, _)| range.end.min(self.len()) - range.start).sum::<u64>();
                    at = end;
                }
                data
            }
            _ => self.len(),
        };
        Ok(())
    }

    /// Where it begins in the content.
    pub(super) fn start(&self) -> u64 {
        self.range.start
    }

    pub(super) fn manner(&self) -> Manner {
        Manner { is_blank: false, delta: self.options.delta, dry_run: self.options.dry_run, end: self.len() }
    }

    /// True if a file that is there would be written anew.
    pub(super) fn replaces(&self, found: Option<&DiskTarget>) -> bool {
        found.is_some_and(|found| !found.is_device()) && !self.options.delta
    }

    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    pub(super) fn tell(&mut self, problem: &DiskProblem) {
        self.summary.problems += 1;
        self.monitor.event(Event::Problem { path: self.name, cause: problem });
    }

    pub(super) fn done(&self, bytes: u64) {
        self.monitor.event(Event::Done { nodes: 0, bytes });
    }

    pub(super) fn check_cancelled(&self) -> Result<()> {
        if self.monitor.is_cancelled() { Err(DiskError::Cancelled) } else { Ok(()) }
    }

    pub(super) async fn write_and_verify(&mut self, disk: Arc<DiskTarget>, manner: Manner, about: &Disk) -> Result<()> {
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
    pub(super) async fn write(&mut self, disk: Arc<DiskTarget>, manner: Manner) -> Result<()> {
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
            let Some((whole, bytes)) = data.next_or_fault().await? else { break };
            let range = whole.start..whole.end.min(self.len());
            let len = range.end - range.start;
            match bytes {
                Ok(bytes) if bytes.len() as u64 == whole.end - whole.start => {
                    self.end_losing();
                    let bytes = bytes.slice(..len as usize);
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
                self.summary.bytes_written += u64::from(chunk.len).min(self.len() - offset);
            } else {
                data.add(offset, chunk);
            }
        }
        Ok(end)
    }

    /// What the snapshot has from `at` on, and up to where.
    pub(super) async fn pieces(&self, at: u64) -> Result<(Vec<(Range<u64>, Extent)>, u64)> {
        let start = self.start();
        let span = start + at..self.range.end.min((start + at).saturating_add(SPAN_BYTES));
        let pieces = self.browse.pieces(self.content, span.clone()).await?;
        // What is nowhere would be left as it is.
        let first = pieces.first().map(|piece| piece.offset);
        let has_gap = pieces.windows(2).any(|pair| pair[0].end() != pair[1].offset);
        let is_short = pieces.last().is_none_or(|last| last.end() < span.end);
        // Chunks begin where partitions do.
        let is_cut =
            at == 0 && matches!(&pieces[..], [Piece { offset, extent: Extent::Data(_) }, ..] if *offset < start);
        if has_gap || is_short || is_cut || first.is_none_or(|first| first > span.start) {
            return Err(too_short().into());
        }
        let pieces = within(pieces, &span).into_iter();
        let shifted = pieces.map(|(range, extent)| (range.start - start..range.end - start, extent));
        Ok((shifted.collect(), span.end - start))
    }

    /// Takes note of a chunk that is lost; neighbours are told together.
    pub(super) fn lose(&mut self, range: Range<u64>, error: repo::Error) {
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
pub(super) async fn blocking<T: Send + 'static>(deed: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(deed).await.map_err(|_| repo::Error::TaskLost.into())
}
