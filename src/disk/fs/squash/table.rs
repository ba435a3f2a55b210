//! Tables of owners, fragments and attribute sets: entries of one length, found by number.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::squash::metadata::METADATA_BYTES;
use crate::disk::fs::squash::metadata::Metadata;
use crate::disk::fs::squash::metadata::Place;

/// A list of places of metadata blocks, which hold the entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// What an entry is.
    pub(super) what: &'static str,
    /// First byte of the list.
    pub(super) start: u64,
    /// Number of entries.
    pub(super) count: u64,
    /// Bytes of an entry; whole ones fill a block.
    pub(super) entry_bytes: usize,
}

impl Table {
    /// The bytes of entry `index`.
    pub(super) fn entry(&self, index: u64, source: &Source, metadata: &mut Metadata) -> Result<Vec<u8>> {
        let fault = |why| Error::damaged(self.what, self.start, why);
        if index >= self.count {
            return Err(fault("there is none with this number"));
        }
        let per_block = (METADATA_BYTES / self.entry_bytes) as u64;
        let at = self.start.checked_add(index / per_block * 8).ok_or_else(|| fault("it lies behind the disk"))?;
        let mut list = [0; 8];
        source.read_at(at, &mut list)?;
        let block = Fields::new(&list, self.what, at).u64(0)?;
        let offset = (index % per_block) as usize * self.entry_bytes;
        metadata.read(&mut Place { block, offset }, self.entry_bytes)
    }
}
