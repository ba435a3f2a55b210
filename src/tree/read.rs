//! Reading a tree of nodes: by key, by rank, in order.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::format::FormatError;
use crate::format::extents::ExtentPage;
use crate::format::page::Key;
use crate::format::page::NodePage;
use crate::format::page::add_bytes;
use crate::format::page::compare_keys;
use crate::meta::Node;
use crate::path;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// Why a question about a tree has no answer yet, or none at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// This page is needed and not at hand: fetch it and ask again.
    Miss(ChunkKind, ChunkRef),
    /// The tree is damaged or hostile.
    Bad(FormatError),
}

impl From<FormatError> for Stop {
    fn from(error: FormatError) -> Stop {
        Stop::Bad(error)
    }
}

/// Hands out pages that are at hand.
pub trait Pages {
    /// A page of nodes.
    fn node_page(&self, page: &ChunkRef) -> Result<Arc<Loaded>, Stop>;
    /// A page of extents.
    fn extent_page(&self, page: &ChunkRef) -> Result<Arc<ExtentPage>, Stop>;
}

/// A page of nodes, with the sums that make it searchable by rank.
#[derive(Debug)]
pub struct Loaded {
    page: NodePage,
    /// Nodes before each run or child, and after them all.
    starts: Vec<u64>,
    bytes: u64,
    memory: usize,
}

impl Loaded {
    /// Sums up a page.
    pub fn new(page: NodePage) -> Loaded {
        let mut starts = vec![0];
        let mut sum = 0u64;
        let mut add = |count: u64| {
            sum += count;
            starts.push(sum);
        };
        let memory = match &page {
            NodePage::Leaf(runs) => {
                runs.iter().for_each(|run| add(run.nodes.len() as u64));
                runs.iter().flat_map(|run| &run.nodes).map(node_memory).sum::<usize>() + runs.len() * 80
            }
            NodePage::Inner(_, children) => {
                children.iter().for_each(|child| add(child.nodes));
                children.iter().map(|c| 160 + c.first.parent.len() + c.first.name.len()).sum()
            }
        };
        let bytes = page.bytes();
        Loaded { page, starts, bytes, memory }
    }

    /// Number of nodes in or below the page.
    pub fn nodes(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// About how much memory it takes.
    pub fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// The page itself.
    pub fn page(&self) -> &NodePage {
        &self.page
    }

    /// Nodes in the page before a run or child.
    pub(super) fn start(&self, slot: usize) -> u64 {
        self.starts.get(slot).copied().unwrap_or_else(|| self.nodes())
    }

    /// 0 for a leaf.
    pub(super) fn level(&self) -> u8 {
        match &self.page {
            NodePage::Leaf(_) => 0,
            NodePage::Inner(level, _) => *level,
        }
    }

    /// Key of the first node.
    fn first(&self) -> (&[u8], &[u8]) {
        match &self.page {
            NodePage::Leaf(runs) => (&runs[0].parent, &runs[0].nodes[0].name),
            NodePage::Inner(_, children) => (&children[0].first.parent, &children[0].first.name),
        }
    }

    /// The run or child that holds this rank.
    fn slot_of(&self, rank: u64) -> usize {
        self.starts.partition_point(|&start| start <= rank) - 1
    }
}

fn node_memory(node: &Node) -> usize {
    let xattrs: usize = node.meta.xattrs.iter().map(|x| x.name.len() + x.value.len() + 64).sum();
    let inline = if let crate::meta::Content::Inline(bytes) = &node.content { bytes.len() } else { 0 };
    size_of::<Node>() + node.name.len() + xattrs + inline + 32
}

/// A node and its place. Keeps its page alive; cheap to clone.
#[derive(Debug, Clone)]
pub struct Found {
    page: Arc<Loaded>,
    run: usize,
    index: usize,
    /// Place in the whole tree, from 0 (the root node).
    pub rank: u64,
}

impl Found {
    /// A node of a leaf.
    pub(super) fn new(page: Arc<Loaded>, run: usize, index: usize, rank: u64) -> Found {
        Found { page, run, index, rank }
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.runs()[self.run].nodes[self.index]
    }

    /// Path of its folder.
    pub fn parent(&self) -> &[u8] {
        &self.runs()[self.run].parent
    }

    /// Its own path.
    pub fn path(&self) -> Vec<u8> {
        path::join(self.parent(), &self.node().name)
    }

    fn runs(&self) -> &[crate::format::page::Run] {
        match &self.page.page {
            NodePage::Leaf(runs) => runs,
            NodePage::Inner(..) => &[],
        }
    }

    /// The next node, if it lies in the same page.
    fn next_in_page(&self) -> Option<Found> {
        let runs = self.runs();
        let (run, index) =
            if self.index + 1 < runs[self.run].nodes.len() { (self.run, self.index + 1) } else { (self.run + 1, 0) };
        (run < runs.len()).then(|| Found { page: self.page.clone(), run, index, rank: self.rank + 1 })
    }
}

/// A snapshot's tree, by its root page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTree {
    /// Root page.
    pub root: ChunkRef,
    /// Its level.
    pub level: u8,
    /// Number of nodes.
    pub nodes: u64,
}

/// A page on the way down and the rank of its first node.
struct Step {
    page: Arc<Loaded>,
    base: u64,
}

impl NodeTree {
    /// The root page, if it is what the snapshot says.
    pub(super) fn root_page<P: Pages + ?Sized>(&self, pages: &P) -> Result<Arc<Loaded>, Stop> {
        let page = pages.node_page(&self.root)?;
        if page.level() != self.level || page.nodes() != self.nodes {
            return Err(FormatError::Mismatch { what: "root page" }.into());
        }
        Ok(page)
    }

    fn top<P: Pages + ?Sized>(&self, pages: &P) -> Result<Step, Stop> {
        Ok(Step { page: self.root_page(pages)?, base: 0 })
    }

    /// Follows the child in `slot`, checking that it is what its parent says.
    fn down<P: Pages + ?Sized>(pages: &P, step: &Step, slot: usize) -> Result<Step, Stop> {
        Ok(Step { page: Self::child_page(pages, &step.page, slot)?, base: step.base + step.page.starts[slot] })
    }

    /// A child of an inner page, if it is what its parent says.
    pub(super) fn child_page<P: Pages + ?Sized>(pages: &P, above: &Loaded, slot: usize) -> Result<Arc<Loaded>, Stop> {
        let NodePage::Inner(level, children) = &above.page else {
            return Err(FormatError::Mismatch { what: "page level" }.into());
        };
        let child = &children[slot];
        let page = pages.node_page(&child.page)?;
        let (parent, name) = page.first();
        if page.level() + 1 != *level
            || page.nodes() != child.nodes
            || page.bytes != child.bytes
            || !child.first.compare(parent, name).is_eq()
        {
            return Err(FormatError::Mismatch { what: "page of the tree" }.into());
        }
        Ok(page)
    }

    /// The node of a rank; `None` beyond the end.
    pub fn at<P: Pages + ?Sized>(&self, pages: &P, rank: u64) -> Result<Option<Found>, Stop> {
        self.at_telling(pages, rank, &mut (0..0))
    }

    /// The same, and tells in `span` the ranks in and below the page that was asked for last. If that page cannot be
    /// had, these are the nodes that cannot be reached.
    pub fn at_telling<P: Pages + ?Sized>(
        &self,
        pages: &P,
        rank: u64,
        span: &mut Range<u64>,
    ) -> Result<Option<Found>, Stop> {
        *span = 0..self.nodes;
        let mut step = self.top(pages)?;
        if rank >= self.nodes {
            return Ok(None);
        }
        while step.page.level() > 0 {
            let slot = step.page.slot_of(rank - step.base);
            *span = step.base + step.page.starts[slot]..step.base + step.page.starts[slot + 1];
            step = Self::down(pages, &step, slot)?;
        }
        let run = step.page.slot_of(rank - step.base);
        let index = rank - step.base - step.page.starts[run];
        Ok(Some(Found { index: index as usize, run, page: step.page, rank }))
    }

    /// The first node whose key is not less than this one; `None` if all are.
    pub fn lower_bound<P: Pages + ?Sized>(&self, pages: &P, parent: &[u8], name: &[u8]) -> Result<Option<Found>, Stop> {
        let mut step = self.top(pages)?;
        while let NodePage::Inner(_, children) = &step.page.page {
            let after = children.partition_point(|c| c.first.compare(parent, name).is_le());
            step = Self::down(pages, &step, after.saturating_sub(1))?;
        }
        let NodePage::Leaf(runs) = &step.page.page else {
            return Err(FormatError::Mismatch { what: "page level" }.into());
        };
        let run = runs.partition_point(|run| path::compare(&run.parent, parent).is_lt());
        let index = match runs.get(run) {
            Some(r) if r.parent == parent => r.nodes.partition_point(|node| node.name[..] < *name),
            _ => 0,
        };
        let start = step.page.starts.get(run).copied().unwrap_or(step.page.nodes());
        let rank = step.base + start + index as u64;
        match runs.get(run) {
            Some(r) if index < r.nodes.len() => Ok(Some(Found { page: step.page.clone(), run, index, rank })),
            _ => self.at(pages, rank),
        }
    }

    /// The node of exactly this key.
    pub fn get<P: Pages + ?Sized>(&self, pages: &P, parent: &[u8], name: &[u8]) -> Result<Option<Found>, Stop> {
        let found = self.lower_bound(pages, parent, name)?;
        Ok(found.filter(|f| compare_keys(f.parent(), &f.node().name, parent, name) == Ordering::Equal))
    }

    /// The node at a path; the empty path is the root.
    pub fn get_path<P: Pages + ?Sized>(&self, pages: &P, full_path: &[u8]) -> Result<Option<Found>, Stop> {
        let Key { parent, name } = Key::of(full_path);
        self.get(pages, &parent, &name)
    }

    /// Every page of the tree, the root first, found through inner pages alone.
    pub fn all_pages<P: Pages + ?Sized>(&self, pages: &P) -> Result<Vec<ChunkRef>, Stop> {
        let mut all = vec![self.root];
        let mut steps = vec![self.top(pages)?];
        while let Some(step) = steps.pop() {
            let NodePage::Inner(level, children) = &step.page.page else { continue };
            for (slot, child) in children.iter().enumerate() {
                all.push(child.page);
                if *level > 1 {
                    steps.push(Self::down(pages, &step, slot)?);
                }
            }
        }
        Ok(all)
    }

    /// The node after this one.
    pub fn next<P: Pages + ?Sized>(&self, pages: &P, found: &Found) -> Result<Option<Found>, Stop> {
        match found.next_in_page() {
            Some(next) => Ok(Some(next)),
            None => self.at(pages, found.rank + 1),
        }
    }

    /// Rank behind the last child of a folder (its first child is `lower_bound(folder, "")`).
    pub fn children_end<P: Pages + ?Sized>(&self, pages: &P, folder: &[u8]) -> Result<u64, Stop> {
        // The smallest possible folder path behind `folder` in the order is `folder` + "/" + NUL.
        let after = if folder.is_empty() { b"\0".to_vec() } else { [folder, b"/\0"].concat() };
        self.rank_or_end(pages, &after)
    }

    /// Rank behind everything below a folder.
    pub fn subtree_end<P: Pages + ?Sized>(&self, pages: &P, folder: &[u8]) -> Result<u64, Stop> {
        if folder.is_empty() {
            return Ok(self.nodes);
        }
        // Every path below starts with `folder/`; the next byte after `/` in the order is 1.
        self.rank_or_end(pages, &[folder, b"\x01"].concat())
    }

    fn rank_or_end<P: Pages + ?Sized>(&self, pages: &P, parent: &[u8]) -> Result<u64, Stop> {
        Ok(self.lower_bound(pages, parent, b"")?.map_or(self.nodes, |found| found.rank))
    }

    /// Sum of the sizes of all nodes before `rank`.
    pub fn bytes_before<P: Pages + ?Sized>(&self, pages: &P, rank: u64) -> Result<u64, Stop> {
        let mut step = self.top(pages)?;
        if rank >= self.nodes {
            return Ok(step.page.bytes);
        }
        let mut sum = 0;
        while let NodePage::Inner(_, children) = &step.page.page {
            let slot = step.page.slot_of(rank - step.base);
            sum = children[..slot].iter().map(|c| c.bytes).fold(sum, add_bytes);
            step = Self::down(pages, &step, slot)?;
        }
        let nodes = match &step.page.page {
            NodePage::Leaf(runs) => runs.iter().flat_map(|run| &run.nodes),
            NodePage::Inner(..) => return Err(FormatError::Mismatch { what: "page level" }.into()),
        };
        Ok(nodes.take((rank - step.base) as usize).map(Node::size).fold(sum, add_bytes))
    }
}
