//! What one look at a node tells: the values of `stat`, without its target, owner names and attributes.

use crate::meta::Time;
use crate::meta::flag;

/// What a node is, as far as a listing or `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// The state of a node when it was looked at. Times are those of the file system; there is no access time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Type,
    /// Permission bits with setuid, setgid and sticky: `0o7777`.
    pub mode: u32,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Bytes of a file, length of a link's target; no meaning for the rest.
    pub size: u64,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// Creation, where the file system knows it.
    pub btime: Option<Time>,
    /// Inode number.
    pub inode: u64,
    /// Number of the file system it lies on.
    pub dev: u64,
    /// Number of hard links.
    pub links: u32,
    /// Major and minor number of a device; zero for the rest.
    pub rdev: (u32, u32),
    /// [`flag`] bits.
    pub flags: u32,
    /// Bytes taken on disk; fewer than `size` where there are holes or compression.
    pub allocated: u64,
}

impl Stat {
    /// The flags a backup keeps.
    pub(super) const FLAGS: u32 = flag::COMPRESSED | flag::IMMUTABLE | flag::APPEND | flag::NO_DUMP;

    /// True for a folder.
    pub fn is_folder(&self) -> bool {
        self.kind == Type::Folder
    }

    /// True for a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == Type::File
    }

    /// True if both are looks at one and the same node.
    pub fn is_same_node(&self, other: &Stat) -> bool {
        (self.dev, self.inode, self.kind) == (other.dev, other.inode, other.kind)
    }

    /// True if nothing was written to the node between the two looks.
    pub fn is_unchanged(&self, later: &Stat) -> bool {
        self.is_as_long_and_old(later) && self.ctime == later.ctime
    }

    /// True if both are looks at one and the same node with the same content, unless somebody set its time back.
    pub fn is_as_long_and_old(&self, other: &Stat) -> bool {
        self.is_same_node(other) && (self.size, self.mtime) == (other.size, other.mtime)
    }
}
