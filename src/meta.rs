//! What a snapshot knows of one file, folder or other node. No access time: reading must not change a backup.

use crate::extent::ChunkRef;
use serde::Deserialize;
use serde::Serialize;
use std::sync::Arc;

/// A point in time: seconds since 1970 (negative before) and nanoseconds below 1 000 000 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// The rest.
    pub nanos: u32,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; its bytes are in [`Node::content`].
    File,
    /// A folder; its children are the nodes whose parent it is.
    Folder,
    /// A symbolic link, with its target as stored.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// Who owns a node: numbers, and the names they had on the source (empty if unknown).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// User name.
    pub user: Vec<u8>,
    /// Group name.
    pub group: Vec<u8>,
}

/// One extended attribute. POSIX ACLs are the attributes `system.posix_acl_access` and `system.posix_acl_default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattr {
    /// Full name with its namespace.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// What Windows knows beyond Unix. Defined by format version 1; filled by Windows sources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows {
    /// `FILE_ATTRIBUTE_*` bits.
    pub attributes: u32,
    /// Self-relative security descriptor, empty if none.
    pub security: Vec<u8>,
    /// Reparse data with its tag, empty if none.
    pub reparse: Vec<u8>,
    /// Alternate data streams (name as WTF-8, content).
    pub streams: Vec<Stream>,
}

/// An alternate data stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Name without the colon, WTF-8.
    pub name: Vec<u8>,
    /// Its bytes.
    pub content: Content,
}

/// `chattr` flags kept in [`Meta::flags`]: the numbers of `FS_IOC_GETFLAGS`, fixed here for the format.
pub mod flag {
    /// Compressed by the file system.
    pub const COMPRESSED: u32 = 0x4;
    /// Cannot be changed.
    pub const IMMUTABLE: u32 = 0x10;
    /// Can only be appended to.
    pub const APPEND: u32 = 0x20;
    /// Left out by `dump`.
    pub const NO_DUMP: u32 = 0x40;
}

/// Everything about a node except name, kind and content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: `0o7777`.
    pub mode: u32,
    /// Owner; shared, because few owners own many files.
    pub owner: Arc<Owner>,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of anything; part of the test "unchanged since the parent snapshot".
    pub ctime: Time,
    /// Creation, where the source knows it.
    pub btime: Option<Time>,
    /// Inode number on the source; part of the same test.
    pub inode: u64,
    /// Number of hard links on the source.
    pub links: u32,
    /// Same number for all names of one file with several; never 0. Only for `links > 1`, never for folders.
    pub link_group: Option<u64>,
    /// [`flag`] bits.
    pub flags: u32,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// What only Windows has.
    pub windows: Option<Box<Windows>>,
}

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Content {
    /// No bytes (also for everything that is not a file).
    #[default]
    Empty,
    /// So few bytes that they stand here.
    Inline(Vec<u8>),
    /// One chunk.
    Chunk(ChunkRef),
    /// A tree of extents.
    Extents {
        /// Root page.
        root: ChunkRef,
        /// Length of the file in bytes.
        len: u64,
        /// Bytes of it that are data, not holes.
        data: u64,
    },
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Empty => 0,
            Content::Inline(bytes) => bytes.len() as u64,
            Content::Chunk(chunk) => u64::from(chunk.len),
            Content::Extents { len, .. } => *len,
        }
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A node of a snapshot: what stands under one name in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name in its folder; empty for the root only.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Everything known about it.
    pub meta: Meta,
    /// Its bytes, if it is a file.
    pub content: Content,
}

impl Node {
    /// Its own content, and that of its streams.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        let streams = self.meta.windows.iter().flat_map(|windows| &windows.streams);
        [&self.content].into_iter().chain(streams.map(|stream| &stream.content))
    }

    /// True for a folder.
    pub fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// Size as `stat` shows it: bytes of a file, length of a link's target, 0 for the rest.
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::File => self.content.len(),
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }
}
