//! A small Btrfs made by hand: one chunk in two copies, nodes of 4 KiB.

use super::super::key;
use super::super::key::Key;

pub(super) const NODE: usize = 4096;
/// Where the chunk begins, logically and in its two copies.
pub(super) const LOGICAL: u64 = 16 << 20;
pub(super) const COPIES: [u64; 2] = [1 << 20, 2 << 20];
pub(super) const CHUNK_LEN: u64 = 1 << 20;
pub(super) const GENERATION: u64 = 7;
const SUPERBLOCK: usize = 64 << 10;
const FSID: [u8; 16] = *b"0123456789abcdef";
const DEVICE_UUID: [u8; 16] = *b"fedcba9876543210";

pub(super) type Item = (Key, Vec<u8>);

/// An image that grows.
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
    next: u64,
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

pub(super) fn key_bytes(key: &Key) -> Vec<u8> {
    [&key.objectid.to_le_bytes()[..], &[key.kind], &key.offset.to_le_bytes()].concat()
}

/// Writes the checksum of what is behind it.
pub(super) fn seal(bytes: &mut [u8]) {
    let sum = crate::disk::crc32::crc32c(&bytes[32..]);
    put(bytes, 0, &sum.to_le_bytes());
}

fn node(level: u8, logical: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; NODE];
    put(&mut bytes, 32, &FSID);
    put(&mut bytes, 48, &logical.to_le_bytes());
    put(&mut bytes, 80, &GENERATION.to_le_bytes());
    put(&mut bytes, 96, &(count as u32).to_le_bytes());
    bytes[100] = level;
    bytes
}

impl Image {
    pub(super) fn new() -> Image {
        Image { bytes: vec![0; 3 << 20], next: LOGICAL }
    }

    /// Writes both copies of something at the next logical address, which it gives.
    pub(super) fn add(&mut self, bytes: &[u8]) -> u64 {
        let logical = self.next;
        for copy in COPIES {
            put(&mut self.bytes, (copy + logical - LOGICAL) as usize, bytes);
        }
        self.next += bytes.len().next_multiple_of(NODE) as u64;
        logical
    }

    pub(super) fn leaf(&mut self, items: &[Item]) -> u64 {
        let mut bytes = node(0, self.next, items.len());
        let mut end = NODE - 101;
        for (index, (key, data)) in items.iter().enumerate() {
            end -= data.len();
            let header =
                [key_bytes(key), (end as u32).to_le_bytes().to_vec(), (data.len() as u32).to_le_bytes().to_vec()];
            put(&mut bytes, 101 + index * 25, &header.concat());
            put(&mut bytes, 101 + end, data);
        }
        seal(&mut bytes);
        self.add(&bytes)
    }

    pub(super) fn branch(&mut self, level: u8, below: &[(Key, u64)]) -> u64 {
        let mut bytes = node(level, self.next, below.len());
        for (index, (key, logical)) in below.iter().enumerate() {
            let pointer = [key_bytes(key), logical.to_le_bytes().to_vec(), GENERATION.to_le_bytes().to_vec()].concat();
            put(&mut bytes, 101 + index * 33, &pointer);
        }
        seal(&mut bytes);
        self.add(&bytes)
    }

    /// Writes the chunk tree, the root tree of these items, and the superblock.
    pub(super) fn finish(mut self, mut roots: Vec<Item>) -> Vec<u8> {
        let chunk = (Key::new(key::CHUNK_OBJECT, key::CHUNK_ITEM, LOGICAL), chunk());
        let chunk_root = self.leaf(std::slice::from_ref(&chunk));
        roots.sort_by_key(|item| item.0);
        let root = self.leaf(&roots);
        let superblock = &mut self.bytes[SUPERBLOCK..SUPERBLOCK + 4096];
        let device = [&1u64.to_le_bytes()[..], &(3u64 << 20).to_le_bytes()].concat();
        let array = [key_bytes(&chunk.0), chunk.1].concat();
        for (at, field) in [
            (0x20, &FSID[..]),
            (0x30, &(SUPERBLOCK as u64).to_le_bytes()),
            (0x40, b"_BHRfS_M"),
            (0x48, &GENERATION.to_le_bytes()),
            (0x50, &root.to_le_bytes()),
            (0x58, &chunk_root.to_le_bytes()),
            (0x80, &6u64.to_le_bytes()),
            (0x88, &1u64.to_le_bytes()),
            (0x90, &4096u32.to_le_bytes()),
            (0x94, &(NODE as u32).to_le_bytes()),
            (0xa0, &(array.len() as u32).to_le_bytes()),
            (0xa4, &GENERATION.to_le_bytes()),
            (0xc9, &device),
            (0xc9 + 66, &DEVICE_UUID),
            (0x12b, b"by hand"),
            (0x32b, &array),
        ] {
            put(superblock, at, field);
        }
        seal(superblock);
        self.bytes
    }
}

/// Changes the superblock.
pub(super) fn change(image: &mut [u8], at: usize, field: &[u8]) {
    let superblock = &mut image[SUPERBLOCK..SUPERBLOCK + 4096];
    put(superblock, at, field);
    seal(superblock);
}

/// A copy of the superblock where its first mirror is.
pub(super) fn mirror(image: &mut Vec<u8>, at: usize, field: &[u8]) {
    let mut superblock = image[SUPERBLOCK..SUPERBLOCK + 4096].to_vec();
    put(&mut superblock, 0x30, &(64u64 << 20).to_le_bytes());
    put(&mut superblock, at, field);
    seal(&mut superblock);
    image.resize(64 << 20, 0);
    image.extend_from_slice(&superblock);
}

/// `DUP`, on this device.
fn chunk() -> Vec<u8> {
    let mut bytes = vec![0; 48];
    put(&mut bytes, 0, &CHUNK_LEN.to_le_bytes());
    put(&mut bytes, 16, &(64u64 << 10).to_le_bytes());
    put(&mut bytes, 24, &(7u64 | 1 << 5).to_le_bytes());
    put(&mut bytes, 44, &2u16.to_le_bytes());
    for copy in COPIES {
        bytes.extend_from_slice(&[&1u64.to_le_bytes()[..], &copy.to_le_bytes(), &DEVICE_UUID].concat());
    }
    bytes
}

pub(super) fn root_item(id: u64, logical: u64, level: u8) -> Item {
    let mut bytes = vec![0; 439];
    put(&mut bytes, 160, &GENERATION.to_le_bytes());
    put(&mut bytes, 176, &logical.to_le_bytes());
    bytes[216] = 1;
    bytes[238] = level;
    (Key::new(id, key::ROOT_ITEM, 0), bytes)
}

pub(super) fn inode(number: u64, mode: u32, size: u64) -> Item {
    let mut bytes = vec![0; 160];
    put(&mut bytes, 16, &size.to_le_bytes());
    put(&mut bytes, 40, &1u32.to_le_bytes());
    put(&mut bytes, 52, &mode.to_le_bytes());
    put(&mut bytes, 136, &(-1i64).to_le_bytes());
    put(&mut bytes, 144, &5u32.to_le_bytes());
    (Key::new(number, key::INODE_ITEM, 0), bytes)
}

/// An entry, or an attribute.
pub(super) fn named(location: &Key, name: &[u8], data: &[u8]) -> Vec<u8> {
    let lens = [(data.len() as u16).to_le_bytes(), (name.len() as u16).to_le_bytes()].concat();
    [&key_bytes(location)[..], &[0; 8], &lens, &[1], name, data].concat()
}

/// What stands before the bytes of an inline extent.
pub(super) fn inline(len: u64, compression: u8, data: &[u8]) -> Vec<u8> {
    [&[0; 8][..], &len.to_le_bytes(), &[compression, 0, 0, 0, 0], data].concat()
}

/// Another extent: address and length on the disk, offset and length of what is used.
pub(super) fn extent(kind: u8, compression: u8, plain_len: u64, place: [u64; 4]) -> Vec<u8> {
    let head = [&[0; 8][..], &plain_len.to_le_bytes(), &[compression, 0, 0, 0, kind]].concat();
    [head, place.iter().flat_map(|number| number.to_le_bytes()).collect()].concat()
}
