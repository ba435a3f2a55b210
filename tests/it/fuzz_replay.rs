//! Hostile bytes on every run: the corpus of the fuzz targets and 20 000 mutations of it for each. Nothing may panic,
//! take more memory than a bound, or be accepted and not survive being written and read again.
//!
//! Each target runs in a process of its own with an upper limit on its memory. `BYGONE_WRITE_CORPUS=1` writes the
//! seeds anew, out of the golden repository and by hand. Those of disks are made by `scripts/images/seeds.py`; there
//! are fewer mutations of them, because each is a whole disk to look at.

#[path = "../fuzz/entry.rs"]
mod entry;

use crate::golden;
use crate::house::open_store;
use bygone::crypto::MasterKey;
use bygone::crypto::password::Cost;
use bygone::crypto::password::Password;
use bygone::extent::ChunkRef;
use bygone::extent::Locator;
use bygone::format::chunk;
use bygone::format::disk::Disk;
use bygone::format::disk::DiskFs;
use bygone::format::disk::DiskPart;
use bygone::format::extents::NOWHERE;
use bygone::format::group;
use bygone::format::index::Index;
use bygone::format::page::Encoded;
use bygone::format::page::NodePage;
use bygone::format::page::Run;
use bygone::format::sealed;
use bygone::format::sealed::ObjectType;
use bygone::format::slot;
use bygone::id::ChunkId;
use bygone::id::ObjectId;
use bygone::meta::Content;
use bygone::meta::Kind;
use bygone::meta::Meta;
use bygone::meta::Node;
use bygone::meta::Stream;
use bygone::meta::Time;
use bygone::meta::Windows;
use bygone::meta::Xattr;
use bygone::repo::Repo;
use bygone::repo::pack_name;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Mutations of each target.
const MUTATIONS: u64 = 20_000;
/// The same for a disk.
const MUTATIONS_OF_DISKS: u64 = 2_000;
/// Another number of mutations, and other ones than usual: for longer runs by hand.
const COUNT: &str = "BYGONE_FUZZ_COUNT";
const ROUND: &str = "BYGONE_FUZZ_ROUND";
/// Address space of a process that replays one target. Most of it is the program and the stacks of its threads.
const MEMORY_KIB_MAX: u32 = 192 << 10;
/// Says which target this process is to replay.
const TARGET: &str = "BYGONE_FUZZ_TARGET";

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

#[test]
fn mutations_neither_panic_nor_take_memory() {
    if let Ok(target) = std::env::var(TARGET) {
        return replay(&target);
    }
    if std::env::var_os("BYGONE_WRITE_CORPUS").is_some() {
        write_corpus();
    }
    let children: Vec<_> = entry::TARGETS
        .iter()
        .map(|(target, _)| {
            let limited = format!("ulimit -v {MEMORY_KIB_MAX} && exec \"$@\"");
            let mut command = Command::new("sh");
            command.args(["-c", &limited, "sh"]).arg(std::env::current_exe().unwrap());
            command.args(["--exact", "fuzz_replay::mutations_neither_panic_nor_take_memory", "--nocapture"]);
            (target, command.env(TARGET, target).output().unwrap())
        })
        .collect();
    for (target, output) in children {
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{target}:\n{}{}", said(&output.stdout), said(&output.stderr));
        assert!(said(&output.stdout).contains("1 passed"), "{target} was not replayed");
    }
}

#[test]
fn every_target_has_a_file_and_seeds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let known: BTreeSet<String> = entry::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("targets"), known);
    assert_eq!(names("corpus"), known);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in known {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
        let target = fs::read_to_string(fuzz.join("targets").join(format!("{name}.rs"))).unwrap();
        assert!(target.contains(&format!("entry::run(\"{name}\"")), "{name}");
    }
}

/// True for targets that are fed a disk: `write_corpus` has no seeds of them.
fn is_disk(target: &str) -> bool {
    let (_, feed) = entry::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    entry::images::FEEDS.iter().any(|other| std::ptr::fn_addr_eq(*feed, *other))
}

/// Feeds the seeds of one target, then mutations of them.
fn replay(target: &str) {
    let files = fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path());
    let seeds: BTreeMap<PathBuf, Vec<u8>> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    for (path, seed) in &seeds {
        let is_whole = !path.file_name().unwrap().to_str().unwrap().starts_with("bad-");
        assert_eq!(entry::run(target, seed), is_whole, "{}: the corpus is stale", path.display());
    }
    let seeds: Vec<_> = seeds.into_values().collect();
    assert!(!seeds.is_empty());
    let set = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let start = format!("{target}{}", std::env::var(ROUND).unwrap_or_default());
    let mut random =
        Random(blake3::hash(start.as_bytes()).as_bytes()[..8].iter().fold(1, |n, &b| n << 8 | u64::from(b)));
    let mut accepted = 0;
    let is_disk = is_disk(target);
    let mutations = set(COUNT).unwrap_or(if is_disk { MUTATIONS_OF_DISKS } else { MUTATIONS });
    for _ in 0..mutations {
        let input = if is_disk { random.mutate_disk(&seeds) } else { random.mutate(&seeds) };
        match std::panic::catch_unwind(|| entry::run(target, &input)) {
            Ok(taken) => accepted += u64::from(taken),
            Err(panic) => {
                let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
                println!("{target} panics on {hex}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{target}: {accepted} of {mutations} mutations accepted");
}

/// Numbers that look random and are the same on every run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }

    /// A seed with one to four faults.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut out = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.fault(&mut out, seeds);
        }
        out
    }

    /// A disk with one to twelve faults, nearly all in place: what is moved is another disk altogether.
    fn mutate_disk(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut out = seeds[self.below(seeds.len())].clone();
        let Some(from) = entry::images::bytes_from(&out) else { return out };
        for _ in 0..=self.below(12) {
            let at = from + self.below(out.len().saturating_sub(from));
            match self.below(32) {
                0 => self.fault(&mut out, seeds),
                _ if at >= out.len() => {}
                1..8 => out[at] ^= 1 << self.below(8),
                8..16 => out[at] = [0, 1, 0x7f, 0x80, 0xff, 8][self.below(6)],
                16..22 => out[at] = out[at].wrapping_add(self.below(5) as u8).wrapping_sub(2),
                22..28 => {
                    let value = [0, 1, u64::MAX, 1 << 31, 1 << 63, 512, 1 << 16, self.next()][self.below(8)];
                    let value = value.wrapping_add(self.next() % 3).wrapping_sub(1);
                    let bytes = if self.below(2) == 0 { value.to_le_bytes() } else { value.swap_bytes().to_le_bytes() };
                    let len = [2, 4, 8][self.below(3)].min(out.len() - at);
                    out[at..at + len].copy_from_slice(&bytes[..len]);
                }
                _ => {
                    let len = (1 << self.below(10)).min(out.len() - at);
                    let other = from + self.below(out.len() - len - from + 1);
                    out.copy_within(other..other + len, at);
                }
            }
        }
        out
    }

    fn fault(&mut self, out: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        // Half of all faults near the front: that is where headers and counts are.
        let span = if self.below(2) == 0 { out.len().min(96) } else { out.len() };
        let at = self.below(span);
        match self.below(8) {
            _ if out.is_empty() => out.push(self.next() as u8),
            0 => out[at] ^= 1 << self.below(8),
            1 => out[at] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'.'][self.below(7)],
            2 => out[at] = out[at].wrapping_add(self.below(5) as u8).wrapping_sub(2),
            3 => out.truncate(at),
            4 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len());
                out.splice(at.., other[from..].iter().copied());
            }
            5 => {
                let end = (at + 1 + self.below(16)).min(out.len());
                out.drain(at..end);
            }
            6 => {
                let end = (at + 1 + self.below(32)).min(out.len());
                let copy = out[at..end].to_vec();
                out.splice(at..at, copy);
            }
            _ => self.length(out, at),
        }
    }

    /// Puts a number where a length may stand: fixed or varint, over bytes or between them.
    fn length(&mut self, out: &mut Vec<u8>, at: usize) {
        let value = [0, 1, 0x7f, 0x80, 0xffff, 1 << 20, 16 << 20, 1 << 30, 1 << 32, 1 << 48, 1 << 62, u64::MAX];
        let value = value[self.below(value.len())].wrapping_add(self.next() % 3).wrapping_sub(1);
        let mut field = value.to_le_bytes()[..[2, 4, 8][self.below(3)]].to_vec();
        if self.below(2) == 0 {
            field.clear();
            bygone::format::wire::Write::put_varint(&mut field, value);
        }
        let replaced =
            if self.below(2) == 0 { field.len().min(out.len() - at) } else { self.below(2).min(out.len() - at) };
        out.splice(at..at + replaced, field);
    }
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    fs::create_dir_all(corpus(target)).unwrap();
    fs::write(corpus(target).join(name), bytes).unwrap();
}

fn put_page(target: &str, name: &str, hashed_len: u32, plain: &[u8]) {
    put(target, name, &[&hashed_len.to_le_bytes()[..], plain].concat());
}

/// One node of every kind and content, with every field.
fn rich_page() -> NodePage {
    let hint = Locator { pack: ObjectId([9; 16]), offset: 77, len: 1000 };
    let chunk = ChunkRef { id: ChunkId([4; 32]), len: 5000, hint };
    let windows = Windows {
        attributes: 0x20,
        security: vec![1, 2, 3],
        reparse: vec![4],
        streams: vec![Stream { name: b"Zone".to_vec(), content: Content::Chunk(chunk) }],
    };
    let meta = Meta {
        mode: 0o4755,
        mtime: Time { secs: -5, nanos: 999_999_999 },
        btime: Some(Time { secs: 1 << 33, nanos: 1 }),
        inode: u64::MAX,
        links: 3,
        flags: 0x40,
        xattrs: vec![Xattr { name: b"user.note".to_vec(), value: b"hello".to_vec() }],
        windows: Some(Box::new(windows)),
        ..Meta::default()
    };
    let linked = Meta { link_group: Some(42), ..meta.clone() };
    let node = |name: &str, kind: Kind, content: Content| {
        let meta = if kind == Kind::Folder { meta.clone() } else { linked.clone() };
        Node { name: name.into(), kind, meta, content }
    };
    let extents = Content::Extents { root: ChunkRef { hint: NOWHERE, ..chunk }, len: 1 << 50, data: 1 << 49 };
    let top = vec![node("", Kind::Folder, Content::Empty), node("a", Kind::Folder, Content::Empty)];
    let inside = vec![
        node("block", Kind::BlockDevice { major: 8, minor: 1 << 19 }, Content::Empty),
        node("char", Kind::CharDevice { major: 4, minor: 64 }, Content::Empty),
        node("chunk", Kind::File, Content::Chunk(chunk)),
        node("empty", Kind::File, Content::Empty),
        node("extents", Kind::File, extents),
        node("fifo", Kind::Fifo, Content::Empty),
        node("inline", Kind::File, Content::Inline(b"tiny".to_vec())),
        node("link", Kind::Symlink(b"../x".to_vec()), Content::Empty),
        node("socket", Kind::Socket, Content::Empty),
    ];
    NodePage::Leaf(vec![Run { parent: vec![], nodes: top }, Run { parent: b"a".to_vec(), nodes: inside }])
}

/// Writes the seeds anew.
fn write_corpus() {
    for (target, _) in entry::TARGETS.iter().filter(|(target, _)| !is_disk(target) && corpus(target).exists()) {
        fs::remove_dir_all(corpus(target)).unwrap();
    }
    let config = entry::config();
    put("config", "config", &config.encode());
    let (master, password) = (MasterKey::from_bytes([1; 32]), Password::new(entry::PASSWORD.to_vec()));
    put("slot", "slot", &slot::encode(&config, entry::SLOT, &master, &password, Cost::CHEAP, 5).unwrap());
    for (name, object_type, directory) in
        [("pack", ObjectType::DataPack, &b"directory"[..]), ("record", ObjectType::Record, b"")]
    {
        let object = sealed::seal(&entry::keys(), object_type, ObjectId([9; 16]), &[5; 200], directory, 0);
        put("sealed", name, &object);
    }
    let two = sealed::seal(&entry::keys(), ObjectType::Index, ObjectId([9; 16]), &[], &[], 65_540);
    put("sealed", "two-segments", &two[..2000]);
    let Encoded { hashed, hints } = rich_page().encode();
    put("disk", "disk", &rich_disk().encode().unwrap());
    put_page("node_page", "rich", hashed.len() as u32, &[&hashed[..], &hints].concat());
    for (name, plain) in [("text", "a line of text\n".repeat(40)), ("raw", "ab".to_owned())] {
        let members = [1, plain.len() as u32 - 1].map(|len| (ChunkId([9; 32]), len));
        put("group", name, &group::frame(&members, plain.as_bytes(), 3).unwrap());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(from_golden());
}

/// A disk with everything a description has.
fn rich_disk() -> Disk {
    let fs = DiskFs {
        label: "root".to_owned(),
        uuid: "3f1c".to_owned(),
        used_bytes: Some(5 << 20),
        root: (0o755, 0, 7),
        root_mtime: Time { secs: -1, nanos: 5 },
    };
    let part = DiskPart {
        number: 2,
        range: 1 << 20..9 << 20,
        folder: "2 root (ext4)".to_owned(),
        type_name: "Linux filesystem".to_owned(),
        name: "root".to_owned(),
        uuid: "9a0e".to_owned(),
        kind: "ext4".to_owned(),
        fs: Some(fs),
        notes: vec!["A note.".to_owned()],
    };
    Disk {
        path: b"dev/sda".to_vec(),
        container: "device".to_owned(),
        sector_bytes: 512,
        chunk_bytes: 65_536,
        checksum: Some([7; 32]),
        all_blocks: false,
        live: true,
        table: "GPT".to_owned(),
        uuid: "511c".to_owned(),
        parts: vec![part, DiskPart::default()],
        unreadable: vec![4096..8192, 1 << 20..2 << 20],
    }
}

/// The smallest of everything in the golden repository.
async fn from_golden() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden-v1/repository");
    let repo = Repo::open(open_store(&folder), &Password::new(golden::PASSWORD.to_vec())).await.unwrap();
    let (store, keys) = (repo.store(), repo.keys());
    let open = |object_type, bytes: &[u8]| sealed::open(keys, object_type, None, bytes).unwrap();
    let mut pages: BTreeMap<(&str, usize), (u32, Vec<u8>)> = BTreeMap::new();
    for stored in store.list("index").await.unwrap() {
        let opened = open(ObjectType::Index, &store.get(&stored.name).await.unwrap());
        let mut index = Index::decode(opened.payload()).unwrap();
        for line in &index.chunks {
            let chunk = line.chunk;
            let object_type = if line.kind.is_metadata() { ObjectType::MetaPack } else { ObjectType::DataPack };
            let pack = open(object_type, &store.get(&pack_name(chunk.hint.pack)).await.unwrap());
            let encoded = &pack.payload()[chunk.hint.offset as usize..][..chunk.hint.len as usize];
            let target = match line.kind.byte() {
                1 => "chunk",
                2 => "node_page",
                _ => "extent_page",
            };
            let bytes = if line.kind.is_metadata() { chunk::decode(encoded).unwrap() } else { encoded.to_vec() };
            pages.insert((target, bytes.len()), (chunk.len, bytes));
        }
        index.chunks.truncate(12);
        put("index", "index", &index.encode());
        let pack = index.chunks[0].chunk.hint.pack;
        let lines: Vec<_> = index.chunks.iter().filter(|line| line.chunk.hint.pack == pack).copied().collect();
        let directory = chunk::encode_directory(&lines);
        put("directory", "directory", &[&(1u32 << 25).to_le_bytes()[..], &directory].concat());
    }
    for target in ["chunk", "node_page", "extent_page"] {
        for (i, ((_, len), (hashed, bytes))) in pages.iter().filter(|((t, _), _)| *t == target).take(3).enumerate() {
            assert!(*len < 8192, "{target} {len}");
            match target {
                "chunk" => put(target, &format!("golden-{i}"), bytes),
                _ => put_page(target, &format!("golden-{i}"), *hashed, bytes),
            }
        }
    }
    for stored in store.list("log").await.unwrap() {
        let opened = open(ObjectType::Record, &store.get(&stored.name).await.unwrap());
        put("record", &stored.name[stored.name.len() - 2..], &chunk::decode(opened.payload()).unwrap());
    }
}
