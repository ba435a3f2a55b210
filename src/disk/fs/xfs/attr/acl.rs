//! POSIX ACLs: how XFS keeps them, and how system calls give them.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 19: attributes `SGI_ACL_FILE` and `SGI_ACL_DEFAULT`; `acl(5)`
//! and the kernel's `posix_acl_xattr.h` for the form of the system call.

use crate::disk::Fields;

/// Version of the form of the system call.
const VERSION: u32 = 2;
/// Bytes of an entry on the disk, after the number of entries.
const ENTRY_BYTES: usize = 12;
const TAG_USER: u32 = 2;
const TAG_GROUP: u32 = 8;
/// In place of a user or group, in entries that have none.
const NOBODY: u32 = u32::MAX;

/// The name in the namespace `system.` of an attribute that is an ACL.
pub(super) fn name_of(name: &[u8]) -> Option<&'static [u8]> {
    match name {
        b"SGI_ACL_FILE" => Some(b"system.posix_acl_access"),
        b"SGI_ACL_DEFAULT" => Some(b"system.posix_acl_default"),
        _ => None,
    }
}

/// An ACL in the form of the system call.
pub(super) fn of_system_call(value: &[u8]) -> Option<Vec<u8>> {
    let fields = Fields::new(value, "XFS ACL", 0);
    let count = fields.be32(0).ok()? as usize;
    let (entries, rest) = fields.rest(4).ok()?.as_chunks::<ENTRY_BYTES>();
    if entries.len() != count || !rest.is_empty() {
        return None;
    }
    let mut out = VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let entry = Fields::new(entry, "XFS ACL", 0);
        let (tag, id, permissions) = (entry.be32(0).ok()?, entry.be32(4).ok()?, entry.be16(8).ok()?);
        let id = if matches!(tag, TAG_USER | TAG_GROUP) { id } else { NOBODY };
        out.extend_from_slice(&u16::try_from(tag).ok()?.to_le_bytes());
        out.extend_from_slice(&permissions.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    Some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lists_are_turned() {
        let disk = [0, 0, 0, 2, 0, 0, 0, 1, 9, 9, 9, 9, 0, 7, 0, 0, 0, 0, 0, 2, 0, 0, 3, 232, 0, 5, 0, 0];
        let call = [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 232, 3, 0, 0];
        assert_eq!(of_system_call(&disk).unwrap(), call);
        assert_eq!(of_system_call(&disk[..27]), None);
        assert_eq!(of_system_call(&[0, 0, 0, 1]), None);
        assert_eq!(of_system_call(&[255; 4]), None);
    }
}
