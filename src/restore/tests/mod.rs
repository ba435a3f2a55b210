//! Snapshots made by hand from a list of nodes, restored into real folders and compared with that list.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod damage;
mod hostile;
mod ordinary;
mod overwrite;
mod resume;
mod select;
mod stored;

use crate::crypto::password::Cost;
use crate::crypto::password::Password;
use crate::format::page::compare_keys;
use crate::format::record::Event;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Node;
use crate::meta::Owner;
use crate::meta::Time;
use crate::meta::Xattr;
use crate::monitor::Collect;
use crate::path;
use crate::repo::Author;
use crate::repo::InitOptions;
use crate::repo::Log;
use crate::repo::Repo;
use crate::restore::Error;
use crate::restore::Options;
use crate::restore::restore;
use crate::restore::tests::stored::Filler;
use crate::restore::tests::stored::Layout;
use crate::restore::tests::stored::Stored;
use crate::restore::tests::stored::snapshot;
use crate::state::State;
use crate::store::Location;
use crate::store::StoreOptions;
use crate::store::open;
use crate::target::FileId;
use crate::tree::NodeTreeBuilder;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Largest chunk of these tests.
const CHUNK_BYTES: usize = 64 << 10;
/// Largest file that stands in its node.
const INLINE_BYTES: usize = 48;

/// A node to be: its content as pieces of data at offsets, and a length.
#[derive(Debug, Clone)]
struct Entry {
    kind: Kind,
    meta: Meta,
    data: Vec<(u64, Vec<u8>)>,
    len: u64,
}

impl Entry {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        for (offset, data) in &self.data {
            bytes[*offset as usize..][..data.len()].copy_from_slice(data);
        }
        bytes
    }
}

/// What a snapshot holds, by path.
#[derive(Debug, Clone, Default)]
struct Model {
    entries: BTreeMap<String, Entry>,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Metadata of ours, with a time that depends on the path.
fn meta(path: &str, mode: u32) -> Meta {
    let hash = blake3::hash(path.as_bytes());
    let number = u32::from_le_bytes(hash.as_bytes()[..4].try_into().unwrap());
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Meta {
        mode,
        owner: Arc::new(Owner { uid, gid, ..Owner::default() }),
        mtime: Time { secs: 1_500_000_000 + i64::from(number % 100_000_000), nanos: number % 1_000_000_000 },
        links: 1,
        ..Meta::default()
    }
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Model {
    fn new() -> Model {
        let mut model = Model::default();
        model.folder("", 0o755);
        model
    }

    fn add(&mut self, path: &str, kind: Kind, mode: u32) -> &mut Entry {
        let entry = Entry { kind, meta: meta(path, mode), data: Vec::new(), len: 0 };
        self.entries.insert(path.to_owned(), entry);
        self.entries.get_mut(path).unwrap()
    }

    fn folder(&mut self, path: &str, mode: u32) -> &mut Entry {
        self.add(path, Kind::Folder, mode)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> &mut Entry {
        let entry = self.add(path, Kind::File, 0o644);
        (entry.data, entry.len) = (vec![(0, bytes.to_vec())], bytes.len() as u64);
        entry
    }

    fn sparse(&mut self, path: &str, data: &[(u64, &[u8])], len: u64) -> &mut Entry {
        let entry = self.add(path, Kind::File, 0o600);
        (entry.data, entry.len) = (data.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect(), len);
        entry
    }

    fn link(&mut self, path: &str, target: &str) -> &mut Entry {
        self.add(path, Kind::Symlink(target.into()), 0o777)
    }

    /// Makes several files names of one.
    fn hard_link(&mut self, group: u64, paths: &[&str]) {
        let first = self.entries[paths[0]].clone();
        for path in paths {
            let mut entry = first.clone();
            entry.meta.link_group = Some(group);
            entry.meta.links = paths.len() as u32;
            self.entries.insert((*path).to_owned(), entry);
        }
    }

    fn paths(&self) -> Vec<String> {
        self.entries.keys().filter(|path| !path.is_empty()).cloned().collect()
    }

    /// A snapshot of this in a repository of its own.
    async fn store(&self) -> Stored {
        self.store_with(Layout { pack_bytes: usize::MAX, page_packs: false }).await
    }

    async fn store_with(&self, layout: Layout) -> Stored {
        let name = crate::id::ObjectId(crate::crypto::random()).to_string();
        let store = open(&Location::Memory(name), &StoreOptions::default()).unwrap();
        let sizes = crate::chunker::Sizes::DEFAULT;
        let options = InitOptions { sizes, cost: Cost::CHEAP, create_only: true, now_secs: 0 };
        let repo = Repo::init(store.clone(), &Password::new(b"x".to_vec()), &options).await.unwrap();
        let mut filler = Filler::new(repo.keys().clone(), layout);
        let mut nodes: Vec<(Vec<u8>, Node)> = Vec::new();
        for (path, entry) in &self.entries {
            let (parent, name) = path::split(path.as_bytes());
            let content = filler.content(path, entry);
            let node = Node { name: name.to_vec(), kind: entry.kind.clone(), meta: entry.meta.clone(), content };
            nodes.push((parent.to_vec(), node));
        }
        nodes.sort_by(|(p, n), (q, m)| compare_keys(p, &n.name, q, &m.name));
        let mut builder = NodeTreeBuilder::new(repo.keys().clone());
        for (parent, node) in nodes {
            builder.push(&parent, node, &mut filler).unwrap();
        }
        let root = builder.finish(&mut filler).unwrap();
        filler.flush(true);
        filler.flush(false);
        for (name, object) in filler.objects {
            store.put_new(&name, object.into()).await.unwrap();
        }
        let snapshot = snapshot(&root);
        let state = State::in_memory().unwrap();
        let event = Event::Snapshot(Box::new(snapshot.clone()));
        let author = Author { state: &state, machine: b"test" };
        Log::append(&repo, author, Time::default(), event, root.plain).await.unwrap();
        Stored { store, repo, snapshot, packs: filler.packs, pages: filler.pages }
    }
}

/// A folder to restore into that is not there yet.
fn target() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    (dir, to)
}

fn time_of(meta: &fs::Metadata) -> Time {
    Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 }
}

/// All paths below a folder.
fn paths_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let entry = entry.unwrap();
            found.insert(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found
}

impl Model {
    /// Compares what is in a folder with the model; the folder itself may have been there before.
    #[track_caller]
    fn assert_restored(&self, to: &Path, privileged: bool) {
        assert_eq!(paths_below(to), self.paths().into_iter().collect());
        let mut groups: HashMap<u64, u64> = HashMap::new();
        for (path, entry) in self.entries.iter().filter(|(path, _)| !path.is_empty()) {
            self.assert_node(&to.join(path), entry, privileged);
            if let Some(group) = entry.meta.link_group {
                let inode = fs::symlink_metadata(to.join(path)).unwrap().ino();
                assert_eq!(*groups.entry(group).or_insert(inode), inode, "{path} is not linked");
            }
        }
    }

    #[track_caller]
    fn assert_node(&self, at: &Path, entry: &Entry, privileged: bool) {
        let found = fs::symlink_metadata(at).unwrap();
        let kind = found.file_type();
        let fits = match &entry.kind {
            Kind::File => kind.is_file(),
            Kind::Folder => kind.is_dir(),
            Kind::Symlink(to) => {
                kind.is_symlink() && fs::read_link(at).unwrap().as_os_str().as_encoded_bytes() == &to[..]
            }
            Kind::Fifo => kind.is_fifo(),
            Kind::Socket => kind.is_socket(),
            Kind::CharDevice { major, minor } => {
                let device = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
                kind.is_char_device() && device == (*major, *minor)
            }
            Kind::BlockDevice { .. } => kind.is_block_device(),
        };
        assert!(fits, "{at:?} is {kind:?}");
        assert_eq!(time_of(&found), entry.meta.mtime, "{at:?}");
        if !kind.is_symlink() {
            let mask = if privileged { 0o7777 } else { 0o1777 };
            assert_eq!(found.mode() & 0o7777, entry.meta.mode & mask, "{at:?}");
        }
        if privileged {
            assert_eq!((found.uid(), found.gid()), (entry.meta.owner.uid, entry.meta.owner.gid), "{at:?}");
        }
        if kind.is_file() {
            assert!(fs::read(at).unwrap() == entry.bytes(), "{at:?} has other bytes");
            let data: usize = entry.data.iter().map(|(_, data)| data.len().next_multiple_of(64 << 10)).sum();
            assert!(found.blocks() * 512 <= data as u64 + (64 << 10), "{at:?} has no holes");
        }
        for Xattr { name, value } in &entry.meta.xattrs {
            let mut buffer = vec![0; 256];
            let name = std::str::from_utf8(name).unwrap();
            let len = rustix::fs::lgetxattr(at, name, &mut buffer[..]).unwrap();
            assert_eq!(&buffer[..len], value, "{at:?} {name}");
        }
    }
}

/// A bit of everything.
fn rich() -> Model {
    let mut model = Model::new();
    for folder in ["docs", "docs/deep", "docs/deep/er", "empty", "media", "x"] {
        model.folder(folder, 0o750);
    }
    model.folder("closed", 0o500);
    model.file("closed/inside", b"inside");
    model.file("docs/empty", b"");
    model.file("docs/tiny", b"tiny");
    model.file("docs/one", &noise("one", 5000)).meta.mode = 0o4711;
    model.file("docs/deep/er/two", &noise("two", CHUNK_BYTES));
    model.file("media/large", &noise("large", CHUNK_BYTES * 5 + 17));
    let data = noise("sparse", CHUNK_BYTES + 100);
    model.sparse("media/sparse", &[(4096, &data[..4096]), (3 << 20, &data)], 9 << 20);
    model.sparse("media/hole", &[], 5 << 20);
    model.link("docs/link", "../media/large");
    model.link("dangling", "/nowhere/at/all");
    model.add("x/pipe", Kind::Fifo, 0o640);
    model.add("x/socket", Kind::Socket, 0o600);
    let attribute = Xattr { name: b"user.comment".to_vec(), value: b"kept".to_vec() };
    model.file("x/attributes", b"a").meta.xattrs.push(attribute.clone());
    model.entries.get_mut("docs").unwrap().meta.xattrs.push(attribute);
    model.file("x/name \n\u{fc}", b"odd");
    model.hard_link(7, &["docs/one", "a-one", "x/one"]);
    model.hard_link(8, &["media/large", "x/large"]);
    model.entries.get_mut("docs/deep").unwrap().meta.mtime = Time { secs: -5, nanos: 999_999_999 };
    model
}
