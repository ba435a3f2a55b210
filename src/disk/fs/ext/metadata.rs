//! Where what listing all folders needs lies: for reading it ahead.

use crate::disk::Result;
use crate::disk::fs::ext::blocks;
use crate::disk::fs::ext::blocks::Piece;
use crate::disk::fs::ext::feature::incompat;
use crate::disk::fs::ext::folder;
use crate::disk::fs::ext::group;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::volume::Volume;
use std::ops::ControlFlow;
use std::ops::Range;

/// Gets ranges of bytes; says whether it wants more.
pub(super) type Take<'a> = &'a mut dyn FnMut(Range<u64>) -> bool;

/// Bytes of inodes that are looked through at once.
const PART_BYTES: u64 = 256 << 10;

/// Tells the ranges, those for the root first. What is damaged has none.
pub(super) fn ranges(volume: &Volume, root: u32, take: Take) -> Result<()> {
    let _ = all(volume, root, take)?;
    Ok(())
}

fn all(volume: &Volume, root: u32, take: Take) -> Result<ControlFlow<()>> {
    let sb = volume.superblock();
    let len = volume.source().len();
    let mut tell = |range: Range<u64>| {
        let range = range.start..range.end.min(len);
        if range.is_empty() || take(range) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    // Most file systems have their descriptors here, whole.
    let tables = if sb.has_incompat(incompat::META_BG) { 1 } else { group::descriptor_blocks(sb) };
    if tell(0..volume.byte(group::table_block(sb, 0).saturating_add(tables))).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    let place = Inode::place(volume, root)?;
    if tell(place..place.saturating_add(sb.inode_bytes)).is_break()
        || of_folder(volume, &*volume.inode(root)?, &mut tell).is_break()
    {
        return Ok(ControlFlow::Break(()));
    }
    if let Some(journal) = volume.journal() {
        for range in journal.places() {
            if tell(range).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    for number in 0..sb.groups {
        if volume.byte(sb.group_start(number)) >= len || of_group(volume, number, &mut tell).is_break() {
            break;
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The inode table of a group, then the folders in it.
fn of_group(volume: &Volume, number: u32, tell: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>) -> ControlFlow<()> {
    let sb = volume.superblock();
    let Ok(group) = volume.group(number) else { return ControlFlow::Continue(()) };
    if group.has_no_inodes() {
        return ControlFlow::Continue(());
    }
    let count = u64::from(sb.inodes_per_group).saturating_sub(u64::from(group.unused_inodes));
    let table = volume.byte(group.inode_table);
    let end = table.saturating_add(count * sb.inode_bytes);
    tell(table..end)?;
    let first = u64::from(number) * u64::from(sb.inodes_per_group) + 1;
    let per_part = PART_BYTES / sb.inode_bytes;
    for part in (0..count).step_by(per_part as usize) {
        let inodes = per_part.min(count - part);
        let mut bytes = vec![0; (inodes * sb.inode_bytes) as usize];
        if volume.read(table.saturating_add(part * sb.inode_bytes), &mut bytes).is_err() {
            return ControlFlow::Continue(());
        }
        for (raw, n) in bytes.chunks(sb.inode_bytes as usize).zip(first + part..) {
            // Type of a folder: most inodes are passed over without a closer look.
            if raw.get(1).is_none_or(|mode| mode >> 4 != 4) {
                continue;
            }
            let at = table.saturating_add((n - first) * sb.inode_bytes);
            let inode = u32::try_from(n).ok().and_then(|n| Inode::parse(sb, n, at, raw.to_vec()).ok());
            if let Some(inode) = inode.filter(|inode| inode.links > 0 && inode.is_folder()) {
                of_folder(volume, &inode, tell)?;
            }
        }
    }
    ControlFlow::Continue(())
}

fn of_folder(volume: &Volume, inode: &Inode, tell: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut flow = ControlFlow::Continue(());
    if inode.has_inline_data() {
        return flow;
    }
    let Ok(count) = folder::block_count(volume, inode) else { return flow };
    let mut at = 0;
    // In parts, to stop early.
    while at < count && flow.is_continue() {
        let end = count.min(at + 4096);
        let told = blocks::pieces(volume, inode, at..end, &mut |piece| {
            let (first, count) = match piece {
                Piece::Hole(_) => return Ok(()),
                Piece::Map(block) => (block, 1),
                Piece::Data { first, count } => (first, count),
            };
            if flow.is_continue() {
                flow = tell(volume.byte(first)..volume.byte(first.saturating_add(count)));
            }
            Ok(())
        });
        if told.is_err() {
            break;
        }
        at = end;
    }
    flow
}
