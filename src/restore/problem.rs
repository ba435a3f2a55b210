//! What keeps one node from being restored while the rest goes on, and what ends a restore.

use crate::browse::InsideError;
use crate::repo;
use crate::restore::Error;
use crate::store::ErrorKind;
use crate::target;
use crate::target::What;
use std::io;
use std::ops::Range;

/// Why a node is not, or not wholly, there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// The target did not take it.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// Its bytes cannot be read.
    #[error("its content cannot be read from the repository")]
    Content(#[source] repo::Error),
    /// The disk image it lies in does not give it.
    #[error("it cannot be read from the disk image")]
    Inside(#[source] InsideError),
    /// A folder of a disk image that was met before.
    #[error("the folder stands in the disk image twice, or within itself")]
    FolderAgain,
    /// A listing that makes no sense.
    #[error("the listing of the folder goes in circles")]
    Circles,
    /// Less is there than there should be.
    #[error("it ends at byte {at} of {size}")]
    Short {
        /// Where.
        at: u64,
        /// How long it should be.
        size: u64,
    },
    /// A device without numbers.
    #[error("its device numbers are not known")]
    NoDevice,
    /// It is a disk that could not be read everywhere.
    #[error("bytes {} to {} could not be read when the disk was backed up; zeros stand there", range.start, range.end)]
    Unreadable {
        /// Where.
        range: Range<u64>,
    },
    /// It was compared and differs.
    #[error("it differs from the snapshot")]
    Differs,
    /// Part of the tree cannot be read.
    #[error("nodes {first} to {last} of the snapshot cannot be read, what follows this one")]
    Nodes {
        /// First rank.
        first: u64,
        /// Last rank.
        last: u64,
        /// Why.
        #[source]
        source: repo::Error,
    },
    /// Metadata of a folder cannot be read.
    #[error("its entry in the snapshot cannot be read")]
    Folder(#[source] repo::Error),
    /// A node whose folder is none.
    #[error("the snapshot has things in it, but it is no folder")]
    NoFolder,
    /// A piece of metadata failed; the node is there.
    #[error("{what} not restored")]
    Missed {
        /// Which piece.
        what: What,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Said at the end of problems that are told once.
    #[error("{count} more like the first: {what}")]
    More {
        /// How many were not told.
        count: u64,
        /// The first.
        what: String,
    },
}

impl Problem {
    /// The error that ends the restore, or else the problem itself.
    pub(super) fn fatal(self) -> Result<Problem, Error> {
        match self {
            Problem::Target(error) if error.is_full() || error.is_read_only() => Err(Error::Target(error)),
            Problem::Content(error) if !is_damage(&error) => Err(Error::Repo(error)),
            Problem::Inside(InsideError::Repo(error)) if !is_damage(&error) => Err(Error::Repo(error)),
            other => Ok(other),
        }
    }

    /// Problems that have one reason in many places are told once: what is common to them.
    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Problem::Target(error @ target::Error::NotAFolder { .. }) => Some(error.to_string()),
            Problem::Target(target::Error::Unprivileged { kind, .. }) => Some((*kind).to_owned()),
            Problem::Missed { what: What::Xattr(name), source } => {
                let space = String::from_utf8_lossy(name.split(|&b| b == b'.').next().unwrap_or_default());
                Some(format!("attribute {space} {:?}", source.kind()))
            }
            Problem::Missed { what, source } => Some(format!("{what} {:?}", source.kind())),
            _ => None,
        }
    }
}

/// True if a part of the repository is damaged or gone, or not in the cache while the storage is not asked: other parts
/// may be whole and here.
pub(super) fn is_damage(error: &repo::Error) -> bool {
    match error.inner() {
        repo::Error::Store(error) => {
            matches!(error.kind, ErrorKind::NotFound | ErrorKind::Truncated | ErrorKind::Offline)
        }
        repo::Error::Object { .. } | repo::Error::ChunkLost { .. } => true,
        _ => false,
    }
}
