//! What programs see: names, content, attributes, links, holes.

use crate::shown::errno;
use crate::shown::show;
use bygone_mount::drive::DriveError;
use bygone_mount::drive::DriveTime;
use bygone_mount::drive::FileKind;
use bygone_mount::drive::Ino;
use bygone_mount::drive::ROOT;
use bygone_mount::memory::MemoryBuilder;
use bygone_mount::memory::pattern;
use bytes::Bytes;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Sizes around every border there is: page, FUSE transfer, read-ahead.
const SIZES: [u64; 9] = [0, 1, 4095, 4096, 4097, 131_071, 1 << 20, (1 << 20) + 1, 5_000_001];

fn tree(builder: &mut MemoryBuilder, folder: Ino, path: &Path, depth: u32, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for (number, size) in SIZES.into_iter().enumerate().skip(depth as usize) {
        let name = format!("file {number} ä");
        let content = pattern(number as u64 * 8, size as usize);
        builder.file(folder, &name, content.clone());
        all.insert(path.join(name), content);
    }
    for number in 0..3 {
        if depth < 3 {
            let name = format!("folder{number}");
            let inner = builder.folder(folder, &name);
            tree(builder, inner, &path.join(name), depth + 2, all);
        }
    }
}

fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, root, found);
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_walk_finds_everything_bit_for_bit() {
    for late in [false, true] {
        let mut builder = MemoryBuilder::new();
        let mut expected = BTreeMap::new();
        tree(&mut builder, ROOT, Path::new(""), 0, &mut expected);
        if late {
            builder.late();
        }
        let shown = show(builder);
        let mut found = BTreeMap::new();
        walk(shown.dir.path(), shown.dir.path(), &mut found);
        assert!(found.keys().eq(expected.keys()), "late {late}");
        assert!(found == expected, "content differs, late {late}");
    }
}

#[test]
fn random_access_reads_the_right_bytes() {
    let mut builder = MemoryBuilder::new();
    let size = 3 << 30;
    builder.pattern_file(ROOT, "big", size);
    let shown = show(builder);
    let file = File::open(shown.path("big")).unwrap();
    let mut buffer = vec![0; 70_000];
    for offset in [0, 1, 4095, 1_000_003, (2 << 30) - 35_000, size - 70_000] {
        file.read_exact_at(&mut buffer, offset).unwrap();
        assert!(buffer == pattern(offset, buffer.len()), "at {offset}");
    }
    assert_eq!(file.read_at(&mut buffer, size - 10).unwrap(), 10);
    assert_eq!(file.read_at(&mut buffer, size).unwrap(), 0);
}

#[test]
fn attributes_arrive_unchanged() {
    let mut builder = MemoryBuilder::new();
    let ino = builder.file(ROOT, "old", "abc");
    builder.change(ino, |attr| {
        attr.mtime = DriveTime { secs: -2, nanos: 800_000_001 };
        attr.ctime = DriveTime { secs: 5_000_000_000, nanos: 999_999_999 };
        attr.mode = 0o4751;
        (attr.uid, attr.gid) = (12_345, 54_321);
        attr.allocated = 700;
    });
    builder.special(ROOT, "pipe", FileKind::Fifo, (0, 0));
    builder.special(ROOT, "socket", FileKind::Socket, (0, 0));
    builder.special(ROOT, "disk", FileKind::BlockDevice, (259, 300));
    builder.special(ROOT, "null", FileKind::CharDevice, (1, 3));
    let shown = show(builder);
    let old = fs::symlink_metadata(shown.path("old")).unwrap();
    assert_eq!((old.mtime(), old.mtime_nsec()), (-2, 800_000_001));
    assert_eq!((old.ctime(), old.ctime_nsec()), (5_000_000_000, 999_999_999));
    assert_eq!((old.mode() & 0o7777, old.uid(), old.gid()), (0o4751, 12_345, 54_321));
    assert_eq!((old.ino(), old.size(), old.blocks()), (ino, 3, 2));
    let kind = |name| fs::symlink_metadata(shown.path(name)).unwrap();
    assert!(kind("pipe").file_type().is_fifo());
    assert!(kind("socket").file_type().is_socket());
    assert!(kind("disk").file_type().is_block_device());
    assert!(kind("null").file_type().is_char_device());
    assert_eq!(kind("disk").rdev(), rustix::fs::makedev(259, 300));
    assert!(File::open(shown.path("null")).is_err(), "devices must not work on a drive");
}

#[test]
fn links_are_links() {
    let mut builder = MemoryBuilder::new();
    let folder = builder.folder(ROOT, "folder");
    let file = builder.file(folder, "a", "one content");
    builder.hard_link(ROOT, "b", file);
    builder.symlink(ROOT, "to-a", "folder/a");
    builder.symlink(ROOT, "broken", "../nowhere at all");
    let shown = show(builder);
    let (a, b) = (fs::metadata(shown.path("folder/a")).unwrap(), fs::metadata(shown.path("b")).unwrap());
    assert_eq!((a.ino(), a.nlink()), (b.ino(), 2));
    assert_eq!(fs::read_to_string(shown.path("to-a")).unwrap(), "one content");
    assert_eq!(fs::read_link(shown.path("broken")).unwrap(), Path::new("../nowhere at all"));
    assert_eq!(fs::metadata(shown.path("broken")).unwrap_err().kind(), io::ErrorKind::NotFound);
    let (target, counts) = shown.counted(|| fs::read_link(shown.path("broken")).unwrap());
    assert_eq!((target.as_path(), counts.readlink), (Path::new("../nowhere at all"), 0));
}

#[test]
fn holes_are_found_and_kept_by_cp() {
    const MIB: u64 = 1 << 20;
    let mut builder = MemoryBuilder::new();
    let piece = |at: u64| (at * MIB, Bytes::from(pattern(at, MIB as usize)));
    builder.sparse(ROOT, "image", 64 * MIB, [piece(3), piece(40)]);
    let shown = show(builder);
    let file = File::open(shown.path("image")).unwrap();
    let seek = |from| rustix::fs::seek(&file, from);
    assert_eq!(seek(SeekFrom::Data(0)), Ok(3 * MIB));
    assert_eq!(seek(SeekFrom::Hole(3 * MIB)), Ok(4 * MIB));
    assert_eq!(seek(SeekFrom::Data(4 * MIB)), Ok(40 * MIB));
    assert_eq!(seek(SeekFrom::Data(41 * MIB)), Err(Errno::NXIO));
    assert_eq!(seek(SeekFrom::Hole(64 * MIB)), Err(Errno::NXIO));
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy");
    let status = Command::new("cp").arg("--sparse=auto").arg(shown.path("image")).arg(&copy).status().unwrap();
    assert!(status.success());
    let metadata = fs::metadata(&copy).unwrap();
    assert_eq!(metadata.size(), 64 * MIB);
    assert!(metadata.blocks() * 512 < 4 * MIB, "holes were filled: {} blocks", metadata.blocks());
    assert!(fs::read(&copy).unwrap() == fs::read(shown.path("image")).unwrap());
}

#[test]
fn extended_attributes_follow_the_size_protocol() {
    let mut builder = MemoryBuilder::new();
    let file = builder.file(ROOT, "f", "x");
    builder.xattr(file, "user.note", "twelve bytes");
    builder.xattr(file, "user.empty", "");
    builder.xattr(file, "user.huge", vec![7; 70_000]);
    builder.file(ROOT, "plain", "x");
    let shown = show(builder);
    let path = shown.path("f");
    let get = |name: &str, size| {
        let mut value = vec![0; size];
        rustix::fs::getxattr(&path, name, &mut value[..]).map(|len| value[..len].to_vec())
    };
    assert_eq!(rustix::fs::getxattr_query(&path, "user.note"), Ok(12));
    assert_eq!(get("user.note", 12).unwrap(), b"twelve bytes");
    assert_eq!(get("user.note", 200).unwrap(), b"twelve bytes");
    assert_eq!(get("user.note", 11), Err(Errno::RANGE));
    assert_eq!(get("user.empty", 1).unwrap(), b"");
    assert_eq!(get("user.none", 12), Err(Errno::NODATA));
    assert_eq!(get("user.huge", 65_536), Err(Errno::TOOBIG));
    let names = b"user.empty\0user.huge\0user.note\0";
    assert_eq!(rustix::fs::listxattr_query(&path), Ok(names.len()));
    let mut list = [0; 100];
    let len = rustix::fs::listxattr(&path, &mut list[..]).unwrap();
    assert_eq!(&list[..len], names);
    assert_eq!(rustix::fs::listxattr(&path, &mut list[..5]), Err(Errno::RANGE));
    assert_eq!(rustix::fs::listxattr_query(shown.path("plain")), Ok(0));
}

#[test]
fn nothing_can_be_written() {
    let mut builder = MemoryBuilder::new();
    builder.file(ROOT, "f", "x");
    let folder = builder.folder(ROOT, "d");
    builder.file(folder, "g", "y");
    let shown = show(builder);
    let (f, new) = (shown.path("f"), shown.path("new"));
    let refused: Vec<(&str, io::Result<()>)> = vec![
        ("create", File::create(&new).map(drop)),
        ("open to write", OpenOptions::new().write(true).open(&f).map(drop)),
        ("truncate", OpenOptions::new().append(true).truncate(false).open(&f).map(drop)),
        ("remove", fs::remove_file(&f)),
        ("remove folder", fs::remove_dir(shown.path("d"))),
        ("make folder", fs::create_dir(&new)),
        ("rename", fs::rename(&f, &new)),
        ("hard link", fs::hard_link(&f, &new)),
        ("symlink", std::os::unix::fs::symlink("x", &new)),
        ("mode", fs::set_permissions(&f, fs::Permissions::from_mode(0o777))),
        ("owner", std::os::unix::fs::chown(&f, Some(1), Some(1))),
        ("xattr", {
            let value = CString::new("v").unwrap();
            rustix::fs::setxattr(&f, "user.a", value.as_bytes(), rustix::fs::XattrFlags::empty()).map_err(Into::into)
        }),
    ];
    for (what, result) in refused {
        assert_eq!(errno(&result.expect_err(what)), Errno::ROFS, "{what}");
    }
}

#[test]
fn the_volume_is_full_and_protected() {
    let mut builder = MemoryBuilder::new();
    builder.pattern_file(ROOT, "f", 10_000_000);
    let shown = show(builder);
    let volume = rustix::fs::statvfs(shown.dir.path()).unwrap();
    assert_eq!((volume.f_blocks * volume.f_frsize).div_ceil(10_000_000), 2);
    assert_eq!((volume.f_bavail, volume.f_files, volume.f_namemax), (0, 2, 255));
    let options = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = options.lines().find(|line| line.contains(shown.dir.path().to_str().unwrap())).unwrap();
    for option in ["ro", "nosuid", "nodev", "noatime", "default_permissions"] {
        assert!(line.split([' ', ',']).any(|word| word == option), "{option} missing in {line}");
    }
    assert!(line.contains("fuse.bygone"), "{line}");
}

#[test]
fn errors_of_the_drive_reach_the_program_and_nobody_else() {
    let mut builder = MemoryBuilder::new();
    for (name, fault) in [("io", DriveError::Io), ("denied", DriveError::Denied), ("late", DriveError::TimedOut)] {
        let ino = builder.file(ROOT, name, "content");
        builder.fail(ino, fault);
    }
    let folder = builder.folder(ROOT, "folder");
    builder.fail(folder, DriveError::Io);
    builder.file(ROOT, "good", "content");
    let shown = show(builder);
    for (name, expected) in [("io", Errno::IO), ("denied", Errno::ACCESS), ("late", Errno::IO)] {
        assert_eq!(errno(&fs::read(shown.path(name)).unwrap_err()), expected, "{name}");
    }
    let listed = fs::read_dir(shown.path("folder")).unwrap().next().unwrap();
    assert_eq!(errno(&listed.unwrap_err()), Errno::IO);
    assert_eq!(fs::read_dir(shown.dir.path()).unwrap().count(), 5);
    assert_eq!(fs::read_to_string(shown.path("good")).unwrap(), "content");
}

#[test]
fn a_drive_without_extended_attributes_says_so_once() {
    let mut builder = MemoryBuilder::new();
    builder.file(ROOT, "f", "x");
    let shown = show(builder);
    let get = || rustix::fs::getxattr_query(shown.path("f"), "user.a");
    let (result, first) = shown.counted(get);
    assert_eq!((result, first.getxattr), (Err(Errno::OPNOTSUPP), 1));
    let (result, second) = shown.counted(get);
    assert_eq!((result, second.getxattr), (Err(Errno::OPNOTSUPP), 0));
}
