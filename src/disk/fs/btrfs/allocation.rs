//! What is in use, and what browsing reads.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::btrfs::key;
use crate::disk::fs::btrfs::key::Key;
use crate::disk::fs::btrfs::node::Node;
use crate::disk::fs::btrfs::node::Pointer;
use crate::disk::fs::btrfs::subvolume;
use crate::disk::fs::btrfs::superblock;
use crate::disk::fs::btrfs::tree::Cursor;
use crate::disk::fs::btrfs::volume::Volume;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// No extent is allocated before; boot loaders may stand there.
const RESERVED_BYTES: u64 = 1 << 20;
/// More ranges are not given.
const RANGES_MAX: usize = 1 << 22;
/// More parts of extents are not looked at; the stripes of 16 TiB are as many.
const PARTS_MAX: u64 = 1 << 28;
/// So many nodes are remembered, in order not to go through what snapshots share again and again.
const SEEN_MAX: usize = 1 << 18;

/// Ranges in use; `None` if what tells them is damaged, or not understood.
pub(super) fn used(volume: &mut Volume) -> Result<Option<Vec<Range<u64>>>> {
    // The nodes of a log tree are in no tree of extents.
    if volume.superblock.has_log {
        return Ok(None);
    }
    match allocated(volume) {
        Err(Error::Damaged { .. } | Error::Unsupported { .. } | Error::NotFound) => Ok(None),
        ranges => ranges,
    }
}

/// Every copy of all allocated extents, the superblocks, and what is reserved.
fn allocated(volume: &mut Volume) -> Result<Option<Vec<Range<u64>>>> {
    let mut ranges: Vec<_> = superblock::PLACES.map(|place| place..place + superblock::LEN).into();
    ranges.push(0..RESERVED_BYTES);
    let root = subvolume::tree_root(volume, key::EXTENT_TREE)?;
    let mut cursor = Cursor::seek(volume, root, &Key::new(0, 0, 0))?;
    let (mut total, mut last_end, mut parts_left) = (0u64, 0, PARTS_MAX);
    while let Some(item) = cursor.item()? {
        cursor.advance(volume)?;
        let start = item.key.objectid;
        let len = match item.key.kind {
            key::EXTENT_ITEM => item.key.offset,
            key::METADATA_ITEM => u64::from(volume.superblock.node_bytes),
            _ => continue,
        };
        // Twice the same, or beyond all: then the rest is not to be believed either.
        let Some(end) = start.checked_add(len).filter(|_| start >= last_end) else { return Ok(None) };
        (total, last_end) = (total.saturating_add(len), end);
        volume.places(start..end, |copies, len| {
            parts_left = parts_left.checked_sub(1).ok_or_else(|| Error::unsupported("a Btrfs of so many parts"))?;
            copies.iter().for_each(|at| append(&mut ranges, *at..at.saturating_add(len)));
            Ok(())
        })?;
        if ranges.len() > RANGES_MAX {
            return Ok(None);
        }
    }
    if total != volume.superblock.bytes_used {
        return Ok(None);
    }
    Ok(Some(sorted(ranges, volume.source_bytes())))
}

fn append(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// In order, apart from each other, and before `end`.
fn sorted(mut ranges: Vec<Range<u64>>, end: u64) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let range = range.start.min(end)..range.end.min(end);
        match joined.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Who is told of nodes, and those that were gone through.
struct Nodes<'a> {
    take: &'a mut dyn FnMut(Range<u64>) -> bool,
    seen: HashSet<u64>,
}

/// The superblock, the trees that lead to the subvolumes, and these.
pub(super) fn metadata(volume: &mut Volume, roots: &[u64], take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
    if !take(superblock::PLACES[0]..superblock::PLACES[0] + superblock::LEN) {
        return Ok(());
    }
    let mut nodes = Nodes { take, seen: HashSet::new() };
    for root in [volume.superblock.chunk_root, volume.superblock.root] {
        if !nodes.below(volume, &root)? {
            return Ok(());
        }
    }
    for id in roots {
        let root = subvolume::tree_root(volume, *id)?;
        if !nodes.below(volume, &root)? {
            return Ok(());
        }
    }
    Ok(())
}

impl Nodes<'_> {
    /// A node and all below it, in the order of their keys; false if no more is wanted.
    fn below(&mut self, volume: &mut Volume, root: &Pointer) -> Result<bool> {
        if !self.tell(volume, root)? {
            return Ok(false);
        }
        let mut path: Vec<(Arc<Node>, usize)> = self.enter(volume, root)?.into_iter().map(|node| (node, 0)).collect();
        while let Some((node, index)) = path.last_mut() {
            if *index >= node.len() {
                path.pop();
                continue;
            }
            let pointer = node.pointer(*index)?;
            *index += 1;
            if self.seen.contains(&pointer.logical) {
                continue;
            }
            if !self.tell(volume, &pointer)? {
                return Ok(false);
            }
            if let Some(node) = self.enter(volume, &pointer)? {
                path.push((node, 0));
            }
        }
        Ok(true)
    }

    fn tell(&mut self, volume: &Volume, pointer: &Pointer) -> Result<bool> {
        let mut goes_on = true;
        let end = pointer.logical.saturating_add(u64::from(volume.superblock.node_bytes));
        volume.places(pointer.logical..end, |copies, len| {
            if let Some(at) = copies.first() {
                goes_on = goes_on && (self.take)(*at..at.saturating_add(len));
            }
            Ok(())
        })?;
        Ok(goes_on)
    }

    /// The node, if there are nodes below it that were not gone through yet.
    fn enter(&mut self, volume: &mut Volume, pointer: &Pointer) -> Result<Option<Arc<Node>>> {
        if pointer.level == 0 || self.seen.contains(&pointer.logical) {
            return Ok(None);
        }
        if self.seen.len() < SEEN_MAX {
            self.seen.insert(pointer.logical);
        }
        let node = volume.node(pointer)?;
        node.check(pointer, None)?;
        Ok(Some(node))
    }
}
