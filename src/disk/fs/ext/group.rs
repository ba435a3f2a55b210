//! Group descriptors: where the bitmaps and the inode table of a block group lie.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Block Group Descriptors; Meta Block Groups.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::crc::crc16;
use crate::disk::fs::ext::feature::incompat;
use crate::disk::fs::ext::feature::ro_compat;
use crate::disk::fs::ext::superblock;
use crate::disk::fs::ext::superblock::Superblock;
use crate::disk::fs::ext::volume::Volume;

const WHAT: &str = "ext4 group descriptor";
const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;

/// One block group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// Block of the bitmap of clusters.
    pub(super) block_bitmap: u64,
    /// Block of the bitmap of inodes.
    pub(super) inode_bitmap: u64,
    /// First block of the inode table.
    pub(super) inode_table: u64,
    /// Clusters that are free.
    pub(super) free_clusters: u32,
    /// Inodes at the end of the table that were never used.
    pub(super) unused_inodes: u32,
    /// Checksum of the bitmap of clusters, and whether all 32 bits of it are kept.
    pub(super) bitmap_checksum: (u32, bool),
    flags: u16,
}

impl Group {
    /// True if the inode table holds nothing.
    pub(super) fn has_no_inodes(&self) -> bool {
        self.flags & INODE_UNINIT != 0
    }

    /// True if the bitmap of clusters was never written: nothing but metadata is in use.
    pub(super) fn has_no_bitmap(&self) -> bool {
        self.flags & BLOCK_UNINIT != 0
    }

    /// The descriptor of a group.
    pub(super) fn read(volume: &Volume, number: u32) -> Result<Group> {
        let sb = volume.superblock();
        let per_block = sb.block_bytes / sb.descriptor_bytes;
        let block = table_block(sb, u64::from(number) / per_block);
        let within = u64::from(number) % per_block * sb.descriptor_bytes;
        let at = block.saturating_mul(sb.block_bytes).saturating_add(within);
        let mut bytes = vec![0; sb.descriptor_bytes as usize];
        volume.read(at, &mut bytes)?;
        Group::parse(sb, number, &Fields::new(&bytes, WHAT, at))
    }

    fn parse(sb: &Superblock, number: u32, f: &Fields) -> Result<Group> {
        let has_flags = sb.has_checksums() || sb.has_ro_compat(ro_compat::GDT_CSUM);
        if has_flags && f.u16(0x1e)? != checksum(sb, number, f)? {
            return Err(f.damaged("the checksum is wrong"));
        }
        let is_wide = sb.has_incompat(incompat::WIDE);
        let high = |at| if is_wide { f.u32(at).map(u64::from) } else { Ok(0) };
        let high16 = |at| if is_wide { f.u16(at).map(u32::from) } else { Ok(0) };
        let group = Group {
            block_bitmap: high(0x20)? << 32 | u64::from(f.u32(0x0)?),
            inode_bitmap: high(0x24)? << 32 | u64::from(f.u32(0x4)?),
            inode_table: high(0x28)? << 32 | u64::from(f.u32(0x8)?),
            free_clusters: high16(0x2c)? << 16 | u32::from(f.u16(0xc)?),
            unused_inodes: if has_flags { high16(0x32)? << 16 | u32::from(f.u16(0x1c)?) } else { 0 },
            bitmap_checksum: (high16(0x38)? << 16 | u32::from(f.u16(0x18)?), is_wide),
            flags: if has_flags { f.u16(0x12)? } else { 0 },
        };
        let table_end = group.inode_table.saturating_add(table_blocks(sb));
        let within = |block: u64| block >= sb.first_block && block < sb.blocks;
        if !within(group.block_bitmap) || !within(group.inode_bitmap) || !within(group.inode_table) {
            return Err(f.damaged("it points outside of the file system"));
        }
        if table_end > sb.blocks {
            return Err(f.damaged("the inode table leaves the file system"));
        }
        Ok(group)
    }
}

/// Blocks of one inode table.
pub(super) fn table_blocks(sb: &Superblock) -> u64 {
    (u64::from(sb.inodes_per_group) * sb.inode_bytes).div_ceil(sb.block_bytes)
}

/// Blocks of the table of group descriptors.
pub(super) fn descriptor_blocks(sb: &Superblock) -> u64 {
    u64::from(sb.groups).div_ceil(sb.block_bytes / sb.descriptor_bytes)
}

/// Where block `n` of the table of group descriptors lies.
pub(super) fn table_block(sb: &Superblock, n: u64) -> u64 {
    if !sb.has_incompat(incompat::META_BG) || n < sb.first_meta_bg {
        return superblock::AT / sb.block_bytes + 1 + n;
    }
    let group = n.saturating_mul(sb.block_bytes / sb.descriptor_bytes).min(u64::from(u32::MAX)) as u32;
    // With blocks of 1 KiB the superblock is in block 1, even if group 0 begins with block 0.
    let shifted = sb.block_bytes == 1024 && n == 0 && sb.first_block == 0;
    sb.group_start(group).saturating_add(u64::from(sb.has_super(group)) + u64::from(shifted))
}

fn checksum(sb: &Superblock, number: u32, f: &Fields) -> Result<u16> {
    let (before, after) = (f.bytes(0, 0x1e)?, f.rest(0x20)?);
    let number = number.to_le_bytes();
    if sb.has_checksums() {
        let crc =
            [&number[..], before, &[0; 2], after].iter().fold(sb.checksum_seed, |crc, part| crc32c_running(crc, part));
        return Ok(crc as u16);
    }
    Ok([&sb.uuid[..], &number, before, after].iter().fold(0xffff, |crc, part| crc16(crc, part)))
}
