//! A source: the folders of this machine that are to be backed up, read as one ordered stream of nodes.
//!
//! # What always holds
//! - **Order**: nodes come by (path of their folder, name), folders compared by [`crate::path::compare`]: the
//!   order of a snapshot's page tree. First all children of a folder, then below each child folder in turn.
//! - The root node comes first, then the ancestors of the chosen folders with only what leads there. A snapshot
//!   path is the absolute path without its leading `/`.
//! - A node costs one `statx`. Attributes, link targets and owner names are read by [`Found::complete`] and
//!   [`Found::complete_open`] alone.
//! - Memory and open files are bounded, whatever the number of files and the depth; a folder of a million files
//!   is held as names only.
//! - No symbolic link is followed below a root, nor any special file opened.
//!
//! # How
//! Threads read folders ahead ([`reader`]) in small pieces of work, always the piece nearest to what the caller
//! needs next ([`walk`](mod@walk)); a caller who would have to wait takes a piece itself.
//!
//! It never knows chunks or repositories, never writes, and leaves access times alone where the system permits.

mod file;
mod folder;
mod found;
mod names;
mod os;
mod reader;
mod roots;
mod rules;
mod stat;
#[cfg(test)]
mod tests;
mod walk;
pub mod why;

pub use file::Run;
pub use file::Runs;
pub use file::SourceFile;
pub use found::Found;
pub use found::Owners;
pub use roots::roots_of;
pub use roots::wanted_roots;
pub use stat::Stat;
pub use stat::Type;
pub use walk::Walk;
pub use walk::walk;

use crate::path::NameError;
use std::io;
use std::path::PathBuf;

/// Files that one part of a backup may have open at once: a quarter of those that this process may.
pub fn files_share() -> usize {
    os::files_max() / 4
}

/// What to back up, and what of it not.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folders and files. Relative ones begin at the current folder. A root that is a link to a folder stands for
    /// that folder, any other link for itself. A root within another adds nothing.
    pub roots: Vec<PathBuf>,
    /// Rules in gitignore syntax, as if they stood in a `.gitignore` in each root. An excluded folder is not read.
    pub excludes: Vec<String>,
    /// Rules in the same syntax that win over all excludes; but nothing comes back out of an excluded folder.
    pub includes: Vec<String>,
    /// Files with rules, in UTF-8; they follow the excludes and come before the includes.
    pub exclude_files: Vec<PathBuf>,
    /// `NAME` or `NAME:HEADER`: a folder with such a file, beginning with the header, is kept without its contents.
    pub exclude_if_present: Vec<String>,
    /// The same for folders with a `CACHEDIR.TAG` that has the signature.
    pub exclude_caches: bool,
    /// The same for folders with a file `.nobackup`.
    pub nobackup: bool,
    /// Files of more bytes are left out.
    pub size_max: Option<u64>,
    /// Contents of other file systems mounted below a root are left out. Bind mounts of the same one count as it.
    pub one_file_system: bool,
    /// Folders never entered, and other nodes left out, wherever they are met (the repository itself).
    pub skip: Vec<PathBuf>,
    /// Threads that read ahead, beside the caller's.
    pub threads: usize,
}

/// One thing the walk has to tell.
#[derive(Debug)]
pub enum Step {
    /// A node to be backed up.
    Found(Found),
    /// A node left out, or a folder whose contents are left out; one of [`why`].
    Skipped {
        /// Snapshot path.
        path: Vec<u8>,
        /// The reason.
        why: &'static str,
    },
    /// A node that cannot be backed up, or a folder that cannot be listed. The walk goes on.
    Problem {
        /// Snapshot path.
        path: Vec<u8>,
        /// Why.
        error: Error,
    },
}

/// Why a source, or one node of it, cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller named nothing.
    #[error("nothing to back up: no folder or file was named")]
    NoRoots,
    /// One of [`Options::roots`] is missing or unreadable. The walk fails only if all of them are.
    #[error("cannot read '{}'", path.display())]
    Root {
        /// As it was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A rule that cannot be understood.
    #[error("'{rule}' is not a rule in gitignore syntax")]
    Rule {
        /// As it was given.
        rule: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Rules that are too much together.
    #[error("the rules are too large")]
    Rules {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One of [`Options::exclude_files`] is missing or unreadable.
    #[error("cannot read the rules in '{}'", path.display())]
    RuleFile {
        /// As it was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gives no handle or thread to walk with.
    #[error("cannot begin to walk")]
    Begin(#[source] io::Error),
    /// It was there a moment ago.
    #[error("it was removed while the backup ran")]
    Vanished,
    /// Something else stands in its place now.
    #[error("something else stands in its place since the backup began")]
    Changed,
    /// It is backed up as it was read.
    #[error("it was written to while it was read: what was stored may be half old, half new")]
    Torn,
    /// Only regular files have bytes to read.
    #[error("it is not a regular file")]
    NotAFile,
    /// A snapshot cannot hold a node of this name, or so deep.
    #[error("its path cannot stand in a snapshot")]
    Name(#[source] NameError),
    /// The system refused.
    #[error("cannot {verb}")]
    Failed {
        /// What was tried: `list it`, `read it`, ...
        verb: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    fn failed(verb: &'static str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::NotFound => Error::Vanished,
            _ if os::is_replaced(&source) => Error::Changed,
            _ => Error::Failed { verb, source },
        }
    }
}
