//! Blocks of metadata that say what they are: checksum, file system, place and owner (version 5).
//!
//! Source: "XFS Algorithms & Data Structures", chapter 2 "Self Describing Metadata".

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::crc32c;
use crate::disk::fs::xfs::superblock::Superblock;

/// Places are counted in these, whatever the sector.
const BASIC_BLOCK_LOG: u32 = 9;

/// The kinds of header that differ in where things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Header {
    /// B+tree of an inode's extents.
    Bmap,
    /// B+tree of an allocation group.
    Short,
    /// Entries of a folder.
    DirData,
    /// Leaves and nodes of the trees by hash, of folders and attributes.
    Hash,
    /// Value of an attribute.
    Remote,
    /// Target of a symbolic link.
    Symlink,
}

struct Places {
    what: &'static str,
    crc: usize,
    block: usize,
    uuid: usize,
    owner: usize,
    bytes: usize,
    bytes_v4: usize,
}

impl Header {
    fn places(self) -> Places {
        let places = |what, [crc, block, uuid, owner, bytes, bytes_v4]: [usize; 6]| Places {
            what,
            crc,
            block,
            uuid,
            owner,
            bytes,
            bytes_v4,
        };
        match self {
            Header::Bmap => places("XFS extent tree", [64, 24, 40, 56, 72, 24]),
            Header::Short => places("XFS allocation group tree", [52, 16, 32, 48, 56, 16]),
            Header::DirData => places("XFS directory block", [4, 8, 24, 40, 64, 16]),
            Header::Hash => places("XFS hash tree", [12, 16, 32, 48, 64, 16]),
            Header::Remote => places("XFS attribute value", [12, 40, 16, 32, 56, 0]),
            Header::Symlink => places("XFS symbolic link", [12, 40, 16, 32, 56, 0]),
        }
    }

    /// What to call the structure.
    pub(super) fn what(self) -> &'static str {
        self.places().what
    }

    /// Bytes of the header.
    pub(super) fn bytes(self, superblock: &Superblock) -> usize {
        if superblock.has_crc { self.places().bytes } else { self.places().bytes_v4 }
    }

    /// Checks a block read from byte `at`, that belongs to the inode or allocation group `owner`; its checksum only if
    /// it is as it was written (`is_sealed`).
    pub(super) fn check(
        self,
        superblock: &Superblock,
        bytes: &[u8],
        is_sealed: bool,
        at: u64,
        owner: u64,
    ) -> Result<()> {
        if !superblock.has_crc {
            return Ok(());
        }
        let places = self.places();
        let fields = Fields::new(bytes, places.what, at);
        if is_sealed && crc32c::without_field(bytes, places.crc) != fields.u32(places.crc)? {
            return Err(fields.damaged("its checksum is wrong"));
        }
        let owned_by = match self {
            Header::Short => u64::from(fields.be32(places.owner)?),
            _ => fields.be64(places.owner)?,
        };
        if fields.array(places.uuid)? != superblock.meta_uuid {
            return Err(fields.damaged("it belongs to another file system"));
        }
        if fields.be64(places.block)? != at >> BASIC_BLOCK_LOG {
            return Err(fields.damaged("it belongs to another place"));
        }
        if owned_by != owner {
            return Err(fields.damaged("it belongs to another owner"));
        }
        Ok(())
    }
}
