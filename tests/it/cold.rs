//! What it takes to open a drive with nothing cached: the same for any number of files and snapshots.

use crate::house::House;
use crate::house::password;
use crate::synth;
use bygone::browse::Browse;
use bygone::drive::DriveOptions;
use bygone::drive::snapshot_drive;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Repo;
use bygone::store::Counted;
use bygone::store::Latency;
use bygone::store::depth;
use bygone_mount::drive::ROOT;
use std::time::Duration;

/// Opens the newest snapshot as a drive and lists its root, on a recorded store.
fn open_cold(files: u64, snapshots: u64) {
    let house = House::new();
    synth::commit(&house, files, snapshots);
    // Requests made together must overlap, as they do over a network, for their depth to be seen.
    let store = Counted::with_log(Latency::new(house.repo.store().clone(), Duration::from_millis(100)));
    house.runtime.block_on(async {
        let (repo, log) = Repo::open_with_log(store.clone(), &password()).await.unwrap();
        assert!(log.problems.is_empty());
        let found = log.snapshots();
        assert_eq!(found.len() as u64, snapshots);
        let chunks = Chunks::new(&repo, &ChunksOptions::default());
        let browse = Browse::open(&chunks, &log, found.last().unwrap());
        let drive = snapshot_drive(browse, b"", &[], DriveOptions::default()).await.unwrap().unwrap();
        let listing = drive.list(ROOT, 0, 100).wait().await.unwrap();
        assert_eq!(listing.entries.len() as u64, files.div_ceil(100).min(100));
        assert_eq!(drive.volume().nodes, 1 + files + files.div_ceil(100));
    });
    let (totals, log) = (store.totals(), store.log());
    println!(
        "{files} files, {snapshots} snapshots: {} round trips, {} requests, {} bytes",
        depth(&log),
        totals.requests,
        totals.bytes_read
    );
    assert!(depth(&log) <= 4, "{log:#?}");
    assert!(totals.requests <= 10, "{log:#?}");
    assert!(totals.bytes_read <= 1_000_000, "{log:#?}");
}

#[test]
fn a_thousand_files() {
    open_cold(1_000, 1);
}

#[test]
fn a_million_files() {
    open_cold(1_000_000, 1);
}

#[test]
fn five_hundred_snapshots() {
    open_cold(1_000, 500);
}

#[test]
fn many_snapshots_of_many_files() {
    open_cold(60_000, 35);
}
