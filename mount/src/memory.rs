//! A drive in memory, for tests and benchmarks.
//!
//! Built node by node with [`MemoryBuilder`]; after that it never changes. It can be made slow, faulty or late on
//! purpose, node by node, so that what a drive does when the network does not answer is tested without a network.
//! Big files and folders are made up as they are read and cost no memory.

mod build;

pub use build::MemoryBuilder;

use crate::drive::Answer;
use crate::drive::Attr;
use crate::drive::Caller;
use crate::drive::Drive;
use crate::drive::DriveError;
use crate::drive::FileKind;
use crate::drive::Ino;
use crate::drive::Listed;
use crate::drive::Listing;
use crate::drive::Result;
use crate::drive::Seek;
use crate::drive::Volume;
use build::attr;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Each crowd has this many numbers for its members, the first at its own multiple.
const CROWD_SPAN: Ino = 1 << 40;

/// Content that is made up from the offset: byte `i` of the 8-byte word at `offset` is byte `i` of a product.
#[must_use]
pub fn pattern(offset: u64, len: usize) -> Vec<u8> {
    let byte = |at: u64| (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[(at % 8) as usize];
    (offset..offset + len as u64).map(byte).collect()
}

/// Holds requests back until it is opened.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Gate {
    fn new() -> Gate {
        Gate { open: Arc::new(watch::Sender::new(false)), waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets all requests pass, those to come as well.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until so many requests have come to the gate.
    pub async fn reached(&self, requests: usize) {
        // Fails only if the sender is gone, which this gate holds.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting >= requests).await;
    }

    async fn pass(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

#[derive(Debug)]
enum Body {
    /// Sorted by name once it is built.
    Folder(Vec<(Vec<u8>, Ino)>),
    /// So many files named `prefix` and seven digits, each holding its own name.
    Crowd {
        prefix: String,
        count: u64,
    },
    /// Pieces of content by offset; the rest is holes.
    File(BTreeMap<u64, Bytes>),
    /// Made-up content.
    Pattern,
    Symlink(Bytes),
    Special,
}

#[derive(Debug)]
struct Node {
    attr: Attr,
    parent: Ino,
    body: Body,
    xattrs: BTreeMap<Vec<u8>, Bytes>,
    fault: Option<DriveError>,
    delay: Option<Duration>,
    gate: Option<Gate>,
}

/// A drive in memory; see [`MemoryBuilder`].
#[derive(Debug)]
pub struct MemoryDrive {
    nodes: HashMap<Ino, Node>,
    volume: Volume,
    xattrs: bool,
    late: bool,
}

impl MemoryDrive {
    fn node(&self, ino: Ino) -> Result<&Node> {
        self.nodes.get(&ino).ok_or(DriveError::NotFound)
    }

    /// Name of a member of a crowd.
    fn member(&self, ino: Ino) -> Result<String> {
        match self.nodes.get(&(ino - ino % CROWD_SPAN)).map(|crowd| &crowd.body) {
            Some(Body::Crowd { prefix, count }) if (1..=*count).contains(&(ino % CROWD_SPAN)) => {
                Ok(format!("{prefix}{:07}", ino % CROWD_SPAN - 1))
            }
            _ => Err(DriveError::NotFound),
        }
    }

    fn attr_now(&self, ino: Ino) -> Result<Attr> {
        match self.nodes.get(&ino) {
            Some(node) => Ok(node.attr),
            None => Ok(attr(ino, FileKind::File, 0o644, self.member(ino)?.len() as u64)),
        }
    }

    fn lookup_now(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        match &self.node(parent)?.body {
            Body::Folder(entries) => {
                let found = entries.binary_search_by(|(entry, _)| entry.as_slice().cmp(name));
                self.attr_now(entries[found.map_err(|_| DriveError::NotFound)?].1)
            }
            Body::Crowd { prefix, .. } => {
                let digits = name.strip_prefix(prefix.as_bytes()).and_then(|digits| std::str::from_utf8(digits).ok());
                let number: Ino = digits.and_then(|digits| digits.parse().ok()).ok_or(DriveError::NotFound)?;
                let ino = number.checked_add(parent + 1).ok_or(DriveError::NotFound)?;
                if self.member(ino)?.as_bytes() == name { self.attr_now(ino) } else { Err(DriveError::NotFound) }
            }
            _ => Err(DriveError::NotAFolder),
        }
    }

    fn list_now(&self, folder: Ino, cursor: u64, entries_max: usize) -> Result<Listing> {
        let node = self.node(folder)?;
        let entry = |name, ino, cursor| Ok(Listed { name, attr: self.attr_now(ino)?, cursor });
        let (entries, len): (Result<Vec<Listed>>, u64) = match &node.body {
            Body::Folder(entries) => {
                let rest = entries.iter().zip(1..).skip(cursor as usize).take(entries_max);
                (rest.map(|((name, ino), next)| entry(name.clone(), *ino, next)).collect(), entries.len() as u64)
            }
            Body::Crowd { count, .. } => {
                let numbers = cursor + 1..=(*count).min(cursor.saturating_add(entries_max as u64));
                let member = |number| entry(self.member(folder + number)?.into_bytes(), folder + number, number);
                (numbers.map(member).collect(), *count)
            }
            _ => return Err(DriveError::NotAFolder),
        };
        let entries = entries?;
        let end = cursor + entries.len() as u64 >= len;
        Ok(Listing { entries, parent: node.parent, end })
    }

    fn read_now(&self, ino: Ino, offset: u64, len: u32) -> Result<Bytes> {
        let Some(node) = self.nodes.get(&ino) else {
            let content = Bytes::from(self.member(ino)?);
            let start = content.len().min(offset as usize);
            return Ok(content.slice(start..content.len().min(start + len as usize)));
        };
        let end = offset.saturating_add(u64::from(len)).min(node.attr.size).max(offset);
        let len = (end - offset) as usize;
        match &node.body {
            Body::Pattern => Ok(pattern(offset, len).into()),
            Body::File(pieces) => {
                let mut content = vec![0; len];
                for (start, piece) in pieces.range(..end) {
                    let from = offset.max(*start);
                    let to = end.min(start + piece.len() as u64);
                    if from < to {
                        let part = &piece[(from - start) as usize..(to - start) as usize];
                        content[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
                    }
                }
                Ok(content.into())
            }
            Body::Folder(_) | Body::Crowd { .. } => Err(DriveError::IsAFolder),
            Body::Symlink(_) | Body::Special => Err(DriveError::Invalid),
        }
    }

    fn seek_now(&self, ino: Ino, offset: u64, what: Seek) -> Result<u64> {
        let size = self.attr_now(ino)?.size;
        if offset >= size {
            return Err(DriveError::BeyondEnd);
        }
        let whole = BTreeMap::from([(0, size)]);
        let pieces = match self.nodes.get(&ino).map(|node| &node.body) {
            Some(Body::File(pieces)) => pieces.iter().map(|(start, piece)| (*start, piece.len() as u64)).collect(),
            _ => whole,
        };
        let mut at = offset;
        for (start, len) in pieces {
            match what {
                Seek::Data if at < start + len => return Ok(at.max(start)),
                Seek::Hole if at < start => break,
                Seek::Hole => at = at.max(start + len),
                Seek::Data => {}
            }
        }
        if what == Seek::Data { Err(DriveError::BeyondEnd) } else { Ok(at.min(size)) }
    }

    /// An answer, now or later as this drive is made.
    fn answer<T: Send + 'static>(&self, result: Result<T>) -> Answer<T> {
        if self.late { Answer::later(async move { result }) } else { Answer::Now(result) }
    }

    /// An answer about content, with the trouble that was ordered.
    fn troubled<T: Send + 'static>(&self, ino: Ino, result: Result<T>) -> Answer<T> {
        let Some(node) = self.nodes.get(&ino) else { return self.answer(result) };
        let result = node.fault.map_or(result, Err);
        if node.gate.is_none() && node.delay.is_none() {
            return self.answer(result);
        }
        let (gate, delay) = (node.gate.clone(), node.delay);
        Answer::later(async move {
            if let Some(gate) = gate {
                gate.pass().await;
            }
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            result
        })
    }
}

impl Drive for MemoryDrive {
    fn volume(&self) -> Volume {
        self.volume.clone()
    }

    fn has_xattrs(&self) -> bool {
        self.xattrs
    }

    fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Attr> {
        self.answer(self.lookup_now(parent, name))
    }

    fn attr(&self, ino: Ino) -> Answer<Attr> {
        self.answer(self.attr_now(ino))
    }

    fn list(&self, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing> {
        self.troubled(folder, self.list_now(folder, cursor, entries_max))
    }

    fn read(&self, ino: Ino, offset: u64, len: u32, _: Caller) -> Answer<Bytes> {
        self.troubled(ino, self.read_now(ino, offset, len))
    }

    fn read_link(&self, ino: Ino) -> Answer<Bytes> {
        let target = self.node(ino).and_then(|node| match &node.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(DriveError::Invalid),
        });
        self.troubled(ino, target)
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Bytes> {
        let value = self.nodes.get(&ino).and_then(|node| node.xattrs.get(name)).cloned();
        self.troubled(ino, value.ok_or(DriveError::NoAttribute))
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        let names = self.nodes.get(&ino).map(|node| node.xattrs.keys().cloned().collect());
        self.troubled(ino, Ok(names.unwrap_or_default()))
    }

    fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        self.troubled(ino, self.seek_now(ino, offset, what))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::drive::ROOT;

    fn now<T>(answer: Answer<T>) -> Result<T> {
        match answer {
            Answer::Now(result) => result,
            Answer::Later(_) => panic!("answer came later"),
        }
    }

    #[test]
    fn holes_are_found_and_read_as_zeros() {
        let mut builder = MemoryBuilder::new();
        let pieces = [(0, Bytes::from_static(b"aa")), (10, Bytes::from_static(b"bb"))];
        let ino = builder.sparse(ROOT, "s", 20, pieces);
        let drive = builder.build();
        assert_eq!(&now(drive.read(ino, 1, 10, Caller::default())).unwrap()[..], b"a\0\0\0\0\0\0\0\0b");
        assert_eq!(now(drive.read(ino, 19, 10, Caller::default())).unwrap().len(), 1);
        assert_eq!(now(drive.read(ino, 25, 10, Caller::default())).unwrap().len(), 0);
        let seek = |offset, what| now(drive.seek(ino, offset, what));
        assert_eq!(seek(0, Seek::Data), Ok(0));
        assert_eq!(seek(0, Seek::Hole), Ok(2));
        assert_eq!(seek(2, Seek::Data), Ok(10));
        assert_eq!(seek(5, Seek::Hole), Ok(5));
        assert_eq!(seek(11, Seek::Hole), Ok(12));
        assert_eq!(seek(12, Seek::Data), Err(DriveError::BeyondEnd));
        assert_eq!(seek(20, Seek::Hole), Err(DriveError::BeyondEnd));
    }

    #[test]
    fn crowds_agree_between_listing_and_lookup() {
        let mut builder = MemoryBuilder::new();
        let crowd = builder.crowd(ROOT, "c", "n", 5);
        let drive = builder.build();
        let listing = now(drive.list(crowd, 3, 10)).unwrap();
        assert!(listing.end && listing.parent == ROOT);
        let names: Vec<_> = listing.entries.iter().map(|entry| entry.name.clone()).collect();
        assert_eq!(names, [b"n0000003", b"n0000004"]);
        assert_eq!(now(drive.lookup(crowd, b"n0000004")).unwrap(), listing.entries[1].attr);
        for missing in [b"n0000005".as_slice(), b"n4", b"x", b"n18446744073709551615"] {
            assert_eq!(now(drive.lookup(crowd, missing)), Err(DriveError::NotFound));
        }
    }
}
