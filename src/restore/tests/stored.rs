//! Stores the model of a tree in a real repository, laid out as a test wants it.

use crate::browse::Browse;
use crate::crypto::Keys;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::format::chunk;
use crate::format::page::Encoded;
use crate::format::record::Figures;
use crate::format::record::Snapshot;
use crate::id::ChunkId;
use crate::id::SnapshotId;
use crate::meta::Content;
use crate::meta::Time;
use crate::monitor::Collect;
use crate::repo::Chunks;
use crate::repo::ChunksOptions;
use crate::repo::Log;
use crate::repo::PackWriter;
use crate::repo::Repo;
use crate::repo::pack_name;
use crate::restore::Error;
use crate::restore::Options;
use crate::restore::Summary;
use crate::restore::restore;
use crate::restore::tests::CHUNK_BYTES;
use crate::restore::tests::Entry;
use crate::restore::tests::INLINE_BYTES;
use crate::store::AnyStore;
use crate::tree::ExtentTreeBuilder;
use crate::tree::PageSink;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;

pub(super) fn snapshot(root: &crate::tree::Root) -> Snapshot {
    Snapshot {
        id: SnapshotId(crate::crypto::random()),
        time: Time::default(),
        host: "host".into(),
        user: "user".into(),
        sources: vec![Vec::new()],
        tags: Vec::new(),
        description: String::new(),
        program: "test".into(),
        parent: None,
        root: root.page,
        level: root.level,
        nodes: root.nodes,
        bytes: root.bytes,
        with_xattrs: 0,
        figures: Figures::default(),
    }
}

/// How much goes into one pack.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// A data pack is closed behind a file that makes it so long.
    pub(super) pack_bytes: usize,
    /// Each page of the tree is a pack of its own.
    pub(super) page_packs: bool,
}

pub(super) struct Filler {
    pub(super) keys: Keys,
    pub(super) layout: Layout,
    pub(super) data: PackWriter,
    pub(super) data_bytes: usize,
    pub(super) pages_open: PackWriter,
    pub(super) known: HashMap<ChunkId, ChunkRef>,
    pub(super) objects: Vec<(String, Vec<u8>)>,
    /// For each path the name of the pack with its last chunk.
    pub(super) packs: BTreeMap<String, String>,
    /// Packs of pages, in the order in which they were written.
    pub(super) pages: Vec<String>,
}

impl Filler {
    pub(super) fn new(keys: Keys, layout: Layout) -> Filler {
        Filler {
            keys,
            layout,
            data: PackWriter::new(false),
            data_bytes: 0,
            pages_open: PackWriter::new(true),
            known: HashMap::new(),
            objects: Vec::new(),
            packs: BTreeMap::new(),
            pages: Vec::new(),
        }
    }

    pub(super) fn flush(&mut self, is_metadata: bool) {
        let writer = if is_metadata { &mut self.pages_open } else { &mut self.data };
        if writer.is_empty() {
            return;
        }
        let mut pack = writer.take();
        self.objects.push((pack_name(pack.pack), pack.seal(&self.keys).unwrap()));
        if is_metadata {
            self.pages.push(pack_name(pack.pack));
        } else {
            self.data_bytes = 0;
        }
    }

    pub(super) fn chunk(&mut self, path: &str, bytes: &[u8]) -> ChunkRef {
        let id = self.keys.chunk_id(ChunkKind::Data, bytes);
        if let Some(known) = self.known.get(&id) {
            self.packs.insert(path.to_owned(), pack_name(known.hint.pack));
            return *known;
        }
        let mut encoded = Vec::new();
        chunk::encode(bytes, 1, &mut encoded).unwrap();
        let len = bytes.len() as u32;
        let chunk = ChunkRef { id, len, hint: self.data.append(ChunkKind::Data, &[(id, len)], &encoded) };
        self.data_bytes += encoded.len();
        self.known.insert(id, chunk);
        self.packs.insert(path.to_owned(), pack_name(chunk.hint.pack));
        chunk
    }

    pub(super) fn content(&mut self, path: &str, entry: &Entry) -> Content {
        let is_whole =
            entry.data.len() <= 1 && entry.data.iter().all(|(at, d)| *at == 0 && d.len() as u64 == entry.len);
        if is_whole && entry.len as usize <= INLINE_BYTES {
            let bytes = entry.bytes();
            return if bytes.is_empty() { Content::Empty } else { Content::Inline(bytes) };
        }
        let mut tree = ExtentTreeBuilder::default();
        let mut at = 0;
        for (offset, data) in &entry.data {
            tree.push(Extent::Hole(offset - at), self).unwrap();
            for piece in data.chunks(CHUNK_BYTES) {
                let chunk = self.chunk(path, piece);
                tree.push(Extent::Data(chunk), self).unwrap();
            }
            at = offset + data.len() as u64;
        }
        tree.push(Extent::Hole(entry.len - at), self).unwrap();
        let content = tree.finish(self).unwrap();
        if self.data_bytes >= self.layout.pack_bytes {
            self.flush(false);
        }
        content
    }
}

impl PageSink for Filler {
    type Error = Infallible;

    fn put(&mut self, kind: ChunkKind, page: &Encoded) -> Result<ChunkRef, Infallible> {
        let plain = [&page.hashed[..], &page.hints].concat();
        let id = self.keys.chunk_id(kind, &page.hashed);
        let mut encoded = Vec::new();
        chunk::encode(&plain, 1, &mut encoded).unwrap();
        let len = page.hashed.len() as u32;
        let page = ChunkRef { id, len, hint: self.pages_open.append(kind, &[(id, len)], &encoded) };
        if self.layout.page_packs {
            self.flush(true);
        }
        Ok(page)
    }
}

/// A snapshot in a repository.
pub(super) struct Stored {
    pub(super) store: AnyStore,
    pub(super) repo: Repo,
    pub(super) snapshot: Snapshot,
    pub(super) packs: BTreeMap<String, String>,
    pub(super) pages: Vec<String>,
}

impl Stored {
    pub(super) async fn browse(&self) -> Browse {
        let chunks = Chunks::new(&self.repo, &ChunksOptions::default());
        let log = Log::read(&self.repo).await.unwrap();
        Browse::open(&chunks, &log, &self.snapshot)
    }

    pub(super) async fn try_restore(
        &self,
        base: &str,
        to: &Path,
        options: &Options,
    ) -> (Result<Summary, Error>, Vec<String>) {
        let monitor = Collect::default();
        let result = restore(&self.browse().await, base.as_bytes(), to, options, &monitor).await;
        let problems = monitor.problems.into_inner().unwrap();
        if let Ok(summary) = &result {
            assert_eq!(summary.problems, problems.len() as u64, "{problems:?}");
        }
        (result, problems)
    }

    /// Restores everything, which must go well.
    pub(super) async fn restore(&self, base: &str, to: &Path, options: &Options) -> Summary {
        let (result, problems) = self.try_restore(base, to, options).await;
        assert_eq!(problems, Vec::<String>::new());
        result.unwrap()
    }
}
