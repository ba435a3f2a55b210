//! Snapshots of any size without files: trees written straight into packs.

use crate::house::House;
use bygone::crypto::random;
use bygone::extent::ChunkKind;
use bygone::extent::ChunkRef;
use bygone::format::chunk;
use bygone::format::index::Index;
use bygone::format::index::IndexedPack;
use bygone::format::page::Encoded;
use bygone::format::record::Event;
use bygone::format::record::Figures;
use bygone::format::record::Snapshot;
use bygone::format::sealed;
use bygone::format::sealed::ObjectType;
use bygone::id::ChunkId;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::meta::Content;
use bygone::meta::Kind;
use bygone::meta::Meta;
use bygone::meta::Node;
use bygone::meta::Time;
use bygone::repo::Log;
use bygone::repo::PackWriter;
use bygone::repo::index_name;
use bygone::repo::pack_name;
use bygone::tree::NodeTreeBuilder;
use bygone::tree::PageSink;
use std::collections::HashMap;
use std::convert::Infallible;

/// Files in each folder.
const FILES: u64 = 100;

/// Puts pages into metadata packs and stores them.
struct Sink<'a> {
    house: &'a House,
    pack: PackWriter,
    known: HashMap<ChunkId, ChunkRef>,
    index: Index,
}

impl Sink<'_> {
    fn store_pack(&mut self) {
        let mut pack = self.pack.take();
        let object = pack.seal(self.house.repo.keys()).unwrap();
        self.index.packs.push(IndexedPack { pack: pack.pack, len: object.len() as u64 });
        self.index.chunks.extend(&pack.directory);
        let put = async { self.house.repo.store().put_new(&pack_name(pack.pack), object.into()).await };
        self.house.runtime.block_on(put).unwrap();
    }
}

impl PageSink for Sink<'_> {
    type Error = Infallible;

    fn put(&mut self, kind: ChunkKind, page: &Encoded) -> Result<ChunkRef, Infallible> {
        let id = self.house.repo.keys().chunk_id(kind, &page.hashed);
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let mut encoded = Vec::new();
        chunk::encode(&[&page.hashed[..], &page.hints].concat(), 1, &mut encoded).unwrap();
        if self.pack.is_full_for(1, encoded.len()) {
            self.store_pack();
        }
        let len = u32::try_from(page.hashed.len()).unwrap();
        let stored = ChunkRef { id, len, hint: self.pack.append(kind, &[(id, len)], &encoded) };
        self.known.insert(id, stored);
        Ok(stored)
    }
}

fn node(name: String, kind: Kind, n: u64) -> Node {
    let content = match kind {
        Kind::File => Content::Inline(n.to_le_bytes().to_vec()),
        _ => Content::Empty,
    };
    let time = Time { secs: 1_600_000_000 + n.cast_signed(), nanos: 5 };
    let meta = Meta { mode: 0o755, mtime: time, ctime: time, inode: n, links: 1, ..Meta::default() };
    Node { name: name.into_bytes(), kind, meta, content }
}

/// Commits `snapshots` snapshots of `files` files each, in folders of 100; each differs from the one before in one file.
pub(crate) fn commit(house: &House, files: u64, snapshots: u64) {
    let mut sink = Sink::new(house);
    for round in 0..snapshots {
        let mut tree = begin(&mut sink, files);
        for n in 0..files {
            let stamp = if n == (round * 7919) % files { n + round } else { n };
            push(&mut tree, &mut sink, n, stamp);
        }
        sink.commit(tree, round);
    }
}

/// The same, but for speed only the last hundredth of the files changes: one in a hundred of those each time.
pub(crate) fn commit_history(house: &House, files: u64, snapshots: u64) {
    let mut sink = Sink::new(house);
    let still = files - files.div_ceil(100);
    let mut common = begin(&mut sink, files);
    (0..still).for_each(|n| push(&mut common, &mut sink, n, n));
    for round in 0..snapshots {
        let mut tree = common.clone();
        for n in still..files {
            // The file of each hundred that a round changed last tells which round that was.
            let changed = (1..=round).rev().find(|r| n % 100 == r % 100);
            push(&mut tree, &mut sink, n, n + changed.unwrap_or(0));
        }
        sink.commit(tree, round);
    }
}

/// A tree with its root and its folders.
fn begin(sink: &mut Sink<'_>, files: u64) -> NodeTreeBuilder {
    let mut tree = NodeTreeBuilder::new(sink.house.repo.keys().clone());
    tree.push(b"", node(String::new(), Kind::Folder, 0), sink).unwrap();
    for folder in 0..files.div_ceil(FILES) {
        tree.push(b"", node(format!("{folder:07}"), Kind::Folder, folder), sink).unwrap();
    }
    tree
}

fn push(tree: &mut NodeTreeBuilder, sink: &mut Sink<'_>, n: u64, stamp: u64) {
    let (folder, file) = (n / FILES, n % FILES);
    let node = node(format!("file {file:03}"), Kind::File, stamp);
    tree.push(format!("{folder:07}").as_bytes(), node, sink).unwrap();
}

impl<'a> Sink<'a> {
    fn new(house: &'a House) -> Sink<'a> {
        Sink { house, pack: PackWriter::new(true), known: HashMap::new(), index: Index::default() }
    }

    /// Stores what is open and writes the record.
    fn commit(&mut self, tree: NodeTreeBuilder, round: u64) {
        let house = self.house;
        let root = tree.finish(self).unwrap();
        self.store_pack();
        let index_id = ObjectId(random());
        let payload = std::mem::take(&mut self.index).encode();
        let object = sealed::seal(house.repo.keys(), ObjectType::Index, index_id, &payload, &[], 0);
        let time = Time { secs: 1_700_000_000 + round.cast_signed(), nanos: 0 };
        let snapshot = Snapshot {
            id: SnapshotId(random()),
            time,
            host: "host".into(),
            user: "ada".into(),
            sources: vec![Vec::new()],
            tags: Vec::new(),
            description: String::new(),
            program: "synth".into(),
            parent: None,
            root: root.page,
            level: root.level,
            nodes: root.nodes,
            bytes: root.bytes,
            with_xattrs: 0,
            figures: Figures::default(),
        };
        let event = Event::Snapshot(Box::new(snapshot));
        house.runtime.block_on(async {
            house.repo.store().put_new(&index_name(index_id), object.into()).await.unwrap();
            Log::append(&house.repo, house.author(), time, event, root.plain).await.unwrap();
        });
    }
}
