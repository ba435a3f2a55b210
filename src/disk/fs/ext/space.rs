//! What of the volume is in use: the bitmaps of all groups, and their metadata.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Block and Inode Bitmaps; Layout; Bigalloc.

use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::feature::incompat;
use crate::disk::fs::ext::feature::ro_compat;
use crate::disk::fs::ext::group;
use crate::disk::fs::ext::group::Group;
use crate::disk::fs::ext::superblock::Superblock;
use crate::disk::fs::ext::volume::Volume;
use std::ops::Range;

/// Blocks in use, sorted and apart; `None` if that cannot be told for sure.
pub(super) fn used(volume: &Volume) -> Result<Option<Vec<Range<u64>>>> {
    let sb = volume.superblock();
    let is_known = sb.ro_compat & !ro_compat::BITMAPS_HOLD == 0;
    if !sb.is_clean || volume.journal().is_some() || !is_known || sb.bytes() > volume.source().len() {
        return Ok(None);
    }
    let mut used = Vec::new();
    // Before the first group, there may be what starts the machine.
    used.push(0..sb.first_block);
    for number in 0..sb.groups {
        let group = volume.group(number)?;
        metadata(sb, number, &group, &mut used);
        if group.has_no_bitmap() {
            continue;
        }
        if !from_bitmap(volume, number, &group, &mut used)? {
            return Ok(None);
        }
    }
    Ok(Some(joined(used)))
}

/// What a group needs itself, as far as no bitmap tells it. Rather a few blocks too many than one too few.
fn metadata(sb: &Superblock, number: u32, group: &Group, used: &mut Vec<Range<u64>>) {
    let mut add = |start: u64, count: u64| used.push(start.min(sb.blocks)..start.saturating_add(count).min(sb.blocks));
    add(group.block_bitmap, 1);
    add(group.inode_bitmap, 1);
    add(group.inode_table, group::table_blocks(sb));
    if !group.has_no_bitmap() {
        return;
    }
    let has_meta = sb.has_incompat(incompat::META_BG);
    if sb.has_super(number) {
        let tables = if has_meta { sb.first_meta_bg.saturating_add(1) } else { group::descriptor_blocks(sb) };
        let shifted = u64::from(sb.block_bytes == 1024 && sb.first_block == 0);
        add(sb.group_start(number), tables.saturating_add(sb.reserved_gdt_blocks).saturating_add(1 + shifted));
    } else if has_meta {
        add(sb.group_start(number), 1);
    }
}

/// Adds what the bitmap of a group marks; false if its numbers do not agree.
fn from_bitmap(volume: &Volume, number: u32, group: &Group, used: &mut Vec<Range<u64>>) -> Result<bool> {
    let sb = volume.superblock();
    let bitmap = volume.block(group.block_bitmap)?;
    let bytes = (sb.blocks_per_group / sb.cluster_blocks).div_ceil(8) as usize;
    let bitmap = bitmap.get(..bytes).unwrap_or_default();
    if sb.has_checksums() {
        let (stored, is_whole) = group.bitmap_checksum;
        let mask = if is_whole { u32::MAX } else { 0xffff };
        if crc32c_running(sb.checksum_seed, bitmap) & mask != stored {
            return Ok(false);
        }
    }
    let start = sb.group_start(number);
    let end = start.saturating_add(sb.blocks_per_group).min(sb.blocks);
    let clusters = end.saturating_sub(start).div_ceil(sb.cluster_blocks);
    let mut count = 0;
    let mut add = |from: u64, to: u64| {
        count += to - from;
        let first = start.saturating_add(from * sb.cluster_blocks);
        used.push(first..start.saturating_add(to * sb.cluster_blocks).min(end));
    };
    let mut open = None;
    for (byte, at) in bitmap.iter().zip((0..clusters).step_by(8)) {
        match (byte, open) {
            (0, None) | (0xff, Some(_)) => continue,
            _ => {}
        }
        for at in at..clusters.min(at + 8) {
            let is_used = byte >> (at % 8) & 1 == 1;
            match open {
                None if is_used => open = Some(at),
                Some(from) if !is_used => {
                    add(from, at);
                    open = None;
                }
                _ => {}
            }
        }
    }
    if let Some(from) = open {
        add(from, clusters);
    }
    Ok(clusters.checked_sub(count) == Some(u64::from(group.free_clusters)))
}

/// The same ranges sorted, none touching the next.
pub(super) fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges.into_iter().filter(|range| range.start < range.end) {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join() {
        assert_eq!(joined(vec![5..9, 0..2, 2..3, 6..7, 4..4]), [0..3, 5..9]);
        assert_eq!(joined(vec![3..3]), Vec::<Range<u64>>::new());
        assert_eq!(joined(vec![0..10, 2..4]), [0..10]);
    }
}
