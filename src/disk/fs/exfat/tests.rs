//! exFAT volumes put together in memory.
#![allow(clippy::unwrap_used)]

use super::*;

const SECTOR: usize = 512;
/// Boot region, its copy, 8 sectors of table.
const TABLE: usize = 24 * SECTOR;
const HEAP: usize = 32 * SECTOR;
const CLUSTERS: u32 = 100;
const ROOT_CLUSTER: u32 = 3;

/// A volume of 100 clusters, a sector each; cluster 2 is the bitmap, cluster 3 the root.
struct Image(Vec<u8>);

impl Image {
    fn new() -> Image {
        let mut image = Image(vec![0; HEAP + CLUSTERS as usize * SECTOR]);
        image.0[..11].copy_from_slice(b"\xEB\x76\x90EXFAT   ");
        let sectors = (image.0.len() / SECTOR) as u64;
        image.0[72..80].copy_from_slice(&sectors.to_le_bytes());
        for (at, number) in [(80, 24), (84, 8), (88, 32), (92, CLUSTERS), (96, ROOT_CLUSTER), (100, 0x1234_ABCD)] {
            image.0[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        image.0[105] = 1;
        (image.0[108], image.0[109], image.0[110]) = (9, 0, 1);
        image.0[510..512].copy_from_slice(&[0x55, 0xAA]);
        image.link(2, u32::MAX);
        image.link(ROOT_CLUSTER, u32::MAX);
        image.cluster(2)[0] = 0b11;
        let mut bitmap = [0; 32];
        (bitmap[0], bitmap[20], bitmap[24]) = (entry_type::BITMAP, 2, 13);
        image.cluster(ROOT_CLUSTER)[..32].copy_from_slice(&bitmap);
        let mut label = [0; 32];
        (label[0], label[1], label[2], label[4]) = (entry_type::LABEL, 2, b'A', b'B');
        image.cluster(ROOT_CLUSTER)[32..64].copy_from_slice(&label);
        image
    }

    fn link(&mut self, cluster: u32, value: u32) {
        self.0[TABLE + cluster as usize * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }

    fn cluster(&mut self, cluster: u32) -> &mut [u8] {
        &mut self.0[HEAP + (cluster as usize - 2) * SECTOR..]
    }

    fn open(mut self) -> Result<Box<dyn FileSystem>> {
        let sum = self.0[..11 * SECTOR].iter().enumerate().filter(|(at, _)| !matches!(at, 106 | 107 | 112));
        let sum = sum.fold(0u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
        for stored in self.0[11 * SECTOR..12 * SECTOR].chunks_mut(4) {
            stored.copy_from_slice(&sum.to_le_bytes());
        }
        self.open_as_is()
    }

    fn open_as_is(self) -> Result<Box<dyn FileSystem>> {
        let source: Source = std::sync::Arc::new(self.0);
        assert!(is_exfat(&source).unwrap());
        open(&source)
    }
}

struct Stream {
    attributes: u8,
    flags: u8,
    first: u32,
    size: u64,
    valid: u64,
}

/// A set with a name of one part, its checksum right.
fn set(name: &str, stream: &Stream) -> Vec<u8> {
    let mut set = vec![0; 96];
    (set[0], set[1], set[4], set[32], set[64]) =
        (entry_type::FILE, 2, stream.attributes, entry_type::STREAM, entry_type::NAME);
    (set[33], set[35]) = (stream.flags, name.len() as u8);
    set[40..48].copy_from_slice(&stream.valid.to_le_bytes());
    set[52..56].copy_from_slice(&stream.first.to_le_bytes());
    set[56..64].copy_from_slice(&stream.size.to_le_bytes());
    for (at, unit) in name.encode_utf16().enumerate() {
        set[66 + at * 2..][..2].copy_from_slice(&unit.to_le_bytes());
    }
    let summed = set.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
    let sum = summed.fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)));
    set[2..4].copy_from_slice(&sum.to_le_bytes());
    set
}

fn file(first: u32, size: u64, valid: u64, is_straight: bool) -> Stream {
    Stream { attributes: 0x20, flags: if is_straight { 3 } else { 1 }, first, size, valid }
}

fn below(cluster: u64, from: u64, len: u64) -> Run {
    Run::Below { offset: HEAP as u64 + (cluster - 2) * 512 + from, len }
}

#[test]
fn what_was_never_written_is_zeros() {
    for is_straight in [true, false] {
        let mut image = Image::new();
        image.cluster(ROOT_CLUSTER)[64..160].copy_from_slice(&set("half", &file(5, 1500, 700, is_straight)));
        if !is_straight {
            image.link(5, 9);
            image.link(9, 7);
            image.link(7, u32::MAX);
        }
        let mut fs = image.open().unwrap();
        assert_eq!(fs.about().label, "AB");
        let id = fs.lookup(ROOT, b"half").unwrap();
        let mut runs = Vec::new();
        fs.map(id, 500..9000, &mut runs).unwrap();
        let zeros = Run::Zero { len: 800 };
        match is_straight {
            true => assert_eq!(runs, [below(5, 500, 200), zeros]),
            false => assert_eq!(runs, [below(5, 500, 12), below(9, 0, 188), zeros]),
        }
        runs.clear();
        fs.map(id, 1000..1200, &mut runs).unwrap();
        assert_eq!(runs, [Run::Zero { len: 200 }]);
    }
}

#[test]
fn sets_go_on_in_the_next_cluster() {
    for is_straight in [true, false] {
        let mut image = Image::new();
        let folder = Stream { attributes: 0x10, ..file(10, 1024, 1024, is_straight) };
        image.cluster(ROOT_CLUSTER)[64..160].copy_from_slice(&set("folder", &folder));
        let second = if is_straight { 11 } else { 20 };
        image.link(10, second);
        image.link(second, u32::MAX);
        // Ten unused entries before five sets of three.
        let sets: Vec<u8> = (0..5).flat_map(|n| set(&format!("n{n}"), &file(0, 0, 0, false))).collect();
        let entries = [[1].repeat(320), sets].concat();
        image.cluster(10)[..512].copy_from_slice(&entries[..512]);
        image.cluster(second)[..entries.len() - 512].copy_from_slice(&entries[512..]);
        let mut fs = image.open().unwrap();
        let folder = fs.lookup(ROOT, b"folder").unwrap();
        let mut found = Vec::new();
        fs.list(folder, 0, &mut |entry| {
            found.push(entry);
            true
        })
        .unwrap();
        assert_eq!(found.len(), 5);
        for entry in found {
            assert_eq!(fs.lookup(folder, &entry.name).unwrap(), entry.node);
            assert_eq!(fs.node(entry.node).unwrap().kind, NodeKind::File);
        }
    }
}

#[test]
fn a_folder_that_is_longer_than_its_clusters() {
    let mut image = Image::new();
    let folder = Stream { attributes: 0x10, ..file(10, 1024, 1024, false) };
    image.cluster(ROOT_CLUSTER)[64..160].copy_from_slice(&set("folder", &folder));
    image.link(10, u32::MAX);
    image.cluster(10)[..512].fill(1);
    let mut fs = image.open().unwrap();
    let folder = fs.lookup(ROOT, b"folder").unwrap();
    assert!(matches!(fs.list(folder, 0, &mut |_| true), Err(Error::Damaged { .. })));
}

#[test]
fn sets_with_faults() {
    let whole = set("name", &file(0, 0, 0, false));
    for (at, value) in [(2, 1), (32, 0xC1), (35, 40), (33, 0), (64, 0xC0), (66, b'/')] {
        let mut image = Image::new();
        let mut broken = whole.clone();
        broken[at] = value;
        image.cluster(ROOT_CLUSTER)[64..160].copy_from_slice(&broken);
        let found = image.open().unwrap().list(ROOT, 0, &mut |_| true);
        assert!(matches!(found, Err(Error::Damaged { .. })), "{at}");
    }
    let mut image = Image::new();
    image.cluster(ROOT_CLUSTER)[64] = 0x86;
    assert!(matches!(image.open().unwrap().list(ROOT, 0, &mut |_| true), Err(Error::Unsupported { .. })));
}

#[test]
fn what_is_in_use_is_in_the_bitmap() {
    let mut image = Image::new();
    image.cluster(2)[1] = 0b1000_0001;
    let used = image.open().unwrap().used().unwrap().unwrap();
    let at = |cluster: u64| HEAP as u64 + (cluster - 2) * 512;
    assert_eq!(used, [0..at(4), at(10)..at(11), at(17)..at(18)]);
    let mut dirty = Image::new();
    dirty.0[106] = 2;
    let mut fs = dirty.open().unwrap();
    assert_eq!((fs.about().notes.len(), fs.used().unwrap()), (1, None));
}

#[test]
fn boot_regions_with_faults() {
    assert!(matches!(Image::new().open_as_is(), Err(Error::Damaged { .. })));
    for (at, value) in [(105, 2), (108, 8), (109, 30), (110, 3), (95, 1), (96, 200), (84, 0), (88, 1), (106, 1)] {
        let mut image = Image::new();
        image.0[at] = value;
        assert!(image.open().is_err(), "{at}");
    }
}
