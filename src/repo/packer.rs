//! Encoded chunks in, packs in the store and index objects that name them out: for who moves what is stored already.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::format::index::Index;
use crate::format::index::IndexedPack;
use crate::repo::Error;
use crate::repo::FinishedPack;
use crate::repo::PackWriter;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::store_index;
use bytes::Bytes;
use tokio::task::JoinSet;

/// Packs sealed and on their way at once, about 32 MiB of memory each.
const PACKS_AT_ONCE: usize = 2;
/// Lines kept before an index object is due.
const INDEX_LINES_MAX: usize = 100_000;

/// Fills packs and stores them. What was appended is safe, and found by others, after [`Packer::finish`].
pub struct Packer {
    repo: Repo,
    data: PackWriter,
    meta: PackWriter,
    uploads: JoinSet<Result<(FinishedPack, u64)>>,
    index: Index,
    bytes_stored: u64,
}

impl Packer {
    /// Nothing stored yet. Used within a tokio runtime.
    pub fn new(repo: &Repo) -> Packer {
        Packer {
            repo: repo.clone(),
            data: PackWriter::new(false),
            meta: PackWriter::new(true),
            uploads: JoinSet::new(),
            index: Index::default(),
            bytes_stored: 0,
        }
    }

    /// Appends an encoded chunk; a full pack is sent on its way first.
    pub async fn append(&mut self, kind: ChunkKind, chunk: &ChunkRef, encoded: &[u8]) -> Result<()> {
        let pack = if kind.is_metadata() { &mut self.meta } else { &mut self.data };
        let full = pack.is_full_for(encoded.len()).then(|| pack.take());
        pack.append(kind, chunk.id, chunk.len, encoded);
        match full {
            Some(full) => self.send(full).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, mut pack: FinishedPack) -> Result<()> {
        while self.uploads.len() >= PACKS_AT_ONCE {
            self.land().await?;
        }
        let repo = self.repo.clone();
        self.uploads.spawn(async move {
            let (keys, id) = (repo.keys().clone(), pack.pack);
            let sealing = tokio::task::spawn_blocking(move || pack.seal(&keys).map(|object| (pack, object)));
            let (pack, object) = sealing.await.map_err(|_| Error::TaskLost)??;
            let len = object.len() as u64;
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
        self.index.packs.push(IndexedPack { pack: pack.pack, len });
        self.index.chunks.extend(pack.directory);
        if self.index.chunks.len() >= INDEX_LINES_MAX { self.name().await } else { Ok(()) }
    }

    async fn name(&mut self) -> Result<()> {
        let index = std::mem::take(&mut self.index);
        if !index.packs.is_empty() {
            store_index(&self.repo, index).await?;
        }
        Ok(())
    }

    /// Stores all that is open, and the index objects. Returns the bytes of the packs.
    pub async fn finish(mut self) -> Result<u64> {
        for pack in [self.data.take(), self.meta.take()] {
            if !pack.directory.is_empty() {
                self.send(pack).await?;
            }
        }
        while !self.uploads.is_empty() {
            self.land().await?;
        }
        self.name().await?;
        Ok(self.bytes_stored)
    }
}
