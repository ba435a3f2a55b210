//! The seam between a tree and the system that shows it as a drive.

use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;

/// Number of a node on the drive; [`ROOT`] is the root. Stable as long as the drive is shown.
pub type Ino = u64;

/// The root folder.
pub const ROOT: Ino = 1;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Folder.
    Folder,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

/// A point in time: seconds since 1970 (negative before), nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DriveTime {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// The rest, below 1 000 000 000.
    pub nanos: u32,
}

/// Attributes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Its number. Names of one hard-linked file share it.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of content (a link: of its target).
    pub size: u64,
    /// Bytes that are really there, holes not counted.
    pub allocated: u64,
    /// Permission bits `0o7777`.
    pub mode: u32,
    /// Number of names (a folder: 2 + its sub-folders, or 1 for "not counted").
    pub links: u32,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Last change of content.
    pub mtime: DriveTime,
    /// Last change of anything.
    pub ctime: DriveTime,
    /// Creation.
    pub btime: DriveTime,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name in the folder: not empty, not `.` or `..`, without `/` and NUL.
    pub name: Vec<u8>,
    /// Attributes, so that no look-up has to follow.
    pub attr: Attr,
    /// Where a listing continues after this entry: never 0, below 2^62, good as long as the drive is shown.
    pub cursor: u64,
}

/// Part of a folder's entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Entries in a stable order, without `.` and `..`.
    pub entries: Vec<Listed>,
    /// The folder's parent (the root is its own).
    pub parent: Ino,
    /// True if nothing follows.
    pub end: bool,
}

/// What `statfs` and a file manager show of the whole drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Bytes of all content.
    pub bytes: u64,
    /// Number of nodes.
    pub nodes: u64,
}

/// What to find from an offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is there.
    Data,
    /// The next hole; the end of the file counts as one.
    Hole,
}

/// Who asks: for policies per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Caller {
    /// Number of the thread that opens or reads. The kernel's read-ahead carries the number of the thread that set it
    /// off. 0: a process that cannot be seen from here, such as one outside of our container.
    pub pid: u32,
    /// User number.
    pub uid: u32,
}

/// Why a drive cannot answer. Adapters have the one table to the system's error numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// No such name or number.
    #[error("no such file or folder")]
    NotFound,
    /// A folder was needed.
    #[error("not a folder")]
    NotAFolder,
    /// A file was needed.
    #[error("is a folder")]
    IsAFolder,
    /// The request makes no sense for this node.
    #[error("invalid request")]
    Invalid,
    /// No such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// Offset beyond the end in a seek.
    #[error("offset beyond the end")]
    BeyondEnd,
    /// Not permitted by a policy of the drive.
    #[error("not permitted")]
    Denied,
    /// The content is encrypted, and there is no key.
    #[error("required key not available")]
    NoKey,
    /// The data is damaged or could not be fetched.
    #[error("input/output error")]
    Io,
    /// The data is elsewhere, and nobody may go there now.
    #[error("the storage is not asked")]
    Offline,
    /// Not answered before the deadline.
    #[error("timed out")]
    TimedOut,
}

/// Result of a request.
pub type Result<T> = std::result::Result<T, DriveError>;

/// An answer: at once, or a future that may wait for disk or network. The thread that asks never waits.
pub enum Answer<T> {
    /// Known now.
    Now(Result<T>),
    /// Known later.
    Later(Pin<Box<dyn Future<Output = Result<T>> + Send + 'static>>),
}

impl<T> Answer<T> {
    /// Wraps a future.
    pub fn later(future: impl Future<Output = Result<T>> + Send + 'static) -> Answer<T> {
        Answer::Later(Box::pin(future))
    }

    /// Waits for the answer.
    pub async fn wait(self) -> Result<T> {
        match self {
            Answer::Now(result) => result,
            Answer::Later(future) => future.await,
        }
    }
}

/// A read-only tree. Every method may be called from several threads at once and must not block.
pub trait Drive: Send + Sync + 'static {
    /// The whole volume.
    fn volume(&self) -> Volume;

    /// False if no node has any extended attribute, ACLs included. The system then stops asking, which saves one or two
    /// requests per file in every `ls -l`. Must never change.
    fn has_xattrs(&self) -> bool {
        true
    }

    /// A child of a folder.
    fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Attr>;

    /// Attributes of a node.
    fn attr(&self, ino: Ino) -> Answer<Attr>;

    /// Entries of a folder after `cursor` (0: from the start), at most `entries_max`, at least one unless at the end.
    /// Fewer cost further calls; the time of a call must not grow with `cursor`.
    fn list(&self, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing>;

    /// False if nobody need be asked when a file is opened: where the system can, it then does so by itself, which
    /// saves two requests for each opened file. Must never change.
    fn asks_open(&self) -> bool {
        false
    }

    /// May this program open the file? Asked only if [`Drive::asks_open`]; a refusal is remembered by nobody.
    ///
    /// This is the place to refuse something. Refused later, a program that has mapped the file into its memory gets
    /// SIGBUS (Xfce's maker of previews gave up for good after five), and what the system has in memory is not asked for
    /// at all. Descriptors may be handed on: [`Drive::read`] may be called for another program, on behalf of this one.
    fn open(&self, _ino: Ino, _caller: Caller) -> Answer<()> {
        Answer::Now(Ok(()))
    }

    /// The whole content of a file that is being opened, if it is at hand and no longer than `bytes_max`: it is handed to the
    /// system with the permission to open, and [`Drive::read`] is not called for it. Asked only after [`Drive::open`].
    fn small(&self, _ino: Ino, _bytes_max: u64, _caller: Caller) -> Option<Bytes> {
        None
    }

    /// Up to `len` bytes from `offset`; fewer only at the end of the file.
    ///
    /// A refusal concerns this caller alone: others that read the same are asked for again, though at first in single
    /// pages (measured: 64 requests for the 256 KiB the system had begun to read ahead).
    fn read(&self, ino: Ino, offset: u64, len: u32, caller: Caller) -> Answer<Bytes>;

    /// Target of a symbolic link.
    fn read_link(&self, ino: Ino) -> Answer<Bytes>;

    /// Value of an extended attribute.
    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Bytes>;

    /// Names of the extended attributes.
    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>>;

    /// The next data or hole at or after `offset`.
    fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Answer<u64>;

    /// Is told that a request about this node was not answered in time.
    fn unanswered(&self, _ino: Ino) {}

    /// A number that changes whenever the storage below has answered something.
    fn heard(&self) -> u64 {
        0
    }
}
