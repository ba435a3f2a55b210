//! The block map of ext2 and ext3: twelve blocks named in the inode, the rest through one, two and three levels.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Direct/Indirect Block Addressing.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ext::blocks;
use crate::disk::fs::ext::blocks::Piece;
use crate::disk::fs::ext::blocks::Take;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::volume::Volume;
use std::ops::Range;

const WHAT: &str = "ext2 block map";
const DIRECT: u64 = 12;
const LEVELS: u32 = 3;

struct Walk<'a, 'b> {
    volume: &'a Volume,
    /// Pointers in a block.
    per_block: u64,
    wanted: Range<u64>,
    take: Take<'b>,
}

/// Tells the pieces of `wanted`; pointers of 0 are holes, as long as what they would lead to.
pub(super) fn pieces(volume: &Volume, inode: &Inode, wanted: Range<u64>, take: Take) -> Result<()> {
    let map = inode.map()?;
    let per_block = volume.superblock().block_bytes / 4;
    let end = wanted.end;
    let mut walk = Walk { volume, per_block, wanted, take };
    walk.pointers(&map.part(0, DIRECT as usize * 4, WHAT)?, 0, 0)?;
    let mut start = DIRECT;
    for level in 1..=LEVELS {
        let pointer = map.part((DIRECT as usize + level as usize - 1) * 4, 4, WHAT)?;
        walk.pointers(&pointer, level, start)?;
        start += per_block.pow(level);
    }
    // No map reaches further.
    if end > start.max(walk.wanted.start) {
        (walk.take)(Piece::Hole(end - start.max(walk.wanted.start)))?;
    }
    Ok(())
}

impl Walk<'_, '_> {
    /// Pointers with `levels` blocks of pointers between them and the content, the first of which stands for block
    /// `start` of the file.
    fn pointers(&mut self, pointers: &Fields, levels: u32, start: u64) -> Result<()> {
        let each = self.per_block.pow(levels);
        let count = pointers.len() as u64 / 4;
        let first = self.wanted.start.saturating_sub(start) / each;
        let end = self.wanted.end.saturating_sub(start).div_ceil(each).min(count);
        for n in first..end {
            let from = start + n * each;
            let covered = from.max(self.wanted.start)..(from + each).min(self.wanted.end);
            let len = covered.end.saturating_sub(covered.start);
            let pointer = u64::from(pointers.u32(n as usize * 4)?);
            if pointer == 0 {
                (self.take)(Piece::Hole(len))?;
            } else if levels == 0 {
                blocks::check(self.volume, pointer, 1)?;
                (self.take)(Piece::Data { first: pointer, count: 1 })?;
            } else {
                let block = self.volume.block(pointer)?;
                (self.take)(Piece::Map(pointer))?;
                self.pointers(&Fields::new(&block, WHAT, self.volume.byte(pointer)), levels - 1, from)?;
            }
        }
        Ok(())
    }
}
