//! Attributes in the inode: total size and count, then name and value of each.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::attr::Found;

const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 3;

/// Lists them.
pub(super) fn list(fields: &Fields<'_>, found: &mut Found<'_>) -> Result<()> {
    let count = fields.u8(2)?;
    let mut at = HEADER_BYTES;
    for _ in 0..count {
        let (name_bytes, value_bytes) = (usize::from(fields.u8(at)?), usize::from(fields.u8(at + 1)?));
        let flags = fields.u8(at + 2)?;
        let name = fields.bytes(at + ENTRY_BYTES, name_bytes)?;
        let value = fields.bytes(at + ENTRY_BYTES + name_bytes, value_bytes)?;
        at += ENTRY_BYTES + name_bytes + value_bytes;
        if let Some(namespace) = found.namespace(flags)? {
            found.push(namespace, name, value.to_vec())?;
        }
    }
    Ok(())
}
