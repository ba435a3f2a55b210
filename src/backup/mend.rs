//! Storing again what a snapshot lost to a prune before it was done. The tree stays as it is: a chunk is found by its id,
//! wherever it lies, so a chunk whose pack goes needs another pack and nothing else.

use crate::backup::Error;
use crate::backup::known::Known;
use crate::backup::uploader::Uploader;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::extent::Locator;
use crate::format::extents::ExtentPage;
use crate::format::page::NodePage;
use crate::format::record::Snapshot;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::meta::Content;
use crate::meta::Node;
use crate::plan::footing::When;
use crate::plan::words::Words;
use crate::repo;
use crate::repo::Chunks;
use crate::repo::ChunksOptions;
use crate::repo::KnownChunks;
use crate::repo::Repo;
use crate::tree::Pages;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Memory for pages and for chunks on their way.
const MEMORY_BYTES: usize = 32 << 20;

/// What a snapshot can stand on.
pub(super) struct Ground<'a> {
    pub(super) words: &'a Words,
    /// Packs that were listed after the log was read.
    pub(super) there: &'a HashSet<ObjectId>,
    pub(super) when: When,
    /// Pages of the parent, and all below them, need not be looked at.
    pub(super) is_held: bool,
}

impl Ground<'_> {
    fn is_good(&self, pack: ObjectId) -> bool {
        self.there.contains(&pack) && self.when.is_good(self.words.standing(pack))
    }
}

/// Looks at all that the tree refers to, and copies what lies in no good pack out of those that are going, as long as they are
/// there. From then on the snapshot relies on the packs that were found good and on the new ones.
pub(super) fn mend(
    repo: &Repo,
    runtime: &Handle,
    known: &Known,
    uploader: &mut Uploader<'_>,
    snapshot: &Snapshot,
    ground: &Ground<'_>,
) -> Result<(), Error> {
    let chunks = {
        let _inside = runtime.enter();
        Chunks::new(repo, &ChunksOptions { memory_bytes: MEMORY_BYTES })
    };
    // Loaded after the log was read: a pack that a prune has filled is named there before another one goes.
    let index = runtime.block_on(KnownChunks::load(repo))?;
    let mut survey =
        Survey { chunks, index, ground, known, relied: HashSet::new(), seen: HashSet::new(), homeless: Vec::new() };
    match runtime.block_on(survey.walk(snapshot)) {
        Ok(()) => {}
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(error) => {
            tracing::warn!(error = %crate::monitor::chain(&error), "Page of the new snapshot cannot be read any more");
            return Err(Error::Removed { chunks: 1 });
        }
    }
    let Survey { chunks, index, relied, homeless, .. } = survey;
    known.rely_on(relied);
    let mut lost = 0_u64;
    for (kind, chunk) in homeless {
        match runtime.block_on(fetch(&chunks, &index, kind, &chunk))? {
            Some(plain) => uploader.copy(kind, &chunk, &plain)?,
            None => {
                tracing::warn!(chunk = %chunk.id, "Chunk was removed and cannot be copied any more");
                lost += 1;
            }
        }
    }
    uploader.flush()?;
    if lost > 0 { Err(Error::Removed { chunks: lost }) } else { Ok(()) }
}

/// A look at a whole tree.
struct Survey<'a> {
    chunks: Arc<Chunks>,
    index: KnownChunks,
    ground: &'a Ground<'a>,
    known: &'a Known,
    /// Good packs that the snapshot has chunks in.
    relied: HashSet<ObjectId>,
    /// Pages that were looked at, and chunks that were looked for.
    seen: HashSet<ChunkId>,
    /// Chunks and pages in no good pack.
    homeless: Vec<(ChunkKind, ChunkRef)>,
}

impl Survey<'_> {
    async fn walk(&mut self, snapshot: &Snapshot) -> repo::Result<()> {
        let mut stack = vec![(ChunkKind::NodePage, snapshot.root)];
        while let Some((kind, page)) = stack.pop() {
            let is_held = self.ground.is_held && self.known.is_held(page.id);
            if is_held || !self.seen.insert(page.id) {
                continue;
            }
            self.place(kind, &page);
            if kind == ChunkKind::ExtentPage {
                let loaded = self.chunks.ask(|pages| pages.extent_page(&page)).await?;
                match &*loaded {
                    ExtentPage::Inner(_, below) => stack.extend(below.iter().map(|c| (ChunkKind::ExtentPage, c.page))),
                    ExtentPage::Leaf(extents) => extents.iter().for_each(|extent| {
                        if let Extent::Data(chunk) = extent {
                            self.place(ChunkKind::Data, chunk);
                        }
                    }),
                }
                continue;
            }
            let loaded = self.chunks.ask(|pages| pages.node_page(&page)).await?;
            match loaded.page() {
                NodePage::Inner(_, below) => {
                    let below: Vec<ChunkRef> = below.iter().rev().map(|child| child.page).collect();
                    self.chunks.pages_ahead(&below);
                    stack.extend(below.into_iter().map(|page| (ChunkKind::NodePage, page)));
                }
                NodePage::Leaf(runs) => {
                    for content in runs.iter().flat_map(|run| &run.nodes).flat_map(Node::contents) {
                        match content {
                            Content::Empty | Content::Inline(_) => {}
                            Content::Chunk(chunk) => self.place(ChunkKind::Data, chunk),
                            Content::Extents { root, .. } => stack.push((ChunkKind::ExtentPage, *root)),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds a good pack for a chunk, or notes that there is none.
    fn place(&mut self, kind: ChunkKind, chunk: &ChunkRef) {
        let is_good = |place: &Locator| self.ground.is_good(place.pack);
        let hinted = Some(chunk.hint).filter(is_good);
        match hinted.or_else(|| self.index.places(chunk.id).find(is_good)) {
            Some(place) => drop(self.relied.insert(place.pack)),
            None if kind == ChunkKind::Data && !self.seen.insert(chunk.id) => {}
            None => self.homeless.push((kind, *chunk)),
        }
    }
}

/// The bytes of a chunk or page, hints and all, from any place where it still is.
async fn fetch(
    chunks: &Arc<Chunks>,
    index: &KnownChunks,
    kind: ChunkKind,
    wanted: &ChunkRef,
) -> repo::Result<Option<bytes::Bytes>> {
    for hint in [wanted.hint].into_iter().chain(index.places(wanted.id)) {
        match chunks.stored(kind, &ChunkRef { hint, ..*wanted }).await {
            Ok(plain) => return Ok(Some(plain)),
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(None)
}
