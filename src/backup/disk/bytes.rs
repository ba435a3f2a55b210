//! The bytes of a disk in order: out of their container, without what nobody needs, and what could not be read.
//!
//! Unused blocks become zeros, unless their chunk is stored already as it lies on the disk: when files are removed, what
//! was their neighbour in a chunk need not be stored again.

use crate::backup::Error;
use crate::backup::disk::DiskError;
use crate::backup::disk::is_zero;
use crate::backup::disk::plan::Plan;
use crate::backup::work::Shop;
use crate::disk::Run;
use crate::extent::ChunkKind;
use crate::format::disk::UNREADABLE_MAX;
use crate::image::Device;
use crate::image::ImageReader;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What is tried one by one where a larger read fails.
const SMALL_BYTES: u64 = 4096;
/// Bytes of a container that are mapped at once.
const MAP_BYTES: u64 = 64 << 20;
/// As many where nothing was written before: each cluster of these may be a run of its own.
const MAP_BYTES_MAX: u64 = 64 << 30;
/// Zeros that nobody reads and that the checksum takes all the same: 1 TiB of them takes minutes. A disk with more has no
/// checksum; its chunks have.
const ZEROS_HASHED_MAX: u64 = 1 << 40;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What could not be read.
#[derive(Default)]
pub(super) struct Unreadable {
    pub(super) ranges: Vec<Range<u64>>,
    /// Why the first of it could not.
    pub(super) cause: Option<io::Error>,
}

/// Reads a disk.
pub(super) struct DiskBytes<'a> {
    shop: &'a Shop,
    device: Device,
    reader: Option<Arc<ImageReader>>,
    runtime: Handle,
    len: u64,
    buffer: Vec<u8>,
    /// Runs of a container, and where the first of them begins.
    runs: VecDeque<Run>,
    runs_at: u64,
    /// How much is mapped at once.
    map_bytes: u64,
    /// Where the run of a file that was looked at last ends, and whether it is a hole.
    file_run: (Range<u64>, bool),
    hasher: blake3::Hasher,
    /// Hashed up to here; what was skipped cannot be hashed.
    hashed: Option<u64>,
    /// Zeros among that which were not read.
    zeros_hashed: u64,
    unreadable: Unreadable,
}

impl<'a> DiskBytes<'a> {
    pub(super) fn new(plan: &Plan, shop: &'a Shop, runtime: &Handle) -> DiskBytes<'a> {
        DiskBytes {
            shop,
            device: plan.disk.device.clone(),
            reader: plan.is_contained.then(|| plan.reader.clone()),
            runtime: runtime.clone(),
            len: plan.len,
            buffer: Vec::new(),
            runs: VecDeque::new(),
            runs_at: 0,
            map_bytes: MAP_BYTES,
            file_run: (0..0, false),
            hasher: blake3::Hasher::new(),
            hashed: Some(0),
            zeros_hashed: 0,
            unreadable: Unreadable::default(),
        }
    }

    /// True if nothing was ever written to all of this range.
    pub(super) fn is_hole(&mut self, range: Range<u64>) -> Result<bool, Error> {
        Ok(self.hole_end(range)?.is_some())
    }

    /// Where the hole ends that all of this range lies in; nothing if something of the range was written. More of the hole may follow.
    pub(super) fn hole_end(&mut self, range: Range<u64>) -> Result<Option<u64>, Error> {
        if self.reader.is_some() {
            self.map_to(range.start)?;
            let first = self.runs.front().filter(|_| self.runs_at <= range.start);
            let end = self.runs_at.saturating_add(first.map_or(0, Run::len));
            let is_hole = matches!(first, Some(Run::Zero { .. })) && end >= range.end;
            return Ok(is_hole.then_some(end));
        }
        if !self.file_run.0.contains(&range.start) {
            let (end, is_hole) = self.device.run_at(range.start);
            self.file_run = (range.start..end, is_hole);
        }
        let end = self.file_run.0.end;
        Ok((self.file_run.1 && end >= range.end).then_some(end))
    }

    /// Sees to it that the runs begin with the one `at` is in. Only goes forward, but for a new start.
    fn map_to(&mut self, at: u64) -> Result<(), Error> {
        if at < self.runs_at {
            self.runs.clear();
        }
        if self.runs.is_empty() {
            self.runs_at = at;
        }
        loop {
            let Some(first) = self.runs.front() else {
                self.runs = self.map(at)?.into();
                self.runs_at = at;
                if self.runs.is_empty() {
                    return Ok(());
                }
                continue;
            };
            if self.runs_at + first.len() > at {
                return Ok(());
            }
            self.runs_at += first.len();
            self.runs.pop_front();
        }
    }

    fn map(&mut self, at: u64) -> Result<Vec<Run>, Error> {
        let Some(reader) = &self.reader else { return Ok(Vec::new()) };
        let range = at..self.len.min(at.saturating_add(self.map_bytes));
        let runs = self.runtime.block_on(reader.map_part(range)).map_err(|source| {
            let path: PathBuf = self.device.path().to_owned();
            Error::from(DiskError::Image { path, source })
        })?;
        let is_empty = runs.iter().all(|run| matches!(run, Run::Zero { .. }));
        self.map_bytes = if is_empty { self.map_bytes.saturating_mul(2).min(MAP_BYTES_MAX) } else { MAP_BYTES };
        Ok(runs)
    }

    /// The bytes of a range, zeros where nobody needs them; they count for the checksum.
    pub(super) fn read(&mut self, range: Range<u64>, plan: &Plan) -> Result<&[u8], Error> {
        self.fill(&range, plan, true)?;
        if self.hashed == Some(range.start) {
            self.hasher.update(&self.buffer);
            self.hashed = Some(range.end);
        }
        Ok(&self.buffer)
    }

    /// The bytes of a range that will be read again.
    pub(super) fn peek(&mut self, range: Range<u64>, plan: &Plan) -> Result<&[u8], Error> {
        self.fill(&range, plan, false)?;
        Ok(&self.buffer)
    }

    fn fill(&mut self, range: &Range<u64>, plan: &Plan, counts: bool) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize((range.end - range.start) as usize, 0);
        if self.reader.is_some() {
            self.fill_mapped(range, &mut buffer, counts)?;
        } else {
            self.fill_plain(range.start, range.start, &mut buffer, counts);
        }
        let mut at = range.start;
        while at < range.end {
            let end = plan.chunk_end(at).min(range.end);
            let chunk = &mut buffer[(at - range.start) as usize..(end - range.start) as usize];
            self.clear_free(&(at..end), plan, chunk)?;
            at = end;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Clears what nobody needs of a chunk, unless it is stored as it is and would not be without that.
    fn clear_free(&self, range: &Range<u64>, plan: &Plan, chunk: &mut [u8]) -> Result<(), Error> {
        let place = |free: Range<u64>| (free.start - range.start) as usize..(free.end - range.start) as usize;
        let free: Vec<Range<usize>> = plan.free_in(range).map(place).collect();
        if free.iter().all(|free| is_zero(&chunk[free.clone()])) {
            return Ok(());
        }
        let whole = chunk.to_vec();
        for free in free {
            chunk[free].fill(0);
        }
        if !is_zero(chunk) && !self.is_known(chunk)? && self.is_known(&whole)? {
            chunk.copy_from_slice(&whole);
        }
        Ok(())
    }

    fn is_known(&self, chunk: &[u8]) -> Result<bool, Error> {
        let id = self.shop.keys.chunk_id(ChunkKind::Data, chunk);
        Ok(self.shop.known.get(id, chunk.len() as u32)?.is_some())
    }

    fn fill_mapped(&mut self, range: &Range<u64>, buffer: &mut [u8], counts: bool) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            self.map_to(at)?;
            let Some(run) = self.runs.front() else {
                self.fail(at..range.end, io::ErrorKind::UnexpectedEof.into(), counts);
                return Ok(());
            };
            let skip = at - self.runs_at;
            let len = (run.len() - skip).min(range.end - at);
            let from = (at - range.start) as usize;
            let part = &mut buffer[from..from + len as usize];
            match run {
                Run::Below { offset, .. } => {
                    let offset = offset + skip;
                    self.fill_plain(offset, at, part, counts);
                }
                Run::Zero { .. } => {}
                Run::Bytes(bytes) => part.copy_from_slice(&bytes[skip as usize..(skip + len) as usize]),
            }
            at += len;
        }
        Ok(())
    }

    /// Reads from the device or file; what fails is tried in small parts, and then noted as bytes of the disk from `at`.
    fn fill_plain(&mut self, offset: u64, at: u64, buffer: &mut [u8], counts: bool) {
        if self.device.read_at(offset, buffer).is_ok() {
            return;
        }
        let mut done = 0u64;
        for part in buffer.chunks_mut(SMALL_BYTES as usize) {
            let len = part.len() as u64;
            if let Err(cause) = self.device.read_at(offset + done, part) {
                part.fill(0);
                self.fail(at + done..at + done + len, cause, counts);
            }
            done += len;
        }
    }

    fn fail(&mut self, range: Range<u64>, cause: io::Error, counts: bool) {
        if !counts {
            return;
        }
        self.unreadable.cause.get_or_insert(cause);
        match self.unreadable.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.unreadable.ranges.push(range),
        }
        if self.unreadable.ranges.len() > UNREADABLE_MAX {
            join_nearest(&mut self.unreadable.ranges);
        }
    }

    /// A range that is zeros, or taken for zeros because nobody needs it.
    pub(super) fn zeros(&mut self, range: Range<u64>) {
        let mut left = range.end - range.start;
        self.zeros_hashed = self.zeros_hashed.saturating_add(left);
        if self.hashed != Some(range.start) || self.zeros_hashed > ZEROS_HASHED_MAX {
            return;
        }
        while left > 0 {
            let part = left.min(ZEROS.len() as u64);
            self.hasher.update(&ZEROS[..part as usize]);
            left -= part;
        }
        self.hashed = Some(range.end);
    }

    /// A range that is not read at all.
    pub(super) fn skip(&mut self, _range: Range<u64>) {
        self.hashed = None;
    }

    /// Checksum of all bytes, if all were read; and what could not be.
    pub(super) fn finish(self) -> (Option<[u8; 32]>, Unreadable) {
        let all = self.hashed == Some(self.len) && self.unreadable.cause.is_none();
        (all.then(|| *self.hasher.finalize().as_bytes()), self.unreadable)
    }
}

/// Makes one range of the two that lie next to each other. What is between them counts as unreadable, too: rather too much is called
/// so than too little.
fn join_nearest(ranges: &mut Vec<Range<u64>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    let gap = |at: &usize| ranges[*at].start.saturating_sub(ranges[*at - 1].end);
    if let Some(at) = (1..ranges.len()).min_by_key(gap) {
        let next = ranges.remove(at);
        ranges[at - 1].end = ranges[at - 1].end.max(next.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_gap_is_given_up() {
        let mut ranges = vec![5000..5001, 0..1, 103..104, 100..101];
        join_nearest(&mut ranges);
        assert_eq!(ranges, [0..1, 100..104, 5000..5001]);
    }
}
