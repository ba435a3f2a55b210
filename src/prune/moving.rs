//! Copying needed chunks out of packs into new ones, as they are stored: opened, checked against their ids, sealed anew.
//! The chunks of a pack keep their order, so what was read together still lies together.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
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
use std::io;
use std::sync::Arc;

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
    /// Packs from which something could not be read, and why.
    pub(super) failed: BTreeMap<ObjectId, repo::Error>,
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
        let mut carrier = Carrier { chunks, monitor, packer: Packer::new(repo), failed: BTreeMap::new() };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for row in merge.by_ref() {
            let line = lines.line(&Row::of_place(&row));
            bytes += u64::from(line.chunk.hint.len);
            batch.push((line.kind, line.chunk));
            if bytes >= AHEAD_BYTES || batch.len() >= AHEAD_CHUNKS {
                carrier.carry(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        merge.end()?;
        carrier.carry(batch).await?;
        Ok(Moved { bytes_stored: carrier.packer.finish().await?, failed: carrier.failed })
    }
}

struct Carrier<'a> {
    chunks: &'a Arc<Chunks>,
    monitor: &'a dyn Monitor,
    packer: Packer,
    failed: BTreeMap<ObjectId, repo::Error>,
}

impl Carrier<'_> {
    async fn carry(&mut self, batch: Vec<(ChunkKind, ChunkRef)>) -> Result<()> {
        self.chunks.encoded_ahead(&batch);
        for (kind, chunk) in batch {
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match self.chunks.encoded(kind, &chunk).await {
                Ok(encoded) => self.packer.append(kind, &chunk, &encoded).await?,
                Err(e) if e.is_transient() => return Err(e.into()),
                Err(e) => drop(self.failed.entry(chunk.hint.pack).or_insert(e)),
            }
            self.monitor.event(Event::Done { nodes: 1, bytes: chunk.hint.len.into() });
        }
        Ok(())
    }
}
