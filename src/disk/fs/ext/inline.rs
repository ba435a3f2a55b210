//! Content that stands in the inode itself, in place of the map of blocks, and goes on in an extended attribute.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Inline Data.

use crate::disk::Result;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::volume::Volume;
use crate::disk::fs::ext::xattr;

/// All bytes there is space for in the inode, and those of the attribute.
pub(super) fn parts(volume: &Volume, inode: &Inode) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok((inode.map()?.all().to_vec(), xattr::inline_rest(volume, inode)?))
}

/// The content, not longer than the inode says. It may be shorter: a file that is nothing but a hole has been made so.
pub(super) fn content(volume: &Volume, inode: &Inode) -> Result<Vec<u8>> {
    let (mut content, rest) = parts(volume, inode)?;
    content.extend_from_slice(&rest);
    content.truncate(usize::try_from(inode.size).unwrap_or(usize::MAX));
    Ok(content)
}
