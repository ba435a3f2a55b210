//! The tree of extents of an inode.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Extent Tree.
//!
//! Every block of the tree answers only for the part of the file its parent gives it, and what it says lies within that
//! part, in order. So no block is visited twice for one range, however the blocks point at each other.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::blocks;
use crate::disk::fs::ext::blocks::Piece;
use crate::disk::fs::ext::blocks::Take;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::volume::Volume;
use std::ops::Range;

const WHAT: &str = "ext4 extent tree";
const MAGIC: u16 = 0xf30a;
const HEADER_BYTES: usize = 12;
const ENTRY_BYTES: usize = 12;
const DEPTH_MAX: u16 = 5;
/// Longest extent; beyond this the length is that of an unwritten one.
const LEN_MAX: u16 = 1 << 15;

struct Walk<'a, 'b> {
    volume: &'a Volume,
    inode: &'a Inode,
    /// What is still to be told.
    left: Range<u64>,
    take: Take<'b>,
}

/// Tells the pieces of `range`; what no extent covers, or only an unwritten one, is a hole.
pub(super) fn pieces(volume: &Volume, inode: &Inode, range: Range<u64>, take: Take) -> Result<()> {
    let root = inode.map()?;
    let depth = root.u16(6)?;
    if depth > DEPTH_MAX {
        return Err(root.damaged("it is too deep"));
    }
    let mut walk = Walk { volume, inode, left: range, take };
    walk.tree(&root, depth, 0..1 << 32)?;
    let end = walk.left.end;
    walk.hole_until(end)
}

impl Walk<'_, '_> {
    fn hole_until(&mut self, block: u64) -> Result<()> {
        let end = block.min(self.left.end);
        if end > self.left.start {
            let count = end - self.left.start;
            self.left.start = end;
            (self.take)(Piece::Hole(count))?;
        }
        Ok(())
    }

    /// One block of the tree, which answers for the blocks `part` of the file.
    fn tree(&mut self, f: &Fields, depth: u16, part: Range<u64>) -> Result<()> {
        let count = usize::from(f.u16(2)?);
        if f.u16(0)? != MAGIC {
            return Err(f.damaged("the magic number is wrong"));
        }
        if f.u16(6)? != depth {
            return Err(f.damaged("the depth is wrong"));
        }
        let fits = HEADER_BYTES + usize::from(f.u16(4)?) * ENTRY_BYTES <= f.len();
        if count > usize::from(f.u16(4)?) || !fits || (count == 0 && depth > 0) {
            return Err(f.damaged("the number of entries is impossible"));
        }
        let mut done = part.start;
        for n in 0..count {
            let entry = f.part(HEADER_BYTES + n * ENTRY_BYTES, ENTRY_BYTES, WHAT)?;
            let first = u64::from(entry.u32(0)?);
            if first < done || first >= part.end {
                return Err(f.damaged("the entries are not in order"));
            }
            if depth == 0 {
                done = self.extent(&entry, first, part.end)?;
                continue;
            }
            // Those of the next level may go as far as the next entry.
            let end = match n + 1 < count {
                true => u64::from(f.u32(HEADER_BYTES + (n + 1) * ENTRY_BYTES)?),
                false => part.end,
            };
            if end <= first {
                return Err(f.damaged("the entries are not in order"));
            }
            if first < self.left.end && end > self.left.start {
                self.child(&entry, depth - 1, first..end)?;
            }
            done = end;
        }
        Ok(())
    }

    fn child(&mut self, entry: &Fields, depth: u16, part: Range<u64>) -> Result<()> {
        let number = u64::from(entry.u16(8)?) << 32 | u64::from(entry.u32(4)?);
        let block = self.volume.block(number)?;
        let f = Fields::new(&block, WHAT, self.volume.byte(number));
        if self.volume.superblock().has_checksums() {
            let tail = HEADER_BYTES + usize::from(f.u16(4)?) * ENTRY_BYTES;
            if crc32c_running(self.inode.checksum_seed, f.bytes(0, tail)?) != f.u32(tail)? {
                return Err(f.damaged("the checksum is wrong"));
            }
        }
        (self.take)(Piece::Map(number))?;
        self.tree(&f, depth, part)
    }

    /// An extent that begins with block `first` of the file; returns where it ends.
    fn extent(&mut self, entry: &Fields, first: u64, end_max: u64) -> Result<u64> {
        let len = entry.u16(4)?;
        let (len, is_written) = if len <= LEN_MAX { (len, true) } else { (len - LEN_MAX, false) };
        let end = first + u64::from(len);
        if len == 0 || end > end_max {
            return Err(entry.damaged("the length of an extent is impossible"));
        }
        let wanted = first.max(self.left.start)..end.min(self.left.end);
        if wanted.start >= wanted.end {
            return Ok(end);
        }
        let place = u64::from(entry.u16(6)?) << 32 | u64::from(entry.u32(8)?);
        blocks::check(self.volume, place, u64::from(len))?;
        self.hole_until(wanted.start)?;
        if is_written {
            self.left.start = wanted.end;
            let count = wanted.end - wanted.start;
            (self.take)(Piece::Data { first: place + (wanted.start - first), count })?;
        } else {
            self.hole_until(wanted.end)?;
        }
        Ok(end)
    }
}
