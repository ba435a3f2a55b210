//! Which parts of the source are in use, and which of those are metadata.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::ntfs::attribute::Body;
use crate::disk::fs::ntfs::boot::Boot;
use crate::disk::fs::ntfs::index::I30;
use crate::disk::fs::ntfs::kind;
use crate::disk::fs::ntfs::link::ROOT;
use crate::disk::fs::ntfs::log_file;
use crate::disk::fs::ntfs::record::Record;
use crate::disk::fs::ntfs::runlist;
use crate::disk::fs::ntfs::volume::Volume;
use std::ops::Range;

const RECORD_LOG_FILE: u64 = 2;
const RECORD_BITMAP: u64 = 6;
const RECORD_UPCASE: u64 = 10;
const FIRST_USER_RECORD: u64 = 16;
/// `$Boot`.
const BOOT_BYTES: u64 = 8 << 10;
/// `$Bitmap` is read in such pieces.
const STEP_BYTES: u64 = 1 << 20;
/// Of more ranges those close together become one, free clusters between them included.
const RANGES_MAX: usize = 1 << 20;

impl Volume {
    /// Ranges of clusters in use, and what lies behind the last cluster; `None` if `$Bitmap` cannot be right.
    pub(super) fn used_ranges(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        let inode = self.inode(RECORD_BITMAP)?;
        let bitmap = self.find_stream(&inode, kind::DATA, &[])?.ok_or(Error::NotFound)?;
        let (clusters, cluster_bytes) = (self.boot.clusters, self.boot.cluster_bytes);
        // Clusters that the source does not have would take forever to count.
        let covered = clusters * cluster_bytes;
        let is_short = bitmap.sizes.size.min(bitmap.sizes.initialized) < clusters.div_ceil(8);
        if covered > self.source.len() || is_short {
            return Ok(None);
        }
        let mut used = Used { ranges: Vec::new(), gap_bytes: 0 };
        let mut at = 0;
        while at * 8 < clusters {
            let step = self.read_stream(&bitmap, at..at + STEP_BYTES)?;
            for (byte, number) in step.iter().zip(at..) {
                used.add_clusters(*byte, number * 8, &self.boot);
            }
            at += STEP_BYTES;
        }
        if !self.is_table_in(&used.ranges)? {
            return Ok(None);
        }
        // The copy of the boot sector.
        let end = (self.boot.sectors.saturating_add(1)).saturating_mul(self.boot.sector_bytes);
        used.add(covered..end.min(self.source.len()).max(covered));
        Ok(Some(used.ranges))
    }

    /// True if the file table and the boot sector are in use: a bitmap that says otherwise is not to be believed.
    fn is_table_in(&self, ranges: &[Range<u64>]) -> Result<bool> {
        let mut runs = vec![Run::Below { offset: 0, len: BOOT_BYTES.min(self.boot.cluster_bytes) }];
        self.mft.map(&self.boot, 0, self.mft.count, &mut runs)?;
        Ok(runs.iter().all(|run| match run {
            Run::Below { offset, len } => {
                let after = ranges.partition_point(|range| range.start <= *offset);
                let range = after.checked_sub(1).and_then(|index| ranges.get(index));
                range.is_some_and(|range| offset.saturating_add(*len) <= range.end)
            }
            _ => false,
        }))
    }

    /// Ranges that listing needs; see [`crate::disk::fs::FileSystem::metadata`].
    pub(super) fn metadata_ranges(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        let mut runs = vec![Run::Below { offset: 0, len: BOOT_BYTES.min(self.source.len()) }];
        self.mft.map(&self.boot, 0, FIRST_USER_RECORD.min(self.mft.count), &mut runs)?;
        for (record, kind, name, len) in [
            (RECORD_UPCASE, kind::DATA, &[][..], u64::MAX),
            (ROOT, kind::INDEX_ALLOCATION, I30, u64::MAX),
            (ROOT, kind::BITMAP, I30, u64::MAX),
            (RECORD_LOG_FILE, kind::DATA, &[], log_file::RESTART_BYTES),
        ] {
            // What is damaged is found out by those who need it.
            let Ok(inode) = self.inode(record) else { continue };
            if let Ok(Some(stream)) = self.find_stream(&inode, kind, name) {
                let _ = self.map_stream(&stream, 0..len, &mut runs);
            }
        }
        self.mft.map(&self.boot, 0, self.mft.count, &mut runs)?;
        if !give(&runs, take) {
            return Ok(());
        }
        for number in 0..self.mft.count {
            let record = match self.mft.read(&self.source, &self.boot, number) {
                Ok(record) => record,
                Err(Error::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let mut runs = Vec::new();
            let _ = self.metadata_of(&record, &mut runs);
            if !give(&runs, take) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where the attributes of a record lie that hold names, and not content.
    fn metadata_of(&self, record: &Record, runs: &mut Vec<Run>) -> Result<()> {
        const KINDS: [u32; 5] =
            [kind::ATTRIBUTE_LIST, kind::INDEX_ALLOCATION, kind::BITMAP, kind::REPARSE_POINT, kind::EA];
        if !record.is_in_use()? {
            return Ok(());
        }
        for attribute in record.attributes()?.iter().filter(|attribute| KINDS.contains(&attribute.kind)) {
            let Body::NonResident(part) = &attribute.body else { continue };
            let extents = runlist::decode(&part.pairs, part.first_vcn, part.end_vcn, self.boot.clusters())?;
            let bytes = self.boot.cluster_bytes;
            let end = extents.last().map_or(0, |extent| extent.end().saturating_mul(bytes));
            runlist::map(&extents, self.boot.clusters(), part.first_vcn.saturating_mul(bytes)..end, runs);
        }
        Ok(())
    }

    /// True if the source ends before the volume does.
    pub(super) fn is_cut_off(&self) -> bool {
        self.boot.sectors.saturating_mul(self.boot.sector_bytes) > self.source.len()
    }
}

/// Ranges in use, in order.
struct Used {
    ranges: Vec<Range<u64>>,
    /// A free range up to this length does not part two in use.
    gap_bytes: u64,
}

impl Used {
    /// Adds those of eight clusters from `first` on that have their bit in `bits`.
    fn add_clusters(&mut self, bits: u8, first: u64, boot: &Boot) {
        let last = (first + 8).min(boot.clusters);
        match bits {
            0 => {}
            0xff => self.add(first * boot.cluster_bytes..last.max(first) * boot.cluster_bytes),
            bits => {
                for cluster in (first..last).filter(|cluster| bits >> (cluster - first) & 1 != 0) {
                    self.add(cluster * boot.cluster_bytes..(cluster + 1) * boot.cluster_bytes);
                }
            }
        }
    }

    fn add(&mut self, range: Range<u64>) {
        match self.ranges.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if range.start.saturating_sub(last.end) <= self.gap_bytes => last.end = range.end,
            _ => self.ranges.push(range),
        }
        while self.ranges.len() > RANGES_MAX {
            self.gap_bytes = self.gap_bytes.saturating_mul(2).max(512);
            for range in std::mem::take(&mut self.ranges) {
                self.add(range);
            }
        }
    }
}

fn give(runs: &[Run], take: &mut dyn FnMut(Range<u64>) -> bool) -> bool {
    runs.iter().all(|run| match run {
        Run::Below { offset, len } => take(*offset..offset.saturating_add(*len)),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_ranges_that_some_are_joined() {
        let mut used = Used { ranges: Vec::new(), gap_bytes: 0 };
        // Holes of 512 bytes, but for one in four of 4096.
        for n in 0..RANGES_MAX as u64 + 1 {
            let start = n * 1024 + n / 4 * 3584;
            used.add(start..start + 512);
        }
        assert_eq!(used.ranges[..2], [0..3584, 7680..7680 + 3584]);
        assert!(used.ranges.len() < RANGES_MAX / 3);
    }
}
