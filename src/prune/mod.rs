//! Removing what nothing needs any more, while backups, drives and other prunes go on: the steps that
//! [`plan`](crate::plan) lays down under "A prune", done on a real repository. Each decision is a function there.
//!
//! One call takes as many steps as it can: it finishes a sweep that was cut short, sweeps what was marked at least a
//! grace period ago, tidies the index, and marks what has become garbage since. Space comes free with the sweep; between mark and
//! sweep `undo-forget` works. A call may end anywhere; the next one goes on.
//!
//! - Nothing is removed unless the whole log and the tree of every snapshot that is held could be read.
//! - Memory: a table of packs, half an id per page of the snapshots, and buffers of fixed size. Index lines and needed
//!   chunks are sorted on disk (about 80 bytes a chunk).
//! - The age of a mark is measured from the time the store gave its record, by the clock of this machine: a wrong clock costs the
//!   time for `undo-forget`, never data.
//! - Stores that show old listings are not provided for: all that the program can open show what was written and removed before.

mod compact;
mod lines;
mod moving;
mod needed;
mod picture;
mod removal;
mod repack;
mod run;
mod share;
mod sorted;

pub use share::Share;
pub use share::share;

use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::meta::Time;
use crate::monitor::Monitor;
use crate::repo;
use crate::repo::Author;
use crate::repo::Repo;
use crate::store::ErrorKind;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

/// Why a prune did not come to its end. What it had done by then is no less done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// No room to sort in.
    #[error("cannot sort the index in the cache folder")]
    Scratch(#[from] io::Error),
    /// The log says something that this version does not know, and that may matter.
    #[error(
        "a later version of Bygone has written to this repository: only such a version may remove anything from it"
    )]
    UnknownEvents,
    /// Records are missing or damaged: they may tell of snapshots that nobody knows now.
    #[error("the log is not whole, and what it does not tell of would be removed: {problem}")]
    LogDamaged {
        /// One of its problems.
        problem: String,
    },
    /// What a snapshot needs cannot be known.
    #[error("snapshot {snapshot} cannot be read whole, so nobody knows what it needs: nothing can be removed")]
    Unreadable {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Why.
        #[source]
        source: repo::Error,
    },
    /// What is needed of a swept pack cannot be copied out of it.
    #[error("pack {pack} was going to be removed, but a snapshot needs something in it that cannot be read")]
    NotRescued {
        /// Which pack.
        pack: ObjectId,
        /// Why.
        #[source]
        source: repo::Error,
    },
    /// What is in a swept pack cannot be known, and something that snapshots need is not found elsewhere.
    #[error(
        "pack {pack} was going to be removed, but nobody can tell what is in it, and chunks that snapshots need are missing"
    )]
    Silent {
        /// Which pack.
        pack: ObjectId,
    },
    /// Others change the repository faster than it can be looked at.
    #[error("others keep changing the repository: try again later")]
    Busy,
    /// The user wanted it to end.
    #[error("the prune was interrupted; the next one goes on where it stopped")]
    Cancelled,
}

impl Error {
    /// True if there is no room for what was to be stored.
    fn is_full(&self) -> bool {
        match self {
            Error::Repo(error) => matches!(error.inner(), repo::Error::Store(e) if e.kind == ErrorKind::Full),
            _ => false,
        }
    }
}

/// Result of a prune.
pub type Result<T> = std::result::Result<T, Error>;

/// How much unused space may stay in packs that are needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unused {
    /// So much of what is needed, in percent.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
    /// Any: nothing is moved.
    Unlimited,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Now, by the clock of this machine.
    pub now: Time,
    /// How old a mark must be before what it names is removed, seconds.
    pub grace_secs: u64,
    /// How much unused space is fine.
    pub max_unused: Unused,
    /// Bytes that are moved at most; what is left waits for another prune.
    pub max_repack_bytes: Option<u64>,
    /// Go on although records of the log are missing or damaged: what only they tell of is given up.
    pub despite_log: bool,
    /// Only look.
    pub dry_run: bool,
    /// Folder for sorting.
    pub scratch: PathBuf,
    /// Memory for sorting, bytes.
    pub memory_bytes: usize,
}

/// What lies in the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Packs that are there.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Encoded bytes that snapshots need.
    pub needed_bytes: u64,
    /// Encoded bytes that nothing needs, in packs with something needed in them.
    pub unused_bytes: u64,
    /// Packs that nothing needs.
    pub garbage_packs: u64,
    /// Their bytes.
    pub garbage_bytes: u64,
    /// Packs too young to be judged: they may belong to a backup that runs now.
    pub young_packs: u64,
}

/// Something that is going to be done, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All snapshots were looked through.
    Found(Found),
    /// Needed chunks are copied out of badly used packs.
    Move {
        /// Packs that are emptied.
        packs: u64,
        /// Chunks to be copied.
        chunks: u64,
        /// Their encoded bytes: to be fetched, and stored again.
        bytes: u64,
        /// Requests, about.
        requests: u64,
    },
    /// Needed chunks are copied out of packs that are about to be removed.
    Rescue {
        /// Chunks to be copied.
        chunks: u64,
        /// Their encoded bytes.
        bytes: u64,
    },
    /// Packs are removed now.
    Remove {
        /// How many.
        packs: u64,
        /// Their bytes.
        bytes: u64,
        /// Requests.
        requests: u64,
    },
}

/// What was done, or would be done.
#[derive(Debug, Default)]
pub struct Report {
    /// What was there when it was last looked at as a whole; nothing if a mark still ripens.
    pub found: Option<Found>,
    /// Bytes of all packs when the prune began.
    pub before_bytes: Option<u64>,
    /// Packs that were removed.
    pub removed_packs: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Bytes of new packs, stored for what was moved or rescued.
    pub stored_bytes: u64,
    /// Packs that are marked now.
    pub marked_packs: u64,
    /// Their bytes.
    pub marked_bytes: u64,
    /// Forgotten snapshots that are marked now.
    pub marked_snapshots: u64,
    /// When what is marked can be removed, seconds since 1970.
    pub ripe_secs: Option<i64>,
    /// Index objects that were taken away.
    pub index_removed: u64,
    /// Index objects that were stored in their place.
    pub index_stored: u64,
    /// Needed chunks that lie nowhere: damage.
    pub lost_count: u64,
    /// Some of them.
    pub lost: Vec<ChunkId>,
    /// Packs that should have been emptied and could not be read in part, with the reason.
    pub unread: Vec<(ObjectId, String)>,
}

impl Report {
    /// Bytes of all packs at the end, but for what others stored or removed meanwhile.
    pub fn after_bytes(&self) -> Option<u64> {
        Some((self.before_bytes? + self.stored_bytes).saturating_sub(self.removed_bytes))
    }
}

/// A pack as the store lists it.
#[derive(Debug, Clone, Copy)]
struct There {
    len: u64,
    modified_secs: i64,
}

type Listed = HashMap<ObjectId, There>;

/// The packs that are there.
async fn list(repo: &Repo) -> Result<Listed> {
    let listed = repo.store().list("packs").await.map_err(repo::Error::from)?;
    let there = listed.into_iter().filter_map(|stored| {
        let there = There { len: stored.len, modified_secs: stored.modified_secs };
        Some((repo::pack_of(&stored.name)?, there))
    });
    Ok(there.collect())
}

/// Takes as many steps as can be taken now. Must be called within a tokio runtime. `tell` hears of each costly step before it begins.
pub async fn prune(
    repo: &Repo,
    author: Author<'_>,
    options: &Options,
    monitor: &dyn Monitor,
    tell: &(dyn Fn(Step) + Sync),
) -> Result<Report> {
    run::Run::new(repo, author, options, monitor, tell)?.go().await
}
