//! The clusters of a FAT or exFAT volume, numbered from 2.

/// Where the clusters lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heap {
    /// First byte of cluster 2.
    pub(crate) start: u64,
    /// Bytes of a cluster, a power of two.
    pub(crate) cluster_bytes: u32,
    /// How many there are; all of them together end below 2^63.
    pub(crate) count: u32,
}

impl Heap {
    /// True if there is such a cluster.
    pub(crate) fn contains(&self, cluster: u32) -> bool {
        cluster >= 2 && cluster - 2 < self.count
    }

    /// First byte of a cluster that is there.
    pub(crate) fn offset(&self, cluster: u32) -> u64 {
        self.start + u64::from(cluster.saturating_sub(2)) * u64::from(self.cluster_bytes)
    }

    /// The byte behind the last cluster.
    pub(crate) fn end(&self) -> u64 {
        self.start + u64::from(self.count) * u64::from(self.cluster_bytes)
    }

    /// The cluster that holds the byte `offset`.
    pub(crate) fn cluster_at(&self, offset: u64) -> Option<u32> {
        let index = offset.checked_sub(self.start)? / u64::from(self.cluster_bytes);
        u32::try_from(index).ok().filter(|index| *index < self.count).map(|index| index + 2)
    }
}
