//! An inode: what is known of a node, and its two forks.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 16 "On-disk Inode", and "Large Timestamps" therein.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::disk::fs::xfs::crc32c;
use crate::disk::fs::xfs::superblock::Superblock;
use crate::meta::Time;
use std::ops::Range;

const WHAT: &str = "XFS inode";
const MAGIC: u16 = u16::from_le_bytes(*b"NI");
const CRC_AT: usize = 100;
/// Where the forks begin: in version 3, and before.
const FORKS_AT: usize = 176;
const FORKS_AT_V2: usize = 100;

const FLAG_REALTIME: u16 = 1;
const FLAG2_BIGTIME: u64 = 8;
const FLAG2_NREXT64: u64 = 16;
const FLAG2_METADATA: u64 = 32;

/// Large timestamps count nanoseconds from here: the first second of a signed 32-bit time.
const BIGTIME_EPOCH_SECS: i64 = i32::MIN as i64;
const NANOS: u64 = 1_000_000_000;
/// Longest target of a symbolic link.
const LINK_BYTES_MAX: u64 = 1024;

/// How a fork keeps what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Number of a device.
    Device,
    /// The bytes themselves.
    Local,
    /// A list of extents.
    Extents,
    /// The root of a tree of extents.
    Btree,
}

/// Which fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Content, entries, target.
    Data,
    /// Attributes.
    Attr,
}

/// One fork, as it stands in the inode.
pub(super) struct Fork<'a> {
    pub(super) format: Format,
    /// Number of extents.
    pub(super) extents: u64,
    pub(super) fields: Fields<'a>,
}

/// An inode in use.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) id: NodeId,
    pub(super) kind: NodeKind,
    pub(super) size: u64,
    pub(super) is_realtime: bool,
    at: u64,
    bytes: Vec<u8>,
    data: Range<usize>,
    /// Empty if there are no attributes.
    attr: Range<usize>,
    data_format: Format,
    attr_format: Format,
    data_extents: u64,
    attr_extents: u64,
    block_bytes: u32,
}

fn format_of(byte: u8) -> Option<Format> {
    Some(match byte {
        0 => Format::Device,
        1 => Format::Local,
        2 => Format::Extents,
        3 => Format::Btree,
        _ => return None,
    })
}

fn kind_of(mode: u16) -> Option<NodeKind> {
    Some(match mode >> 12 {
        0o01 => NodeKind::Fifo,
        0o02 => NodeKind::CharDevice,
        0o04 => NodeKind::Folder,
        0o06 => NodeKind::BlockDevice,
        0o10 => NodeKind::File,
        0o12 => NodeKind::Symlink,
        0o14 => NodeKind::Socket,
        _ => return None,
    })
}

fn is_possible(kind: NodeKind, format: Format) -> bool {
    match kind {
        NodeKind::File => matches!(format, Format::Extents | Format::Btree),
        NodeKind::Folder => matches!(format, Format::Local | Format::Extents | Format::Btree),
        NodeKind::Symlink => matches!(format, Format::Local | Format::Extents),
        _ => format == Format::Device,
    }
}

/// Checks that the bytes are the inode `id`, and gives its version.
fn check_identity(fields: &Fields<'_>, is_sealed: bool, id: NodeId, superblock: &Superblock) -> Result<u8> {
    if fields.be16(0)? != MAGIC {
        return Err(fields.damaged("it does not begin with IN"));
    }
    let version = fields.u8(4)?;
    if !superblock.has_crc {
        let is_known = version == 1 || version == 2;
        return if is_known { Ok(version) } else { Err(fields.damaged("its version is unknown")) };
    }
    if version != 3 {
        return Err(fields.damaged("its version is not 3"));
    }
    if is_sealed && crc32c::without_field(fields.all(), CRC_AT) != fields.u32(CRC_AT)? {
        return Err(fields.damaged("its checksum is wrong"));
    }
    if fields.be64(152)? != id {
        return Err(fields.damaged("it has another number"));
    }
    if fields.array(160)? != superblock.meta_uuid {
        return Err(fields.damaged("it belongs to another file system"));
    }
    Ok(version)
}

impl Inode {
    /// Reads the inode `id` from its bytes, which lie at `at`; its checksum counts if it `is_sealed`.
    pub(super) fn parse(
        bytes: Vec<u8>,
        is_sealed: bool,
        id: NodeId,
        at: u64,
        superblock: &Superblock,
    ) -> Result<Inode> {
        let fields = Fields::new(&bytes, WHAT, at);
        let version = check_identity(&fields, is_sealed, id, superblock)?;
        let mode = fields.be16(2)?;
        if mode == 0 {
            return Err(Error::NotFound);
        }
        let kind = kind_of(mode).ok_or_else(|| fields.damaged("its mode is of no kind"))?;
        let data_format = format_of(fields.u8(5)?).ok_or_else(|| fields.damaged("its fork has no known format"))?;
        if !is_possible(kind, data_format) {
            return Err(fields.damaged("its kind cannot have such a fork"));
        }
        let size = fields.be64(56)?;
        if size > i64::MAX as u64 || kind == NodeKind::Symlink && size > LINK_BYTES_MAX {
            return Err(fields.damaged("its size is impossible"));
        }
        let flags2 = if version == 3 { fields.be64(120)? } else { 0 };
        if flags2 & FLAG2_METADATA != 0 {
            return Err(Error::unsupported("XFS metadata inode"));
        }
        let (data_extents, attr_extents) = match flags2 & FLAG2_NREXT64 {
            0 => (u64::from(fields.be32(76)?), u64::from(fields.be16(80)?)),
            _ => (fields.be64(24)?, u64::from(fields.be32(76)?)),
        };
        let start = if version == 3 { FORKS_AT } else { FORKS_AT_V2 };
        let split = match usize::from(fields.u8(82)?) * 8 {
            0 => bytes.len(),
            offset => start + offset,
        };
        if split > bytes.len() {
            return Err(fields.damaged("its attribute fork begins outside"));
        }
        let attr_format = match split == bytes.len() {
            true => Format::Extents,
            false => format_of(fields.u8(83)?).ok_or_else(|| fields.damaged("its attributes have no known format"))?,
        };
        Ok(Inode {
            id,
            kind,
            size,
            is_realtime: fields.be16(90)? & FLAG_REALTIME != 0,
            at,
            data: start..split,
            attr: split..bytes.len(),
            data_format,
            attr_format,
            data_extents,
            attr_extents,
            block_bytes: superblock.block_bytes,
            bytes,
        })
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes, WHAT, self.at)
    }

    /// The inode breaks the rule `why`.
    pub(super) fn damaged(&self, why: &'static str) -> Error {
        Error::damaged(WHAT, self.at, why)
    }

    /// One of the forks; no attribute fork is one without extents.
    pub(super) fn fork(&self, which: Which) -> Result<Fork<'_>> {
        let (range, format, extents) = match which {
            Which::Data => (&self.data, self.data_format, self.data_extents),
            Which::Attr => (&self.attr, self.attr_format, self.attr_extents),
        };
        let fields = self.fields().part(range.start, range.len(), WHAT)?;
        Ok(Fork { format, extents: if range.is_empty() { 0 } else { extents }, fields })
    }

    /// What is known of the node.
    pub(super) fn node(&self) -> Result<Node> {
        let fields = self.fields();
        let version = fields.u8(4)?;
        let bigtime = version == 3 && fields.be64(120)? & FLAG2_BIGTIME != 0;
        let is_device = matches!(self.kind, NodeKind::CharDevice | NodeKind::BlockDevice);
        let device = fields.be32(self.data.start)?;
        Ok(Node {
            kind: self.kind,
            size: if matches!(self.kind, NodeKind::File | NodeKind::Symlink) { self.size } else { 0 },
            allocated: Some(fields.be64(64)?.saturating_mul(u64::from(self.block_bytes))),
            mode: Some(u32::from(fields.be16(2)? & 0o7777)),
            uid: Some(fields.be32(8)?),
            gid: Some(fields.be32(12)?),
            links: Some(if version == 1 { u32::from(fields.be16(6)?) } else { fields.be32(16)? }),
            device: is_device.then_some((device >> 18, device & 0x3ffff)),
            mtime: time(&fields, 40, bigtime)?,
            ctime: time(&fields, 48, bigtime)?,
            btime: if version == 3 { time(&fields, 144, bigtime)? } else { None },
        })
    }
}

/// A timestamp of either kind; `None` if its nanoseconds are none.
fn time(fields: &Fields<'_>, at: usize, bigtime: bool) -> Result<Option<Time>> {
    if bigtime {
        let count = fields.be64(at)?;
        let secs = (count / NANOS) as i64 + BIGTIME_EPOCH_SECS;
        return Ok(Some(Time { secs, nanos: (count % NANOS) as u32 }));
    }
    let (secs, nanos) = (fields.be32(at)?.cast_signed(), fields.be32(at + 4)?);
    Ok((u64::from(nanos) < NANOS).then_some(Time { secs: i64::from(secs), nanos }))
}
