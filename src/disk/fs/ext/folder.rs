//! Folders: blocks of entries, one after the other. Blocks of an index look like blocks without entries.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Directory Entries.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::blocks;
use crate::disk::fs::ext::blocks::Piece;
use crate::disk::fs::ext::inline;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::volume::Volume;
use std::ops::ControlFlow;

pub(super) const WHAT: &str = "ext4 folder";
const HEADER_BYTES: usize = 8;
const TAIL_BYTES: usize = 12;
/// Type of the entry that holds the checksum of a block.
const TAIL_TYPE: u8 = 0xde;
/// Where the entries of an inline folder begin: after the number of its parent.
const INLINE_AT: usize = 4;
/// Blocks whose places are looked up together.
const PART_BLOCKS: u64 = 64;

/// One entry as it is stored.
pub(super) struct Stored<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    /// Hash of the name, where the entry has it.
    pub(super) hash: Option<(u32, u32)>,
    /// Where the next entry begins, in bytes of the folder.
    pub(super) end: u64,
}

/// Gets entries; says whether it wants more.
pub(super) type Take<'a> = &'a mut dyn FnMut(Stored) -> Result<ControlFlow<()>>;

/// Number of blocks of a folder; none may be longer than its file system.
pub(super) fn block_count(volume: &Volume, folder: &Inode) -> Result<u64> {
    let sb = volume.superblock();
    let count = folder.size.div_ceil(sb.block_bytes);
    if count > sb.blocks {
        return Err(folder.fields().damaged("it is a folder larger than its file system"));
    }
    Ok(count)
}

/// Tells the entries that end after byte `cursor` of the folder.
pub(super) fn entries(volume: &Volume, folder: &Inode, cursor: u64, take: Take) -> Result<()> {
    if folder.has_inline_data() {
        return inline_entries(volume, folder, cursor, take);
    }
    let block_bytes = volume.superblock().block_bytes;
    let count = block_count(volume, folder)?;
    let mut number = cursor / block_bytes;
    while number < count {
        let mut parts = Vec::new();
        // As many blocks at once as one look at the map is worth.
        blocks::pieces(volume, folder, number..count.min(number + PART_BLOCKS), &mut |piece| {
            parts.push(piece);
            Ok(())
        })?;
        for part in parts {
            let (first, blocks) = match part {
                Piece::Data { first, count } => (first, count),
                // Nothing is there.
                Piece::Hole(count) => {
                    number += count;
                    continue;
                }
                Piece::Map(_) => continue,
            };
            for block in first..first + blocks {
                let block = volume.block(block)?;
                if block_entries(volume, folder, number, &block, cursor, take)?.is_break() {
                    return Ok(());
                }
                number += 1;
            }
        }
    }
    Ok(())
}

/// Tells the entries of block `number` of a folder that end after `cursor`.
pub(super) fn block_entries(
    volume: &Volume,
    folder: &Inode,
    number: u64,
    block: &[u8],
    cursor: u64,
    take: Take,
) -> Result<ControlFlow<()>> {
    let start = number.saturating_mul(volume.superblock().block_bytes);
    let f = Fields::new(block, WHAT, folder.at);
    if volume.superblock().has_checksums() && !is_index(folder, number, &f)? {
        check_sum(folder, &f)?;
    }
    chain(volume, folder, &f, start, cursor, take)
}

/// Whether a block is one of the index; those have their checksum elsewhere.
fn is_index(folder: &Inode, number: u64, f: &Fields) -> Result<bool> {
    let is_one_entry = f.u32(0)? == 0 && length(f, 0)? == f.len();
    Ok(is_one_entry || (number == 0 && folder.is_indexed()))
}

fn check_sum(folder: &Inode, f: &Fields) -> Result<()> {
    let at = f.len().saturating_sub(TAIL_BYTES);
    let tail = f.part(at, TAIL_BYTES, WHAT)?;
    if tail.u32(0)? != 0 || tail.u16(4)? != TAIL_BYTES as u16 || tail.u8(7)? != TAIL_TYPE {
        return Err(f.damaged("the checksum is missing"));
    }
    if crc32c_running(folder.checksum_seed, f.bytes(0, at)?) != tail.u32(8)? {
        return Err(f.damaged("the checksum is wrong"));
    }
    Ok(())
}

/// Length of an entry. Those of 64 KiB do not fit into 16 bits, but lengths are multiples of four.
fn length(f: &Fields, at: usize) -> Result<usize> {
    let len = usize::from(f.u16(at + 4)?);
    if f.len() < 1 << 16 {
        return Ok(len);
    }
    Ok(if len == 0 || len == 0xffff { f.len() } else { len & 0xfffc | (len & 3) << 16 })
}

/// A row of entries that fills `f`, which begins with byte `start` of the folder.
fn chain(volume: &Volume, folder: &Inode, f: &Fields, start: u64, cursor: u64, take: Take) -> Result<ControlFlow<()>> {
    let has_hashes = folder.is_encrypted() && folder.is_casefolded();
    let mut at = 0;
    while at < f.len() {
        let len = length(f, at)?;
        let name_len = usize::from(f.u8(at + 6)?);
        let next = at.saturating_add(len);
        if len < HEADER_BYTES + name_len || len % 4 != 0 || next > f.len() {
            return Err(f.damaged("the length of an entry is impossible"));
        }
        let end = start.saturating_add(next as u64);
        let (inode, name) = (f.u32(at)?, f.bytes(at + HEADER_BYTES, name_len)?);
        let hash_at = at + (HEADER_BYTES + name_len).next_multiple_of(4);
        at = next;
        if inode == 0 || end <= cursor || matches!(name, b"." | b"..") {
            continue;
        }
        if inode > volume.superblock().inodes {
            return Err(f.damaged("an entry names an inode that cannot be"));
        }
        if name.is_empty() || (!folder.is_encrypted() && name.iter().any(|byte| matches!(byte, 0 | b'/'))) {
            return Err(f.damaged("a name is impossible"));
        }
        let hash = if has_hashes && hash_at + 8 <= next { Some((f.u32(hash_at)?, f.u32(hash_at + 4)?)) } else { None };
        if take(Stored { name, inode, hash, end })?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// An inline folder has two rows of entries.
fn inline_entries(volume: &Volume, folder: &Inode, cursor: u64, take: Take) -> Result<()> {
    let (first, rest) = inline::parts(volume, folder)?;
    let first_len = first.len() as u64;
    let row = first.get(INLINE_AT..).unwrap_or_default();
    let row = Fields::new(row, WHAT, folder.at);
    if chain(volume, folder, &row, INLINE_AT as u64, cursor, take)?.is_continue() {
        // No checksum: the inode's covers it.
        let _ = chain(volume, folder, &Fields::new(&rest, WHAT, folder.at), first_len, cursor, take)?;
    }
    Ok(())
}

/// An error for the blocks of the folder at hand.
pub(super) fn damaged(folder: &Inode, why: &'static str) -> Error {
    Error::damaged(WHAT, folder.at, why)
}
