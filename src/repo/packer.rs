//! Encoded chunks in, packs in the store and index objects that name them out: one pack is filled while another is sealed
//! and a few are on their way.

use crate::extent::ChunkKind;
use crate::extent::Locator;
use crate::format::chunk::Packed;
use crate::format::index::Index;
use crate::format::index::IndexedPack;
use crate::id::ChunkId;
use crate::repo::Error;
use crate::repo::FinishedPack;
use crate::repo::PackWriter;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::store_index;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Packs on their way at once. With two, the line is half idle whenever one is being acknowledged; with more than three, more of
/// them end together, and nothing is sealed that could take their place.
const UPLOADS_MAX: usize = 3;
/// Lines kept before an index object is due.
const INDEX_LINES_MAX: usize = 100_000;

/// Fills packs and stores them. What was put in is safe, and found by others, after [`Packer::flush`].
pub struct Packer {
    repo: Repo,
    packs_at_once: usize,
    is_dry: bool,
    data: PackWriter,
    meta: PackWriter,
    uploads: JoinSet<Result<(FinishedPack, u64)>>,
    line: Arc<Semaphore>,
    index: Index,
    bytes_stored: u64,
}

impl Packer {
    /// Nothing stored yet. So many packs are being sealed, wait, or are on their way at once, 32 MiB of memory each, beside those that
    /// are being filled.
    pub fn new(repo: &Repo, packs_at_once: usize) -> Packer {
        Packer {
            repo: repo.clone(),
            packs_at_once,
            is_dry: false,
            data: PackWriter::new(false),
            meta: PackWriter::new(true),
            uploads: JoinSet::new(),
            line: Arc::new(Semaphore::new(UPLOADS_MAX)),
            index: Index::default(),
            bytes_stored: 0,
        }
    }

    /// The same with first packs that are smaller: [`PackWriter::growing`].
    pub fn growing(self) -> Packer {
        Packer { data: PackWriter::growing(), ..self }
    }

    /// The same, or one that stores nothing.
    pub fn dry(self, is_dry: bool) -> Packer {
        Packer { is_dry, ..self }
    }

    /// Puts chunks that are encoded as one, in the order in which they are in it, into a pack and says where they will lie; with the
    /// pack that this filled, to be [sent](Packer::send) next.
    pub fn put(
        &mut self,
        kind: ChunkKind,
        members: &[(ChunkId, u32)],
        encoded: &[u8],
    ) -> (Locator, Option<FinishedPack>) {
        let pack = if kind.is_metadata() { &mut self.meta } else { &mut self.data };
        let full = pack.is_full_for(members.len(), encoded.len()).then(|| pack.take());
        (pack.append(kind, members, encoded), full)
    }

    /// Both in one.
    pub async fn append(&mut self, kind: ChunkKind, members: &[(ChunkId, u32)], encoded: &[u8]) -> Result<Locator> {
        let (hint, full) = self.put(kind, members, encoded);
        if let Some(full) = full {
            self.send(full).await?;
        }
        Ok(hint)
    }

    /// Sends a pack on its way, once fewer than the most are. Within a tokio runtime.
    pub async fn send(&mut self, mut pack: FinishedPack) -> Result<()> {
        if self.is_dry {
            return Ok(());
        }
        while self.uploads.len() >= self.packs_at_once {
            self.land().await?;
        }
        let (repo, line) = (self.repo.clone(), self.line.clone());
        self.uploads.spawn(async move {
            let (keys, id) = (repo.keys().clone(), pack.pack);
            let sealing = tokio::task::spawn_blocking(move || pack.seal(&keys).map(|object| (pack, object)));
            let (pack, object) = sealing.await.map_err(|_| Error::TaskLost)??;
            let len = object.len() as u64;
            let _place = line.acquire_owned().await;
            repo.store_pack(id, pack.object_type, Bytes::from(object)).await?;
            Ok((pack, len))
        });
        Ok(())
    }

    /// Waits for one pack, if one is on its way.
    async fn land(&mut self) -> Result<()> {
        let Some(done) = self.uploads.join_next().await else { return Ok(()) };
        let (pack, len) = done.map_err(|_| Error::TaskLost)??;
        self.bytes_stored += len;
        self.name(IndexedPack { pack: pack.pack, len }, pack.directory);
        if self.index.chunks.len() >= INDEX_LINES_MAX { self.store_index().await } else { Ok(()) }
    }

    /// Names a pack that is stored already in the next index object.
    pub fn name(&mut self, pack: IndexedPack, chunks: Vec<Packed>) {
        self.index.packs.push(pack);
        self.index.chunks.extend(chunks);
    }

    async fn store_index(&mut self) -> Result<()> {
        let index = std::mem::take(&mut self.index);
        if !index.packs.is_empty() {
            store_index(&self.repo, index).await?;
        }
        Ok(())
    }

    /// Stores all that is open: packs, then the index object that names them.
    pub async fn flush(&mut self) -> Result<()> {
        for is_metadata in [false, true] {
            let pack = if is_metadata { &mut self.meta } else { &mut self.data };
            if !pack.is_empty() {
                let full = pack.take();
                self.send(full).await?;
            }
        }
        while !self.uploads.is_empty() {
            self.land().await?;
        }
        self.store_index().await
    }

    /// Bytes of the packs that were stored.
    pub fn bytes_stored(&self) -> u64 {
        self.bytes_stored
    }
}
