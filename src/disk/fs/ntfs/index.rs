//! Index nodes: the entries of a folder, in the root or in a block of its B+ tree.
//!
//! Layout: Linux-NTFS documentation, concepts "Index Record" and "Index Entry".

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::file_name;
use crate::disk::fs::ntfs::file_name::FileName;
use crate::disk::fs::ntfs::fixup;
use crate::disk::fs::ntfs::record::Reference;

/// Name of the index of names.
pub(super) const I30: &[u16] = &[b'$' as u16, b'I' as u16, b'3' as u16, b'0' as u16];

const WHAT_ROOT: &str = "NTFS index root";
const WHAT_BLOCK: &str = "NTFS index block";
const INDEXED_FILE_NAME: u32 = 0x30;
const COLLATION_FILE_NAME: u32 = 1;
const BLOCK_BYTES_MAX: u64 = 64 << 10;
const NODE_IS_LARGE: u8 = 1;
const ENTRY_HAS_CHILD: u16 = 1;
const ENTRY_IS_LAST: u16 = 2;

/// Where the header of the entries is in a root and in a block.
const ROOT_HEADER: usize = 0x10;
const BLOCK_HEADER: usize = 0x18;

/// What the root tells of the whole index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Size of a block.
    pub(super) block_bytes: u64,
    /// True if there are blocks.
    pub(super) has_blocks: bool,
}

/// One entry of a node.
pub(super) struct IndexEntry<'a> {
    /// Where it is in the node.
    pub(super) at: usize,
    pub(super) reference: Reference,
    /// `None` for the last, which only has a child.
    pub(super) name: Option<FileName<'a>>,
    /// Cluster or sector number of the block with smaller names.
    pub(super) child: Option<u64>,
}

/// What an index root says.
pub(super) fn shape(root: &[u8]) -> Result<Shape> {
    let fields = Fields::new(root, WHAT_ROOT, 0);
    if fields.u32(0)? != INDEXED_FILE_NAME || fields.u32(4)? != COLLATION_FILE_NAME {
        return Err(fields.damaged("it does not order file names"));
    }
    let block_bytes = u64::from(fields.u32(8)?);
    if !block_bytes.is_power_of_two() || !(512..=BLOCK_BYTES_MAX).contains(&block_bytes) {
        return Err(fields.damaged("its blocks have an impossible size"));
    }
    Ok(Shape { block_bytes, has_blocks: fields.u8(ROOT_HEADER + 0xc)? & NODE_IS_LARGE != 0 })
}

/// Entries of an index root.
pub(super) fn root_entries(root: &[u8]) -> Result<Vec<IndexEntry<'_>>> {
    entries(&Fields::new(root, WHAT_ROOT, 0), ROOT_HEADER)
}

/// Checks a block that was read, and that it is the one of this number.
pub(super) fn open_block(mut block: Vec<u8>, vcn: u64) -> Result<Vec<u8>> {
    if !block.starts_with(b"INDX") {
        return Err(Error::damaged(WHAT_BLOCK, 0, "it has no signature"));
    }
    fixup::undo(&mut block, WHAT_BLOCK, 0)?;
    let fields = Fields::new(&block, WHAT_BLOCK, 0);
    if fields.u64(0x10)? != vcn {
        return Err(fields.damaged("it is another block than its place says"));
    }
    Ok(block)
}

/// Entries of a block.
pub(super) fn block_entries(block: &[u8]) -> Result<Vec<IndexEntry<'_>>> {
    entries(&Fields::new(block, WHAT_BLOCK, 0), BLOCK_HEADER)
}

fn entries<'a>(node: &Fields<'a>, header: usize) -> Result<Vec<IndexEntry<'a>>> {
    let start = header.saturating_add(node.u32(header)? as usize);
    let end = header.saturating_add(node.u32(header + 4)? as usize);
    if end > node.len() {
        return Err(node.damaged("its entries go beyond its end"));
    }
    let (mut found, mut at) = (Vec::new(), start);
    while at < end {
        let len = usize::from(node.u16(at + 8)?);
        if len < 16 || !len.is_multiple_of(8) || len > end - at {
            return Err(node.damaged("an entry has an impossible length"));
        }
        let entry = node.part(at, len, "NTFS index entry")?;
        let flags = entry.u16(0xc)?;
        let is_last = flags & ENTRY_IS_LAST != 0;
        let name = match is_last {
            true => None,
            false => {
                let key = entry.part(0x10, usize::from(entry.u16(0xa)?), "NTFS index key")?;
                Some(file_name::parse(&key)?)
            }
        };
        let child = (flags & ENTRY_HAS_CHILD != 0).then(|| entry.u64(len - 8)).transpose()?;
        found.push(IndexEntry { at, reference: Reference::from_raw(entry.u64(0)?), name, child });
        if is_last {
            return Ok(found);
        }
        at += len;
    }
    Err(node.damaged("its last entry is missing"))
}
