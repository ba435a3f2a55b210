//! Dirty bitmaps of qcow2: which parts of the disk were written since the bitmap was begun.
//!
//! Source of the format: QEMU, `docs/interop/qcow2.rst`, "Bitmaps".

use super::header::Header;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use std::ops::Range;

/// A dirty bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirtyBitmap {
    /// Its name.
    pub name: String,
    /// Bytes of the disk that one bit stands for.
    pub granularity: u64,
    /// It was closed as it should be. One that was not may lack writes, and says nothing: it has no ranges.
    pub is_consistent: bool,
    /// New writes are still noted in it.
    pub is_recording: bool,
    /// What was written: bytes of the disk, sorted, apart from each other. Where they would be too many, those that
    /// are near each other are given as one: never less than what was written.
    pub ranges: Vec<Range<u64>>,
}

const WHAT: &str = "qcow2 bitmap";
const DIRECTORY_BYTES_MAX: u64 = 1 << 20;
const COUNT_MAX: u32 = 1024;
const TABLE_COUNT_MAX: u64 = 1 << 20;
const GRANULARITY_BITS_MAX: u8 = 31;
const ENTRY_BYTES: usize = 24;
const KIND_DIRTY_TRACKING: u8 = 1;
/// Ranges of all bitmaps together, but for a few that each may have.
const RANGES_MAX: usize = 1 << 18;
const RANGES_MIN: usize = 64;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const ALL_ONES: u64 = 1;
const FLAG_IN_USE: u32 = 1;
const FLAG_AUTO: u32 = 1 << 1;

/// Where the bitmaps are.
pub struct Bitmaps {
    below: Source,
    at: u64,
    len: u64,
    count: u32,
    cluster_bytes: u64,
    disk_bytes: u64,
}

impl Bitmaps {
    pub(super) fn new(below: Source, header: &Header) -> Option<Bitmaps> {
        let (at, len, count) = header.bitmaps?;
        Some(Bitmaps { below, at, len, count, cluster_bytes: 1 << header.cluster_bits, disk_bytes: header.bytes })
    }

    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        if at.checked_add(len).is_none_or(|end| end > self.below.len()) {
            return Err(Error::damaged(WHAT, at, "it is not within the file"));
        }
        let mut bytes = vec![0; len as usize];
        self.below.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// All of them.
    pub fn read(&self) -> Result<Vec<DirtyBitmap>> {
        if self.len > DIRECTORY_BYTES_MAX || self.count > COUNT_MAX {
            return Err(Error::damaged(WHAT, self.at, "its directory is too long"));
        }
        let directory = self.bytes(self.at, self.len)?;
        let fields = Fields::new(&directory, "qcow2 bitmap directory", self.at);
        let mut bitmaps = Vec::new();
        let mut at = 0;
        // No cluster belongs to two bitmaps.
        let mut bytes_left = self.below.len();
        for _ in 0..self.count {
            let entry = Fields::new(fields.rest(at)?, "qcow2 bitmap directory", self.at);
            let extra_len = usize::try_from(entry.be32(20)?).unwrap_or(usize::MAX);
            let name_len = usize::from(entry.be16(18)?);
            let name_at = ENTRY_BYTES.saturating_add(extra_len);
            let name = String::from_utf8_lossy(entry.bytes(name_at, name_len)?).into_owned();
            if extra_len != 0 {
                return Err(Error::unsupported(format!("the qcow2 bitmap {name:?} with extra data")));
            }
            if entry.u8(16)? == KIND_DIRTY_TRACKING {
                bitmaps.push(self.bitmap(&entry, name, &mut bytes_left)?);
            }
            at += (name_at + name_len).next_multiple_of(8);
        }
        Ok(bitmaps)
    }

    fn bitmap(&self, entry: &Fields, name: String, bytes_left: &mut u64) -> Result<DirtyBitmap> {
        let flags = entry.be32(12)?;
        let granularity_bits = entry.u8(17)?;
        if granularity_bits > GRANULARITY_BITS_MAX {
            return Err(entry.damaged("its granularity is too coarse"));
        }
        let granularity = 1 << granularity_bits;
        let is_consistent = flags & FLAG_IN_USE == 0;
        let count_max = (RANGES_MAX / self.count.max(1) as usize).max(RANGES_MIN);
        let mut ranges = Ranges { list: Vec::new(), gap: 0, bytes: self.disk_bytes, count_max };
        if is_consistent {
            let table = Table { at: entry.be64(0)?, count: u64::from(entry.be32(8)?), granularity };
            self.collect(&table, bytes_left, &mut ranges)?;
        }
        let is_recording = flags & FLAG_AUTO != 0;
        Ok(DirtyBitmap { name, granularity, is_consistent, is_recording, ranges: ranges.list })
    }

    fn collect(&self, table: &Table, bytes_left: &mut u64, ranges: &mut Ranges) -> Result<()> {
        let bits = self.disk_bytes.div_ceil(table.granularity);
        let cluster_bits = self.cluster_bytes * 8;
        if table.count != bits.div_ceil(cluster_bits) || table.count > TABLE_COUNT_MAX {
            return Err(Error::damaged(WHAT, table.at, "it is not as long as the disk"));
        }
        let words = self.bytes(table.at, table.count * 8)?;
        let words = Fields::new(&words, WHAT, table.at);
        for index in 0..table.count {
            let word = words.be64(index as usize * 8)?;
            let first = index * cluster_bits;
            let at = |bit: u64| (first + bit).saturating_mul(table.granularity);
            match (word & OFFSET, word & ALL_ONES) {
                (0, 0) => {}
                (0, _) => ranges.push(at(0)..at(cluster_bits)),
                (offset, _) => {
                    let twice = Error::damaged(WHAT, offset, "its clusters are used more than once");
                    *bytes_left = bytes_left.checked_sub(self.cluster_bytes).ok_or(twice)?;
                    let bytes = self.bytes(offset, self.cluster_bytes)?;
                    for (byte, start) in bytes.iter().zip((0u64..).step_by(8)).filter(|(byte, _)| **byte != 0) {
                        for bit in (0..8).filter(|bit| byte >> bit & 1 != 0) {
                            ranges.push(at(start + bit)..at(start + bit + 1));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where the clusters of one bitmap are told.
struct Table {
    at: u64,
    count: u64,
    granularity: u64,
}

/// Ranges that come in order, and are never too many.
struct Ranges {
    list: Vec<Range<u64>>,
    gap: u64,
    bytes: u64,
    count_max: usize,
}

impl Ranges {
    fn push(&mut self, range: Range<u64>) {
        let range = range.start..range.end.min(self.bytes);
        if range.is_empty() {
            return;
        }
        match self.list.last_mut() {
            Some(last) if range.start.saturating_sub(last.end) <= self.gap => last.end = range.end,
            _ => self.list.push(range),
        }
        while self.list.len() > self.count_max {
            self.gap = self.gap.saturating_mul(2).max(512);
            let gap = self.gap;
            self.list.dedup_by(|next, last| {
                let is_near = next.start.saturating_sub(last.end) <= gap;
                if is_near {
                    last.end = next.end;
                }
                is_near
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_ranges_become_coarser_and_lose_nothing() {
        let mut ranges = Ranges { list: Vec::new(), gap: 0, bytes: 1 << 40, count_max: 1 << 16 };
        let written: Vec<_> = (0..200_000u64).map(|n| n * 8192..n * 8192 + 512).collect();
        for range in &written {
            ranges.push(range.clone());
        }
        assert!(ranges.list.len() <= 1 << 16);
        let covers = |range: &Range<u64>| {
            let after = ranges.list.partition_point(|other| other.start <= range.start);
            ranges.list[after - 1].end >= range.end
        };
        assert!(written.iter().all(covers));
    }

    #[test]
    fn ranges_end_with_the_disk() {
        let mut ranges = Ranges { list: Vec::new(), gap: 0, bytes: 1000, count_max: 64 };
        ranges.push(0..512);
        ranges.push(512..1024);
        ranges.push(1024..1536);
        assert_eq!(ranges.list, std::iter::once(0..1000).collect::<Vec<_>>());
    }
}
