//! The difference of two trees, node by node in the order of the tree, without looking at what is the same.
//!
//! Pages begin where keys say, so trees that agree from some key on have the same pages from there on. Two cursors go
//! down only as far as they must: always the one that is behind, or at equal keys the higher one. So a page that stands
//! in both trees is met by both at once and left out whole, and the work is proportional to the pages that differ.
//! Memory: one way down in each tree.

use crate::extent::ChunkRef;
use crate::format::page::NodePage;
use crate::format::page::compare_keys;
use crate::id::ChunkId;
use crate::path;
use crate::tree::Found;
use crate::tree::Loaded;
use crate::tree::NodeTree;
use crate::tree::Pages;
use crate::tree::Stop;
use crate::tree::What;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// One difference.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is in the new tree only.
    Added(Found),
    /// It was in the old tree only.
    Removed(Found),
    /// It is in both, and not the same.
    Changed(Box<(Found, Found)>, What),
}

/// A running comparison. If a question ends with [`Stop::Miss`], nothing is lost: it goes on when it is asked again.
#[derive(Debug)]
pub struct Diff {
    old: Cursor,
    new: Cursor,
}

impl Diff {
    /// Compares what is in or below a folder of the old tree with what is in or below one of the new tree. The folders
    /// themselves are compared only if both are roots (empty paths).
    pub fn new(old: (NodeTree, &[u8]), new: (NodeTree, &[u8])) -> Diff {
        let at_roots = old.1.is_empty() && new.1.is_empty();
        Diff { old: Cursor::new(old, at_roots), new: Cursor::new(new, at_roots) }
    }

    /// Everything in a tree, as added to nothing.
    pub fn whole(new: NodeTree) -> Diff {
        let mut old = Cursor::new((new, b""), true);
        old.place = Place::Inside;
        Diff { old, new: Cursor::new((new, b""), true) }
    }

    /// The next difference.
    pub fn next<P: Pages + ?Sized>(&mut self, pages: &P) -> Result<Option<Change>, Stop> {
        self.old.seek(pages)?;
        self.new.seek(pages)?;
        loop {
            match decide(self.old.item(), self.new.item()) {
                Step::End => return Ok(None),
                Step::Expand(Side::Old) => self.old.expand(pages)?,
                Step::Expand(Side::New) => self.new.expand(pages)?,
                Step::Skip => {
                    self.old.advance();
                    self.new.advance();
                }
                Step::Take(Side::Old) => return Ok(self.old.take().map(Change::Removed)),
                Step::Take(Side::New) => return Ok(self.new.take().map(Change::Added)),
                Step::Compare => {
                    let (Some(old), Some(new)) = (self.old.take(), self.new.take()) else { return Ok(None) };
                    let what = What::between(old.node(), new.node());
                    if !what.is_nothing() {
                        return Ok(Some(Change::Changed(Box::new((old, new)), what)));
                    }
                }
            }
        }
    }

    /// Up to so many pages of each tree that will be asked for next, unless they turn out to be in both.
    pub fn upcoming(&self, max: usize) -> Vec<ChunkRef> {
        let (old, new) = (self.old.upcoming(max), self.new.upcoming(max));
        let ids = |pages: &[ChunkRef]| pages.iter().map(|page| page.id).collect::<HashSet<ChunkId>>();
        let (in_old, in_new) = (ids(&old), ids(&new));
        let old = old.into_iter().filter(|page| !in_new.contains(&page.id));
        old.chain(new.into_iter().filter(|page| !in_old.contains(&page.id))).collect()
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Old,
    New,
}

/// What to do next.
enum Step {
    /// Nothing is left.
    End,
    /// Look into the page.
    Expand(Side),
    /// Go on behind a page that both have.
    Skip,
    /// Only this one has the node.
    Take(Side),
    /// Both have a node of this key.
    Compare,
}

/// Where a cursor is: before a page, or before a node.
#[derive(Clone, Copy)]
struct Item<'a> {
    /// Level and id of the page; `None` for a node.
    page: Option<(u8, ChunkId)>,
    /// Key of the (first) node, relative to the folder that is compared.
    parent: &'a [u8],
    name: &'a [u8],
}

fn decide(old: Option<Item<'_>>, new: Option<Item<'_>>) -> Step {
    let alone = |side, item: Item<'_>| if item.page.is_some() { Step::Expand(side) } else { Step::Take(side) };
    let (old, new) = match (old, new) {
        (None, None) => return Step::End,
        (Some(old), None) => return alone(Side::Old, old),
        (None, Some(new)) => return alone(Side::New, new),
        (Some(old), Some(new)) => (old, new),
    };
    match (compare_keys(old.parent, old.name, new.parent, new.name), old.page, new.page) {
        (Ordering::Less, ..) => alone(Side::Old, old),
        (Ordering::Greater, ..) => alone(Side::New, new),
        (Ordering::Equal, Some(a), Some(b)) if a == b => Step::Skip,
        (Ordering::Equal, Some((a, _)), Some((b, _))) if a < b => Step::Expand(Side::New),
        (Ordering::Equal, Some(_), _) => Step::Expand(Side::Old),
        (Ordering::Equal, None, Some(_)) => Step::Expand(Side::New),
        (Ordering::Equal, None, None) => Step::Compare,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the root page.
    Root,
    /// Not yet at the first child of the folder.
    Unsought,
    /// Where the frames say; behind the end if there are none.
    Inside,
}

/// A page on the way down, and how far it is read.
#[derive(Debug)]
struct Frame {
    page: Arc<Loaded>,
    /// Rank of its first node.
    base: u64,
    /// Next child or run.
    slot: usize,
    /// Next node of the run.
    index: usize,
}

#[derive(Debug)]
struct Cursor {
    tree: NodeTree,
    folder: Vec<u8>,
    place: Place,
    frames: Vec<Frame>,
}

impl Cursor {
    fn new((tree, folder): (NodeTree, &[u8]), at_root: bool) -> Cursor {
        let place = if at_root { Place::Root } else { Place::Unsought };
        Cursor { tree, folder: folder.to_vec(), place, frames: Vec::new() }
    }

    /// Goes to the first child of the folder, once.
    fn seek<P: Pages + ?Sized>(&mut self, pages: &P) -> Result<(), Stop> {
        if self.place != Place::Unsought {
            return Ok(());
        }
        // Behind the folder's own key, before any name in it.
        let name: &[u8] = b"\x01";
        let mut frames = Vec::new();
        let (mut page, mut base) = (self.tree.root_page(pages)?, 0);
        loop {
            match page.page() {
                NodePage::Inner(_, children) => {
                    let after = children.partition_point(|child| child.first.compare(&self.folder, name).is_le());
                    let slot = after.saturating_sub(1);
                    let below = NodeTree::child_page(pages, &page, slot)?;
                    let start = base + page.start(slot);
                    frames.push(Frame { page, base, slot, index: 0 });
                    (page, base) = (below, start);
                }
                NodePage::Leaf(runs) => {
                    let slot = runs.partition_point(|run| path::compare(&run.parent, &self.folder).is_lt());
                    let run = runs.get(slot).filter(|run| run.parent == self.folder);
                    let index = run.map_or(0, |run| run.nodes.partition_point(|node| node.name[..] < *name));
                    frames.push(Frame { page, base, slot, index });
                    break;
                }
            }
        }
        self.frames = frames;
        self.place = Place::Inside;
        self.settle();
        Ok(())
    }

    fn item(&self) -> Option<Item<'_>> {
        if self.place == Place::Root {
            return Some(Item { page: Some((self.tree.level, self.tree.root.id)), parent: b"", name: b"" });
        }
        let frame = self.frames.last()?;
        let (page, parent, name) = match frame.page.page() {
            NodePage::Inner(level, children) => {
                let child = children.get(frame.slot)?;
                (Some((level - 1, child.page.id)), &child.first.parent[..], &child.first.name[..])
            }
            NodePage::Leaf(runs) => {
                let run = runs.get(frame.slot)?;
                (None, &run.parent[..], &run.nodes.get(frame.index)?.name[..])
            }
        };
        let is_within = path::is_below(parent, &self.folder);
        is_within.then(|| Item { page, parent: path::strip(parent, &self.folder), name })
    }

    /// Goes into the page it stands before.
    fn expand<P: Pages + ?Sized>(&mut self, pages: &P) -> Result<(), Stop> {
        let (page, base) = match self.frames.last() {
            None => (self.tree.root_page(pages)?, 0),
            Some(frame) => {
                (NodeTree::child_page(pages, &frame.page, frame.slot)?, frame.base + frame.page.start(frame.slot))
            }
        };
        self.place = Place::Inside;
        self.frames.push(Frame { page, base, slot: 0, index: 0 });
        Ok(())
    }

    /// Goes behind the page or node it stands before.
    fn advance(&mut self) {
        self.place = Place::Inside;
        if let Some(frame) = self.frames.last_mut() {
            match frame.page.page() {
                NodePage::Inner(..) => frame.slot += 1,
                NodePage::Leaf(_) => frame.index += 1,
            }
        }
        self.settle();
    }

    /// Leaves runs and pages that are read to their end.
    fn settle(&mut self) {
        while let Some(frame) = self.frames.last_mut() {
            let has_more = match frame.page.page() {
                NodePage::Inner(_, children) => frame.slot < children.len(),
                NodePage::Leaf(runs) => {
                    if runs.get(frame.slot).is_some_and(|run| frame.index >= run.nodes.len()) {
                        (frame.slot, frame.index) = (frame.slot + 1, 0);
                    }
                    frame.slot < runs.len()
                }
            };
            if has_more {
                return;
            }
            self.frames.pop();
            if let Some(above) = self.frames.last_mut() {
                above.slot += 1;
            }
        }
    }

    /// The node it stands before, and goes behind it.
    fn take(&mut self) -> Option<Found> {
        let frame = self.frames.last()?;
        let rank = frame.base + frame.page.start(frame.slot) + frame.index as u64;
        let found = Found::new(frame.page.clone(), frame.slot, frame.index, rank);
        self.advance();
        Some(found)
    }

    /// Pages that stand next to each other in the lowest inner page, from here on.
    fn upcoming(&self, max: usize) -> Vec<ChunkRef> {
        let inner = self.frames.iter().rev().find_map(|frame| match frame.page.page() {
            NodePage::Inner(_, children) => Some((frame, children)),
            NodePage::Leaf(_) => None,
        });
        let Some((frame, children)) = inner else { return Vec::new() };
        let within = children.iter().skip(frame.slot).take(max);
        // The first one may begin before the folder does.
        let within = within.enumerate().take_while(|(i, c)| *i == 0 || path::is_below(&c.first.parent, &self.folder));
        within.map(|(_, child)| child.page).collect()
    }
}
