//! A forger who has the password: seals whatever is wanted into packs, indexes and records, as they should never be.

use crate::house::House;
use crate::truth::Objects;
use bygone::crypto::random;
use bygone::extent::ChunkKind;
use bygone::extent::ChunkRef;
use bygone::extent::Locator;
use bygone::format::chunk;
use bygone::format::chunk::Packed;
use bygone::format::extents::ExtentPage;
use bygone::format::index::Index;
use bygone::format::index::IndexedPack;
use bygone::format::page::Child;
use bygone::format::page::Encoded;
use bygone::format::page::Key;
use bygone::format::page::NodePage;
use bygone::format::record::Event;
use bygone::format::record::Figures;
use bygone::format::record::Record;
use bygone::format::record::Snapshot;
use bygone::format::sealed;
use bygone::format::sealed::ObjectType;
use bygone::id::ChunkId;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::id::WriterId;
use bygone::meta::Time;
use bygone::repo::Log;
use bygone::repo::index_name;
use bygone::repo::pack_name;
use bygone::store::AnyStore;
use std::sync::Arc;
use tempfile::TempDir;

/// A pack as it is being forged: nobody looks at what is in it.
pub(crate) struct Pack {
    pub(crate) id: ObjectId,
    pub(crate) object_type: ObjectType,
    pub(crate) payload: Vec<u8>,
    pub(crate) lines: Vec<Packed>,
}

impl Pack {
    pub(crate) fn new(object_type: ObjectType) -> Pack {
        Pack { id: ObjectId(random()), object_type, payload: Vec::new(), lines: Vec::new() }
    }

    /// Puts these encoded bytes there under an id.
    pub(crate) fn put(&mut self, kind: ChunkKind, id: ChunkId, len: usize, encoded: &[u8]) -> ChunkRef {
        let hint = Locator { pack: self.id, offset: self.payload.len() as u32, len: encoded.len() as u32 };
        self.payload.extend_from_slice(encoded);
        let chunk = ChunkRef { id, len: len as u32, hint };
        self.lines.push(Packed { kind, chunk });
        chunk
    }
}

/// A repository with what a forger puts into it.
pub(crate) struct Forge {
    pub(crate) house: House,
    pub(crate) store: AnyStore,
    pub(crate) meta: Pack,
    pub(crate) data: Pack,
    /// What the only snapshot says.
    pub(crate) level: u8,
    pub(crate) nodes: u64,
    pub(crate) bytes: u64,
}

impl Forge {
    pub(crate) fn new() -> Forge {
        let objects = Arc::new(Objects::default());
        Forge::within(tempfile::tempdir().unwrap(), objects)
    }

    pub(crate) fn within(folder: TempDir, store: AnyStore) -> Forge {
        let house = House::with_store(folder, store.clone());
        let (meta, data) = (Pack::new(ObjectType::MetaPack), Pack::new(ObjectType::DataPack));
        Forge { house, store, meta, data, level: 1, nodes: 0, bytes: 0 }
    }

    pub(crate) fn put(&self, name: &str, object: Vec<u8>) {
        self.house.runtime.block_on(self.store.put_new(name, object.into())).unwrap();
    }

    pub(crate) fn raw_page(&mut self, kind: ChunkKind, hashed: &[u8], hints: &[u8]) -> ChunkRef {
        let mut encoded = Vec::new();
        chunk::encode(&[hashed, hints].concat(), 1, &mut encoded).unwrap();
        let id = self.house.repo.keys().chunk_id(kind, hashed);
        self.meta.put(kind, id, hashed.len(), &encoded)
    }

    pub(crate) fn page(&mut self, page: &NodePage) -> ChunkRef {
        let Encoded { hashed, hints } = page.encode();
        self.raw_page(ChunkKind::NodePage, &hashed, &hints)
    }

    pub(crate) fn extents(&mut self, page: &ExtentPage) -> ChunkRef {
        let Encoded { hashed, hints } = page.encode();
        self.raw_page(ChunkKind::ExtentPage, &hashed, &hints)
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> ChunkRef {
        let mut encoded = Vec::new();
        chunk::encode(bytes, 1, &mut encoded).unwrap();
        let id = self.house.repo.keys().chunk_id(ChunkKind::Data, bytes);
        self.data.put(ChunkKind::Data, id, bytes.len(), &encoded)
    }

    /// A chunk whose encoded bytes are these.
    pub(crate) fn raw_chunk(&mut self, len: usize, encoded: &[u8]) -> ChunkRef {
        let id = self.house.repo.keys().chunk_id(ChunkKind::Data, b"something else");
        self.data.put(ChunkKind::Data, id, len, encoded)
    }

    /// An inner page above these leaves, each with its first key, as they are and as they should be described.
    pub(crate) fn above(&mut self, leaves: &[NodePage]) -> ChunkRef {
        let children: Vec<Child> = leaves.iter().map(|leaf| self.child(leaf)).collect();
        self.root_of(children)
    }

    pub(crate) fn child(&mut self, leaf: &NodePage) -> Child {
        let first = match leaf {
            NodePage::Leaf(runs) => runs.first().map_or_else(Key::default, |run| Key {
                parent: run.parent.clone(),
                name: run.nodes.first().map(|node| node.name.clone()).unwrap_or_default(),
            }),
            NodePage::Inner(_, children) => children[0].first.clone(),
        };
        let page = self.page(leaf);
        Child { first, page, nodes: leaf.nodes(), bytes: leaf.bytes() }
    }

    pub(crate) fn root_of(&mut self, children: Vec<Child>) -> ChunkRef {
        let page = NodePage::Inner(1, children);
        (self.nodes, self.bytes) = (page.nodes(), page.bytes());
        self.page(&page)
    }

    /// Stores a pack with whatever directory.
    pub(crate) fn store_pack(&self, pack: &Pack, directory: &[u8]) -> IndexedPack {
        let object = sealed::seal(self.house.repo.keys(), pack.object_type, pack.id, &pack.payload, directory, 0);
        let len = object.len() as u64;
        self.put(&pack_name(pack.id), object);
        IndexedPack { pack: pack.id, len }
    }

    pub(crate) fn store_index(&self, payload: &[u8]) {
        let id = ObjectId(random());
        self.put(&index_name(id), sealed::seal(self.house.repo.keys(), ObjectType::Index, id, payload, &[], 0));
    }

    pub(crate) fn snapshot(&self, root: ChunkRef) -> Snapshot {
        Snapshot {
            id: SnapshotId(random()),
            time: Time { secs: 1_700_000_000, nanos: 0 },
            host: "host".into(),
            user: "ada".into(),
            sources: vec![Vec::new()],
            tags: Vec::new(),
            description: String::new(),
            program: "forge".into(),
            parent: None,
            root,
            level: self.level,
            nodes: self.nodes,
            bytes: self.bytes,
            with_xattrs: 0,
            figures: Figures::default(),
        }
    }

    /// Stores packs and index as they should be.
    pub(crate) fn store_all(&mut self) {
        let mut index = Index::default();
        for pack in [
            std::mem::replace(&mut self.meta, Pack::new(ObjectType::MetaPack)),
            std::mem::replace(&mut self.data, Pack::new(ObjectType::DataPack)),
        ] {
            index.packs.push(self.store_pack(&pack, &chunk::encode_directory(&pack.lines)));
            index.chunks.extend(pack.lines);
        }
        self.store_index(&index.encode());
    }

    pub(crate) fn append(&self, event: Event, root_page: Vec<u8>) {
        let time = Time { secs: 1_700_000_001, nanos: 0 };
        let append = Log::append(&self.house.repo, self.house.author(), time, event, root_page);
        self.house.runtime.block_on(append).unwrap();
    }

    pub(crate) fn commit(&mut self, root: ChunkRef) {
        self.store_all();
        self.append(Event::Snapshot(Box::new(self.snapshot(root))), Vec::new());
    }

    /// Puts a record there that no `append` would write.
    pub(crate) fn record(&self, record: &Record) {
        let payload = record.encode().unwrap();
        let object = sealed::seal(self.house.repo.keys(), ObjectType::Record, ObjectId(random()), &payload, &[], 4096);
        self.put(&format!("log/{}/{:010}", record.writer, record.seq), object);
    }

    pub(crate) fn plain_record(&self, seq: u64, event: Event) -> Record {
        Record {
            repository: self.house.repo.config().repository,
            writer: WriterId([9; 16]),
            seq,
            previous: [0; 32],
            time: Time::default(),
            event,
            root_page: Vec::new(),
            history: Vec::new(),
            seen: Vec::new(),
        }
    }
}
