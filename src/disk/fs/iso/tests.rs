//! Discs put together in memory.
#![allow(clippy::unwrap_used)]

use super::*;

const SECTOR: usize = SECTOR_BYTES as usize;
const ROOT_SECTOR: u32 = 20;

/// A disc of 40 sectors; the root folder is one of them.
struct Image {
    bytes: Vec<u8>,
    records: Vec<u8>,
}

impl Image {
    fn new(own_system_use: &[u8]) -> Image {
        let mut image = Image { bytes: vec![0; 40 * SECTOR], records: Vec::new() };
        let descriptor = &mut image.bytes[16 * SECTOR..];
        descriptor[..6].copy_from_slice(b"\x01CD001");
        descriptor[40..44].copy_from_slice(b"DISC");
        descriptor[80] = 40;
        descriptor[128..130].copy_from_slice(&2048u16.to_le_bytes());
        descriptor[156..190].copy_from_slice(&record(&[0], 2, ROOT_SECTOR, 2048, &[]));
        descriptor[813..829].copy_from_slice(b"2024022912345678");
        image.bytes[17 * SECTOR..17 * SECTOR + 6].copy_from_slice(b"\xFFCD001");
        image.records = record(&[0], 2, ROOT_SECTOR, 2048, own_system_use);
        image.records.extend(record(&[1], 2, ROOT_SECTOR, 2048, &[]));
        image
    }

    fn add(&mut self, name: &[u8], flags: u8, block: u32, size: u32, system_use: &[u8]) {
        self.records.extend(record(name, flags, block, size, system_use));
    }

    fn open(mut self) -> Result<Box<dyn FileSystem>> {
        let start = ROOT_SECTOR as usize * SECTOR;
        self.bytes[start..start + self.records.len()].copy_from_slice(&self.records);
        let source: Source = Arc::new(self.bytes);
        assert!(is_iso(&source).unwrap());
        open(&source)
    }
}

fn record(name: &[u8], flags: u8, block: u32, size: u32, system_use: &[u8]) -> Vec<u8> {
    let mut raw = vec![0; 33];
    raw[2..6].copy_from_slice(&block.to_le_bytes());
    raw[10..14].copy_from_slice(&size.to_le_bytes());
    (raw[25], raw[32]) = (flags, name.len() as u8);
    raw.extend_from_slice(name);
    raw.resize(raw.len().next_multiple_of(2), 0);
    raw.extend_from_slice(system_use);
    raw.resize(raw.len().next_multiple_of(2), 0);
    raw[0] = raw.len() as u8;
    raw
}

/// A system use entry; numbers are kept in both orders, of which one is read.
fn entry(signature: &[u8; 2], before: &[u8], numbers: &[u32], behind: &[u8]) -> Vec<u8> {
    let numbers = numbers.iter().flat_map(|number| [number.to_le_bytes(), number.to_le_bytes()].concat());
    let mut raw = [signature, &[0, 1], before].concat();
    raw.extend(numbers);
    raw.extend_from_slice(behind);
    raw[2] = raw.len() as u8;
    raw
}

fn rock_ridge() -> Image {
    Image::new(&[entry(b"SP", &[0xBE, 0xEF, 0], &[], &[]), entry(b"PX", &[], &[0o40755, 2, 0, 0], &[])].concat())
}

fn names(fs: &mut dyn FileSystem) -> Vec<String> {
    let (mut names, root) = (Vec::new(), fs.root());
    fs.list(root, 0, &mut |entry| {
        names.push(String::from_utf8(entry.name).unwrap());
        true
    })
    .unwrap();
    names
}

#[test]
fn a_file_in_several_extents() {
    let mut image = Image::new(&[]);
    image.add(b"A.;1", 0, 30, 10, &[]);
    for (block, size, flags) in [(31, 4096, 0x80), (25, 2048, 0x80), (35, 100, 0)] {
        image.add(b"LONG.DAT;1", flags, block, size, &[]);
    }
    image.add(b"Z;1", 0, 30, 10, &[]);
    let mut fs = image.open().unwrap();
    assert_eq!(names(&mut *fs), ["a", "long.dat", "z"]);
    let (about, root) = (fs.about(), fs.root());
    assert_eq!((about.label.as_str(), about.uuid.as_str()), ("DISC", "2024-02-29-12-34-56-78"));
    let long = fs.lookup(root, b"long.dat").unwrap();
    assert_eq!(fs.node(long).unwrap().size, 6244);
    let mut runs = Vec::new();
    fs.map(long, 4000..u64::MAX, &mut runs).unwrap();
    let below = |sector: u64, from: u64, len| Run::Below { offset: sector * SECTOR_BYTES + from, len };
    assert_eq!(runs, [below(31, 4000, 96), below(25, 0, 2048), below(35, 0, 100)]);
    let mut cursors = Vec::new();
    fs.list(root, 0, &mut |entry| {
        cursors.push(entry.cursor);
        true
    })
    .unwrap();
    let mut rest = Vec::new();
    fs.list(root, cursors[1], &mut |entry| {
        rest.push(entry.name);
        true
    })
    .unwrap();
    assert_eq!(rest, [b"z"]);
}

#[test]
fn an_extent_is_missing() {
    let mut image = Image::new(&[]);
    image.add(b"LONG.DAT;1", 0x80, 30, 2048, &[]);
    image.add(b"OTHER;1", 0, 30, 10, &[]);
    let mut fs = image.open().unwrap();
    let first = u64::from(ROOT_SECTOR) * SECTOR_BYTES + 68;
    assert!(matches!(fs.node(first), Err(Error::Damaged { .. })));
}

#[test]
fn rock_ridge_tells_what_unix_knows() {
    let mut image = rock_ridge();
    let link = [
        entry(b"NM", &[1], &[], b"a long "),
        entry(b"NM", &[0], &[], b"name"),
        entry(b"PX", &[], &[0o120_777, 1, 1000, 100], &[]),
        entry(b"SL", &[1], &[], b"\x08\0\0\x03usr\x01\x02bi"),
        entry(b"SL", &[0], &[], b"\0\x01n\x04\0\x02\0"),
        entry(b"TF", &[2], &[], &[70, 1, 1, 0, 0, 1, 0]),
    ];
    image.add(b"X;1", 0, 0, 0, &link.concat());
    let device = [entry(b"PX", &[], &[0o60_660, 1, 0, 6], &[]), entry(b"PN", &[], &[259, 70_000], &[])];
    image.add(b"DEV.;1", 0, 0, 0, &device.concat());
    let mut fs = image.open().unwrap();
    assert_eq!(names(&mut *fs), ["a long name", "dev"]);
    let root = fs.root();
    let link = fs.lookup(root, b"a long name").unwrap();
    assert_eq!(fs.link(link).unwrap(), b"/usr/bin/../.");
    let node = fs.node(link).unwrap();
    assert_eq!(
        (node.kind, node.size, node.mode, node.uid, node.gid),
        (NodeKind::Symlink, 13, Some(0o777), Some(1000), Some(100))
    );
    assert_eq!(node.mtime.unwrap().secs, 1);
    let device = fs.lookup(root, b"dev").unwrap();
    assert_eq!(fs.node(device).unwrap().device, Some((259, 70_000)));
    assert!(matches!(fs.map(device, 0..1, &mut Vec::new()), Err(Error::WrongKind)));
}

#[test]
fn rock_ridge_behind_the_attributes_of_xa() {
    let xa = b"\0\0\0\0\x8dUXA\0\0\0\0\0\0";
    let own = [&xa[..], &entry(b"SP", &[0xBE, 0xEF, 14], &[], &[]), &entry(b"RR", &[1], &[], &[])].concat();
    let mut image = Image::new(&own);
    image.add(b"X;1", 0, 30, 10, &[&xa[..], &entry(b"NM", &[0], &[], b"A Name")].concat());
    let mut fs = image.open().unwrap();
    assert_eq!(fs.about().kind, "ISO 9660 with Rock Ridge");
    assert_eq!(names(&mut *fs), ["A Name"]);
}

#[test]
fn a_time_that_is_cut_off() {
    let mut image = rock_ridge();
    let times = entry(b"TF", &[0b1010], &[], &[70, 1, 1, 0, 0, 1, 0, 70, 1, 1, 0, 0, 2]);
    image.add(b"X;1", 0, 30, 10, &[times, entry(b"NM", &[0], &[], b"name")].concat());
    let mut fs = image.open().unwrap();
    let root = fs.root();
    let id = fs.lookup(root, b"name").unwrap();
    let node = fs.node(id).unwrap();
    assert_eq!((node.mtime.unwrap().secs, node.ctime), (1, None));
}

#[test]
fn folders_that_were_moved() {
    let mut image = rock_ridge();
    image.add(b"DEEP;1", 0, 0, 0, &entry(b"CL", &[], &[22], &[]));
    image.add(b"MOVED", 2, 22, 2048, &entry(b"RE", &[], &[], &[]));
    let own = record(&[0], 2, 22, 2048, &[]);
    image.bytes[22 * SECTOR..22 * SECTOR + own.len()].copy_from_slice(&own);
    let mut fs = image.open().unwrap();
    assert_eq!(names(&mut *fs), ["deep"]);
    let root = fs.root();
    assert_eq!(fs.lookup(root, b"deep").unwrap(), 22 * SECTOR_BYTES);
    assert_eq!(fs.node(22 * SECTOR_BYTES).unwrap().kind, NodeKind::Folder);
}

#[test]
fn areas_that_lead_to_themselves() {
    let mut image = rock_ridge();
    let ring = entry(b"CE", &[], &[30, 0, 28], &[]);
    image.add(b"X;1", 0, 0, 0, &ring);
    image.bytes[30 * SECTOR..30 * SECTOR + ring.len()].copy_from_slice(&ring);
    let mut fs = image.open().unwrap();
    let root = fs.root();
    assert!(matches!(fs.list(root, 0, &mut |_| true), Err(Error::Damaged { .. })));
}

#[test]
fn damage_behind_a_name_does_not_hide_the_file() {
    let mut image = rock_ridge();
    let broken = [entry(b"NM", &[0], &[], b"name"), b"SL\x01\x01".to_vec()].concat();
    image.add(b"X;1", 0, 30, 10, &broken);
    let mut fs = image.open().unwrap();
    assert_eq!(names(&mut *fs), ["name"]);
    let root = fs.root();
    let id = fs.lookup(root, b"name").unwrap();
    assert!(matches!(fs.node(id), Err(Error::Damaged { .. })));
    assert!(matches!(fs.map(id, 0..10, &mut Vec::new()), Err(Error::Damaged { .. })));
}

#[test]
fn what_is_not_understood_says_so() {
    let mut image = rock_ridge();
    image.add(b"SPARSE;1", 0, 30, 10, &entry(b"SF", &[], &[0, 10], &[1]));
    image.add(b"PACKED;1", 0, 30, 10, &entry(b"ZF", b"PZ\x04\x0F", &[100], &[]));
    let mut turns = record(b"TURNS;1", 0, 30, 10, &[]);
    turns[26] = 1;
    image.records.extend(turns);
    let mut fs = image.open().unwrap();
    let root = fs.root();
    for name in ["sparse", "packed", "turns"] {
        let id = fs.lookup(root, name.as_bytes()).unwrap();
        assert!(
            matches!(fs.map(id, 0..10, &mut Vec::new()), Err(Error::Unsupported { .. } | Error::Damaged { .. })),
            "{name}"
        );
    }
}

#[test]
fn udf_alone_is_not_read() {
    let mut bytes = vec![0; 40 * SECTOR];
    for (sector, mark) in [(16, b"\0BEA01\x01"), (17, b"\0NSR02\x01"), (18, b"\0TEA01\x01")] {
        bytes[sector * SECTOR..sector * SECTOR + 7].copy_from_slice(mark);
    }
    let source: Source = Arc::new(bytes);
    assert!(is_iso(&source).unwrap());
    let error = open(&source).err().unwrap();
    assert_eq!(error.to_string(), "UDF is not supported");
    let nothing: Source = Arc::new(vec![0; 40 * SECTOR]);
    assert!(!is_iso(&nothing).unwrap());
}
