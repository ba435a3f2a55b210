//! Why something on a disk cannot be told.

use std::io;

/// Result of looking at a disk.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something on a disk cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes could not be read.
    #[error("cannot read the disk at byte {at}")]
    Read {
        /// First byte that was wanted.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A structure breaks a rule of its format.
    #[error("{what} at byte {at} is damaged: {why}")]
    Damaged {
        /// Which structure: "ext4 inode", "GPT header".
        what: &'static str,
        /// Where it begins, in bytes of the source it was read from (0 if that is not known).
        at: u64,
        /// The rule it breaks.
        why: &'static str,
    },
    /// Well formed, as far as can be seen, but not understood.
    #[error("{what} is not supported")]
    Unsupported {
        /// The feature, as its format calls it.
        what: String,
    },
    /// A dirty bitmap that does not know of all writes.
    #[error("the bitmap '{name}' lacks writes: {why}")]
    Bitmap {
        /// Its name.
        name: String,
        /// What kept it from noting them.
        why: &'static str,
    },
    /// There is no such node, name or stream.
    #[error("no such file or folder")]
    NotFound,
    /// A folder was needed.
    #[error("not a folder")]
    NotAFolder,
    /// The question makes no sense for this kind of node.
    #[error("not that kind of file")]
    WrongKind,
    /// The content is encrypted, and there is no key.
    #[error("the content is encrypted")]
    Encrypted,
    /// The passphrase opens none of the key slots.
    #[error("no key slot opens with this passphrase")]
    WrongPassphrase,
}

impl Error {
    /// A structure at `at` that breaks the rule `why`.
    pub fn damaged(what: &'static str, at: u64, why: &'static str) -> Error {
        Error::Damaged { what, at, why }
    }

    /// A feature that is not understood.
    pub fn unsupported(what: impl Into<String>) -> Error {
        Error::Unsupported { what: what.into() }
    }
}
