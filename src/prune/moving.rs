//! Copying needed chunks out of packs into new ones, as they are stored: opened, checked against their ids, sealed anew. What was
//! compressed together stays together, without what is not needed of it.
//! The chunks of a pack keep their order, so what was read together still lies together.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::format::chunk::Packed;
use crate::id::ObjectId;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::prune::Error;
use crate::prune::Result;
use crate::prune::lines::Lines;
use crate::prune::lines::ROW_BYTES;
use crate::prune::lines::Row;
use crate::prune::sorted::Scratch;
use crate::prune::sorted::Sorted;
use crate::prune::sorted::Sorter;
use crate::repo;
use crate::repo::Chunks;
use crate::repo::Packer;
use crate::repo::Repo;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// New packs on their way at once.
const PACKS_AT_ONCE: usize = 2;
/// Encoded bytes that are fetched ahead.
const AHEAD_BYTES: u64 = 8 << 20;
/// Chunks that are fetched ahead.
const AHEAD_CHUNKS: usize = 4096;
/// Number of the pack, offset in it, and the row of the index.
const PLACED_BYTES: usize = 8 + ROW_BYTES;

/// What is to be moved.
pub(super) struct Load {
    rows: Sorter<PLACED_BYTES>,
    /// Encoded bytes.
    pub(super) bytes: u64,
    /// Chunks.
    pub(super) chunks: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Bytes of new packs.
    pub(super) bytes_stored: u64,
    /// Packs in which something cannot be read, and why.
    pub(super) bad: BTreeMap<ObjectId, repo::Error>,
    /// Those of them with something that cannot be had elsewhere either.
    pub(super) stuck: BTreeSet<ObjectId>,
}

impl Load {
    pub(super) fn new(scratch: &Scratch) -> Load {
        Load { rows: Sorter::new(scratch), bytes: 0, chunks: 0 }
    }

    pub(super) fn push(&mut self, row: Row) -> io::Result<()> {
        self.bytes += row.len();
        self.chunks += 1;
        self.rows.push(row.by_place())
    }

    /// Moves everything. New packs and the index objects that name them are stored when this returns.
    pub(super) async fn carry(
        self,
        repo: &Repo,
        chunks: &Arc<Chunks>,
        lines: &Lines,
        monitor: &dyn Monitor,
    ) -> Result<Moved> {
        let rows: Sorted<PLACED_BYTES> = self.rows.finish()?;
        let mut merge = rows.iter();
        let mut carrier =
            Carrier { chunks, lines, monitor, packer: Packer::new(repo, PACKS_AT_ONCE), moved: Moved::default() };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for row in merge.by_ref() {
            let line = lines.line(&Row::of_place(&row));
            let is_full = bytes >= AHEAD_BYTES || batch.len() >= AHEAD_CHUNKS;
            // What lies in one place is moved together.
            if is_full && batch.last().is_some_and(|last: &Packed| last.chunk.hint != line.chunk.hint) {
                carrier.carry(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += line.stored_bytes();
            batch.push(line);
        }
        merge.end()?;
        carrier.carry(batch).await?;
        carrier.packer.flush().await?;
        Ok(Moved { bytes_stored: carrier.packer.bytes_stored(), ..carrier.moved })
    }
}

struct Carrier<'a> {
    chunks: &'a Arc<Chunks>,
    lines: &'a Lines,
    monitor: &'a dyn Monitor,
    packer: Packer,
    moved: Moved,
}

impl Carrier<'_> {
    async fn carry(&mut self, batch: Vec<Packed>) -> Result<()> {
        self.chunks.encoded_ahead(batch.iter().map(|line| (line.kind, line.chunk)));
        for frame in batch.chunk_by(|before, line| before.chunk.hint == line.chunk.hint) {
            let [Packed { kind, chunk: first }, ..] = frame else { continue };
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let wanted: Vec<_> = frame.iter().map(|line| (line.chunk.id, line.chunk.len)).collect();
            match self.chunks.encoded(*kind, &wanted, first.hint).await {
                Ok((members, encoded)) => drop(self.packer.append(*kind, &members, &encoded).await?),
                Err(e) if e.is_transient() => return Err(e.into()),
                Err(e) => {
                    self.moved.bad.entry(first.hint.pack).or_insert(e);
                    for line in frame {
                        self.take_elsewhere(line.kind, &line.chunk).await?;
                    }
                }
            }
            let bytes = frame.iter().map(Packed::stored_bytes).sum();
            self.monitor.event(Event::Done { nodes: frame.len() as u64, bytes });
        }
        Ok(())
    }

    /// Any other place will do.
    async fn take_elsewhere(&mut self, kind: ChunkKind, chunk: &ChunkRef) -> Result<()> {
        for hint in self.lines.places(chunk.id)?.into_iter().filter(|place| *place != chunk.hint) {
            match self.chunks.encoded(kind, &[(chunk.id, chunk.len)], hint).await {
                Ok((members, encoded)) => return Ok(self.packer.append(kind, &members, &encoded).await.map(drop)?),
                Err(e) if e.is_transient() => return Err(e.into()),
                Err(_) => {}
            }
        }
        self.moved.stuck.insert(chunk.hint.pack);
        Ok(())
    }
}
