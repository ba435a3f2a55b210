//! What a restore is asked to do, and what came of it.

use crate::path::Show;
use crate::repo;
use crate::target;

/// What to do with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Leave it.
    Never,
    /// Replace it if the one in the snapshot is newer.
    IfNewer,
    /// Replace it if size or time differ.
    #[default]
    IfChanged,
    /// Replace it.
    Always,
}

/// What to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these, in gitignore syntax relative to the base; empty: all.
    pub includes: Vec<String>,
    /// Not these, in the same syntax.
    pub excludes: Vec<String>,
    /// What to do with files that are there already.
    pub overwrite: Overwrite,
    /// Remove what is in the target but not in the snapshot.
    pub delete: bool,
    /// Change nothing, only tell.
    pub dry_run: bool,
    /// Read back and compare every file afterwards.
    pub verify: bool,
    /// Restore owners, setuid bits, capabilities and devices.
    pub privileged: bool,
    /// Owners by number, not by name.
    pub numeric_ids: bool,
    /// Files restored at once.
    pub threads: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Nodes chosen.
    pub nodes: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Files written (or, in a dry run, that would be).
    pub written: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Files that were there already and were left.
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
    /// The folder to restore into failed.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The monitor cancelled.
    #[error("interrupted")]
    Cancelled,
}
