//! Putting right what is damaged, out of what is at hand: second copies, the packs themselves, parity, another repository.
//!
//! - Nothing is removed before what it said stands somewhere else: it may be killed anywhere and run again, and a second
//!   run finds nothing to do.
//! - Runs beside backups, drives and prunes: it says again what is true, and what others say twice does no harm.
//! - Nothing is guessed: what is written in place of a damaged object is what was stored once, checked with the keys.
//! - A password that was removed does not come back: its second copy goes before its slot.
//!
//! In this order: [`copies()`]; [`name_packs()`], so that every chunk can be found; a check, whose damaged packs
//! [`mend()`] tries; [`tidy_index()`], when nobody needs the old lines any more.

mod chunks;
mod copies;
mod index;
mod packs;

pub use copies::copies;
pub use index::Survey;
pub use index::name_packs;
pub use index::survey;
pub use index::tidy_index;
pub use packs::Mended;
pub use packs::add_parity;
pub use packs::mend;

use crate::format::FormatError;
use crate::monitor::Monitor;
use crate::repo;
use crate::repo::Log;
use crate::repo::Repo;
use crate::store;
use std::fmt;

/// Why a repair did not come to its end. What it has done stays done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository cannot be asked, or not be written to.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// A chunk of the other repository cannot be stored here.
    #[error("cannot encode a chunk")]
    Encode(#[source] FormatError),
    /// Somebody else keeps rewriting the index.
    #[error("the index changes all the time; try again when nothing else tidies it")]
    Restless,
    /// The user wanted it to end.
    #[error("the repair was interrupted; what it has done stays done")]
    Cancelled,
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        Error::Repo(error.into())
    }
}

/// Result of a repair.
pub type Result<T> = std::result::Result<T, Error>;

/// One thing that was put right, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// What was done.
    pub what: What,
    /// The object, by its name; `index` or `packs` for all of them.
    pub object: String,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A damaged or missing object was put back from its second copy.
    PutBack,
    /// A second copy was made, or made anew.
    Copied,
    /// Packs that no index named are named now.
    Named {
        /// Packs.
        packs: u64,
        /// Chunks in them.
        chunks: u64,
    },
    /// Lines about packs that are not there were left out of the index.
    Forgotten {
        /// Packs that are gone.
        packs: u64,
    },
    /// An index object that cannot be read was removed: what it named is named by others.
    Removed,
    /// A pack was rebuilt from parity.
    Rebuilt,
    /// Lost chunks were taken from the other repository.
    Fetched {
        /// How many.
        chunks: u64,
    },
    /// Packs got parity.
    Protected {
        /// How many.
        packs: u64,
    },
}

impl What {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            What::PutBack => "put_back",
            What::Copied => "copied",
            What::Named { .. } => "named",
            What::Forgotten { .. } => "forgotten",
            What::Removed => "removed",
            What::Rebuilt => "rebuilt",
            What::Fetched { .. } => "fetched",
            What::Protected { .. } => "protected",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::PutBack => f.write_str("put back from the second copy"),
            What::Copied => f.write_str("second copy made"),
            What::Named { packs, chunks } => write!(f, "{packs} packs with {chunks} chunks named again"),
            What::Forgotten { packs } => write!(f, "lines about {packs} packs that are gone left out"),
            What::Removed => f.write_str("could not be read; removed, what it named is named by others"),
            What::Rebuilt => f.write_str("rebuilt from parity"),
            What::Fetched { chunks } => write!(f, "{chunks} lost chunks taken from the other repository"),
            What::Protected { packs } => write!(f, "{packs} packs got parity"),
        }
    }
}

/// What all steps need, and what they have done so far.
pub struct Job<'a> {
    /// The repository.
    pub repo: &'a Repo,
    /// Its log as it was read.
    pub log: &'a Log,
    /// Tells what goes on; may end it.
    pub monitor: &'a dyn Monitor,
    /// True if nothing is to be written.
    pub dry_run: bool,
    /// What was put right, or would be.
    pub deeds: Vec<Deed>,
}

impl<'a> Job<'a> {
    /// A job that has done nothing yet.
    pub fn new(repo: &'a Repo, log: &'a Log, monitor: &'a dyn Monitor, dry_run: bool) -> Job<'a> {
        Job { repo, log, monitor, dry_run, deeds: Vec::new() }
    }

    fn go_on(&self) -> Result<()> {
        if self.monitor.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn did(&mut self, what: What, object: &str) {
        self.deeds.push(Deed { what, object: object.to_owned() });
    }
}
