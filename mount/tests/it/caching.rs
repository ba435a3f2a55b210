//! What the kernel remembers: everything, for ever, since a drive never changes.

use crate::shown::show;
use bygone_mount::drive::ROOT;
use bygone_mount::memory::MemoryBuilder;
use bygone_mount::memory::pattern;
use std::fs;
use std::io;

#[test]
fn a_missing_name_is_looked_up_once() {
    let mut builder = MemoryBuilder::new();
    builder.folder(ROOT, "folder");
    let shown = show(builder);
    let stat = || fs::symlink_metadata(shown.path("folder/missing")).unwrap_err().kind();
    let (kind, first) = shown.counted(stat);
    assert_eq!((kind, first.lookup), (io::ErrorKind::NotFound, 2), "{first:?}");
    let (kind, second) = shown.counted(stat);
    assert_eq!((kind, second.total()), (io::ErrorKind::NotFound, 0), "{second:?}");
}

#[test]
fn a_name_and_its_attributes_are_asked_once() {
    let mut builder = MemoryBuilder::new();
    builder.file(ROOT, "f", "x");
    let shown = show(builder);
    let stat = || fs::symlink_metadata(shown.path("f")).unwrap().len();
    let (_, first) = shown.counted(stat);
    assert_eq!(first.lookup, 1);
    let (_, second) = shown.counted(stat);
    assert_eq!(second.total(), 0, "{second:?}");
}

#[test]
fn content_stays_in_memory_across_opens() {
    let mut builder = MemoryBuilder::new();
    builder.pattern_file(ROOT, "big", 8 << 20);
    builder.file(ROOT, "small", "small");
    let shown = show(builder);
    let (content, first) = shown.counted(|| fs::read(shown.path("big")).unwrap());
    assert!(content == pattern(0, 8 << 20));
    assert!(first.read > 0);
    let again = shown.cheapest(|| assert!(fs::read(shown.path("big")).unwrap() == content));
    assert_eq!(again.total(), 0, "{again:?}");
    // Opening was learnt to be needless: a new small file costs its name and its content.
    let (_, small) = shown.counted(|| fs::read(shown.path("small")).unwrap());
    assert_eq!((small.lookup, small.read, small.total()), (1, 1, 2), "{small:?}");
}

#[test]
fn reads_are_large() {
    let mut builder = MemoryBuilder::new();
    builder.pattern_file(ROOT, "big", 64 << 20);
    let shown = show(builder);
    let (_, counts) = shown.counted(|| fs::read(shown.path("big")).unwrap());
    // Root raises the read-ahead to 1 MiB, everybody else gets the kernel's 128 KiB.
    let reads_max = if rustix::process::geteuid().is_root() { 64 + 16 } else { 512 + 16 };
    assert!(counts.read <= reads_max, "{counts:?}");
}
