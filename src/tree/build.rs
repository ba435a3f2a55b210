//! Writing a tree of nodes: one pass in key order, memory for one leaf page and a line per finished leaf.
//!
//! Inner pages are written at the end, first page last, so that the root and the way to the first leaf are neighbours.

use crate::crypto::Keys;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::format::page::Child;
use crate::format::page::Encoded;
use crate::format::page::Key;
use crate::format::page::NodePage;
use crate::format::page::Run;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Node;

/// Takes finished pages. A page known already need not be stored again.
pub trait PageSink {
    /// Why a page cannot be taken.
    type Error;

    /// Stores a page and says where it lies.
    fn put(&mut self, kind: ChunkKind, page: &Encoded) -> Result<ChunkRef, Self::Error>;
}

/// Root of a finished tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its page.
    pub page: ChunkRef,
    /// Level of that page.
    pub level: u8,
    /// Number of nodes in the tree.
    pub nodes: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// The root page itself, hashed part and hints.
    pub plain: Vec<u8>,
}

/// A leaf is not closed below this estimate, in bytes.
const LEAF_BYTES_MIN: usize = 4 << 10;
/// A leaf is closed at this estimate.
const LEAF_BYTES_MAX: usize = 48 << 10;
/// One key in this many closes a leaf.
const LEAF_NODES_AVG: u64 = 128;
const INNER_CHILDREN_MIN: usize = 16;
const INNER_CHILDREN_MAX: usize = 1024;
const INNER_CHILDREN_AVG: u64 = 256;
/// An inner page is closed at this estimate, in bytes: a thousand keys of 32 KiB each would be more than a chunk holds.
const INNER_BYTES_MAX: usize = 4 << 20;

/// Builds the tree of one snapshot.
#[derive(Clone)]
pub struct NodeTreeBuilder {
    keys: Keys,
    runs: Vec<Run>,
    leaf_bytes: usize,
    leaves: Vec<Child>,
}

impl NodeTreeBuilder {
    /// An empty tree.
    pub fn new(keys: Keys) -> NodeTreeBuilder {
        NodeTreeBuilder { keys, runs: Vec::new(), leaf_bytes: 0, leaves: Vec::new() }
    }

    /// Adds the next node. Keys must ascend; the first one is the root (empty name in the empty path).
    pub fn push<S: PageSink>(&mut self, parent: &[u8], node: Node, sink: &mut S) -> Result<(), S::Error> {
        debug_assert!(self.last_key().is_none_or(|last| last.compare(parent, &node.name).is_lt()));
        self.leaf_bytes += estimate(&node);
        let ends = self.keys.boundary(&[parent, b"/", &node.name]).is_multiple_of(LEAF_NODES_AVG);
        match self.runs.last_mut() {
            Some(run) if run.parent == parent => run.nodes.push(node),
            _ => {
                self.leaf_bytes += parent.len();
                self.runs.push(Run { parent: parent.to_vec(), nodes: vec![node] });
            }
        }
        if (ends && self.leaf_bytes >= LEAF_BYTES_MIN) || self.leaf_bytes >= LEAF_BYTES_MAX {
            self.close_leaf(sink)?;
        }
        Ok(())
    }

    /// Key of the node pushed last in the open leaf.
    fn last_key(&self) -> Option<Key> {
        let run = self.runs.last()?;
        Some(Key { parent: run.parent.clone(), name: run.nodes.last()?.name.clone() })
    }

    fn close_leaf<S: PageSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let runs = std::mem::take(&mut self.runs);
        self.leaf_bytes = 0;
        let Some(first) = runs.first().and_then(|run| run.nodes.first().map(|n| (run, n))) else {
            return Ok(());
        };
        let first = Key { parent: first.0.parent.clone(), name: first.1.name.clone() };
        let leaf = NodePage::Leaf(runs);
        let page = sink.put(ChunkKind::NodePage, &leaf.encode())?;
        self.leaves.push(Child { first, page, nodes: leaf.nodes(), bytes: leaf.bytes() });
        Ok(())
    }

    /// Closes the tree. At least one node must have been pushed.
    pub fn finish<S: PageSink>(mut self, sink: &mut S) -> Result<Root, S::Error> {
        self.close_leaf(sink)?;
        let mut level = 0;
        let mut children = self.leaves;
        loop {
            level += 1;
            let mut pages = cut(&self.keys, level, children);
            let is_root = pages.len() <= 1;
            let mut parents = Vec::with_capacity(pages.len());
            while let Some(inside) = pages.pop() {
                let first = inside.first().map(|c| c.first.clone()).unwrap_or_default();
                let page = NodePage::Inner(level, inside);
                let encoded = page.encode();
                let page_ref = sink.put(ChunkKind::NodePage, &encoded)?;
                let (nodes, bytes) = (page.nodes(), page.bytes());
                if is_root {
                    let plain = [encoded.hashed, encoded.hints].concat();
                    return Ok(Root { page: page_ref, level, nodes, bytes, plain });
                }
                parents.push(Child { first, page: page_ref, nodes, bytes });
            }
            parents.reverse();
            children = parents;
        }
    }
}

/// Cuts the children of a level into pages.
fn cut(keys: &Keys, level: u8, children: Vec<Child>) -> Vec<Vec<Child>> {
    let mut pages = Vec::new();
    let mut open: Vec<Child> = Vec::new();
    let mut bytes = 0;
    for child in children {
        bytes += child.first.parent.len() + child.first.name.len() + 64;
        let ends =
            keys.boundary(&[&[level], &child.first.parent, b"/", &child.first.name]).is_multiple_of(INNER_CHILDREN_AVG);
        open.push(child);
        let full = open.len() >= INNER_CHILDREN_MAX || bytes >= INNER_BYTES_MAX;
        if (ends && open.len() >= INNER_CHILDREN_MIN) || full {
            bytes = 0;
            pages.push(std::mem::take(&mut open));
        }
    }
    if !open.is_empty() || pages.is_empty() {
        pages.push(open);
    }
    pages
}

/// About how many bytes a node takes in its page. Part of the rule where pages end.
fn estimate(node: &Node) -> usize {
    let content = match &node.content {
        Content::Inline(bytes) => bytes.len(),
        Content::Chunk(_) | Content::Extents { .. } => 36,
        Content::Empty => 0,
    };
    let target = if let Kind::Symlink(target) = &node.kind { target.len() } else { 0 };
    let xattrs: usize = node.meta.xattrs.iter().map(|x| x.name.len() + x.value.len()).sum();
    let windows = node.meta.windows.as_ref().map_or(0, |w| w.security.len() + w.reparse.len() + w.streams.len() * 64);
    40 + node.name.len() + content + target + xattrs + windows
}
