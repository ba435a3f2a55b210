//! Filling packs and storing them: one is filled while another is sealed and a few are on their way.

use crate::backup::Error;
use crate::backup::known::HeldBy;
use crate::backup::known::Known;
use crate::crypto::random;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::format::chunk;
use crate::format::index::Index;
use crate::format::index::IndexedPack;
use crate::format::page::Encoded;
use crate::format::sealed;
use crate::format::sealed::ObjectType;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::repo;
use crate::repo::FinishedPack;
use crate::repo::PackWriter;
use crate::repo::Repo;
use crate::repo::index_name;
use crate::tree::PageSink;
use bytes::Bytes;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Packs sealed and on their way at once, about 32 MiB of memory each. With two, the line is half idle whenever one is
/// being acknowledged.
const PACKS_AT_ONCE: usize = 3;
/// Lines kept before an index object is due.
const INDEX_LINES_MAX: usize = 100_000;
/// zstd level of pages: they are small and read most.
const PAGE_LEVEL: i32 = 6;

/// Collects chunks into packs and stores them.
pub(super) struct Uploader<'a> {
    repo: Repo,
    runtime: Handle,
    known: &'a Known,
    dry_run: bool,
    data: PackWriter,
    meta: PackWriter,
    permits: Arc<Semaphore>,
    uploads: JoinSet<repo::Result<(FinishedPack, u64)>>,
    index: Index,
    /// Bytes of packs stored.
    pub(super) bytes_stored: u64,
}

impl<'a> Uploader<'a> {
    pub(super) fn new(repo: &Repo, runtime: &Handle, known: &'a Known, dry_run: bool) -> Uploader<'a> {
        Uploader {
            repo: repo.clone(),
            runtime: runtime.clone(),
            known,
            dry_run,
            data: PackWriter::growing(),
            meta: PackWriter::new(true),
            permits: Arc::new(Semaphore::new(PACKS_AT_ONCE)),
            uploads: JoinSet::new(),
            index: Index::default(),
            bytes_stored: 0,
        }
    }

    /// Appends a chunk to the pack of its kind; a full pack is sent on its way first.
    pub(super) fn append(&mut self, kind: ChunkKind, id: ChunkId, len: u32, encoded: &[u8]) -> Result<ChunkRef, Error> {
        let pack = if kind.is_metadata() { &mut self.meta } else { &mut self.data };
        if pack.is_full_for(encoded.len()) {
            let full = pack.take();
            self.send(full)?;
        }
        let pack = if kind.is_metadata() { &mut self.meta } else { &mut self.data };
        let chunk = pack.append(kind, id, len, encoded);
        self.known.add(&chunk, HeldBy::Nobody);
        Ok(chunk)
    }

    /// A reference to the chunk, if it need not be stored.
    pub(super) fn known(&self, id: ChunkId, len: u32) -> Result<Option<ChunkRef>, Error> {
        Ok(self.known.get(id, len)?)
    }

    /// Copies a chunk or page, as it was read from another pack.
    pub(super) fn copy(&mut self, kind: ChunkKind, chunk: &ChunkRef, plain: &[u8]) -> Result<(), Error> {
        let mut encoded = Vec::new();
        chunk::encode(plain, PAGE_LEVEL, &mut encoded).map_err(Error::Encode)?;
        self.append(kind, chunk.id, chunk.len, &encoded).map(drop)
    }

    /// Notes packs that an earlier run stored without naming them in an index. Pages are not taken: they may lead to
    /// packs that never came to be stored.
    pub(super) fn adopt(&mut self, pack: IndexedPack, chunks: Vec<chunk::Packed>) {
        if self.known.is_marked(pack.pack) || chunks.iter().any(|line| line.kind.is_metadata()) {
            return;
        }
        chunks.iter().for_each(|line| self.known.add(&line.chunk, HeldBy::Nobody));
        self.index.packs.push(pack);
        self.index.chunks.extend(chunks);
    }

    fn send(&mut self, mut pack: FinishedPack) -> Result<(), Error> {
        if self.dry_run {
            return Ok(());
        }
        let permit = self.runtime.block_on(self.permits.clone().acquire_owned()).map_err(|_| repo::Error::TaskLost)?;
        while let Some(done) = self.uploads.try_join_next() {
            self.landed(done)?;
        }
        let repo = self.repo.clone();
        let task = async move {
            let (keys, id) = (repo.keys().clone(), pack.pack);
            let sealing = tokio::task::spawn_blocking(move || pack.seal(&keys).map(|object| (pack, object)));
            let (pack, object) = sealing.await.map_err(|_| repo::Error::TaskLost)??;
            let len = object.len() as u64;
            repo.store_pack(id, pack.object_type, Bytes::from(object)).await?;
            drop(permit);
            Ok((pack, len))
        };
        self.uploads.spawn_on(task, &self.runtime);
        Ok(())
    }

    fn landed(&mut self, done: Result<repo::Result<(FinishedPack, u64)>, tokio::task::JoinError>) -> Result<(), Error> {
        let (pack, len) = done.map_err(|_| repo::Error::TaskLost)??;
        self.bytes_stored += len;
        self.index.packs.push(IndexedPack { pack: pack.pack, len });
        self.index.chunks.extend(pack.directory);
        if self.index.chunks.len() >= INDEX_LINES_MAX {
            self.store_index()?;
        }
        Ok(())
    }

    /// Stores everything that is open: packs, then the index object that names them.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        for is_metadata in [false, true] {
            let pack = if is_metadata { &mut self.meta } else { &mut self.data };
            if !pack.is_empty() {
                let full = pack.take();
                self.send(full)?;
            }
        }
        while let Some(done) = self.runtime.clone().block_on(self.uploads.join_next()) {
            self.landed(done)?;
        }
        self.store_index()
    }

    fn store_index(&mut self) -> Result<(), Error> {
        if self.index.packs.is_empty() {
            return Ok(());
        }
        let id = ObjectId(random());
        let payload = std::mem::take(&mut self.index).encode();
        let object = sealed::seal(self.repo.keys(), ObjectType::Index, id, &payload, &[], 0);
        let name = index_name(id);
        let put = self.repo.store().put_new(&name, object.into());
        self.runtime.block_on(put).map_err(repo::Error::from)?;
        Ok(())
    }
}

impl PageSink for Uploader<'_> {
    type Error = Error;

    fn put(&mut self, kind: ChunkKind, page: &Encoded) -> Result<ChunkRef, Error> {
        let id = self.repo.keys().chunk_id(kind, &page.hashed);
        let len = u32::try_from(page.hashed.len()).expect("pages are cut far below 4 GiB");
        // An equal page may lead to what is lost, or be lost itself.
        if let (false, Some(known)) = (self.known.is_wary(), self.known.get(id, len)?) {
            return Ok(known);
        }
        let mut encoded = Vec::new();
        let plain = [&page.hashed[..], &page.hints].concat();
        chunk::encode(&plain, PAGE_LEVEL, &mut encoded).map_err(Error::Encode)?;
        self.append(kind, id, len, &encoded)
    }
}
