//! What a restore is asked to do, and what came of it.

use crate::browse::InsideError;
use crate::path::Show;
use crate::repo;
use crate::target;
use crate::target::FileId;

/// What to do with a file, link or special node that is there already. Folders are merged. What stands in the way of a
/// folder is replaced by `IfChanged` and `Always`; a folder with contents in the way of something else never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Leave it.
    Never,
    /// Replace it if the one in the snapshot is newer.
    IfNewer,
    /// Replace it if kind, size or time differ; if only permissions or owner differ, set them.
    #[default]
    IfChanged,
    /// Replace it.
    Always,
}

/// What to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these and what is below them, in gitignore syntax relative to the base; empty: all. The folders above them
    /// come along with their metadata.
    pub includes: Vec<String>,
    /// Not these, in the same syntax.
    pub excludes: Vec<String>,
    /// What to do with files that are there already.
    pub overwrite: Overwrite,
    /// Remove what is in the restored folders but not in the snapshot. With `includes` only within folders that match;
    /// what matches `excludes` stays.
    pub delete: bool,
    /// Nothing is removed out of these folders, should they lie in the target: the repository, the state, the cache.
    pub spared: Vec<FileId>,
    /// Change nothing, only tell.
    pub dry_run: bool,
    /// Read back and compare every file that was written, or was there already and left because it looked the same.
    pub verify: bool,
    /// Restore owners, setuid bits, capabilities and devices.
    pub privileged: bool,
    /// Owners by number, not by name.
    pub numeric_ids: bool,
    /// Large files restored at once, and a few times as many batches of small ones; 0: as many as processors, within
    /// reason.
    pub threads: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Nodes chosen, folders included.
    pub nodes: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Files, links and special nodes put in place (or, in a dry run, that would be); hard links too.
    pub written: u64,
    /// Bytes of content written, without holes.
    pub bytes_written: u64,
    /// Files, links and special nodes that were there already and were left.
    pub unchanged: u64,
    /// Nodes removed.
    pub removed: u64,
    /// Files compared with the snapshot afterwards.
    pub verified: u64,
    /// Problems told to the monitor.
    pub problems: u64,
}

/// Why nothing, or not all, was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The snapshot has no such path.
    #[error("the snapshot has no '{}'", Show(path))]
    NotInSnapshot {
        /// The path.
        path: Vec<u8>,
    },
    /// A rule that cannot be understood.
    #[error("'{rule}' is not a rule in gitignore syntax")]
    Rule {
        /// The rule.
        rule: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// The disk image failed, or the repository it lies in.
    #[error(transparent)]
    Inside(#[from] InsideError),
    /// The folder to restore into failed.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The monitor cancelled.
    #[error("interrupted")]
    Cancelled,
}
