//! Attribute lists: where the attributes of a file are that has more of them than one record holds.
//!
//! Layout: Linux-NTFS documentation, attribute "$ATTRIBUTE_LIST".

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::record::Reference;

/// Windows stops here too.
pub(super) const LIST_BYTES_MAX: u64 = 256 << 10;

const ENTRY_BYTES: usize = 0x1a;

/// One attribute, or a part of one.
pub(super) struct ListEntry<'a> {
    pub(super) kind: u32,
    /// UTF-16, little-endian.
    pub(super) name: &'a [u8],
    /// First cluster of this part.
    pub(super) first_vcn: u64,
    /// Record that holds it.
    pub(super) reference: Reference,
    pub(super) instance: u16,
}

/// All entries.
pub(super) fn parse<'a>(list: &Fields<'a>) -> Result<Vec<ListEntry<'a>>> {
    let (mut entries, mut at) = (Vec::new(), 0usize);
    while at < list.len() {
        let len = usize::from(list.u16(at + 4)?);
        if len < ENTRY_BYTES {
            return Err(list.damaged("an entry is too short"));
        }
        let entry = list.part(at, len, "NTFS attribute list entry")?;
        entries.push(ListEntry {
            kind: entry.u32(0)?,
            name: entry.bytes(usize::from(entry.u8(7)?), 2 * usize::from(entry.u8(6)?))?,
            first_vcn: entry.u64(8)?,
            reference: Reference::from_raw(entry.u64(0x10)?),
            instance: entry.u16(0x18)?,
        });
        at += len;
    }
    Ok(entries)
}
