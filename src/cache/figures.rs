//! What the cache tells about itself: figures of one process, of all, and pins.

use std::path::PathBuf;

/// What one process has found and not found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments that were there.
    pub hits: u64,
    /// Segments that were not.
    pub misses: u64,
    /// Bytes of the segments that were there.
    pub bytes_hit: u64,
    /// Objects and listings that were there.
    pub object_hits: u64,
    /// Objects and listings that were not.
    pub object_misses: u64,
    /// Bytes given to be kept.
    pub bytes_kept: u64,
    /// Bytes that came too fast to be kept.
    pub bytes_dropped: u64,
    /// Segments that did not open.
    pub forgotten: u64,
}

/// What the cache holds, for all processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The folder.
    pub folder: PathBuf,
    /// The bound on `disk_bytes` without `pinned_bytes`.
    pub limit: u64,
    /// What the folder takes on disk.
    pub disk_bytes: u64,
    /// Slots of data that may be evicted.
    pub data_bytes: u64,
    /// Slots of metadata that may be evicted.
    pub metadata_bytes: u64,
    /// Whole objects and listings.
    pub object_bytes: u64,
    /// What pins keep; it does not count against the limit.
    pub pinned_bytes: u64,
    /// Slots that are allocated and empty.
    pub spare_bytes: u64,
    /// Runs of all kinds.
    pub runs: u64,
    /// Whole objects and listings.
    pub objects: u64,
    /// Bytes that the disk has left for ordinary users.
    pub disk_free_bytes: u64,
}

/// One pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinInfo {
    /// Its name.
    pub label: String,
    /// The repository it belongs to.
    pub place: String,
    /// Slots of its runs that are there; what two pins keep counts for both.
    pub bytes: u64,
    /// When it was made, seconds since 1970.
    pub created_secs: i64,
    /// False if whoever made it has not come to the end.
    pub is_whole: bool,
}
