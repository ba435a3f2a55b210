//! Hostile disks: what the parsers of file systems, containers, tables and volumes are fed.
//!
//! An input is a sparse image, so that a file of some KiB is a disk of some hundred MiB and a changed byte of the file
//! is a changed byte of the disk: length (u64), number of pieces (u16), the place (u48) and length (u16) of each, all
//! little-endian, then their bytes. Where formats have checksums, the image is looked at a second time with those put
//! right, as whoever made it on purpose would.
//!
//! Effort is bounded, and reads are counted: what reads without end fails.

#[path = "images/mend.rs"]
mod mend;
#[path = "images/sparse.rs"]
mod sparse;

use bygone::disk::BlockSource;
use bygone::disk::Disk;
use bygone::disk::Fields;
use bygone::disk::Run;
use bygone::disk::container;
use bygone::disk::fs;
use bygone::disk::fs::Entry;
use bygone::disk::fs::FileSystem;
use bygone::disk::fs::NODE_ID_END;
use bygone::disk::fs::NodeId;
use bygone::disk::fs::NodeKind;
use bygone::disk::fs::Source;
use bygone::disk::layout;
use bygone::disk::layout::Look;
use bygone::disk::read_runs;
use bygone::disk::table;
use bygone::disk::volume::luks;
use bygone::disk::volume::lvm;
use sparse::Sparse;
use std::ops::Range;
use std::sync::Arc;

/// Nodes that are looked at.
const NODES_MAX: usize = 160;
/// Entries of one folder, and how many are asked for at once.
const ENTRIES_MAX: usize = 200;
const ENTRIES_STEP: usize = 9;
/// Bytes that are read at once.
const BYTES: u64 = 48 << 10;
/// Iterations or KiB of a key derivation that are worth it.
const COST_MAX: u64 = 1100;

/// Everything here that takes a disk.
pub(crate) const FEEDS: [fn(&[u8]) -> bool; 5] =
    [file_system, virtual_disk, partition_table, logical_volumes, encrypted];

/// Where in the input the bytes of the image begin; nothing if it is no image.
pub(crate) fn bytes_from(data: &[u8]) -> Option<usize> {
    sparse::bytes_from(data)
}

/// The image as it is, and mended.
fn both(data: &[u8], look: impl Fn(&Source) -> bool) -> bool {
    let Some(image) = Sparse::decode(data) else { return false };
    let mended = mend::mended(&image);
    let plainly = look(&(Arc::new(image) as Source));
    mended.is_some_and(|image| look(&(Arc::new(image) as Source))) | plainly
}

pub(crate) fn file_system(data: &[u8]) -> bool {
    both(data, |source| match fs::open(source) {
        Ok(Some(mut fs)) => {
            walk(&mut *fs, source);
            true
        }
        _ => false,
    })
}

fn walk(fs: &mut dyn FileSystem, source: &Source) {
    let _told = fs.about();
    let mut waiting = vec![fs.root()];
    let mut next = 0;
    while let Some(id) = waiting.get(next).copied() {
        next += 1;
        let Ok(node) = fs.node(id) else { continue };
        let _known = fs.xattrs(id);
        match node.kind {
            NodeKind::Folder => entries(fs, id, &mut waiting),
            NodeKind::File => content(fs, source, id, node.size),
            _ => {
                let _known = fs.link(id);
            }
        }
    }
    if let Ok(Some(used)) = fs.used() {
        let mut end = 0;
        for range in used {
            assert!(range.start >= end && range.end > range.start, "ranges in use are sorted and apart");
            end = range.end;
        }
    }
    let mut left = 2000;
    let _told = fs.metadata(&mut |_| {
        left -= 1;
        left > 0
    });
}

fn entries(fs: &mut dyn FileSystem, folder: NodeId, waiting: &mut Vec<NodeId>) {
    let (mut cursor, mut seen) = (0, 0);
    loop {
        let mut part: Vec<Entry> = Vec::new();
        let listed = fs.list(folder, cursor, &mut |entry| {
            assert!(part.len() < ENTRIES_STEP, "nothing is told to whoever had enough");
            part.push(entry);
            part.len() < ENTRIES_STEP
        });
        for entry in &part {
            assert!(entry.cursor > cursor, "cursors grow");
            assert!(entry.node < NODE_ID_END && !matches!(&entry.name[..], b"" | b"." | b".."));
            assert!(!entry.name.contains(&b'/') && !entry.name.contains(&0), "a name can stand in a path");
            cursor = entry.cursor;
            if waiting.len() < NODES_MAX && !waiting.contains(&entry.node) {
                waiting.push(entry.node);
                let _found = fs.lookup(folder, &entry.name);
            }
        }
        seen += part.len();
        if listed.is_err() || part.len() < ENTRIES_STEP || seen > ENTRIES_MAX {
            break;
        }
    }
    let _none = fs.lookup(folder, b"no such name");
}

/// The beginning, the middle and the end.
fn content(fs: &mut dyn FileSystem, source: &Source, file: NodeId, size: u64) {
    for range in windows(size) {
        let mut runs = Vec::new();
        if fs.map(file, range.clone(), &mut runs).is_ok() {
            check_runs(&runs, &range);
            let _bytes = read_runs(&**source, &runs);
        }
    }
}

fn check_runs(runs: &[Run], range: &Range<u64>) {
    let len: u64 = runs.iter().map(Run::len).sum();
    assert_eq!(len, range.end - range.start, "runs are as long as what was asked for");
}

fn windows(size: u64) -> [Range<u64>; 3] {
    let window = |start: u64| start..size.min(start.saturating_add(BYTES));
    [window(0), window(size / 2), window(size.saturating_sub(777))]
}

/// Both ways to read a source must give the same.
fn compare(source: &Source, below: &Source) {
    for range in windows(source.len()) {
        let (mut runs, mut read) = (Vec::new(), vec![0; (range.end - range.start) as usize]);
        let read = source.read_at(range.start, &mut read).map(|()| read);
        if source.map(range.clone(), &mut runs).is_ok() {
            check_runs(&runs, &range);
            if let (Ok(mapped), Ok(read)) = (read_runs(&**below, &runs), read) {
                assert!(mapped == read, "two ways to read it differ");
            }
        }
    }
}

pub(crate) fn virtual_disk(data: &[u8]) -> bool {
    both(data, |source| {
        let neighbour = |_: &str| Ok(Arc::new(vec![7u8; 3 << 10]) as Source);
        let Ok(Some(found)) = container::open(source.clone(), &neighbour) else { return false };
        compare(&found.disk, &found.below);
        let _bitmaps = found.bitmaps.map(|bitmaps| bitmaps.read());
        true
    })
}

pub(crate) fn partition_table(data: &[u8]) -> bool {
    both(data, |source| {
        let Ok(layout) = Disk::open(source, &[], true, b"").and_then(|disk| disk.layout(Look::All)) else {
            return false;
        };
        let mut titles: Vec<&str> = layout.parts.iter().map(|part| &part.title[..]).collect();
        titles.sort_unstable();
        titles.dedup();
        assert!(titles.len() == layout.parts.len() && !titles.is_empty(), "every part has a title of its own");
        assert!(layout.parts.len() <= layout::PARTS_MAX + 1);
        assert!(layout.parts.iter().all(|part| part.range.start <= part.range.end && part.range.end <= source.len()));
        layout.table != table::TableKind::None
    })
}

pub(crate) fn logical_volumes(data: &[u8]) -> bool {
    both(data, |source| {
        let _is = lvm::is_lvm(source);
        let volumes = lvm::volumes(std::slice::from_ref(source)).unwrap_or_default();
        for volume in &volumes {
            if let (Ok(content), Some(0)) = (&volume.content, volume.below) {
                compare(content, source);
            }
        }
        !volumes.is_empty()
    })
}

pub(crate) fn encrypted(data: &[u8]) -> bool {
    both(data, |source| {
        if luks::about(source).is_err() {
            return false;
        }
        // A cost within the ceilings is paid, by design; here only small ones are.
        let mut header = vec![0; source.len().min(36 << 10) as usize];
        let cheap = source.read_at(0, &mut header).is_ok() && is_cheap(&header);
        if cheap && let Ok(plain) = luks::unlock(source.clone(), b"fuzz") {
            compare(&plain, source);
        }
        true
    })
}

fn is_cheap(header: &[u8]) -> bool {
    if header.get(6..8) == Some(&[0, 1]) {
        let fields = Fields::new(header, "LUKS header", 0);
        let cost = |at: usize| u64::from(fields.be32(at).unwrap_or(0));
        return cost(164) <= COST_MAX && (0..8).all(|slot| cost(208 + 48 * slot + 4) <= COST_MAX);
    }
    [&b"\"iterations\""[..], b"\"time\"", b"\"memory\""].iter().all(|name| {
        header.windows(name.len()).enumerate().filter(|(_, window)| window == name).all(|(at, _)| {
            let rest =
                header.get(at + name.len()..).unwrap_or_default().iter().skip_while(|b| b":\" \t\r\n".contains(b));
            let digits = rest.take_while(|b| !b",}".contains(b)).take(12);
            digits.fold(0u64, |n, b| n * 10 + u64::from(b.wrapping_sub(b'0'))) <= COST_MAX
        })
    })
}
