//! Metadata blocks: at most 8 KiB of a table each, one after the other, read as if they were one stream.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::squash::compressor::Compressor;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

/// Most bytes of a metadata block, and exactly those of any but the last of a table.
pub(super) const METADATA_BYTES: usize = 8 << 10;
const WHAT: &str = "SquashFS metadata block";
const STORED_PLAIN: u16 = 1 << 15;
const CACHED_BLOCKS: NonZeroUsize = NonZeroUsize::new(256).expect("more than none");

/// A place in a table: the metadata block that begins at byte `block`, and a byte in it once it is decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) block: u64,
    pub(super) offset: usize,
}

impl Place {
    /// Out of the reference `block << 16 | offset`, relative to the table at `table`.
    pub(super) fn from_reference(table: u64, reference: u64) -> Result<Place> {
        Place::new(table, reference >> 16, (reference & 0xffff) as usize)
    }

    /// Out of its parts, the block relative to the table at `table`.
    pub(super) fn new(table: u64, block: u64, offset: usize) -> Result<Place> {
        let fault = |why| Error::damaged(WHAT, table, why);
        if offset >= METADATA_BYTES {
            return Err(fault("a reference points behind its end"));
        }
        let block = table.checked_add(block).ok_or_else(|| fault("a reference points behind the disk"))?;
        Ok(Place { block, offset })
    }
}

#[derive(Clone)]
struct Block {
    bytes: Arc<[u8]>,
    /// Where the next one begins.
    next: u64,
}

/// The metadata blocks of a file system.
pub(super) struct Metadata {
    source: Source,
    compressor: Compressor,
    end: u64,
    cache: LruCache<u64, Block>,
}

impl Metadata {
    /// Of the file system on `source` that ends at byte `end`.
    pub(super) fn new(source: Source, compressor: Compressor, end: u64) -> Metadata {
        Metadata { source, compressor, end, cache: LruCache::new(CACHED_BLOCKS) }
    }

    /// `len` bytes from `place` on, which moves behind them. Memory is taken as they come, not after `len`.
    pub(super) fn read(&mut self, place: &mut Place, len: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.each(place, len, &mut |part| out.extend_from_slice(part))?;
        Ok(out)
    }

    /// Moves `place` on by `len` bytes.
    pub(super) fn skip(&mut self, place: &mut Place, len: usize) -> Result<()> {
        self.each(place, len, &mut |_| ())
    }

    fn each(&mut self, place: &mut Place, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut left = len;
        while left > 0 {
            let block = self.block(place.block)?;
            let part = block.bytes.get(place.offset..).unwrap_or_default();
            if part.is_empty() {
                // Only a full block goes on in the next.
                if block.bytes.len() < METADATA_BYTES {
                    return Err(Error::damaged(WHAT, place.block, "its table ends too early"));
                }
                *place = Place { block: block.next, offset: place.offset - METADATA_BYTES };
                continue;
            }
            let part = &part[..part.len().min(left)];
            take(part);
            left -= part.len();
            place.offset += part.len();
        }
        Ok(())
    }

    /// Bytes of the disk in which the metadata block at `at` stands.
    pub(super) fn range(&mut self, at: u64) -> Result<Range<u64>> {
        Ok(at..self.block(at)?.next)
    }

    fn block(&mut self, at: u64) -> Result<Block> {
        if let Some(block) = self.cache.get(&at) {
            return Ok(block.clone());
        }
        let block = self.read_block(at)?;
        self.cache.put(at, block.clone());
        Ok(block)
    }

    fn read_block(&self, at: u64) -> Result<Block> {
        let fault = |why| Error::damaged(WHAT, at, why);
        let there = self.end.saturating_sub(at).min(METADATA_BYTES as u64 + 2);
        let mut stored = vec![0; there as usize];
        self.source.read_at(at, &mut stored)?;
        let (header, stored) = stored.split_first_chunk().ok_or_else(|| fault("it stands behind the end"))?;
        let header = u16::from_le_bytes(*header);
        let len = usize::from(header & !STORED_PLAIN);
        if len == 0 || len > METADATA_BYTES {
            return Err(fault("no such length"));
        }
        let stored = stored.get(..len).ok_or_else(|| fault("it goes beyond the end"))?;
        let bytes: Arc<[u8]> = match header & STORED_PLAIN {
            0 => self.compressor.decompress(stored, METADATA_BYTES, at)?.into(),
            _ => stored.into(),
        };
        if bytes.is_empty() {
            return Err(fault("it is empty"));
        }
        Ok(Block { bytes, next: at + 2 + len as u64 })
    }
}
