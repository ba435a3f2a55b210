//! Readers of a store that is far away: who reads on in the order of the tree hardly waits, who jumps about fetches
//! little. Counted on a recorded store, not timed.

use crate::house::House;
use crate::house::noise;
use crate::house::open_latest;
use crate::house::password;
use async_trait::async_trait;
use bygone::browse::Browse;
use bygone::browse::ImageAt;
use bygone::browse::Inside;
use bygone::drive::DriveOptions;
use bygone::drive::snapshot_drive;
use bygone::extent::ChunkRef;
use bygone::extent::Extent;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Repo;
use bygone::store::AnyStore;
use bygone::store::Counted;
use bygone::store::Error;
use bygone::store::ErrorKind;
use bygone::store::Latency;
use bygone::store::Request;
use bygone::store::Result;
use bygone::store::Store;
use bygone::store::Stored;
use bygone::store::depth;
use bygone::tree::Piece;
use bygone_mount::Drive;
use bygone_mount::drive::Caller;
use bygone_mount::drive::FileKind;
use bygone_mount::drive::Ino;
use bygone_mount::drive::ROOT;
use bytes::Bytes;
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What the kernel asks for at once.
const READ_BYTES: u32 = 128 << 10;

/// A store that lets the large requests wait, or fail, until it is told otherwise.
#[derive(Debug)]
struct Gate {
    inner: AnyStore,
    state: watch::Sender<Door>,
    waiting: watch::Sender<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
    /// Those who wait are turned away; who comes later is let in.
    Dismissed,
}

/// Longer than any chunk.
const LARGE: u64 = 3 << 19;

impl Gate {
    fn new(inner: AnyStore) -> Arc<Gate> {
        let (state, waiting) = (watch::Sender::new(Door::Open), watch::Sender::new(0));
        Arc::new(Gate { inner, state, waiting })
    }

    fn set(&self, door: Door) {
        self.state.send_replace(door);
    }

    /// Waits until so many requests wait at the door.
    async fn until_waiting(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        let arrived = tokio::time::timeout(Duration::from_secs(60), waiting.wait_for(|waiting| *waiting >= count));
        assert!(arrived.await.is_ok(), "not all {count} came");
    }
}

#[async_trait]
impl Store for Gate {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.inner.get(name).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        if range.end - range.start > LARGE && *self.state.borrow() == Door::Closed {
            self.waiting.send_modify(|waiting| *waiting += 1);
            let door = *self.state.subscribe().wait_for(|door| *door != Door::Closed).await.unwrap();
            self.waiting.send_modify(|waiting| *waiting -= 1);
            if door == Door::Dismissed {
                return Err(Error::new(ErrorKind::Unreachable, "read", name, self.location()));
            }
        }
        self.inner.get_range(name, range).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.inner.put_new(name, bytes).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        self.inner.list(prefix).await
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        self.inner.head(name).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name).await
    }

    async fn extend_lock(&self, name: &str) -> bygone::store::Result<()> {
        self.inner.extend_lock(name).await
    }
}

/// A file of 80 MiB behind a gate, none of it in memory.
struct Gated {
    gate: Arc<Gate>,
    chunks: Arc<Chunks>,
    pieces: Vec<(u64, ChunkRef)>,
    content: Vec<u8>,
}

impl Gated {
    async fn new(house: &House, content: Vec<u8>) -> Gated {
        let gate = Gate::new(house.repo.store().clone());
        let (repo, log) = Repo::open_with_log(gate.clone(), &password()).await.unwrap();
        let chunks = Chunks::new(&repo, &ChunksOptions { memory_bytes: 256 << 20 });
        let browse = Browse::open(&chunks, &log, log.snapshots().last().unwrap());
        let path = house.source().canonicalize().unwrap().join("large");
        let found = browse.get(path.to_str().unwrap().trim_start_matches('/').as_bytes()).await.unwrap().unwrap();
        let pieces = browse.pieces(&found.node().content, 0..content.len() as u64).await.unwrap();
        let data = |piece: Piece| match piece.extent {
            Extent::Data(chunk) => Some((piece.offset, chunk)),
            Extent::Hole(_) => None,
        };
        Gated { gate, chunks, pieces: pieces.into_iter().filter_map(data).collect(), content }
    }

    /// Asks for what lies before an offset, without waiting for it.
    fn fetch_ahead(&self, until: u64) {
        let before = self.pieces.iter().filter(|(offset, _)| *offset < until);
        self.chunks.fetch_ahead(&before.map(|(_, chunk)| *chunk).collect::<Vec<_>>());
    }

    fn chunk_at(&self, offset: u64) -> &(u64, ChunkRef) {
        self.pieces.iter().rev().find(|(start, _)| *start <= offset).unwrap()
    }

    /// Reads the chunk at an offset now.
    async fn read(&self, offset: u64) {
        let (start, chunk) = self.chunk_at(offset);
        let read = tokio::time::timeout(Duration::from_secs(60), self.chunks.data(chunk));
        let bytes = read.await.expect("it waits for nobody").unwrap();
        assert!(bytes == self.content[*start as usize..*start as usize + bytes.len()]);
    }
}

fn house_with_large(content: &[u8]) -> House {
    let house = House::new();
    fs::write(house.source().join("large"), content).unwrap();
    house.backup();
    house
}

/// Waits until nothing is under way.
async fn settled() {
    while Handle::current().metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_lies_behind_a_read_inside_a_disk_is_fetched_and_decoded() {
    let content = noise(5, 16 << 20);
    let house = house_with_large(&content);
    house.runtime.block_on(async {
        let browse = open_latest(&house.repo).await;
        let path = house.source().canonicalize().unwrap().join("large");
        let found = browse.get(path.to_str().unwrap().trim_start_matches('/').as_bytes()).await.unwrap().unwrap();
        let image = ImageAt { rank: found.rank, node: found.node(), is_raw: true };
        let inside = Inside::new(&browse, image, None, &[]);
        let (whole, step) = (0..content.len() as u64, READ_BYTES as usize);
        let (mut waited, mut read) = (0, Vec::new());
        while read.len() < content.len() {
            let at = read.len() as u64;
            match inside.read_raw_now(&whole, at, step) {
                Some(bytes) => read.extend(bytes.unwrap()),
                None => {
                    waited += 1;
                    read.extend(inside.read_raw(&whole, at, step).await.unwrap());
                }
            }
            settled().await;
        }
        assert!(read == content);
        // The first two, and the next: only then are there bytes to decode. Chunks this large are not decoded while the system waits.
        assert!(waited <= 4, "{waited} reads of {} had to wait", content.len() / step);
    });
}

#[test]
fn demand_is_not_queued_behind_what_nobody_waits_for() {
    let content = noise(3, 80 << 20);
    let house = house_with_large(&content);
    house.runtime.block_on(async {
        let gated = Gated::new(&house, content).await;
        gated.gate.set(Door::Closed);
        gated.fetch_ahead(60 << 20);
        gated.gate.until_waiting(8).await;
        // Nobody has asked for this; it comes while all eight wait.
        gated.read(75 << 20).await;
        assert_eq!(*gated.gate.waiting.borrow(), 8, "no more than eight at once");
        // The others stand in the queue, whichever came first; as soon as somebody waits for one, it goes.
        let readers: Vec<_> = (0..60)
            .map(|i| {
                let offset = i << 20;
                let (chunks, queued) = (gated.chunks.clone(), gated.chunk_at(offset).1);
                tokio::spawn(async move { chunks.data(&queued).await })
            })
            .collect();
        gated.gate.until_waiting(9).await;
        gated.gate.set(Door::Open);
        for reader in readers {
            reader.await.unwrap().unwrap();
        }
        for offset in (0..80).map(|i| i << 20) {
            gated.read(offset).await;
        }
    });
}

#[test]
fn the_failure_of_what_nobody_waited_for_is_nobodys_error() {
    let content = noise(4, 40 << 20);
    let house = house_with_large(&content);
    house.runtime.block_on(async {
        let gated = Gated::new(&house, content).await;
        gated.gate.set(Door::Closed);
        gated.fetch_ahead(20 << 20);
        gated.gate.until_waiting(4).await;
        let joined: Vec<ChunkRef> = [0, 5 << 20, 9 << 20].map(|offset| gated.chunk_at(offset).1).to_vec();
        let readers: Vec<_> = joined
            .into_iter()
            .map(|chunk| {
                let reading = gated.chunks.begin_data(&chunk);
                tokio::spawn(reading)
            })
            .collect();
        gated.gate.until_waiting(5).await;
        gated.gate.set(Door::Dismissed);
        for reader in readers {
            reader.await.unwrap().unwrap();
        }
        for offset in (0..40).map(|i| i << 20) {
            gated.read(offset).await;
        }
    });
}

#[test]
fn many_readers_in_little_memory_fetch_little_twice() {
    const READERS: u64 = 32;
    const FILE_BYTES: usize = 3 << 20;
    let house = House::new();
    for file in 0..READERS {
        fs::write(house.source().join(format!("{file:02}")), noise(file, FILE_BYTES)).unwrap();
    }
    house.backup();
    house.runtime.block_on(async {
        // What a drive has for a cloud, and what is hardly enough for what each is reading just now.
        for (memory_bytes, times) in [(224 << 20, 2), (64 << 20, 4)] {
            let far = open_far_within(&house, memory_bytes).await;
            let files = far.files(ROOT).await;
            far.content_requests();
            for at in (0..FILE_BYTES).step_by(READ_BYTES as usize) {
                for (file, (_, ino, _)) in files.iter().enumerate() {
                    let bytes = far.drive.read(*ino, at as u64, READ_BYTES, Caller::default()).wait().await.unwrap();
                    assert!(bytes == noise(file as u64, FILE_BYTES)[at..at + READ_BYTES as usize]);
                }
            }
            let fetched: u64 = far.content_requests().iter().map(|request| request.bytes).sum();
            let wanted = READERS * FILE_BYTES as u64;
            assert!(fetched <= times * wanted, "{fetched} bytes for {wanted} with {memory_bytes} of memory");
        }
    });
}

struct Far {
    store: Arc<Counted>,
    drive: Arc<dyn Drive>,
}

/// The newest snapshot as a drive, nothing cached, on a store 60 ms away.
async fn open_far(house: &House) -> Far {
    open_far_within(house, 256 << 20).await
}

/// The same with so much memory.
async fn open_far_within(house: &House, memory_bytes: usize) -> Far {
    let store = Counted::with_log(Latency::new(house.repo.store().clone(), Duration::from_millis(60)));
    let (repo, log) = Repo::open_with_log(store.clone(), &password()).await.unwrap();
    let chunks = Chunks::new(&repo, &ChunksOptions { memory_bytes });
    let browse = Browse::open(&chunks, &log, log.snapshots().last().unwrap());
    let base = house.source().canonicalize().unwrap();
    let base = base.to_str().unwrap().trim_start_matches('/');
    let drive = snapshot_drive(browse, base.as_bytes(), &[], DriveOptions::default()).await.unwrap().unwrap();
    Far { store, drive }
}

impl Far {
    /// Files below a folder, in the order in which a copy meets them.
    async fn files(&self, folder: Ino) -> Vec<(Vec<u8>, Ino, u64)> {
        let (mut found, mut cursor) = (Vec::new(), 0);
        loop {
            let listing = self.drive.list(folder, cursor, 1000).wait().await.unwrap();
            for entry in &listing.entries {
                cursor = entry.cursor;
                match entry.attr.kind {
                    FileKind::Folder => found.extend(Box::pin(self.files(entry.attr.ino)).await),
                    _ => found.push((entry.name.clone(), entry.attr.ino, entry.attr.size)),
                }
            }
            if listing.end {
                return found;
            }
        }
    }

    async fn read(&self, ino: Ino, size: u64) -> Vec<u8> {
        let (mut all, caller) = (Vec::new(), Caller::default());
        while (all.len() as u64) < size {
            all.extend(self.drive.read(ino, all.len() as u64, READ_BYTES, caller).wait().await.unwrap());
        }
        all
    }

    /// The requests for content since the last call.
    fn content_requests(&self) -> Vec<Request> {
        let log = self.store.log();
        self.store.reset();
        log
    }
}

#[test]
fn a_large_file_streams_across_packs() {
    let house = House::new();
    let content = noise(1, 100 << 20);
    fs::write(house.source().join("large"), &content).unwrap();
    house.backup();
    house.runtime.block_on(async {
        let far = open_far(&house).await;
        let (_, ino, size) = far.files(ROOT).await[0].clone();
        far.content_requests();
        assert!(far.read(ino, size).await == content);
        let requests = far.content_requests();
        // 1, 2, 4, 8, 16 and 32 MiB, then full windows, and a few pages of extents: 14. Where the processors are busy, decoding is late
        // and so are the next requests; one after the other there would be more than 100.
        assert!(depth(&requests) <= 40, "{} round trips", depth(&requests));
        assert!(requests.len() <= 70, "{} requests", requests.len());
    });
}

#[test]
fn small_files_stream_in_the_order_of_the_tree() {
    let house = House::new();
    for folder in 0..20 {
        let folder = house.source().join(format!("{folder:02}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..100 {
            fs::write(folder.join(format!("{file:03}")), noise(file, 2000 + 10 * file as usize)).unwrap();
        }
    }
    house.backup();
    house.runtime.block_on(async {
        let far = open_far(&house).await;
        let files = far.files(ROOT).await;
        assert_eq!(files.len(), 2000);
        far.content_requests();
        for (name, ino, size) in files {
            let seed: u64 = std::str::from_utf8(&name).unwrap().parse().unwrap();
            assert!(far.read(ino, size).await == noise(seed, 2000 + 10 * seed as usize));
        }
        let requests = far.content_requests();
        assert!(depth(&requests) <= 8, "{} round trips", depth(&requests));
        assert!(requests.len() <= 20, "{} requests", requests.len());
    });
}

#[test]
fn who_jumps_about_fetches_only_what_he_reads() {
    let house = House::new();
    let content = noise(2, 64 << 20);
    fs::write(house.source().join("large"), &content).unwrap();
    house.backup();
    house.runtime.block_on(async {
        let far = open_far(&house).await;
        let (_, ino, _) = far.files(ROOT).await[0].clone();
        far.drive.read(ino, 0, 4096, Caller::default()).wait().await.unwrap();
        far.content_requests();
        let offsets: Vec<u64> = (1..=40u64).map(|i| i * 7_919 * 4096 % (64 << 20)).collect();
        for &offset in &offsets {
            let bytes = far.drive.read(ino, offset, 4096, Caller::default()).wait().await.unwrap();
            assert!(bytes == content[offset as usize..offset as usize + 4096]);
        }
        let read: u64 = far.content_requests().iter().map(|request| request.bytes).sum();
        let each = read / offsets.len() as u64;
        assert!(each <= 450 << 10, "{each} bytes for a random read");
    });
}
