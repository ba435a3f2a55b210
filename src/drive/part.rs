//! One part of a disk image as a drive, or a folder in it: what is there is the top of the drive.

use crate::browse::Inside;
use crate::disk::fs;
use crate::disk::fs::NodeId;
use crate::drive::DriveOptions;
use crate::drive::parts::PartFolder;
use crate::drive::parts::Parts;
use crate::drive::refuse;
use crate::drive::with_parts::WithParts;
use crate::id::SnapshotId;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::Drive;
use bygone_mount::DriveError;
use bygone_mount::drive::Caller;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listing;
use bygone_mount::drive::ROOT;
use bygone_mount::drive::Seek;
use bygone_mount::drive::Volume;
use bytes::Bytes;
use std::sync::Arc;

/// The top of the drive; all other numbers are those of the part.
struct PartDrive {
    top: Arc<PartFolder>,
    volume: Volume,
}

/// A folder in a part of a disk image.
pub struct PartAt<'a> {
    /// The snapshot the image is in.
    pub snapshot: SnapshotId,
    /// Where the folder is in the snapshot.
    pub path: &'a [u8],
    /// The part.
    pub inside: Arc<Inside>,
    /// Number of the folder there.
    pub id: NodeId,
    /// The folder.
    pub folder: &'a fs::Node,
    /// What the drive seems to hold.
    pub bytes: u64,
}

/// A folder in a part of a disk image as a drive.
pub fn part_drive(at: PartAt<'_>, options: DriveOptions) -> Arc<dyn Drive> {
    let parts = Parts::new(&options);
    let volume = Volume { bytes: at.bytes, nodes: 1 };
    let drive = PartDrive { top: parts.top(at), volume };
    Arc::new(WithParts { drive, parts, watch: options.watch, store: options.store })
}

impl PartDrive {
    fn top<T>(&self, ino: Ino, ask: impl FnOnce(Arc<PartFolder>, NodeId) -> Answer<T>) -> Answer<T> {
        if ino == ROOT { ask(self.top.clone(), PartFolder::top_node()) } else { refuse(DriveError::NotFound) }
    }
}

impl Drive for PartDrive {
    fn volume(&self) -> Volume {
        self.volume.clone()
    }

    fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Attr> {
        self.top(parent, |top, node| top.lookup(node, name))
    }

    fn attr(&self, ino: Ino) -> Answer<Attr> {
        self.top(ino, PartFolder::attr)
    }

    fn list(&self, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing> {
        self.top(folder, |top, node| top.list(node, cursor, entries_max))
    }

    fn read(&self, ino: Ino, offset: u64, len: u32, _caller: Caller) -> Answer<Bytes> {
        self.top(ino, |top, node| top.read(node, offset, len))
    }

    fn read_link(&self, ino: Ino) -> Answer<Bytes> {
        self.top(ino, PartFolder::read_link)
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Bytes> {
        self.top(ino, |top, node| top.xattr(node, name))
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        self.top(ino, PartFolder::xattr_names)
    }

    fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        self.top(ino, |top, node| top.seek(node, offset, what))
    }
}
