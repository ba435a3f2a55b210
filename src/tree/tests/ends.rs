//! Where pages end, for nodes and extents of every kind. Programs of different age must cut alike: what one stored, the
//! next would otherwise store again. So the ids stand here as they were when the format was fixed.

use super::*;
use crate::meta::Stream;
use crate::meta::Windows;
use crate::meta::Xattr;

fn chunk(n: u64) -> ChunkRef {
    let hint = Locator { pack: ObjectId([1; 16]), offset: 1, len: 2 };
    ChunkRef { id: ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes()), len: 1000, hint }
}

/// A node with something of what takes room in a page, by its number.
fn of_every_kind(n: usize) -> Node {
    let kind = match n % 5 {
        0 => Kind::Symlink("to ".repeat(n % 90).into_bytes()),
        _ => Kind::File,
    };
    let mut node = node(&format!("{n:06}{}", "x".repeat(n % 30)), kind, 0);
    let windows = Windows {
        attributes: 32,
        security: vec![1; n % 70],
        reparse: vec![2; n % 40],
        streams: (0..n % 4).map(|s| Stream { name: vec![b'a' + s as u8], content: Content::Empty }).collect(),
    };
    match n % 5 {
        1 => node.content = Content::Inline(vec![3; n % 120]),
        2 => node.content = Content::Chunk(chunk(n as u64)),
        3 => node.content = Content::Extents { root: chunk(n as u64), len: 1 << 20, data: 1 << 19 },
        4 => node.meta.windows = Some(Box::new(windows)),
        _ => {}
    }
    if n.is_multiple_of(7) {
        let xattr = |x: usize| Xattr { name: format!("user.{x}").into_bytes(), value: vec![4; n % 50] };
        node.meta.xattrs = (0..n % 3).map(xattr).collect();
    }
    node
}

#[test]
fn nodes() {
    let mut all = vec![(Vec::new(), node("", Kind::Folder, 0))];
    all.extend((0..60_000).map(|n| (format!("folder {:03}", n / 300).into_bytes(), of_every_kind(n))));
    // Folders of few nodes, whose paths weigh more than the nodes do; and nodes so large that a page is full with some.
    all.extend((0..4000).map(|n| (format!("long {} {n:04}", "p".repeat(200)).into_bytes(), of_every_kind(n))));
    all.extend((0..200).map(|n| (b"zero".to_vec(), node(&format!("{n:03}"), Kind::File, 1 << 12))));
    let mut memory = Memory::default();
    let (tree, root) = build(&all, &mut memory);
    assert_eq!(
        (root.level, memory.pages.len(), root.page.id.to_string().as_str()),
        (2, 455, "8dc19a7531be87d45dc28d742c987a73b23797af136d42c6d3fb549fee8c5ce7")
    );
    // The pages are found without reading a leaf.
    memory.reads.set(0);
    let found = tree.all_pages(&memory).unwrap();
    assert_eq!(found.len(), memory.pages.len());
    assert!(memory.reads.get() < 20, "{} of {} pages were read", memory.reads.get(), found.len());
}

#[test]
fn extents() {
    let mut memory = Memory::default();
    let mut builder = ExtentTreeBuilder::default();
    assert!(builder.is_empty());
    for n in 0..300_000 {
        let extent = if n % 9 == 8 { Extent::Hole(n) } else { Extent::Data(chunk(n)) };
        builder.push(extent, &mut memory).unwrap();
    }
    // More than a page takes, and none of these ends one.
    for _ in 0..5000 {
        builder.push(Extent::Data(chunk(1)), &mut memory).unwrap();
    }
    let len = builder.len();
    let content = builder.finish(&mut memory).unwrap();
    let Content::Extents { root, len: said, data } = content else { panic!("{content:?}") };
    assert_eq!((said, data), (len, (300_000 - 300_000 / 9 + 5000) * 1000));
    assert_eq!(
        (memory.pages.len(), root.id.to_string().as_str()),
        (851, "556db7ad68d2deffc8e53922c37a71ef2fd00d28f66a9205b363885c856f333f")
    );
}

#[test]
fn one_chunk_is_asked_for_only_where_it_lies() {
    let content = Content::Chunk(chunk(1));
    let count = |range: std::ops::Range<u64>| {
        let mut found = 0;
        let take = &mut |piece: Piece| {
            assert_eq!(piece, Piece { offset: 0, extent: Extent::Data(chunk(1)) });
            found += 1;
            true
        };
        pieces(&Memory::default(), &content, range, take).unwrap();
        found
    };
    let asked = [0..1, 0..1000, 999..1000, 999..5000, 1000..1001, 5000..6000, 0..0, 7..7].map(count);
    assert_eq!(asked, [1, 1, 1, 1, 0, 0, 0, 0]);
}
