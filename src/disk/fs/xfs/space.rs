//! What of the source is in use, and what of it a walk of all folders needs.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::NodeId;
use crate::disk::fs::xfs::dir;
use crate::disk::fs::xfs::extent;
use crate::disk::fs::xfs::group;
use crate::disk::fs::xfs::group::Chunk;
use crate::disk::fs::xfs::group::Found;
use crate::disk::fs::xfs::inode::Format;
use crate::disk::fs::xfs::inode::Which;
use crate::disk::fs::xfs::volume::Volume;
use std::ops::Range;

/// Takes ranges until it returns false.
type Take<'a> = dyn FnMut(Range<u64>) -> bool + 'a;

const CHUNK_INODES: u64 = 64;
/// The upper bits of a folder's mode.
const MODE_FOLDER: u16 = 0o04;

/// Ranges in use: all but the free runs of all groups. What is behind the file system may be anybody's. `None` if the
/// structures contradict each other.
pub(super) fn used(volume: &Volume) -> Result<Option<Vec<Range<u64>>>> {
    let superblock = &volume.superblock;
    let source_len = volume.source_len();
    if source_len < superblock.bytes() {
        return Ok(None);
    }
    let (mut used, mut at) = (Vec::new(), 0);
    for ag in 0..superblock.ag_count {
        let start = superblock.byte_in_ag(ag, 0, 0).unwrap_or(superblock.bytes());
        let walked = group::free_runs(volume, ag, &mut |free| {
            let begin = start + (free.start << superblock.block_log);
            if at < begin {
                used.push(at..begin);
            }
            at = start + (free.end << superblock.block_log);
        });
        match walked {
            Ok(()) => {}
            Err(Error::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    if at < source_len {
        used.push(at..source_len);
    }
    Ok(Some(used))
}

/// Ranges that a walk of all folders needs: those of the root, then group by group.
pub(super) fn metadata(volume: &Volume, take: &mut Take<'_>) -> Result<()> {
    let superblock = &volume.superblock;
    let sector = 0..u64::from(superblock.sector_bytes);
    let root = superblock.byte_of_inode(superblock.root).unwrap_or(0);
    let mut goes_on = take(sector) && take(root..root + u64::from(superblock.inode_bytes));
    goes_on = goes_on && unless_damaged(folder(volume, superblock.root, take))?;
    for ag in 0..superblock.ag_count {
        let headers = group::headers(volume, ag);
        goes_on = goes_on && headers.is_none_or(&mut *take) && group_of(volume, ag, take)?;
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// What is damaged is not needed: whoever walks will see it.
fn unless_damaged(result: Result<bool>) -> Result<bool> {
    match result {
        Err(Error::Read { .. }) | Ok(_) => result,
        Err(_) => Ok(true),
    }
}

/// The tree of inodes of a group, the inodes, and the blocks of those that are folders.
fn group_of(volume: &Volume, ag: u32, take: &mut Take<'_>) -> Result<bool> {
    let mut goes_on = true;
    let walked = group::inode_chunks(volume, ag, &mut |found| {
        goes_on = match found {
            Found::Block(range) => take(range),
            Found::Chunk(found) => unless_damaged(chunk(volume, &found, take))?,
        };
        Ok(goes_on)
    });
    unless_damaged(walked.map(|()| goes_on))
}

fn chunk(volume: &Volume, chunk: &Chunk, take: &mut Take<'_>) -> Result<bool> {
    let superblock = &volume.superblock;
    let inode_bytes = u64::from(superblock.inode_bytes);
    for four in (0..CHUNK_INODES).step_by(4).filter(|four| chunk.is_there >> four & 1 == 1) {
        let first = superblock.byte_of_inode(chunk.first.saturating_add(four));
        let last = superblock.byte_of_inode(chunk.first.saturating_add(four + 3));
        // Blocks of a group lie together, so inodes do.
        let (Some(first), Some(last)) = (first, last) else {
            return Err(Error::damaged("XFS inode chunk", 0, "it lies outside"));
        };
        if !take(first..last + inode_bytes) {
            return Ok(false);
        }
        let (bytes, _) = volume.read(first, superblock.inode_bytes * 4)?;
        for (id, inode) in (chunk.first + four..).zip(bytes.chunks_exact(inode_bytes as usize)) {
            let mode = Fields::new(inode, "XFS inode", first).be16(2)?;
            let is_folder = chunk.is_used >> (id - chunk.first) & 1 == 1 && mode >> 12 == MODE_FOLDER;
            if is_folder && id != superblock.root && !unless_damaged(folder(volume, id, take))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The blocks of a folder: of the tree of its extents, of entries, of the index.
fn folder(volume: &Volume, id: NodeId, take: &mut Take<'_>) -> Result<bool> {
    let inode = volume.inode(id)?;
    if inode.fork(Which::Data)?.format == Format::Local {
        return Ok(true);
    }
    let mut goes_on = extent::tree_blocks(volume, &inode, take)?;
    if goes_on {
        dir::pieces(volume, &inode, 0, 2 * dir::data_end(&volume.superblock), &mut |_, pieces| {
            goes_on = pieces.iter().all(|(at, len)| take(*at..at.saturating_add(u64::from(*len))));
            Ok(goes_on)
        })?;
    }
    Ok(goes_on)
}
