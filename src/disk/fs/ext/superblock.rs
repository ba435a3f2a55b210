//! The superblock: geometry and features. All geometry is checked here, once, before anything is computed with it.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", The Super Block.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::feature;
use crate::disk::fs::ext::feature::compat;
use crate::disk::fs::ext::feature::incompat;
use crate::disk::fs::ext::feature::ro_compat;

/// Where it begins, in bytes.
pub(super) const AT: u64 = 1024;
/// Its length.
pub(super) const BYTES: usize = 1024;
/// Largest block, in bytes.
const LOG_BLOCK_MAX: u32 = 6;
const MAGIC: u16 = 0xef53;
const STATE_VALID: u16 = 1;
const STATE_ERROR: u16 = 2;

/// Which sign the bytes of a name have in its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Signed,
    Unsigned,
    /// Not recorded.
    Unknown,
}

/// What the superblock says.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    /// Block of the first group's start: 1 if blocks are 1 KiB, else 0.
    pub(super) first_block: u64,
    pub(super) block_bytes: u64,
    /// Blocks per bit of a block bitmap.
    pub(super) cluster_blocks: u64,
    pub(super) blocks_per_group: u64,
    pub(super) inodes_per_group: u32,
    pub(super) groups: u32,
    pub(super) inode_bytes: u64,
    /// First inode that is not reserved.
    pub(super) first_inode: u32,
    pub(super) descriptor_bytes: u64,
    pub(super) first_meta_bg: u64,
    pub(super) reserved_gdt_blocks: u64,
    /// Groups with a copy of the superblock, under `sparse_super2`.
    pub(super) backup_groups: [u32; 2],
    pub(super) compat: u32,
    pub(super) incompat: u32,
    pub(super) ro_compat: u32,
    pub(super) uuid: [u8; 16],
    pub(super) label: Vec<u8>,
    /// What all checksums of metadata begin with.
    pub(super) checksum_seed: u32,
    pub(super) hash_seed: [u32; 4],
    pub(super) hash_version: u8,
    pub(super) hash_sign: Sign,
    pub(super) journal_inode: u32,
    /// Unmounted in order, without known errors and nothing left to do.
    pub(super) is_clean: bool,
}

impl Superblock {
    /// True if there is the magic number of the family.
    pub(super) fn has_magic(bytes: &[u8]) -> bool {
        Fields::new(bytes, "ext4 superblock", AT).u16(0x38).is_ok_and(|magic| magic == MAGIC)
    }

    /// Reads the 1024 bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Superblock> {
        let f = Fields::new(bytes, "ext4 superblock", AT);
        if f.u16(0x38)? != MAGIC {
            return Err(f.damaged("the magic number is wrong"));
        }
        let is_dynamic = f.u32(0x4c)? >= 1;
        let flags = |at| if is_dynamic { f.u32(at) } else { Ok(0) };
        let (compat, incompat, ro_compat) = (flags(0x5c)?, flags(0x60)?, flags(0x64)?);
        feature::check(incompat)?;
        check_sum(&f, ro_compat)?;
        let mut it = geometry(&f, incompat, ro_compat)?;
        (it.compat, it.incompat, it.ro_compat) = (compat, incompat, ro_compat);
        if is_dynamic {
            it.inode_bytes = u64::from(f.u16(0x58)?);
            it.first_inode = f.u32(0x54)?;
        }
        if !it.inode_bytes.is_power_of_two() || it.inode_bytes < 128 || it.inode_bytes > it.block_bytes {
            return Err(f.damaged("the size of inodes is impossible"));
        }
        if it.has_incompat(incompat::WIDE) {
            it.descriptor_bytes = u64::from(f.u16(0xfe)?);
            let range = 64..=it.block_bytes.min(1024);
            if !it.descriptor_bytes.is_power_of_two() || !range.contains(&it.descriptor_bytes) {
                return Err(f.damaged("the size of group descriptors is impossible"));
            }
        }
        it.first_meta_bg = u64::from(f.u32(0x104)?);
        it.reserved_gdt_blocks = u64::from(f.u16(0xce)?);
        it.backup_groups = [f.u32(0x24c)?, f.u32(0x250)?];
        it.uuid = f.array(0x68)?;
        it.label = f.bytes(0x78, 16)?.split(|b| *b == 0).next().unwrap_or_default().to_vec();
        it.checksum_seed =
            if it.has_incompat(incompat::CSUM_SEED) { f.u32(0x270)? } else { crc32c_running(!0, &it.uuid) };
        it.hash_seed = [f.u32(0xec)?, f.u32(0xf0)?, f.u32(0xf4)?, f.u32(0xf8)?];
        it.hash_version = f.u8(0xfc)?;
        it.hash_sign = match f.u32(0x160)? & 3 {
            1 => Sign::Signed,
            2 => Sign::Unsigned,
            _ => Sign::Unknown,
        };
        it.journal_inode = f.u32(0xe0)?;
        let state = f.u16(0x3a)?;
        it.is_clean = state & STATE_VALID != 0
            && state & STATE_ERROR == 0
            && !it.has_incompat(incompat::RECOVER)
            && !it.has_ro_compat(ro_compat::ORPHAN_PRESENT)
            && f.u32(0xe8)? == 0;
        Ok(it)
    }

    pub(super) fn has_compat(&self, flag: u32) -> bool {
        self.compat & flag != 0
    }

    pub(super) fn has_incompat(&self, flag: u32) -> bool {
        self.incompat & flag != 0
    }

    pub(super) fn has_ro_compat(&self, flag: u32) -> bool {
        self.ro_compat & flag != 0
    }

    /// Whether metadata carries checksums.
    pub(super) fn has_checksums(&self) -> bool {
        self.has_ro_compat(ro_compat::METADATA_CSUM)
    }

    /// `ext2`, `ext3` or `ext4`, told apart by what the older ones could not have.
    pub(super) fn kind(&self) -> &'static str {
        if self.incompat & !feature::INCOMPAT_OLD != 0 || self.ro_compat & !ro_compat::OLD != 0 {
            "ext4"
        } else if self.has_compat(compat::HAS_JOURNAL) {
            "ext3"
        } else {
            "ext2"
        }
    }

    /// Bytes of the file system.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_bytes)
    }

    /// First block of a group.
    pub(super) fn group_start(&self, group: u32) -> u64 {
        self.first_block.saturating_add(u64::from(group).saturating_mul(self.blocks_per_group))
    }

    /// Whether a group begins with a copy of the superblock.
    pub(super) fn has_super(&self, group: u32) -> bool {
        let is_power = |base: u32| std::iter::successors(Some(base), |n| n.checked_mul(base)).any(|n| n == group);
        if group == 0 {
            true
        } else if self.has_compat(compat::SPARSE_SUPER2) {
            self.backup_groups.contains(&group)
        } else {
            !self.has_ro_compat(ro_compat::SPARSE_SUPER) || group == 1 || [3, 5, 7].into_iter().any(is_power)
        }
    }
}

/// The checksum type is the only one there is, and it fits.
fn check_sum(f: &Fields, ro_compat: u32) -> Result<()> {
    if ro_compat & ro_compat::METADATA_CSUM == 0 {
        return Ok(());
    }
    if f.u8(0x175)? != 1 {
        return Err(crate::disk::Error::unsupported("ext4 checksum type that is not CRC-32C"));
    }
    if crc32c_running(!0, f.bytes(0, 0x3fc)?) != f.u32(0x3fc)? {
        return Err(f.damaged("the checksum is wrong"));
    }
    Ok(())
}

/// Sizes and counts; everything else is left empty.
fn geometry(f: &Fields, incompat: u32, ro_compat: u32) -> Result<Superblock> {
    let wide = |low: usize, high: usize| {
        let high = if incompat & incompat::WIDE != 0 { f.u32(high)? } else { 0 };
        Ok::<u64, crate::disk::Error>(u64::from(high) << 32 | u64::from(f.u32(low)?))
    };
    let log = f.u32(0x18)?;
    if log > LOG_BLOCK_MAX {
        return Err(f.damaged("the size of blocks is impossible"));
    }
    let block_bytes = 1024u64 << log;
    let (mut cluster_blocks, mut clusters_per_group) = (1, f.u32(0x20)?);
    if ro_compat & ro_compat::BIGALLOC != 0 {
        let log_cluster = f.u32(0x1c)?;
        clusters_per_group = f.u32(0x24)?;
        if log_cluster < log || log_cluster > 30 {
            return Err(f.damaged("the size of clusters is impossible"));
        }
        cluster_blocks = 1u64 << (log_cluster - log);
    }
    let bits_max = block_bytes * 8;
    let blocks_per_group = u64::from(f.u32(0x20)?);
    // Both limits keep a bitmap within one block; no product below can leave 64 bits.
    if blocks_per_group == 0
        || u64::from(clusters_per_group) > bits_max
        || u64::from(clusters_per_group).checked_mul(cluster_blocks) != Some(blocks_per_group)
    {
        return Err(f.damaged("the number of blocks in a group is impossible"));
    }
    let (blocks, first_block) = (wide(0x4, 0x150)?, u64::from(f.u32(0x14)?));
    if first_block >= blocks || blocks > 1 << 48 || first_block > 1 {
        return Err(f.damaged("the number of blocks is impossible"));
    }
    let inodes_per_group = f.u32(0x28)?;
    if inodes_per_group == 0 || u64::from(inodes_per_group) > bits_max {
        return Err(f.damaged("the number of inodes in a group is impossible"));
    }
    let inodes = f.u32(0x0)?;
    let groups = (blocks - first_block).div_ceil(blocks_per_group);
    if groups.checked_mul(u64::from(inodes_per_group)) != Some(u64::from(inodes)) {
        return Err(f.damaged("the number of inodes does not fit the groups"));
    }
    Ok(Superblock {
        inodes,
        blocks,
        free_blocks: wide(0xc, 0x158)?,
        first_block,
        block_bytes,
        cluster_blocks,
        blocks_per_group,
        inodes_per_group,
        // Not more than there are inodes.
        groups: groups as u32,
        inode_bytes: 128,
        first_inode: 11,
        descriptor_bytes: 32,
        first_meta_bg: 0,
        reserved_gdt_blocks: 0,
        backup_groups: [0; 2],
        compat: 0,
        incompat: 0,
        ro_compat: 0,
        uuid: [0; 16],
        label: Vec::new(),
        checksum_seed: 0,
        hash_seed: [0; 4],
        hash_version: 0,
        hash_sign: Sign::Unknown,
        journal_inode: 0,
        is_clean: false,
    })
}
