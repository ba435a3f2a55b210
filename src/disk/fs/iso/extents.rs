//! The extents of a file: one record each, the last of which does not go on. (ECMA-119, 9.1.6, bit 7.)

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::Source;
use crate::disk::fs::iso::descriptor::SECTOR_BYTES;
use crate::disk::fs::iso::folder::record_at;
use crate::disk::fs::iso::record::Record;
use std::ops::Range;

/// A file has no more: that would be 256 TiB.
const EXTENTS_MAX: usize = 64 << 10;

/// First byte in the source and length, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extents(Vec<(u64, u64)>);

impl Extents {
    /// The extents of the file whose first record stands at byte `offset`.
    pub(crate) fn read(source: &Source, offset: u64, first: &Record) -> Result<Extents> {
        let mut extents = Vec::new();
        let (mut offset, mut record) = (offset, first.clone());
        loop {
            record.check_content()?;
            extents.push((u64::from(record.block) * SECTOR_BYTES, u64::from(record.size)));
            if !record.goes_on {
                return Ok(Extents(extents));
            }
            let broken = |why| Error::damaged("ISO 9660 directory record", offset, why);
            let behind = offset + record.len as u64;
            let in_sector = if behind.is_multiple_of(SECTOR_BYTES) { None } else { record_at(source, behind)? };
            let (at, next) = match in_sector {
                Some(next) => (behind, Some(next)),
                None => {
                    (behind.next_multiple_of(SECTOR_BYTES), record_at(source, behind.next_multiple_of(SECTOR_BYTES))?)
                }
            };
            let next = next.filter(|next| next.name == first.name && !next.is_folder);
            record = next.ok_or_else(|| broken("it goes on, but its file does not"))?;
            if extents.len() == EXTENTS_MAX {
                return Err(broken("its file has too many extents"));
            }
            offset = at;
        }
    }

    /// Bytes of all extents.
    pub(crate) fn size(&self) -> u64 {
        self.0.iter().map(|(_, len)| len).sum()
    }

    /// Appends where the bytes of `range` lie.
    pub(crate) fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) {
        let mut before = 0;
        for (start, len) in &self.0 {
            let (from, to) = (range.start.max(before), range.end.min(before + len));
            if from < to {
                Run::Below { offset: start + (from - before), len: to - from }.push(runs);
            }
            before += len;
        }
    }
}
