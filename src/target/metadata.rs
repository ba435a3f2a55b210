//! Puts the metadata of a snapshot on a node, in the one order that works:
//! owner (clears setuid and capabilities) -> plain attributes (need write permission) -> permissions -> ACLs
//! (refine them) -> capabilities -> times; and flags last of all, by a call of their own, because an immutable
//! file can get no name.
//!
//! Always: what cannot be set is returned, and never leaves the node more open than the snapshot had it.
//! Never: a privilege (setuid, setgid, capability, foreign owner) without [`super::Options::privileged`].

use crate::format::disk::OWN_XATTR_PREFIX;
use crate::meta::Meta;
use crate::meta::Time;
use crate::meta::Xattr;
use crate::meta::flag;
use crate::target::Missed;
use crate::target::Shared;
use crate::target::What;
use crate::target::os_meta::Inode;

const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
const CAPABILITY: &[u8] = b"security.capability";
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
/// Flags that take privilege to set and to live with.
const LOCKING_FLAGS: u32 = flag::IMMUTABLE | flag::APPEND;
const FLAGS: u32 = LOCKING_FLAGS | flag::NO_DUMP | flag::COMPRESSED;

/// In [`Meta::mtime`]: nobody knows, so the node keeps the time at which it was written.
pub const MTIME_UNKNOWN: Time = Time { secs: i64::MIN, nanos: 0 };

/// When an attribute is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    BeforeMode,
    AfterMode,
    Last,
}

fn turn(name: &[u8]) -> Turn {
    match name {
        ACL_ACCESS | ACL_DEFAULT => Turn::AfterMode,
        CAPABILITY => Turn::Last,
        _ => Turn::BeforeMode,
    }
}

fn for_everyone(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == ACL_ACCESS || name == ACL_DEFAULT
}

/// Sets everything but flags. `is_link`: a symbolic link has no permissions.
pub(super) fn apply(shared: &Shared, inode: &Inode<'_>, meta: &Meta, is_link: bool) -> Vec<Missed> {
    let mut job = Job { privileged: shared.options.privileged, inode, meta, missed: Vec::new() };
    let set_id = job.owner(shared);
    if !is_link {
        job.remove_strange_xattrs();
    }
    job.xattrs(Turn::BeforeMode);
    if !is_link {
        job.mode(set_id);
        job.xattrs(Turn::AfterMode);
    }
    job.xattrs(Turn::Last);
    if meta.mtime != MTIME_UNKNOWN
        && let Err(error) = inode.set_mtime(meta.mtime)
    {
        job.missed.push(Missed::failed(What::Times, error));
    }
    job.missed
}

/// Adds the flags of the snapshot; those it does not have are left alone.
pub(super) fn apply_flags(shared: &Shared, inode: &Inode<'_>, flags: u32) -> Option<Missed> {
    let wanted = flags & FLAGS;
    let allowed = if shared.options.privileged { wanted } else { wanted & !LOCKING_FLAGS };
    if allowed != 0
        && let Err(error) = inode.add_flags(allowed)
    {
        return Some(Missed::failed(What::Flags, error));
    }
    (allowed != wanted).then(|| Missed::by_rule(What::Flags))
}

/// True if a file with these flags can be given no further name.
pub(super) fn is_locking(shared: &Shared, flags: u32) -> bool {
    shared.options.privileged && flags & LOCKING_FLAGS != 0
}

struct Job<'a> {
    privileged: bool,
    inode: &'a Inode<'a>,
    meta: &'a Meta,
    missed: Vec<Missed>,
}

impl Job<'_> {
    /// Sets the owner, and returns which of the setuid and setgid bits may follow: those whose owner is right.
    fn owner(&mut self, shared: &Shared) -> u32 {
        let (uid, gid) = shared.owners.local(&self.meta.owner);
        let before = match crate::target::os::stat_handle(self.inode.handle()) {
            Ok(found) => found,
            Err(error) => {
                self.missed.push(Missed::failed(What::Owner, error));
                return 0;
            }
        };
        let (mut uid_fits, mut gid_fits) = (before.uid == uid, before.gid == gid);
        if self.privileged && !(uid_fits && gid_fits) {
            match self.inode.set_owner(Some(uid), Some(gid)) {
                Ok(()) => (uid_fits, gid_fits) = (true, true),
                Err(error) => self.missed.push(Missed::failed(What::Owner, error)),
            }
        } else if !uid_fits {
            self.missed.push(Missed::by_rule(What::Owner));
        } else if !gid_fits {
            // An owner may choose among the groups they are in.
            match self.inode.set_owner(None, Some(gid)) {
                Ok(()) => gid_fits = true,
                Err(error) => self.missed.push(Missed::failed(What::Owner, error)),
            }
        }
        let allowed = if uid_fits { SETUID } else { 0 } | if gid_fits { SETGID } else { 0 };
        if self.privileged { allowed } else { 0 }
    }

    /// Removes what the node inherited from its folder, or had before, and the snapshot does not know.
    fn remove_strange_xattrs(&mut self) {
        let names = match self.inode.xattr_names() {
            Ok(names) => names,
            Err(error) => {
                self.missed.push(Missed::failed(What::Xattr(Vec::new()), error));
                return;
            }
        };
        for name in names {
            let known = self.meta.xattrs.iter().any(|xattr| xattr.name == name);
            if !known
                && for_everyone(&name)
                && let Err(error) = self.inode.remove_xattr(&name)
            {
                self.missed.push(Missed::failed(What::Xattr(name), error));
            }
        }
    }

    fn xattrs(&mut self, now: Turn) {
        // Our own say something about the snapshot, not about the file.
        let is_own = |xattr: &&Xattr| xattr.name.starts_with(OWN_XATTR_PREFIX);
        for xattr in self.meta.xattrs.iter().filter(|xattr| turn(&xattr.name) == now && !is_own(xattr)) {
            let what = What::Xattr(xattr.name.clone());
            if !self.privileged && !for_everyone(&xattr.name) {
                self.missed.push(Missed::by_rule(what));
            } else if let Err(error) = self.inode.set_xattr(&xattr.name, &xattr.value) {
                self.missed.push(Missed::failed(what, error));
            }
        }
    }

    fn mode(&mut self, set_id: u32) {
        let wanted = self.meta.mode & 0o7777;
        let dropped = wanted & (SETUID | SETGID) & !set_id;
        if dropped != 0 {
            self.missed.push(Missed::by_rule(What::SetId));
        }
        let acl = self.meta.xattrs.iter().find(|xattr| xattr.name == ACL_ACCESS);
        let mode = acl.map_or(wanted, |acl| without_mask(wanted, &acl.value));
        if let Err(error) = self.inode.set_mode(mode & !dropped) {
            self.missed.push(Missed::failed(What::Mode, error));
        }
    }
}

/// With an ACL, the group bits of a mode are its mask, wider than what the group itself may do. These bits are
/// safe even if the ACL cannot be set afterwards; setting it brings the mask back.
fn without_mask(mode: u32, acl: &[u8]) -> u32 {
    const GROUP_OBJECT: [u8; 2] = [4, 0];
    let entries = acl.get(4..).unwrap_or_default();
    let group = entries.chunks_exact(8).find(|entry| entry[..2] == GROUP_OBJECT);
    let permissions = group.map_or(0, |entry| u32::from(entry[2]) & 0o7);
    mode & (!0o070 | permissions << 3)
}

#[cfg(test)]
mod tests {
    use super::without_mask;

    #[test]
    fn group_bits_are_narrowed_to_the_group_of_the_acl() {
        let acl = |group: u8| {
            let mut bytes = vec![2, 0, 0, 0];
            for (tag, permissions) in [(1, 6), (2, 6), (4, group), (16, 6), (32, 4)] {
                bytes.extend([tag, 0, permissions, 0, 0xff, 0xff, 0xff, 0xff]);
            }
            bytes
        };
        assert_eq!(without_mask(0o664, &acl(0)), 0o604);
        assert_eq!(without_mask(0o664, &acl(4)), 0o644);
        assert_eq!(without_mask(0o1644, &acl(7)), 0o1644);
        assert_eq!(without_mask(0o664, b"torn"), 0o604);
    }
}
