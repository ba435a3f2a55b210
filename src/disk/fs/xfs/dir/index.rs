//! The index of a folder: places of entries by the hash of their names, in the only block, a leaf, or a tree.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::dir::DATA_BYTES;
use crate::disk::fs::xfs::dir::DirBlock;
use crate::disk::fs::xfs::dir::block;
use crate::disk::fs::xfs::dir::data;
use crate::disk::fs::xfs::hash::Chain;
use crate::disk::fs::xfs::hash::HashBlock;
use crate::disk::fs::xfs::hash::descend;
use crate::disk::fs::xfs::hash::first_not_below;
use crate::disk::fs::xfs::inode::Inode;
use crate::disk::fs::xfs::volume::Volume;

pub(super) use crate::disk::fs::xfs::hash::hash;

/// Leaf of a folder that has only one: version 4 and 5.
const MAGIC_ONLY_LEAF: [u16; 2] = [0xd2f1, 0x3df1];
/// Leaf below nodes.
const MAGIC_LEAF: [u16; 2] = [0xd2ff, 0x3dff];
/// Entries begin at multiples of eight bytes, and places count those.
const PLACE_LOG: u32 = 3;

/// Calls `take` with the place of each entry of the hash, until it returns false.
pub(super) fn places(
    volume: &Volume,
    inode: &Inode,
    wanted: u32,
    take: &mut dyn FnMut(u64) -> Result<bool>,
) -> Result<()> {
    let superblock = &volume.superblock;
    let block_bytes = u64::from(superblock.dir_block_bytes());
    let is_one_block = inode.size == block_bytes;
    if is_one_block {
        let first = block(volume, inode, 0, Header::DirData)?;
        if let Some((start, count)) = data::index(&first, superblock)? {
            let fields = Fields::new(&first.bytes, Header::DirData.what(), first.at);
            return scan(&fields, start, count, wanted, take).map(drop);
        }
    }
    let version = usize::from(superblock.has_crc);
    let read = |number: u32| {
        let index = u64::from(number) >> superblock.dir_block_log;
        let DirBlock { at, bytes, .. } = block(volume, inode, index, Header::Hash)?;
        HashBlock::parse(bytes, at, superblock)
    };
    // At most 2^35 / 2^9.
    let first = (DATA_BYTES >> superblock.block_log) as u32;
    let (mut leaf, mut chain) = (descend(first, wanted, &read)?, Chain::new());
    loop {
        if leaf.magic != MAGIC_ONLY_LEAF[version] && leaf.magic != MAGIC_LEAF[version] {
            return Err(leaf.fields().damaged("it is no leaf of a folder"));
        }
        if !scan(&leaf.fields(), leaf.start, leaf.count, wanted, take)? {
            return Ok(());
        }
        match chain.next(&leaf, &read)? {
            Some(next) => leaf = next,
            None => return Ok(()),
        }
    }
}

/// Looks at the entries of one leaf. True if its last entry has the hash too and more may follow.
fn scan(
    fields: &Fields<'_>,
    start: usize,
    count: usize,
    wanted: u32,
    take: &mut dyn FnMut(u64) -> Result<bool>,
) -> Result<bool> {
    let table = fields.bytes(start, count.saturating_mul(8))?;
    let table = Fields::new(table, Header::Hash.what(), 0);
    let low = first_not_below(&table, count, wanted)?;
    for n in low..count {
        if table.be32(n * 8)? != wanted {
            return Ok(false);
        }
        let place = u64::from(table.be32(n * 8 + 4)?) << PLACE_LOG;
        // 0: the entry is gone.
        if place != 0 && !take(place)? {
            return Ok(false);
        }
    }
    Ok(low < count || count == 0)
}
