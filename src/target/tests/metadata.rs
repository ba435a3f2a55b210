//! Metadata comes back as it was, and what must not come back does not.

use super::Scratch;
use super::is_root;
use super::meta;
use super::mode_of;
use super::privileged;
use super::put;
use super::root_folder;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Owner;
use crate::meta::Time;
use crate::meta::Xattr;
use crate::meta::flag;
use crate::target::Missed;
use crate::target::Obstacle;
use crate::target::Options;
use crate::target::What;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// An ACL that lets user 4711 read and write; the mask makes the group bits 6, the group itself has `group`.
fn acl(group: u8) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1, 6, u32::MAX), (2, 6, 4711), (4, group, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)]
    {
        bytes.extend([tag, 0, permissions, 0]);
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.into(), value: value.into() }
}

fn read_xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    let len = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    buffer.truncate(len);
    Some(buffer)
}

/// Scratch space may lie where attributes or ACLs do not exist; then they must be told as missed.
fn has_xattrs(scratch: &Scratch) -> bool {
    let probe = scratch.dir.path().join("probe");
    fs::write(&probe, b"").unwrap();
    let set = |name: &str, value: &[u8]| rustix::fs::setxattr(&probe, name, value, rustix::fs::XattrFlags::empty());
    set("user.probe", b"x").is_ok() && set(ACCESS, &acl(4)).is_ok()
}

fn restore(scratch: &Scratch, options: Options, meta: &Meta) -> Vec<What> {
    let target = scratch.target(options);
    let file = target.begin_file(&root_folder(&target), b"file", 0).unwrap();
    whats(&file.finish(meta).unwrap().missed)
}

fn whats(missed: &[Missed]) -> Vec<What> {
    missed.iter().map(|missed| missed.what.clone()).collect()
}

#[test]
fn times_to_the_nanosecond_and_before_1970() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let root = root_folder(&target);
    for mtime in [(1_700_000_000, 123_456_789), (0, 1), (-1, 999_999_999), (-1_000_000_000, 5)] {
        let mtime = Time { secs: mtime.0, nanos: mtime.1 };
        let meta = Meta { mtime, ..meta(0o755) };
        target.begin_file(&root, b"file", 0).unwrap().finish(&meta).unwrap();
        target.symlink(&root, b"link", b"x", &meta).unwrap();
        target.special(&root, b"pipe", &Kind::Fifo, &meta).unwrap();
        let folder = target.folder(b"folder", Obstacle::Report).unwrap();
        put(&target, &folder, b"inside", b"").unwrap();
        target.finish_folder(b"folder", &meta).unwrap();
        for path in ["file", "link", "pipe", "folder"] {
            assert_eq!(target.state(path.as_bytes()).unwrap().unwrap().mtime, mtime, "{path}");
        }
    }
}

#[test]
fn modes_of_files_and_folders() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    for mode in [0, 0o400, 0o644, 0o777, 0o1777] {
        let file = target.begin_file(&root_folder(&target), b"file", 0).unwrap();
        assert!(file.finish(&meta(mode)).unwrap().missed.is_empty());
        assert_eq!(mode_of(&scratch.at("file")), mode);
        target.folder(b"folder", Obstacle::Report).unwrap();
        assert!(target.finish_folder(b"folder", &meta(mode)).unwrap().is_empty());
        assert_eq!(mode_of(&scratch.at("folder")), mode);
    }
    assert!(target.finish_folder(b"", &meta(0o751)).unwrap().is_empty());
    assert_eq!(mode_of(&scratch.root()), 0o751);
}

#[test]
fn new_folders_are_closed_until_finished() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    target.folder(b"a/b", Obstacle::Report).unwrap();
    assert_eq!((mode_of(&scratch.at("a")), mode_of(&scratch.at("a/b"))), (0o700, 0o700));
}

#[test]
fn attributes_and_acls() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let root = root_folder(&target);
    let xattrs = vec![xattr(ACCESS, &acl(4)), xattr("user.empty", b""), xattr("user.tag", b"\0value")];
    let file_meta = Meta { xattrs: xattrs.clone(), ..meta(0o460) };
    let missed = target.begin_file(&root, b"file", 0).unwrap().finish(&file_meta).unwrap().missed;
    if !has_xattrs(&scratch) {
        assert!(!missed.is_empty());
        return;
    }
    assert!(missed.is_empty(), "{missed:?}");
    target.folder(b"folder", Obstacle::Report).unwrap();
    let folder_meta = Meta { xattrs: [xattrs.clone(), vec![xattr(DEFAULT, &acl(0))]].concat(), ..meta(0o770) };
    let missed = target.finish_folder(b"folder", &folder_meta).unwrap();
    assert!(missed.is_empty(), "{missed:?}");
    for (path, expected) in [("file", &file_meta.xattrs), ("folder", &folder_meta.xattrs)] {
        for Xattr { name, value } in expected {
            let name = std::str::from_utf8(name).unwrap();
            assert_eq!(read_xattr(&scratch.at(path), name).as_ref(), Some(value), "{path} {name}");
        }
        assert_eq!(mode_of(&scratch.at(path)) & 0o070, 0o060, "the mask is back");
    }

    // What a node inherits from its folder, or had before, goes.
    let folder = target.folder(b"folder", Obstacle::Report).unwrap();
    put(&target, &folder, b"plain", b"").unwrap();
    target.special(&folder, b"pipe", &Kind::Fifo, &meta(0o644)).unwrap();
    target.folder(b"folder/sub", Obstacle::Report).unwrap();
    assert!(target.finish_folder(b"folder/sub", &meta(0o755)).unwrap().is_empty());
    assert!(target.finish_folder(b"folder", &meta(0o755)).unwrap().is_empty());
    for path in ["folder", "folder/plain", "folder/pipe", "folder/sub"] {
        for name in [ACCESS, DEFAULT, "user.tag"] {
            assert_eq!(read_xattr(&scratch.at(path), name), None, "{path} {name}");
        }
    }
    assert_eq!(mode_of(&scratch.at("folder/plain")), 0o644);
}

#[test]
fn hostile_metadata_is_missed_and_harms_nothing() {
    let scratch = Scratch::new();
    let long = [&b"user."[..], &[b'x'; 300]].concat();
    let xattrs: Vec<_> = [&b""[..], b"user.a\0b", b"user.", b"nonsense", &long]
        .map(|name| Xattr { name: name.to_vec(), value: b"x".to_vec() })
        .into();
    let owner = Arc::new(Owner { uid: u32::MAX, gid: u32::MAX, ..Owner::default() });
    // These nanoseconds mean "now" and "leave it" to the kernel.
    for nanos in [1_000_000_000, 0x3fff_ffff, 0x3fff_fffe, u32::MAX] {
        let hostile = Meta {
            mtime: Time { secs: i64::MIN, nanos },
            xattrs: xattrs.clone(),
            owner: Arc::clone(&owner),
            flags: !(flag::IMMUTABLE | flag::APPEND),
            ..meta(u32::MAX)
        };
        for options in [Options::default(), privileged()] {
            let missed = restore(&scratch, options, &hostile);
            for what in [What::Owner, What::SetId, What::Times] {
                assert!(missed.contains(&what), "{what} in {missed:?}");
            }
            assert_eq!(missed.iter().filter(|what| matches!(what, What::Xattr(_))).count(), xattrs.len());
            assert_eq!(mode_of(&scratch.at("file")), 0o1777);
        }
    }
}

#[test]
fn a_truncated_acl_never_opens_a_file_wider() {
    let scratch = Scratch::new();
    let meta = Meta { xattrs: vec![xattr(ACCESS, &acl(0)[..15])], ..meta(0o660) };
    let missed = restore(&scratch, Options::default(), &meta);
    assert_eq!(missed, [What::Xattr(ACCESS.into())]);
    assert_eq!(mode_of(&scratch.at("file")), 0o600);
}

#[test]
fn without_privilege_no_power_comes_back() {
    let scratch = Scratch::new();
    let own = meta(0);
    let foreign = Arc::new(Owner { uid: own.owner.uid + 1, gid: own.owner.gid + 1, ..Owner::default() });
    let powerful = Meta {
        owner: foreign,
        flags: flag::IMMUTABLE | flag::APPEND,
        xattrs: vec![xattr("security.capability", b"x"), xattr("trusted.x", b"x")],
        ..meta(0o6755)
    };
    let missed = restore(&scratch, Options::default(), &powerful);
    let expected = [
        What::Owner,
        What::Xattr(b"trusted.x".to_vec()),
        What::SetId,
        What::Xattr(b"security.capability".to_vec()),
        What::Flags,
    ];
    assert_eq!(missed, expected);
    let found = fs::metadata(scratch.at("file")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o755, own.owner.uid, own.owner.gid));
    assert_eq!(restore(&scratch, Options::default(), &meta(0o4755)), [What::SetId], "not even for an own file");
}

fn capability() -> Xattr {
    // Version 2, cap_net_raw permitted and effective.
    let mut bytes = vec![1, 0, 0, 2];
    bytes.extend([0, 0x20, 0, 0]);
    bytes.extend([0; 12]);
    xattr("security.capability", &bytes)
}

/// Needs root; an ordinary user asking for privilege is told what is missing.
#[test]
fn with_privilege_owners_set_id_bits_and_capabilities_come_back() {
    let scratch = Scratch::new();
    let owner = Arc::new(Owner { uid: 4711, gid: 4712, ..Owner::default() });
    let meta = Meta { owner, xattrs: vec![capability()], ..meta(0o6755) };
    let missed = restore(&scratch, privileged(), &meta);
    let found = fs::metadata(scratch.at("file")).unwrap();
    if !is_root() {
        assert_eq!(missed, [What::Owner, What::SetId, What::Xattr(b"security.capability".to_vec())]);
        assert_eq!(found.mode() & 0o7777, 0o755);
        return;
    }
    assert_eq!(missed, []);
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o6755, 4711, 4712));
    assert_eq!(read_xattr(&scratch.at("file"), "security.capability"), Some(capability().value));

    let target = scratch.target(privileged());
    let root = root_folder(&target);
    let trusted = Meta { xattrs: vec![xattr("trusted.x", b"on the link")], ..meta.clone() };
    let missed = target.symlink(&root, b"link", b"file", &trusted).unwrap().missed;
    assert!(missed.is_empty(), "{missed:?}");
    target.special(&root, b"pipe", &Kind::Fifo, &Meta { xattrs: Vec::new(), ..trusted.clone() }).unwrap();
    for path in ["link", "pipe"] {
        let found = fs::symlink_metadata(scratch.at(path)).unwrap();
        assert_eq!((found.uid(), found.gid()), (4711, 4712), "{path}");
    }
    assert_eq!(read_xattr(&scratch.at("link"), "trusted.x"), Some(b"on the link".to_vec()));
    assert_eq!(read_xattr(&scratch.at("file"), "trusted.x"), None, "the link was not followed");
}

/// Needs root for the names to have an effect.
#[test]
fn owners_by_name_or_number() {
    let scratch = Scratch::new();
    let owner = Arc::new(Owner { uid: 4711, gid: 4712, user: b"root".to_vec(), group: b"no such".to_vec() });
    let meta = Meta { owner, ..meta(0o644) };
    let found = |options| {
        let missed = restore(&scratch, options, &meta);
        let found = fs::metadata(scratch.at("file")).unwrap();
        (missed, found.uid(), found.gid())
    };
    if is_root() {
        assert_eq!(found(privileged()), (Vec::new(), 0, 4712));
        assert_eq!(found(Options { numeric_ids: true, ..privileged() }), (Vec::new(), 4711, 4712));
    } else {
        assert_eq!(found(privileged()).0, [What::Owner]);
    }
}

fn flags(path: &Path) -> Option<u32> {
    let file = fs::File::open(path).unwrap();
    rustix::fs::ioctl_getflags(&file).ok().map(|flags| flags.bits())
}

#[test]
fn no_dump_comes_back_where_there_are_flags() {
    let scratch = Scratch::new();
    let missed = restore(&scratch, Options::default(), &Meta { flags: flag::NO_DUMP, ..meta(0o644) });
    match flags(&scratch.at("file")) {
        Some(found) => assert_eq!((missed, found & flag::NO_DUMP), (Vec::new(), flag::NO_DUMP)),
        None => assert_eq!(missed, [What::Flags]),
    }
}

/// Needs root: an immutable file gets its name, and all its names, before the flag.
#[test]
fn immutable_files_get_all_their_names_first() {
    if !is_root() {
        return without_privilege_no_power_comes_back();
    }
    let scratch = Scratch::new();
    let target = scratch.target(privileged());
    let folder = target.folder(b"folder", Obstacle::Report).unwrap();
    let single = Meta { flags: flag::IMMUTABLE, ..meta(0o644) };
    let file = target.begin_file(&folder, b"single", 0).unwrap();
    assert!(file.finish(&single).unwrap().missed.is_empty());
    let linked = Meta { flags: flag::APPEND, links: 2, link_group: Some(1), ..meta(0o644) };
    let id = target.begin_file(&folder, b"one", 0).unwrap().finish(&linked).unwrap().id;
    target.hard_link(b"folder/one", id, &folder, b"two").unwrap();
    assert!(target.finish_folder(b"folder", &single).unwrap().is_empty());
    assert!(target.settle().is_empty());

    let seen = ["folder", "folder/single", "folder/one", "folder/two"].map(|path| flags(&scratch.at(path)).unwrap());
    // Taken off first, or the scratch folder could not be removed.
    for path in ["folder", "folder/single", "folder/one"] {
        let file = fs::File::open(scratch.at(path)).unwrap();
        rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::empty()).unwrap();
    }
    let expected = [flag::IMMUTABLE, flag::IMMUTABLE, flag::APPEND, flag::APPEND];
    assert_eq!(seen.map(|flags| flags & (flag::IMMUTABLE | flag::APPEND)), expected);
}
