//! File systems: nodes by number, folders by cursor, and where the bytes of a file lie.
//!
//! One folder of modules per format, one on-disk structure per file. Nothing here keeps state that a second look at the
//! same bytes would not give again: a process that died can be replaced in the middle of a listing.

mod breadth;
pub mod btrfs;
mod calendar;
mod exfat;
pub mod ext;
mod fat;
mod iso;
mod name_index;
pub mod ntfs;
mod squash;
mod wide;
pub mod xfs;

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::meta::Kind;
use crate::meta::Time;
use crate::meta::Xattr;
use serde::Deserialize;
use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;

/// What a file system stands on.
pub type Source = Arc<dyn BlockSource>;

/// Number of a node in its file system: below 2^48, the same at every look. A format without numbers takes the place
/// of the node's structure on the disk.
pub type NodeId = u64;

/// Node numbers are below this.
pub const NODE_ID_END: NodeId = 1 << 48;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// Regular file.
    File,
    /// Folder.
    Folder,
    /// Symbolic link, or what is shown as one.
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

/// What is known of a node. `None`: the format does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Bytes of content (a link: of its target as [`FileSystem::link`] gives it).
    pub size: u64,
    /// Bytes that are allocated for it.
    pub allocated: Option<u64>,
    /// Permission bits `0o7777`.
    pub mode: Option<u32>,
    /// User number.
    pub uid: Option<u32>,
    /// Group number.
    pub gid: Option<u32>,
    /// Number of names.
    pub links: Option<u32>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Last change of content.
    pub mtime: Option<Time>,
    /// Last change of anything.
    pub ctime: Option<Time>,
    /// Creation.
    pub btime: Option<Time>,
}

impl Node {
    /// A node of which nothing else is known.
    pub fn new(kind: NodeKind, size: u64) -> Node {
        Node {
            kind,
            size,
            allocated: None,
            mode: None,
            uid: None,
            gid: None,
            links: None,
            device: None,
            mtime: None,
            ctime: None,
            btime: None,
        }
    }

    /// Its permissions; if the format has none, those that drivers of the system give.
    pub fn mode_or_usual(&self) -> u32 {
        self.mode.unwrap_or(if self.kind == NodeKind::Folder { 0o755 } else { 0o644 }) & 0o7777
    }

    /// What it is in the words of a snapshot. `target`: where it leads, if it is a link.
    pub fn kind_with(&self, target: Vec<u8>) -> Kind {
        let (major, minor) = self.device.unwrap_or_default();
        match self.kind {
            NodeKind::File => Kind::File,
            NodeKind::Folder => Kind::Folder,
            NodeKind::Symlink => Kind::Symlink(target),
            NodeKind::Fifo => Kind::Fifo,
            NodeKind::Socket => Kind::Socket,
            NodeKind::CharDevice => Kind::CharDevice { major, minor },
            NodeKind::BlockDevice => Kind::BlockDevice { major, minor },
        }
    }
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name, as bytes; UTF-16 becomes UTF-8, lone surrogates WTF-8. Never `.` or `..`.
    pub name: Vec<u8>,
    /// The node it names.
    pub node: NodeId,
    /// Where a listing goes on after this entry: not 0, growing.
    pub cursor: u64,
}

/// The file system as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct About {
    /// Its kind as people call it: `ext4`, `NTFS`, `FAT32`.
    pub kind: String,
    /// Label, if it has one.
    pub label: String,
    /// UUID or serial number as `blkid` prints it; empty if there is none.
    pub uuid: String,
    /// Bytes it covers.
    pub bytes: u64,
    /// Bytes in use, if that is cheap to know.
    pub used_bytes: Option<u64>,
    /// True if there is more in it than is below its root, as a plain mount shows it: [`open_whole`] opens all.
    pub is_partial: bool,
    /// What a reader has to know, in sentences: a journal that was not replayed, hibernation.
    pub notes: Vec<String>,
}

impl About {
    /// How many of its bytes lie in ranges that [`FileSystem::used`] gave, which may go on behind it.
    pub fn bytes_of(&self, used: &[Range<u64>]) -> u64 {
        let within = |at: u64| at.min(self.bytes);
        used.iter().map(|range| within(range.end).saturating_sub(within(range.start))).sum()
    }
}

/// A file system, read only. Calls may take long and read much; each ends, whatever the bytes are.
pub trait FileSystem: Send {
    /// The whole.
    fn about(&self) -> About;

    /// The root folder.
    fn root(&self) -> NodeId;

    /// What is known of a node.
    fn node(&mut self, id: NodeId) -> Result<Node>;

    /// Calls `take` with the entries of a folder after `cursor` (0: from the start), in an order that never changes,
    /// until it returns false. The time of a call must not grow much with `cursor`.
    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()>;

    /// The node of a name. To be written anew where the format can do better than looking at all names.
    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        let mut found = None;
        self.list(folder, 0, &mut |entry| {
            if entry.name == name {
                found = Some(entry.node);
            }
            found.is_none()
        })?;
        found.ok_or(Error::NotFound)
    }

    /// Appends where the bytes of `range` of a file lie: runs over the source, in order, as long together as the part
    /// of the range that is within the file.
    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()>;

    /// Target of a symbolic link.
    fn link(&mut self, node: NodeId) -> Result<Vec<u8>>;

    /// Extended attributes as the system's own driver would give them, sorted by name. POSIX ACLs are
    /// `system.posix_acl_access` and `system.posix_acl_default` in the form of the system call.
    fn xattrs(&mut self, node: NodeId) -> Result<Vec<Xattr>>;

    /// Byte ranges of the source that are in use, metadata included: sorted, apart from each other. `None` if that
    /// cannot be known for sure; then all of it is in use.
    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>>;

    /// Calls `take` with byte ranges of the source that hold what listing all folders needs, those first that the root
    /// needs, until it returns false.
    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()>;
}

/// The file system on a source, if its kind is known. Those with a signature of their own come before those that are told
/// by what is plausible.
pub fn open(source: &Source) -> Result<Option<Box<dyn FileSystem>>> {
    let mut looks = Looks::default();
    if looks.like(ext::is_ext(source))? {
        return ext::open(source.clone()).map(Some);
    }
    if looks.like(xfs::is_xfs(source))? {
        return xfs::open(source).map(Some);
    }
    if looks.like(btrfs::is_btrfs(source))? {
        return btrfs::open(source).map(Some);
    }
    if looks.like(iso::is_iso(source))? {
        return iso::open(source).map(Some);
    }
    match squash::open(source) {
        Ok(None) => {}
        Err(fault @ Error::Read { .. }) => looks.unread = Some(fault),
        found => return found,
    }
    if looks.like(exfat::is_exfat(source))? {
        return exfat::open(source).map(Some);
    }
    if looks.like(fat::is_fat(source))? {
        return fat::open(source).map(Some);
    }
    // Last: a volume may have left a copy of its first sector at the end.
    if looks.like(ntfs::is_ntfs(source))? {
        return ntfs::open(source.clone()).map(Some);
    }
    looks.unread.map_or(Ok(None), Err)
}

/// All of a file system that [`open`] opens in part: [`About::is_partial`]. `None`: there is none of these kinds.
pub fn open_whole(source: &Source) -> Result<Option<Box<dyn FileSystem>>> {
    if btrfs::is_btrfs(source)? { btrfs::open_whole(source).map(Some) } else { Ok(None) }
}

/// What cannot be read of one kind may be read of another.
#[derive(Default)]
struct Looks {
    unread: Option<Error>,
}

impl Looks {
    fn like(&mut self, kind: Result<bool>) -> Result<bool> {
        match kind {
            Err(fault @ Error::Read { .. }) => {
                self.unread = Some(fault);
                Ok(false)
            }
            told => told,
        }
    }
}
