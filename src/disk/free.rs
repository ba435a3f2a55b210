//! What of a disk has to be stored: all of it, but for what its file systems call free.

use std::ops::Range;

/// The start of a file system, where boot loaders lie that it may call free.
const BOOT_BYTES: u64 = 64 << 10;

/// A part of the disk, and what is known of its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartUse {
    /// Bytes of the disk.
    pub range: Range<u64>,
    /// Bytes that the file system covers, from the start of the part.
    pub fs_bytes: u64,
    /// Ranges of the part that its file system uses; `None` if it cannot tell.
    pub used: Option<Vec<Range<u64>>>,
}

/// A logical volume, and what is known of its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUse {
    /// Where it lies on the disk, in its own order.
    pub pieces: Vec<Range<u64>>,
    /// Bytes that its file system covers, from its start.
    pub fs_bytes: u64,
    /// Ranges of the volume that its file system uses; `None` if it cannot tell.
    pub used: Option<Vec<Range<u64>>>,
}

impl VolumeUse {
    /// Each piece as a part of the disk.
    fn parts(&self) -> impl Iterator<Item = PartUse> {
        let mut from = 0;
        self.pieces.iter().map(move |piece| {
            let len = piece.end - piece.start;
            let (start, end) = (from, from + len);
            from = end;
            let used = self.used.as_ref().map(|used| {
                let all = used.iter().cloned().chain([0..BOOT_BYTES, self.fs_bytes..u64::MAX]);
                let within = all.map(|used| used.start.clamp(start, end) - start..used.end.clamp(start, end) - start);
                joined(within.collect())
            });
            PartUse { range: piece.clone(), fs_bytes: len, used }
        })
    }
}

/// Takes account of logical volumes: of the parts they lie in, all is needed but what volumes call free.
pub fn with_volumes(parts: &mut Vec<PartUse>, volumes: &[VolumeUse]) {
    let known = volumes.iter().filter(|volume| volume.used.is_some());
    let known = joined(known.flat_map(|volume| volume.pieces.iter().cloned()).collect());
    for part in parts.iter_mut().filter(|part| part.used.is_none()) {
        let clipped = known.iter().map(|piece| piece.start.max(part.range.start)..piece.end.min(part.range.end));
        let within: Vec<Range<u64>> = clipped.filter(|piece| piece.start < piece.end).collect();
        if within.is_empty() {
            continue;
        }
        let len = part.range.end - part.range.start;
        let within = within.into_iter().map(|piece| piece.start - part.range.start..piece.end - part.range.start);
        (part.fs_bytes, part.used) = (len, Some(joined(between(within.collect(), len))));
    }
    parts.extend(volumes.iter().flat_map(VolumeUse::parts));
}

/// Byte ranges of a disk of `len` bytes that need not be stored: sorted, apart from each other. A byte is left out only
/// if it lies in a file system that calls it free, and in no other part that does not.
pub fn free(len: u64, parts: &[PartUse]) -> Vec<Range<u64>> {
    let mut known = Vec::new();
    let mut needed = Vec::new();
    for part in parts {
        let range = part.range.start.min(len)..part.range.end.min(len);
        let Some(used) = &part.used else {
            needed.push(range);
            continue;
        };
        let part_len = range.end - range.start;
        // Behind a file system that is shorter than its partition somebody else may have left something.
        let behind = part.fs_bytes.min(part_len)..part_len;
        let within = used.iter().cloned().chain([0..BOOT_BYTES, behind]);
        needed.extend(within.map(|used| range.start + used.start.min(part_len)..range.start + used.end.min(part_len)));
        known.push(range);
    }
    needed.extend(between(joined(known), len));
    joined(between(joined(needed), len))
}

/// Ranges sorted, without empty ones, those that touch made one.
pub fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let is_one = next.start <= last.end;
        if is_one {
            last.end = last.end.max(next.end);
        }
        is_one
    });
    ranges
}

/// What is between sorted ranges, before and behind them.
fn between(ranges: Vec<Range<u64>>, len: u64) -> Vec<Range<u64>> {
    let mut at = 0;
    let mut gaps = Vec::new();
    for range in ranges {
        gaps.push(at..range.start);
        at = range.end;
    }
    gaps.push(at..len);
    gaps
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn part(range: Range<u64>, used: Option<Vec<Range<u64>>>) -> PartUse {
        PartUse { fs_bytes: range.end - range.start, range, used }
    }

    #[test]
    fn volumes_in_pieces_that_lie_the_other_way_round() {
        // A partition from 1 to 101 MiB; its first MiB belongs to LVM. The volume: 40 MiB at 62, then 20 MiB at 2.
        let mut parts = vec![part(MIB..101 * MIB, None)];
        let volume = VolumeUse {
            pieces: vec![62 * MIB..102 * MIB - MIB, 2 * MIB..22 * MIB],
            fs_bytes: 55 * MIB,
            used: Some(vec![0..MIB, 38 * MIB..42 * MIB]),
        };
        let swap = VolumeUse { pieces: vec![22 * MIB..30 * MIB], fs_bytes: 0, used: None };
        with_volumes(&mut parts, &[volume, swap]);
        let boot = 64 << 10;
        // Offset 39 of the volume is the start of its second piece, and 55 the end of its file system.
        assert_eq!(free(110 * MIB, &parts), [5 * MIB..18 * MIB, 63 * MIB..100 * MIB]);
        // Two volumes on the same bytes: what one of them needs is needed.
        let mut parts = vec![part(0..100 * MIB, None)];
        let one = VolumeUse { pieces: vec![10 * MIB..20 * MIB], fs_bytes: 10 * MIB, used: Some(vec![]) };
        let other = VolumeUse { pieces: vec![15 * MIB..30 * MIB], fs_bytes: 15 * MIB, used: None };
        with_volumes(&mut parts, &[one.clone(), other]);
        assert_eq!(free(100 * MIB, &parts), [10 * MIB + boot..15 * MIB]);
        // A file system that lies beside it tells of itself.
        let mut parts = vec![part(0..100 * MIB, None), part(100 * MIB..200 * MIB, Some(vec![0..MIB]))];
        with_volumes(&mut parts, &[one]);
        assert_eq!(free(200 * MIB, &parts), [10 * MIB + boot..20 * MIB, 101 * MIB..200 * MIB]);
    }

    #[test]
    fn gaps_and_joins() {
        let ranges = joined(vec![50..60, 10..20, 20..30, 5..5, 15..18]);
        assert_eq!(ranges, [10..30, 50..60]);
        assert_eq!(joined(between(ranges, 100)), [0..10, 30..50, 60..100]);
        assert_eq!(joined(between(Vec::new(), 7)), [0..7]);
    }

    #[test]
    fn only_what_a_file_system_calls_free_is_left_out() {
        let known = part(MIB..9 * MIB, Some(vec![0..4096, MIB..2 * MIB]));
        let first = MIB + BOOT_BYTES;
        assert_eq!(free(10 * MIB, std::slice::from_ref(&known)), [first..2 * MIB, 3 * MIB..9 * MIB]);
        // What lies behind the file system, and what another part does not call free, is needed.
        let short = PartUse { fs_bytes: 5 * MIB, ..known.clone() };
        assert_eq!(free(10 * MIB, &[short]), [first..2 * MIB, 3 * MIB..6 * MIB]);
        let other = part(4 * MIB..20 * MIB, None);
        assert_eq!(free(10 * MIB, &[known.clone(), other]), [first..2 * MIB, 3 * MIB..4 * MIB]);
        assert_eq!(free(10 * MIB, &[]), []);
        assert_eq!(free(0, &[known]), []);
    }
}
