//! Trees built and read in memory, against plain sorted lists.
#![allow(clippy::unwrap_used)]

mod answers;
mod diff;
mod ends;
mod what;

use super::*;
use crate::crypto::Keys;
use crate::crypto::MasterKey;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::extent::Locator;
use crate::format::extents::ExtentPage;
use crate::format::page::Encoded;
use crate::format::page::NodePage;
use crate::format::page::compare_keys;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::id::RepositoryId;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Node;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

/// A sink and a source of pages in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pages: HashMap<ChunkId, Vec<u8>>,
    puts: usize,
    /// Pages of nodes that were handed out.
    reads: Cell<usize>,
    /// Those that were read before, with the length they were asked for.
    loaded: RefCell<HashMap<(ChunkId, u32), Arc<Loaded>>>,
}

fn keys() -> Keys {
    Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]))
}

impl PageSink for Memory {
    type Error = Infallible;

    fn put(&mut self, kind: ChunkKind, page: &Encoded) -> Result<ChunkRef, Infallible> {
        let id = keys().chunk_id(kind, &page.hashed);
        self.puts += 1;
        self.pages.insert(id, [&page.hashed[..], &page.hints].concat());
        self.loaded.borrow_mut().remove(&(id, page.hashed.len() as u32));
        let hint = Locator { pack: ObjectId([1; 16]), offset: self.puts as u32, len: 1 };
        Ok(ChunkRef { id, len: page.hashed.len() as u32, hint })
    }
}

impl Pages for Memory {
    fn node_page(&self, page: &ChunkRef) -> Result<Arc<Loaded>, Stop> {
        let plain = self.pages.get(&page.id).ok_or(Stop::Miss(ChunkKind::NodePage, *page))?;
        self.reads.set(self.reads.get() + 1);
        let key = (page.id, page.len);
        if let Some(loaded) = self.loaded.borrow().get(&key) {
            return Ok(loaded.clone());
        }
        let loaded = Arc::new(Loaded::new(NodePage::decode(plain, page.len)?));
        self.loaded.borrow_mut().insert(key, loaded.clone());
        Ok(loaded)
    }

    fn extent_page(&self, page: &ChunkRef) -> Result<Arc<ExtentPage>, Stop> {
        let plain = self.pages.get(&page.id).ok_or(Stop::Miss(ChunkKind::ExtentPage, *page))?;
        Ok(Arc::new(ExtentPage::decode(plain, page.len)?))
    }
}

pub(crate) fn node(name: &str, kind: Kind, size: usize) -> Node {
    let content = if size == 0 { Content::Empty } else { Content::Inline(vec![7; size]) };
    Node { name: name.into(), kind, meta: Meta { mode: 0o755, ..Meta::default() }, content }
}

/// A tree of folders and files in key order.
fn sample(folders: usize, files: usize) -> Vec<(Vec<u8>, Node)> {
    let mut all = vec![(Vec::new(), node("", Kind::Folder, 0))];
    for f in 0..folders {
        let top = format!("dir{}", f % 17);
        let path = format!("{top}/sub{f}");
        if f < 17 {
            all.push((Vec::new(), node(&top, Kind::Folder, 0)));
        }
        all.push((top.into_bytes(), node(&format!("sub{f}"), Kind::Folder, 0)));
        for i in 0..files {
            all.push((path.clone().into_bytes(), node(&format!("file {i:05}"), Kind::File, (f * i) % 90)));
        }
    }
    all.sort_by(|(p, n), (q, m)| compare_keys(p, &n.name, q, &m.name));
    all
}

pub(crate) fn build(all: &[(Vec<u8>, Node)], memory: &mut Memory) -> (NodeTree, Root) {
    let mut builder = NodeTreeBuilder::new(keys());
    for (parent, node) in all {
        builder.push(parent, node.clone(), memory).unwrap();
    }
    let root = builder.finish(memory).unwrap();
    (NodeTree { root: root.page, level: root.level, nodes: root.nodes }, root)
}

#[test]
fn every_node_is_found_by_key_rank_and_order() {
    let all = sample(170, 60);
    let mut memory = Memory::default();
    let (tree, root) = build(&all, &mut memory);
    assert_eq!(root.nodes, all.len() as u64);
    assert_eq!(root.bytes, all.iter().map(|(_, n)| n.size()).sum::<u64>());
    assert!(root.level >= 1 && memory.pages.len() > 50, "{} pages", memory.pages.len());
    let mut walk = tree.at(&memory, 0).unwrap();
    let mut bytes = 0;
    for (rank, (parent, node)) in all.iter().enumerate() {
        let found = walk.unwrap();
        assert_eq!((found.rank, found.parent(), found.node()), (rank as u64, &parent[..], node));
        let by_key = tree.get(&memory, parent, &node.name).unwrap().unwrap();
        assert_eq!((by_key.rank, by_key.node()), (rank as u64, node));
        if rank % 97 == 0 {
            assert_eq!(tree.at(&memory, rank as u64).unwrap().unwrap().path(), found.path());
            assert_eq!(tree.bytes_before(&memory, rank as u64).unwrap(), bytes);
        }
        bytes += node.size();
        walk = tree.next(&memory, &found).unwrap();
    }
    assert!(walk.is_none());
    assert!(tree.at(&memory, root.nodes).unwrap().is_none());
    assert_eq!(tree.bytes_before(&memory, root.nodes).unwrap(), root.bytes);
    for missing in ["nothing", "dir1/sub", "dir1/sub1/file 99999", "zzz/zzz"] {
        assert!(tree.get_path(&memory, missing.as_bytes()).unwrap().is_none(), "{missing}");
    }
}

#[test]
fn folders_and_subtrees_are_ranges() {
    let all = sample(40, 30);
    let mut memory = Memory::default();
    let (tree, _) = build(&all, &mut memory);
    for folder in ["", "dir1", "dir3/sub3", "dir9"] {
        let folder = folder.as_bytes();
        let children = all.iter().filter(|(p, n)| p == folder && !n.name.is_empty()).count() as u64;
        let first = tree.lower_bound(&memory, folder, b"\x01").unwrap().map_or(tree.nodes, |f| f.rank);
        assert_eq!(tree.children_end(&memory, folder).unwrap() - first, children);
        let below = all.iter().filter(|(p, n)| crate::path::is_below(p, folder) && !n.name.is_empty()).count() as u64;
        assert_eq!(tree.subtree_end(&memory, folder).unwrap() - first, below);
    }
}

#[test]
fn equal_trees_give_equal_pages_and_a_change_touches_few() {
    let all = sample(170, 60);
    let mut memory = Memory::default();
    let (first, _) = build(&all, &mut memory);
    let pages = memory.pages.len();
    let (again, _) = build(&all, &mut memory);
    assert_eq!(first.root.id, again.root.id);
    assert_eq!(memory.pages.len(), pages);
    let mut changed = all;
    changed[5000].1.meta.mode = 0o600;
    changed.remove(2000);
    changed.insert(8000, (changed[8000].0.clone(), node("file 00000 and a half", Kind::File, 3)));
    changed.sort_by(|(p, n), (q, m)| compare_keys(p, &n.name, q, &m.name));
    build(&changed, &mut memory);
    assert!(memory.pages.len() - pages <= 8, "{} new pages for three changes", memory.pages.len() - pages);
}

#[test]
fn longest_paths_fit_into_pages() {
    let folder = ["x".repeat(1000).as_str(); 32].join("/");
    let mut all = vec![(Vec::new(), node("", Kind::Folder, 0))];
    all.extend((0..700).map(|i| (format!("{folder}/{i:04}").into_bytes(), node(&"n".repeat(1000), Kind::Fifo, 0))));
    let mut memory = Memory::default();
    let (tree, root) = build(&all, &mut memory);
    assert!(memory.pages.values().all(|page| page.len() < 5 << 20));
    let last = tree.at(&memory, root.nodes - 1).unwrap().unwrap();
    assert_eq!(last.parent(), all[700].0);
}

#[test]
fn a_page_that_is_not_there_is_named() {
    let mut memory = Memory::default();
    let (tree, _) = build(&sample(40, 60), &mut memory);
    memory.pages.remove(&tree.root.id);
    assert_eq!(tree.at(&memory, 0).unwrap_err(), Stop::Miss(ChunkKind::NodePage, tree.root));
}

#[test]
fn a_page_in_a_wrong_place_is_refused() {
    let mut memory = Memory::default();
    let (tree, _) = build(&sample(100, 60), &mut memory);
    let (other, _) = build(&sample(50, 60), &mut memory);
    let lie = NodeTree { root: other.root, ..tree };
    assert!(matches!(lie.at(&memory, 0), Err(Stop::Bad(_))));
}

#[test]
fn the_nodes_of_a_page_that_is_not_there_are_told() {
    let mut memory = Memory::default();
    let all = sample(1700, 60);
    let (tree, _) = build(&all, &mut memory);
    let told = |rank| {
        let mut span = 0..0;
        tree.at_telling(&memory, rank, &mut span).unwrap().unwrap();
        span
    };
    let (mut next, mut pages) = (0, 0);
    while next < tree.nodes {
        let span = told(next);
        assert!(span.start == next && told(span.end - 1) == span, "{span:?}, {next} is the next");
        next = span.end;
        pages += 1;
    }
    assert!(next == tree.nodes && pages > 10);
}

#[test]
fn an_extent_more_leaves_most_pages_as_they_are() {
    let mut memory = Memory::default();
    let mut pages_of = |first: u64| {
        let before: HashSet<ChunkId> = memory.pages.keys().copied().collect();
        let mut builder = ExtentTreeBuilder::default();
        for i in first..30_000 {
            let id = ChunkId(*blake3::hash(&i.to_le_bytes()).as_bytes());
            let hint = Locator { pack: ObjectId([1; 16]), offset: 1, len: 2 };
            builder.push(Extent::Data(ChunkRef { id, len: 1000, hint }), &mut memory).unwrap();
        }
        builder.finish(&mut memory).unwrap();
        memory.pages.keys().filter(|id| !before.contains(id)).count()
    };
    let all = pages_of(1);
    let anew = pages_of(0);
    assert!(all > 60 && anew <= 8, "{anew} of {all}");
}

#[test]
fn extents_are_found_by_range() {
    let mut memory = Memory::default();
    let mut builder = ExtentTreeBuilder::default();
    let mut model = Vec::new();
    let mut offset = 0;
    for i in 0..30_000u64 {
        let extent = if i % 10 == 9 {
            Extent::Hole(1 << 20)
        } else {
            let id = ChunkId(*blake3::hash(&i.to_le_bytes()).as_bytes());
            let hint = Locator { pack: ObjectId([1; 16]), offset: 1, len: 2 };
            Extent::Data(ChunkRef { id, len: 1000 + (i % 50) as u32, hint })
        };
        model.push(Piece { offset, extent });
        offset += extent.len();
        builder.push(extent, &mut memory).unwrap();
    }
    let content = builder.finish(&mut memory).unwrap();
    assert_eq!(content.len(), offset);
    for range in [0..1, 0..offset, 5_000_000..5_000_001, offset - 1..offset, offset / 2..offset / 2 + 10_000_000] {
        let mut found = Vec::new();
        pieces(&memory, &content, range.clone(), &mut |piece| {
            found.push(piece);
            true
        })
        .unwrap();
        let expected: Vec<_> =
            model.iter().copied().filter(|p| p.end() > range.start && p.offset < range.end).collect();
        assert_eq!(found, expected, "{range:?}");
    }
}
