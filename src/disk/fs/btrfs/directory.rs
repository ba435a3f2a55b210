//! Entries of folders, and attributes, which are kept in the same form.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::btrfs::key::Key;

const HEADER_LEN: usize = 30;

/// `btrfs_dir_item`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirItem<'a> {
    /// Key of what is named.
    pub(super) location: Key,
    /// Of an entry in a folder, or of an attribute.
    pub(super) name: &'a [u8],
    /// Value of an attribute.
    pub(super) data: &'a [u8],
}

/// All entries of an item: those whose names have the same hash.
pub(super) fn entries<'a>(fields: &Fields<'a>) -> Result<Vec<DirItem<'a>>> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < fields.len() {
        let header = fields.part(at, HEADER_LEN, "Btrfs directory entry")?;
        let (data_len, name_len) = (usize::from(header.u16(25)?), usize::from(header.u16(27)?));
        let name_at = at.saturating_add(HEADER_LEN);
        let data_at = name_at.saturating_add(name_len);
        entries.push(DirItem {
            location: Key::read(&header, 0)?,
            name: fields.bytes(name_at, name_len)?,
            data: fields.bytes(data_at, data_len)?,
        });
        at = data_at.saturating_add(data_len);
    }
    Ok(entries)
}

/// Whether a name can be one in a folder.
pub(super) fn is_name(name: &[u8]) -> bool {
    (1..=255).contains(&name.len()) && name != b"." && name != b".." && !name.iter().any(|b| matches!(b, 0 | b'/'))
}
