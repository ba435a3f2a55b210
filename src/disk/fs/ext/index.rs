//! The tree of hashes of an indexed folder: which of its blocks may hold a name.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Hash Tree Directories.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::blocks;
use crate::disk::fs::ext::folder;
use crate::disk::fs::ext::hash;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::volume::Volume;
use std::ops::ControlFlow;

const WHAT: &str = "ext4 folder index";
/// Where the entries of the root begin: after `.`, `..` and eight bytes about the index.
const ROOT_AT: usize = 32;
/// Where those of other blocks begin: after one entry without a name.
const NODE_AT: usize = 8;
const ENTRY_BYTES: usize = 8;
/// Most levels below the root.
const LEVELS_MAX: u8 = 3;
/// Blocks that hold the same hash; more is damage.
const SAME_MAX: u32 = 1 << 16;

/// Looks for a name through the index. `None`: the folder has none that can be used.
pub(super) fn lookup(volume: &Volume, folder: &Inode, name: &[u8]) -> Result<Option<Result<u32>>> {
    let plain = !folder.is_encrypted() && !folder.is_casefolded() && !folder.has_inline_data();
    if !folder.is_indexed() || !plain {
        return Ok(None);
    }
    let sb = volume.superblock();
    let root = block(volume, folder, 0)?;
    let f = Fields::new(&root, WHAT, folder.at);
    let (version, levels) = (f.u8(0x1c)?, f.u8(0x1e)?);
    if f.u16(4)? != 12 || f.u8(0x1d)? != 8 || f.u32(0x18)? != 0 || levels > LEVELS_MAX {
        return Err(f.damaged("the root is wrong"));
    }
    let Some((hash, _)) = hash::of(name, version, sb.hash_sign, sb.hash_seed) else { return Ok(None) };
    let mut search = Search { volume, folder, name, hash, left: SAME_MAX };
    Ok(Some(match search.entries(&f, ROOT_AT, levels)? {
        ControlFlow::Break(inode) => Ok(inode),
        ControlFlow::Continue(()) => Err(Error::NotFound),
    }))
}

fn block(volume: &Volume, folder: &Inode, number: u64) -> Result<Vec<u8>> {
    let block_bytes = volume.superblock().block_bytes;
    if number >= folder::block_count(volume, folder)? {
        return Err(folder::damaged(folder, "the index points outside of it"));
    }
    blocks::read(volume, folder, number * block_bytes..(number + 1) * block_bytes)
}

struct Search<'a> {
    volume: &'a Volume,
    folder: &'a Inode,
    name: &'a [u8],
    hash: u32,
    left: u32,
}

impl Search<'_> {
    /// The entries of one block, each for the hashes from its own to the next.
    fn entries(&mut self, f: &Fields, at: usize, levels: u8) -> Result<ControlFlow<u32>> {
        let (limit, count) = (usize::from(f.u16(at)?), usize::from(f.u16(at + 2)?));
        let end = at + limit * ENTRY_BYTES;
        if count == 0 || count > limit || end > f.len() {
            return Err(f.damaged("the number of entries is impossible"));
        }
        if self.volume.superblock().has_checksums() {
            let tail = f.part(end, 8, WHAT)?;
            let parts = [f.bytes(0, at + count * ENTRY_BYTES)?, tail.bytes(0, 4)?, &[0; 4]];
            if parts.iter().fold(self.folder.checksum_seed, |crc, part| crc32c_running(crc, part)) != tail.u32(4)? {
                return Err(f.damaged("the checksum is wrong"));
            }
        }
        // The first entry has no hash: it is for all below the second.
        let hash = |n: usize| if n == 0 { Ok(0) } else { f.u32(at + n * ENTRY_BYTES) };
        for n in 0..count {
            // An odd hash says that its names go on from the entry before.
            if hash(n)? & !1 > self.hash {
                break;
            }
            let is_beyond = n + 1 < count && hash(n + 1)? <= self.hash;
            if is_beyond {
                continue;
            }
            let child = u64::from(f.u32(at + n * ENTRY_BYTES + 4)? & 0x0fff_ffff);
            let found = self.child(child, levels)?;
            if found.is_break() {
                return Ok(found);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn child(&mut self, number: u64, levels: u8) -> Result<ControlFlow<u32>> {
        self.left = self.left.checked_sub(1).ok_or(folder::damaged(self.folder, "too many names have one hash"))?;
        let block = block(self.volume, self.folder, number)?;
        if let Some(levels) = levels.checked_sub(1) {
            let f = Fields::new(&block, WHAT, self.folder.at);
            return if f.u32(0)? == 0 {
                self.entries(&f, NODE_AT, levels)
            } else {
                Err(f.damaged("a block of it is not"))
            };
        }
        let mut found = ControlFlow::Continue(());
        let _ = folder::block_entries(self.volume, self.folder, number, &block, 0, &mut |entry| {
            if entry.name == self.name {
                found = ControlFlow::Break(entry.inode);
            }
            Ok(if found.is_break() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }
}
