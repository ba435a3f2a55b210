//! Inodes: all of a file but its names, attributes and bytes.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Node;
use crate::disk::fs::NodeKind;
use crate::meta::Time;

const NO_DATA_SUM: u64 = 1;

/// `btrfs_inode_item`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) kind: NodeKind,
    pub(super) size: u64,
    /// Whether its data has no checksums.
    pub(super) is_unsummed: bool,
    allocated: u64,
    links: u32,
    uid: u32,
    gid: u32,
    mode: u32,
    device: u64,
    ctime: Option<Time>,
    mtime: Option<Time>,
    otime: Option<Time>,
}

impl Inode {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Inode> {
        let mode = fields.u32(52)?;
        let kind = match mode & 0o170_000 {
            0o100_000 => NodeKind::File,
            0o040_000 => NodeKind::Folder,
            0o120_000 => NodeKind::Symlink,
            0o010_000 => NodeKind::Fifo,
            0o140_000 => NodeKind::Socket,
            0o020_000 => NodeKind::CharDevice,
            0o060_000 => NodeKind::BlockDevice,
            _ => return Err(fields.damaged("its mode is none of a file")),
        };
        let size = fields.u64(16)?;
        if i64::try_from(size).is_err() {
            return Err(fields.damaged("its size is impossible"));
        }
        Ok(Inode {
            kind,
            size,
            is_unsummed: fields.u64(64)? & NO_DATA_SUM != 0,
            allocated: fields.u64(24)?,
            links: fields.u32(40)?,
            uid: fields.u32(44)?,
            gid: fields.u32(48)?,
            mode: mode & 0o7777,
            device: fields.u64(56)?,
            ctime: time(fields, 124)?,
            mtime: time(fields, 136)?,
            otime: time(fields, 148)?,
        })
    }

    pub(super) fn node(&self) -> Node {
        let has_size = matches!(self.kind, NodeKind::File | NodeKind::Symlink);
        let is_device = matches!(self.kind, NodeKind::CharDevice | NodeKind::BlockDevice);
        Node {
            kind: self.kind,
            size: if has_size { self.size } else { 0 },
            allocated: Some(self.allocated),
            mode: Some(self.mode),
            uid: Some(self.uid),
            gid: Some(self.gid),
            links: Some(self.links),
            // As Linux keeps it in memory: 20 bits of minor number.
            device: is_device.then_some(((self.device >> 20) as u32, (self.device & 0xF_FFFF) as u32)),
            mtime: self.mtime,
            ctime: self.ctime,
            // File systems before Linux 4.5 left it zero.
            btime: self.otime.filter(|time| *time != Time::default()),
        }
    }
}

/// What stands in a snapshot for a subvolume that it does not hold: an empty folder.
pub(super) fn placeholder() -> Node {
    Node { mode: Some(0o755), ..Node::new(NodeKind::Folder, 0) }
}

/// `btrfs_timespec`.
fn time(fields: &Fields<'_>, at: usize) -> Result<Option<Time>> {
    let (secs, nanos) = (fields.u64(at)?.cast_signed(), fields.u32(at.saturating_add(8))?);
    Ok((nanos < 1_000_000_000).then_some(Time { secs, nanos }))
}
