//! Hard links, symbolic links and special nodes.

use super::Scratch;
use super::meta;
use super::put;
use super::root_folder;
use crate::meta::Kind;
use crate::target::Error;
use crate::target::Obstacle;
use crate::target::Options;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;

#[test]
fn hard_links_share_the_inode() {
    let scratch = Scratch::new();
    for target in scratch.both() {
        let (a, b) = (target.folder(b"a", Obstacle::Report).unwrap(), target.folder(b"b/c", Obstacle::Report).unwrap());
        let id = put(&target, &a, b"one", b"shared").unwrap().id;
        target.hard_link(b"a/one", id, &b, b"two").unwrap();
        fs::write(scratch.at("b/c/three"), b"in the way").unwrap();
        target.hard_link(b"b/c/two", id, &b, b"three").unwrap();
        target.hard_link(b"b/c/two", id, &b, b"three").unwrap();
        for path in ["a/one", "b/c/two", "b/c/three"] {
            let found = target.state(path.as_bytes()).unwrap().unwrap();
            assert_eq!((found.id, found.links), (id, 3), "{path}");
        }
        assert_eq!(super::names(&scratch.at("b/c")), ["three", "two"]);
        fs::remove_dir_all(scratch.at("a")).unwrap();
        fs::remove_dir_all(scratch.at("b")).unwrap();
    }
}

#[test]
fn only_what_was_restored_gets_another_name() {
    let scratch = Scratch::new();
    let victim = scratch.outside().join("victim");
    for target in scratch.both() {
        let root = root_folder(&target);
        let id = put(&target, &root, b"one", b"").unwrap().id;
        let refused = || match target.hard_link(b"one", id, &root, b"two") {
            Err(Error::Changed { path }) => path == b"one",
            _ => false,
        };
        fs::rename(scratch.at("one"), scratch.at("kept")).unwrap();
        assert!(refused(), "gone");
        symlink(&victim, scratch.at("one")).unwrap();
        assert!(refused(), "a link to the outside");
        fs::remove_file(scratch.at("one")).unwrap();
        symlink("kept", scratch.at("one")).unwrap();
        assert!(refused(), "a link to the right file is still a link");
        fs::remove_file(scratch.at("one")).unwrap();
        fs::write(scratch.at("one"), b"").unwrap();
        assert!(refused(), "another file");
        fs::remove_file(scratch.at("one")).unwrap();
        fs::create_dir(scratch.at("one")).unwrap();
        assert!(refused(), "a folder");
        fs::remove_dir(scratch.at("one")).unwrap();
        assert_eq!(super::names(&scratch.root()), ["kept"]);
        fs::remove_file(scratch.at("kept")).unwrap();
    }
    scratch.assert_outside_untouched();
}

#[test]
fn a_symbolic_link_can_have_two_names() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let root = root_folder(&target);
    let id = target.symlink(&root, b"one", bytes_of_victim(&scratch).as_bytes(), &meta(0o777)).unwrap().id;
    target.hard_link(b"one", id, &root, b"two").unwrap();
    let found = fs::symlink_metadata(scratch.at("two")).unwrap();
    assert!(found.is_symlink());
    assert_eq!((found.ino(), found.nlink()), (id.inode, 2));
    scratch.assert_outside_untouched();
}

fn bytes_of_victim(scratch: &Scratch) -> String {
    scratch.outside().join("victim").to_str().unwrap().to_owned()
}

#[test]
fn links_keep_their_target_and_time() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let root = root_folder(&target);
    for stored in [&b"a/b"[..], b"/", b"..", b"\xff\n", &[b'x'; 4095]] {
        let placed = target.symlink(&root, b"link", stored, &meta(0o777)).unwrap();
        assert!(placed.missed.is_empty(), "{:?}", placed.missed);
        let found = target.state(b"link").unwrap().unwrap();
        assert_eq!(found.kind, Kind::Symlink(stored.to_vec()));
        assert_eq!((found.mtime, found.id), (meta(0).mtime, placed.id));
    }
    for hostile in [&b""[..], b"a\0b", &[b'x'; 4096]] {
        assert!(matches!(target.symlink(&root, b"bad", hostile, &meta(0o777)), Err(Error::Io { .. })));
    }
    assert_eq!(super::names(&scratch.root()), ["link"]);
}

#[test]
fn pipes_and_sockets() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let root = root_folder(&target);
    for (name, kind) in [(&b"pipe"[..], Kind::Fifo), (b"socket", Kind::Socket)] {
        let placed = target.special(&root, name, &kind, &meta(0o641)).unwrap();
        assert!(placed.missed.is_empty(), "{:?}", placed.missed);
        let found = target.state(name).unwrap().unwrap();
        assert_eq!((found.kind, found.mode, found.mtime), (kind, 0o641, meta(0).mtime));
        assert!(target.open_existing(name).unwrap().is_none(), "never opened");
    }
    for kind in [Kind::File, Kind::Folder, Kind::Symlink(b"x".to_vec())] {
        assert!(matches!(target.special(&root, b"no", &kind, &meta(0)), Err(Error::Io { .. })));
    }
}

#[test]
fn devices_only_with_privilege() {
    let scratch = Scratch::new();
    let kinds = [Kind::CharDevice { major: 1, minor: 3 }, Kind::BlockDevice { major: 259, minor: 70_000 }];
    let target = scratch.target(Options::default());
    for kind in &kinds {
        let error = target.special(&root_folder(&target), b"device", kind, &meta(0o600)).unwrap_err();
        assert!(matches!(error, Error::Unprivileged { .. }), "{error}");
    }
    let target = scratch.target(super::privileged());
    let root = root_folder(&target);
    for kind in &kinds {
        let made = target.special(&root, b"device", kind, &meta(0o640));
        // Needs root; for others the system refuses.
        if super::is_root() {
            assert!(made.unwrap().missed.is_empty());
            let found = target.state(b"device").unwrap().unwrap();
            assert_eq!((&found.kind, found.mode, found.mtime), (kind, 0o640, meta(0).mtime));
        } else {
            assert!(made.unwrap_err().is_denied());
        }
    }
    // Numbers the kernel would cut down to those of another device.
    for (major, minor) in [(4096 + 1, 3), (1, (1 << 20) + 3), (u32::MAX, u32::MAX)] {
        let error = target.special(&root, b"bad", &Kind::CharDevice { major, minor }, &meta(0o600)).unwrap_err();
        assert!(matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::InvalidInput));
    }
    assert!(target.state(b"bad").unwrap().is_none());
}
