//! What a backup is asked to do, and what came of it.

use crate::backup::copy::Original;
use crate::backup::disk::Disk;
use crate::backup::disk::DiskError;
use crate::format::record::Figures;
use crate::format::record::Snapshot;
use crate::id::SnapshotId;
use crate::meta::Time;
use crate::repo;
use crate::repo::Log;
use crate::source;
use std::io::Read;
use std::time::Duration;

/// Which snapshot a backup compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parent {
    /// The newest of the same host and sources, if any.
    #[default]
    Newest,
    /// None: every file is read again, and every page stored again, in case an old one is damaged.
    None,
    /// This one.
    Snapshot(SnapshotId),
}

/// A stream to back up as one file.
pub struct Stdin {
    /// Snapshot path of the file.
    pub path: Vec<u8>,
    /// Its bytes.
    pub stream: Box<dyn Read + Send>,
}

/// What to do.
pub struct Options {
    /// What to read; its roots are ignored if there is a stream.
    pub source: source::Options,
    /// A stream instead of files.
    pub stdin: Option<Stdin>,
    /// Disks instead of files, with different names.
    pub disks: Vec<Disk>,
    /// A snapshot of another repository instead of files: the new one takes its id.
    pub original: Option<Original>,
    /// The log as it was read a moment ago; `None`: it is read.
    pub log: Option<Log>,
    /// Host to record.
    pub host: String,
    /// User to record.
    pub user: String,
    /// Tags to record.
    pub tags: Vec<String>,
    /// Description to record.
    pub description: String,
    /// Program to record, with its version.
    pub program: String,
    /// When the backup began.
    pub time: Time,
    /// What to compare with.
    pub parent: Parent,
    /// zstd level.
    pub level: i32,
    /// Threads that read, hash and compress.
    pub threads: usize,
    /// Store nothing, only tell what would be done.
    pub dry_run: bool,
    /// How often an unfinished snapshot is written down, for a killed run to go on from.
    pub checkpoint_every: Duration,
}

impl Options {
    /// The same once more, unless the source can be read only once.
    pub(super) fn again(&self) -> Option<Options> {
        if self.stdin.is_some() || !self.disks.is_empty() {
            return None;
        }
        Some(Options {
            source: self.source.clone(),
            stdin: None,
            disks: Vec::new(),
            original: self.original.clone(),
            log: None,
            host: self.host.clone(),
            user: self.user.clone(),
            tags: self.tags.clone(),
            description: self.description.clone(),
            program: self.program.clone(),
            ..*self
        })
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The snapshot; none after a dry run.
    pub snapshot: Option<Snapshot>,
    /// Nodes in the snapshot.
    pub nodes: u64,
    /// How many of them are folders: the root and those above the sources, too.
    pub folders: u64,
    /// Bytes of all files in the snapshot.
    pub bytes: u64,
    /// Nodes that were not there in the parent.
    pub nodes_new: u64,
    /// Nodes that were there and are not any more.
    pub nodes_removed: u64,
    /// The figures kept with the snapshot.
    pub figures: Figures,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// True if somebody else has copied the same snapshot meanwhile, or has forgotten it: then there is no new one.
    pub was_there: bool,
    /// True if an unfinished run was continued.
    pub resumed: bool,
    /// True if something that the parent leads to is lost or damaged. What the source still has of it was stored again,
    /// except parts of large files that did not change.
    pub found_losses: bool,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source cannot be walked at all.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// The stream to back up failed.
    #[error("cannot read the input stream")]
    Stdin(#[source] std::io::Error),
    /// The parent that was asked for is not there.
    #[error("there is no snapshot {id} to compare with")]
    NoParent {
        /// Its id.
        id: SnapshotId,
    },
    /// A page of the new tree cannot be encoded.
    #[error("cannot encode a page")]
    Encode(#[source] crate::format::FormatError),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A disk cannot be backed up.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What the snapshot stands on was removed by a prune while it was made, and can neither be found elsewhere nor copied.
    #[error("{chunks} chunks that the snapshot needs were removed from the repository while it was made")]
    Removed {
        /// How many.
        chunks: u64,
    },
    /// Whenever the snapshot was looked at, some of it was gone again.
    #[error("the repository is being pruned again and again while the snapshot is made")]
    Unsteady,
    /// The monitor cancelled.
    #[error("interrupted")]
    Cancelled,
}
