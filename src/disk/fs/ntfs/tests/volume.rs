//! A small volume in memory, of which each record can be changed.

use crate::disk::fs::FileSystem;
use crate::disk::fs::Source;
use crate::disk::fs::ntfs;
use std::sync::Arc;

pub(super) const CLUSTER: usize = 1024;
pub(super) const RECORD: usize = 1024;
const CLUSTERS: usize = 512;
const MFT: usize = 8;
const RECORDS: usize = 64;
const MIRROR: usize = 80;
const UPCASE: usize = 300;
/// First of the clusters that tests may fill; in use.
pub(super) const FREE: usize = 100;
/// A cluster that is not in use.
pub(super) const UNUSED: usize = 500;

pub(super) const FILE: u16 = 1;
pub(super) const FOLDER: u16 = 3;
pub(super) const ROOT: u64 = 5;

/// The bytes of a volume.
pub(super) struct Disk(pub(super) Vec<u8>);

/// A reference to a record that was given away once.
pub(super) fn reference(record: u64) -> u64 {
    record | 1 << 48
}

pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn header(kind: u32, is_far: u8, name: &str, name_at: u16, flags: u16, instance: u16) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), [0; 4]].concat();
    bytes.extend([is_far, name.len() as u8]);
    bytes.extend([name_at, flags, instance].map(u16::to_le_bytes).concat());
    bytes
}

fn with_len(mut attribute: Vec<u8>) -> Vec<u8> {
    attribute = padded(attribute);
    let len = attribute.len() as u32;
    attribute[4..8].copy_from_slice(&len.to_le_bytes());
    attribute
}

/// An attribute with its value.
pub(super) fn near(kind: u32, name: &str, flags: u16, instance: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, 0, name, 0x18, flags, instance);
    let at = (0x18 + 2 * name.len()).next_multiple_of(8);
    bytes.extend((value.len() as u32).to_le_bytes());
    bytes.extend((at as u16).to_le_bytes());
    bytes.resize(0x18, 0);
    bytes.extend(utf16(name));
    bytes.resize(at, 0);
    bytes.extend_from_slice(value);
    with_len(bytes)
}

/// An attribute in clusters: mapping pairs, first cluster, size and what of that was written.
pub(super) fn far(kind: u32, flags: u16, instance: u16, pairs: &[u8], vcn: u64, size: u64, written: u64) -> Vec<u8> {
    let mut bytes = header(kind, 1, "", 0x48, flags, instance);
    bytes.extend([vcn, u64::MAX].map(u64::to_le_bytes).concat());
    bytes.extend([0x48, 0, if flags & 1 == 0 { 0 } else { 4 }, 0, 0, 0, 0, 0]);
    bytes.extend([size, size, written, size].map(u64::to_le_bytes).concat());
    bytes.extend_from_slice(pairs);
    bytes.push(0);
    with_len(bytes)
}

/// The value of a name.
pub(super) fn file_name(parent: u64, name: &str, namespace: u8) -> Vec<u8> {
    let mut bytes = reference(parent).to_le_bytes().to_vec();
    bytes.resize(0x40, 0);
    bytes.extend([name.encode_utf16().count() as u8, namespace]);
    bytes.extend(utf16(name));
    bytes
}

/// Times and attribute bits.
pub(super) fn information(attributes: u32) -> Vec<u8> {
    let mut bytes = 116_444_736_000_000_000u64.to_le_bytes().repeat(4);
    bytes.extend(attributes.to_le_bytes());
    bytes.resize(0x30, 0);
    near(0x10, "", 0, 0, &bytes)
}

fn entry(reference: u64, key: &[u8], flags: u16, child: Option<u64>) -> Vec<u8> {
    let mut bytes = reference.to_le_bytes().to_vec();
    bytes.extend([0, key.len() as u16, flags, 0].map(u16::to_le_bytes).concat());
    bytes.extend_from_slice(key);
    bytes = padded(bytes);
    bytes.extend(child.map(u64::to_le_bytes).unwrap_or_default().iter().take(if child.is_some() { 8 } else { 0 }));
    let len = bytes.len() as u16;
    bytes[8..10].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// Entries of an index node, with a child before the end if one is given.
pub(super) fn entries(names: &[(u64, &str, u8)], child: Option<u64>) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for (reference, name, namespace) in names {
        bytes.extend(entry(*reference, &file_name(ROOT, name, *namespace), 0, None));
    }
    bytes.extend(entry(0, &[], 2 | u16::from(child.is_some()), child));
    bytes
}

/// An index root.
pub(super) fn index_root(names: &[(u64, &str, u8)], child: Option<u64>) -> Vec<u8> {
    let entries = entries(names, child);
    let len = 16 + entries.len() as u32;
    let mut bytes = [0x30, 1, 1024, 1, 16, len, len, u32::from(child.is_some())].map(u32::to_le_bytes).concat();
    bytes.extend(entries);
    near(0x90, "$I30", 0, 1, &bytes)
}

/// Puts the update sequence array at byte 0x30 in.
pub(super) fn protect(record: &mut [u8]) {
    let count = record.len() / 512 + 1;
    record[4..8].copy_from_slice(&[0x30, 0, count as u8, 0]);
    record[0x30..0x32].copy_from_slice(&[7, 7]);
    for stride in 0..count - 1 {
        let end = stride * 512 + 510;
        let original = [record[end], record[end + 1]];
        record[0x32 + 2 * stride..0x34 + 2 * stride].copy_from_slice(&original);
        record[end..end + 2].copy_from_slice(&[7, 7]);
    }
}

impl Disk {
    /// A clean volume with an empty root.
    pub(super) fn new() -> Disk {
        let mut disk = Disk(vec![0; CLUSTERS * CLUSTER + 512]);
        let mut boot = vec![0; 512];
        boot[3..11].copy_from_slice(b"NTFS    ");
        (boot[0x0c], boot[0x0d], boot[0x40]) = (2, 2, 0xf6);
        boot[0x28..0x30].copy_from_slice(&(2 * CLUSTERS as u64).to_le_bytes());
        boot[0x30..0x38].copy_from_slice(&(MFT as u64).to_le_bytes());
        boot[0x38..0x40].copy_from_slice(&(MIRROR as u64).to_le_bytes());
        disk.0[..512].copy_from_slice(&boot);
        disk.0[CLUSTERS * CLUSTER..].copy_from_slice(&boot);
        let table = far(0x80, 0, 1, &[0x11, RECORDS as u8, MFT as u8], 0, 65536, 65536);
        disk.record(0, FILE, 0, &[information(6), table]);
        let mirror = disk.0[MFT * CLUSTER..][..4 * RECORD].to_vec();
        disk.0[MIRROR * CLUSTER..][..4 * RECORD].copy_from_slice(&mirror);
        disk.record(2, FILE, 0, &[near(0x80, "", 0, 1, &[0xff; 16])]);
        disk.flags(0);
        disk.root(&[]);
        let mut bitmap = vec![0xff; CLUSTERS / 8];
        bitmap[UNUSED / 8] &= !(1 << (UNUSED % 8));
        disk.record(6, FILE, 0, &[near(0x80, "", 0, 1, &bitmap)]);
        let letters = (0..=u16::MAX).map(|unit| if (97..123).contains(&unit) { unit - 32 } else { unit });
        disk.put(UPCASE, &letters.flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        disk.record(10, FILE, 0, &[far(0x80, 0, 1, &[0x22, 128, 0, 44, 1], 0, 128 << 10, 128 << 10)]);
        disk
    }

    /// Writes clusters.
    pub(super) fn put(&mut self, lcn: usize, bytes: &[u8]) {
        self.0[lcn * CLUSTER..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Writes a file record.
    pub(super) fn record(&mut self, number: usize, flags: u16, base: u64, attributes: &[Vec<u8>]) {
        let mut record = vec![0; RECORD];
        record[..4].copy_from_slice(b"FILE");
        (record[0x10], record[0x14]) = (1, 0x38);
        record[0x16..0x18].copy_from_slice(&flags.to_le_bytes());
        record[0x20..0x28].copy_from_slice(&base.to_le_bytes());
        let body = [attributes.concat(), vec![0xff; 8]].concat();
        record[0x18..0x1c].copy_from_slice(&(0x38 + body.len() as u32).to_le_bytes());
        record[0x38..0x38 + body.len()].copy_from_slice(&body);
        protect(&mut record);
        self.put(MFT + number, &record);
    }

    /// Writes the volume's flags.
    pub(super) fn flags(&mut self, flags: u8) {
        let information = near(0x70, "", 0, 1, &[0, 0, 0, 0, 0, 0, 0, 0, 3, 1, flags, 0]);
        self.record(3, FILE, 0, &[near(0x60, "", 0, 2, &utf16("Test")), information]);
    }

    /// Writes the root folder with names (reference, name, namespace), in their order.
    pub(super) fn root(&mut self, names: &[(u64, &str, u8)]) {
        self.record(ROOT as usize, FOLDER, 0, &[information(0), index_root(names, None)]);
    }

    /// A volume whose root has one file, `file` in record 20, with these attributes behind its name.
    pub(super) fn with_file(bits: u32, attributes: &[Vec<u8>]) -> Disk {
        let mut disk = Disk::new();
        disk.root(&[(reference(20), "file", 0)]);
        let name = near(0x30, "", 0, 9, &file_name(ROOT, "file", 0));
        disk.record(20, FILE, 0, &[&[information(bits), name], attributes].concat());
        disk
    }

    /// The source.
    pub(super) fn source(&self) -> Source {
        Arc::new(self.0.clone())
    }

    /// The file system.
    pub(super) fn open(&self) -> Box<dyn FileSystem> {
        ntfs::open(self.source()).unwrap()
    }
}
