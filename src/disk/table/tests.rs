//! Rules of partition tables, on disks made here.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::disk::crc32::crc32;
use crate::disk::guid::Guid;

const MIB: u64 = 1 << 20;

fn write(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An entry of a boot record in its first sector: kind, first sector, sectors.
fn entry(disk: &mut [u8], record: usize, n: usize, kind: u8, start: u32, count: u32) {
    let at = record * 512 + 446 + n * 16;
    disk[at + 4] = kind;
    write(disk, at + 8, &start.to_le_bytes());
    write(disk, at + 12, &count.to_le_bytes());
    write(disk, record * 512 + 510, &[0x55, 0xaa]);
}

fn mbr(entries: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut disk = vec![0; (16 * MIB) as usize];
    for (n, (kind, start, count)) in entries.iter().enumerate() {
        entry(&mut disk, 0, n, *kind, *start, *count);
    }
    write(&mut disk, 440, &[0x78, 0x56, 0x34, 0x12]);
    disk
}

fn numbers(table: &Table) -> Vec<(u32, u64, u64)> {
    table.partitions.iter().map(|p| (p.number, p.range.start / 512, p.range.end / 512)).collect()
}

#[test]
fn logical_partitions_count_from_five() {
    let mut disk = mbr(&[(0x83, 100, 50), (0x0f, 1000, 2000)]);
    entry(&mut disk, 1000, 0, 0x83, 10, 20);
    entry(&mut disk, 1000, 1, 0x05, 500, 100);
    entry(&mut disk, 1500, 0, 0x82, 10, 30);
    let table = read(&disk).unwrap();
    assert_eq!(table.kind, TableKind::Mbr);
    assert_eq!(numbers(&table), [(1, 100, 150), (2, 1000, 3000), (5, 1010, 1030), (6, 1510, 1540)]);
    assert_eq!(table.partitions[2].uuid, "12345678-05");
    assert!(table.notes.is_empty(), "{:?}", table.notes);
}

#[test]
fn a_chain_that_bites_its_tail_ends() {
    let mut disk = mbr(&[(0x05, 1000, 2000)]);
    entry(&mut disk, 1000, 0, 0x83, 10, 20);
    entry(&mut disk, 1000, 1, 0x05, 500, 100);
    entry(&mut disk, 1500, 0, 0x83, 10, 20);
    entry(&mut disk, 1500, 1, 0x05, 500, 100);
    let table = read(&disk).unwrap();
    assert_eq!(table.partitions.len(), 3);
    assert!(table.notes[0].contains("does not end"));
}

#[test]
fn partitions_stay_within_the_disk() {
    let last = (16 * MIB / 512) as u32;
    let disk = mbr(&[(0x83, 100, 200), (0x83, 250, 100), (0x83, last - 10, 20), (0x83, u32::MAX, u32::MAX)]);
    let table = read(&disk).unwrap();
    assert_eq!(numbers(&table), [(1, 100, 300), (2, 250, 350), (3, u64::from(last) - 10, u64::from(last))]);
    let notes = table.notes.join("\n");
    for note in ["1 and 2 overlap", "Partition 3 ends behind", "Partition 4 is not within"] {
        assert!(notes.contains(note), "{notes}");
    }
}

fn boot_sector_of_fat() -> Vec<u8> {
    let mut disk = vec![0; (16 * MIB) as usize];
    write(&mut disk, 0, &[0xeb, 0x3c, 0x90]);
    write(&mut disk, 3, b"mkfs.fat");
    write(&mut disk, 11, &[0, 2, 4, 1, 0, 2, 0, 2, 0, 0x80, 0xf8]);
    write(&mut disk, 510, &[0x55, 0xaa]);
    disk
}

#[test]
fn a_boot_sector_of_fat_is_no_table() {
    let mut disk = boot_sector_of_fat();
    assert_eq!(read(&disk).unwrap().kind, TableKind::None);
    // Code or text in the place of the entries.
    write(&mut disk, 446, b"Non-system disk. Press any key to reboot. Non-system disk.");
    assert_eq!(read(&disk).unwrap().kind, TableKind::None);
    // The entry of `mkfs.fat --mbr` covers the disk, its boot sector included.
    let mut disk = boot_sector_of_fat();
    entry(&mut disk, 0, 0, 0x0c, 0, (16 * MIB / 512) as u32);
    assert_eq!(read(&disk).unwrap().kind, TableKind::None);
    // Boot loaders leave a parameter block in records that are tables all the same.
    entry(&mut disk, 0, 0, 0x0c, 2048, 2048);
    assert_eq!(read(&disk).unwrap().kind, TableKind::Mbr);
}

#[test]
fn an_mbr_of_large_sectors_is_told_by_what_it_leads_to() {
    let mut disk = mbr(&[(0x83, 256, 1024)]);
    write(&mut disk, 256 * 4096, b"XFSB");
    let table = read(&disk).unwrap();
    assert_eq!((table.sector_bytes, table.partitions[0].range.clone()), (4096, MIB..5 * MIB));
}

#[test]
fn an_mbr_of_large_sectors_is_told_by_its_logical_partitions() {
    let mut disk = mbr(&[(0x83, 256, 256), (0x05, 512, 2000)]);
    entry(&mut disk, 512 * 8, 0, 0x83, 256, 200);
    let table = read(&disk).unwrap();
    assert_eq!((table.sector_bytes, table.partitions.len()), (4096, 3));
    assert_eq!(table.partitions[2].range, 768 * 4096..968 * 4096);
    // No chain is whole: sectors are small.
    disk[512 * 4096 + 510] = 0;
    assert_eq!(read(&disk).unwrap().sector_bytes, 512);
}

/// A GPT with both headers, and an entry of 256 bytes each for what `partitions` say.
fn gpt(sector: usize, partitions: &[(u64, u64, &str)]) -> Vec<u8> {
    let mut disk = vec![0; (16 * MIB) as usize];
    entry(&mut disk, 0, 0, 0xee, 1, u32::MAX);
    let last = disk.len() / sector - 1;
    let mut entries = vec![0; 128 * 256];
    for (n, (first, last, name)) in partitions.iter().enumerate() {
        let at = n * 256;
        let linux = Guid::new(0x0fc63daf, 0x8483, 0x4772, 0x8e79, 0x3d69d8477de4);
        write(&mut entries, at, &linux.0);
        entries[at + 16] = n as u8 + 1;
        write(&mut entries, at + 32, &first.to_le_bytes());
        write(&mut entries, at + 40, &last.to_le_bytes());
        for (n, unit) in name.encode_utf16().enumerate() {
            write(&mut entries, at + 56 + n * 2, &unit.to_le_bytes());
        }
    }
    let sectors = entries.len() / sector;
    for (this, other, entries_at) in [(1, last, 2), (last, 1, last - sectors)] {
        let mut header = vec![0; 92];
        write(&mut header, 0, b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (at, number) in [(24, this), (32, other), (40, 2 + sectors), (48, last - sectors - 1), (72, entries_at)] {
            write(&mut header, at, &(number as u64).to_le_bytes());
        }
        write(&mut header, 80, &128u32.to_le_bytes());
        write(&mut header, 84, &256u32.to_le_bytes());
        write(&mut header, 88, &crc32(&entries).to_le_bytes());
        let sum = crc32(&header);
        write(&mut header, 16, &sum.to_le_bytes());
        write(&mut disk, this * sector, &header);
        write(&mut disk, entries_at * sector, &entries);
    }
    disk
}

#[test]
fn gpt_in_both_sizes_of_sectors() {
    for sector in [512, 4096] {
        let table = read(&gpt(sector, &[(100, 199, "größe 𝄞"), (200, 200, "")])).unwrap();
        assert_eq!((table.kind, table.sector_bytes as usize), (TableKind::Gpt, sector));
        let ranges: Vec<_> = table.partitions.iter().map(|p| p.range.start..p.range.end).collect();
        let sector = sector as u64;
        assert_eq!(ranges, [100 * sector..200 * sector, 200 * sector..201 * sector]);
        assert_eq!(
            (table.partitions[0].name.as_str(), table.partitions[0].kind.as_str()),
            ("größe 𝄞", "Linux filesystem")
        );
        assert!(table.notes.is_empty(), "{:?}", table.notes);
    }
}

#[test]
fn either_half_of_a_gpt_is_enough() {
    let whole = gpt(512, &[(100, 199, "one")]);
    let last = whole.len() - 512;
    let partitions = read(&whole).unwrap().partitions;
    for (broken, note) in
        [(512 + 40, "primary GPT is damaged"), (1024 + 16, "primary GPT is damaged"), (last, "backup GPT is damaged")]
    {
        let mut disk = whole.clone();
        disk[broken] ^= 1;
        let table = read(&disk).unwrap();
        assert_eq!(table.partitions, partitions);
        assert!(table.notes[0].contains(note), "{:?}", table.notes);
    }
    let mut disk = whole.clone();
    disk[512] = 0;
    disk[last] = 0;
    assert!(matches!(read(&disk), Err(crate::disk::Error::Damaged { .. })));
    let mut disk = whole;
    disk[..512].fill(0);
    let table = read(&disk).unwrap();
    assert_eq!(table.partitions, partitions);
    assert!(table.notes[0].contains("protective MBR is missing"));
}

#[test]
fn hopeless_numbers_in_a_gpt_are_dropped() {
    let table = read(&gpt(512, &[(u64::MAX, u64::MAX, ""), (200, 100, ""), (300, u64::MAX, "")])).unwrap();
    assert_eq!(numbers(&table), [(3, 300, 16 * MIB / 512)]);
}

#[test]
fn the_small_and_the_empty() {
    for len in [0, 1, 511, 512, 513, 4096] {
        assert_eq!(read(&vec![0; len]).unwrap().kind, TableKind::None);
        assert!(matches!(read(&vec![0xff; len]), Ok(table) if table.kind == TableKind::None));
    }
}
