//! Pages of the tree of nodes: leaves hold nodes in runs of one folder, inner pages hold pages.
//!
//! A page is two parts: the *hashed* part, which its id covers, and the *hints*, where the chunks it names were last
//! seen. Equal nodes give equal hashed parts whoever wrote them and wherever their chunks lie.

use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::chunk::encoded_len;
use crate::format::chunk::plain_len;
use crate::format::extents::LEVEL_MAX;
use crate::format::extents::next_hint;
use crate::format::extents::no_more;
use crate::format::node::OwnersIn;
use crate::format::node::OwnersOut;
use crate::format::node::read_node;
use crate::format::node::write_node;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::meta::Node;
use crate::path;
use std::cmp::Ordering;

const LEAF: u8 = 0;
/// A root node of nothing but zeros.
const NODE_BYTES_MIN: usize = 11;

/// An encoded page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// What the id covers.
    pub hashed: Vec<u8>,
    /// Where the chunks it names were last seen.
    pub hints: Vec<u8>,
}

/// A run of nodes in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Path of the folder.
    pub parent: Vec<u8>,
    /// Its nodes, sorted by name. The root node stands alone, with an empty name in the empty path.
    pub nodes: Vec<Node>,
}

/// Place of a node in the order of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Key {
    /// Path of the folder.
    pub parent: Vec<u8>,
    /// Name in it.
    pub name: Vec<u8>,
}

impl Key {
    /// The key of a path.
    pub fn of(full_path: &[u8]) -> Key {
        let (parent, name) = path::split(full_path);
        Key { parent: parent.to_vec(), name: name.to_vec() }
    }

    /// Compares with a folder and a name.
    pub fn compare(&self, parent: &[u8], name: &[u8]) -> Ordering {
        compare_keys(&self.parent, &self.name, parent, name)
    }
}

/// The order of the tree: by folder, component by component, then by name.
pub fn compare_keys(parent_a: &[u8], name_a: &[u8], parent_b: &[u8], name_b: &[u8]) -> Ordering {
    path::compare(parent_a, parent_b).then_with(|| name_a.cmp(name_b))
}

/// A child of an inner page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Key of the first node below it.
    pub first: Key,
    /// The page.
    pub page: ChunkRef,
    /// Number of nodes below it.
    pub nodes: u64,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
}

/// A decoded page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePage {
    /// Nodes.
    Leaf(Vec<Run>),
    /// Pages of level - 1.
    Inner(u8, Vec<Child>),
}

impl NodePage {
    /// Number of nodes in or below the page.
    pub fn nodes(&self) -> u64 {
        match self {
            NodePage::Leaf(runs) => runs.iter().map(|run| run.nodes.len() as u64).sum(),
            NodePage::Inner(_, children) => children.iter().map(|c| c.nodes).sum(),
        }
    }

    /// Sum of the sizes of the nodes in or below the page, see [`add_bytes`].
    pub fn bytes(&self) -> u64 {
        match self {
            NodePage::Leaf(runs) => runs.iter().flat_map(|run| &run.nodes).map(Node::size).fold(0, add_bytes),
            NodePage::Inner(_, children) => children.iter().map(|c| c.bytes).fold(0, add_bytes),
        }
    }

    /// The page as bytes.
    pub fn encode(&self) -> Encoded {
        let mut hints = Vec::new();
        let hashed = match self {
            NodePage::Leaf(runs) => encode_leaf(runs, &mut hints),
            NodePage::Inner(level, children) => encode_inner(*level, children, &mut hints),
        };
        Encoded { hashed, hints: write_hints(&hints) }
    }

    /// Reads a page: `len` bytes covered by the id, hints behind them. Keys must ascend, counts must fit.
    pub fn decode(plain: &[u8], len: u32) -> Result<NodePage> {
        let (hashed, hints) = plain.split_at_checked(len as usize).ok_or(FormatError::Short { what: "page" })?;
        let mut hints = read_hints(hints)?.into_iter();
        let mut r = Reader::new(hashed);
        let level = r.u8("page")?;
        if level > LEVEL_MAX {
            return Err(FormatError::Limit { what: "page level", value: level.into(), max: LEVEL_MAX.into() });
        }
        let page = match level {
            LEAF => NodePage::Leaf(decode_leaf(&mut r, &mut hints)?),
            _ => NodePage::Inner(level, decode_inner(&mut r, &mut hints)?),
        };
        r.end("page")?;
        no_more(hints)?;
        Ok(page)
    }
}

fn encode_leaf(runs: &[Run], hints: &mut Vec<Locator>) -> Vec<u8> {
    let mut owners = OwnersOut::default();
    let mut body = Vec::new();
    body.put_varint(runs.len() as u64);
    for run in runs {
        body.put_bytes(&run.parent);
        body.put_varint(run.nodes.len() as u64);
        run.nodes.iter().for_each(|node| write_node(node, &mut owners, &mut body, hints));
    }
    let mut out = vec![LEAF];
    owners.write(&mut out);
    out.extend_from_slice(&body);
    out
}

fn decode_leaf(r: &mut Reader<'_>, hints: &mut impl Iterator<Item = Locator>) -> Result<Vec<Run>> {
    let owners = OwnersIn::read(r)?;
    let count = r.count(2, "runs")?;
    let mut runs: Vec<Run> = Vec::with_capacity(count);
    for _ in 0..count {
        let parent = r.bytes(path::PATH_BYTES_MAX, "folder path")?.to_vec();
        path::check_path(&parent).map_err(|source| FormatError::Name { what: "folder path", source })?;
        if runs.last().is_some_and(|before| path::compare(&before.parent, &parent).is_ge()) {
            return Err(FormatError::Order { what: "folders" });
        }
        let count = r.count(NODE_BYTES_MIN, "nodes")?;
        let mut nodes: Vec<Node> = Vec::with_capacity(count);
        for _ in 0..count {
            let may_be_root = parent.is_empty() && runs.is_empty() && nodes.is_empty();
            let node = read_node(r, &owners, hints)?;
            match path::check_name(&node.name) {
                Ok(()) => {}
                Err(path::NameError::Empty) if may_be_root && node.is_folder() => {}
                Err(source) => return Err(FormatError::Name { what: "node name", source }),
            }
            if nodes.last().is_some_and(|before| before.name >= node.name) {
                return Err(FormatError::Order { what: "nodes" });
            }
            nodes.push(node);
        }
        if nodes.is_empty() {
            return Err(FormatError::Short { what: "run of nodes" });
        }
        runs.push(Run { parent, nodes });
    }
    if runs.is_empty() {
        return Err(FormatError::Short { what: "page" });
    }
    Ok(runs)
}

fn encode_inner(level: u8, children: &[Child], hints: &mut Vec<Locator>) -> Vec<u8> {
    let mut out = vec![level];
    out.put_varint(children.len() as u64);
    for child in children {
        out.put_bytes(&child.first.parent);
        out.put_bytes(&child.first.name);
        out.put_varint(child.nodes);
        out.put_varint(child.bytes);
        out.put_varint(child.page.len.into());
        out.extend_from_slice(&child.page.id.0);
        hints.push(child.page.hint);
    }
    out
}

fn decode_inner(r: &mut Reader<'_>, hints: &mut impl Iterator<Item = Locator>) -> Result<Vec<Child>> {
    let count = r.count(37, "pages")?;
    let mut children: Vec<Child> = Vec::with_capacity(count);
    let mut nodes_total = 0u64;
    for _ in 0..count {
        let parent = r.bytes(path::PATH_BYTES_MAX, "folder path")?.to_vec();
        let name = r.bytes(path::NAME_BYTES_MAX, "node name")?.to_vec();
        path::check_path(&parent).map_err(|source| FormatError::Name { what: "folder path", source })?;
        let first = Key { parent, name };
        match path::check_name(&first.name) {
            Ok(()) => {}
            Err(path::NameError::Empty) if first.parent.is_empty() && children.is_empty() => {}
            Err(source) => return Err(FormatError::Name { what: "node name", source }),
        }
        if children.last().is_some_and(|before| before.first.compare(&first.parent, &first.name).is_ge()) {
            return Err(FormatError::Order { what: "pages" });
        }
        let nodes = r.varint("node count")?;
        let bytes = r.varint_max(BYTES_MAX, "byte sum")?;
        let len = plain_len(r.varint("page length")?)?;
        let page = ChunkRef { len, id: ChunkId(r.array("page id")?), hint: next_hint(hints)? };
        nodes_total = nodes_total.saturating_add(nodes);
        if nodes == 0 || nodes_total > NODES_MAX {
            return Err(FormatError::Limit { what: "node count", value: nodes_total, max: NODES_MAX });
        }
        children.push(Child { first, page, nodes, bytes });
    }
    if children.is_empty() {
        return Err(FormatError::Short { what: "page" });
    }
    Ok(children)
}

/// Most nodes of a snapshot.
pub const NODES_MAX: u64 = 1 << 48;
/// Largest sum of sizes; see [`add_bytes`].
pub const BYTES_MAX: u64 = 1 << 62;

/// Adds sizes. A sum stays at [`BYTES_MAX`] once it gets there: a few sparse files suffice for that, and must not make
/// a snapshot unreadable.
pub fn add_bytes(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(BYTES_MAX)
}

/// Hints: the packs they name once, then a line each.
pub(crate) fn write_hints(hints: &[Locator]) -> Vec<u8> {
    let mut packs: Vec<ObjectId> = Vec::new();
    let mut lines = Vec::new();
    for hint in hints {
        let index = packs.iter().rposition(|pack| *pack == hint.pack).unwrap_or_else(|| {
            packs.push(hint.pack);
            packs.len() - 1
        });
        lines.put_varint(index as u64);
        lines.put_varint(hint.offset.into());
        lines.put_varint(hint.len.into());
    }
    let mut out = Vec::with_capacity(lines.len() + packs.len() * 16 + 8);
    out.put_varint(packs.len() as u64);
    packs.iter().for_each(|pack| out.extend_from_slice(&pack.0));
    out.put_varint(hints.len() as u64);
    out.extend_from_slice(&lines);
    out
}

/// Reads what [`write_hints`] wrote.
pub(crate) fn read_hints(bytes: &[u8]) -> Result<Vec<Locator>> {
    let mut r = Reader::new(bytes);
    let count = r.count(16, "hint packs")?;
    let mut packs = Vec::with_capacity(count);
    for _ in 0..count {
        packs.push(ObjectId(r.array("hint packs")?));
    }
    let count = r.count(3, "hints")?;
    let mut hints = Vec::with_capacity(count);
    for _ in 0..count {
        let index = r.varint_max(packs.len().saturating_sub(1) as u64, "hint")?;
        let pack = *packs.get(index as usize).ok_or(FormatError::Short { what: "hint packs" })?;
        hints.push(Locator { pack, offset: r.varint32("hint")?, len: encoded_len(r.varint("hint")?)? });
    }
    r.end("hints")?;
    Ok(hints)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::node::VALUE_BYTES_MAX;
    use crate::format::node::XATTRS_BYTES_MAX;
    use crate::format::node::tests::sample_nodes;
    use crate::meta::Content;
    use crate::meta::Kind;
    use crate::meta::Meta;
    use crate::meta::Owner;
    use crate::meta::Xattr;
    use std::sync::Arc;

    #[test]
    fn leaf_round_trips_and_every_cut_is_found() {
        let root = Node { name: Vec::new(), ..sample_nodes().into_iter().find(Node::is_folder).unwrap() };
        let mut first = vec![root];
        first.extend(sample_nodes());
        let runs = vec![Run { parent: vec![], nodes: first }, Run { parent: b"a/b".to_vec(), nodes: sample_nodes() }];
        let page = NodePage::Leaf(runs);
        let Encoded { hashed, hints } = page.encode();
        let plain = [&hashed[..], &hints].concat();
        let len = hashed.len() as u32;
        assert_eq!(NodePage::decode(&plain, len).unwrap(), page);
        for cut in 0..plain.len() {
            assert!(NodePage::decode(&plain[..cut], len).is_err());
        }
        for at in 0..plain.len() {
            let mut bad = plain.clone();
            bad[at] = bad[at].wrapping_add(0x81);
            let _either_way_no_panic = NodePage::decode(&bad, len);
        }
    }

    #[test]
    fn inner_round_trips_and_must_ascend() {
        let child = |name: &[u8]| Child {
            first: Key { parent: b"p".to_vec(), name: name.to_vec() },
            page: ChunkRef {
                id: ChunkId([name[0]; 32]),
                len: 16_000,
                hint: Locator { pack: ObjectId([1; 16]), offset: 3, len: 9 },
            },
            nodes: 100,
            bytes: 1 << 40,
        };
        let page = NodePage::Inner(1, vec![child(b"a"), child(b"b")]);
        let Encoded { hashed, hints } = page.encode();
        assert_eq!(NodePage::decode(&[&hashed[..], &hints].concat(), hashed.len() as u32).unwrap(), page);
        let decoded = |page: NodePage| {
            let Encoded { hashed, hints } = page.encode();
            NodePage::decode(&[&hashed[..], &hints].concat(), hashed.len() as u32)
        };
        for wrong in [vec![child(b"b"), child(b"a")], vec![child(b"a"), child(b"a")], vec![]] {
            assert!(decoded(NodePage::Inner(1, wrong)).is_err());
        }
        assert!(decoded(NodePage::Inner(LEVEL_MAX, vec![child(b"a")])).is_ok());
        for level in [LEVEL_MAX + 1, u8::MAX] {
            let refused = decoded(NodePage::Inner(level, vec![child(b"a")]));
            assert!(matches!(refused, Err(FormatError::Limit { what: "page level", .. })));
        }
        // As many nodes as there may be, and one more.
        let with = |nodes: u64| decoded(NodePage::Inner(1, vec![child(b"a"), Child { nodes, ..child(b"b") }]));
        assert_eq!(with(NODES_MAX - 100).unwrap().nodes(), NODES_MAX);
        assert!(matches!(with(NODES_MAX - 99), Err(FormatError::Limit { what: "node count", .. })));
        assert!(matches!(with(0), Err(FormatError::Limit { what: "node count", .. })));
    }

    fn leaf(nodes: Vec<Node>) -> Encoded {
        NodePage::Leaf(vec![Run { parent: b"x".to_vec(), nodes }]).encode()
    }

    fn read_again(nodes: Vec<Node>) -> Result<Vec<Node>> {
        let Encoded { hashed, hints } = leaf(nodes);
        match NodePage::decode(&[&hashed[..], &hints].concat(), hashed.len() as u32)? {
            NodePage::Leaf(runs) => Ok(runs.into_iter().flat_map(|run| run.nodes).collect()),
            NodePage::Inner(..) => panic!("a leaf"),
        }
    }

    #[test]
    fn every_node_keeps_its_owner_and_equal_owners_are_one() {
        let owner = |uid: u32| Arc::new(Owner { uid, gid: 7, user: b"ada".to_vec(), group: Vec::new() });
        let node = |(name, owner): (u8, Arc<Owner>)| {
            let mut node = sample_nodes().remove(0);
            (node.name, node.meta.owner) = (vec![name], owner);
            node
        };
        let nodes: Vec<Node> = (b'a'..).zip([1, 2, 1, 3, 2].map(owner)).map(node).collect();
        assert_eq!(read_again(nodes.clone()).unwrap(), nodes);
        // Equal nodes are equal pages, however they were come by.
        let shared = owner(1);
        let same: Vec<Node> = (b'a'..b'd').map(|name| node((name, shared.clone()))).collect();
        let equal: Vec<Node> = (b'a'..b'd').map(|name| node((name, owner(1)))).collect();
        assert_eq!(leaf(same).hashed, leaf(equal).hashed);
    }

    #[test]
    fn link_groups_and_attributes_are_what_they_can_be() {
        let with = |kind: &Kind, change: &dyn Fn(&mut Meta)| {
            let mut node = sample_nodes().remove(0);
            (node.kind, node.content) = (kind.clone(), Content::Empty);
            change(&mut node.meta);
            read_again(vec![node])
        };
        let grouped = |kind, group| with(&kind, &|meta| meta.link_group = Some(group));
        assert!(grouped(Kind::File, 1).is_ok() && grouped(Kind::Fifo, u64::MAX).is_ok());
        for refused in [grouped(Kind::File, 0), grouped(Kind::Folder, 1)] {
            assert!(matches!(refused, Err(FormatError::Unknown { what: "link group", .. })), "{refused:?}");
        }
        let attributed = |xattrs: Vec<(&[u8], usize)>| {
            let xattr = |(name, len): &(&[u8], usize)| Xattr { name: name.to_vec(), value: vec![1; *len] };
            with(&Kind::File, &|meta| meta.xattrs = xattrs.iter().map(xattr).collect())
        };
        for name in [&b""[..], b"user.\0", b"\0"] {
            assert!(matches!(attributed(vec![(name, 1)]), Err(FormatError::Name { what: "attribute name", .. })));
        }
        assert!(attributed(vec![(b"a", 1), (b"a", 1)]).is_err());
        // As much as all of them may take, and a byte more.
        let whole = VALUE_BYTES_MAX;
        let all = |last| attributed(vec![(b"a", whole), (b"b", whole), (b"c", whole), (b"d", last)]);
        assert_eq!(XATTRS_BYTES_MAX, 4 * whole);
        assert!(all(whole - 4).is_ok());
        assert!(matches!(all(whole - 3), Err(FormatError::Limit { what: "attribute value", .. })));
    }

    #[test]
    fn hints_are_as_many_as_references() {
        let page = NodePage::Leaf(vec![Run { parent: b"x".to_vec(), nodes: sample_nodes() }]);
        let Encoded { hashed, hints } = page.encode();
        let known = read_hints(&hints).unwrap();
        let with =
            |hints: &[Locator]| NodePage::decode(&[&hashed[..], &write_hints(hints)].concat(), hashed.len() as u32);
        assert_eq!(with(&known).unwrap(), page);
        assert_eq!(with(&known[1..]), Err(FormatError::Short { what: "hints" }));
        let more = [&known[..], &known[..1]].concat();
        assert_eq!(with(&more), Err(FormatError::Trailing { what: "hints", count: 1 }));
        let long = Locator { len: u32::MAX, ..known[0] };
        assert!(matches!(read_hints(&write_hints(&[long])), Err(FormatError::Limit { .. })));
    }

    #[test]
    fn sums_of_enormous_sparse_files_do_not_overflow() {
        let large = sample_nodes().into_iter().find(|node| node.name == b"large").unwrap();
        let node = |name: u8| {
            let mut node = large.clone();
            node.name = vec![name];
            if let crate::meta::Content::Extents { len, .. } = &mut node.content {
                *len = crate::format::extents::FILE_BYTES_MAX;
            }
            node
        };
        let page = NodePage::Leaf(vec![Run { parent: vec![], nodes: (b'a'..b'k').map(node).collect() }]);
        let Encoded { hashed, hints } = page.encode();
        let read = NodePage::decode(&[&hashed[..], &hints].concat(), hashed.len() as u32).unwrap();
        assert_eq!(read.bytes(), BYTES_MAX);
        let child = |name: u8| {
            let first = Key { parent: vec![], name: vec![name] };
            let page = ChunkRef { id: ChunkId([1; 32]), len: 1, hint: crate::format::extents::NOWHERE };
            Child { first, page, nodes: 10, bytes: BYTES_MAX }
        };
        let page = NodePage::Inner(1, vec![child(b'a'), child(b'b')]);
        let Encoded { hashed, hints } = page.encode();
        assert_eq!(NodePage::decode(&[&hashed[..], &hints].concat(), hashed.len() as u32).unwrap().bytes(), BYTES_MAX);
    }

    #[test]
    fn only_the_root_has_no_name() {
        let node = |name: &[u8], kind: &Kind| {
            let content = Content::Empty;
            Node { name: name.to_vec(), kind: kind.clone(), meta: Meta::default(), content }
        };
        let run = |parent: &[u8], node| Run { parent: parent.to_vec(), nodes: vec![node] };
        let decoded = |page: NodePage| {
            let Encoded { hashed, hints } = page.encode();
            NodePage::decode(&[&hashed[..], &hints].concat(), hashed.len() as u32)
        };
        let leaf = |runs: &[Run]| decoded(NodePage::Leaf(runs.to_vec()));
        assert!(leaf(&[run(b"", node(b"", &Kind::Folder))]).is_ok());
        let before = run(b"", node(b"x", &Kind::Folder));
        for runs in [
            &[run(b"", node(b"", &Kind::File))][..],
            &[run(b"x", node(b"", &Kind::Folder))],
            &[before, run(b"x", node(b"", &Kind::Folder))],
        ] {
            assert!(matches!(leaf(runs), Err(FormatError::Name { what: "node name", .. })), "{runs:?}");
        }
        let inner = |keys: &[(&[u8], &[u8])]| {
            let page = ChunkRef { id: ChunkId([1; 32]), len: 1, hint: crate::format::extents::NOWHERE };
            let child = |(parent, name): &(&[u8], &[u8])| {
                let first = Key { parent: parent.to_vec(), name: name.to_vec() };
                Child { first, page, nodes: 10, bytes: 0 }
            };
            decoded(NodePage::Inner(1, keys.iter().map(child).collect()))
        };
        assert!(inner(&[(b"", b""), (b"", b"x")]).is_ok());
        for keys in [&[(&b"x"[..], &b""[..])][..], &[(b"", b"x"), (b"x", b"")]] {
            assert!(matches!(inner(keys), Err(FormatError::Name { what: "node name", .. })), "{keys:?}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in [&b".."[..], b".", b"a/b", b"a\0b", b""] {
            let mut node = sample_nodes().remove(0);
            node.name = name.to_vec();
            let page = NodePage::Leaf(vec![Run { parent: b"x".to_vec(), nodes: vec![node] }]);
            let Encoded { hashed, hints } = page.encode();
            let found = NodePage::decode(&[&hashed[..], &hints].concat(), hashed.len() as u32);
            assert!(matches!(found, Err(FormatError::Name { .. })), "{name:?}");
        }
    }
}
