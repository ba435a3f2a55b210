//! Content of files: blocks, compressed or not or left out, and a tail that shares a block with others, a fragment.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::RUNS_BYTES_MAX;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::NodeId;
use crate::disk::fs::Source;
use crate::disk::fs::squash::compressor::Compressor;
use crate::disk::fs::squash::metadata::Metadata;
use crate::disk::fs::squash::metadata::Place;
use crate::disk::fs::squash::table::Table;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

const WHAT: &str = "SquashFS file";
/// In the length of a block: it is stored as it is.
const STORED_PLAIN: u32 = 1 << 24;
/// Decompressed blocks that are kept.
const CACHE_BYTES: usize = 4 << 20;
/// Every so many blocks of a file, the place is remembered.
const MARK_BLOCKS: u64 = 1 << 10;
/// Marks of a file: 2 TiB of it with the usual blocks. What lies behind is found by walking.
const MARKS_MAX: usize = 1 << 14;
/// Files whose marks are kept.
const MARKED_FILES: NonZeroUsize = NonZeroUsize::new(4).expect("more than none");

/// Where the content of a file stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    /// First byte of the first block.
    pub(super) start: u64,
    pub(super) size: u64,
    /// Bytes that are left out as zeros, more or less.
    pub(super) sparse: u64,
    pub(super) tail: Option<Tail>,
    /// Where the lengths of the blocks are listed.
    pub(super) lengths: Place,
    pub(super) block_bytes: u32,
}

/// The end of a file in a fragment block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    pub(super) fragment: u32,
    /// First byte of it, once the fragment block is decompressed.
    pub(super) offset: u32,
}

impl File {
    /// Number of blocks of its own.
    fn blocks(&self) -> u64 {
        let size = u64::from(self.block_bytes);
        if self.tail.is_some() { self.size / size } else { self.size.div_ceil(size) }
    }
}

/// A block of a file: where its length is listed, and where it begins.
#[derive(Debug, Clone, Copy)]
struct Mark {
    index: u64,
    length: Place,
    at: u64,
}

/// Bytes on the disk that hold a block.
#[derive(Debug, Clone, Copy)]
struct Stored {
    at: u64,
    len: u32,
    is_plain: bool,
}

impl Stored {
    fn from_word(word: u32, at: u64, block_bytes: u32) -> Result<Stored> {
        let len = word & (STORED_PLAIN - 1);
        if word >= STORED_PLAIN << 1 || len > block_bytes {
            return Err(Error::damaged("SquashFS block", at, "no such length"));
        }
        Ok(Stored { at, len, is_plain: word & STORED_PLAIN != 0 })
    }

    fn end(&self) -> Result<u64> {
        self.at
            .checked_add(self.len.into())
            .ok_or_else(|| Error::damaged("SquashFS block", self.at, "it lies behind the disk"))
    }
}

/// What is needed to read the content of files.
pub(super) struct Contents {
    source: Source,
    compressor: Compressor,
    block_bytes: u32,
    end: u64,
    fragments: Table,
    plain: LruCache<u64, Arc<[u8]>>,
    marks: LruCache<NodeId, Vec<Mark>>,
}

impl Contents {
    /// Of the file system on `source` that ends at byte `end`.
    pub(super) fn new(
        source: Source,
        compressor: Compressor,
        block_bytes: u32,
        end: u64,
        fragments: Table,
    ) -> Contents {
        let count = (CACHE_BYTES / block_bytes.max(1) as usize).max(2);
        let plain = LruCache::new(NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN));
        Contents { source, compressor, block_bytes, end, fragments, plain, marks: LruCache::new(MARKED_FILES) }
    }

    /// Appends where the bytes of `range` lie, as far as they are in the file.
    pub(super) fn map(
        &mut self,
        id: NodeId,
        file: &File,
        range: Range<u64>,
        metadata: &mut Metadata,
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        let block_bytes = u64::from(self.block_bytes);
        let (mut at, end) = (range.start, range.end.min(file.size));
        if at >= end {
            return Ok(());
        }
        let mut decompressed = 0u64;
        let blocks = file.blocks();
        let mut mark = match at / block_bytes {
            first if first < blocks => Some(self.seek(id, file, first, metadata)?),
            _ => None,
        };
        while at < end {
            let index = at / block_bytes;
            let start = index * block_bytes;
            let whole = file.size.saturating_sub(start).min(block_bytes);
            let part = at - start..whole.min(end - start);
            match (&mut mark, file.tail) {
                (Some(mark), _) if index < blocks => {
                    let stored = self.step(mark, metadata)?;
                    self.block(stored, whole, part.clone(), runs)?;
                }
                (_, Some(tail)) => self.tail(tail, whole, part.clone(), metadata, runs)?,
                _ => return Err(Error::damaged(WHAT, file.start, "its blocks end too early")),
            }
            at = start + part.end;
            if matches!(runs.last(), Some(Run::Bytes(_))) {
                decompressed = decompressed.saturating_add(part.end - part.start);
            }
            if decompressed > RUNS_BYTES_MAX {
                return Err(Error::unsupported("so much compressed content at once"));
            }
        }
        Ok(())
    }

    /// The mark of block `index`.
    fn seek(&mut self, id: NodeId, file: &File, index: u64, metadata: &mut Metadata) -> Result<Mark> {
        let first = Mark { index: 0, length: file.lengths, at: file.start };
        let mut marks = self.marks.pop(&id).unwrap_or_else(|| vec![first]);
        let known = usize::try_from(index / MARK_BLOCKS).unwrap_or(usize::MAX).min(marks.len() - 1);
        let mut mark = marks.get(known).copied().unwrap_or(first);
        while mark.index < index {
            self.step(&mut mark, metadata)?;
            let is_next = mark.index == marks.len() as u64 * MARK_BLOCKS;
            if is_next && marks.len() < MARKS_MAX {
                marks.push(mark);
            }
        }
        self.marks.put(id, marks);
        Ok(mark)
    }

    /// The block at `mark`, which moves behind it.
    fn step(&self, mark: &mut Mark, metadata: &mut Metadata) -> Result<Stored> {
        let word = metadata.read(&mut mark.length, 4)?;
        let word = Fields::new(&word, "SquashFS inode", mark.length.block).u32(0)?;
        let stored = Stored::from_word(word, mark.at, self.block_bytes)?;
        mark.at = stored.end()?;
        mark.index += 1;
        Ok(stored)
    }

    /// The bytes `part` of a block that holds `whole` bytes of its file.
    fn block(&mut self, stored: Stored, whole: u64, part: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let fault = |why| Error::damaged("SquashFS block", stored.at, why);
        if stored.len == 0 {
            Run::Zero { len: part.end - part.start }.push(runs);
            return Ok(());
        }
        if stored.is_plain {
            if u64::from(stored.len) != whole {
                return Err(fault("it has not the length it must have"));
            }
            return self.plain(stored, part, runs);
        }
        let bytes = self.decompressed(stored)?;
        if bytes.len() as u64 != whole {
            return Err(fault("it has not the length it must have"));
        }
        push_part(&bytes, part, stored, runs)
    }

    fn tail(
        &mut self,
        tail: Tail,
        whole: u64,
        part: Range<u64>,
        metadata: &mut Metadata,
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        let entry = self.fragments.entry(tail.fragment.into(), &self.source, metadata)?;
        let entry = Fields::new(&entry, "SquashFS fragment", self.fragments.start);
        let stored = Stored::from_word(entry.u32(8)?, entry.u64(0)?, self.block_bytes)?;
        let offset = u64::from(tail.offset);
        let fault = || Error::damaged("SquashFS fragment", stored.at, "a file goes beyond its end");
        if stored.is_plain {
            if offset + whole > stored.len.into() {
                return Err(fault());
            }
            return self.plain(stored, offset + part.start..offset + part.end, runs);
        }
        let bytes = self.decompressed(stored)?;
        if offset + whole > bytes.len() as u64 {
            return Err(fault());
        }
        push_part(&bytes, offset + part.start..offset + part.end, stored, runs)
    }

    fn plain(&self, stored: Stored, part: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        if stored.end()? > self.end {
            return Err(Error::damaged("SquashFS block", stored.at, "it goes beyond the end"));
        }
        Run::Below { offset: stored.at + part.start, len: part.end - part.start }.push(runs);
        Ok(())
    }

    fn decompressed(&mut self, stored: Stored) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.plain.get(&stored.at) {
            return Ok(bytes.clone());
        }
        if stored.end()? > self.end {
            return Err(Error::damaged("SquashFS block", stored.at, "it goes beyond the end"));
        }
        let mut bytes = vec![0; stored.len as usize];
        self.source.read_at(stored.at, &mut bytes)?;
        let bytes: Arc<[u8]> = self.compressor.decompress(&bytes, self.block_bytes as usize, stored.at)?.into();
        self.plain.put(stored.at, bytes.clone());
        Ok(bytes)
    }
}

fn push_part(bytes: &[u8], part: Range<u64>, stored: Stored, runs: &mut Vec<Run>) -> Result<()> {
    let part = bytes.get(part.start as usize..part.end as usize);
    let part = part.ok_or_else(|| Error::damaged("SquashFS block", stored.at, "it is too short"))?;
    Run::Bytes(part.to_vec()).push(runs);
    Ok(())
}
