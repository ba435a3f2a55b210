//! FAT volumes put together in memory.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::disk::fs::fat::heap::Heap;

const SECTOR: usize = 512;
/// Boot sector, table, root folder of 16 entries.
const HEAP: usize = 3 * SECTOR;

/// A FAT12 volume of 61 clusters, a sector each.
struct Image(Vec<u8>);

impl Image {
    fn new() -> Image {
        let mut image = Image(vec![0; 64 * SECTOR]);
        boot_sector(&mut image.0, 1, 64);
        image.link(0, 0xFF8);
        image.link(1, 0xFFF);
        image
    }

    fn link(&mut self, cluster: usize, value: u16) {
        let at = SECTOR + cluster * 3 / 2;
        let old = u16::from_le_bytes([self.0[at], self.0[at + 1]]);
        let new = if cluster % 2 == 0 { old & 0xF000 | value } else { old & 0xF | value << 4 };
        self.0[at..at + 2].copy_from_slice(&new.to_le_bytes());
    }

    fn chain(&mut self, clusters: &[u16]) {
        for (at, cluster) in clusters.iter().enumerate() {
            self.link(usize::from(*cluster), clusters.get(at + 1).copied().unwrap_or(0xFFF));
            let start = HEAP + (usize::from(*cluster) - 2) * SECTOR;
            self.0[start..start + SECTOR].fill(at as u8 + 1);
        }
    }

    /// The `at`th entry of the root folder.
    fn entry(&mut self, at: usize, name: &[u8; 11], attributes: u8, first: u16, size: u32) {
        let mut raw = [0; 32];
        raw[..11].copy_from_slice(name);
        raw[11] = attributes;
        raw[26..28].copy_from_slice(&first.to_le_bytes());
        raw[28..].copy_from_slice(&size.to_le_bytes());
        self.0[2 * SECTOR + at * 32..][..32].copy_from_slice(&raw);
    }

    fn open(self) -> Box<dyn FileSystem> {
        let source: Source = std::sync::Arc::new(self.0);
        assert!(is_fat(&source).unwrap());
        open(&source).unwrap()
    }
}

fn boot_sector(image: &mut [u8], table_sectors: u16, sectors: u32) {
    image[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
    image[11..13].copy_from_slice(&512u16.to_le_bytes());
    (image[13], image[14], image[16], image[17], image[21]) = (1, 1, 1, 16, 0xF8);
    image[22..24].copy_from_slice(&table_sectors.to_le_bytes());
    image[32..36].copy_from_slice(&sectors.to_le_bytes());
    (image[38], image[510], image[511]) = (0x29, 0x55, 0xAA);
    image[39..43].copy_from_slice(&0x1234_ABCDu32.to_le_bytes());
}

fn names(fs: &mut dyn FileSystem, cursor: u64) -> Vec<String> {
    let mut names = Vec::new();
    fs.list(ROOT, cursor, &mut |entry| {
        names.push(String::from_utf8(entry.name).unwrap());
        true
    })
    .unwrap();
    names
}

fn why(error: Error) -> &'static str {
    match error {
        Error::Damaged { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn files_are_where_their_chains_lead() {
    let mut image = Image::new();
    image.entry(0, b"MY LABEL   ", 0x08, 0, 0);
    image.entry(1, b"A       TXT", 0x20, 5, 1800);
    image.chain(&[5, 6, 3, 60]);
    let mut fs = image.open();
    let about = fs.about();
    assert_eq!((about.kind.as_str(), about.label.as_str(), about.uuid.as_str()), ("FAT12", "MY LABEL", "1234-ABCD"));
    let id = fs.lookup(ROOT, b"A.TXT").unwrap();
    assert_eq!((fs.node(id).unwrap().size, fs.node(id).unwrap().allocated), (1800, Some(2048)));
    let mut runs = Vec::new();
    fs.map(id, 500..5000, &mut runs).unwrap();
    let below = |cluster: u64, from: u64, len| Run::Below { offset: HEAP as u64 + (cluster - 2) * 512 + from, len };
    assert_eq!(runs, [below(5, 500, 524), below(3, 0, 512), below(60, 0, 264)]);
    let used = fs.used().unwrap().unwrap();
    let at = |cluster: u64| HEAP as u64 + (cluster - 2) * 512;
    assert_eq!(used, [0..HEAP as u64, at(3)..at(4), at(5)..at(7), at(60)..at(61)]);
}

#[test]
fn chains_that_do_not_end_well() {
    for (last, rule) in [
        (3, "its chain is a ring"),
        (5, "its chain is a ring"),
        (6, "its chain is a ring"),
        (0, "its chain goes on in a free cluster"),
        (0xFF7, "its chain goes on in a bad cluster"),
        (1, "its chain leads nowhere"),
        (63, "its chain leads nowhere"),
        (0xFFF, "its chain ends before it"),
    ] {
        let mut image = Image::new();
        image.entry(0, b"A       TXT", 0x20, 5, 1800);
        image.chain(&[5, 6, 3]);
        image.link(3, last);
        let error = image.open().map(HEAP as u64 / 32 - 16, 0..1800, &mut Vec::new()).unwrap_err();
        assert_eq!(why(error), rule, "{last:#x}");
    }
}

#[test]
fn listings_go_on_behind_every_entry() {
    let mut image = Image::new();
    image.entry(0, b"ONE        ", 0x20, 0, 0);
    image.entry(1, b"\xE5GONE      ", 0x20, 0, 0);
    image.entry(2, b"TWO        ", 0x10, 9, 0);
    image.entry(3, b"THREE      ", 0x20, 0, 0);
    image.entry(5, b"BEHIND     ", 0x20, 0, 0);
    let mut fs = image.open();
    assert_eq!(names(&mut *fs, 0), ["ONE", "TWO", "THREE"]);
    assert_eq!(names(&mut *fs, 1), ["TWO", "THREE"]);
    assert_eq!(names(&mut *fs, 3), ["THREE"]);
    assert!(names(&mut *fs, 4).is_empty());
    assert_eq!(names(&mut *fs, 5), ["BEHIND"]);
    assert!(names(&mut *fs, u64::MAX).is_empty());
    assert!(matches!(fs.lookup(ROOT, b"BEHIND"), Err(Error::NotFound)));
    let one = fs.lookup(ROOT, b"ONE").unwrap();
    assert!(matches!(fs.list(one, 0, &mut |_| true), Err(Error::NotAFolder)));
    assert!(matches!(fs.node(one + 1), Err(Error::NotFound)));
    assert!(matches!(fs.node(u64::MAX), Err(Error::NotFound)));
}

#[test]
fn a_name_that_is_none_is_damage() {
    let mut image = Image::new();
    image.entry(0, b"A/B        ", 0x20, 0, 0);
    let error = image.open().list(ROOT, 0, &mut |_| true).unwrap_err();
    assert_eq!(why(error), "its name is none");
}

#[test]
fn the_kind_is_a_matter_of_the_count_of_clusters() {
    for (clusters, table_sectors, width) in [
        (4084, 12, Some(Width::Bits12)),
        (4085, 16, Some(Width::Bits16)),
        (65_524, 256, Some(Width::Bits16)),
        (65_525, 256, None),
    ] {
        let mut sector = [0; SECTOR];
        boot_sector(&mut sector, table_sectors, 2 + u32::from(table_sectors) + clusters);
        let boot = BootSector::read(&sector);
        assert_eq!(boot.map(|boot| boot.width).ok(), width, "{clusters}");
    }
}

#[test]
fn what_is_no_boot_sector() {
    let image = Image::new().0;
    for at in [0, 11, 13, 14, 16, 17, 21, 510] {
        let mut other = image.clone();
        other[at] = if at == 11 { 1 } else { 0 };
        assert!(!BootSector::is_fat(&other[..SECTOR]), "{at}");
    }
    assert!(!BootSector::is_fat(&image[..100]));
    assert!(BootSector::is_fat(&image[..SECTOR]));
}

#[test]
fn every_place_of_a_long_chain_is_found() {
    // FAT16 with 30 000 clusters, all of them one chain that jumps to and fro.
    const CLUSTERS: usize = 30_000;
    let heap = Heap { start: 1 << 20, cluster_bytes: 512, count: CLUSTERS as u32 };
    let order: Vec<u16> = (0..CLUSTERS).map(|n| (n * 7919 % CLUSTERS) as u16 + 2).collect();
    let mut table = vec![0; (CLUSTERS + 2) * 2];
    for (at, cluster) in order.iter().enumerate() {
        let next = order.get(at + 1).copied().unwrap_or(0xFFFF);
        table[usize::from(*cluster) * 2..][..2].copy_from_slice(&next.to_le_bytes());
    }
    let source: Source = std::sync::Arc::new(table);
    let table = Table::new(source.clone(), 0, Width::Bits16, heap);
    let mut clusters = Clusters::new(source, heap, table);
    let place = Place::Chain(u32::from(order[0]));
    for index in (0..CLUSTERS).rev().step_by(37).chain((0..CLUSTERS).step_by(41)) {
        let piece = clusters.piece(place, index as u64 * 512 + 1, 100).unwrap();
        let start = heap.offset(u32::from(order[index])) + 1;
        assert_eq!(piece, start..start + 100);
    }
    assert!(clusters.piece(place, CLUSTERS as u64 * 512, 1).unwrap().is_empty());
}

#[test]
fn metadata_begins_with_the_root() {
    let mut image = Image::new();
    image.entry(0, b"FOLDER     ", 0x10, 9, 0);
    image.link(9, 0xFFF);
    // A folder in itself.
    let inner = HEAP + 7 * SECTOR;
    let copy = image.0[2 * SECTOR..][..32].to_vec();
    image.0[inner..][..32].copy_from_slice(&copy);
    let mut ranges = Vec::new();
    let all = image.open().metadata(&mut |range| {
        ranges.push(range);
        true
    });
    all.unwrap();
    let root = 2 * SECTOR as u64..HEAP as u64;
    assert_eq!(ranges[0], 0..512);
    assert_eq!(ranges[2], root);
    assert_eq!(ranges[4], inner as u64..inner as u64 + 512);
}
