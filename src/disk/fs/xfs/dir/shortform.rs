//! A folder in its inode: count, parent, entries, with inode numbers of four or of eight bytes.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::dir::Take;
use crate::disk::fs::xfs::dir::checked_entry;
use crate::disk::fs::xfs::superblock::Superblock;

/// Lists them; the cursor is the number of entries before.
pub(super) fn list(fields: &Fields<'_>, superblock: &Superblock, cursor: u64, take: &mut Take<'_>) -> Result<()> {
    let (count, wide) = (fields.u8(0)?, fields.u8(1)?);
    let (count, number_bytes) = if wide > 0 { (count.max(wide), 8) } else { (count, 4) };
    let number = |at: usize| if wide > 0 { fields.be64(at) } else { fields.be32(at).map(u64::from) };
    let mut at: usize = 2 + number_bytes;
    for place in 1..=u64::from(count) {
        let name_bytes = usize::from(fields.u8(at)?);
        let name = fields.bytes(at + 3, name_bytes)?;
        at += 3 + name_bytes + usize::from(superblock.has_ftype);
        let entry = checked_entry(name, number(at)?, place, superblock);
        let entry = entry.ok_or_else(|| fields.damaged("an entry of the folder has no possible name or node"))?;
        at += number_bytes;
        if place > cursor && !take(entry) {
            break;
        }
    }
    Ok(())
}
