//! The trees by hash that folders and attributes have: the hash of names, headers of their blocks, the way down.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 18 "Directories": leaf and node directories, `xfs_da_blkinfo`.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::superblock::Superblock;
use std::sync::Arc;

/// A node: version 4 and 5.
const MAGIC_NODE: [u16; 2] = [0xfebe, 0x3ebe];
const LEVELS_MAX: u16 = 5;

/// The hash of a name: four bytes at a time, seven bits each.
pub(super) fn hash(name: &[u8]) -> u32 {
    let (fours, rest) = name.as_chunks::<4>();
    let mut hash = 0u32;
    for four in fours {
        hash = hash.rotate_left(28) ^ rest_of(four);
    }
    hash.rotate_left(7 * rest.len() as u32) ^ rest_of(rest)
}

fn rest_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 7 ^ u32::from(*byte))
}

/// A block of such a tree.
pub(super) struct HashBlock {
    pub(super) magic: u16,
    /// The next on its level, 0 if it is the last; counted in blocks of the file system.
    pub(super) next: u32,
    /// Number of entries.
    pub(super) count: usize,
    /// Only in nodes: blocks below it.
    level: u16,
    is_node: bool,
    /// Where entries begin.
    pub(super) start: usize,
    bytes: Arc<[u8]>,
    at: u64,
}

impl HashBlock {
    /// Reads the header of a block that was checked.
    pub(super) fn parse(bytes: Arc<[u8]>, at: u64, superblock: &Superblock) -> Result<HashBlock> {
        let fields = Fields::new(&bytes, Header::Hash.what(), at);
        let magic = fields.be16(8)?;
        let counts = if superblock.has_crc { 56 } else { 12 };
        let is_node = magic == MAGIC_NODE[usize::from(superblock.has_crc)];
        let block = HashBlock {
            magic,
            next: fields.be32(0)?,
            count: usize::from(fields.be16(counts)?),
            level: if is_node { fields.be16(counts + 2)? } else { 0 },
            is_node,
            start: Header::Hash.bytes(superblock),
            at,
            bytes: bytes.clone(),
        };
        if is_node && (block.count == 0 || block.level == 0 || block.level > LEVELS_MAX) {
            return Err(fields.damaged("its number of entries or levels is impossible"));
        }
        Ok(block)
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes, Header::Hash.what(), self.at)
    }

    /// The child that has the first entry of the hash or above; the last if all are below.
    fn child(&self, wanted: u32) -> Result<u32> {
        let table = self.fields().part(self.start, self.count.saturating_mul(8), Header::Hash.what())?;
        let place = first_not_below(&table, self.count, wanted)?.min(self.count.saturating_sub(1));
        table.be32(place * 8 + 4)
    }
}

/// The first of `count` sorted entries of eight bytes, each with its hash in front, that is not below `wanted`.
pub(super) fn first_not_below(table: &Fields<'_>, count: usize, wanted: u32) -> Result<usize> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if table.be32(middle * 8)? < wanted {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The leaf where entries of the hash begin, from the block `first` down. Blocks have numbers within their fork, in
/// blocks of the file system.
pub(super) fn descend(first: u32, wanted: u32, read: &dyn Fn(u32) -> Result<HashBlock>) -> Result<HashBlock> {
    let mut block = read(first)?;
    while block.is_node {
        let below = read(block.child(wanted)?)?;
        if below.level.checked_add(1) != Some(block.level) {
            return Err(below.fields().damaged("its level is wrong"));
        }
        block = below;
    }
    Ok(block)
}

/// Notices when a chain of blocks comes back to where it was (Brent's way: one block is remembered, at each power of
/// two another).
pub(super) struct Chain {
    remembered: Option<u32>,
    steps: u64,
}

impl Chain {
    pub(super) fn new() -> Chain {
        Chain { remembered: None, steps: 0 }
    }

    /// The leaf after this one, or `None` at the end.
    pub(super) fn next(
        &mut self,
        leaf: &HashBlock,
        read: &dyn Fn(u32) -> Result<HashBlock>,
    ) -> Result<Option<HashBlock>> {
        if leaf.next == 0 {
            return Ok(None);
        }
        if self.remembered == Some(leaf.next) {
            return Err(leaf.fields().damaged("its chain is a circle"));
        }
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.remembered = Some(leaf.next);
        }
        read(leaf.next).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_xfs_db_tells_them() {
        let known = [(&b"."[..], 0x2e), (b"..", 0x172e), (b"abcdefg", 0x3c98_f471), (b"lost+found", 0x21a_a60c)];
        for (name, sum) in known {
            assert_eq!(hash(name), sum);
        }
    }
}
