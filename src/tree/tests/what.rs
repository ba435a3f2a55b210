//! What differs between two nodes: each change has its own word, and no other.

use super::node;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Node;
use crate::meta::Owner;
use crate::meta::Stream;
use crate::meta::Time;
use crate::meta::Windows;
use crate::meta::Xattr;
use crate::tree::What;
use std::sync::Arc;

fn chunk(id: u8, pack: u8) -> ChunkRef {
    let hint = Locator { pack: ObjectId([pack; 16]), offset: 1, len: 2 };
    ChunkRef { id: ChunkId([id; 32]), len: 1000, hint }
}

fn extents(id: u8, pack: u8, len: u64) -> Content {
    Content::Extents { root: chunk(id, pack), len, data: len }
}

/// A node with everything.
fn full() -> Node {
    let mut node = node("name", Kind::File, 0);
    node.content = extents(1, 1, 5000);
    node.meta.windows = Some(Box::new(Windows {
        attributes: 1,
        security: vec![1],
        reparse: vec![1],
        streams: vec![Stream { name: b"stream".to_vec(), content: Content::Chunk(chunk(5, 1)) }],
    }));
    node
}

fn words(old: &Node, new: &Node) -> String {
    let what = What::between(old, new);
    assert_eq!(what.is_nothing(), what.words().count() == 0);
    assert_eq!(what.is_content(), what.words().any(|word| word == "type" || word == "content"));
    what.words().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_change_has_its_word() {
    type Change = fn(&mut Node);
    let changes: [(&str, Change); 26] = [
        ("", |_| ()),
        ("", |n| n.name = b"other".to_vec()),
        ("", |n| n.content = extents(1, 2, 5000)),
        ("type", |n| n.kind = Kind::Folder),
        ("type", |n| n.kind = Kind::Symlink(b"to".to_vec())),
        ("content", |n| n.content = extents(2, 1, 5000)),
        ("content", |n| n.content = extents(1, 1, 5001)),
        ("content", |n| n.content = Content::Chunk(chunk(1, 1))),
        ("content", |n| n.content = Content::Empty),
        ("mode", |n| n.meta.mode = 0o700),
        ("owner", |n| n.meta.owner = Arc::new(Owner { uid: 7, ..Owner::default() })),
        ("owner", |n| n.meta.owner = Arc::new(Owner { group: b"staff".to_vec(), ..Owner::default() })),
        ("time", |n| n.meta.mtime = Time { secs: 0, nanos: 1 }),
        ("xattrs", |n| n.meta.xattrs.push(Xattr { name: b"user.x".to_vec(), value: Vec::new() })),
        ("attributes", |n| n.meta.flags = 1),
        ("attributes", |n| n.meta.btime = Some(Time::default())),
        ("attributes", |n| n.meta.windows = None),
        ("attributes", |n| windows(n).attributes = 2),
        ("attributes", |n| windows(n).security = vec![2]),
        ("attributes", |n| windows(n).reparse = vec![2]),
        ("attributes", |n| windows(n).streams[0].name = b"other".to_vec()),
        ("attributes", |n| windows(n).streams[0].content = Content::Chunk(chunk(6, 1))),
        ("attributes", |n| windows(n).streams.clear()),
        ("inode", |n| n.meta.inode = 1),
        ("inode", |n| (n.meta.links, n.meta.link_group) = (2, Some(1))),
        ("mode time inode", |n| (n.meta.mode, n.meta.mtime.secs, n.meta.ctime.secs) = (0, 1, 1)),
    ];
    for (i, (expected, change)) in changes.iter().enumerate() {
        let mut new = full();
        change(&mut new);
        assert_eq!(words(&full(), &new), *expected, "change {i}");
        assert_eq!(words(&new, &full()), *expected, "change {i}, back");
    }
}

fn windows(node: &mut Node) -> &mut Windows {
    node.meta.windows.as_mut().unwrap()
}

#[test]
fn content_is_compared_by_what_it_says() {
    let with = |kind: Kind, content: Content| Node { content, ..node("name", kind, 0) };
    let file = |content| with(Kind::File, content);
    let inline = |byte| file(Content::Inline(vec![byte]));
    let same = [
        (file(Content::Empty), file(Content::Empty)),
        (inline(1), inline(1)),
        (file(Content::Chunk(chunk(1, 1))), file(Content::Chunk(chunk(1, 2)))),
        (node("a", Kind::Symlink(b"to".to_vec()), 0), node("a", Kind::Symlink(b"to".to_vec()), 0)),
    ];
    for (old, new) in &same {
        assert_eq!(words(old, new), "", "{:?}", old.content);
    }
    let differ = [
        (file(Content::Empty), inline(1)),
        (inline(1), inline(2)),
        (file(Content::Chunk(chunk(1, 1))), file(Content::Chunk(chunk(2, 1)))),
        (node("a", Kind::Symlink(b"to".to_vec()), 0), node("a", Kind::Symlink(b"elsewhere".to_vec()), 0)),
        (node("a", Kind::CharDevice { major: 1, minor: 2 }, 0), node("a", Kind::CharDevice { major: 1, minor: 3 }, 0)),
    ];
    for (old, new) in &differ {
        assert_eq!(words(old, new), "content", "{:?}", old.content);
    }
}
