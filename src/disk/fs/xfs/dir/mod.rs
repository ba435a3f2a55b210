//! Folders: in the inode, in one block with its index, or in blocks of entries with a tree by hash beside them.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 18 "Directories" (version 2, and 3 with its own headers).
//!
//! The entries lie in the first 32 GiB of the data fork, the index in the next 32 GiB. A listing needs no index, and
//! its cursor is the byte after an entry; a look-up goes through the index.

mod data;
mod index;
mod shortform;

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Entry;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::extent::extents;
use crate::disk::fs::xfs::inode::Format;
use crate::disk::fs::xfs::inode::Inode;
use crate::disk::fs::xfs::inode::Which;
use crate::disk::fs::xfs::superblock::Superblock;
use crate::disk::fs::xfs::volume::Piece;
use crate::disk::fs::xfs::volume::Volume;
use std::sync::Arc;

/// Bytes of the data fork that are for entries.
const DATA_BYTES: u64 = 32 << 30;

/// Takes entries until it returns false.
type Take<'a> = dyn FnMut(Entry) -> bool + 'a;

/// An entry, if it is one that a listing shows.
fn checked_entry(name: &[u8], node: NodeId, cursor: u64, superblock: &Superblock) -> Option<Entry> {
    let is_name = !name.is_empty() && !name.iter().any(|b| matches!(b, b'/' | 0));
    let is_there = superblock.byte_of_inode(node).is_some();
    (is_name && is_there).then(|| Entry { name: name.to_vec(), node, cursor })
}

/// A block of the data fork, as long as the blocks of folders are.
struct DirBlock {
    /// Which one, counted in such blocks.
    index: u64,
    at: u64,
    bytes: Arc<[u8]>,
}

/// Calls `take` with the number and the pieces of each block of the data fork in `from..end`, counted in blocks of
/// folders, until it returns false.
pub(super) fn pieces(
    volume: &Volume,
    inode: &Inode,
    from: u64,
    end: u64,
    take: &mut dyn FnMut(u64, &[Piece]) -> Result<bool>,
) -> Result<()> {
    let superblock = &volume.superblock;
    let log = superblock.dir_block_log;
    let each = 1 << log;
    let (mut found, mut next): (Vec<Piece>, u64) = (Vec::new(), 0);
    let whole = |is_whole: bool| is_whole.then_some(()).ok_or_else(|| inode.damaged("a block of the folder has a gap"));
    extents(volume, inode, Which::Data, from << log, &mut |extent| {
        let start = extent.offset.max(from << log);
        let stop = extent.end().min(end << log);
        let mut block = start;
        while block < stop {
            whole(!extent.is_unwritten && (block == next || found.is_empty() && block % each == 0))?;
            let count = (each - block % each).min(stop - block);
            let at = extent.at + ((block - extent.offset) << superblock.block_log);
            found.push((at, (count << superblock.block_log) as u32));
            block += count;
            next = block;
            if block % each == 0 {
                if !take((block >> log) - 1, &found)? {
                    found.clear();
                    return Ok(false);
                }
                found.clear();
            }
        }
        Ok(extent.end() < end << log)
    })?;
    whole(found.is_empty())
}

/// The block `index` of the data fork, checked.
fn block(volume: &Volume, inode: &Inode, index: u64, header: Header) -> Result<DirBlock> {
    let mut found = None;
    pieces(volume, inode, index, index.saturating_add(1), &mut |_, pieces| {
        let at = pieces.first().map_or(0, |piece| piece.0);
        found = Some(DirBlock { index, at, bytes: volume.pieces(pieces, header, inode.id)? });
        Ok(false)
    })?;
    found.ok_or_else(|| inode.damaged("a block of the folder is missing"))
}

fn is_shortform(inode: &Inode) -> Result<bool> {
    if inode.kind != NodeKind::Folder {
        return Err(Error::NotAFolder);
    }
    Ok(inode.fork(Which::Data)?.format == Format::Local)
}

/// Number of blocks of the data fork that are for entries, in blocks of folders.
pub(super) fn data_end(superblock: &Superblock) -> u64 {
    DATA_BYTES / u64::from(superblock.dir_block_bytes())
}

/// Calls `take` with the entries after `cursor`, in the order of their places, until it returns false.
pub(super) fn list(volume: &Volume, inode: &Inode, cursor: u64, take: &mut Take<'_>) -> Result<()> {
    let superblock = &volume.superblock;
    if is_shortform(inode)? {
        return shortform::list(&inode.fork(Which::Data)?.fields, superblock, cursor, take);
    }
    let from = cursor / u64::from(superblock.dir_block_bytes());
    pieces(volume, inode, from, data_end(superblock), &mut |index, pieces| {
        let at = pieces.first().map_or(0, |piece| piece.0);
        let block = DirBlock { index, at, bytes: volume.pieces(pieces, Header::DirData, inode.id)? };
        data::list(&block, superblock, cursor, take)
    })
}

/// The node of a name.
pub(super) fn lookup(volume: &Volume, inode: &Inode, name: &[u8]) -> Result<NodeId> {
    let superblock = &volume.superblock;
    if is_shortform(inode)? || superblock.ignores_case {
        let mut found = None;
        list(volume, inode, 0, &mut |entry| {
            if entry.name == name {
                found = Some(entry.node);
            }
            found.is_none()
        })?;
        return found.ok_or(Error::NotFound);
    }
    if name.len() > 255 {
        return Err(Error::NotFound);
    }
    let mut found = None;
    index::places(volume, inode, index::hash(name), &mut |place| {
        let block_bytes = u64::from(superblock.dir_block_bytes());
        let block = block(volume, inode, place / block_bytes, Header::DirData)?;
        found = data::entry_at(&block, superblock, (place % block_bytes) as usize)?
            .filter(|entry| entry.name == name)
            .map(|entry| entry.node);
        Ok(found.is_none())
    })?;
    found.ok_or(Error::NotFound)
}
