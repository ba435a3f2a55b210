//! The value of an attribute in blocks of its own: in version 5 each begins with a header.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::attr::place;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::inode::Inode;
use crate::disk::fs::xfs::volume::Volume;

const MAGIC: &[u8; 4] = b"XARM";
/// Longest value.
const VALUE_BYTES_MAX: u32 = 64 << 10;

/// The value of `value_bytes` that begins in block `first` of the attribute fork.
pub(super) fn value(volume: &Volume, inode: &Inode, first: u32, value_bytes: u32) -> Result<Vec<u8>> {
    if value_bytes > VALUE_BYTES_MAX {
        return Err(inode.damaged("an attribute is longer than 64 KiB"));
    }
    let (superblock, total) = (&volume.superblock, value_bytes as usize);
    let header_bytes = Header::Remote.bytes(superblock);
    let (mut value, mut number) = (Vec::new(), u64::from(first));
    while value.len() < total {
        let at = place(volume, inode, number)?;
        let (bytes, is_changed) = volume.read(at, superblock.block_bytes)?;
        Header::Remote.check(superblock, &bytes, !is_changed, at, inode.id)?;
        let fields = Fields::new(&bytes, Header::Remote.what(), at);
        let room = bytes.len().saturating_sub(header_bytes).min(total - value.len());
        if superblock.has_crc {
            let fits = fields.be32(4)? as usize == value.len() && fields.be32(8)? as usize == room;
            if fields.bytes(0, 4)? != MAGIC || !fits {
                return Err(fields.damaged("it is another part"));
            }
        }
        value.extend_from_slice(fields.bytes(header_bytes, room)?);
        number += 1;
    }
    Ok(value)
}
