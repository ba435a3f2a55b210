//! Arithmetic of the bound: what of the limit is set aside for what. Pure.
//!
//! Everything in the folder is counted: the slots by the blocks they take, the database by its pages, its log by the
//! most it may grow to, and a little for the rest. Only what is pinned counts apart.

use crate::format::sealed::SEALED_SEGMENT_BYTES;

/// Segments of a run, the unit that is kept and evicted.
pub const RUN_SEGMENTS: u64 = 4;
/// The least limit.
pub const LIMIT_BYTES_MIN: u64 = 16 << 20;
/// The limit of a cache that is new, unless a tenth of the free space is less.
pub const LIMIT_BYTES_DEFAULT: u64 = 10 << 30;
/// Longest whole object that is kept.
pub const OBJECT_BYTES_MAX: u64 = 1 << 20;
/// Metadata up to this part of the limit outlives data however long ago it was read.
pub const METADATA_FLOOR: u64 = 8;
/// Whole objects take no more than this part of the limit.
pub(super) const OBJECTS_PART: u64 = 8;
/// This part of the disk stays free.
pub(super) const DISK_PART_FREE: u64 = 20;

/// Bytes of a sealed segment.
pub(super) const SEGMENT_BYTES: usize = SEALED_SEGMENT_BYTES;
/// From one slot to the next: a run, rounded up to blocks, so that a slot can be given back by itself.
pub(super) const STRIDE: u64 = (RUN_SEGMENTS * SEALED_SEGMENT_BYTES as u64).next_multiple_of(4096);
/// What a pinned slot takes of the database, at least.
pub(super) const PINNED_ROW_BYTES: u64 = 64;
/// Log taken by one row in the worst case: a page for each tree it stands in, and what splits.
const ROW_LOG_BYTES: u64 = 32 << 10;

/// How a limit is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// All of it.
    pub(super) limit: u64,
}

impl Budget {
    /// The limit of a new cache.
    pub(super) fn default_limit(free_bytes: u64) -> u64 {
        (free_bytes / 10).clamp(LIMIT_BYTES_MIN, LIMIT_BYTES_DEFAULT)
    }

    /// The most the log of the database may grow to.
    pub(super) fn log_bytes(self) -> u64 {
        (self.limit / 16).clamp(1 << 20, 8 << 20)
    }

    /// Above this the log is emptied before anything else is written; what one batch adds has to fit in the rest.
    pub(super) fn log_bytes_before_batch(self) -> u64 {
        self.log_bytes() / 2
    }

    /// Rows that one batch may change.
    pub(super) fn batch_rows(self) -> usize {
        usize::try_from(self.log_bytes() / 4 / ROW_LOG_BYTES).unwrap_or(1).clamp(1, 64)
    }

    /// Bytes of objects that one batch may write; none is longer.
    pub(super) fn batch_object_bytes(self) -> u64 {
        (self.log_bytes() / 4).min(OBJECT_BYTES_MAX)
    }

    /// All objects together.
    pub(super) fn objects_bytes(self) -> u64 {
        (self.limit / OBJECTS_PART).max(1 << 20)
    }

    /// Slots of metadata that data cannot push out.
    pub(super) fn metadata_floor_slots(self) -> i64 {
        slots(self.limit / METADATA_FLOOR)
    }

    /// Slots that may be allocated beside a database of so many bytes.
    pub(super) fn slots_max(self, database_bytes: u64) -> i64 {
        // Shared memory of SQLite, tag, lock, the folder itself; blocks in which a file system keeps track of the file.
        let rest = (256 << 10) + self.limit / 1024;
        slots(self.limit.saturating_sub(self.log_bytes() + rest + database_bytes))
    }
}

/// Whole slots in so many bytes.
pub(super) fn slots(bytes: u64) -> i64 {
    i64::try_from(bytes / STRIDE).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_never_exceed_the_whole() {
        for limit in [LIMIT_BYTES_MIN, LIMIT_BYTES_MIN + 1, 100 << 20, LIMIT_BYTES_DEFAULT, 1 << 45] {
            let budget = Budget { limit };
            for database in [0, 1 << 20, limit / 4] {
                let slots = u64::try_from(budget.slots_max(database)).unwrap_or(u64::MAX);
                assert!(slots * STRIDE + database + budget.log_bytes() < limit);
            }
            assert!(budget.slots_max(100 << 10) > 20, "the smallest cache holds something");
            assert_eq!(budget.slots_max(limit), 0);
            let batch = budget.batch_object_bytes() + budget.batch_rows() as u64 * ROW_LOG_BYTES;
            assert!(batch <= budget.log_bytes() / 2);
        }
    }

    #[test]
    fn a_new_cache_takes_a_tenth_of_what_is_free() {
        assert_eq!(Budget::default_limit(1 << 30), (1 << 30) / 10);
        assert_eq!(Budget::default_limit(1 << 50), LIMIT_BYTES_DEFAULT);
        assert_eq!(Budget::default_limit(0), LIMIT_BYTES_MIN);
    }
}
