//! The rules of SquashFS, on file systems made in memory: nothing in them is compressed unless a test does so.
#![allow(clippy::unwrap_used)]

use super::compressor::Compressor;
use super::metadata::METADATA_BYTES;
use super::open;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Run;
use crate::disk::fs::FileSystem;
use crate::disk::fs::NodeKind;
use crate::disk::fs::Source;
use crate::disk::read_runs;
use std::io::Write;
use std::sync::Arc;

const BLOCK: usize = 4096;
const NONE: u32 = u32::MAX;

/// Plain metadata blocks, and where each begins.
fn blocks(bytes: &[u8]) -> (Vec<u8>, Vec<u64>) {
    let (mut out, mut starts) = (Vec::new(), Vec::new());
    for part in bytes.chunks(METADATA_BYTES) {
        starts.push(out.len() as u64);
        out.extend((part.len() as u16 | 0x8000).to_le_bytes());
        out.extend(part);
    }
    (out, starts)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// What a test puts into a file system.
#[derive(Default)]
struct Maker {
    data: Vec<u8>,
    inodes: Vec<u8>,
    folders: Vec<u8>,
    fragment: Option<(u64, u32)>,
    /// Names and values of the only set.
    xattrs: Vec<u8>,
    xattr_count: u32,
    root: usize,
    change: Vec<(usize, Vec<u8>)>,
}

impl Maker {
    /// Place of the next inode, with its header.
    fn inode(&mut self, kind: u16, body: &[u8]) -> usize {
        let at = self.inodes.len();
        for half in [kind, 0o751, 0, 1] {
            self.inodes.extend(half.to_le_bytes());
        }
        self.inodes.extend(words(&[3_000_000_000, 1]));
        self.inodes.extend(body);
        at
    }

    fn data(&mut self, bytes: &[u8]) -> u64 {
        let at = 96 + self.data.len() as u64;
        self.data.extend(bytes);
        at
    }

    /// Groups of at most `per_group` names; returns the length of the listing and the places of its groups.
    fn folder(&mut self, names: &[(&str, usize)], per_group: usize) -> (usize, u32, Vec<(u32, String)>) {
        let start = self.folders.len();
        let mut groups = Vec::new();
        for group in names.chunks(per_group) {
            groups.push(((self.folders.len() - start) as u32, group[0].0.to_owned()));
            self.folders.extend(words(&[group.len() as u32 - 1, 0, 1]));
            for (name, inode) in group {
                for half in [*inode as u16, 0, 1, name.len() as u16 - 1] {
                    self.folders.extend(half.to_le_bytes());
                }
                self.folders.extend(name.as_bytes());
            }
        }
        (start, (self.folders.len() - start) as u32 + 3, groups)
    }

    fn root(&mut self, names: &[(&str, usize)]) {
        let (start, len, _) = self.folder(names, 256);
        let mut body = words(&[0, 2]);
        body.extend((len as u16).to_le_bytes());
        body.extend((start as u16).to_le_bytes());
        body.extend(words(&[1]));
        self.root = self.inode(1, &body);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 96];
        out.extend(&self.data);
        let mut put = |bytes: &[u8]| {
            let at = out.len() as u64;
            out.extend(bytes);
            at
        };
        let inode_table = put(&blocks(&self.inodes).0);
        let directory_table = put(&blocks(&self.folders).0);
        let mut table = |entries: &[u8]| {
            let at = put(&blocks(entries).0);
            put(&at.to_le_bytes())
        };
        let fragment = self.fragment.map(|(at, word)| [&at.to_le_bytes()[..], &words(&[word, 0])].concat());
        let fragment_table = fragment.as_ref().map_or(u64::MAX, |entry| table(entry));
        let id_table = table(&words(&[10, 3_000_000_000]));
        let mut xattr_table = u64::MAX;
        if self.xattr_count > 0 {
            let content = put(&blocks(&self.xattrs).0);
            let set = [&0u64.to_le_bytes()[..], &words(&[self.xattr_count, self.xattrs.len() as u32])].concat();
            let sets = put(&blocks(&set).0);
            xattr_table = put(&[&content.to_le_bytes()[..], &words(&[1, 0]), &sets.to_le_bytes()].concat());
        }
        let used = out.len() as u64;
        let mut head = words(&[0x7371_7368, 9, 0, BLOCK as u32, u32::from(fragment.is_some())]);
        for half in [1u16, 12, 0, 2, 4, 0] {
            head.extend(half.to_le_bytes());
        }
        for long in [self.root as u64, used, id_table, xattr_table, inode_table, directory_table, fragment_table] {
            head.extend(long.to_le_bytes());
        }
        out[..head.len()].copy_from_slice(&head);
        for (at, bytes) in &self.change {
            out[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        out
    }

    fn source(&self) -> Source {
        Arc::new(self.bytes())
    }

    fn open(&self) -> Box<dyn FileSystem> {
        open(&self.source()).unwrap().unwrap()
    }
}

fn long_file(start: u64, size: u64, tail: (u32, u32), xattr: u32, lengths: &[u32]) -> Vec<u8> {
    let longs: Vec<u8> = [start, size, 0].iter().flat_map(|long| long.to_le_bytes()).collect();
    [longs, words(&[3, tail.0, tail.1, xattr]), words(lengths)].concat()
}

fn content(maker: &Maker, name: &[u8], range: std::ops::Range<u64>) -> (Vec<u8>, Vec<Run>) {
    let mut fs = maker.open();
    let node = fs.lookup(fs.root(), name).unwrap();
    let mut runs = Vec::new();
    fs.map(node, range, &mut runs).unwrap();
    (read_runs(&maker.source(), &runs).unwrap(), runs)
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    stream.write_all(bytes).unwrap();
    stream.finish().unwrap()
}

/// Four blocks: plain, compressed, left out, and the tail in a fragment.
fn file_of_all_kinds() -> (Maker, Vec<u8>) {
    let mut maker = Maker::default();
    let plain: Vec<u8> = (0..BLOCK).map(|n| (n % 251) as u8).collect();
    let packed = zlib(&[7; BLOCK]);
    let start = maker.data(&plain);
    maker.data(&packed);
    let fragment = maker.data(b"other files' tails and the tail");
    maker.fragment = Some((fragment, 31 | 1 << 24));
    let lengths = [BLOCK as u32 | 1 << 24, packed.len() as u32, 0];
    let file = maker.inode(9, &long_file(start, 3 * BLOCK as u64 + 8, (0, 23), 0, &lengths));
    maker.root(&[("file", file)]);
    for (kind, name, value) in [(0u16, "b", "1"), (1, "a", "two")] {
        maker.xattrs.extend(kind.to_le_bytes());
        maker.xattrs.extend((name.len() as u16).to_le_bytes());
        maker.xattrs.extend(name.as_bytes());
        maker.xattrs.extend((value.len() as u32).to_le_bytes());
        maker.xattrs.extend(value.as_bytes());
    }
    maker.xattr_count = 2;
    let whole = [plain, vec![7; BLOCK], vec![0; BLOCK], b"the tail".to_vec()].concat();
    (maker, whole)
}

#[test]
fn every_part_of_a_file() {
    let (maker, whole) = file_of_all_kinds();
    let end = whole.len() as u64;
    for range in [0..end, 0..1, 5..4097, 4000..9000, 8191..8193, 12_000..end, end - 1..end, end..end + 9, 0..u64::MAX] {
        let wanted = &whole[range.start as usize..(range.end.min(end)) as usize];
        assert_eq!(content(&maker, b"file", range).0, wanted);
    }
    let (_, runs) = content(&maker, b"file", 0..end);
    let lens: Vec<u64> = runs.iter().map(Run::len).collect();
    assert_eq!(lens, [4096, 4096, 4096, 8]);
    assert_eq!(runs[0], Run::Below { offset: 96, len: 4096 });
    assert_eq!(runs[2], Run::Zero { len: 4096 });
}

#[test]
fn what_is_known_of_a_node() {
    let (maker, _) = file_of_all_kinds();
    let mut fs = maker.open();
    let id = fs.lookup(fs.root(), b"file").unwrap();
    let node = fs.node(id).unwrap();
    assert_eq!((node.kind, node.mode, node.links), (NodeKind::File, Some(0o751), Some(3)));
    assert_eq!((node.uid, node.gid), (Some(10), Some(3_000_000_000)));
    assert_eq!(node.mtime.unwrap().secs, 3_000_000_000);
    let xattrs: Vec<_> = fs.xattrs(id).unwrap().into_iter().map(|x| (x.name, x.value)).collect();
    assert_eq!(xattrs, [(b"trusted.a".to_vec(), b"two".to_vec()), (b"user.b".to_vec(), b"1".to_vec())]);
    assert_eq!(fs.used().unwrap().unwrap(), [0..maker.bytes().len() as u64]);
    assert!(matches!(fs.link(id), Err(Error::WrongKind)));
    assert!(matches!(fs.list(id, 0, &mut |_| true), Err(Error::NotAFolder)));
    assert!(matches!(fs.lookup(fs.root(), b"fill"), Err(Error::NotFound)));
}

/// A folder of 3,000 names with an index, as the root.
fn large_folder() -> (Maker, Vec<String>) {
    let mut maker = Maker::default();
    let names: Vec<String> = (0..3000).map(|n| format!("name-{n:06}")).collect();
    let file = maker.inode(2, &words(&[0, NONE, 0, 0]));
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), file)).collect();
    let (_, len, groups) = maker.folder(&entries, 100);
    let indexed: Vec<_> = groups.iter().skip(1).step_by(3).collect();
    let mut body = words(&[2, len, 0, 1]);
    body.extend((indexed.len() as u16).to_le_bytes());
    body.extend(0u16.to_le_bytes());
    body.extend(words(&[NONE]));
    for (at, name) in indexed {
        let block = at / METADATA_BYTES as u32 * (METADATA_BYTES as u32 + 2);
        body.extend(words(&[*at, block, name.len() as u32 - 1]));
        body.extend(name.as_bytes());
    }
    maker.root = maker.inode(8, &body);
    (maker, names)
}

#[test]
fn names_are_found_through_the_index() {
    let (maker, names) = large_folder();
    let mut fs = maker.open();
    for name in &names {
        fs.lookup(fs.root(), name.as_bytes()).unwrap();
    }
    for name in ["", "a", "name-", "name-0000005", "name-003000", "z"] {
        assert!(matches!(fs.lookup(fs.root(), name.as_bytes()), Err(Error::NotFound)), "{name}");
    }
}

#[test]
fn a_listing_goes_on_after_any_cursor() {
    let (maker, names) = large_folder();
    let mut fs = maker.open();
    let mut all = Vec::new();
    fs.list(fs.root(), 0, &mut |entry| {
        all.push(entry);
        true
    })
    .unwrap();
    assert_eq!(all.len(), names.len());
    assert!(all.is_sorted_by(|a, b| a.cursor < b.cursor && a.name < b.name));
    for n in (0..all.len()).step_by(37).chain([all.len() - 1]) {
        let mut next = None;
        fs.list(fs.root(), all[n].cursor, &mut |entry| {
            next = Some(entry);
            false
        })
        .unwrap();
        assert_eq!(next.as_ref(), all.get(n + 1));
    }
}

#[test]
fn damage_is_told() {
    let fault = |maker: &Maker| match open(&maker.source()) {
        Err(error) => error.to_string(),
        Ok(fs) => {
            let mut fs = fs.unwrap();
            let node = fs.lookup(fs.root(), b"file").unwrap();
            fs.map(node, 0..u64::MAX, &mut Vec::new()).unwrap_err().to_string()
        }
    };
    let with = |at: usize, bytes: &[u8]| {
        let (mut maker, _) = file_of_all_kinds();
        maker.change.push((at, bytes.to_vec()));
        fault(&maker)
    };
    assert!(with(28, &[3]).contains("SquashFS 3.0 is not supported"));
    assert!(with(20, &[2]).contains("lzma is not supported"));
    assert!(with(12, &[1, 16]).contains("no such size of a block"));
    assert!(with(40, &[0xff; 7]).contains("longer than the disk"));
    assert!(with(72, &[96, 0]).contains("not in order"));
    let (mut maker, _) = file_of_all_kinds();
    for (word, why) in [(5 | 1 << 24, "not the length"), (5000, "no such length"), (1 << 25, "no such length")] {
        let at = maker.inodes.len() - 16 - 16 - 12;
        maker.inodes[at..at + 4].copy_from_slice(&words(&[word]));
        assert!(fault(&maker).contains(why), "{word}: {}", fault(&maker));
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    for name in [".", "..", "a/b", "a\0"] {
        let mut maker = Maker::default();
        let file = maker.inode(2, &words(&[0, NONE, 0, 0]));
        maker.root(&[(name, file)]);
        let mut fs = maker.open();
        assert!(fs.list(fs.root(), 0, &mut |_| true).is_err(), "{name}");
    }
}

#[test]
fn blocks_come_back_and_bombs_do_not() {
    let text = b"bygone ".repeat(40);
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|n| u8::from_str_radix(&text[n * 2..n * 2 + 2], 16).unwrap()).collect()
    };
    let xz = hex(XZ_8K);
    let packed = [
        (Compressor::Gzip, zlib(&text)),
        (Compressor::Zstd, zstd::bulk::compress(&text, 1).unwrap()),
        (Compressor::Lz4, lz4_flex::block::compress(&text)),
        (Compressor::Xz, xz.clone()),
        (Compressor::Lzo, hex(LZO)),
    ];
    for (kind, block) in packed {
        assert_eq!(kind.decompress(&block, text.len(), 0).unwrap(), text, "{kind:?}");
        assert!(kind.decompress(&block, text.len() - 1, 0).is_err(), "{kind:?}");
        assert!(kind.decompress(&block[..block.len() - 1], text.len(), 0).is_err(), "{kind:?}");
        assert!(kind.decompress(&[], 99, 0).is_err(), "{kind:?}");
    }
    // A dictionary longer than any block.
    assert!(Compressor::Xz.decompress(&hex(XZ_64M), 8192, 0).is_err());
}

#[test]
fn shared_values_cannot_become_very_many() {
    let (mut maker, _) = file_of_all_kinds();
    maker.xattrs.clear();
    maker.xattrs.extend(words(&[60_000]));
    maker.xattrs.extend(vec![b'v'; 60_000]);
    let start = maker.xattrs.len();
    for _ in 0..5000 {
        maker.xattrs.extend(0x100u16.to_le_bytes());
        maker.xattrs.extend(1u16.to_le_bytes());
        maker.xattrs.extend(b"n");
        maker.xattrs.extend(words(&[8, 0, 0]));
    }
    maker.xattr_count = 5000;
    let bytes = maker.bytes();
    // The set begins behind the value.
    let block = start / METADATA_BYTES * (METADATA_BYTES + 2);
    let reference = ((block as u64) << 16 | (start % METADATA_BYTES) as u64).to_le_bytes();
    let at = bytes.len() - 24 - 16;
    maker.change.push((at, reference.to_vec()));
    let mut fs = maker.open();
    let node = fs.lookup(fs.root(), b"file").unwrap();
    assert!(fs.xattrs(node).unwrap_err().to_string().contains("more than any system holds"));
}

#[test]
fn what_follows_is_not_known_to_be_free() {
    let (maker, _) = file_of_all_kinds();
    let len = maker.bytes().len();
    for (more, is_known) in [(0, true), (4095, true), (4096, false), (1 << 20, false)] {
        let mut bytes = maker.bytes();
        bytes.resize(len + more, 1);
        let used = open(&(Arc::new(bytes) as Source)).unwrap().unwrap().used().unwrap();
        assert_eq!(used, is_known.then(|| std::iter::once(0..len as u64).collect()), "{more}");
    }
}

#[test]
fn what_is_none_is_not_opened() {
    for bytes in [Vec::<u8>::new(), vec![0; 95], vec![0; 4096]] {
        let source: Source = Arc::new(bytes);
        assert!(open(&source).unwrap().is_none());
        assert!(source.len() <= 4096);
    }
}

const LZO: &str = "186279676f6e652020f01800110000";
const XZ_8K: &str = "fd377a585a0000016922de360200210102000000bcef9e7ce00117000e5d00311e4912a285514a325421b0000000000072384f1f0001269802000000ac96df593e300d8b020000000001595a";
const XZ_64M: &str = "fd377a585a0000016922de36020021011c00000010cf58cce00117000e5d00311e4912a285514a325421b0000000000072384f1f0001269802000000ac96df593e300d8b020000000001595a";
