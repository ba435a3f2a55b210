//! What the index says, sorted by chunk, in bounded memory: one row for each place where a chunk lies.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::FormatError;
use crate::format::chunk::Packed;
use crate::format::index::Index;
use crate::format::index::IndexedPack;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::prune::Error;
use crate::prune::Result;
use crate::prune::sorted::Scratch;
use crate::prune::sorted::Sorted;
use crate::prune::sorted::Sorter;
use crate::repo;
use crate::repo::Repo;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::io;

/// Index objects read at once.
const READS_AT_ONCE: usize = 8;
/// Somebody else's prune may take index objects away while this one reads them; so often in a row is no accident.
const TRIES_MAX: usize = 10;
/// Chunk id, number of the pack, offset, encoded length, plain length, share of the encoded length, kind.
pub(super) const ROW_BYTES: usize = 53;
const KIND_AT: usize = 52;

/// A row: chunk and place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row([u8; ROW_BYTES]);

/// A number whose bytes compare as it does.
fn ordered(value: u32) -> [u8; 4] {
    let mut bytes = value.to_le_bytes();
    bytes.reverse();
    bytes
}

impl Row {
    fn new(number: u32, line: &Packed, share: u32) -> Row {
        let Packed { kind, chunk } = line;
        let mut row = [0; ROW_BYTES];
        row[..32].copy_from_slice(&chunk.id.0);
        for (at, value) in [number, chunk.hint.offset, chunk.hint.len, chunk.len, share].into_iter().enumerate() {
            row[32 + 4 * at..36 + 4 * at].copy_from_slice(&ordered(value));
        }
        row[KIND_AT] = kind.byte();
        Row(row)
    }

    fn field(&self, at: usize) -> u32 {
        u32::from_le_bytes([35, 34, 33, 32].map(|byte| self.0[byte + 4 * at]))
    }

    pub(super) fn chunk(&self) -> ChunkId {
        let mut id = [0; 32];
        id.copy_from_slice(&self.0[..32]);
        ChunkId(id)
    }

    fn kind(&self) -> ChunkKind {
        ChunkKind::from_byte(self.0[KIND_AT]).expect("rows are made of lines")
    }

    /// Number of the pack.
    pub(super) fn number(&self) -> usize {
        self.field(0) as usize
    }

    /// The same for an order by pack and place.
    pub(super) fn by_place(&self) -> [u8; 8 + ROW_BYTES] {
        let mut placed = [0; 8 + ROW_BYTES];
        placed[..8].copy_from_slice(&self.0[32..40]);
        placed[8..].copy_from_slice(&self.0);
        placed
    }

    pub(super) fn of_place(placed: &[u8; 8 + ROW_BYTES]) -> Row {
        let mut row = [0; ROW_BYTES];
        row.copy_from_slice(&placed[8..]);
        Row(row)
    }

    /// Bytes it takes in the pack. Chunks that were compressed together share what they take by their lengths.
    pub(super) fn len(&self) -> u64 {
        self.field(4).into()
    }
}

/// What an index object names.
#[derive(Debug)]
pub(super) struct Named {
    /// Numbers of its packs.
    pub(super) packs: Vec<u32>,
    /// How many chunks lie in them.
    pub(super) chunks: usize,
}

/// The index, read once.
pub(super) struct Lines {
    rows: Sorted<ROW_BYTES>,
    /// By their numbers.
    pub(super) packs: Vec<IndexedPack>,
    numbers: HashMap<ObjectId, u32>,
    /// The index objects.
    pub(super) objects: BTreeMap<ObjectId, Named>,
    /// Index objects that cannot be read.
    pub(super) unreadable: BTreeSet<ObjectId>,
}

impl Lines {
    /// Reads all index objects.
    pub(super) async fn load(repo: &Repo, scratch: &Scratch) -> Result<Lines> {
        for _ in 0..TRIES_MAX {
            if let Some(lines) = Lines::try_load(repo, scratch).await? {
                return Ok(lines);
            }
        }
        Err(Error::Busy)
    }

    /// The same, unless `self` says just that.
    pub(super) async fn reload(self, repo: &Repo, scratch: &Scratch) -> Result<Lines> {
        let objects = repo::index_objects(repo).await?;
        if objects.iter().eq(self.objects.keys()) && self.unreadable.is_empty() {
            return Ok(self);
        }
        Lines::load(repo, scratch).await
    }

    /// `None` if an object went away.
    async fn try_load(repo: &Repo, scratch: &Scratch) -> Result<Option<Lines>> {
        let mut loading = Loading::new(scratch);
        let (mut objects, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
        let listed = repo::index_objects(repo).await?;
        let reads = listed.into_iter().map(|id| async move { (id, repo::index_object(repo, id).await) });
        let mut reads = futures::stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(index) => drop(objects.insert(id, loading.add(&index)?)),
                Err(repo::Error::Store(e)) if e.kind == crate::store::ErrorKind::NotFound => return Ok(None),
                Err(repo::Error::Object { source, .. }) if !matches!(source, FormatError::Newer { .. }) => {
                    let e = &source;
                    tracing::warn!(index = %id, error = %crate::monitor::chain(e), "Index object cannot be read");
                    unreadable.insert(id);
                }
                // It may be good, and only not to be had now.
                Err(e) => return Err(e.into()),
            }
        }
        let Loading { rows, packs, numbers } = loading;
        Ok(Some(Lines { rows: rows.finish()?, packs, numbers, objects, unreadable }))
    }

    /// Takes in what packs say themselves that no index object names.
    pub(super) fn with(self, scratch: &Scratch, said: &[Index]) -> Result<Lines> {
        let Lines { rows, packs, numbers, objects, unreadable } = self;
        let mut loading = Loading { rows: rows.open(scratch), packs, numbers };
        for index in said {
            loading.add(index)?;
        }
        let Loading { rows, packs, numbers } = loading;
        Ok(Lines { rows: rows.finish()?, packs, numbers, objects, unreadable })
    }

    /// Number of a pack that is named.
    pub(super) fn number(&self, pack: ObjectId) -> Option<usize> {
        self.numbers.get(&pack).map(|number| *number as usize)
    }

    /// Hands every row to `each`, by chunk.
    pub(super) fn visit<T>(&self, visit: impl FnOnce(&mut dyn Iterator<Item = Row>) -> T) -> io::Result<T> {
        let mut merge = self.rows.iter();
        let told = visit(&mut merge.by_ref().map(Row));
        merge.end()?;
        Ok(told)
    }

    /// What a row tells.
    pub(super) fn line(&self, row: &Row) -> Packed {
        let pack = self.packs[row.number()].pack;
        let hint = Locator { pack, offset: row.field(1), len: row.field(2) };
        Packed { kind: row.kind(), chunk: ChunkRef { id: row.chunk(), len: row.field(3), hint } }
    }

    /// All places of a chunk.
    pub(super) fn places(&self, chunk: ChunkId) -> io::Result<Vec<Locator>> {
        Ok(self.rows.find(&chunk.0)?.into_iter().map(|row| self.line(&Row(row)).chunk.hint).collect())
    }
}

struct Loading {
    rows: Sorter<ROW_BYTES>,
    packs: Vec<IndexedPack>,
    numbers: HashMap<ObjectId, u32>,
}

impl Loading {
    fn new(scratch: &Scratch) -> Loading {
        Loading { rows: Sorter::new(scratch), packs: Vec::new(), numbers: HashMap::new() }
    }

    fn add(&mut self, index: &Index) -> io::Result<Named> {
        let mut packs = Vec::with_capacity(index.packs.len());
        for pack in &index.packs {
            let next = u32::try_from(self.packs.len()).expect("fewer than 2^32 packs");
            let number = *self.numbers.entry(pack.pack).or_insert(next);
            if number == next {
                self.packs.push(*pack);
            }
            packs.push(number);
        }
        // Only data is compressed together. All lines of a pack stand in one index object (FORMAT 10).
        let place = |hint: &Locator| (self.numbers[&hint.pack], hint.offset, hint.len);
        let mut together: HashMap<(u32, u32, u32), (u32, u64)> = HashMap::new();
        for Packed { chunk, .. } in index.chunks.iter().filter(|line| line.kind == ChunkKind::Data) {
            let (chunks, bytes) = together.entry(place(&chunk.hint)).or_default();
            (*chunks, *bytes) = (chunks.saturating_add(1), *bytes + u64::from(chunk.len));
        }
        for line in &index.chunks {
            let ChunkRef { hint, len, .. } = line.chunk;
            let share = match together.get(&place(&hint)) {
                Some(&(chunks, bytes)) if line.kind == ChunkKind::Data && chunks > 1 && bytes > 0 => {
                    (u64::from(hint.len) * u64::from(len) / bytes) as u32
                }
                _ => hint.len,
            };
            self.rows.push(Row::new(self.numbers[&hint.pack], line, share).0)?;
        }
        Ok(Named { packs, chunks: index.chunks.len() })
    }
}
