//! Measures the single steps that bytes and names go through, each alone on one thread, and prints their rates.
//!
//! usage: micro [SAMPLES]      prints NAME UNIT RATE..., where the unit is MiB/s of plain bytes, or things per second
//!
//! What comes back from a step and its opposite is compared once, before anything is measured. Nothing is read or written.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bygone::chunker::Chunker;
use bygone::chunker::Sizes;
use bygone::crypto::Keys;
use bygone::crypto::MasterKey;
use bygone::extent::ChunkKind;
use bygone::extent::ChunkRef;
use bygone::extent::Locator;
use bygone::format::chunk;
use bygone::format::extents::ExtentPage;
use bygone::format::index::Index;
use bygone::format::index::IndexedPack;
use bygone::format::page::Encoded;
use bygone::format::page::NodePage;
use bygone::format::sealed;
use bygone::format::sealed::ObjectType;
use bygone::id::ChunkId;
use bygone::id::ObjectId;
use bygone::id::RepositoryId;
use bygone::meta::Content;
use bygone::meta::Kind;
use bygone::meta::Meta;
use bygone::meta::Node;
use bygone::tree::Loaded;
use bygone::tree::NodeTree;
use bygone::tree::NodeTreeBuilder;
use bygone::tree::PageSink;
use bygone::tree::Pages;
use bygone::tree::Stop;
use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// A sample lasts at least so long.
const SAMPLE: Duration = Duration::from_millis(50);
const MIB: usize = 1 << 20;
const LEVEL: i32 = 3;
const PACK_BYTES: usize = 16 * MIB;
const FOLDERS: usize = 1000;
const FILES: usize = 100;
const PACK: ObjectId = ObjectId([9; 16]);

/// A stream of numbers that is the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() >> 33) as usize % bound
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| (self.roll() >> 56) as u8).take(len).collect()
    }

    /// Words that repeat, as in prose and programs.
    fn text(&mut self, len: usize) -> Vec<u8> {
        let words: Vec<String> = (0..4000).map(|_| format!("{:x} ", self.roll() >> (16 + self.below(40)))).collect();
        let mut out = Vec::with_capacity(len + 20);
        while out.len() < len {
            // Some words are more frequent than others.
            let at = self.below(words.len()).min(self.below(words.len()));
            out.extend_from_slice(words[at].as_bytes());
        }
        out.truncate(len);
        out
    }
}

/// Prints how many times `amount` a second some work does, in so many samples.
fn measure<T>(samples: usize, name: &str, unit: &str, amount: f64, mut work: impl FnMut() -> T) {
    black_box(work());
    let rates: Vec<String> = (0..samples)
        .map(|_| {
            let began = Instant::now();
            let mut times = 0.0;
            while began.elapsed() < SAMPLE {
                black_box(work());
                times += 1.0;
            }
            format!("{:.2}", amount * times / began.elapsed().as_secs_f64())
        })
        .collect();
    println!("{name} {unit} {}", rates.join(" "));
}

/// Cutting, naming, compressing and sealing of contents, and the way back.
fn contents(samples: usize, keys: &Keys, name: &str, plain: &[u8]) {
    let mib = plain.len() as f64 / MIB as f64;
    let step = |step: &str| format!("{step}_{name}");
    let chunker = Chunker::new(keys.gear(), Sizes::DEFAULT);
    let cuts = || {
        let mut rest = plain;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(chunker.cut(rest));
            pieces.push(piece);
            rest = after;
        }
        pieces
    };
    let pieces = cuts();
    let ids = || pieces.iter().map(|piece| keys.chunk_id(ChunkKind::Data, piece)).collect::<Vec<_>>();
    let encoded = || {
        let mut out = Vec::new();
        let mut one = |piece: &&[u8]| {
            let start = out.len();
            chunk::encode(piece, LEVEL, &mut out).unwrap();
            start..out.len()
        };
        let ranges: Vec<_> = pieces.iter().map(&mut one).collect();
        (out, ranges)
    };
    let (payload, ranges) = encoded();
    let seal = || sealed::seal(keys, ObjectType::DataPack, PACK, &payload, &[], 0);
    let object = seal();
    let open = || sealed::open(keys, ObjectType::DataPack, Some(PACK), &object).unwrap();
    assert_eq!(open().payload(), payload);
    let decoded = || ranges.iter().map(|range| chunk::decode(&payload[range.clone()]).unwrap()).collect::<Vec<_>>();
    assert_eq!(decoded().concat(), plain);

    measure(samples, &step("chunk"), "MiB/s", mib, cuts);
    measure(samples, &step("hash"), "MiB/s", mib, ids);
    measure(samples, &step("compress"), "MiB/s", mib, encoded);
    measure(samples, &step("seal"), "MiB/s", mib, seal);
    measure(samples, &step("open"), "MiB/s", mib, open);
    measure(samples, &step("decompress"), "MiB/s", mib, decoded);
}

/// Pages in memory: encoded for whoever decodes them, and decoded as a drive keeps them.
struct Memory<'a> {
    keys: &'a Keys,
    plain: Vec<(Vec<u8>, u32)>,
    loaded: HashMap<ChunkId, Arc<Loaded>>,
}

impl PageSink for Memory<'_> {
    type Error = Infallible;

    fn put(&mut self, kind: ChunkKind, page: &Encoded) -> Result<ChunkRef, Infallible> {
        let id = self.keys.chunk_id(kind, &page.hashed);
        let len = page.hashed.len() as u32;
        let plain = [&page.hashed[..], &page.hints].concat();
        self.loaded.insert(id, Arc::new(Loaded::new(NodePage::decode(&plain, len).unwrap())));
        self.plain.push((plain, len));
        Ok(ChunkRef { id, len, hint: Locator { pack: PACK, offset: self.plain.len() as u32, len } })
    }
}

impl Pages for Memory<'_> {
    fn node_page(&self, page: &ChunkRef) -> Result<Arc<Loaded>, Stop> {
        self.loaded.get(&page.id).cloned().ok_or(Stop::Miss(ChunkKind::NodePage, *page))
    }

    fn extent_page(&self, page: &ChunkRef) -> Result<Arc<ExtentPage>, Stop> {
        Err(Stop::Miss(ChunkKind::ExtentPage, *page))
    }
}

fn chunk_ref(dice: &mut Dice) -> ChunkRef {
    let mut id = [0; 32];
    id.copy_from_slice(&dice.noise(32));
    let len = dice.below(100_000) as u32;
    let hint = Locator { pack: ObjectId([dice.below(50) as u8; 16]), offset: dice.below(PACK_BYTES) as u32, len };
    ChunkRef { id: ChunkId(id), len, hint }
}

/// Pages of names, and finding one name among many.
fn names(samples: usize, keys: &Keys, dice: &mut Dice) {
    let folder = |name: String| Node {
        name: name.into_bytes(),
        kind: Kind::Folder,
        meta: Meta::default(),
        content: Content::Empty,
    };
    let mut memory = Memory { keys, plain: Vec::new(), loaded: HashMap::new() };
    let mut builder = NodeTreeBuilder::new(keys.clone());
    let Ok(()) = builder.push(b"", folder(String::new()), &mut memory);
    for f in 0..FOLDERS {
        let Ok(()) = builder.push(b"", folder(format!("folder-{f:04}")), &mut memory);
    }
    for f in 0..FOLDERS {
        for i in 0..FILES {
            let meta = Meta { mode: 0o644, inode: dice.roll() >> 40, links: 1, ..Meta::default() };
            let name = format!("file-{i:03}.txt").into_bytes();
            let node = Node { name, kind: Kind::File, meta, content: Content::Chunk(chunk_ref(dice)) };
            let Ok(()) = builder.push(format!("folder-{f:04}").as_bytes(), node, &mut memory);
        }
    }
    let Ok(root) = builder.finish(&mut memory);
    let tree = NodeTree { root: root.page, level: root.level, nodes: root.nodes };
    let decode = || memory.plain.iter().map(|(plain, len)| NodePage::decode(plain, *len).unwrap()).collect::<Vec<_>>();
    let pages = decode();
    let path = |at: usize| format!("folder-{:04}/file-{:03}.txt", at / FILES, at % FILES).into_bytes();
    let wanted: Vec<Vec<u8>> = (0..1000).map(|_| path(dice.below(FOLDERS * FILES))).collect();
    let look_up = || wanted.iter().filter(|path| matches!(tree.get_path(&memory, path), Ok(Some(_)))).count();
    assert_eq!(look_up(), wanted.len());

    let nodes = (FOLDERS * FILES) as f64;
    measure(samples, "page_encode", "/s", nodes, || pages.iter().map(NodePage::encode).collect::<Vec<_>>());
    measure(samples, "page_decode", "/s", nodes, decode);
    measure(samples, "look_up", "/s", wanted.len() as f64, look_up);
}

/// The index of a repository.
fn index(samples: usize, dice: &mut Dice) {
    let packs = (0..50).map(|number| IndexedPack { pack: ObjectId([number; 16]), len: PACK_BYTES as u64 }).collect();
    let line = |dice: &mut Dice| chunk::Packed { kind: ChunkKind::Data, chunk: chunk_ref(dice) };
    let mut index = Index { packs, chunks: (0..50_000).map(|_| line(dice)).collect() };
    let payload = index.encode();
    let lines = index.chunks.len() as f64;
    assert_eq!(Index::decode(&payload).unwrap(), index);
    measure(samples, "index_encode", "/s", lines, || index.encode());
    measure(samples, "index_decode", "/s", lines, || Index::decode(&payload).unwrap());
}

fn main() {
    let samples = std::env::args().nth(1).map_or(9, |number| number.parse().unwrap());
    let keys = Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (text, noise) = (dice.text(PACK_BYTES), dice.noise(PACK_BYTES));
    contents(samples, &keys, "text", &text);
    contents(samples, &keys, "noise", &noise);
    names(samples, &keys, &mut dice);
    index(samples, &mut dice);
}
