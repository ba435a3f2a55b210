//! Headers of an allocation group: free space (AGF) and inodes (AGI), and the trees that begin in them.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 13 "AG Free Space Management", chapter 14 "AG Inode Management".

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::crc32c;
use crate::disk::fs::xfs::short_tree::Item;
use crate::disk::fs::xfs::short_tree::Tree;
use crate::disk::fs::xfs::volume::Volume;
use std::ops::Range;

const WHAT: &str = "XFS allocation group";
/// Superblock, AGF, AGI and AGFL have a sector each.
const HEADER_SECTORS: u64 = 4;

/// Where the four headers of a group lie.
pub(super) fn headers(volume: &Volume, ag: u32) -> Option<Range<u64>> {
    let at = volume.superblock.byte_in_ag(ag, 0, 1)?;
    Some(at..at + HEADER_SECTORS * u64::from(volume.superblock.sector_bytes))
}

/// A header, checked, and what of it is asked.
fn header<T>(
    volume: &Volume,
    ag: u32,
    [sector, uuid, crc]: [u64; 3],
    magic: &[u8; 4],
    take: impl Fn(&Fields<'_>) -> Result<T>,
) -> Result<T> {
    let superblock = &volume.superblock;
    let start = headers(volume, ag).ok_or(Error::damaged(WHAT, 0, "it lies outside"))?.start;
    let at = start + sector * u64::from(superblock.sector_bytes);
    let (bytes, is_changed) = volume.read(at, superblock.sector_bytes)?;
    let fields = Fields::new(&bytes, WHAT, at);
    if fields.bytes(0, 4)? != magic {
        return Err(fields.damaged("it does not begin with its magic number"));
    }
    if superblock.has_crc {
        if !is_changed && crc32c::without_field(&bytes, crc as usize) != fields.u32(crc as usize)? {
            return Err(fields.damaged("its checksum is wrong"));
        }
        if fields.array(uuid as usize)? != superblock.meta_uuid {
            return Err(fields.damaged("it belongs to another file system"));
        }
    }
    if fields.be32(8)? != ag || u64::from(fields.be32(12)?) != superblock.blocks_of_ag(ag) {
        return Err(fields.damaged("it has another number or length"));
    }
    take(&fields)
}

/// Calls `take` with the free runs of a group, in order: first block in the group and number.
pub(super) fn free_runs(volume: &Volume, ag: u32, take: &mut dyn FnMut(Range<u64>)) -> Result<()> {
    let (tree, total) = header(volume, ag, [1, 64, 216], b"XAGF", |fields| {
        let tree = Tree {
            magic: [b"ABTB", b"AB3B"],
            record_bytes: 8,
            key_bytes: 8,
            ag,
            root: fields.be32(16)?,
            levels: fields.be32(28)?,
        };
        Ok((tree, u64::from(fields.be32(52)?)))
    })?;
    let (mut sum, mut end) = (0u64, 0);
    tree.walk(volume, &mut |item| {
        let Item::Record(record) = item else { return Ok(true) };
        let (start, count) = (u64::from(record.be32(0)?), u64::from(record.be32(4)?));
        let at = volume.superblock.byte_in_ag(ag, start, count);
        if start < end || count == 0 || at.is_none() {
            return Err(record.damaged("a free run lies outside or in another"));
        }
        end = start + count;
        sum += count;
        take(start..end);
        Ok(true)
    })?;
    match sum == total {
        true => Ok(()),
        false => Err(Error::damaged(WHAT, 0, "its free runs do not add up")),
    }
}

/// Inodes that lie together: the first, and which of the 64 are there and in use.
pub(super) struct Chunk {
    pub(super) first: u64,
    pub(super) is_used: u64,
    /// Those that have a place: all but those of a chunk that is sparse.
    pub(super) is_there: u64,
}

/// What a walk over the inodes of a group finds.
pub(super) enum Found {
    /// A block of their tree.
    Block(Range<u64>),
    /// Inodes.
    Chunk(Chunk),
}

/// Calls `take` with each block of the tree of a group's inodes and with each chunk, until it returns false.
pub(super) fn inode_chunks(volume: &Volume, ag: u32, take: &mut dyn FnMut(Found) -> Result<bool>) -> Result<()> {
    let tree = header(volume, ag, [2, 296, 312], b"XAGI", |fields| {
        Ok(Tree {
            magic: [b"IABT", b"IAB3"],
            record_bytes: 16,
            key_bytes: 4,
            ag,
            root: fields.be32(20)?,
            levels: fields.be32(24)?,
        })
    })?;
    let has_sparse = volume.superblock.has_sparse_inodes;
    tree.walk(volume, &mut |item| {
        let record = match item {
            Item::Block(range) => return take(Found::Block(range)),
            Item::Record(record) => record,
        };
        let holes = if has_sparse { record.be16(4)? } else { 0 };
        // A bit for four inodes.
        let spread = |bit: u64| if holes >> bit & 1 == 1 { 0 } else { 15 << (bit * 4) };
        let is_there = (0..16).map(spread).fold(0, |all, four: u64| all | four);
        let first = volume.superblock.inode_of_ag(ag, record.be32(0)?);
        take(Found::Chunk(Chunk { first, is_used: !record.be64(8)? & is_there, is_there }))
    })
}
