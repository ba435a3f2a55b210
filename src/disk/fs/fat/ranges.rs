//! Ranges in use, gathered cluster by cluster, in memory that has an end.

use std::ops::Range;

/// More ranges than this are made fewer: small gaps count as used then.
const RANGES_MAX: usize = 256 << 10;

/// Sorted ranges, apart from each other.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    ranges: Vec<Range<u64>>,
    gap_max: u64,
}

impl Ranges {
    /// Adds a range that begins where the last one ended, or later.
    pub(crate) fn push(&mut self, range: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if range.start.saturating_sub(last.end) <= self.gap_max => last.end = range.end,
            _ => self.ranges.push(range),
        }
        while self.ranges.len() > RANGES_MAX {
            self.gap_max = self.gap_max.saturating_mul(2).max(4096);
            let gap_max = self.gap_max;
            self.ranges.dedup_by(|next, last| {
                let is_near = next.start.saturating_sub(last.end) <= gap_max;
                if is_near {
                    last.end = next.end;
                }
                is_near
            });
        }
    }

    /// The ranges, as far as they are below `end`.
    pub(crate) fn below(mut self, end: u64) -> Vec<Range<u64>> {
        self.ranges.retain(|range| range.start < end);
        if let Some(last) = self.ranges.last_mut() {
            last.end = last.end.min(end);
        }
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_the_end_is_kept() {
        let mut ranges = Ranges::default();
        for range in [0..10, 10..20, 30..40, 50..60] {
            ranges.push(range);
        }
        assert_eq!(ranges.below(35), [0..20, 30..35]);
    }

    #[test]
    fn too_many_ranges_lose_small_gaps_only() {
        let mut ranges = Ranges::default();
        ranges.push(0..1 << 30);
        for n in 0..1u64 << 20 {
            ranges.push((2 << 30) + n * 1024..(2 << 30) + n * 1024 + 512);
        }
        let ranges = ranges.below(u64::MAX);
        assert!(ranges.len() <= RANGES_MAX);
        assert_eq!(ranges[0], 0..1 << 30);
        assert_eq!((ranges[1].start, ranges[ranges.len() - 1].end), (2 << 30, (3 << 30) - 512));
    }
}
