//! B+trees of an allocation group, read leaf by leaf.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 13 "AG Free Space Management": short format B+tree blocks.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::volume::Volume;
use std::ops::Range;
use std::sync::Arc;

const NO_SIBLING: u32 = u32::MAX;
const LEVELS_MAX: u32 = 12;
const POINTER_BYTES: usize = 4;

/// What tells one kind of tree from another, and where one begins.
pub(super) struct Tree {
    /// Magic of its blocks: version 4 and 5.
    pub(super) magic: [&'static [u8; 4]; 2],
    pub(super) record_bytes: usize,
    pub(super) key_bytes: usize,
    pub(super) ag: u32,
    pub(super) root: u32,
    pub(super) levels: u32,
}

/// What a walk finds.
pub(super) enum Item<'a> {
    /// Place of a block of the tree.
    Block(Range<u64>),
    /// A record.
    Record(Fields<'a>),
}

/// A block of a tree, its header checked.
struct TreeBlock {
    at: u64,
    bytes: Arc<[u8]>,
    start: usize,
    count: usize,
    right: u32,
}

impl TreeBlock {
    fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes, Header::Short.what(), self.at)
    }
}

impl Tree {
    fn block(&self, volume: &Volume, number: u32, level: u32) -> Result<TreeBlock> {
        let superblock = &volume.superblock;
        let at = superblock.byte_in_ag(self.ag, u64::from(number), 1);
        let at = at.ok_or(Error::damaged(Header::Short.what(), 0, "it leads outside"))?;
        let bytes = volume.block(at, Header::Short, u64::from(self.ag))?;
        let fields = Fields::new(&bytes, Header::Short.what(), at);
        let start = Header::Short.bytes(superblock);
        let count = usize::from(fields.be16(6)?);
        if fields.bytes(0, 4)? != self.magic[usize::from(superblock.has_crc)] {
            return Err(fields.damaged("it does not begin with its magic number"));
        }
        if u32::from(fields.be16(4)?) != level {
            return Err(fields.damaged("its level is wrong"));
        }
        let each = if level == 0 { self.record_bytes } else { self.key_bytes + POINTER_BYTES };
        if count > (fields.len() - start) / each {
            return Err(fields.damaged("its number of records is impossible"));
        }
        let right = fields.be32(12)?;
        Ok(TreeBlock { at, start, count, right, bytes })
    }

    /// Calls `take` with the place of each block and with each record, in order, until it returns false. Records begin
    /// with a number that grows, so no circle goes on for ever.
    pub(super) fn walk(&self, volume: &Volume, take: &mut dyn FnMut(Item<'_>) -> Result<bool>) -> Result<()> {
        if self.levels == 0 || self.levels > LEVELS_MAX {
            return Err(Error::damaged(Header::Short.what(), 0, "its number of levels is impossible"));
        }
        let mut first = self.root;
        for level in (0..self.levels).rev() {
            let (mut number, mut last) = (first, None);
            while number != NO_SIBLING {
                let block = self.block(volume, number, level)?;
                let fields = block.fields();
                if !take(Item::Block(block.at..block.at.saturating_add(block.bytes.len() as u64)))? {
                    return Ok(());
                }
                // Only the only leaf of a tree without records is empty.
                if block.count == 0 && self.levels > 1 {
                    return Err(fields.damaged("it is empty"));
                }
                let each = if level == 0 { self.record_bytes } else { self.key_bytes };
                for n in 0..block.count {
                    let record = fields.part(block.start + n * each, each, Header::Short.what())?;
                    let key = record.be32(0)?;
                    if last.is_some_and(|last| key <= last) {
                        return Err(fields.damaged("its records are not in order"));
                    }
                    last = Some(key);
                    if level == 0 && !take(Item::Record(record))? {
                        return Ok(());
                    }
                }
                if level > 0 && number == first {
                    let capacity = (block.bytes.len() - block.start) / (self.key_bytes + POINTER_BYTES);
                    first = fields.be32(block.start + capacity * self.key_bytes)?;
                }
                number = if block.count == 0 { NO_SIBLING } else { block.right };
            }
        }
        Ok(())
    }
}
