//! What differs between two nodes of one place, and when two files have the same content.
//!
//! Where chunks lie plays no part: a repacked file is the same file.

use crate::extent::ChunkKind;
use crate::id::ChunkId;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Node;
use crate::meta::Windows;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct What {
    /// One is a file, the other a folder, and the like.
    pub kind: bool,
    /// Bytes of a file, target of a link, number of a device.
    pub content: bool,
    /// Permissions.
    pub mode: bool,
    /// User or group, by number or by name.
    pub owner: bool,
    /// Time of the last change of content.
    pub time: bool,
    /// Extended attributes, access lists among them.
    pub xattrs: bool,
    /// Flags, time of creation, what only Windows has.
    pub attributes: bool,
    /// Inode number, hard links, time of the last change of anything: what a restore does not bring back.
    pub inode: bool,
}

impl What {
    /// Compares two nodes, whatever they are called.
    pub fn between(old: &Node, new: &Node) -> What {
        let (a, b) = (&old.meta, &new.meta);
        let is_other_kind = std::mem::discriminant(&old.kind) != std::mem::discriminant(&new.kind);
        What {
            kind: is_other_kind,
            content: !is_other_kind && (old.kind != new.kind || !is_same(&old.content, &new.content)),
            mode: a.mode != b.mode,
            owner: a.owner != b.owner,
            time: a.mtime != b.mtime,
            xattrs: a.xattrs != b.xattrs,
            attributes: a.flags != b.flags || a.btime != b.btime || !is_same_windows(a, b),
            inode: (a.ctime, a.inode, a.links, a.link_group) != (b.ctime, b.inode, b.links, b.link_group),
        }
    }

    /// True if nothing differs.
    pub fn is_nothing(&self) -> bool {
        *self == What::default()
    }

    /// True if people would call it another file.
    pub fn is_content(&self) -> bool {
        self.kind || self.content
    }

    /// The names of what differs.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.kind, "type"),
            (self.content, "content"),
            (self.mode, "mode"),
            (self.owner, "owner"),
            (self.time, "time"),
            (self.xattrs, "xattrs"),
            (self.attributes, "attributes"),
            (self.inode, "inode"),
        ];
        all.into_iter().filter(|(differs, _)| *differs).map(|(_, word)| word)
    }
}

/// True if two files have the same bytes, as far as can be told without reading them.
fn is_same(old: &Content, new: &Content) -> bool {
    match (old, new) {
        (Content::Empty, Content::Empty) => true,
        (Content::Inline(a), Content::Inline(b)) => a == b,
        (Content::Chunk(a), Content::Chunk(b)) => a.id == b.id,
        (Content::Extents { root: a, len: m, .. }, Content::Extents { root: b, len: n, .. }) => a.id == b.id && m == n,
        _ => false,
    }
}

fn is_same_windows(old: &Meta, new: &Meta) -> bool {
    let same = |a: &Windows, b: &Windows| {
        let streams = a.streams.len() == b.streams.len()
            && a.streams.iter().zip(&b.streams).all(|(a, b)| a.name == b.name && is_same(&a.content, &b.content));
        streams && (a.attributes, &a.security, &a.reparse) == (b.attributes, &b.security, &b.reparse)
    };
    match (&old.windows, &new.windows) {
        (None, None) => true,
        (Some(a), Some(b)) => same(a, b),
        _ => false,
    }
}

/// What tells the content of a node from others: equal for equal files and for links to the same target. `hash` names
/// bytes that stand in the node. Nothing for empty files, folders and the rest.
pub fn content_id(node: &Node, hash: impl Fn(ChunkKind, &[u8]) -> ChunkId) -> Option<ChunkId> {
    match (&node.kind, &node.content) {
        (Kind::Symlink(target), _) => Some(hash(ChunkKind::Data, &[b"-> ", &target[..]].concat())),
        (Kind::File, Content::Inline(bytes)) => Some(hash(ChunkKind::Data, bytes)),
        (Kind::File, Content::Chunk(chunk) | Content::Extents { root: chunk, .. }) => Some(chunk.id),
        _ => None,
    }
}
