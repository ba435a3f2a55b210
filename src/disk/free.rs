//! What of a disk has to be stored: all of it, but for what its file systems call free.

use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::fs;
use crate::disk::fs::Source;
use crate::disk::layout::Layout;
use crate::disk::layout::Part;
use std::ops::Range;

/// The start of a file system, where boot loaders lie that it may call free.
const BOOT_BYTES: u64 = 64 << 10;

/// Byte ranges of the disk that have to be stored: sorted, apart from each other. A byte is left out only if it lies
/// in a file system that calls it free, and in no other part that does not.
pub fn needed(disk: &Source, layout: &Layout) -> Result<Vec<Range<u64>>> {
    let mut known = Vec::new();
    let mut needed = Vec::new();
    for part in &layout.parts {
        match used(disk, part) {
            Some(used) => {
                needed.extend(used);
                known.push(part.range.clone());
            }
            None => needed.push(part.range.clone()),
        }
    }
    needed.extend(between(joined(known), disk.len()));
    Ok(joined(needed))
}

/// Bytes of the disk that a part uses, if its file system can tell. A file system that cannot is no failure: then all
/// of the part is stored, damaged as it may be.
fn used(disk: &Source, part: &Part) -> Option<Vec<Range<u64>>> {
    let about = part.about.as_ref()?;
    let window = part.source(disk);
    let mut fs = fs::open(&window).ok()??;
    let used = fs.used().ok()??;
    let (start, len) = (part.range.start, part.range.end - part.range.start);
    // Behind a file system that is shorter than its partition somebody else may have left something.
    let behind = about.bytes.min(len)..len;
    let within = used.into_iter().chain([0..BOOT_BYTES, behind]).map(|range| range.start.min(len)..range.end.min(len));
    Some(within.map(|range| start + range.start..start + range.end).collect())
}

/// Sorted, without empty ones, and apart from each other.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
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
mod tests {
    use super::*;

    #[test]
    fn gaps_and_joins() {
        let ranges = joined(vec![50..60, 10..20, 20..30, 5..5, 15..18]);
        assert_eq!(ranges, [10..30, 50..60]);
        assert_eq!(joined(between(ranges, 100)), [0..10, 30..50, 60..100]);
        assert_eq!(joined(between(Vec::new(), 7)), std::iter::once(0..7).collect::<Vec<_>>());
    }
}
