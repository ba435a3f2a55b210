//! A snapshot as a tree: nodes by path, listings, subtrees as ranges, bytes of files.
//!
//! Two ways to ask: `..._now` answers from memory or not at all and never waits; the async methods fetch what is
//! missing. Both run the same code.

mod ahead;
mod changes;
mod content;
mod disks;
mod image_file;
mod inside;
mod nearby;
mod select;
mod stream;
mod unreadable;
mod windows;

pub use ahead::Ahead;
pub use changes::Changes;
pub use disks::OpenedDisk;
pub use disks::disk_of;
pub use disks::is_locked;
pub use disks::is_use_unknown;
pub use inside::ImageAt;
pub use inside::Inside;
pub use inside::InsideError;
pub use select::Filter;
pub use select::SelectError;
pub use select::Selector;
pub use select::SnapshotPath;
pub use stream::DataStream;
pub use unreadable::NeverRead;
pub use unreadable::Unreadable;

pub(crate) use content::pieces_of;

use crate::format::record::Snapshot;
use crate::meta::Content;
use crate::path;
use crate::repo::Chunks;
use crate::repo::Log;
use crate::repo::Result;
use crate::tree::Found;
use crate::tree::NodeTree;
use crate::tree::Pages;
use crate::tree::Piece;
use crate::tree::Stop;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Smallest key of a folder's children: behind the folder's own path, before any name.
const FIRST_NAME: &[u8] = b"\x01";

/// An open snapshot. Cheap to clone.
#[derive(Clone)]
pub struct Browse {
    chunks: Arc<Chunks>,
    snapshot: Arc<Snapshot>,
    tree: NodeTree,
}

/// Nodes and bytes below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Nodes, the path's own included.
    pub nodes: u64,
    /// Bytes of files.
    pub bytes: u64,
}

impl Browse {
    /// Opens a snapshot; asks nothing of the store. The log may already hold its root page.
    pub fn open(chunks: &Arc<Chunks>, log: &Log, snapshot: &Snapshot) -> Browse {
        if let Some(page) = log.root_page(snapshot.id) {
            chunks.offer_root(&snapshot.root, page);
        }
        let tree = NodeTree { root: snapshot.root, level: snapshot.level, nodes: snapshot.nodes };
        Browse { chunks: chunks.clone(), snapshot: Arc::new(snapshot.clone()), tree }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The chunks behind it.
    pub fn chunks(&self) -> &Arc<Chunks> {
        &self.chunks
    }

    /// Its tree.
    pub fn tree(&self) -> &NodeTree {
        &self.tree
    }

    /// Asks a question that may need pages.
    pub async fn ask<T>(
        &self,
        mut question: impl FnMut(&NodeTree, &crate::repo::View<'_>) -> std::result::Result<T, Stop>,
    ) -> Result<T> {
        self.chunks.ask(|pages| question(&self.tree, pages)).await
    }

    /// The node at a path (empty: the root).
    pub async fn get(&self, full_path: &[u8]) -> Result<Option<Found>> {
        self.ask(|tree, pages| tree.get_path(pages, full_path)).await
    }

    /// The node of a rank.
    pub async fn at(&self, rank: u64) -> Result<Option<Found>> {
        self.ask(|tree, pages| tree.at(pages, rank)).await
    }

    /// Ranks of the children of a folder.
    pub async fn children(&self, folder: &[u8]) -> Result<Range<u64>> {
        self.ask(|tree, pages| children(tree, pages, folder)).await
    }

    /// Ranks of everything below a folder, its own not included.
    pub async fn subtree(&self, folder: &[u8]) -> Result<Range<u64>> {
        self.ask(|tree, pages| {
            let first = tree.lower_bound(pages, folder, FIRST_NAME)?.map_or(tree.nodes, |f| f.rank);
            Ok(first..tree.subtree_end(pages, folder)?)
        })
        .await
    }

    /// Nodes and bytes at and below a path, out of the sums in the pages: a few pages, however large the folder.
    pub async fn sums(&self, found: &Found) -> Result<Sums> {
        let own = Sums { nodes: 1, bytes: found.node().size() };
        if !found.node().is_folder() {
            return Ok(own);
        }
        let below = self.subtree(&found.path()).await?;
        let before = self.ask(|tree, pages| tree.bytes_before(pages, below.start)).await?;
        let until = self.ask(|tree, pages| tree.bytes_before(pages, below.end)).await?;
        Ok(Sums { nodes: own.nodes + (below.end - below.start), bytes: own.bytes + (until - before) })
    }

    /// Steps through a range of ranks in the order of the tree.
    pub fn walk(&self, range: Range<u64>) -> Walk {
        Walk { browse: self.clone(), range, last: None }
    }

    /// Up to `len` bytes of a file from `offset`; fewer only at its end.
    pub async fn read(&self, content: &Content, offset: u64, len: usize) -> Result<Bytes> {
        content::read(&self.chunks, content, offset, len).await
    }

    /// The pieces of a file that touch a range.
    pub async fn pieces(&self, content: &Content, range: Range<u64>) -> Result<Vec<Piece>> {
        content::pieces_of(&self.chunks, content, range).await
    }

    /// The data of a file in order.
    pub fn data(&self, content: &Content) -> DataStream {
        DataStream::new(&self.chunks, content)
    }

    /// [`Browse::read`], if it needs no waiting.
    pub fn read_now(&self, content: &Content, offset: u64, len: usize) -> Option<Result<Bytes>> {
        content::read_now(&*self.chunks, content, offset, len, |chunk| self.chunks.data_now(chunk))
    }

    /// Up to `len` bytes from `offset` for a reader that must not set anything off, if they are in memory: nothing is
    /// fetched, not even ahead.
    pub fn read_at_hand(&self, content: &Content, offset: u64, len: usize) -> Option<Result<Bytes>> {
        content::read_now(&*self.chunks, content, offset, len, |chunk| self.chunks.data_at_hand(chunk))
    }

    /// The same out of memory and the cache on disk. Blocks while the disk is read.
    pub fn read_kept(&self, content: &Content, offset: u64, len: usize) -> Option<Result<Bytes>> {
        let kept = self.chunks.kept();
        content::read_now(&kept, content, offset, len, |chunk| kept.data(chunk))
    }

    /// True if all of it is in memory or in the cache on disk, in all likelihood. Blocks while the disk is asked.
    pub fn is_kept(&self, content: &Content) -> bool {
        content::is_kept(&self.chunks.kept(), content)
    }
}

/// Ranks of the children of a folder.
pub(crate) fn children<P: Pages + ?Sized>(
    tree: &NodeTree,
    pages: &P,
    folder: &[u8],
) -> std::result::Result<Range<u64>, Stop> {
    let first = tree.lower_bound(pages, folder, FIRST_NAME)?.map_or(tree.nodes, |f| f.rank);
    Ok(first..tree.children_end(pages, folder)?)
}

/// A walk through a range of nodes.
pub struct Walk {
    browse: Browse,
    range: Range<u64>,
    last: Option<Found>,
}

impl Walk {
    /// The next node.
    pub async fn next(&mut self) -> Result<Option<Found>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let found = match &self.last {
            Some(last) => self.browse.ask(|tree, pages| tree.next(pages, last)).await?,
            None => self.browse.at(self.range.start).await?,
        };
        self.range.start += 1;
        self.last.clone_from(&found);
        Ok(found)
    }

    /// How many nodes are left.
    pub fn remaining(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

/// A path as people type it (`/home/ada/`, `home//ada`) as a snapshot path; `..` and NUL are refused.
pub fn clean_path(text: &[u8]) -> std::result::Result<Vec<u8>, path::NameError> {
    let parts = text.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let clean = parts.collect::<Vec<_>>().join(&b'/');
    path::check_path(&clean)?;
    Ok(clean)
}
