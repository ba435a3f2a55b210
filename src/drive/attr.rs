//! Attributes of nodes as the drive shows them.

use crate::disk::fs;
use crate::disk::fs::NodeKind;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Node;
use crate::meta::Time;
use bygone_mount::Attr;
use bygone_mount::drive::DriveTime;
use bygone_mount::drive::FileKind;
use bygone_mount::drive::Ino;

fn drive_time(time: Time) -> DriveTime {
    DriveTime { secs: time.secs, nanos: time.nanos }
}

/// Attributes of a node under its number.
pub(super) fn attr(node: &Node, ino: Ino, owner: Option<(u32, u32)>) -> Attr {
    let meta = &node.meta;
    let mut device = (0, 0);
    let kind = match node.kind {
        Kind::File => FileKind::File,
        Kind::Folder => FileKind::Folder,
        Kind::Symlink(_) => FileKind::Symlink,
        Kind::Fifo => FileKind::Fifo,
        Kind::Socket => FileKind::Socket,
        Kind::CharDevice { major, minor } => {
            device = (major, minor);
            FileKind::CharDevice
        }
        Kind::BlockDevice { major, minor } => {
            device = (major, minor);
            FileKind::BlockDevice
        }
    };
    let allocated = match &node.content {
        Content::Extents { data, .. } => *data,
        content => content.len(),
    };
    let (uid, gid, mode) = match owner {
        Some((uid, gid)) => (uid, gid, readable(meta.mode, kind)),
        None => (meta.owner.uid, meta.owner.gid, meta.mode),
    };
    Attr {
        ino,
        kind,
        size: node.size(),
        allocated,
        mode,
        links: meta.links.max(1),
        uid,
        gid,
        device,
        mtime: drive_time(meta.mtime),
        ctime: drive_time(meta.ctime),
        btime: drive_time(meta.btime.unwrap_or(meta.mtime)),
    }
}

/// Attributes of a node inside a disk image. What its file system does not have is as a driver of the system shows it.
pub(super) fn inside_attr(node: &fs::Node, ino: Ino, owner: Option<(u32, u32)>) -> Attr {
    let kind = match node.kind {
        NodeKind::File => FileKind::File,
        NodeKind::Folder => FileKind::Folder,
        NodeKind::Symlink => FileKind::Symlink,
        NodeKind::Fifo => FileKind::Fifo,
        NodeKind::Socket => FileKind::Socket,
        NodeKind::CharDevice => FileKind::CharDevice,
        NodeKind::BlockDevice => FileKind::BlockDevice,
    };
    let mode = node.mode_or_usual();
    let (uid, gid, mode) = match owner {
        Some((uid, gid)) => (uid, gid, readable(mode, kind)),
        None => (node.uid.unwrap_or(0), node.gid.unwrap_or(0), mode),
    };
    let mtime = node.mtime.unwrap_or_default();
    let time = |time: Option<Time>| drive_time(time.unwrap_or(mtime));
    Attr {
        ino,
        kind,
        size: node.size,
        allocated: node.allocated.unwrap_or(node.size),
        mode,
        links: node.links.unwrap_or(1).max(1),
        uid,
        gid,
        device: node.device.unwrap_or_default(),
        mtime: drive_time(mtime),
        ctime: time(node.ctime),
        btime: time(node.btime),
    }
}

/// The mode under which its one owner may read everything, and nothing runs with another's rights.
fn readable(mode: u32, kind: FileKind) -> u32 {
    let wanted = if kind == FileKind::Folder { 0o500 } else { 0o400 };
    mode & 0o777 | wanted
}

/// A folder that exists on the drive only.
pub(super) fn virtual_folder(ino: Ino, owner: Option<(u32, u32)>, time: Time) -> Attr {
    let (uid, gid) = owner.unwrap_or((0, 0));
    let time = drive_time(time);
    Attr {
        ino,
        kind: FileKind::Folder,
        size: 0,
        allocated: 0,
        mode: 0o555,
        links: 1,
        uid,
        gid,
        device: (0, 0),
        mtime: time,
        ctime: time,
        btime: time,
    }
}
