//! Readers of a store that is far away: who reads on in the order of the tree hardly waits, who jumps about fetches
//! little. Counted on a recorded store, not timed.

use crate::house::House;
use crate::house::noise;
use crate::house::password;
use bygone::browse::Browse;
use bygone::drive::DriveOptions;
use bygone::drive::snapshot_drive;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Repo;
use bygone::store::Counted;
use bygone::store::Latency;
use bygone::store::Request;
use bygone::store::depth;
use bygone_mount::Drive;
use bygone_mount::drive::Caller;
use bygone_mount::drive::FileKind;
use bygone_mount::drive::Ino;
use bygone_mount::drive::ROOT;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// What the kernel asks for at once.
const READ_BYTES: u32 = 128 << 10;

struct Far {
    store: Arc<Counted>,
    drive: Arc<dyn Drive>,
}

/// The newest snapshot as a drive, nothing cached, on a store 20 ms away.
async fn open_far(house: &House) -> Far {
    let store = Counted::with_log(Latency::new(house.repo.store().clone(), Duration::from_millis(20)));
    let (repo, log) = Repo::open_with_log(store.clone(), &password()).await.unwrap();
    let chunks = Chunks::new(&repo, &ChunksOptions { memory_bytes: 256 << 20 });
    let browse = Browse::open(&chunks, &log, log.snapshots().last().unwrap());
    let base = house.source().canonicalize().unwrap();
    let base = base.to_str().unwrap().trim_start_matches('/');
    let drive = snapshot_drive(browse, base.as_bytes(), DriveOptions::default()).await.unwrap().unwrap();
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
        // 1, 2, 4, 8, 16 and 32 MiB, then full windows, and a few pages of extents.
        assert!(depth(&requests) <= 14, "{} round trips", depth(&requests));
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
