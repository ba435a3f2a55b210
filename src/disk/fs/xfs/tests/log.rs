//! The log of a small file system: clean, replayed, or not to be read.

use crate::disk::Error;
use crate::disk::crc32::crc32c_append;
use crate::disk::fs::xfs::crc32c;
use crate::disk::fs::xfs::tests::entries;
use crate::disk::fs::xfs::tests::fault;
use crate::disk::fs::xfs::tests::image::BLOCK;
use crate::disk::fs::xfs::tests::image::FOLDER;
use crate::disk::fs::xfs::tests::image::Image;
use crate::disk::fs::xfs::tests::image::ROOT;
use crate::disk::fs::xfs::tests::image::be16;
use crate::disk::fs::xfs::tests::image::be32;
use crate::disk::fs::xfs::tests::image::be64;
use crate::disk::fs::xfs::tests::image::extent;
use crate::disk::fs::xfs::tests::runs;

/// Byte of the log, and its blocks of 512 bytes.
const LOG: usize = 100 * BLOCK;
const LOG_BLOCKS: usize = 32;

/// An operation of transaction 1.
fn operation(flags: u8, bytes: &[u8]) -> Vec<u8> {
    [&be32(1)[..], &be32(bytes.len() as u32), &[0x69, flags, 0, 0], bytes].concat()
}

/// A transaction of items, each of regions.
fn transaction(items: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let header = [&0x5452_414eu32.to_le_bytes()[..], &[0; 12]].concat();
    let mut operations = vec![operation(1, &[]), operation(0, &header)];
    operations.extend(items.iter().flatten().map(|region| operation(0, region)));
    operations.push(operation(2, &[]));
    operations
}

fn unmount() -> Vec<Vec<u8>> {
    vec![[&be32(1)[..], &be32(8), &[0xaa, 0x20, 0, 0], &[0; 8]].concat()]
}

/// Writes a record at a block of the log; gives the block after it.
fn record(image: &mut Image, number: usize, turn: u32, tail: u32, operations: &[Vec<u8>]) -> usize {
    let mut data = operations.concat();
    let len = data.len();
    data.resize(len.next_multiple_of(512), 0);
    let mut header = vec![0; 512];
    let mut put = |at: usize, bytes: [u8; 4]| header[at..at + 4].copy_from_slice(&bytes);
    put(0, be32(0xfeed_babe));
    put(4, be32(turn));
    put(8, be32(2));
    put(12, be32(len as u32));
    put(28, be32(tail));
    put(40, be32(operations.len() as u32));
    put(300, be32(1));
    put(320, be32(32 << 10));
    for (n, block) in data.chunks_mut(512).enumerate() {
        header[44 + n * 4..48 + n * 4].copy_from_slice(&block[..4]);
        let around = u32::from(number + 1 + n >= LOG_BLOCKS);
        block[..4].copy_from_slice(&be32(turn + around));
    }
    let sum = crc32c_append(crc32c::without_field(&header[..328], 32), &data[..len]);
    header[32..36].copy_from_slice(&sum.to_le_bytes());
    for (n, block) in [header, data].concat().chunks(512).enumerate() {
        image.put(LOG + (number + n) % LOG_BLOCKS * 512, block);
    }
    (number + 1 + len.div_ceil(512)) % LOG_BLOCKS
}

/// A buffer of one block of the file system, of which the chunks of 128 bytes in `map` follow.
fn buffer(block: usize, flags: u16, map: u8, bytes: &[u8]) -> Vec<Vec<u8>> {
    let format = [
        &0x123cu16.to_le_bytes()[..],
        &2u16.to_le_bytes(),
        &flags.to_le_bytes(),
        &2u16.to_le_bytes(),
        &(block as u64 * 2).to_le_bytes(),
        &1u32.to_le_bytes(),
        &u32::from(map).to_le_bytes(),
    ];
    let wanted = [format.concat(), bytes.to_vec()];
    let mut item = wanted.to_vec();
    if bytes.is_empty() {
        item.truncate(1);
        item[0][2] = 1;
    }
    item
}

/// The inode `id`: a file of `size` bytes and one extent.
fn inode(id: u64, size: u64, fork: &[u8]) -> Vec<Vec<u8>> {
    let mut format = vec![0; 56];
    format[..2].copy_from_slice(&0x123bu16.to_le_bytes());
    format[2] = 3;
    format[4..8].copy_from_slice(&5u32.to_le_bytes());
    format[16..24].copy_from_slice(&id.to_le_bytes());
    format[40..48].copy_from_slice(&id.to_le_bytes());
    format[48..52].copy_from_slice(&1u32.to_le_bytes());
    let mut core = vec![0; 176];
    core[..6].copy_from_slice(&[b'N', b'I', 0xa4, 0x81, 3, 2]);
    core[16] = 1;
    core[40..44].copy_from_slice(&77u32.to_le_bytes());
    core[56..64].copy_from_slice(&size.to_le_bytes());
    core[76] = 1;
    core[83] = 2;
    core[152..160].copy_from_slice(&id.to_le_bytes());
    core[160..].copy_from_slice(b"0123456789abcdef");
    vec![format, core, fork.to_vec()]
}

/// An intent to change the mappings of an inode (or that it was done).
fn mapping(kind: u16, id: u8, owner: u64) -> Vec<Vec<u8>> {
    let mut format = vec![0; 48];
    format[..2].copy_from_slice(&kind.to_le_bytes());
    format[2] = 1;
    format[8] = id;
    format[16..24].copy_from_slice(&owner.to_le_bytes());
    vec![format]
}

fn note(image: &Image) -> String {
    image.open().unwrap().about().notes.concat()
}

/// A file of block 20, and a folder of block 21 with one name.
fn image() -> Image {
    let mut image = Image::new();
    image.file(18, 1000, &[extent(0, 20, 1, false)]);
    image.inode(ROOT, FOLDER, 2, BLOCK as u64, 1, &extent(0, 21, 1, false));
    image.dir_block(21, ROOT, &[(b"old name", 18)]);
    image
}

#[test]
fn one_that_was_unmounted() {
    let mut image = image();
    assert_eq!(note(&image), "");
    let next = record(&mut image, 0, 1, 0, &unmount());
    assert_eq!(note(&image), "");
    // Started again, and what was written then is torn: as before.
    let end = record(&mut image, next, 1, 0, &transaction(&[inode(18, 5, &extent(0, 22, 1, false))]));
    image.put(LOG + (end - 1) * 512 + 40, b"torn");
    assert_eq!(note(&image), "");
    image.put(48, &be64(0)).seal(0, 512, 224);
    assert!(note(&image).contains("another device"));
}

#[test]
fn changes_are_shown() {
    let mut image = image();
    let mut other = Image::new();
    other.dir_block(21, ROOT, &[(b"new name", 18), (b"other", 17)]);
    let whole = &other.0[21 * BLOCK..22 * BLOCK];
    let items = [inode(18, 900, &extent(0, 30, 1, false)), buffer(21, 0, 0xff, whole)];
    let next = record(&mut image, 0, 1, 0, &transaction(&items));
    record(&mut image, next, 1, 0, &transaction(&[inode(18, 500, &extent(0, 31, 1, false))]));
    let mut fs = image.open().unwrap();
    assert!(note(&image).contains("as its log tells"));
    let node = fs.node(18).unwrap();
    assert_eq!((node.size, node.mtime.map(|time| time.secs), node.mode), (500, Some(77), Some(0o644)));
    assert_eq!(runs(&image, 18, 500).unwrap(), [crate::disk::Run::Below { offset: 31 << 10, len: 500 }]);
    let names: Vec<_> = entries(&mut *fs, ROOT, 0).into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [&b"new name"[..], b"other"]);
    assert_eq!(fs.lookup(ROOT, b"new name").unwrap(), 18);
    assert!(matches!(fs.lookup(ROOT, b"old name"), Err(Error::NotFound)));
    assert_eq!(fs.used().unwrap(), None);
}

#[test]
fn around_the_end_of_the_ring() {
    let mut image = image();
    // The turn before filled it; the tail is near its end.
    for number in 0..LOG_BLOCKS {
        image.put(LOG + number * 512, &be32(4));
    }
    let change = |size| transaction(&[inode(18, size, &extent(0, 20, 1, false))]);
    let next = record(&mut image, 29, 4, 29, &change(300));
    assert_eq!(next, 31);
    // This one begins in the old turn and ends in the new.
    let next = record(&mut image, 31, 4, 29, &change(200));
    assert_eq!(next, 1);
    record(&mut image, 1, 5, 29, &change(100));
    assert_eq!(image.open().unwrap().node(18).unwrap().size, 100);
}

#[test]
fn what_was_freed_later_is_left_out() {
    let mut image = image();
    let next = record(&mut image, 0, 1, 0, &transaction(&[buffer(21, 0, 1, &[7; 128])]));
    record(&mut image, next, 1, 0, &transaction(&[buffer(21, 2, 0, &[])]));
    assert_eq!(image.open().unwrap().lookup(ROOT, b"old name").unwrap(), 18);
    // What came after it was freed counts again.
    let next = record(&mut image, next, 1, 0, &transaction(&[buffer(21, 2, 0, &[])]));
    record(&mut image, next, 1, 0, &transaction(&[buffer(21, 0, 1, &[7; 128])]));
    assert!(matches!(image.open().unwrap().lookup(ROOT, b"old name"), Err(Error::Damaged { .. })));
}

#[test]
fn what_is_in_between_is_not_read() {
    let mut image = image();
    let next = record(&mut image, 0, 1, 0, &transaction(&[mapping(0x1244, 5, 18)]));
    assert!(fault(runs(&image, 18, 10)).contains("were being changed"));
    record(&mut image, next, 1, 0, &transaction(&[mapping(0x1245, 5, 0)]));
    assert!(runs(&image, 18, 10).is_ok());
    // A log whose features are unknown is not replayed at all.
    image.put(220, &be32(2)).seal(0, 512, 224);
    assert!(note(&image).contains("cannot be read"));
}

#[test]
fn what_is_not_understood_changes_nothing() {
    for items in [
        [inode(18, 5, &extent(0, 22, 1, false)), mapping(0x1300, 1, 18)],
        // Regions that are missing, that do not fit, that lead outside.
        [inode(18, 5, &extent(0, 22, 1, false)), buffer(21, 0, 0x80, &[7; 64])],
        [inode(18, 5, &extent(0, 22, 1, false)), buffer(1 << 40, 0, 1, &[7; 128])],
        [inode(18, 5, &[7; 400]), mapping(0x1245, 1, 18)],
        [inode(1 << 60, 5, &[]), mapping(0x1245, 1, 18)],
    ] {
        let mut image = image();
        record(&mut image, 0, 1, 0, &transaction(&items));
        assert!(note(&image).contains("cannot be read"));
        assert_eq!(image.open().unwrap().node(18).unwrap().size, 1000);
    }
    let mut image = image();
    record(&mut image, 0, 1, 500, &unmount()[..0]);
    assert!(note(&image).contains("cannot be read"));
    image.put(LOG + 8, &be16(0)).put(LOG + 12, &be32(u32::MAX));
    assert!(note(&image).contains("cannot be read"));
}
