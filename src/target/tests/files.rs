//! Content of files, replacing, leftovers, long paths, a full disk.

use super::Mounted;
use super::Scratch;
use super::meta;
use super::mode_of;
use super::names;
use super::put;
use super::root_folder;
use super::set_mode;
use crate::target::Error;
use crate::target::Obstacle;
use crate::target::Options;
use crate::target::Removal;
use crate::target::Target;
use crate::target::is_part_name;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;

const GIB: u64 = 1 << 30;

#[test]
fn a_huge_sparse_file_has_its_holes() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let file = target.begin_file(&root_folder(&target), b"huge", 5 * GIB).unwrap();
    std::thread::scope(|scope| {
        for gib in [4, 0, 2] {
            let file = &file;
            scope.spawn(move || file.write_at(gib * GIB, format!("at {gib}").as_bytes()).unwrap());
        }
    });
    file.finish(&meta(0o644)).unwrap();

    let found = fs::metadata(scratch.at("huge")).unwrap();
    assert_eq!(found.len(), 5 * GIB);
    assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
    let opened = target.open_existing(b"huge").unwrap().unwrap();
    assert_eq!(opened.existing().size, 5 * GIB);
    let mut buffer = [1; 8];
    for (offset, expected) in [(4 * GIB, b"at 4\0\0\0\0"), (2 * GIB, b"at 2\0\0\0\0"), (GIB, b"\0\0\0\0\0\0\0\0")] {
        assert_eq!(opened.read_at(offset, &mut buffer).unwrap(), 8);
        assert_eq!(&buffer, expected);
    }
    assert_eq!(opened.read_at(5 * GIB - 3, &mut buffer).unwrap(), 3);
    assert_eq!(opened.read_at(5 * GIB, &mut buffer).unwrap(), 0);
}

#[test]
fn without_sparse_the_space_is_taken() {
    let scratch = Scratch::new();
    let target = scratch.target(Options { sparse: false, ..Options::default() });
    let file = target.begin_file(&root_folder(&target), b"full", 1 << 20).unwrap();
    file.finish(&meta(0o644)).unwrap();
    let found = fs::metadata(scratch.at("full")).unwrap();
    assert_eq!((found.len(), found.blocks() * 512 >= 1 << 20), (1 << 20, true));
}

#[test]
fn hostile_sizes_are_errors_and_leave_nothing() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let root = root_folder(&target);
    assert!(matches!(target.begin_file(&root, b"x", u64::MAX), Err(Error::Io { .. })));
    let file = target.begin_file(&root, b"x", 0).unwrap();
    assert!(file.write_at(u64::MAX - 1, b"abc").is_err());
    assert!(file.set_len(u64::MAX).is_err());
    drop(file);
    assert!(names(&scratch.root()).is_empty());
}

#[test]
fn the_old_file_stays_until_the_new_one_is_whole() {
    let scratch = Scratch::new();
    for target in scratch.both() {
        let root = root_folder(&target);
        fs::write(scratch.at("name"), b"old").unwrap();
        set_mode(&scratch.at("name"), 0o400);
        let file = target.begin_file(&root, b"name", 3).unwrap();
        file.write_at(0, b"new").unwrap();
        assert_eq!(fs::read(scratch.at("name")).unwrap(), b"old");
        let part = names(&scratch.root()).into_iter().find(|name| is_part_name(name.as_bytes())).unwrap();
        assert_eq!(mode_of(&scratch.at(&part)), 0o600, "nobody else may read an unfinished file");

        drop(file);
        assert_eq!(
            (names(&scratch.root()), fs::read(scratch.at("name")).unwrap()),
            (vec!["name".into()], b"old".into())
        );

        put(&target, &root, b"name", b"new").unwrap();
        assert_eq!(fs::read(scratch.at("name")).unwrap(), b"new");
        assert_eq!((names(&scratch.root()), mode_of(&scratch.at("name"))), (vec!["name".into()], 0o644));
        fs::remove_file(scratch.at("name")).unwrap();
    }
}

#[test]
fn an_empty_folder_is_replaced_a_full_one_reported() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let root = root_folder(&target);
    fs::create_dir(scratch.at("empty")).unwrap();
    fs::create_dir_all(scratch.at("full/x")).unwrap();
    put(&target, &root, b"empty", b"file").unwrap();
    assert_eq!(fs::read(scratch.at("empty")).unwrap(), b"file");
    let error = put(&target, &root, b"full", b"file").unwrap_err();
    assert!(matches!(error, Error::FolderInTheWay { ref path } if path == b"full"), "{error}");
    assert_eq!(names(&scratch.root()), ["empty", "full"]);
}

#[test]
fn existing_files_and_states() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.at("folder")).unwrap();
    fs::write(scratch.at("folder/file"), b"content").unwrap();
    for target in scratch.both() {
        let found = target.state(b"folder/file").unwrap().unwrap();
        let expected = fs::metadata(scratch.at("folder/file")).unwrap();
        assert_eq!((found.size, found.id.inode, found.mtime.secs), (7, expected.ino(), expected.mtime()));
        assert_eq!(i64::from(found.mtime.nanos), expected.mtime_nsec());
        let folder = target.folder(b"folder", Obstacle::Report).unwrap();
        assert!(!folder.is_new());
        assert_eq!(target.state_in(&folder, b"file").unwrap(), Some(found));
        assert_eq!(target.state_in(&folder, b"none").unwrap(), None);
        assert_eq!(target.state(b"none/none").unwrap(), None);
        assert!(target.state(b"").unwrap().is_some());
        assert_eq!(target.names(&folder).unwrap(), [b"file"]);
        assert!(target.open_existing(b"folder").unwrap().is_none());
        assert!(target.open_existing(b"folder/none").unwrap().is_none());
    }
}

#[test]
fn open_creates_the_target_with_its_parents() {
    let scratch = Scratch::new();
    let target = Target::open(&scratch.at("x/y/z"), Options::default()).unwrap();
    put(&target, &root_folder(&target), b"file", b"").unwrap();
    assert!(scratch.at("x/y/z/file").is_file());
    let error = Target::open(&scratch.at("x/y/z/file/w"), Options::default()).unwrap_err();
    assert!(error.to_string().contains("x/y/z/file/w"), "{error}");
    target.sync().unwrap();
}

#[test]
fn leftovers_are_removed_and_nothing_else() {
    let scratch = Scratch::new();
    let target = scratch.target(Options::default());
    let other = scratch.target(Options::default());
    let root = root_folder(&target);
    let name = |digit: char| format!(".bygone-{}.part", digit.to_string().repeat(24));
    fs::write(scratch.at(&name('a')), b"half").unwrap();
    fs::write(scratch.at(&name('b')), b"closed").unwrap();
    set_mode(&scratch.at(&name('b')), 0);
    fs::create_dir(scratch.at(&name('c'))).unwrap();
    symlink(scratch.outside().join("victim"), scratch.at(&name('d'))).unwrap();
    fs::write(scratch.at(".bygone-mine.part"), b"a file of the user").unwrap();
    let own = target.begin_file(&root, b"own", 0).unwrap();
    let running = other.begin_file(&root_folder(&other), b"running", 0).unwrap();

    assert_eq!(target.remove_leftovers(&root).unwrap(), 2);
    own.finish(&meta(0o644)).unwrap();
    running.finish(&meta(0o644)).unwrap();
    let mut expected = vec![name('c'), name('d'), ".bygone-mine.part".into(), "own".into(), "running".into()];
    expected.sort();
    assert_eq!(names(&scratch.root()), expected);
    scratch.assert_outside_untouched();
}

#[test]
fn paths_longer_than_the_kernel_takes() {
    let scratch = Scratch::new();
    for target in scratch.both() {
        let parts: Vec<_> = (0..400).map(|depth| format!("folder-number-{depth:04}")).collect();
        let path = parts.join("/").into_bytes();
        assert!(path.len() > 4096 + 2048);
        let folder = target.folder(&path, Obstacle::Report).unwrap();
        assert!(folder.is_new());
        assert!(!target.folder(&path, Obstacle::Report).unwrap().is_new());
        let file = [&path[..], b"/file"].concat();
        let id = put(&target, &folder, b"file", b"far down").unwrap().id;
        assert_eq!(target.state(&file).unwrap().unwrap().id, id);
        let mut buffer = [0; 8];
        target.open_existing(&file).unwrap().unwrap().read_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"far down");
        let root = root_folder(&target);
        target.hard_link(&file, id, &root, b"near").unwrap();
        target.hard_link(b"near", id, &folder, b"far").unwrap();
        target.symlink(&folder, b"link", b"file", &meta(0o777)).unwrap();
        assert!(target.finish_folder(&path, &meta(0o711)).unwrap().is_empty());
        assert_eq!(target.state(&path).unwrap().unwrap().mode, 0o711);
        assert_eq!(target.remove(b"folder-number-0000", Removal::Tree).unwrap(), 403);
        assert_eq!(names(&scratch.root()), ["near"]);
        fs::remove_file(scratch.at("near")).unwrap();
    }
}

#[test]
fn errors_tell_what_to_do() {
    let of = |number| Error::Io { verb: "write", path: b"a/b".to_vec(), source: io::Error::from_raw_os_error(number) };
    let kinds = |number| {
        let error = of(number);
        [error.is_full(), error.is_read_only(), error.is_denied(), error.is_not_found()]
    };
    for (number, expected) in [(28, 0), (122, 0), (30, 1), (13, 2), (1, 2), (2, 3)] {
        let expected = [0, 1, 2, 3].map(|place| place == expected);
        assert_eq!(kinds(number), expected, "errno {number}");
    }
    assert_eq!(of(28).to_string(), "cannot write 'a/b'");
}

/// Needs root to mount a small file system. An ordinary user checks a file system that is always full.
#[test]
fn a_full_disk_is_told_apart() {
    let scratch = Scratch::new();
    let Some(mounted) = Mounted::tmpfs(&scratch.root(), c"size=1m") else {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let source = full.write_at(b"x", 0).unwrap_err();
        assert!(Error::Io { verb: "write", path: Vec::new(), source }.is_full());
        return;
    };
    let target = scratch.target(Options::default());
    let root = root_folder(&target);
    let file = target.begin_file(&root, b"big", 2 << 20).unwrap();
    let error = file.write_at(0, &vec![1; 2 << 20]).unwrap_err();
    assert!(error.is_full(), "{error}: {:?}", std::error::Error::source(&error));
    drop(file);
    assert!(names(&scratch.root()).is_empty());
    put(&target, &root, b"small", b"fits again").unwrap();

    let target = scratch.target(Options { sparse: false, ..Options::default() });
    assert!(target.begin_file(&root, b"big", 2 << 20).unwrap_err().is_full(), "told before anything is written");
    assert_eq!(names(&scratch.root()), ["small"]);
    drop((target, root, mounted));
}

/// Needs root to mount.
#[test]
fn a_read_only_file_system_is_told_apart() {
    let scratch = Scratch::new();
    let Some(_mounted) = Mounted::tmpfs(&scratch.root(), c"size=1m") else {
        return errors_tell_what_to_do();
    };
    let target = scratch.target(Options::default());
    rustix::mount::mount_remount(scratch.root(), rustix::mount::MountFlags::RDONLY, c"").unwrap();
    assert!(put(&target, &root_folder(&target), b"file", b"").unwrap_err().is_read_only());
    assert!(target.folder(b"new", Obstacle::Report).unwrap_err().is_read_only());
}
