//! The reasons for which a walk leaves something out: a few words each, as people read them.

/// An exclude rule matches.
pub const RULE: &str = "excluded by a rule";
/// The caller asked for it by path.
pub const SKIP: &str = "never backed up";
/// A marker file given by the caller stands in the folder.
pub const MARKER: &str = "contents left out: marker file";
/// The folder says that it is a cache.
pub const CACHE: &str = "contents left out: cache";
/// A file `.nobackup` stands in the folder.
pub const NO_BACKUP: &str = "contents left out: .nobackup";
/// The folder is a Bygone repository.
pub const REPOSITORY: &str = "contents left out: a Bygone repository";
/// The folder is where a Bygone drive is mounted.
pub const DRIVE: &str = "contents left out: a Bygone drive";
/// The file is larger than the caller wants.
pub const TOO_LARGE: &str = "larger than the limit";
/// The folder is the state of the system, shown as files.
pub const PSEUDO: &str = "contents left out: not a real file system";
/// The folder is where another file system is mounted.
pub const OTHER: &str = "contents left out: another file system";
