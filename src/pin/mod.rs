//! Pinning: everything that a folder of a snapshot needs is brought into the cache and stays there.
//!
//! The folder is walked once. Every page that the walk asks for is noted as it is asked for, so what is kept is exactly
//! what a drive will ask for later: the way down to the folder, its pages, the lists of extents, and the contents.

use crate::browse::Browse;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::format::extents::ExtentPage;
use crate::id::ChunkId;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::repo;
use crate::tree::Loaded;
use crate::tree::NodeTree;
use crate::tree::Pages;
use crate::tree::Stop;
use crate::tree::pieces;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Nodes looked at before what they need is fetched.
const BATCH_NODES: u64 = 2000;
/// Bytes of content after which a batch ends.
const BATCH_BYTES: u64 = 64 << 20;

/// Why a folder could not be pinned. What was brought so far stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something could not be read or kept.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// The snapshot has nothing at the path.
    #[error("the snapshot has nothing at the path")]
    NotFound,
    /// The user wants no more.
    #[error("interrupted")]
    Cancelled,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files and other nodes.
    pub nodes: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Bytes that had to be fetched, as they are stored.
    pub fetched: u64,
}

/// Pins what stands at a path, with everything below it, under a label of the cache.
pub async fn pin(
    browse: &Browse,
    path: &[u8],
    label: &str,
    now_secs: i64,
    monitor: &dyn Monitor,
) -> Result<Summary, Error> {
    let found = browse.get(path).await?.ok_or(Error::NotFound)?;
    let below = if found.node().is_folder() { browse.subtree(path).await? } else { 0..0 };
    let sums = browse.sums(&found).await?;
    monitor.event(Event::Total { nodes: sums.nodes, bytes: sums.bytes });
    let mut needs = Needs::default();
    browse.ask(|tree, pages| way_down(tree, &Noting { pages, noted: &needs.noted }, path, &below)).await?;
    let mut summary = Summary::default();
    let mut ranges = vec![found.rank..found.rank + 1, below];
    ranges.reverse();
    while let Some(range) = ranges.pop() {
        if monitor.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let batch = browse.ask(|tree, pages| batch(tree, &Noting { pages, noted: &needs.noted }, &range)).await?;
        let chunks = browse.chunks();
        for kind in [ChunkKind::NodePage, ChunkKind::ExtentPage] {
            summary.fetched += chunks.pin(label, now_secs, kind, &needs.take_new(kind)).await?;
        }
        summary.fetched += chunks.pin(label, now_secs, ChunkKind::Data, &batch.data).await?;
        summary.nodes += batch.nodes;
        summary.bytes += batch.bytes;
        monitor.event(Event::Done { nodes: batch.nodes, bytes: batch.bytes });
        if batch.next < range.end {
            ranges.push(batch.next..range.end);
        }
    }
    Ok(summary)
}

/// Pages that were asked for, and whether they are pinned yet.
#[derive(Default)]
struct Needs {
    noted: RefCell<HashMap<ChunkId, Noted>>,
}

struct Noted {
    kind: ChunkKind,
    page: ChunkRef,
    is_pinned: bool,
}

impl Needs {
    /// Pages of a kind that were not handed out yet, in the order of their packs.
    fn take_new(&mut self, kind: ChunkKind) -> Vec<ChunkRef> {
        let open = self.noted.get_mut().values_mut().filter(|noted| noted.kind == kind && !noted.is_pinned);
        let mut pages: Vec<ChunkRef> = open
            .map(|noted| {
                noted.is_pinned = true;
                noted.page
            })
            .collect();
        pages.sort_unstable_by_key(|page| (page.hint.pack, page.hint.offset));
        pages
    }
}

/// Hands out pages and takes note of each.
struct Noting<'a, P> {
    pages: &'a P,
    noted: &'a RefCell<HashMap<ChunkId, Noted>>,
}

impl<P> Noting<'_, P> {
    fn note(&self, kind: ChunkKind, page: &ChunkRef) {
        let mut noted = self.noted.borrow_mut();
        noted.entry(page.id).or_insert(Noted { kind, page: *page, is_pinned: false });
    }
}

impl<P: Pages> Pages for Noting<'_, P> {
    fn node_page(&self, page: &ChunkRef) -> Result<Arc<Loaded>, Stop> {
        self.note(ChunkKind::NodePage, page);
        self.pages.node_page(page)
    }

    fn extent_page(&self, page: &ChunkRef) -> Result<Arc<ExtentPage>, Stop> {
        self.note(ChunkKind::ExtentPage, page);
        self.pages.extent_page(page)
    }
}

/// Asks what a drive asks to get to a path and to list it.
fn way_down<P: Pages>(tree: &NodeTree, pages: &P, path: &[u8], below: &Range<u64>) -> Result<(), Stop> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends.chain([0, path.len()]) {
        tree.get_path(pages, &path[..end])?;
        tree.children_end(pages, &path[..end])?;
        tree.subtree_end(pages, &path[..end])?;
    }
    for rank in [below.start, below.end] {
        tree.bytes_before(pages, rank)?;
    }
    Ok(())
}

/// Some nodes and what their contents need.
struct Batch {
    nodes: u64,
    bytes: u64,
    data: Vec<ChunkRef>,
    next: u64,
}

fn batch<P: Pages>(tree: &NodeTree, pages: &P, range: &Range<u64>) -> Result<Batch, Stop> {
    let mut batch = Batch { nodes: 0, bytes: 0, data: Vec::new(), next: range.start };
    let mut next = if range.is_empty() { None } else { tree.at(pages, range.start)? };
    while let Some(found) = next {
        let content = &found.node().content;
        pieces(pages, content, 0..content.len(), &mut |piece| {
            if let Extent::Data(chunk) = &piece.extent {
                batch.data.push(*chunk);
            }
            true
        })?;
        batch.nodes += 1;
        batch.bytes += found.node().size();
        batch.next = found.rank + 1;
        if batch.next >= range.end || batch.nodes >= BATCH_NODES || batch.bytes >= BATCH_BYTES {
            break;
        }
        next = tree.next(pages, &found)?;
    }
    Ok(batch)
}
