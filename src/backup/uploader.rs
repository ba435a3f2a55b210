//! What a backup stores, chunk by chunk: into packs, and into what is known from then on.

use crate::backup::Error;
use crate::backup::known::HeldBy;
use crate::backup::known::Known;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::chunk;
use crate::format::index::IndexedPack;
use crate::format::page::Encoded;
use crate::id::ChunkId;
use crate::repo::Packer;
use crate::repo::Repo;
use crate::tree::PageSink;
use tokio::runtime::Handle;

/// Packs being sealed, waiting and on their way at once: one is always ready to go.
const PACKS_AT_ONCE: usize = 4;
/// zstd level of pages: they are small and read most.
const PAGE_LEVEL: i32 = 6;

/// Collects chunks into packs and stores them, and notes them as known.
pub(super) struct Uploader<'a> {
    repo: Repo,
    runtime: Handle,
    known: &'a Known,
    packer: Packer,
}

impl<'a> Uploader<'a> {
    pub(super) fn new(repo: &Repo, runtime: &Handle, known: &'a Known, dry_run: bool) -> Uploader<'a> {
        let packer = Packer::new(repo, PACKS_AT_ONCE).growing().dry(dry_run);
        Uploader { repo: repo.clone(), runtime: runtime.clone(), known, packer }
    }

    /// Bytes of packs stored.
    pub(super) fn bytes_stored(&self) -> u64 {
        self.packer.bytes_stored()
    }

    /// Appends chunks that are encoded as one to the pack of their kind; a full pack is sent on its way first.
    pub(super) fn append(
        &mut self,
        kind: ChunkKind,
        members: &[(ChunkId, u32)],
        encoded: &[u8],
    ) -> Result<Locator, Error> {
        let (hint, full) = self.packer.put(kind, members, encoded);
        if let Some(full) = full {
            self.runtime.block_on(self.packer.send(full))?;
        }
        members.iter().for_each(|(id, len)| self.known.add(&ChunkRef { id: *id, len: *len, hint }, HeldBy::Nobody));
        Ok(hint)
    }

    /// A reference to the chunk, if it need not be stored.
    pub(super) fn known(&self, id: ChunkId, len: u32) -> Result<Option<ChunkRef>, Error> {
        Ok(self.known.get(id, len)?)
    }

    /// Copies a chunk or page, as it was read from another pack.
    pub(super) fn copy(&mut self, kind: ChunkKind, chunk: &ChunkRef, plain: &[u8]) -> Result<(), Error> {
        let mut encoded = Vec::new();
        chunk::encode(plain, PAGE_LEVEL, &mut encoded).map_err(Error::Encode)?;
        self.append(kind, &[(chunk.id, chunk.len)], &encoded).map(drop)
    }

    /// Notes packs that an earlier run stored without naming them in an index. Pages are not taken: they may lead to
    /// packs that never came to be stored.
    pub(super) fn adopt(&mut self, pack: IndexedPack, chunks: Vec<chunk::Packed>) {
        if self.known.is_marked(pack.pack) || chunks.iter().any(|line| line.kind.is_metadata()) {
            return;
        }
        chunks.iter().for_each(|line| self.known.add(&line.chunk, HeldBy::Nobody));
        self.packer.name(pack, chunks);
    }

    /// Stores everything that is open: packs, then the index object that names them.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        Ok(self.runtime.block_on(self.packer.flush())?)
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
        Ok(ChunkRef { id, len, hint: self.append(kind, &[(id, len)], &encoded)? })
    }
}
