//! The disk as people know it: its partitions and volumes, what they are called and what is in them.

use crate::disk::Result;
use crate::disk::fs;
use crate::disk::fs::About;
use serde::Deserialize;
use serde::Serialize;
use std::ops::Range;

/// A partition, or the one file system of a disk without partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its number as the system counts.
    pub number: u32,
    /// Where it lies on the disk.
    pub range: Range<u64>,
    /// What its folder is called: `2 rootfs (ext4)`.
    pub name: String,
    /// The file system in it, if one opens.
    pub fs: Option<About>,
}

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Bytes of the disk.
    pub bytes: u64,
    /// Bytes of a sector.
    pub sector_bytes: u32,
    /// What it is wrapped in; empty for nothing.
    pub container: String,
    /// Partitions and volumes.
    pub parts: Vec<Part>,
}

impl Layout {
    /// True if its bytes lie in a container.
    pub fn is_contained(&self) -> bool {
        !self.container.is_empty()
    }
}

/// Looks at a disk.
pub fn read(source: &fs::Source) -> Result<Layout> {
    let fs = fs::open(source)?.map(|fs| fs.about());
    let range = 0..source.len();
    let parts = vec![Part { number: 1, range, name: "1".to_owned(), fs }];
    Ok(Layout { bytes: source.len(), sector_bytes: 512, container: String::new(), parts })
}
