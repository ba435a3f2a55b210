//! Keys: what every item of every tree is found by.

use crate::disk::Fields;
use crate::disk::Result;

/// `btrfs_disk_key`; trees are sorted by it, field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Inode, tree, or logical address.
    pub(super) objectid: u64,
    /// One of the `*_ITEM` and similar numbers below.
    pub(super) kind: u8,
    /// What tells items of one object and kind apart.
    pub(super) offset: u64,
}

impl Key {
    /// Bytes on the disk.
    pub(super) const LEN: usize = 17;

    pub(super) fn new(objectid: u64, kind: u8, offset: u64) -> Key {
        Key { objectid, kind, offset }
    }

    pub(super) fn read(fields: &Fields<'_>, at: usize) -> Result<Key> {
        let fields = fields.part(at, Key::LEN, "Btrfs key")?;
        Ok(Key { objectid: fields.u64(0)?, kind: fields.u8(8)?, offset: fields.u64(9)? })
    }

    /// Whether it is of this object and kind, whatever its offset.
    pub(super) fn is(&self, objectid: u64, kind: u8) -> bool {
        self.objectid == objectid && self.kind == kind
    }
}

pub(super) const INODE_ITEM: u8 = 1;
pub(super) const XATTR_ITEM: u8 = 24;
pub(super) const DIR_ITEM: u8 = 84;
pub(super) const DIR_INDEX: u8 = 96;
pub(super) const EXTENT_DATA: u8 = 108;
pub(super) const EXTENT_CSUM: u8 = 128;
pub(super) const ROOT_ITEM: u8 = 132;
pub(super) const ROOT_REF: u8 = 156;
pub(super) const EXTENT_ITEM: u8 = 168;
pub(super) const METADATA_ITEM: u8 = 169;
pub(super) const CHUNK_ITEM: u8 = 228;

/// The tree of allocated extents.
pub(super) const EXTENT_TREE: u64 = 2;
/// The subvolume every file system begins with.
pub(super) const FS_TREE: u64 = 5;
/// The tree of checksums of data.
pub(super) const CSUM_TREE: u64 = 7;
/// Subvolumes that were made later have numbers from here...
pub(super) const FIRST_FREE: u64 = 256;
/// ...to here, and so have inodes.
pub(super) const LAST_FREE: u64 = 256u64.wrapping_neg();
/// Object of all checksums of data.
pub(super) const CSUM_OBJECT: u64 = 10u64.wrapping_neg();
/// Object of all chunks.
pub(super) const CHUNK_OBJECT: u64 = 256;
