//! Rules of names, and of what is looked into.
#![allow(clippy::unwrap_used)]

use super::*;

fn partition(name: &str, kind: &str) -> Partition {
    Partition {
        number: 2,
        range: 0..0,
        kind: kind.to_owned(),
        type_id: String::new(),
        name: name.to_owned(),
        uuid: String::new(),
        bootable: false,
        is_extended: false,
    }
}

#[test]
fn titles_tell_number_name_and_content() {
    let titled = |given: &str, kind: &str, label: &str, content: &str| {
        let partition = partition(given, kind);
        title(2, [&name(Some(&partition), label), kind, "partition"], content)
    };
    assert_eq!(titled("", "EFI system", "", "FAT32"), "2 EFI system (FAT32)");
    assert_eq!(titled("rootfs", "Linux filesystem", "other", "ext4"), "2 rootfs (ext4)");
    assert_eq!(titled("Basic data partition", "Microsoft basic data", "Windows", "NTFS"), "2 Windows (NTFS)");
    assert_eq!(titled("", "", "", ""), "2 partition");
    assert_eq!(titled("", "FAT32", "", "FAT32"), "2 FAT32");
    assert_eq!(title(0, ["", "disk", "partition"], "ext4"), "disk (ext4)");
}

#[test]
fn what_a_plain_mount_hides_is_a_part_beside_it() {
    let titled = |title: &str, kind: &str, is_partial| {
        let about = About { used_bytes: Some(5), is_partial, ..About::default() };
        let (title, kind) = (title.to_owned(), kind.to_owned());
        let whole = whole(&Part { number: 2, title, kind, range: 0..9, about: Some(about), ..Part::default() })?;
        assert_eq!((whole.number, whole.range, whole.about?.used_bytes), (WHOLE_NUMBERS + 2, 0..0, None));
        Some(whole.title)
    };
    assert_eq!(titled("2 rootfs (Btrfs)", "Btrfs", true).as_deref(), Some("2 rootfs (Btrfs, top level)"));
    let inside = titled("2 x (Btrfs in LUKS2)", "Btrfs in LUKS2", true);
    assert_eq!(inside.as_deref(), Some("2 x (Btrfs in LUKS2, top level)"));
    assert_eq!(titled("2 Btrfs", "Btrfs", true).as_deref(), Some("2 Btrfs (Btrfs, top level)"));
    assert_eq!(titled("2 rootfs (Btrfs)", "Btrfs", false), None);
}

#[test]
fn titles_can_be_names_of_folders() {
    let long = "é".repeat(200);
    for name in ["../../etc", "a/b\\c:d*e?f\"g<h>i|j", "\u{202e}gpj\u{0}\n\u{7f}", "...", " . ", long.as_str()] {
        let title = title(7, [name, "", "partition"], name);
        assert!(title.starts_with("7 ") && title.len() <= TITLE_BYTES_MAX, "{title}");
        assert!(!title.contains(|c: char| c.is_control() || "/\\:*?\"<>|\u{202e}".contains(c)), "{title}");
        assert!(!title.ends_with([' ', '.']), "{title:?}");
    }
}

#[test]
fn a_disk_without_a_table_is_one_part() {
    let disk: Source = Arc::new(vec![0; 1 << 20]);
    let layout = read(&disk, Look::All).unwrap();
    assert_eq!(layout.parts.len(), 1);
    assert_eq!((layout.parts[0].title.as_str(), layout.parts[0].range.clone()), ("disk", 0..1 << 20));
    let nothing: Source = Arc::new(Vec::new());
    assert_eq!(read(&nothing, Look::All).unwrap().parts.len(), 1);
}

#[test]
fn an_optical_disc_with_partitions_inside_is_a_part_of_its_own() {
    let mut disk = vec![0; 1 << 20];
    disk[32768..32774].copy_from_slice(b"\x01CD001");
    let kinds = |disk: &[u8]| -> Vec<(u32, String)> {
        let disk: Source = Arc::new(disk.to_vec());
        read(&disk, Look::All).unwrap().parts.into_iter().map(|part| (part.number, part.kind)).collect()
    };
    let iso = "ISO 9660".to_owned();
    assert_eq!(kinds(&disk), [(0, iso.clone())]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[446 + 16 + 4] = 0xef;
    disk[446 + 16 + 8] = 100;
    disk[446 + 16 + 12] = 10;
    assert_eq!(kinds(&disk), [(0, iso.clone()), (2, String::new())]);
    // The first partition is the disc itself.
    disk[446 + 13] = 4;
    assert_eq!(kinds(&disk), [(1, iso), (2, String::new())]);
}

fn known_kind(at: usize, mark: &[u8]) -> String {
    let mut disk = vec![0; 1 << 20];
    disk[at..at + mark.len()].copy_from_slice(mark);
    let disk: Source = Arc::new(disk);
    read(&disk, Look::All).unwrap().parts.swap_remove(0).kind
}

#[test]
fn what_is_known_by_its_mark() {
    assert_eq!(known_kind(0, b"LUKS\xba\xbe\0\x02"), "LUKS2");
    assert_eq!(known_kind(3, b"-FVE-FS-"), "BitLocker");
    assert_eq!(known_kind(3, b"ReFS\0\0\0\0"), "ReFS");
    assert_eq!(known_kind(32, b"NXSB"), "APFS");
    assert_eq!(known_kind(1024, b"H+\0\x04"), "HFS+");
    assert_eq!(known_kind(1024, b"\x10\x20\xf5\xf2"), "F2FS");
    assert_eq!(known_kind(4086, b"SWAPSPACE2"), "swap");
    assert_eq!(known_kind(132 << 10, b"\x0c\xb1\xba\0\0\0\0\0"), "ZFS");
    assert_eq!(known_kind(512, b"LABELONE\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0LVM2 001"), "LVM2");
    assert_eq!(known_kind(0, b"just bytes"), "");
    let mut raid = vec![0; 152];
    raid[..8].copy_from_slice(b"\xfc\x4e\x2b\xa9\x01\0\0\0");
    raid[144] = 8;
    assert_eq!(known_kind(4096, &raid), "Linux RAID member");
}

#[test]
fn what_is_in_a_box_is_not_taken_for_what_lies_there() {
    let mut disk = vec![0; 1 << 20];
    disk[0..4].copy_from_slice(b"XFSB");
    // A superblock of version 1.0, 8 KiB before the end: of a mirror the content can be seen, of stripes it cannot.
    let at = (1 << 20) - (8 << 10);
    disk[at..at + 8].copy_from_slice(b"\xfc\x4e\x2b\xa9\x01\0\0\0");
    disk[at + 144..at + 152].copy_from_slice(&(at as u64 / 512).to_le_bytes());
    for (level, is_sealed) in [(1, false), (0, true), (5, true)] {
        disk[at + 72] = level;
        let sealed = magic::sealed_kind(&disk, 0..1 << 20).unwrap();
        assert_eq!(sealed.is_some(), is_sealed, "level {level}");
    }
}
