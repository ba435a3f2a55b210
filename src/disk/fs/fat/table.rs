//! The file allocation table: for each cluster the one after it.
//!
//! exFAT's is the same with 32 bits. (Microsoft FAT32 File System Specification 1.03, "FAT Data Structure"; exFAT file
//! system specification, 4.1.)

use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::fat::heap::Heap;
use crate::disk::source::beyond_end;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of the table that are read at once.
const PAGE_BYTES: u64 = 4096;
/// Pages kept: 1 MiB.
const PAGES_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Bits of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// FAT12.
    Bits12,
    /// FAT16.
    Bits16,
    /// FAT32: 32, of which the upper four are not to be looked at.
    Bits28,
    /// exFAT.
    Bits32,
}

impl Width {
    fn bits(self) -> u64 {
        match self {
            Width::Bits12 => 12,
            Width::Bits16 => 16,
            Width::Bits28 | Width::Bits32 => 32,
        }
    }

    /// Entries in a table of that many bytes.
    pub(crate) fn entries(self, bytes: u64) -> u64 {
        bytes.saturating_mul(8) / self.bits()
    }

    /// The bytes that hold an entry.
    fn place(self, cluster: u32) -> (u64, usize) {
        let at = u64::from(cluster) * self.bits() / 8;
        (at, if self == Width::Bits28 || self == Width::Bits32 { 4 } else { 2 })
    }
}

/// What the table says of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing is in it.
    Free,
    /// Its file goes on in this cluster, which is there.
    Next(u32),
    /// Its file ends in it.
    End,
    /// It cannot be used.
    Bad,
    /// A number that leads nowhere.
    Nowhere,
}

/// The table in force.
pub(crate) struct Table {
    source: Source,
    start: u64,
    width: Width,
    heap: Heap,
    pages: LruCache<u64, Arc<[u8]>>,
    /// The page that was used last, and its number.
    last: (u64, Arc<[u8]>),
}

impl Table {
    /// The table that begins at `start` and has an entry for every cluster of `heap`.
    pub(crate) fn new(source: Source, start: u64, width: Width, heap: Heap) -> Table {
        Table { source, start, width, heap, pages: LruCache::new(PAGES_MAX), last: (u64::MAX, Arc::default()) }
    }

    /// What comes after `cluster`.
    pub(crate) fn link(&mut self, cluster: u32) -> Result<Link> {
        let value = self.value(cluster)?;
        let bad = match self.width {
            Width::Bits12 => 0xFF7,
            Width::Bits16 => 0xFFF7,
            Width::Bits28 => 0x0FFF_FFF7,
            Width::Bits32 => 0xFFFF_FFF7,
        };
        Ok(match value {
            0 => Link::Free,
            value if self.heap.contains(value) => Link::Next(value),
            value if value == bad => Link::Bad,
            u32::MAX => Link::End,
            value if value > bad && self.width != Width::Bits32 => Link::End,
            _ => Link::Nowhere,
        })
    }

    /// The bits of an entry, as they are. Entries 0 and 1 are no clusters.
    pub(crate) fn value(&mut self, cluster: u32) -> Result<u32> {
        let (at, len) = self.width.place(cluster);
        let mut raw = [0; 4];
        // An entry of 12 bits may lie in two pages.
        let mut done = 0;
        while done < len {
            let (number, within) = ((at + done as u64) / PAGE_BYTES, ((at + done as u64) % PAGE_BYTES) as usize);
            let page = self.page(number)?.get(within..).unwrap_or_default();
            let part = page.get(..page.len().min(len - done)).unwrap_or_default();
            if part.is_empty() {
                return Err(beyond_end(self.start.saturating_add(at)));
            }
            for (to, from) in raw.iter_mut().skip(done).zip(part) {
                *to = *from;
            }
            done += part.len();
        }
        let raw = u32::from_le_bytes(raw);
        Ok(match self.width {
            Width::Bits12 if cluster & 1 != 0 => raw >> 4,
            Width::Bits12 => raw & 0xFFF,
            Width::Bits16 | Width::Bits32 => raw,
            Width::Bits28 => raw & 0x0FFF_FFFF,
        })
    }

    /// The bytes of the source that are read to follow `cluster`.
    pub(crate) fn page_of(&self, cluster: u32) -> Range<u64> {
        let (at, len) = self.width.place(cluster);
        let start = self.start.saturating_add(at / PAGE_BYTES * PAGE_BYTES);
        let end = (at + len as u64).next_multiple_of(PAGE_BYTES);
        start..self.start.saturating_add(end).min(self.source.len())
    }

    fn page(&mut self, number: u64) -> Result<&[u8]> {
        if self.last.0 != number {
            self.last = (number, self.read(number)?);
        }
        Ok(&self.last.1)
    }

    fn read(&mut self, number: u64) -> Result<Arc<[u8]>> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        let start = self.start.saturating_add(number * PAGE_BYTES);
        let len = self.source.len().saturating_sub(start).min(PAGE_BYTES);
        let mut page = vec![0; len as usize];
        self.source.read_at(start, &mut page)?;
        let page: Arc<[u8]> = page.into();
        self.pages.put(number, page.clone());
        Ok(page)
    }
}
