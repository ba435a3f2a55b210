//! What can go wrong with a repository.

use crate::format::FormatError;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::id::WriterId;
use crate::store;
use crate::store::ErrorKind;
use std::sync::Arc;

/// Why a repository cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An object is damaged or not what it should be.
    #[error("'{object}' is damaged or not what it should be")]
    Object {
        /// Its name.
        object: String,
        /// The broken rule.
        #[source]
        source: FormatError,
    },
    /// There is no repository there.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// Where.
        location: String,
    },
    /// There is one already.
    #[error("there is a repository already at {location}")]
    Exists {
        /// Where.
        location: String,
    },
    /// No slot opens with the password.
    #[error("wrong password")]
    WrongPassword,
    /// No password slot is left or readable.
    #[error("no password slot of the repository at {location} can be read")]
    NoSlot {
        /// Where.
        location: String,
    },
    /// The password fits none of the slots that can be read, but there is one that cannot.
    #[error("the password fits no password slot, but not all of them can be read")]
    SlotUnreadable {
        /// Why not.
        #[source]
        source: Box<Error>,
    },
    /// The slot is the one that opened the repository.
    #[error("password slot {slot} is the one that opened the repository just now")]
    SlotInUse {
        /// Which.
        slot: ObjectId,
    },
    /// The new password is the old one.
    #[error("the new password is the old one")]
    SamePassword,
    /// A password was changed, but the old one still opens the repository.
    #[error("the new password opens the repository, but the slot of the old one, {slot}, could not be removed")]
    OldPasswordStays {
        /// The slot of the old one.
        slot: ObjectId,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
    /// The cache failed where it is what is wanted; elsewhere the store takes its place.
    #[error(transparent)]
    Cache(#[from] crate::cache::Error),
    /// There is no cache where one is needed.
    #[error("there is no cache to keep anything in")]
    NoCache,
    /// Somebody else appends to the same chain all the time.
    #[error(
        "other records took the place of what was to be appended to the chain of writer {writer}, {tries} times in a row"
    )]
    ChainCrowded {
        /// Whose chain.
        writer: WriterId,
        /// How often it was tried.
        tries: usize,
    },
    /// A chunk is nowhere to be found whole.
    #[error("chunk {id} is lost: it is neither where its page says nor where the index says")]
    ChunkLost {
        /// Which.
        id: ChunkId,
    },
    /// A pack that was just made does not read back; nothing was written. Memory or processor are faulty.
    #[error("a pack does not read back as it was written: memory or processor of this machine may be faulty")]
    PackFaulty {
        /// The broken rule.
        #[source]
        source: FormatError,
    },
    /// The local state failed.
    #[error(transparent)]
    State(#[from] crate::state::StateError),
    /// The same error, told to several waiters.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// A task of the program died.
    #[error("internal error: a task was lost")]
    TaskLost,
}

impl Error {
    /// The error itself, without the wrapper for several waiters.
    pub fn inner(&self) -> &Error {
        match self {
            Error::Shared(error) => error.inner(),
            other => other,
        }
    }

    /// True if trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self.inner() {
            Error::Store(e) => e.kind == ErrorKind::Unreachable,
            Error::SlotUnreadable { source } | Error::OldPasswordStays { source, .. } => source.is_transient(),
            _ => false,
        }
    }
}

/// Result of the repository's functions.
pub type Result<T> = std::result::Result<T, Error>;
