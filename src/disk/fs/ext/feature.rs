//! Feature flags of the superblock: what is understood, and how the rest is called.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", The Super Block.

use crate::disk::Error;
use crate::disk::Result;

/// Compatible features.
pub(super) mod compat {
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    pub(crate) const DIR_INDEX: u32 = 0x20;
    pub(crate) const SPARSE_SUPER2: u32 = 0x200;
}

/// Features without which nothing may be read.
pub(super) mod incompat {
    pub(crate) const RECOVER: u32 = 0x4;
    pub(crate) const META_BG: u32 = 0x10;
    pub(crate) const WIDE: u32 = 0x80;
    pub(crate) const EA_INODE: u32 = 0x400;
    pub(crate) const CSUM_SEED: u32 = 0x2000;
    pub(crate) const LARGEDIR: u32 = 0x4000;
}

/// Features without which nothing may be written.
pub(super) mod ro_compat {
    pub(crate) const SPARSE_SUPER: u32 = 0x1;
    pub(crate) const HUGE_FILE: u32 = 0x8;
    pub(crate) const GDT_CSUM: u32 = 0x10;
    pub(crate) const BIGALLOC: u32 = 0x200;
    pub(crate) const METADATA_CSUM: u32 = 0x400;
    pub(crate) const ORPHAN_PRESENT: u32 = 0x10000;
    /// Those that do not change what the block bitmaps mean: sparse_super, large_file, btree_dir, huge_file, uninit_bg,
    /// dir_nlink, extra_isize, quota, bigalloc, metadata_csum, read-only, project, verity, orphan_present.
    pub(crate) const BITMAPS_HOLD: u32 =
        0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x8000 | 0x10000;
    /// What ext2 and ext3 have.
    pub(crate) const OLD: u32 = 0x1 | 0x2 | 0x4;
}

/// Incompatible features that ext2 and ext3 have: filetype, recover, meta_bg.
pub(super) const INCOMPAT_OLD: u32 = 0x2 | incompat::RECOVER | incompat::META_BG;

/// Incompatible features by bit. `false`: not understood.
const INCOMPAT: &[(u32, &str, bool)] = &[
    (0x1, "compression", false),
    (0x2, "filetype", true),
    (incompat::RECOVER, "recover", true),
    (0x8, "journal_dev", false),
    (incompat::META_BG, "meta_bg", true),
    (0x40, "extents", true),
    (incompat::WIDE, "64bit", true),
    (0x100, "mmp", true),
    (0x200, "flex_bg", true),
    (incompat::EA_INODE, "ea_inode", true),
    (0x1000, "dirdata", false),
    (incompat::CSUM_SEED, "metadata_csum_seed", true),
    (incompat::LARGEDIR, "large_dir", true),
    (0x8000, "inline_data", true),
    (0x10000, "encrypt", true),
    (0x20000, "casefold", true),
];

/// Fails with the name of the first incompatible feature that is not understood.
pub(super) fn check(flags: u32) -> Result<()> {
    for bit in (0..32).map(|shift| 1u32 << shift).filter(|bit| flags & bit != 0) {
        match INCOMPAT.iter().find(|(known, ..)| *known == bit) {
            Some((_, _, true)) => {}
            Some((_, name, false)) => return Err(Error::unsupported(format!("ext4 feature {name}"))),
            None => return Err(Error::unsupported(format!("ext4 feature with incompatible flag {bit:#x}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(check(0x2c2c2 | incompat::RECOVER).is_ok());
        assert_eq!(check(0x1002).unwrap_err().to_string(), "ext4 feature dirdata is not supported");
        assert!(check(0x8000_0000).unwrap_err().to_string().contains("0x80000000"));
    }
}
