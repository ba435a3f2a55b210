//! What is told about a node: kinds, links, attributes, owners, bytes and holes; and what if it changed meanwhile.

use crate::meta::Kind;
use crate::source::Error;
use crate::source::Owners;
use crate::source::Run;
use crate::source::Step;
use crate::source::Type;
use crate::source::tests::node;
use crate::source::tests::options;
use crate::source::tests::steps;
use crate::source::tests::tree;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::XattrFlags;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// POSIX ACL, version 2: owner rwx, user 1234 r, group and mask r, others nothing.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

fn make(path: &Path, kind: FileType, dev: u64) -> bool {
    rustix::fs::mknodat(CWD, path, kind, Mode::RUSR, dev).is_ok()
}

#[test]
fn stat_tells_what_the_system_tells() {
    let root = tree(&["file"]);
    let path = root.path().join("file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    let steps = steps(&options(root.path()));
    let stat = &node(&steps, root.path(), "file").stat;
    let truth = fs::metadata(&path).unwrap();
    assert_eq!((stat.kind, stat.mode, stat.size), (Type::File, 0o4751, 4));
    assert_eq!((stat.inode, stat.dev, stat.uid, stat.gid), (truth.ino(), truth.dev(), truth.uid(), truth.gid()));
    assert_eq!((stat.mtime.secs, i64::from(stat.mtime.nanos)), (truth.mtime(), truth.mtime_nsec()));
    assert_eq!((stat.ctime.secs, i64::from(stat.ctime.nanos)), (truth.ctime(), truth.ctime_nsec()));
    assert_eq!((stat.allocated, u64::from(stat.links)), (truth.blocks() * 512, 1));
    assert_eq!(stat.btime.is_some(), truth.created().is_ok());
}

#[test]
fn the_root_node_is_complete_too() {
    let root = tree(&[]);
    let steps = steps(&options(root.path()));
    let Some(Step::Found(top)) = steps.first() else { panic!("{steps:?}") };
    assert_eq!((top.path(), top.stat.inode), (Vec::new(), fs::metadata("/").unwrap().ino()));
    assert_eq!(top.clone().complete(&Owners::default()).unwrap().0, Kind::Folder);
}

#[test]
fn special_nodes_are_described_and_never_opened() {
    let root = tree(&["file"]);
    let at = |name: &str| root.path().join(name);
    assert!(make(&at("pipe"), FileType::Fifo, 0));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink("not/\u{fc}ber", at("link")).unwrap();
    let devices = make(&at("char"), FileType::CharacterDevice, rustix::fs::makedev(1, 3))
        && make(&at("block"), FileType::BlockDevice, rustix::fs::makedev(300, 70_000));
    let steps = steps(&options(root.path()));
    let kind = |name: &str| {
        let found = node(&steps, root.path(), name);
        assert_eq!(matches!(found.open(), Err(Error::NotAFile)), name != "file");
        found.clone().complete(&Owners::default()).unwrap().0
    };
    assert_eq!((kind("file"), kind("pipe"), kind("socket")), (Kind::File, Kind::Fifo, Kind::Socket));
    assert_eq!(kind("link"), Kind::Symlink("not/\u{fc}ber".into()));
    if rustix::process::geteuid().is_root() {
        assert!(devices);
        assert_eq!(kind("char"), Kind::CharDevice { major: 1, minor: 3 });
        assert_eq!(kind("block"), Kind::BlockDevice { major: 300, minor: 70_000 });
    }
}

#[test]
fn all_names_of_one_file_share_a_group_and_no_other_has_one() {
    let root = tree(&["a", "d/x", "single", "s"]);
    fs::hard_link(root.path().join("a"), root.path().join("d/b")).unwrap();
    fs::hard_link(root.path().join("s"), root.path().join("t")).unwrap();
    let steps = steps(&options(root.path()));
    let meta = |name: &str| node(&steps, root.path(), name).clone().complete(&Owners::default()).unwrap().1;
    let group = meta("a").link_group.unwrap();
    assert_eq!((meta("d/b").link_group, meta("d/b").links), (Some(group), 2));
    assert_ne!(meta("s").link_group, Some(group));
    assert_eq!(meta("s").link_group, meta("t").link_group);
    assert!(group != 0 && meta("single").link_group.is_none() && meta("d").link_group.is_none());
}

#[test]
fn attributes_and_access_lists_come_sorted_and_whole() {
    let root = tree(&["file", "plain", "folder/"]);
    let file = root.path().join("file");
    let large = vec![7; 3000];
    for (name, value) in [("user.z", &b"last"[..]), ("user.a", b""), ("user.large", &large)] {
        rustix::fs::setxattr(&file, name, value, XattrFlags::empty()).unwrap();
    }
    rustix::fs::setxattr(&file, "system.posix_acl_access", &acl(), XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(root.path().join("folder"), "system.posix_acl_default", &acl(), XattrFlags::empty()).unwrap();
    std::os::unix::fs::symlink("file", root.path().join("link")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let link = root.path().join("link");
        rustix::fs::lsetxattr(link, "trusted.own", b"of the link", XattrFlags::empty()).unwrap();
    }
    let steps = steps(&options(root.path()));
    let xattrs = |name: &str| {
        let meta = node(&steps, root.path(), name).clone().complete(&Owners::default()).unwrap().1;
        meta.xattrs.into_iter().map(|x| (String::from_utf8(x.name).unwrap(), x.value)).collect::<Vec<_>>()
    };
    let expected = [
        ("system.posix_acl_access".to_owned(), acl()),
        ("user.a".to_owned(), Vec::new()),
        ("user.large".to_owned(), large),
        ("user.z".to_owned(), b"last".to_vec()),
    ];
    assert_eq!(xattrs("file"), expected);
    assert_eq!(xattrs("folder"), [("system.posix_acl_default".to_owned(), acl())]);
    assert_eq!(xattrs("plain"), []);
    for name in ["file", "plain"] {
        let mut found = node(&steps, root.path(), name).clone();
        let owners = Owners::default();
        let open = found.open().unwrap();
        assert!(open.is_as_opened());
        assert_eq!(found.complete_open(&open, &owners).unwrap(), found.complete(&owners).unwrap());
    }
    let of_link = [("trusted.own".to_owned(), b"of the link".to_vec())];
    assert_eq!(xattrs("link"), of_link[usize::from(!is_root)..]);
}

#[test]
fn owners_have_names_where_the_system_knows_them() {
    let owners = Owners::default();
    let root = owners.get(0, 0);
    assert_eq!((root.user.as_slice(), root.group.as_slice()), (&b"root"[..], &b"root"[..]));
    let nobody = owners.get(3_999_999_999, 3_999_999_998);
    assert_eq!((nobody.uid, nobody.gid, nobody.user.len(), nobody.group.len()), (3_999_999_999, 3_999_999_998, 0, 0));
    assert!(std::sync::Arc::ptr_eq(&root, &owners.get(0, 0)));
}

#[test]
fn holes_are_told_apart_from_data() {
    const MIB: u64 = 1 << 20;
    let root = tree(&["dense"]);
    let file = File::create(root.path().join("sparse")).unwrap();
    file.write_all_at(&[1; 4096], MIB).unwrap();
    file.write_all_at(&[2; 4096], 3 * MIB).unwrap();
    file.set_len(5 * MIB + 1).unwrap();
    File::create(root.path().join("hollow")).unwrap().set_len(MIB).unwrap();
    File::create(root.path().join("empty")).unwrap();
    let steps = steps(&options(root.path()));
    let runs = |name: &str| node(&steps, root.path(), name).open().unwrap().runs().collect::<Vec<_>>();
    let run = |offset, len, is_hole| Run { offset, len, is_hole };
    let expected = [
        run(0, MIB, true),
        run(MIB, 4096, false),
        run(MIB + 4096, 2 * MIB - 4096, true),
        run(3 * MIB, 4096, false),
        run(3 * MIB + 4096, 2 * MIB - 4095, true),
    ];
    assert_eq!(runs("sparse"), expected);
    assert_eq!(runs("hollow"), [run(0, MIB, true)]);
    assert_eq!(runs("dense"), [run(0, 5, false)]);
    assert_eq!(runs("empty"), []);
}

#[test]
fn bytes_are_read_in_order_and_at_offsets_and_growth_is_noticed() {
    let root = tree(&["file"]);
    let path = root.path().join("file");
    fs::write(&path, b"0123456789").unwrap();
    let steps = steps(&options(root.path()));
    let found = node(&steps, root.path(), "file");
    let mut file = found.open().unwrap();
    let mut buffer = [0; 4];
    assert_eq!((file.read_at(&mut buffer, 8).unwrap(), &buffer[..2]), (2, &b"89"[..]));
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "0123456789");
    assert!(found.stat.is_unchanged(&file.stat().unwrap()));
    fs::write(&path, b"0123456789abc").unwrap();
    assert!(!found.stat.is_unchanged(&file.stat().unwrap()));
    assert_eq!(file.stat().unwrap().size, 13);
}

#[test]
fn vanished_and_replaced_nodes_are_told_and_nothing_hangs() {
    let root = tree(&["gone", "pipe", "link", "folder", "other", "d/inner", "d/same"]);
    let at = |name: &str| root.path().join(name);
    let steps = steps(&options(root.path()));
    for name in ["gone", "pipe", "link", "folder"] {
        fs::remove_file(at(name)).unwrap();
    }
    assert!(make(&at("pipe"), FileType::Fifo, 0));
    std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    // Another file, made while the first still has its inode number.
    fs::write(at("new"), b"new").unwrap();
    fs::rename(at("new"), at("other")).unwrap();
    let opened = |name: &str| node(&steps, root.path(), name).open();
    let completed = |name: &str| node(&steps, root.path(), name).clone().complete(&Owners::default());
    assert!(matches!(opened("gone"), Err(Error::Vanished)));
    assert!(matches!(completed("gone"), Err(Error::Vanished)));
    for name in ["pipe", "link", "folder", "other"] {
        assert!(matches!(opened(name), Err(Error::Changed)), "{name}: {:?}", opened(name));
    }
    assert!(matches!(completed("folder"), Err(Error::Changed)));
    // Another look takes what is there now.
    assert_eq!(completed("pipe").unwrap().0, Kind::Fifo);
    assert_eq!(completed("link").unwrap().0, Kind::Symlink("/etc/passwd".into()));
    let mut other = node(&steps, root.path(), "other").clone();
    other.complete(&Owners::default()).unwrap();
    assert_eq!(other.stat.inode, fs::metadata(at("other")).unwrap().ino());
    assert_eq!(other.stat.size, other.open().unwrap().opened().size);
    // Its folder was moved away and another put in its place: the open folder is still the right one.
    fs::rename(at("d"), at("e")).unwrap();
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/inner"), b"false").unwrap();
    let mut text = String::new();
    opened("d/inner").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "d/inner");
    node(&steps, root.path(), "d/inner").folder.close();
    assert!(matches!(opened("d/inner"), Err(Error::Changed)));
}
