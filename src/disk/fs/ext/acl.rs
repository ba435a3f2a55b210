//! POSIX access control lists: from the form on the disk to that of the system call.
//!
//! Source: the on-disk structures `ext4_acl_entry` and `ext4_acl_entry_short` (version 1) and `posix_acl_xattr_entry`
//! (version 2, linux/posix_acl_xattr.h).

use crate::disk::Fields;
use crate::disk::Result;

const WHAT: &str = "ext4 access control list";
const VERSION: u32 = 1;
const VERSION_OF_CALL: u32 = 2;
const USER: u16 = 2;
const GROUP: u16 = 8;
/// Entries of the owner, the group, the mask and all others.
const SHORT: [u16; 4] = [1, 4, 0x10, 0x20];
const NOBODY: u32 = u32::MAX;

/// The list as `getxattr` gives it. On the disk, entries that name nobody have no number.
pub(super) fn for_system_call(stored: &[u8]) -> Result<Vec<u8>> {
    let f = Fields::new(stored, WHAT, 0);
    if f.u32(0)? != VERSION {
        return Err(f.damaged("the version is unknown"));
    }
    let mut out = VERSION_OF_CALL.to_le_bytes().to_vec();
    let mut at = 4;
    while at < f.len() {
        let tag = f.u16(at)?;
        out.extend_from_slice(f.bytes(at, 4)?);
        if tag == USER || tag == GROUP {
            out.extend_from_slice(f.bytes(at + 4, 4)?);
            at += 8;
        } else if SHORT.contains(&tag) {
            out.extend_from_slice(&NOBODY.to_le_bytes());
            at += 4;
        } else {
            return Err(f.damaged("an entry is of unknown kind"));
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_a_number_get_one() {
        let stored = [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xe8, 3, 0, 0, 0x20, 0, 5, 0];
        let call =
            [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xe8, 3, 0, 0, 0x20, 0, 5, 0, 255, 255, 255, 255];
        assert_eq!(for_system_call(&stored).unwrap(), call);
    }

    #[test]
    fn what_is_not_a_list_is_damaged() {
        for bad in [&[2, 0, 0, 0][..], &[1, 0, 0], &[1, 0, 0, 0, 2, 0, 4, 0, 1], &[1, 0, 0, 0, 3, 0, 4, 0]] {
            assert!(for_system_call(bad).is_err());
        }
    }
}
