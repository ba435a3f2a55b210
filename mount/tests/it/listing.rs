//! Listings: complete, stable, taken up anywhere, cheap.

use crate::shown::Shown;
use crate::shown::show;
use bygone_mount::drive::ROOT;
use bygone_mount::memory::MemoryBuilder;
use rustix::fs::Dir;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use std::fs;
use std::path::Path;

fn open(path: &Path) -> Dir {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Dir::new(rustix::fs::open(path, flags, Mode::empty()).unwrap()).unwrap()
}

/// Name, number and position after each entry.
fn entries(dir: &mut Dir) -> Vec<(String, u64, i64)> {
    let entry =
        |entry: rustix::fs::DirEntry| (entry.file_name().to_str().unwrap().to_owned(), entry.ino(), entry.offset());
    dir.map(|read| entry(read.unwrap())).collect()
}

#[test]
fn a_listing_can_be_taken_up_at_every_position() {
    for late in [false, true] {
        let mut builder = MemoryBuilder::new();
        let folder = builder.folder(ROOT, "folder");
        let mut expected = vec![".".to_owned(), "..".to_owned()];
        for number in 0..700 {
            // Names of very different length, so that buffers end at all kinds of places.
            let name = format!("{number:04}{}", "x".repeat(number * 7 % 240));
            builder.file(folder, &name, "");
            expected.push(name);
        }
        if late {
            builder.late();
        }
        let shown = show(builder);
        // The first listing comes from the drive, the second from the kernel's memory.
        for round in 0..2 {
            let mut dir = open(&shown.path("folder"));
            let all = entries(&mut dir);
            assert!(all.iter().map(|entry| &entry.0).eq(&expected), "late {late}, round {round}");
            assert_eq!((all[0].1, all[1].1), (folder, ROOT));
            for at in (0..all.len()).rev().step_by(37) {
                dir.seek(all[at].2).unwrap();
                let next = dir.read().map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned());
                assert_eq!(next.as_ref(), expected.get(at + 1), "after {at}, late {late}, round {round}");
            }
        }
    }
}

#[test]
fn a_position_is_good_in_a_folder_that_was_never_listed() {
    let mut builder = MemoryBuilder::new();
    builder.crowd(ROOT, "crowd", "member-", 5000);
    let shown = show(builder);
    let mut dir = open(&shown.path("crowd"));
    // Positions are cursors: after `.`, `..` and 4321 members.
    dir.seek(4321 + 2).unwrap();
    let rest = entries(&mut dir);
    assert_eq!((rest.len(), rest[0].0.as_str()), (5000 - 4321, "member-0004321"));
    dir.seek(1).unwrap();
    assert_eq!(dir.read().unwrap().unwrap().file_name(), c"..");
}

#[test]
fn a_folder_of_a_million_files_lists_completely() {
    const FILES: u64 = 1_000_000;
    let mut builder = MemoryBuilder::new();
    builder.crowd(ROOT, "crowd", "f", FILES);
    let shown = show(builder);
    let (sum, counts) = shown.counted(|| {
        let names = fs::read_dir(shown.path("crowd")).unwrap().map(|entry| entry.unwrap().file_name());
        let numbers = names.map(|name| name.to_str().unwrap()[1..].parse::<u64>().unwrap());
        numbers.fold((0, 0), |(count, sum), number| (count + 1, sum + number))
    });
    assert_eq!(sum, (FILES, FILES * (FILES - 1) / 2));
    // 168 bytes an entry in buffers of 32 KiB.
    assert!(counts.readdirplus <= FILES / 190 + 2, "{counts:?}");
    assert_eq!(counts.readdir, 0);
}

fn walk(folder: &Path) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        found += 1 + if metadata.is_dir() { walk(&entry.path()) } else { 0 };
    }
    found
}

fn hundred_thousand_files() -> Shown {
    let mut builder = MemoryBuilder::new();
    for folder in 0..1000 {
        let folder = builder.folder(ROOT, &format!("folder{folder:04}"));
        for file in 0..100 {
            builder.file(folder, &format!("file{file:02}.txt"), "");
        }
    }
    show(builder)
}

#[test]
fn a_walk_needs_two_requests_for_each_folder_and_none_for_a_file() {
    let shown = hundred_thousand_files();
    let (found, cold) = shown.counted(|| walk(shown.dir.path()));
    assert_eq!(found, 101_000);
    assert!(cold.total() <= 3000, "cold walk: {cold:?}");
    assert_eq!((cold.lookup, cold.readdir), (0, 0), "{cold:?}");
    let warm = shown.cheapest(|| assert_eq!(walk(shown.dir.path()), 101_000));
    assert!(warm.total() <= cold.total() / 100, "warm walk: {warm:?}");
}

#[test]
fn find_with_attributes_needs_as_few_requests() {
    let shown = hundred_thousand_files();
    let find = || std::process::Command::new("find").arg(shown.dir.path()).arg("-ls").output().unwrap();
    let (output, counts) = shown.counted(find);
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 101_001);
    assert!(counts.total() <= 3000, "{counts:?}");
}

#[test]
fn ls_asks_for_no_file_of_a_large_folder_by_name() {
    for xattrs in [false, true] {
        let mut builder = MemoryBuilder::new();
        builder.crowd(ROOT, "crowd", "member-", 10_000);
        if xattrs {
            builder.xattr(ROOT, "user.note", "x");
        }
        let shown = show(builder);
        let ls = || std::process::Command::new("ls").arg("-l").arg(shown.path("crowd")).output().unwrap();
        let (output, counts) = shown.counted(ls);
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 10_001);
        assert!(counts.lookup <= 1 && counts.getattr <= 1 && counts.readdirplus <= 60, "{counts:?}");
        // Without any extended attribute the kernel asks once and never again.
        assert!(xattrs || counts.getxattr + counts.listxattr <= 2, "{counts:?}");
    }
}

#[test]
fn names_first_and_attributes_later_needs_no_look_ups() {
    let mut builder = MemoryBuilder::new();
    builder.crowd(ROOT, "crowd", "member-", 10_000);
    let shown = show(builder);
    let (sizes, counts) = shown.counted(|| {
        let paths: Vec<_> = fs::read_dir(shown.path("crowd")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.iter().map(|path| fs::symlink_metadata(path).unwrap().len()).sum::<u64>()
    });
    assert_eq!(sizes, 10_000 * "member-0000000".len() as u64);
    assert!(counts.lookup <= 1 && counts.getattr <= 1 && counts.readdirplus <= 60, "{counts:?}");
}
