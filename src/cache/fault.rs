//! What can go wrong with the cache: [`Error`] for callers, [`Fault`] inside, where the folder is not known.

use rusqlite::ErrorCode;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// The cache cannot be used, or cannot do what it was asked. Whoever only reads goes on without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("cannot use the cache in '{}'", folder.display())]
    Io {
        /// The folder of the cache.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot use the database of the cache in '{}'", folder.display())]
    Database {
        /// The folder of the cache.
        folder: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The contents make no sense. The cache empties itself, so the next try may succeed.
    #[error("the cache in '{}' is damaged: {what}", folder.display())]
    Damaged {
        /// The folder of the cache.
        folder: PathBuf,
        /// What makes no sense.
        what: &'static str,
    },
    /// The folder holds other things; nothing was touched.
    #[error("'{}' is neither empty nor a cache", folder.display())]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder belongs to somebody else; nothing was touched.
    #[error("'{}' belongs to another user", folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
    /// The file system cannot do what the cache needs.
    #[error("the file system of '{}' cannot {what}, which the cache needs", folder.display())]
    Unsupported {
        /// The folder of the cache.
        folder: PathBuf,
        /// What it cannot do.
        what: &'static str,
    },
    /// Another process keeps the cache for itself for too long.
    #[error("the cache in '{}' is busy", folder.display())]
    Busy {
        /// The folder of the cache.
        folder: PathBuf,
    },
    /// There is no room, or keeping it would leave less than a twentieth of the disk free.
    #[error("no room for the cache in '{}': a twentieth of the disk stays free", folder.display())]
    DiskShort {
        /// The folder of the cache.
        folder: PathBuf,
    },
    /// The limit is below the smallest that makes sense.
    #[error("a cache of {bytes} bytes is too small: the least is {bytes_min} bytes")]
    LimitTooSmall {
        /// What was asked for.
        bytes: u64,
        /// The least.
        bytes_min: u64,
    },
    /// There is no pin with this label.
    #[error("there is no pin '{label}'")]
    NoPin {
        /// The label.
        label: String,
    },
}

/// Result of the cache's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, without where.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Sql(rusqlite::Error),
    Damaged(&'static str),
    NotOurs,
    Foreign,
    Unsupported(&'static str),
    Busy,
    DiskShort,
    NoPin(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::DiskShort,
            _ => Fault::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Fault {
        io::Error::from(error).into()
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        let is_shape = matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::QueryReturnedNoRows
                | rusqlite::Error::InvalidColumnName(..)
                | rusqlite::Error::InvalidColumnIndex(..)
                | rusqlite::Error::Utf8Error(..)
                // A table or column that is not there.
                | rusqlite::Error::SqlInputError { .. }
        );
        // A file ends before a page that should be in it.
        let is_cut = error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ);
        match error.sqlite_error_code() {
            _ if is_cut => Fault::Damaged("the database ends too early"),
            _ if is_shape => Fault::Damaged("the database has another shape"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Busy,
            Some(ErrorCode::DiskFull) => Fault::DiskShort,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Damaged("the database is corrupt"),
            // Rules of the schema that only damage can break, and a statement that does not fit the schema.
            Some(
                ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::Unknown
                | ErrorCode::SchemaChanged,
            ) => Fault::Damaged("the database breaks its own rules"),
            _ => Fault::Sql(error),
        }
    }
}

impl Fault {
    /// The same for callers.
    pub(super) fn at(self, folder: &Path) -> Error {
        let folder = folder.to_owned();
        match self {
            Fault::Io(source) => Error::Io { folder, source },
            Fault::Sql(source) => Error::Database { folder, source },
            Fault::Damaged(what) => Error::Damaged { folder, what },
            Fault::NotOurs => Error::NotOurs { folder },
            Fault::Foreign => Error::Foreign { folder },
            Fault::Unsupported(what) => Error::Unsupported { folder, what },
            Fault::Busy => Error::Busy { folder },
            Fault::DiskShort => Error::DiskShort { folder },
            Fault::NoPin(label) => Error::NoPin { label },
        }
    }

    /// Emptying the cache helps.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Fault::Damaged(_))
    }
}
