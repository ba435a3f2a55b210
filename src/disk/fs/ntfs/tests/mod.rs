//! Rules of the format, on volumes made by hand.
#![allow(clippy::unwrap_used)]

mod volume;

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::FileSystem;
use crate::disk::fs::NodeKind;
use crate::disk::fs::ntfs;
use crate::disk::fs::ntfs::tests::volume::CLUSTER;
use crate::disk::fs::ntfs::tests::volume::Disk;
use crate::disk::fs::ntfs::tests::volume::FILE;
use crate::disk::fs::ntfs::tests::volume::FOLDER;
use crate::disk::fs::ntfs::tests::volume::FREE;
use crate::disk::fs::ntfs::tests::volume::ROOT;
use crate::disk::fs::ntfs::tests::volume::UNUSED;
use crate::disk::fs::ntfs::tests::volume::entries;
use crate::disk::fs::ntfs::tests::volume::far;
use crate::disk::fs::ntfs::tests::volume::file_name;
use crate::disk::fs::ntfs::tests::volume::index_root;
use crate::disk::fs::ntfs::tests::volume::information;
use crate::disk::fs::ntfs::tests::volume::near;
use crate::disk::fs::ntfs::tests::volume::protect;
use crate::disk::fs::ntfs::tests::volume::reference;
use crate::disk::fs::ntfs::tests::volume::utf16;
use crate::disk::read_runs;

const DATA: u32 = 0x80;

fn names(fs: &mut dyn FileSystem) -> Vec<String> {
    let mut names = Vec::new();
    fs.list(ROOT, 0, &mut |entry| {
        names.push(String::from_utf8(entry.name).unwrap());
        true
    })
    .unwrap();
    names
}

fn content(disk: &Disk, name: &str) -> Result<Vec<u8>> {
    let mut fs = disk.open();
    let node = fs.lookup(ROOT, name.as_bytes())?;
    let mut runs: Vec<Run> = Vec::new();
    fs.map(node, 0..u64::MAX, &mut runs)?;
    read_runs(&disk.source(), &runs)
}

fn reparse(tag: u32, data: &[u8]) -> Vec<u8> {
    let point = [&tag.to_le_bytes()[..], &(data.len() as u16).to_le_bytes(), &[0, 0], data].concat();
    near(0xc0, "", 0, 7, &point)
}

/// One cluster at `lcn`, for `len` bytes.
fn one_cluster(flags: u16, lcn: usize, size: u64, written: u64) -> Vec<u8> {
    far(DATA, flags, 1, &[0x11, 1, lcn as u8], 0, size, written)
}

#[test]
fn a_volume_is_known_by_its_first_sector_or_its_last() {
    let mut disk = Disk::with_file(0, &[near(DATA, "", 0, 1, b"text")]);
    assert!(ntfs::is_ntfs(&disk.source()).unwrap());
    assert_eq!(disk.open().about().notes, [""; 0]);
    assert_eq!(disk.open().about().label, "Test");
    disk.0[..512].fill(0);
    assert!(ntfs::is_ntfs(&disk.source()).unwrap());
    assert_eq!(content(&disk, "file").unwrap(), b"text");
    assert!(disk.open().about().notes[0].contains("copy"));
    assert!(disk.open().used().unwrap().is_none());
    let end = disk.0.len() - 512;
    disk.0[end..].fill(0);
    assert!(!ntfs::is_ntfs(&disk.source()).unwrap());
    disk.0[3..11].copy_from_slice(b"-FVE-FS-");
    let error = ntfs::open(disk.source()).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "BitLocker is not supported");
}

#[test]
fn the_first_records_have_a_mirror() {
    let mut disk = Disk::with_file(0, &[near(DATA, "", 0, 1, b"text")]);
    disk.0[8 * CLUSTER] = 0;
    assert_eq!(content(&disk, "file").unwrap(), b"text");
    assert!(disk.open().about().notes[0].contains("mirror"));
}

#[test]
fn a_file_table_that_cannot_be() {
    let opened = |pairs: &[u8], size| {
        let mut disk = Disk::new();
        disk.record(0, FILE, 0, &[information(6), far(DATA, 0, 1, pairs, 0, size, size)]);
        ntfs::open(disk.source()).map(drop)
    };
    assert!(opened(&[0x11, 64, 8], 65536).is_ok());
    // A hole, and the same clusters twice: whoever looks at all records would not come to an end.
    assert!(matches!(opened(&[0x11, 16, 8, 0x01, 48], 65536), Err(Error::Damaged { .. })));
    assert!(matches!(opened(&[0x12, 0x90, 1, 8, 0x12, 0x90, 1, 0], 700_000), Err(Error::Damaged { .. })));
    assert!(matches!(opened(&[0x11, 8, 8], 65536), Err(Error::Damaged { .. })));
}

#[test]
fn aliases_and_system_files_are_hidden() {
    let mut disk = Disk::new();
    disk.root(&[(reference(4), "$AttrDef", 3), (reference(20), "Long name", 1), (reference(20), "LONGNA~1", 2)]);
    let all = [file_name(ROOT, "LONGNA~1", 2), file_name(ROOT, "Long name", 1)];
    let all = [information(0), near(0x30, "", 0, 1, &all[0]), near(0x30, "", 0, 2, &all[1]), near(DATA, "", 0, 3, &[])];
    disk.record(20, FILE, 0, &all);
    let mut fs = disk.open();
    assert_eq!(names(&mut *fs), ["Long name"]);
    let node = fs.lookup(ROOT, b"Long name").unwrap();
    assert_eq!(fs.node(node).unwrap().links, Some(1));
    for hidden in [&b"LONGNA~1"[..], b"$AttrDef", b"long name", b"\xff"] {
        assert!(matches!(fs.lookup(ROOT, hidden), Err(Error::NotFound)), "{hidden:?}");
    }
}

#[test]
fn names_that_no_file_can_have() {
    for name in ["a/b", "a\0", "..", ""] {
        let mut disk = Disk::new();
        disk.root(&[(reference(20), name, 0)]);
        assert!(matches!(disk.open().list(ROOT, 0, &mut |_| true), Err(Error::Damaged { .. })), "{name:?}");
    }
}

#[test]
fn a_stale_name_leads_nowhere() {
    let mut disk = Disk::with_file(0, &[near(DATA, "", 0, 1, b"text")]);
    disk.root(&[(20 | 2 << 48, "file", 0)]);
    assert!(matches!(content(&disk, "file"), Err(Error::Damaged { .. })));
}

#[test]
fn streams() {
    let streams = [near(DATA, "", 0, 1, b"main"), near(DATA, "a", 0, 2, b"first"), near(DATA, "b", 0, 3, b"second")];
    let disk = Disk::with_file(0, &streams);
    let mut fs = disk.open();
    let file = fs_node(&mut *fs, "file");
    let xattrs = fs.xattrs(file).unwrap();
    let xattrs: Vec<_> = xattrs.iter().map(|x| (x.name.as_slice(), x.value.as_slice())).collect();
    assert_eq!(xattrs, [(&b"user.a"[..], &b"first"[..]), (b"user.b", b"second")]);
    assert_eq!(content(&disk, "file:b").unwrap(), b"second");
    assert_eq!(content(&disk, "file").unwrap(), b"main");
    let stream = fs_node(&mut *fs, "file:b");
    assert_eq!((stream >> 40, fs.node(stream).unwrap().size), (2, 6));
    assert!(fs.xattrs(stream).unwrap().is_empty());
    assert!(matches!(fs.lookup(ROOT, b"file:c"), Err(Error::NotFound)));
    assert!(matches!(fs.list(stream, 0, &mut |_| true), Err(Error::NotAFolder)));
    assert_eq!(names(&mut *fs), ["file"]);
}

fn fs_node(fs: &mut dyn FileSystem, name: &str) -> u64 {
    fs.lookup(ROOT, name.as_bytes()).unwrap()
}

#[test]
fn what_was_not_written_is_zeros() {
    let mut disk = Disk::with_file(0, &[one_cluster(0, FREE, 1000, 3)]);
    disk.put(FREE, &[7; 1024]);
    assert_eq!(content(&disk, "file").unwrap(), [&[7; 3][..], &[0; 997]].concat());
    let disk = Disk::with_file(0, &[one_cluster(0, FREE, 1025, 1025)]);
    assert!(matches!(content(&disk, "file"), Err(Error::Damaged { .. })));
}

#[test]
fn compressed_units() {
    let pairs = [0x11, 1, FREE as u8, 0x01, 15, 0x01, 16];
    let mut disk = Disk::with_file(0, &[far(DATA, 1, 1, &pairs, 0, 20_000, 20_000)]);
    disk.put(FREE, &[0x03, 0xb0, 0x02, b'a', 0xfc, 0x0f, 0, 0]);
    let wanted = [&[b'a'; 4096][..], &[0; 20_000 - 4096]].concat();
    assert_eq!(content(&disk, "file").unwrap(), wanted);
    let disk = Disk::with_file(0, &[far(DATA, 2, 1, &pairs, 0, 20_000, 20_000)]);
    assert!(matches!(content(&disk, "file"), Err(Error::Unsupported { .. })));
}

#[test]
fn encrypted_files_say_so() {
    let disk = Disk::with_file(0, &[near(DATA, "", 0x4000, 1, b"secret"), near(DATA, "s", 0x4000, 2, b"secret")]);
    assert!(matches!(content(&disk, "file"), Err(Error::Encrypted)));
    assert!(matches!(content(&disk, "file:s"), Err(Error::Encrypted)));
    let mut fs = disk.open();
    let node = fs_node(&mut *fs, "file");
    assert!(fs.xattrs(node).unwrap().is_empty());
}

#[test]
fn content_that_is_elsewhere_is_no_content() {
    let hole = || far(DATA, 0x8000, 1, &[0x01, 1], 0, 1000, 1000);
    let text = |error: Error| error.to_string();
    let disk = Disk::with_file(0x400, &[hole(), reparse(0x8000_0013, &[])]);
    assert_eq!(text(content(&disk, "file").unwrap_err()), "data deduplication is not supported");
    let disk = Disk::with_file(0x400, &[hole(), reparse(0x9000_601a, &[])]);
    assert!(text(content(&disk, "file").unwrap_err()).contains("cloud"));
    let mut disk = Disk::with_file(0x400, &[one_cluster(0x8000, FREE, 4, 4), reparse(0x9000_601a, &[])]);
    disk.put(FREE, b"here");
    assert_eq!(content(&disk, "file").unwrap(), b"here");
}

#[test]
fn what_wsl_knows() {
    let mut ea = vec![20, 0, 0, 0, 0, 6, 4, 0];
    ea.extend_from_slice(b"$LXMOD\0\xed\x8d\0\0\0");
    ea.extend([0, 0, 0, 0, 0, 6, 4, 0]);
    ea.extend_from_slice(b"$LXUID\0\xe8\x03\0\0");
    let disk = Disk::with_file(0, &[near(DATA, "", 0, 1, &[]), near(0xe0, "", 0, 2, &ea)]);
    let mut fs = disk.open();
    let id = fs_node(&mut *fs, "file");
    let node = fs.node(id).unwrap();
    assert_eq!((node.kind, node.mode, node.uid, node.gid), (NodeKind::File, Some(0o6755), Some(1000), None));
}

#[test]
fn links_of_windows() {
    let link = |target: &str, relative: u8| {
        let name = utf16(target);
        let data = [&[0, 0, name.len() as u8, 0, 0, 0, 0, 0, relative, 0, 0, 0][..], &name].concat();
        let mut disk = Disk::with_file(0x400, &[near(DATA, "", 0, 1, &[]), reparse(0xa000_000c, &data)]);
        disk.root(&[(reference(20), "file", 0), (reference(21), "Other", 0)]);
        disk.record(21, FILE, 0, &[information(0), near(0x30, "", 0, 1, &file_name(ROOT, "Other", 0))]);
        let mut fs = disk.open();
        let id = fs_node(&mut *fs, "file");
        let target = fs.link(id).unwrap();
        assert_eq!(fs.node(id).unwrap().size, target.len() as u64);
        String::from_utf8(target).unwrap()
    };
    assert_eq!(link("OTHER", 1), "Other");
    assert_eq!(link(".\\nobody\\OTHER", 1), "./nobody/OTHER");
    assert_eq!(link("\\other", 1), "Other");
    assert_eq!(link("\\??\\C:\\other", 0), "Other");
    assert_eq!(link("\\??\\C:\\", 0), ".");
    assert_eq!(link("\\??\\D:\\Nobody", 0), "D:/Nobody");
    assert_eq!(link("\\??\\UNC\\host\\share", 0), "//host/share");
}

#[test]
fn folders_in_a_circle_end() {
    let data = [&[0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0][..], &utf16("x")].concat();
    let mut disk = Disk::with_file(0x400, &[near(DATA, "", 0, 1, &[]), reparse(0xa000_000c, &data)]);
    let name = |parent| near(0x30, "", 0, 9, &file_name(parent, "file", 0));
    disk.record(20, FILE, 0, &[information(0x400), name(21), reparse(0xa000_000c, &data)]);
    disk.record(21, FOLDER, 0, &[information(0), name(21), index_root(&[], None)]);
    let mut fs = disk.open();
    let id = fs_node(&mut *fs, "file");
    assert!(matches!(fs.link(id), Err(Error::Damaged { .. })));
}

#[test]
fn attributes_in_further_records() {
    let entry = |kind: u32, vcn: u64, record: u64, instance: u8| {
        let mut bytes = [&kind.to_le_bytes()[..], &[32, 0, 0, 26], &vcn.to_le_bytes()].concat();
        bytes.extend([reference(record), u64::from(instance)].map(u64::to_le_bytes).concat());
        bytes
    };
    let list = [entry(0x10, 0, 20, 0), entry(0x30, 0, 20, 9), entry(DATA, 0, 21, 4), entry(DATA, 1, 22, 5)].concat();
    let mut disk = Disk::with_file(0, &[near(0x20, "", 0, 8, &list)]);
    let pairs = |lcn: usize| [0x11, 1, lcn as u8];
    disk.record(21, FILE, reference(20), &[far(DATA, 0, 4, &pairs(FREE), 0, 2000, 2000)]);
    disk.record(22, FILE, reference(20), &[far(DATA, 0, 5, &pairs(FREE + 7), 1, 0, 0)]);
    disk.put(FREE, &[1; 1024]);
    disk.put(FREE + 7, &[2; 1024]);
    assert_eq!(content(&disk, "file").unwrap(), [&[1; 1024][..], &[2; 976]].concat());
    // A record of another file must not be taken for a part of this one.
    disk.record(22, FILE, reference(19), &[far(DATA, 0, 5, &pairs(FREE + 7), 1, 0, 0)]);
    assert!(matches!(content(&disk, "file"), Err(Error::Damaged { .. })));
    // Nor may a part be missing.
    disk.record(21, FILE, reference(20), &[far(DATA, 0, 4, &[], 0, 2000, 2000)]);
    assert!(matches!(content(&disk, "file"), Err(Error::Damaged { .. })));
}

#[test]
fn a_tree_that_is_no_tree_ends() {
    let mut disk = Disk::new();
    let blocks = near(0xb0, "$I30", 0, 3, &[1]);
    let mut allocation = far(0xa0, 0, 2, &[0x11, 1, FREE as u8], 0, 1024, 1024);
    // The name goes behind the mapping pairs.
    allocation[9] = 4;
    allocation[0x0a] = allocation.len() as u8;
    allocation.extend(utf16("$I30"));
    allocation[4] = allocation.len() as u8;
    disk.record(ROOT as usize, FOLDER, 0, &[information(0), index_root(&[], Some(0)), allocation, blocks]);
    let mut block = vec![0; 1024];
    let entries = entries(&[(reference(20), "a", 0)], Some(0));
    block[..4].copy_from_slice(b"INDX");
    (block[0x18], block[0x1c], block[0x1d]) = (0x28, 0, 0);
    block[0x1c..0x20].copy_from_slice(&(0x28 + entries.len() as u32).to_le_bytes());
    block[0x40..0x40 + entries.len()].copy_from_slice(&entries);
    protect(&mut block);
    disk.put(FREE, &block);
    let mut fs = disk.open();
    assert_eq!(names(&mut *fs), ["a"]);
    assert!(fs.lookup(ROOT, b"a").is_ok());
    assert!(matches!(fs.lookup(ROOT, b"b"), Err(Error::Damaged { .. })));
}

#[test]
fn a_folder_without_its_blocks_is_not_empty() {
    let mut disk = Disk::new();
    disk.record(ROOT as usize, FOLDER, 0, &[information(0), index_root(&[], Some(0))]);
    assert!(matches!(disk.open().list(ROOT, 0, &mut |_| true), Err(Error::Damaged { .. })));
}

#[test]
fn used_only_of_a_clean_volume() {
    let mut disk = Disk::new();
    let used = disk.open().used().unwrap().unwrap();
    let unused = (UNUSED * CLUSTER) as u64;
    assert_eq!(used, [0..unused, unused + 1024..disk.0.len() as u64]);
    disk.flags(1);
    assert!(disk.open().about().notes[0].contains("dirty"));
    assert!(disk.open().used().unwrap().is_none());
    disk.flags(0);
    // A bitmap that does not know of the file table.
    disk.record(6, FILE, 0, &[near(DATA, "", 0, 1, &[0; 64])]);
    assert!(disk.open().used().unwrap().is_none());
}

#[test]
fn hibernation_and_a_log_that_waits() {
    let mut disk = Disk::new();
    disk.root(&[(reference(20), "HiberFil.sys", 0)]);
    disk.record(20, FILE, 0, &[information(0), near(DATA, "", 0, 1, b"HIBR...")]);
    disk.record(2, FILE, 0, &[near(DATA, "", 0, 1, &[0; 16])]);
    let notes = disk.open().about().notes;
    assert!(notes[0].contains("$LogFile") && notes[1].contains("hibernated"), "{notes:?}");
    assert!(disk.open().used().unwrap().is_none());
}

#[test]
fn metadata_begins_with_what_the_root_needs() {
    let mut ranges = Vec::new();
    let mut fs = Disk::new().open();
    fs.metadata(&mut |range| {
        ranges.push(range);
        true
    })
    .unwrap();
    assert_eq!(ranges[..2], [0..24 << 10, 300 << 10..428 << 10]);
    assert_eq!(ranges[2], 8 << 10..72 << 10);
    let mut count = 0;
    let mut one = |_| {
        count += 1;
        false
    };
    fs.metadata(&mut one).unwrap();
    assert_eq!(count, 1);
}
