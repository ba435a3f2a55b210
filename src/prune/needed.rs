//! Every chunk and page that snapshots need, sorted by id: their trees are walked, each page once however many share it.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::format::FormatError;
use crate::format::extents::ExtentPage;
use crate::format::page::NodePage;
use crate::format::record::Snapshot;
use crate::id::ChunkId;
use crate::id::SnapshotId;
use crate::meta::Content;
use crate::meta::Node;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::prune::Error;
use crate::prune::Listed;
use crate::prune::Result;
use crate::prune::lines::Lines;
use crate::prune::sorted::Scratch;
use crate::prune::sorted::Sorted;
use crate::prune::sorted::Sorter;
use crate::repo;
use crate::repo::Chunks;
use crate::repo::pack_name;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;

/// Pages fetched at once; few, because a hostile one can be 16 MiB long.
const READS_AT_ONCE: usize = 6;
/// Pages of a batch.
const BATCH_MAX: usize = 512;

/// A page: half an id is enough to tell pages apart.
type Half = [u8; 16];

/// What the walked snapshots need.
pub(super) struct Needed {
    /// An unfinished snapshot has the id of the whole one, and another root.
    walked: BTreeSet<(SnapshotId, ChunkId)>,
    seen: HashSet<Half>,
    chunks: Sorted<32>,
}

impl Needed {
    pub(super) fn nothing(scratch: &Scratch) -> io::Result<Needed> {
        Ok(Needed { walked: BTreeSet::new(), seen: HashSet::new(), chunks: Sorter::new(scratch).finish()? })
    }

    /// What just these snapshots need. Unfinished ones that cannot be read need nothing: nobody can go on from them.
    pub(super) async fn of(self, snapshots: &[(&Snapshot, bool)], walk: &Walk<'_>) -> Result<Needed> {
        let name = |snapshot: &Snapshot| (snapshot.id, snapshot.root.id);
        let wanted: BTreeSet<_> = snapshots.iter().map(|(snapshot, _)| name(snapshot)).collect();
        let mut needed = if self.walked.is_subset(&wanted) { self } else { Needed::nothing(walk.scratch)? };
        if needed.walked == wanted {
            return Ok(needed);
        }
        let mut sorter = needed.chunks.open(walk.scratch);
        for (snapshot, is_whole) in snapshots {
            if needed.walked.contains(&name(snapshot)) {
                continue;
            }
            match walk.tree(snapshot, &mut needed.seen, &mut sorter).await {
                Err(Error::Repo(source)) if !source.is_transient() => {
                    let snapshot = snapshot.id;
                    if *is_whole {
                        return Err(Error::Unreadable { snapshot, source });
                    }
                    // Below pages that count as seen, others were not reached.
                    needed.seen.clear();
                    tracing::warn!(%snapshot, error = %crate::monitor::chain(&source), "Unfinished snapshot cannot be read");
                }
                other => other?,
            }
        }
        needed.chunks = sorter.finish()?;
        needed.walked = wanted;
        Ok(needed)
    }

    /// Hands over all ids in order.
    pub(super) fn visit<T>(&self, visit: impl FnOnce(&mut dyn Iterator<Item = [u8; 32]>) -> T) -> io::Result<T> {
        let mut merge = self.chunks.iter();
        let told = visit(&mut merge.by_ref());
        merge.end()?;
        Ok(told)
    }
}

/// What a walk needs.
pub(super) struct Walk<'a> {
    pub(super) chunks: &'a Arc<Chunks>,
    pub(super) lines: &'a Lines,
    /// Packs that are there.
    pub(super) packs: &'a Listed,
    pub(super) scratch: &'a Scratch,
    pub(super) monitor: &'a dyn Monitor,
}

impl Walk<'_> {
    async fn tree(&self, snapshot: &Snapshot, seen: &mut HashSet<Half>, found: &mut Sorter<32>) -> Result<()> {
        let mut stack = vec![(ChunkKind::NodePage, snapshot.root)];
        // Pages are ticked off when they are read: a walk that fails has not seen what it did not reach.
        while !stack.is_empty() {
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let mut batch = stack.split_off(stack.len().saturating_sub(BATCH_MAX));
            batch.retain(|(_, page)| !seen.contains(&half(page)));
            batch.sort_unstable_by_key(|(_, page)| (page.hint.pack, page.hint.offset));
            batch.dedup_by_key(|(_, page)| page.id);
            for (_, page) in &mut batch {
                self.lead(page)?;
            }
            self.chunks.encoded_ahead(batch.iter().copied());
            let reads = batch.into_iter().map(|(kind, page)| async move { (kind, page, self.page(kind, &page).await) });
            let mut reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
            while let Some((kind, page, plain)) = reads.next().await {
                let plain = plain?;
                seen.insert(half(&page));
                found.push(page.id.0)?;
                let object = || pack_name(page.hint.pack);
                let below =
                    below(kind, &plain, &page).map_err(|source| repo::Error::Object { object: object(), source })?;
                self.monitor.event(Event::Done { nodes: 1, bytes: page.hint.len.into() });
                for chunk in below.1 {
                    found.push(chunk.id.0)?;
                }
                stack.extend(below.0);
            }
        }
        Ok(())
    }

    /// Where a hint leads to a pack that is gone, lets it lead where the index says.
    fn lead(&self, page: &mut ChunkRef) -> Result<()> {
        if !self.packs.contains_key(&page.hint.pack) {
            let places = self.lines.places(page.id)?;
            page.hint = places.into_iter().find(|place| self.packs.contains_key(&place.pack)).unwrap_or(page.hint);
        }
        Ok(())
    }

    /// Reads a page at its hint, or wherever the index says.
    async fn page(&self, kind: ChunkKind, page: &ChunkRef) -> Result<Bytes> {
        let first = match self.chunks.stored(kind, page).await {
            Ok(plain) => return Ok(plain),
            Err(e) if e.is_transient() => return Err(e.into()),
            Err(e) => e,
        };
        for hint in self.lines.places(page.id)?.into_iter().filter(|place| *place != page.hint) {
            match self.chunks.stored(kind, &ChunkRef { hint, ..*page }).await {
                Ok(plain) => return Ok(plain),
                Err(e) if e.is_transient() => return Err(e.into()),
                Err(_) => {}
            }
        }
        Err(first.into())
    }
}

fn half(page: &ChunkRef) -> Half {
    let mut half = [0; 16];
    half.copy_from_slice(&page.id.0[..16]);
    half
}

type Below = (Vec<(ChunkKind, ChunkRef)>, Vec<ChunkRef>);

/// The pages below a page, and the chunks it refers to.
fn below(kind: ChunkKind, plain: &[u8], page: &ChunkRef) -> std::result::Result<Below, FormatError> {
    let (mut pages, mut chunks) = (Vec::new(), Vec::new());
    if kind == ChunkKind::ExtentPage {
        match ExtentPage::decode(plain, page.len)? {
            ExtentPage::Inner(_, children) => {
                pages.extend(children.iter().map(|child| (ChunkKind::ExtentPage, child.page)));
            }
            ExtentPage::Leaf(extents) => {
                chunks.extend(
                    extents.iter().filter_map(|e| if let Extent::Data(chunk) = e { Some(*chunk) } else { None }),
                );
            }
        }
        return Ok((pages, chunks));
    }
    match NodePage::decode(plain, page.len)? {
        NodePage::Inner(_, children) => pages.extend(children.iter().map(|child| (ChunkKind::NodePage, child.page))),
        NodePage::Leaf(runs) => {
            for content in runs.iter().flat_map(|run| &run.nodes).flat_map(Node::contents) {
                match content {
                    Content::Empty | Content::Inline(_) => {}
                    Content::Chunk(chunk) => chunks.push(*chunk),
                    Content::Extents { root, .. } => pages.push((ChunkKind::ExtentPage, *root)),
                }
            }
        }
    }
    Ok((pages, chunks))
}
