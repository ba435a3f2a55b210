//! The superblock: geometry, features, and how block and inode numbers become places.
//!
//! Source: kernel.org, "XFS Algorithms & Data Structures", 3rd edition, chapter 13 "AG Free Space Management"
//! (superblocks), chapter 5 "Reflink" ff. for the feature bits.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::NODE_ID_END;
use crate::disk::fs::xfs::crc32c;

/// How a superblock begins.
pub(super) const MAGIC: &[u8; 4] = b"XFSB";
const WHAT: &str = "XFS superblock";
const CRC_AT: usize = 224;

/// Bits of `sb_versionnum` (version 4).
const VERSION_SHARED: u16 = 0x200;
const VERSION_DIRV2: u16 = 0x2000;
const VERSION_IGNORES_CASE: u16 = 0x4000;
const VERSION_MORE: u16 = 0x8000;

/// Bits of `sb_features2`.
const FEATURES2_KNOWN: u32 = 0x02 | 0x08 | 0x80 | 0x100 | FEATURES2_FTYPE;
const FEATURES2_FTYPE: u32 = 0x200;

/// Bits of `sb_features_incompat`.
const INCOMPAT_FTYPE: u32 = 1;
const INCOMPAT_SPARSE_INODES: u32 = 2;
const INCOMPAT_META_UUID: u32 = 4;
const INCOMPAT_NEEDS_REPAIR: u32 = 16;
/// Those that are read right: ftype, spinodes, meta_uuid, bigtime, needsrepair, nrext64, exchrange, parent, and metadir,
/// whose tree of metadata is apart from that of files.
const INCOMPAT_KNOWN: u32 = 0x1ff;
/// Those that are not, by bit.
const INCOMPAT_NAMES: [(u32, &str); 2] = [(512, "zoned"), (1024, "zone_gaps")];

/// Bits of `sb_features_ro_compat`: finobt, rmapbt, reflink, inobtcount. None matters for reading.
const RO_COMPAT_KNOWN: u32 = 0x0f;
/// Bits of `sb_features_log_incompat`: attributes as intents.
const LOG_INCOMPAT_KNOWN: u32 = 1;

/// The superblock, checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// Version 5: checksums and structures that say what they are.
    pub(super) has_crc: bool,
    pub(super) block_bytes: u32,
    pub(super) block_log: u8,
    pub(super) sector_bytes: u32,
    pub(super) inode_bytes: u32,
    /// Blocks of the file system.
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    pub(super) ag_blocks: u32,
    pub(super) ag_count: u32,
    ag_block_log: u8,
    inodes_per_block_log: u8,
    /// Blocks of a block of a folder.
    pub(super) dir_block_log: u8,
    pub(super) root: u64,
    /// First block of the log; `None` if it is on a device of its own.
    pub(super) log_start: Option<u64>,
    pub(super) log_blocks: u32,
    /// Entries of folders tell the kind.
    pub(super) has_ftype: bool,
    /// Chunks of inodes may have gaps.
    pub(super) has_sparse_inodes: bool,
    /// Names of folders are hashed without regard to case.
    pub(super) ignores_case: bool,
    /// A feature this does not know may keep things where free space would be.
    pub(super) has_unknown_space: bool,
    /// A feature this does not know may change what stands in the log.
    pub(super) has_unknown_log: bool,
    /// `xfs_repair` or an upgrade was interrupted.
    pub(super) needs_repair: bool,
    pub(super) uuid: [u8; 16],
    /// What structures carry.
    pub(super) meta_uuid: [u8; 16],
    pub(super) label: String,
}

fn known_features(fields: &Fields<'_>, version: u16) -> Result<()> {
    if version & 15 != 4 && version & 15 != 5 {
        return Err(Error::unsupported(format!("XFS version {}", version & 15)));
    }
    if version & VERSION_SHARED != 0 {
        return Err(Error::unsupported("XFS shared version number"));
    }
    if version & VERSION_DIRV2 == 0 {
        return Err(Error::unsupported("XFS version 1 directories"));
    }
    let features2 = if version & VERSION_MORE != 0 { fields.be32(200)? } else { 0 };
    if features2 & !FEATURES2_KNOWN != 0 {
        return Err(Error::unsupported(format!("XFS features2 {:#x}", features2 & !FEATURES2_KNOWN)));
    }
    let unknown = if version & 15 == 5 { fields.be32(216)? & !INCOMPAT_KNOWN } else { 0 };
    if let Some((_, name)) = INCOMPAT_NAMES.iter().find(|(bit, _)| unknown & bit != 0) {
        return Err(Error::unsupported(format!("XFS feature {name}")));
    }
    if unknown != 0 {
        return Err(Error::unsupported(format!("XFS incompatible features {unknown:#x}")));
    }
    Ok(())
}

impl Superblock {
    /// Reads the first sector of a file system (at least 512 bytes of it; version 5: all of it). Its checksum counts
    /// if it `is_sealed`.
    pub(super) fn parse(bytes: &[u8], is_sealed: bool) -> Result<Superblock> {
        let fields = Fields::new(bytes, WHAT, 0);
        if fields.bytes(0, 4)? != MAGIC {
            return Err(fields.damaged("it does not begin with XFSB"));
        }
        let version = fields.be16(100)?;
        known_features(&fields, version)?;
        let has_crc = version & 15 == 5;
        let sector_bytes = u32::from(fields.be16(102)?);
        if has_crc && is_sealed {
            let sector = Fields::new(fields.bytes(0, sector_bytes as usize)?, WHAT, 0);
            if crc32c::without_field(sector.all(), CRC_AT) != sector.u32(CRC_AT)? {
                return Err(fields.damaged("its checksum is wrong"));
            }
        }
        let (features2, incompat) = (fields.be32(200)?, if has_crc { fields.be32(216)? } else { 0 });
        let uuid = fields.array(32)?;
        let label = fields.bytes(108, 12)?.split(|b| *b == 0).next().unwrap_or_default();
        let superblock = Superblock {
            has_crc,
            block_bytes: fields.be32(4)?,
            block_log: fields.u8(120)?,
            sector_bytes,
            inode_bytes: u32::from(fields.be16(104)?),
            blocks: fields.be64(8)?,
            free_blocks: fields.be64(144)?,
            ag_blocks: fields.be32(84)?,
            ag_count: fields.be32(88)?,
            ag_block_log: fields.u8(124)?,
            inodes_per_block_log: fields.u8(123)?,
            dir_block_log: fields.u8(192)?,
            root: fields.be64(56)?,
            log_start: Some(fields.be64(48)?).filter(|start| *start != 0),
            log_blocks: fields.be32(96)?,
            has_ftype: match has_crc {
                true => incompat & INCOMPAT_FTYPE != 0,
                false => version & VERSION_MORE != 0 && features2 & FEATURES2_FTYPE != 0,
            },
            has_sparse_inodes: incompat & INCOMPAT_SPARSE_INODES != 0,
            ignores_case: version & VERSION_IGNORES_CASE != 0,
            has_unknown_space: has_crc && fields.be32(212)? & !RO_COMPAT_KNOWN != 0,
            has_unknown_log: has_crc && fields.be32(220)? & !LOG_INCOMPAT_KNOWN != 0,
            needs_repair: incompat & INCOMPAT_NEEDS_REPAIR != 0,
            uuid,
            meta_uuid: if incompat & INCOMPAT_META_UUID != 0 { fields.array(248)? } else { uuid },
            label: String::from_utf8_lossy(label).into_owned(),
        };
        superblock.check(&fields)?;
        Ok(superblock)
    }

    /// All that later sums stand on.
    fn check(&self, fields: &Fields<'_>) -> Result<()> {
        let log2 = |value: u32| value.is_power_of_two().then(|| value.trailing_zeros());
        let inode_log = log2(self.inode_bytes).filter(|log| (8..=11).contains(log));
        let rules = [
            (fields.u8(126)? == 0, "mkfs did not end"),
            ((512..=65536).contains(&self.block_bytes), "a block has a strange size"),
            (log2(self.block_bytes) == Some(u32::from(self.block_log)), "a block is not a power of two"),
            ((512..=32768).contains(&self.sector_bytes), "a sector has a strange size"),
            (self.sector_bytes.is_power_of_two(), "a sector is not a power of two"),
            (inode_log.is_some(), "an inode has a strange size"),
            (
                inode_log.unwrap_or(0) + u32::from(self.inodes_per_block_log) == u32::from(self.block_log),
                "a block holds a strange number of inodes",
            ),
            (self.ag_blocks >= 64 && self.ag_count > 0, "there are no allocation groups"),
            (
                self.ag_blocks.checked_next_power_of_two() == 1u32.checked_shl(u32::from(self.ag_block_log)),
                "the logarithm of the size of allocation groups is wrong",
            ),
            (self.blocks <= u64::from(self.ag_blocks) * u64::from(self.ag_count), "it has more blocks than groups"),
            (
                self.blocks > u64::from(self.ag_blocks) * u64::from(self.ag_count.saturating_sub(1)),
                "it has more groups than blocks",
            ),
            (self.blocks < 1 << (63 - 16), "it has too many blocks"),
            (self.dir_block_log.saturating_add(self.block_log) <= 16, "a block of a folder is too large"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(fields.damaged(why)),
            None => Ok(()),
        }
    }

    /// Bytes of the file system.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks << self.block_log
    }

    /// Bytes of a block of a folder.
    pub(super) fn dir_block_bytes(&self) -> u32 {
        self.block_bytes << self.dir_block_log
    }

    /// Blocks of an allocation group; the last may be shorter.
    pub(super) fn blocks_of_ag(&self, ag: u32) -> u64 {
        let before = u64::from(ag) * u64::from(self.ag_blocks);
        self.blocks.saturating_sub(before).min(u64::from(self.ag_blocks))
    }

    /// Byte where a block of an allocation group begins, if the `count` blocks from it on are in the group.
    pub(super) fn byte_in_ag(&self, ag: u32, block: u64, count: u64) -> Option<u64> {
        let end = block.checked_add(count)?;
        let inside = ag < self.ag_count && end <= self.blocks_of_ag(ag);
        inside.then(|| (u64::from(ag) * u64::from(self.ag_blocks) + block) << self.block_log)
    }

    /// The same of a block number of the whole: the group above, the block in it below.
    pub(super) fn byte_of_blocks(&self, block: u64, count: u64) -> Option<u64> {
        let ag = u32::try_from(block >> self.ag_block_log).ok()?;
        self.byte_in_ag(ag, block & ((1 << self.ag_block_log) - 1), count)
    }

    /// Byte where an inode begins: group, block in it, place in that.
    pub(super) fn byte_of_inode(&self, inode: u64) -> Option<u64> {
        if inode >= NODE_ID_END {
            return None;
        }
        let block = self.byte_of_blocks(inode >> self.inodes_per_block_log, 1)?;
        let place = inode & ((1 << self.inodes_per_block_log) - 1);
        Some(block + place * u64::from(self.inode_bytes))
    }

    /// The number of an inode that an allocation group counts from its own start.
    pub(super) fn inode_of_ag(&self, ag: u32, inode: u32) -> u64 {
        // Both logarithms were checked: at most 32 and 8.
        u64::from(ag) << (self.ag_block_log + self.inodes_per_block_log) | u64::from(inode)
    }
}
