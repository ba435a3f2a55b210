//! The target of a symbolic link: in the inode, or in blocks that have a header of their own (version 5).
//!
//! Source: "XFS Algorithms & Data Structures", chapter 20 "Symbolic Links".

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::NodeKind;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::extent::extents;
use crate::disk::fs::xfs::inode::Format;
use crate::disk::fs::xfs::inode::Inode;
use crate::disk::fs::xfs::inode::Which;
use crate::disk::fs::xfs::volume::Volume;

const MAGIC: &[u8; 4] = b"XSLM";

/// The target.
pub(super) fn target(volume: &Volume, inode: &Inode) -> Result<Vec<u8>> {
    if inode.kind != NodeKind::Symlink {
        return Err(Error::WrongKind);
    }
    // Checked with the inode: at most 1024 bytes.
    let total = inode.size as usize;
    let fork = inode.fork(Which::Data)?;
    if fork.format == Format::Local {
        return fork.fields.bytes(0, total).map(<[u8]>::to_vec);
    }
    let superblock = &volume.superblock;
    let header_bytes = Header::Symlink.bytes(superblock);
    let mut target = Vec::new();
    let mut next = 0;
    extents(volume, inode, Which::Data, 0, &mut |extent| {
        let room = (superblock.block_bytes as usize).saturating_sub(header_bytes).max(1);
        let blocks = extent.count.min((total - target.len()).div_ceil(room) as u64);
        if extent.offset != next || extent.is_unwritten {
            return Err(inode.damaged("its target has a gap"));
        }
        next = extent.end();
        // A link has no more blocks than it needs, and each extent is one piece with one header.
        let (bytes, is_changed) = volume.read(extent.at, (blocks << superblock.block_log) as u32)?;
        Header::Symlink.check(superblock, &bytes, !is_changed, extent.at, inode.id)?;
        let fields = Fields::new(&bytes, Header::Symlink.what(), extent.at);
        let room = bytes.len().saturating_sub(header_bytes).min(total - target.len());
        if superblock.has_crc {
            let fits = fields.be32(4)? as usize == target.len() && fields.be32(8)? as usize == room;
            if fields.bytes(0, 4)? != MAGIC || !fits {
                return Err(fields.damaged("it is another part"));
            }
        }
        target.extend_from_slice(fields.bytes(header_bytes, room)?);
        Ok(target.len() < total)
    })?;
    if target.len() < total {
        return Err(inode.damaged("its target is too short"));
    }
    Ok(target)
}
