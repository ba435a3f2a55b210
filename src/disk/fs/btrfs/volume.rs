//! The device under the trees: logical addresses, and nodes that were checked.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::Source;
use crate::disk::fs::btrfs::chunk::Chunk;
use crate::disk::fs::btrfs::chunk::Chunks;
use crate::disk::fs::btrfs::chunk::Place;
use crate::disk::fs::btrfs::key;
use crate::disk::fs::btrfs::key::Key;
use crate::disk::fs::btrfs::node::Node;
use crate::disk::fs::btrfs::node::Pointer;
use crate::disk::fs::btrfs::superblock;
use crate::disk::fs::btrfs::superblock::Superblock;
use crate::disk::fs::btrfs::tree::Cursor;
use crate::disk::source::beyond_end;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of nodes that are kept.
const NODES_BYTES: u32 = 4 << 20;

/// Most copies of anything: RAID1C4.
const COPIES_MAX: usize = 4;

/// One device of a file system.
pub(super) struct Volume {
    source: Source,
    pub(super) superblock: Superblock,
    chunks: Chunks,
    /// By logical address.
    nodes: LruCache<u64, Arc<Node>>,
}

impl Volume {
    /// Reads the superblock and the chunk tree.
    pub(super) fn open(source: &Source) -> Result<Volume> {
        let superblock = superblock::read(source)?;
        let count = NonZeroUsize::new((NODES_BYTES / superblock.node_bytes) as usize).unwrap_or(NonZeroUsize::MIN);
        let chunks = Chunks::of_superblock(&superblock)?;
        let mut volume = Volume { source: source.clone(), superblock, chunks, nodes: LruCache::new(count) };
        volume.chunks = volume.all_chunks()?;
        Ok(volume)
    }

    fn all_chunks(&mut self) -> Result<Chunks> {
        let mut chunks = Chunks::default();
        let first = Key::new(key::CHUNK_OBJECT, key::CHUNK_ITEM, 0);
        let mut cursor = Cursor::seek(self, self.superblock.chunk_root, &first)?;
        while let Some(item) = cursor.take(self, key::CHUNK_OBJECT, key::CHUNK_ITEM)? {
            chunks.push(Chunk::read(&item.fields("Btrfs chunk")?, item.key.offset, &self.superblock)?)?;
        }
        Ok(chunks)
    }

    /// The node `pointer` leads to; the next copy if one is damaged.
    pub(super) fn node(&mut self, pointer: &Pointer) -> Result<Arc<Node>> {
        if let Some(node) = self.nodes.get(&pointer.logical) {
            return Ok(node.clone());
        }
        let len = self.superblock.node_bytes as usize;
        let node = self.first_sound(pointer.logical, len, |bytes, at| {
            Node::open(bytes, at, pointer, &self.superblock).map(Arc::new)
        })?;
        self.nodes.put(pointer.logical, node.clone());
        Ok(node)
    }

    /// What `check` makes of the first of the copies of `len` bytes at `logical` that it accepts.
    pub(super) fn first_sound<T>(
        &self,
        logical: u64,
        len: usize,
        check: impl Fn(Vec<u8>, u64) -> Result<T>,
    ) -> Result<T> {
        let mut fault = None;
        for copy in 0..COPIES_MAX {
            let Some(read) = self.copy(logical, len, copy) else { break };
            match read.and_then(|(bytes, at)| check(bytes, at)) {
                Ok(sound) => return Ok(sound),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        Err(fault.unwrap_or_else(elsewhere))
    }

    /// The bytes of one of the copies, and where the first of them lies; `None` if there are not so many copies.
    fn copy(&self, logical: u64, len: usize, copy: usize) -> Option<Result<(Vec<u8>, u64)>> {
        let (mut bytes, mut places) = (vec![0; len], Vec::new());
        let end = logical.saturating_add(len as u64);
        let mapped = self.places(logical..end, |copies, len| {
            places.push((copies.get(copy).copied(), len));
            Ok(())
        });
        if let Err(error) = mapped {
            return Some(Err(error));
        }
        let mut done = 0;
        for (at, part_len) in &places {
            let part_end = len.min(done + usize::try_from(*part_len).unwrap_or(len));
            if let Err(error) = self.source.read_at((*at)?, bytes.get_mut(done..part_end).unwrap_or_default()) {
                return Some(Err(error));
            }
            done = part_end;
        }
        Some(Ok((bytes, places.first()?.0?)))
    }

    fn place(&self, logical: u64) -> Result<Place> {
        self.chunks.of(logical)?.place(logical)
    }

    /// Calls `take` with each part of a logical range: its copies here, and its length.
    pub(super) fn places(&self, range: Range<u64>, mut take: impl FnMut(&[u64], u64) -> Result<()>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let place = self.place(at)?;
            let len = place.len.min(range.end - at);
            take(&place.copies, len)?;
            at = at.saturating_add(len);
        }
        Ok(())
    }

    /// Appends where a logical range lies.
    pub(super) fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        self.places(range, |copies, len| {
            let offset = *copies.first().ok_or_else(elsewhere)?;
            if offset.checked_add(len).is_none_or(|end| end > self.source.len()) {
                return Err(beyond_end(offset));
            }
            Run::Below { offset, len }.push(runs);
            Ok(())
        })
    }

    /// Bytes of what it stands on.
    pub(super) fn source_bytes(&self) -> u64 {
        self.source.len()
    }

    /// The bytes of runs that were mapped.
    pub(super) fn read_runs(&self, runs: &[Run]) -> Result<Vec<u8>> {
        crate::disk::read_runs(&self.source, runs)
    }
}

fn elsewhere() -> Error {
    Error::unsupported("a Btrfs of several devices")
}
