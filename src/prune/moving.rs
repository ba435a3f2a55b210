//! Copying needed chunks out of packs into new ones, as they are stored: opened, checked against their ids, sealed anew. What was
//! compressed together stays together, without what is not needed of it.
//! The chunks of a pack keep their order, so what was read together still lies together.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::FormatError;
use crate::format::chunk::Packed;
use crate::format::group::GROUP_MEMBERS_MAX;
use crate::format::group::Members;
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
use crate::repo::pack_name;
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
            let row = Row::of_place(&row);
            let load = Placed { line: lines.line(&row), bytes: row.len() };
            let is_elsewhere = batch.last().is_none_or(|last: &Placed| last.place() != load.place());
            // What lies in one place is moved together, unless the index tells of more than can be.
            let is_full = bytes >= AHEAD_BYTES || batch.len() >= AHEAD_CHUNKS;
            if is_full && (is_elsewhere || batch.len() >= AHEAD_CHUNKS + GROUP_MEMBERS_MAX) {
                carrier.carry(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            if is_elsewhere {
                bytes += u64::from(load.place().len);
            }
            batch.push(load);
        }
        merge.end()?;
        carrier.carry(batch).await?;
        carrier.packer.flush().await?;
        Ok(Moved { bytes_stored: carrier.packer.bytes_stored(), ..carrier.moved })
    }
}

/// A chunk to be moved, and its share of what lies in its place.
struct Placed {
    line: Packed,
    bytes: u64,
}

impl Placed {
    fn place(&self) -> Locator {
        self.line.chunk.hint
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
    async fn carry(&mut self, batch: Vec<Placed>) -> Result<()> {
        self.chunks.encoded_ahead(batch.iter().map(|load| (load.line.kind, load.line.chunk)));
        for frame in batch.chunk_by(|before, load| before.place() == load.place() && before.line.kind == load.line.kind)
        {
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            self.move_from(frame).await?;
            let bytes = frame.iter().map(|load| load.bytes).sum();
            self.monitor.event(Event::Done { nodes: frame.len() as u64, bytes });
        }
        Ok(())
    }

    /// Moves chunks that lie in one place, or another place has.
    async fn move_from(&mut self, frame: &[Placed]) -> Result<()> {
        let [Placed { line: first, .. }, ..] = frame else { return Ok(()) };
        let pack = first.chunk.hint.pack;
        let wanted: Vec<_> = frame.iter().map(|load| (load.line.chunk.id, load.line.chunk.len)).collect();
        let there = match self.chunks.encoded(first.kind, &wanted, first.chunk.hint).await {
            Ok((members, encoded)) => {
                self.packer.append(first.kind, &members, &encoded).await?;
                members
            }
            Err(e) if e.is_transient() => return Err(e.into()),
            Err(e) => {
                self.moved.bad.entry(pack).or_insert(e);
                Members::new()
            }
        };
        if there.len() == wanted.len() {
            return Ok(());
        }
        let mislaid = || repo::Error::Object { object: pack_name(pack), source: FormatError::Id };
        self.moved.bad.entry(pack).or_insert_with(mislaid);
        for load in frame {
            let Packed { kind, chunk } = load.line;
            if !there.contains(&(chunk.id, chunk.len)) {
                self.take_elsewhere(kind, &chunk).await?;
            }
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
