//! Removing: what is asked for, all of it, and nothing through links or mounts.

use super::Mounted;
use super::Scratch;
use super::names;
use crate::target::Error;
use crate::target::Options;
use crate::target::Removal;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_tree_goes_and_its_links_are_not_followed() {
    let scratch = Scratch::new();
    for target in scratch.both() {
        for folder in ["tree/a/b/c", "tree/d/e", "tree/f", "stays"] {
            fs::create_dir_all(scratch.at(folder)).unwrap();
        }
        for file in ["tree/1", "tree/a/2", "tree/a/b/3", "tree/d/e/4", "stays/5"] {
            fs::write(scratch.at(file), b"x").unwrap();
        }
        symlink(scratch.outside(), scratch.at("tree/a/out")).unwrap();
        symlink("../../../../outside/sub", scratch.at("tree/d/e/out")).unwrap();
        symlink("../stays", scratch.at("tree/stays")).unwrap();

        assert!(matches!(target.remove(b"tree", Removal::Node), Err(Error::FolderInTheWay { .. })));
        assert_eq!(target.remove(b"tree/f", Removal::Node).unwrap(), 1);
        assert_eq!(target.remove(b"tree/1", Removal::Node).unwrap(), 1);
        assert_eq!(target.remove(b"tree", Removal::Tree).unwrap(), 12);
        assert_eq!(target.remove(b"tree", Removal::Tree).unwrap(), 0);
        assert_eq!(names(&scratch.root()), ["stays"]);
        assert_eq!(names(&scratch.at("stays")), ["5"]);
    }
    scratch.assert_outside_untouched();
}

/// Needs root to mount. An ordinary user has no mounts to lose.
#[test]
fn a_mount_inside_a_tree_is_not_emptied() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.at("tree/mounted")).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&scratch.at("tree/mounted"), c"size=1m") else {
        return;
    };
    fs::write(scratch.at("tree/mounted/kept"), b"x").unwrap();
    for target in scratch.both() {
        let error = target.remove(b"tree", Removal::Tree).unwrap_err();
        assert!(
            matches!(&error, Error::Io { path, source, .. }
                if path == b"tree/mounted" && source.kind() == std::io::ErrorKind::CrossesDevices),
            "{error}"
        );
        assert_eq!(names(&scratch.at("tree/mounted")), ["kept"]);
    }
}

#[test]
fn thousands_of_levels_need_no_handles() {
    const DEPTH: usize = 3000;
    let scratch = Scratch::new();
    let mut at = fs::File::open(scratch.root()).map(std::os::fd::OwnedFd::from).unwrap();
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let target = scratch.target(Options::default());
    assert_eq!(target.remove(b"d", Removal::Tree).unwrap(), DEPTH as u64);
    assert!(names(&scratch.root()).is_empty());
}
