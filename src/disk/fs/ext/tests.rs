//! A volume of 128 blocks of 1 KiB, made by hand, and what is told of it when it is changed.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::disk::read_runs;

const BLOCK: usize = 1024;
const TABLE: usize = 5;
const ROOT_FOLDER: u32 = 10;
const FILE: u32 = 12;
const JOURNAL: u32 = 8;
/// The journal: 32 blocks from here on.
const LOG: usize = 64;

fn put16(image: &mut [u8], at: usize, n: u16) {
    image[at..at + 2].copy_from_slice(&n.to_le_bytes());
}

fn put32(image: &mut [u8], at: usize, n: u32) {
    image[at..at + 4].copy_from_slice(&n.to_le_bytes());
}

fn be32(image: &mut [u8], at: usize, n: u32) {
    put32(image, at, n.swap_bytes());
}

fn inode_at(number: u32) -> usize {
    TABLE * BLOCK + (number as usize - 1) * 128
}

fn map_at(number: u32) -> usize {
    inode_at(number) + 0x28
}

fn put_inode(image: &mut [u8], number: u32, mode: u16, size: u32) {
    put16(image, inode_at(number), mode);
    put32(image, inode_at(number) + 4, size);
    put16(image, inode_at(number) + 0x1a, 1);
}

fn entry(image: &mut [u8], at: usize, inode: u32, len: usize, name: &[u8]) {
    put32(image, at, inode);
    put16(image, at + 4, len as u16);
    image[at + 6] = name.len() as u8;
    image[at + 8..at + 8 + name.len()].copy_from_slice(name);
}

/// A root folder with one file of 20 blocks: blocks 0, 11 and 13 are there, 13 through a block of pointers.
fn image() -> Vec<u8> {
    let mut image = vec![0; 128 * BLOCK];
    let sb = BLOCK;
    for (at, n) in [(0, 32), (4, 128), (0xc, 40), (0x14, 1), (0x20, 8192), (0x24, 8192), (0x28, 32), (0x4c, 1)] {
        put32(&mut image, sb + at, n);
    }
    for (at, n) in [(0x38, 0xef53), (0x3a, 1), (0x58, 128)] {
        put16(&mut image, sb + at, n);
    }
    put32(&mut image, sb + 0x54, 11);
    put32(&mut image, sb + 0x60, 2);
    for (at, n) in [(0, 3), (4, 4), (8, TABLE as u32)] {
        put32(&mut image, 2 * BLOCK + at, n);
    }
    put_inode(&mut image, ROOT, 0o40755, BLOCK as u32);
    put32(&mut image, map_at(ROOT), ROOT_FOLDER);
    let folder = ROOT_FOLDER as usize * BLOCK;
    entry(&mut image, folder, ROOT, 12, b".");
    entry(&mut image, folder + 12, ROOT, 12, b"..");
    entry(&mut image, folder + 24, FILE, BLOCK - 24, b"file");
    put_inode(&mut image, FILE, 0o100644, 20 * BLOCK as u32);
    for (pointer, block) in [(0, 20), (11, 21), (12, 22)] {
        put32(&mut image, map_at(FILE) + pointer * 4, block);
    }
    put32(&mut image, 22 * BLOCK + 4, 23);
    for (block, byte) in [(20, b'a'), (21, b'b'), (23, b'c')] {
        image[block * BLOCK..(block + 1) * BLOCK].fill(byte);
    }
    image
}

fn opened(image: &[u8]) -> Result<Box<dyn FileSystem>> {
    open(Arc::new(image.to_vec()))
}

fn content_of(image: &[u8], range: Range<u64>) -> Result<Vec<u8>> {
    let mut runs = Vec::new();
    opened(image)?.map(u64::from(FILE), range, &mut runs)?;
    read_runs(&image.to_vec(), &runs)
}

fn names_of(image: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    opened(image)?.list(2, 0, &mut |entry| {
        names.push(String::from_utf8(entry.name).unwrap());
        true
    })?;
    Ok(names)
}

fn blocks(spec: &str) -> Vec<u8> {
    spec.bytes().flat_map(|byte| vec![if byte == b'.' { 0 } else { byte }; BLOCK]).collect()
}

fn fault<T>(result: Result<T>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn a_block_map_with_holes() {
    let image = image();
    assert_eq!(content_of(&image, 0..99_999).unwrap(), blocks("a..........b.c......"));
    assert_eq!(content_of(&image, 1000..1030).unwrap(), [vec![b'a'; 24], vec![0; 6]].concat());
    assert_eq!(names_of(&image).unwrap(), ["file"]);
    let mut fs = opened(&image).unwrap();
    assert_eq!(fs.lookup(2, b"file").unwrap(), u64::from(FILE));
    assert!(matches!(fs.lookup(2, b"fil"), Err(Error::NotFound)));
    assert!(matches!(fs.map(2, 0..1, &mut Vec::new()), Err(Error::WrongKind)));
    assert_eq!(fs.about().kind, "ext2");
    assert_eq!(fs.node(12).unwrap().size, 20 * 1024);
}

#[test]
fn reserved_and_unused_inodes_have_no_names() {
    let mut fs = opened(&image()).unwrap();
    for id in [0, 1, 7, 33, 1 << 40] {
        assert!(matches!(fs.node(id), Err(Error::NotFound)));
    }
    assert!(fault(fs.node(13)).contains("not in use"));
}

#[test]
fn pointers_lead_nowhere_else() {
    let mut image = image();
    put32(&mut image, map_at(FILE), 128);
    assert!(fault(content_of(&image, 0..10)).contains("outside of the file system"));
    put32(&mut image, map_at(FILE) + 12 * 4, u32::MAX);
    assert!(fault(content_of(&image, 12 * 1024..13 * 1024)).contains("outside of the file system"));
}

#[test]
fn entries_of_impossible_length() {
    for len in [0, 4, 10, 11, 13, 1004, 0xffff] {
        let mut image = image();
        put16(&mut image, ROOT_FOLDER as usize * BLOCK + 28, len);
        assert!(fault(names_of(&image)).contains("length of an entry"), "{len}");
    }
}

#[test]
fn a_name_with_a_slash_is_damage() {
    let mut image = image();
    image[ROOT_FOLDER as usize * BLOCK + 33] = b'/';
    assert!(fault(names_of(&image)).contains("a name is impossible"));
}

#[test]
fn a_folder_is_not_larger_than_its_file_system() {
    let mut image = image();
    put32(&mut image, inode_at(ROOT) + 4, u32::MAX);
    assert!(fault(names_of(&image)).contains("larger than its file system"));
}

#[test]
fn geometry_that_cannot_be() {
    for (at, n) in
        [(0x18, 7), (0x20, 0), (0x20, 8193), (0x28, 0), (0x28, 8193), (0x14, 2), (0, 33), (4, 1), (0x58, 100)]
    {
        let mut image = image();
        put32(&mut image, BLOCK + at, n);
        assert!(matches!(opened(&image), Err(Error::Damaged { .. })), "{at:#x}");
    }
    let mut image = image();
    put32(&mut image, BLOCK + 0x60, 0x1002);
    assert_eq!(fault(opened(&image)), "ext4 feature dirdata is not supported");
}

/// Lets the file have extents: first block of the file, length as stored, place.
fn with_extents(extents: &[(u32, u16, u32)]) -> Vec<u8> {
    let mut image = image();
    put32(&mut image, inode_at(FILE) + 0x20, 0x8_0000);
    let map = map_at(FILE);
    image[map..map + 60].fill(0);
    put16(&mut image, map, 0xf30a);
    put16(&mut image, map + 2, extents.len() as u16);
    put16(&mut image, map + 4, 4);
    for (n, (first, len, place)) in extents.iter().enumerate() {
        put32(&mut image, map + 12 + n * 12, *first);
        put16(&mut image, map + 16 + n * 12, *len);
        put32(&mut image, map + 20 + n * 12, *place);
    }
    image
}

#[test]
fn extents_with_holes_and_unwritten_ones() {
    let image = with_extents(&[(2, 2, 20), (4, 0x8000 + 3, 20), (8, 1, 23)]);
    assert_eq!(content_of(&image, 0..99_999).unwrap(), blocks("..ab....c..........."));
    assert_eq!(content_of(&image, 3 * 1024..4 * 1024).unwrap(), blocks("b"));
    assert_eq!(content_of(&with_extents(&[]), 0..2048).unwrap(), blocks(".."));
}

#[test]
fn extents_that_cannot_be() {
    for (extents, why) in [
        (&[(2, 2, 20), (3, 1, 20)][..], "not in order"),
        (&[(2, 2, 20), (0, 1, 20)], "not in order"),
        (&[(0, 0, 20)], "length of an extent"),
        (&[(0, 9, 120)], "outside of the file system"),
        (&[(0, 1, 0)], "outside of the file system"),
    ] {
        assert!(fault(content_of(&with_extents(extents), 0..9999)).contains(why), "{extents:?}");
    }
    let mut deep = with_extents(&[(0, 1, 20)]);
    put16(&mut deep, map_at(FILE) + 6, 6);
    assert!(fault(content_of(&deep, 0..9)).contains("too deep"));
    // An index that leads to itself has the wrong depth one level below.
    put16(&mut deep, map_at(FILE) + 6, 2);
    put32(&mut deep, map_at(FILE) + 16, 20);
    put32(&mut deep, map_at(FILE) + 20, 0);
    deep.copy_within(map_at(FILE)..map_at(FILE) + 24, 20 * BLOCK);
    assert!(fault(content_of(&deep, 0..9)).contains("the depth is wrong"));
}

#[test]
fn times_and_devices() {
    let mut image = image();
    put32(&mut image, inode_at(FILE) + 0x10, (-5i32).cast_unsigned());
    put16(&mut image, inode_at(FILE), 0o060600);
    put32(&mut image, map_at(FILE), 0x0811);
    let node = opened(&image).unwrap().node(12).unwrap();
    assert_eq!(node.mtime.unwrap(), crate::meta::Time { secs: -5, nanos: 0 });
    assert_eq!((node.device, node.btime), (Some((8, 0x11)), None));
    put32(&mut image, map_at(FILE), 0);
    put32(&mut image, map_at(FILE) + 4, 0x1231_0307);
    assert_eq!(opened(&image).unwrap().node(12).unwrap().device, Some((0x103, 0x1_2307)));
}

#[test]
fn used_is_told_only_if_the_numbers_agree() {
    let mut image = image();
    // Bits 0 to 22 are blocks 1 to 23.
    image[3 * BLOCK..3 * BLOCK + 3].copy_from_slice(&[0xff, 0xff, 0x7f]);
    put16(&mut image, 2 * BLOCK + 12, 127 - 23);
    image.extend_from_slice(&[1; 100]);
    let all = Some(vec![0..24 * 1024, 128 * 1024..128 * 1024 + 100]);
    assert_eq!(opened(&image).unwrap().used().unwrap(), all);
    put16(&mut image, 2 * BLOCK + 12, 3);
    assert_eq!(opened(&image).unwrap().used().unwrap(), None);
    put16(&mut image, 2 * BLOCK + 12, 127 - 23);
    put16(&mut image, BLOCK + 0x3a, 0);
    assert_eq!(opened(&image).unwrap().used().unwrap(), None);
}

#[test]
fn metadata_begins_with_the_root() {
    let mut ranges = Vec::new();
    let mut fs = opened(&image()).unwrap();
    fs.metadata(&mut |range| {
        ranges.push(range);
        true
    })
    .unwrap();
    let root = inode_at(ROOT) as u64;
    let folder = u64::from(ROOT_FOLDER) * 1024;
    assert_eq!(ranges[..3], [0..3 * 1024, root..root + 128, folder..folder + 1024]);
    let mut count = 0;
    fs.metadata(&mut |_| {
        count += 1;
        count < 2
    })
    .unwrap();
    assert_eq!(count, 2);
}

#[derive(Clone, Copy)]
enum Log {
    /// Block of the volume, flags, first byte of the copy (the rest is the same).
    Block(u32, u16, u8),
    Revoke(u32),
    Commit,
}

/// The image with a journal that has to be replayed.
fn with_journal(records: &[Log]) -> Vec<u8> {
    let mut image = image();
    put32(&mut image, BLOCK + 0x5c, 4);
    put32(&mut image, BLOCK + 0x60, 2 | 4);
    put32(&mut image, BLOCK + 0xe0, JOURNAL);
    put_inode(&mut image, JOURNAL, 0o100600, 32 * BLOCK as u32);
    for n in 0..12 {
        put32(&mut image, map_at(JOURNAL) + n * 4, (LOG + n) as u32);
    }
    put32(&mut image, map_at(JOURNAL) + 12 * 4, 40);
    for n in 0..20 {
        put32(&mut image, 40 * BLOCK + n * 4, (LOG + 12 + n) as u32);
    }
    let head = |image: &mut [u8], block: usize, fields: &[u32]| {
        for (n, field) in [0xc03b_3998].iter().chain(fields).enumerate() {
            be32(image, block * BLOCK + n * 4, *field);
        }
    };
    head(&mut image, LOG, &[4, 0, 1024, 32, 1, 7, 1]);
    be32(&mut image, LOG * BLOCK + 0x28, 1);
    let (mut at, mut sequence) = (LOG + 1, 7);
    for record in records {
        match *record {
            Log::Block(number, flags, byte) => {
                head(&mut image, at, &[1, sequence, number, u32::from(flags | 8)]);
                image[(at + 1) * BLOCK..(at + 2) * BLOCK].fill(byte);
                at += 2;
            }
            Log::Revoke(number) => {
                head(&mut image, at, &[5, sequence, 20, number]);
                at += 1;
            }
            Log::Commit => {
                head(&mut image, at, &[2, sequence]);
                (at, sequence) = (at + 1, sequence + 1);
            }
        }
    }
    image
}

fn first_block(records: &[Log]) -> Vec<u8> {
    content_of(&with_journal(records), 0..1024).unwrap()
}

#[test]
fn the_newest_whole_transaction_counts() {
    assert_eq!(first_block(&[]), blocks("a"));
    assert_eq!(first_block(&[Log::Block(20, 0, b'x')]), blocks("a"));
    assert_eq!(first_block(&[Log::Block(20, 0, b'x'), Log::Commit]), blocks("x"));
    assert_eq!(first_block(&[Log::Block(20, 0, b'x'), Log::Commit, Log::Block(20, 0, b'y')]), blocks("x"));
    let both = [Log::Block(20, 0, b'x'), Log::Commit, Log::Block(20, 0, b'y'), Log::Commit];
    assert_eq!(first_block(&both), blocks("y"));
}

#[test]
fn a_revocation_undoes_what_was_before() {
    let write = Log::Block(20, 0, b'x');
    assert_eq!(first_block(&[write, Log::Commit, Log::Revoke(20), Log::Commit]), blocks("a"));
    assert_eq!(first_block(&[write, Log::Revoke(20), Log::Commit]), blocks("a"));
    assert_eq!(first_block(&[write, Log::Commit, Log::Revoke(20)]), blocks("x"));
    assert_eq!(first_block(&[Log::Revoke(20), Log::Commit, write, Log::Commit]), blocks("x"));
}

#[test]
fn an_escaped_block_gets_its_magic_back() {
    let found = first_block(&[Log::Block(20, 1, b'x'), Log::Commit]);
    assert_eq!(found[..6], [0xc0, 0x3b, 0x39, 0x98, b'x', b'x']);
}

#[test]
fn what_is_not_logged_stays_where_it_is() {
    let image = with_journal(&[Log::Block(21, 0, b'x'), Log::Commit]);
    let mut runs = Vec::new();
    opened(&image).unwrap().map(12, 10 * 1024..14 * 1024, &mut runs).unwrap();
    let below = Run::Below { offset: 23 * 1024, len: 1024 };
    assert_eq!(runs, [Run::Zero { len: 1024 }, Run::Bytes(blocks("x")), Run::Zero { len: 1024 }, below]);
    assert_eq!(content_of(&image, 11 * 1024 + 5..11 * 1024 + 9).unwrap(), b"xxxx");
}

#[test]
fn a_journal_that_cannot_be_replayed_is_noted() {
    for (at, n) in [(0, 0), (0x10, 99), (0x14, 0), (0x1c, 50), (0x28, 0x80)] {
        let mut image = with_journal(&[Log::Block(20, 0, b'x'), Log::Commit]);
        be32(&mut image, LOG * BLOCK + at, n);
        let notes = opened(&image).unwrap().about().notes;
        assert!(notes[0].contains("was not replayed"), "{at:#x}");
        assert_eq!(content_of(&image, 0..1024).unwrap(), blocks("a"));
    }
    let mut elsewhere = with_journal(&[]);
    put32(&mut elsewhere, BLOCK + 0xe0, 0);
    assert!(opened(&elsewhere).unwrap().about().notes[0].contains("on another disk"));
}
