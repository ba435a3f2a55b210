//! Streams of bytes in clusters: files and folders, in chains or in one piece.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::Source;
use crate::disk::fs::fat::chain::Chain;
use crate::disk::fs::fat::heap::Heap;
use crate::disk::fs::fat::table::Link;
use crate::disk::fs::fat::table::Table;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

/// Chains known at once: 16 KiB each at most.
const CHAINS_MAX: NonZeroUsize = NonZeroUsize::new(128).expect("not zero");

/// Where a stream lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In one piece, outside of the clusters: the root folder of FAT12 and FAT16.
    Fixed { start: u64, bytes: u64 },
    /// In the chain of this cluster.
    Chain(u32),
    /// In clusters one behind the other, without a chain (exFAT).
    Straight { first: u32, count: u32 },
}

/// The clusters and their table.
pub(crate) struct Clusters {
    pub(crate) source: Source,
    pub(crate) heap: Heap,
    pub(crate) table: Table,
    chains: LruCache<u32, Arc<Chain>>,
    /// Where the last walk stopped: first cluster of the chain, how many-th, cluster.
    last: Option<(u32, u32, u32)>,
}

impl Clusters {
    /// The clusters of `heap` with their `table`.
    pub(crate) fn new(source: Source, heap: Heap, table: Table) -> Clusters {
        Clusters { source, heap, table, chains: LruCache::new(CHAINS_MAX), last: None }
    }

    /// The bytes of the source that hold the stream from `at` on, as far as they are together, up to about `most` of
    /// them. Empty at the end of the stream.
    pub(crate) fn piece(&mut self, place: Place, at: u64, most: u64) -> Result<Range<u64>> {
        let (start, bytes) = match place {
            Place::Fixed { start, bytes } => (start, bytes),
            Place::Straight { first, count } => {
                let is_there = count > 0 && self.heap.contains(first);
                let last = if is_there { first.checked_add(count - 1) } else { None };
                if !last.is_some_and(|last| self.heap.contains(last)) {
                    return Err(Error::damaged("file", 0, "it lies outside of the clusters"));
                }
                (self.heap.offset(first), u64::from(count) * u64::from(self.heap.cluster_bytes))
            }
            Place::Chain(first) => return self.chained(first, at, most),
        };
        // Both are far below 2^64.
        let (from, end) = (at.min(bytes), at.saturating_add(most).min(bytes));
        Ok(start + from..start + end)
    }

    fn chained(&mut self, first: u32, at: u64, most: u64) -> Result<Range<u64>> {
        let chain = self.chain(first)?;
        let cluster_bytes = u64::from(self.heap.cluster_bytes);
        let Some(index) = u32::try_from(at / cluster_bytes).ok().filter(|index| *index < chain.len) else {
            return Ok(0..0);
        };
        let (mut here, mut cluster) = self.near(first, &chain, index)?;
        while here < index {
            cluster = self.next(cluster)?;
            here += 1;
        }
        let start = self.heap.offset(cluster) + at % cluster_bytes;
        let mut end = self.heap.offset(cluster) + cluster_bytes;
        while end - start < most && here + 1 < chain.len {
            let next = self.next(cluster)?;
            here += 1;
            let is_straight = next == cluster + 1;
            cluster = next;
            if !is_straight {
                break;
            }
            end += cluster_bytes;
        }
        self.last = Some((first, here, cluster));
        Ok(start..end.min(start.saturating_add(most)))
    }

    /// The nearest known cluster of a chain up to the `index`th.
    fn near(&self, first: u32, chain: &Chain, index: u32) -> Result<(u32, u32)> {
        let marked = chain.mark(index).ok_or(Error::NotFound)?;
        let walked = self.last.filter(|(of, here, _)| *of == first && (marked.0..=index).contains(here));
        Ok(walked.map_or(marked, |(_, here, cluster)| (here, cluster)))
    }

    fn next(&mut self, cluster: u32) -> Result<u32> {
        match self.table.link(cluster)? {
            Link::Next(next) => Ok(next),
            // The chain was walked before.
            _ => Err(Error::damaged("file allocation table", 0, "it changed")),
        }
    }

    /// The chain that begins with `first`.
    pub(crate) fn chain(&mut self, first: u32) -> Result<Arc<Chain>> {
        if let Some(chain) = self.chains.get(&first) {
            return Ok(chain.clone());
        }
        if !self.heap.contains(first) {
            return Err(Error::damaged("file", 0, "it begins outside of the clusters"));
        }
        let chain = Arc::new(Chain::walk(&mut self.table, first)?);
        self.chains.put(first, chain.clone());
        Ok(chain)
    }

    /// Appends where the bytes of `range` lie, all of which the stream must have.
    pub(crate) fn map(&mut self, place: Place, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let piece = self.piece(place, at, range.end - at)?;
            if piece.is_empty() {
                return Err(Error::damaged("file", 0, "its chain ends before it"));
            }
            let len = piece.end - piece.start;
            Run::Below { offset: piece.start, len }.push(runs);
            at += len;
        }
        Ok(())
    }

    /// Calls `take` with the ranges that are read to list a folder: its clusters, and of the table what leads to them.
    pub(crate) fn ranges(&mut self, place: Place, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<bool> {
        let (mut at, mut last_page) = (0, None);
        loop {
            let piece = self.piece(place, at, u64::MAX)?;
            if piece.is_empty() {
                return Ok(true);
            }
            at += piece.end - piece.start;
            if let Place::Chain(_) = place
                && let Some(first) = self.heap.cluster_at(piece.start)
                && let Some(last) = self.heap.cluster_at(piece.end - 1)
            {
                let pages = self.table.page_of(first).start..self.table.page_of(last).end;
                if last_page.as_ref() != Some(&pages) && !take(pages.clone()) {
                    return Ok(false);
                }
                last_page = Some(pages);
            }
            if !take(piece) {
                return Ok(false);
            }
        }
    }
}
