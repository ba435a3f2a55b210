//! Small file systems made by hand: version 5, 128 blocks of 1 KiB in two groups, inodes of 512 bytes.

use crate::disk::Result;
use crate::disk::fs::FileSystem;
use crate::disk::fs::Source;
use crate::disk::fs::xfs;
use crate::disk::fs::xfs::crc32c;
use std::sync::Arc;

pub(super) const BLOCK: usize = 1024;
pub(super) const INODE: usize = 512;
/// Block 8, the first inode in it.
pub(super) const ROOT: u64 = 16;
const UUID: &[u8; 16] = b"0123456789abcdef";
const FILE: u16 = 0o100_644;
pub(super) const FOLDER: u16 = 0o040_755;
/// Where forks begin in an inode.
pub(super) const FORK: usize = 176;

pub(super) struct Image(pub(super) Vec<u8>);

pub(super) fn be16(value: u16) -> [u8; 2] {
    value.swap_bytes().to_le_bytes()
}

pub(super) fn be32(value: u32) -> [u8; 4] {
    value.swap_bytes().to_le_bytes()
}

pub(super) fn be64(value: u64) -> [u8; 8] {
    value.swap_bytes().to_le_bytes()
}

/// An extent as it stands on the disk.
pub(super) fn extent(offset: u64, block: u64, count: u64, unwritten: bool) -> Vec<u8> {
    [be64(u64::from(unwritten) << 63 | offset << 9 | block >> 43), be64(block << 21 | count)].concat()
}

impl Image {
    /// With superblock, headers of groups and an empty root.
    pub(super) fn new() -> Image {
        let mut image = Image(vec![0; 128 * BLOCK]);
        image.put(0, b"XFSB").put(4, &be32(BLOCK as u32)).put(8, &be64(128)).put(32, UUID);
        image.put(48, &be64(100)).put(56, &be64(ROOT)).put(84, &be32(64)).put(88, &be32(2)).put(96, &be32(16));
        image.put(100, &be16(0xb4a5)).put(102, &be16(512)).put(104, &be16(INODE as u16)).put(106, &be16(2));
        image.put(108, b"label").put(120, &[10, 9, 9, 1, 6]).put(144, &be64(50));
        image.put(200, &be32(0x18a)).put(216, &be32(3)).seal(0, 512, 224);
        for ag in 0..2u32 {
            let at = ag as usize * 64 * BLOCK;
            image.put(at + 512, b"XAGF").put(at + 520, &be32(ag)).put(at + 524, &be32(64));
            image.put(at + 528, &be32(4)).put(at + 540, &be32(1)).put(at + 564, &be32(30)).put(at + 576, UUID);
            image.put(at + 1024, b"XAGI").put(at + 1032, &be32(ag)).put(at + 1036, &be32(64));
            image.put(at + 1044, &be32(5)).put(at + 1048, &be32(1)).put(at + 1320, UUID);
            image.seal(at + 512, 512, 216).seal(at + 1024, 512, 312);
            image.tree(ag, 4, b"AB3B", &[[be32(10), be32(20)].concat(), [be32(40), be32(10)].concat()]);
            image.tree(ag, 5, b"IAB3", &[]);
        }
        image.inode(ROOT, FOLDER, 1, 6, 0, &[0, 0, 0, 0, 0, ROOT as u8]);
        image
    }

    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Image {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The checksum of a structure.
    pub(super) fn seal(&mut self, at: usize, len: usize, field: usize) -> &mut Image {
        let sum = crc32c::without_field(&self.0[at..at + len], field);
        self.put(at + field, &sum.to_le_bytes())
    }

    pub(super) fn place_of(id: u64) -> usize {
        id as usize * INODE
    }

    /// A leaf of a tree of an allocation group.
    fn tree(&mut self, ag: u32, block: usize, magic: &[u8; 4], records: &[Vec<u8>]) {
        let at = (ag as usize * 64 + block) * BLOCK;
        self.put(at, magic).put(at + 6, &be16(records.len() as u16)).put(at + 8, &[0xff; 8]);
        self.put(at + 16, &be64(at as u64 / 512)).put(at + 32, UUID).put(at + 48, &be32(ag));
        self.put(at + 56, &records.concat()).seal(at, BLOCK, 52);
    }

    /// An inode whose data fork has the bytes `fork`, without attributes.
    pub(super) fn inode(&mut self, id: u64, mode: u16, format: u8, size: u64, extents: u32, fork: &[u8]) -> &mut Image {
        let at = Image::place_of(id);
        self.put(at, b"IN").put(at + 2, &be16(mode)).put(at + 4, &[3, format]).put(at + 16, &be32(1));
        self.put(at + 56, &be64(size)).put(at + 76, &be32(extents)).put(at + 83, &[2]);
        self.put(at + 152, &be64(id)).put(at + 160, UUID).put(at + FORK, fork).seal_inode(id)
    }

    pub(super) fn seal_inode(&mut self, id: u64) -> &mut Image {
        self.seal(Image::place_of(id), INODE, 100)
    }

    /// A file of extents.
    pub(super) fn file(&mut self, id: u64, size: u64, extents: &[Vec<u8>]) -> &mut Image {
        self.inode(id, FILE, 2, size, extents.len() as u32, &extents.concat())
    }

    /// Changes bytes of an inode.
    pub(super) fn patch(&mut self, id: u64, at: usize, bytes: &[u8]) -> &mut Image {
        self.put(Image::place_of(id) + at, bytes).seal_inode(id)
    }

    /// The header of a block of the tree of an inode's extents, and what follows it.
    pub(super) fn bmap(&mut self, block: usize, owner: u64, count: u16, right: u64, records: &[u8]) -> &mut Image {
        let at = block * BLOCK;
        self.put(at, b"BMA3").put(at + 6, &be16(count)).put(at + 8, &[0xff; 8]).put(at + 16, &be64(right));
        self.put(at + 24, &be64(at as u64 / 512)).put(at + 40, UUID).put(at + 56, &be64(owner));
        self.put(at + 72, records).seal(at, BLOCK, 64)
    }

    /// The only block of a folder, with its index.
    pub(super) fn dir_block(&mut self, block: usize, owner: u64, entries: &[(&[u8], u64)]) -> &mut Image {
        let at = block * BLOCK;
        self.put(at, b"XDB3").put(at + 8, &be64(at as u64 / 512)).put(at + 24, UUID).put(at + 40, &be64(owner));
        let (mut place, mut index) = (64, Vec::new());
        for (name, node) in entries {
            let bytes = (name.len() + 12).next_multiple_of(8);
            self.put(at + place, &be64(*node)).put(at + place + 8, &[name.len() as u8]).put(at + place + 9, name);
            self.put(at + place + bytes - 2, &be16(place as u16));
            index.push((xfs::hash::hash(name), place as u32 / 8));
            place += bytes;
        }
        index.sort_unstable();
        let end = BLOCK - 8 - index.len() * 8;
        self.put(at + place, &[0xff, 0xff]).put(at + place + 2, &be16((end - place) as u16));
        self.put(at + end - 2, &be16(place as u16));
        for (n, (hash, place)) in index.iter().enumerate() {
            self.put(at + end + n * 8, &be32(*hash)).put(at + end + n * 8 + 4, &be32(*place));
        }
        self.put(at + BLOCK - 8, &be32(index.len() as u32)).seal(at, BLOCK, 4)
    }

    /// A leaf of attributes: entries and what they lead to.
    pub(super) fn attr_leaf(&mut self, block: usize, owner: u64, next: u32, count: u16) -> &mut Image {
        let at = block * BLOCK;
        self.put(at, &be32(next)).put(at + 8, &be16(0x3bee)).put(at + 16, &be64(at as u64 / 512));
        self.put(at + 32, UUID).put(at + 48, &be64(owner)).put(at + 56, &be16(count)).seal(at, BLOCK, 12)
    }

    /// A block of an attribute's value.
    pub(super) fn attr_value(&mut self, block: usize, owner: u64, before: u32, value: &[u8]) -> &mut Image {
        let at = block * BLOCK;
        self.put(at, b"XARM").put(at + 4, &be32(before)).put(at + 8, &be32(value.len() as u32)).put(at + 16, UUID);
        self.put(at + 32, &be64(owner)).put(at + 40, &be64(at as u64 / 512)).put(at + 56, value).seal(at, BLOCK, 12)
    }

    pub(super) fn open(&self) -> Result<Box<dyn FileSystem>> {
        let source: Source = Arc::new(self.0.clone());
        xfs::open(&source)
    }
}
