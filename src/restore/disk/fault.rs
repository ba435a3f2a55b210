//! Why a disk is not restored, and what is wrong with one that is.

use crate::image::Use;
use crate::path::Show;
use crate::repo;
use crate::target::DiskFault;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// Why nothing, or not all, of a disk was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The node holds no disk.
    #[error("'{}' is no disk that was backed up as one", Show(path))]
    NotADisk {
        /// The node.
        path: Vec<u8>,
    },
    /// Somebody uses the target.
    #[error("'{}' is {used}", path.display())]
    InUse {
        /// The target.
        path: PathBuf,
        /// For what.
        used: Use,
    },
    /// Nobody knows whether somebody does.
    #[error("cannot find out whether '{}' is in use", path.display())]
    Uses {
        /// The target.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The target is there already, and nobody said that it may be written over.
    #[error("'{}' is there already", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The disk does not fit.
    #[error("'{}' has {has} bytes, but {needs} are needed", path.display())]
    TooSmall {
        /// The target.
        path: PathBuf,
        /// Its bytes.
        has: u64,
        /// Bytes of the disk or partition.
        needs: u64,
    },
    /// Nobody would find the partitions.
    #[error(
        "'{}' has sectors of {has} bytes, the partition table of the disk counts in sectors of {needs}", path.display()
    )]
    Sectors {
        /// The target.
        path: PathBuf,
        /// Bytes of its sectors.
        has: u32,
        /// Bytes of those of the disk.
        needs: u32,
    },
    /// It ended in the middle.
    #[error("'{}' is incomplete", path.display())]
    Incomplete {
        /// The target.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<DiskError>,
    },
    /// The target failed.
    #[error(transparent)]
    Target(#[from] DiskFault),
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// The monitor cancelled.
    #[error("interrupted")]
    Cancelled,
}

/// What is wrong with a range of a disk that is restored otherwise.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskProblem {
    /// It could not be read then.
    #[error("bytes {} to {} could not be read when the disk was backed up; zeros stand there", range.start, range.end)]
    Unreadable { range: Range<u64> },
    /// It cannot be read now.
    #[error("bytes {} to {} cannot be read from the repository; zeros stand there", range.start, range.end)]
    Lost {
        range: Range<u64>,
        #[source]
        source: repo::Error,
    },
    /// It was read back and differs.
    #[error("bytes {} to {} of the target differ from the snapshot", range.start, range.end)]
    Differs { range: Range<u64> },
    /// All chunks are right, the whole is not.
    #[error("the checksum of the disk is another one than when it was backed up")]
    Checksum,
}
