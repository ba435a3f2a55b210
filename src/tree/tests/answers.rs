//! What a tree answers, asked in every way, and pages that are not what their parents say.

use super::Memory;
use super::build;
use super::node;
use super::sample;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::extent::Locator;
use crate::format::FormatError;
use crate::format::extents::ExtentChild;
use crate::format::extents::ExtentPage;
use crate::format::page::Child;
use crate::format::page::Key;
use crate::format::page::NodePage;
use crate::format::page::Run;
use crate::format::page::compare_keys;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Node;
use crate::meta::Xattr;
use crate::tree::Change;
use crate::tree::Diff;
use crate::tree::ExtentTreeBuilder;
use crate::tree::Found;
use crate::tree::Loaded;
use crate::tree::NodeTree;
use crate::tree::PageSink;
use crate::tree::Piece;
use crate::tree::Stop;
use crate::tree::content_id;
use crate::tree::pieces;

fn chunk(n: u8) -> ChunkRef {
    let hint = Locator { pack: ObjectId([1; 16]), offset: 1, len: 2 };
    ChunkRef { id: ChunkId([n; 32]), len: 1000, hint }
}

#[test]
fn one_lie_about_a_page_is_enough() {
    let mut memory = Memory::default();
    let nodes = vec![node("", Kind::Folder, 0), node("a", Kind::File, 5)];
    let leaf = NodePage::Leaf(vec![Run { parent: Vec::new(), nodes }]);
    let page = memory.put(ChunkKind::NodePage, &leaf.encode()).unwrap();
    let honest = Child { first: Key::default(), page, nodes: 2, bytes: 5 };
    let mut ask = |level: u8, child: &Child| {
        let root = memory.put(ChunkKind::NodePage, &NodePage::Inner(level, vec![child.clone()]).encode()).unwrap();
        NodeTree { root, level, nodes: child.nodes }.get_path(&memory, b"a")
    };
    assert_eq!(ask(1, &honest).unwrap().unwrap().rank, 1);
    let lies = [
        (2, honest.clone()),
        (1, Child { nodes: 3, ..honest.clone() }),
        (1, Child { bytes: 6, ..honest.clone() }),
        (1, Child { first: Key::of(b"0"), ..honest }),
    ];
    for (level, child) in lies {
        let refused = ask(level, &child);
        let is_told = matches!(refused, Err(Stop::Bad(FormatError::Mismatch { what: "page of the tree" })));
        assert!(is_told, "{level} {child:?}: {refused:?}");
    }
    let leaf = ExtentPage::Leaf(vec![Extent::Data(chunk(1)), Extent::Data(chunk(2))]);
    let page = memory.put(ChunkKind::ExtentPage, &leaf.encode()).unwrap();
    let mut ask = |level: u8, len: u64| {
        let inner = ExtentPage::Inner(level, vec![ExtentChild { len, page }]);
        let root = memory.put(ChunkKind::ExtentPage, &inner.encode()).unwrap();
        pieces(&memory, &Content::Extents { root, len, data: len }, 0..1, &mut |_| true)
    };
    assert_eq!(ask(1, 2000), Ok(()));
    for (level, len) in [(2, 2000), (1, 2001), (1, 1999)] {
        let told = Stop::Bad(FormatError::Mismatch { what: "page of the extent tree" });
        assert_eq!(ask(level, len), Err(told), "{level} {len}");
    }
}

#[test]
fn keys_between_nodes_lead_to_the_next_one() {
    let all = sample(40, 30);
    let mut memory = Memory::default();
    let (tree, _) = build(&all, &mut memory);
    for folder in ["", "dir0/sub", "dir1", "dir1/sub1", "dir1/sub10", "dir3/sub37/x", "e", "zzz"] {
        for name in ["", "dir5", "file 00007", "file 00007x", "sub2", "zzz"] {
            let (folder, name) = (folder.as_bytes(), name.as_bytes());
            let rank = all.iter().position(|(p, n)| compare_keys(p, &n.name, folder, name).is_ge());
            let found = tree.lower_bound(&memory, folder, name).unwrap();
            assert_eq!(found.map(|found| found.rank), rank.map(|rank| rank as u64));
        }
    }
    let mut bytes = 0;
    for (rank, (parent, node)) in (0..).zip(&all) {
        let found = tree.get_path(&memory, &crate::path::join(parent, &node.name)).unwrap().unwrap();
        assert_eq!((found.rank, found.node()), (rank, node));
        assert_eq!(tree.bytes_before(&memory, rank).unwrap(), bytes);
        bytes += node.size();
    }
}

#[test]
fn what_a_comparison_finds_has_its_place_in_the_tree() {
    let mut all = sample(170, 60);
    let mut memory = Memory::default();
    let (old, _) = build(&all, &mut memory);
    all.iter_mut().skip(50).step_by(700).for_each(|(_, node)| node.meta.mode = 0o600);
    all.retain(|(_, node)| node.name != b"file 00031");
    let (new, _) = build(&all, &mut memory);
    let is_in_place = |tree: &NodeTree, found: &Found| {
        let known = tree.get_path(&memory, &found.path()).unwrap().unwrap();
        assert_eq!((found.rank, found.node()), (known.rank, known.node()));
    };
    for folder in ["", "dir3", "dir9/sub9"] {
        let (mut diff, mut count) = (Diff::new((old, folder.as_bytes()), (new, folder.as_bytes())), 0);
        while let Some(change) = diff.next(&memory).unwrap() {
            count += 1;
            match change {
                Change::Added(found) => is_in_place(&new, &found),
                Change::Removed(found) => is_in_place(&old, &found),
                Change::Changed(both, _) => {
                    is_in_place(&old, &both.0);
                    is_in_place(&new, &both.1);
                }
            }
        }
        assert!(count > 0, "{folder}");
    }
}

#[test]
fn short_files_need_no_tree_of_extents() {
    let built = |extents: &[Extent]| {
        let (mut memory, mut builder) = (Memory::default(), ExtentTreeBuilder::default());
        extents.iter().for_each(|extent| builder.push(*extent, &mut memory).unwrap());
        assert_eq!(builder.is_empty(), extents.iter().all(Extent::is_empty));
        let content = builder.finish(&mut memory).unwrap();
        let mut found = Vec::new();
        let all = &mut |piece| {
            found.push(piece);
            true
        };
        pieces(&memory, &content, 0..u64::MAX, all).unwrap();
        (content, found)
    };
    let data = Extent::Data(chunk(1));
    assert_eq!(built(&[]), (Content::Empty, vec![]));
    assert_eq!(built(&[Extent::Hole(0)]).0, Content::Empty);
    assert_eq!(built(&[data]), (Content::Chunk(chunk(1)), vec![Piece { offset: 0, extent: data }]));
    // Holes in a row are one.
    let (content, found) = built(&[Extent::Hole(3), Extent::Hole(4), data, Extent::Hole(5)]);
    assert!(matches!(content, Content::Extents { len: 1012, data: 1000, .. }), "{content:?}");
    let ends: Vec<(u64, u64)> = found.iter().map(|piece| (piece.offset, piece.end())).collect();
    assert_eq!(ends, [(0, 7), (7, 1007), (1007, 1012)]);
    assert!(matches!(built(&[data, data]).0, Content::Extents { len: 2000, data: 2000, .. }));
}

#[test]
fn equal_contents_have_one_name() {
    let hash = |kind: ChunkKind, bytes: &[u8]| {
        assert_eq!(kind, ChunkKind::Data);
        ChunkId(*blake3::hash(bytes).as_bytes())
    };
    let of = |kind, content| content_id(&Node { content, ..node("x", kind, 0) }, hash);
    let named = |bytes: &[u8]| Some(hash(ChunkKind::Data, bytes));
    assert_eq!(of(Kind::File, Content::Inline(b"tiny".to_vec())), named(b"tiny"));
    assert_eq!(of(Kind::Symlink(b"tiny".to_vec()), Content::Empty), named(b"-> tiny"));
    assert_eq!(of(Kind::File, Content::Chunk(chunk(1))), Some(chunk(1).id));
    assert_eq!(of(Kind::File, Content::Extents { root: chunk(2), len: 9, data: 9 }), Some(chunk(2).id));
    assert_eq!([Kind::File, Kind::Folder, Kind::Fifo].map(|kind| of(kind, Content::Empty)), [None; 3]);
}

#[test]
fn a_page_in_memory_counts_what_it_holds() {
    let memory = |change: &dyn Fn(&mut Node)| {
        let mut node = node("n", Kind::File, 0);
        change(&mut node);
        Loaded::new(NodePage::Leaf(vec![Run { parent: b"p".to_vec(), nodes: vec![node] }])).memory_bytes()
    };
    let bare = memory(&|_| {});
    assert!((size_of::<Node>()..size_of::<Node>() + 500).contains(&bare), "{bare}");
    assert_eq!(memory(&|node| node.name = vec![b'n'; 201]) - bare, 200);
    assert_eq!(memory(&|node| node.content = Content::Inline(vec![1; 3000])) - bare, 3000);
    let xattr = |name: usize, value: usize| Xattr { name: vec![b'x'; name], value: vec![1; value] };
    let two = memory(&|node| node.meta.xattrs = vec![xattr(30, 400), xattr(50, 600)]) - bare;
    assert!((1080..1400).contains(&two), "{two}");
}
