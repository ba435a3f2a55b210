//! A block of entries, one after the other with gaps; in a folder of one block its index stands at the end.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Entry;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::dir::DirBlock;
use crate::disk::fs::xfs::dir::Take;
use crate::disk::fs::xfs::dir::checked_entry;
use crate::disk::fs::xfs::superblock::Superblock;

/// Magic of a folder's only block, and of one of several: version 4 and 5.
const MAGIC_ONLY: [&[u8; 4]; 2] = [b"XD2B", b"XDB3"];
const MAGIC_ONE_OF_SEVERAL: [&[u8; 4]; 2] = [b"XD2D", b"XDD3"];
/// What stands in place of the first two bytes of a gap.
const GAP: u16 = 0xffff;
/// Entries begin at multiples of this.
const ALIGN: usize = 8;
/// Number of entries of the index and how many of them are stale.
const TAIL_BYTES: usize = 8;
/// Hash and place.
const INDEX_ENTRY_BYTES: usize = 8;

/// The part of a block that is for entries.
struct Layout<'a> {
    fields: Fields<'a>,
    start: usize,
    end: usize,
    index_count: usize,
}

fn layout<'a>(block: &'a DirBlock, superblock: &Superblock) -> Result<Layout<'a>> {
    let fields = Fields::new(&block.bytes, Header::DirData.what(), block.at);
    let start = Header::DirData.bytes(superblock);
    let magic = fields.bytes(0, 4)?;
    let version = usize::from(superblock.has_crc);
    if magic == MAGIC_ONE_OF_SEVERAL[version] {
        return Ok(Layout { fields, start, end: fields.len(), index_count: 0 });
    }
    if magic != MAGIC_ONLY[version] || block.index != 0 {
        return Err(fields.damaged("it does not begin with its magic number"));
    }
    let room = fields.len().saturating_sub(TAIL_BYTES);
    let index_count = fields.be32(room)? as usize;
    let end = index_count.checked_mul(INDEX_ENTRY_BYTES).and_then(|bytes| room.checked_sub(bytes));
    let end = end.filter(|end| *end >= start).ok_or_else(|| fields.damaged("its index is too long"))?;
    Ok(Layout { fields, start, end, index_count })
}

/// What begins at a place.
enum Item<'a> {
    Gap,
    Entry { name: &'a [u8], node: u64 },
}

impl<'a> Layout<'a> {
    /// What begins at `at`, and where the next begins.
    fn item(&self, at: usize, superblock: &Superblock) -> Result<(Item<'a>, usize)> {
        let fields = &self.fields;
        let (item, bytes) = if fields.be16(at)? == GAP {
            (Item::Gap, usize::from(fields.be16(at + 2)?))
        } else {
            let name_bytes = usize::from(fields.u8(at + 8)?);
            let name = fields.bytes(at + 9, name_bytes)?;
            let bytes = 9 + name_bytes + usize::from(superblock.has_ftype) + 2;
            (Item::Entry { name, node: fields.be64(at)? }, bytes.next_multiple_of(ALIGN))
        };
        let end = at + bytes;
        if bytes == 0 || bytes % ALIGN != 0 || end > self.end {
            return Err(fields.damaged("an entry has an impossible length"));
        }
        // Both kinds end with their own place.
        if usize::from(fields.be16(end - 2)?) != at {
            return Err(fields.damaged("an entry does not know its place"));
        }
        Ok((item, end))
    }

    fn entry(&self, name: &[u8], node: u64, cursor: u64, superblock: &Superblock) -> Result<Entry> {
        let entry = checked_entry(name, node, cursor, superblock);
        entry.ok_or_else(|| self.fields.damaged("an entry has no possible name or node"))
    }
}

/// Entries of the block after `cursor`, a place in all blocks. False if no more are wanted.
pub(super) fn list(block: &DirBlock, superblock: &Superblock, cursor: u64, take: &mut Take<'_>) -> Result<bool> {
    let layout = layout(block, superblock)?;
    let base = block.index * u64::from(superblock.dir_block_bytes());
    let mut at = layout.start;
    while at < layout.end {
        let (item, next) = layout.item(at, superblock)?;
        let is_wanted = base + at as u64 >= cursor;
        at = next;
        let entry = match item {
            Item::Entry { name, node } if is_wanted && !matches!(name, b"." | b"..") => {
                layout.entry(name, node, base + next as u64, superblock)?
            }
            _ => continue,
        };
        if !take(entry) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The entry at a place of the block, unless it is the folder itself or its parent.
pub(super) fn entry_at(block: &DirBlock, superblock: &Superblock, at: usize) -> Result<Option<Entry>> {
    let layout = layout(block, superblock)?;
    if at < layout.start || !at.is_multiple_of(ALIGN) || at >= layout.end {
        return Err(layout.fields.damaged("the index leads to no entry"));
    }
    match layout.item(at, superblock)?.0 {
        Item::Gap => Err(layout.fields.damaged("the index leads to no entry")),
        Item::Entry { name: b"." | b"..", .. } => Ok(None),
        Item::Entry { name, node } => layout.entry(name, node, 1, superblock).map(Some),
    }
}

/// Where the index at the end begins, and its number of entries, if there is one.
pub(super) fn index(block: &DirBlock, superblock: &Superblock) -> Result<Option<(usize, usize)>> {
    let layout = layout(block, superblock)?;
    Ok((layout.end < layout.fields.len()).then_some((layout.end, layout.index_count)))
}
