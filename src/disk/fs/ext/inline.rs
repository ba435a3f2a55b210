//! Content that stands in the inode itself, in place of the map of blocks, and goes on in an extended attribute.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Inline Data.

use super::inode::Inode;
use super::inode::MAP_BYTES;
use super::volume::Volume;
use super::xattr;
use crate::disk::Result;

/// All bytes there is space for in the inode, and those of the attribute.
pub(super) fn parts(volume: &Volume, inode: &Inode) -> Result<(Vec<u8>, Vec<u8>)> {
    let first = inode.map()?.all().to_vec();
    let rest = xattr::inline_rest(volume, inode)?;
    if inode.size > (MAP_BYTES + rest.len()) as u64 {
        return Err(inode.fields().damaged("its inline data is too short"));
    }
    Ok((first, rest))
}

/// The content, as long as the inode says.
pub(super) fn content(volume: &Volume, inode: &Inode) -> Result<Vec<u8>> {
    let (mut content, rest) = parts(volume, inode)?;
    content.extend_from_slice(&rest);
    content.truncate(inode.size as usize);
    Ok(content)
}
