//! What can go wrong in a target, and what of a node's metadata could not be set.
//! Every error names the path below the target; none is printed here.

use crate::path::NameError;
use crate::path::Show;
use std::fmt;
use std::io;

/// Something the target did not do. Paths are relative to the target, except for [`super::Target::open`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name would leave its folder or cannot exist.
    #[error("'{}' is not a path inside a target", Show(path))]
    BadName {
        /// The path asked for.
        path: Vec<u8>,
        /// The rule it breaks.
        #[source]
        source: NameError,
    },
    /// Something else stands where a folder should be; a symbolic link is never followed.
    #[error("'{}' is a {found} where a folder should be", Show(path))]
    NotAFolder {
        /// The place in the way.
        path: Vec<u8>,
        /// What stands there.
        found: &'static str,
    },
    /// A folder with contents stands where something else should be.
    #[error("'{}' is a folder with contents and is not replaced", Show(path))]
    FolderInTheWay {
        /// The folder.
        path: Vec<u8>,
    },
    /// Someone else changed this place while it was being restored.
    #[error("'{}' was changed by someone else meanwhile", Show(path))]
    Changed {
        /// The place.
        path: Vec<u8>,
    },
    /// Only a privileged restore creates this.
    #[error("'{}' is a {kind}, which only a privileged restore creates", Show(path))]
    Unprivileged {
        /// The place.
        path: Vec<u8>,
        /// What it would be.
        kind: &'static str,
    },
    /// The system said no.
    #[error("cannot {verb} '{}'", Show(path))]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Where.
        path: Vec<u8>,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(verb: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_vec();
        move |source| Error::Io { verb, path, source }
    }

    pub(super) fn missing(verb: &'static str, path: &[u8]) -> Error {
        Error::io(verb, path)(io::ErrorKind::NotFound.into())
    }

    pub(super) fn changed(path: &[u8]) -> Error {
        Error::Changed { path: path.to_vec() }
    }

    fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// True if space, inodes or quota ran out: everything that follows will fail too.
    pub fn is_full(&self) -> bool {
        matches!(self.kind(), Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// True if the file system is mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.kind() == Some(io::ErrorKind::ReadOnlyFilesystem)
    }

    /// True if permission was refused.
    pub fn is_denied(&self) -> bool {
        self.kind() == Some(io::ErrorKind::PermissionDenied)
    }

    /// True if nothing is there.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Some(io::ErrorKind::NotFound)
    }
}

/// A piece of metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// User or group.
    Owner,
    /// The setuid or setgid bit.
    SetId,
    /// Permission bits.
    Mode,
    /// One extended attribute or ACL, by name.
    Xattr(Vec<u8>),
    /// The time of the last change.
    Times,
    /// `chattr` flags.
    Flags,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Owner => write!(f, "owner"),
            What::SetId => write!(f, "setuid or setgid bit"),
            What::Mode => write!(f, "permissions"),
            What::Xattr(name) => write!(f, "extended attribute '{}'", Show(name)),
            What::Times => write!(f, "modification time"),
            What::Flags => write!(f, "file flags"),
        }
    }
}

/// Metadata that a restored node lacks. The node itself is there and whole.
#[derive(Debug, thiserror::Error)]
#[error("{what} not restored")]
pub struct Missed {
    /// Which piece.
    pub what: What,
    /// Why; `None` if it was left out by rule because the restore is not privileged.
    #[source]
    pub source: Option<io::Error>,
}

impl Missed {
    pub(super) fn by_rule(what: What) -> Missed {
        Missed { what, source: None }
    }

    pub(super) fn failed(what: What, source: io::Error) -> Missed {
        Missed { what, source: Some(source) }
    }
}
