//! File names: the attribute of a file, and the key of an index entry.
//!
//! Layout: Linux-NTFS documentation, attribute "$FILE_NAME".

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::record::Reference;

const NAMESPACE_DOS: u8 = 2;

/// One name of a file.
pub(super) struct FileName<'a> {
    pub(super) parent: Reference,
    /// UTF-16, little-endian.
    pub(super) name: &'a [u8],
    /// Only an 8.3 alias of another name.
    pub(super) is_alias: bool,
}

/// The name in these bytes.
pub(super) fn parse<'a>(fields: &Fields<'a>) -> Result<FileName<'a>> {
    Ok(FileName {
        parent: Reference::from_raw(fields.u64(0)?),
        name: fields.bytes(0x42, 2 * usize::from(fields.u8(0x40)?))?,
        is_alias: fields.u8(0x41)? == NAMESPACE_DOS,
    })
}
