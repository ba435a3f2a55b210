//! Extents: where the blocks of a fork lie, from the list in the inode or from its tree.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 17 "Data Extents": extent list, B+tree extent list.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::inode::Format;
use crate::disk::fs::xfs::inode::Inode;
use crate::disk::fs::xfs::inode::Which;
use crate::disk::fs::xfs::superblock::Superblock;
use crate::disk::fs::xfs::volume::Volume;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a record.
const RECORD_BYTES: usize = 16;
/// Magic of a block of the tree: version 4 and 5.
const MAGIC: [&[u8; 4]; 2] = [b"BMAP", b"BMA3"];
const LEVELS_MAX: u16 = 9;
const NO_SIBLING: u64 = u64::MAX;

/// A run of blocks of a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// First block in the fork.
    pub(super) offset: u64,
    /// Byte of the source where the first block lies.
    pub(super) at: u64,
    /// Number of blocks.
    pub(super) count: u64,
    /// Allocated, but all zeros.
    pub(super) is_unwritten: bool,
}

impl Extent {
    /// First block in the fork after it.
    pub(super) fn end(&self) -> u64 {
        // 54 bits and 21 bits.
        self.offset + self.count
    }

    fn parse(fields: &Fields<'_>, at: usize, superblock: &Superblock, is_realtime: bool) -> Result<Extent> {
        let (high, low) = (fields.be64(at)?, fields.be64(at.saturating_add(8))?);
        let block = (high & 0x1ff) << 43 | low >> 21;
        let count = low & 0x1f_ffff;
        let place = if is_realtime { Some(0) } else { superblock.byte_of_blocks(block, count) };
        Ok(Extent {
            offset: high << 1 >> 10,
            at: place.filter(|_| count > 0).ok_or_else(|| fields.damaged("an extent lies outside"))?,
            count,
            is_unwritten: high >> 63 == 1,
        })
    }
}

/// Hands out extents in order, and stops at the first that is out of order: so no circle of blocks goes on for ever.
struct Walk<'a> {
    superblock: &'a Superblock,
    is_realtime: bool,
    /// Nothing that ends before this block is handed out.
    from: u64,
    /// Where the last extent ended.
    end: u64,
    take: &'a mut dyn FnMut(Extent) -> Result<bool>,
}

impl Walk<'_> {
    /// The records of one list or leaf. False if no more are wanted.
    fn records(&mut self, fields: &Fields<'_>, start: usize, count: usize) -> Result<bool> {
        for n in 0..count {
            let extent = Extent::parse(fields, start + n * RECORD_BYTES, self.superblock, self.is_realtime)?;
            if extent.offset < self.end {
                return Err(fields.damaged("its extents are not in order"));
            }
            self.end = extent.end();
            if self.end > self.from && !(self.take)(extent)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Calls `take` with the extents of a fork that end after block `from`, in order, until it returns false.
pub(super) fn extents(
    volume: &Volume,
    inode: &Inode,
    which: Which,
    from: u64,
    take: &mut dyn FnMut(Extent) -> Result<bool>,
) -> Result<()> {
    let fork = inode.fork(which)?;
    let is_realtime = inode.is_realtime && which == Which::Data;
    let mut walk = Walk { superblock: &volume.superblock, is_realtime, from, end: 0, take };
    match fork.format {
        Format::Extents => {
            let count = usize::try_from(fork.extents).unwrap_or(usize::MAX);
            if count > fork.fields.len() / RECORD_BYTES {
                return Err(inode.damaged("it has more extents than fit into it"));
            }
            walk.records(&fork.fields, 0, count).map(drop)
        }
        Format::Btree => leaves(volume, inode, which, from, &mut |block, records| {
            walk.records(&Fields::new(&block.bytes, Header::Bmap.what(), block.at), block.start, records)
        }),
        Format::Local | Format::Device => Err(inode.damaged("its fork has no extents")),
    }
}

/// Byte ranges of all blocks of the tree of a fork.
pub(super) fn tree_blocks(volume: &Volume, inode: &Inode, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<bool> {
    let fork = inode.fork(Which::Data)?;
    if fork.format != Format::Btree {
        return Ok(true);
    }
    let root = Root::parse(&fork.fields)?;
    let (mut first, mut goes_on) = (root.child_of(0)?, true);
    for level in (0..root.level).rev() {
        let (mut number, mut last_key) = (first, None);
        while number != NO_SIBLING && goes_on {
            let block = TreeBlock::read(volume, inode, number, level)?;
            let key = match block.fields().be64(block.start)? {
                record if level == 0 => record << 1 >> 10,
                key => key,
            };
            // Keys grow from block to block, or the chain is a circle.
            if last_key.is_some_and(|last| key <= last) {
                return Err(block.fields().damaged("its blocks are not in order"));
            }
            if last_key.is_none() && level > 0 {
                first = block.child(0)?;
            }
            last_key = Some(key);
            goes_on = take(block.at..block.at.saturating_add(block.bytes.len() as u64));
            number = block.right;
        }
    }
    Ok(goes_on)
}

/// The root of a tree, in the inode.
struct Root<'a> {
    fields: Fields<'a>,
    level: u16,
    count: usize,
}

impl<'a> Root<'a> {
    fn parse(fields: &Fields<'a>) -> Result<Root<'a>> {
        let root = Root { fields: *fields, level: fields.be16(0)?, count: usize::from(fields.be16(2)?) };
        if root.level == 0 || root.level > LEVELS_MAX || root.count == 0 || root.count > root.capacity() {
            return Err(fields.damaged("the root of its extent tree is impossible"));
        }
        Ok(root)
    }

    fn capacity(&self) -> usize {
        self.fields.len().saturating_sub(4) / RECORD_BYTES
    }

    fn child_of(&self, from: u64) -> Result<u64> {
        let place = last_not_above(&self.fields, 4, 8, self.count, from)?;
        self.fields.be64(4 + self.capacity() * 8 + place * 8)
    }
}

/// A block of a tree.
struct TreeBlock {
    at: u64,
    bytes: Arc<[u8]>,
    /// Where records or keys begin.
    start: usize,
    count: usize,
    right: u64,
}

impl TreeBlock {
    fn read(volume: &Volume, inode: &Inode, number: u64, level: u16) -> Result<TreeBlock> {
        let superblock = &volume.superblock;
        let at = superblock.byte_of_blocks(number, 1);
        let at = at.ok_or_else(|| inode.damaged("its extent tree leads outside"))?;
        let bytes = volume.block(at, Header::Bmap, inode.id)?;
        let fields = Fields::new(&bytes, Header::Bmap.what(), at);
        let start = Header::Bmap.bytes(superblock);
        let count = usize::from(fields.be16(6)?);
        if fields.bytes(0, 4)? != MAGIC[usize::from(superblock.has_crc)] {
            return Err(fields.damaged("it does not begin with its magic number"));
        }
        if fields.be16(4)? != level {
            return Err(fields.damaged("its level is wrong"));
        }
        if count == 0 || count > (fields.len() - start) / RECORD_BYTES {
            return Err(fields.damaged("its number of records is impossible"));
        }
        let right = fields.be64(16)?;
        Ok(TreeBlock { at, start, count, right, bytes })
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes, Header::Bmap.what(), self.at)
    }

    /// The block below that has `from`.
    fn child(&self, from: u64) -> Result<u64> {
        let fields = self.fields();
        let place = last_not_above(&fields, self.start, 8, self.count, from)?;
        let capacity = (self.bytes.len() - self.start) / RECORD_BYTES;
        fields.be64(self.start + capacity * 8 + place * 8)
    }
}

/// The last of `count` sorted keys that is not above `key`, or the first.
fn last_not_above(fields: &Fields<'_>, start: usize, step: usize, count: usize, key: u64) -> Result<usize> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if fields.be64(start + middle * step)? <= key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low.saturating_sub(1))
}

/// Calls `take` with the leaves of a fork's tree, from that on that has block `from`.
fn leaves(
    volume: &Volume,
    inode: &Inode,
    which: Which,
    from: u64,
    take: &mut dyn FnMut(&TreeBlock, usize) -> Result<bool>,
) -> Result<()> {
    let root = Root::parse(&inode.fork(which)?.fields)?;
    let mut number = root.child_of(from)?;
    for level in (1..root.level).rev() {
        number = TreeBlock::read(volume, inode, number, level)?.child(from)?;
    }
    while number != NO_SIBLING {
        let leaf = TreeBlock::read(volume, inode, number, 0)?;
        if !take(&leaf, leaf.count)? {
            break;
        }
        number = leaf.right;
    }
    Ok(())
}
