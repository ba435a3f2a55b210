//! What of a disk could not be read when it was backed up: zeros stand there, and are nobody's content.

use crate::browse::disk_of;
use crate::disk::free::joined;
use crate::meta::Node;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that were asked for could not be read when the disk was backed up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bytes {} to {} of the disk could not be read when it was backed up", range.start, range.end)]
pub struct NeverRead {
    /// The first of them, and what follows.
    pub range: Range<u64>,
}

/// Ranges of a disk that could not be read, in order and apart from each other. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreadable(Arc<[Range<u64>]>);

impl Unreadable {
    /// Those of the disk that a node holds; none if it holds no disk.
    pub fn of(node: &Node) -> Unreadable {
        Unreadable::new(disk_of(node).map(|disk| disk.unreadable).unwrap_or_default())
    }

    fn new(ranges: Vec<Range<u64>>) -> Unreadable {
        Unreadable(joined(ranges).into())
    }

    /// All of them.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Fails if one of them touches `range`.
    pub fn check(&self, range: &Range<u64>) -> Result<(), NeverRead> {
        match self.next(range.start) {
            Some(first) if first.start < range.end => Err(NeverRead { range: first.clone() }),
            _ => Ok(()),
        }
    }

    /// The one that `at` is in, or else the first behind it.
    pub fn next(&self, at: u64) -> Option<&Range<u64>> {
        self.0.get(self.0.partition_point(|range| range.end <= at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_touch_them_fail() {
        let found = Unreadable::new(vec![30..40, 10..20, 15..25, 50..50]);
        assert_eq!(found.ranges(), [10..25, 30..40]);
        for (range, fails) in [(0..10, None), (0..11, Some(10..25)), (25..30, None), (24..31, Some(10..25))] {
            assert_eq!(found.check(&range).err().map(|fault| fault.range), fails, "{range:?}");
        }
        assert_eq!(found.check(&(39..u64::MAX)), Err(NeverRead { range: 30..40 }));
        assert!(found.check(&(40..u64::MAX)).is_ok() && Unreadable::default().check(&(0..u64::MAX)).is_ok());
    }
}
