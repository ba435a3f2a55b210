//! Which local numbers an owner of the snapshot gets: by name where this system knows the name, else the number.
//! Never asks the user database twice for the owners in use.

use crate::meta::Owner;
use lru::LruCache;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

/// Owners remembered; a hostile snapshot may bring a new one with every file.
const OWNERS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// User and group number on this system.
pub(super) type Ids = (u32, u32);

/// The map, filled as owners are met.
#[derive(Debug)]
pub(super) struct Owners {
    numeric: bool,
    known: Mutex<LruCache<Owner, Ids>>,
}

impl Owners {
    /// With `numeric`, names count for nothing.
    pub(super) fn new(numeric: bool) -> Owners {
        Owners { numeric, known: Mutex::new(LruCache::new(OWNERS_MAX)) }
    }

    /// The local numbers of an owner.
    pub(super) fn local(&self, owner: &Owner) -> Ids {
        if self.numeric {
            return (owner.uid, owner.gid);
        }
        let mut known = self.known.lock().expect("no panic while holding the lock");
        *known.get_or_insert_ref(owner, || by_name(owner))
    }
}

fn by_name(owner: &Owner) -> Ids {
    let user = Some(&owner.user).filter(|name| !name.is_empty());
    let group = Some(&owner.group).filter(|name| !name.is_empty());
    let uid = user.and_then(|name| uzers::get_user_by_name(OsStr::from_bytes(name))).map(|user| user.uid());
    let gid = group.and_then(|name| uzers::get_group_by_name(OsStr::from_bytes(name))).map(|group| group.gid());
    (uid.unwrap_or(owner.uid), gid.unwrap_or(owner.gid))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn owner(user: &[u8], group: &[u8]) -> Owner {
        Owner { uid: 4242, gid: 4343, user: user.to_vec(), group: group.to_vec() }
    }

    #[test]
    fn names_come_before_numbers_unless_told_otherwise() {
        let owners = Owners::new(false);
        assert_eq!(owners.local(&owner(b"root", b"root")), (0, 0));
        assert_eq!(owners.local(&owner(b"", b"root")), (4242, 0));
        assert_eq!(owners.local(&owner(b"no such user", b"nor\0group")), (4242, 4343));
        assert_eq!(Owners::new(true).local(&owner(b"root", b"root")), (4242, 4343));
    }
}
