//! Snapshots whose pages and contents a prune has moved: hints in old pages stay as they are, and a drive is as good as before.

use crate::drive::Mounted;
use crate::drive::attach;
use crate::drive::expect_equal;
use crate::house::House;
use crate::house::noise;
use crate::house::password;
use crate::program::Program;
use bygone::browse::Browse;
use bygone::drive::DriveOptions;
use bygone::drive::snapshot_drive;
use bygone::meta::Time;
use bygone::monitor::Collect;
use bygone::prune;
use bygone::prune::Options;
use bygone::prune::Unused;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Log;
use bygone::repo::Repo;
use bygone::store::Counted;
use bygone::store::Latency;
use bygone::store::Verb;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

const FOLDERS: u64 = 60;
const FILES: u64 = 60;

/// Three backups, each of less.
fn three() -> House {
    let house = House::new();
    let source = house.source();
    for folder in 0..FOLDERS {
        fs::create_dir(source.join(folder.to_string())).unwrap();
        for file in 0..FILES {
            fs::write(source.join(format!("{folder}/{file}")), noise(folder * 1000 + file, 3000)).unwrap();
        }
    }
    house.backup();
    let remove = |folder: u64, is_gone: &dyn Fn(u64) -> bool| {
        for file in (0..FILES).filter(|file| is_gone(*file)) {
            fs::remove_file(source.join(format!("{folder}/{file}"))).unwrap();
        }
    };
    (0..FOLDERS).for_each(|folder| remove(folder, &|file| file % 3 == 0));
    house.backup();
    (0..FOLDERS / 2).for_each(|folder| remove(folder, &|file| file % 3 == 1));
    house.backup();
    house
}

/// Forgets the oldest ones, and moves what is left of their packs.
fn forget_and_prune(house: &House, count: usize) {
    let now = Time { secs: jiff::Timestamp::now().as_second(), nanos: 0 };
    let options = Options {
        now,
        grace_secs: 0,
        max_unused: Unused::Bytes(0),
        max_repack_bytes: None,
        despite_log: false,
        dry_run: false,
        scratch: house.folder.path().join("scratch"),
        memory_bytes: 1 << 20,
    };
    house.runtime.block_on(async {
        let snapshots: Vec<_> =
            Log::read(&house.repo).await.unwrap().snapshots().iter().map(|snapshot| snapshot.id).collect();
        Log::forget(&house.repo, house.author(), now, &snapshots[..count]).await.unwrap();
        let monitor = Collect::default();
        let done = prune::prune(&house.repo, house.author(), &options, &monitor, &|_| {}).await.unwrap();
        assert!(done.removed_packs > 0 && done.stored_bytes > 1_000_000, "{done:?}");
    });
}

/// The newest snapshot as a drive, over a store that tells what it was asked for.
fn mount(house: &House) -> (Mounted, Arc<Counted>) {
    let store = Counted::with_log(Latency::new(house.repo.store().clone(), Duration::from_millis(5)));
    let base = house.source().canonicalize().unwrap();
    let base = base.to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    let drive = house.runtime.block_on(async {
        let (repo, log) = Repo::open_with_log(store.clone(), &password()).await.unwrap();
        assert!(log.problems.is_empty());
        let chunks = Chunks::new(&repo, &ChunksOptions { memory_bytes: 64 << 20 });
        let browse = Browse::open(&chunks, &log, log.snapshots().last().unwrap());
        snapshot_drive(browse, &base, &[], DriveOptions::default()).await.unwrap().unwrap()
    });
    (attach(house, drive), store)
}

#[test]
fn a_drive_of_moved_chunks_asks_the_index_and_goes_on_as_before() {
    let house = three();
    forget_and_prune(&house, 2);
    let (mounted, store) = mount(&house);
    expect_equal(&house.source(), &mounted.at);
    let log = store.log();
    let failed: Vec<_> = log.iter().filter(|request| !request.is_ok).collect();
    // What is asked for at the same time may fail at the same time, but nobody fails twice.
    assert!((1..=12).contains(&failed.len()), "{failed:#?}");
    let index = log.iter().filter(|request| request.name.starts_with("index")).count();
    assert!(index <= 4, "{log:#?}");
    let packs = log.iter().filter(|request| request.verb == Verb::Get && request.name.starts_with("packs/")).count();
    assert!(packs <= 60, "{packs} requests: what was moved is fetched ahead as well: {log:#?}");
}

#[test]
fn a_drive_that_stays_open_follows_what_is_moved_again() {
    let house = three();
    forget_and_prune(&house, 1);
    let (mounted, store) = mount(&house);
    let read = |folders: std::ops::Range<u64>| {
        for folder in folders {
            let folder = folder.to_string();
            expect_equal(&house.source().join(&folder), &mounted.at.join(&folder));
        }
    };
    read(FOLDERS - 5..FOLDERS);
    forget_and_prune(&house, 1);
    let before = store.log().len();
    read(0..FOLDERS);
    let log = store.log().split_off(before);
    let failed = log.iter().filter(|request| !request.is_ok).count();
    assert!(failed <= 16, "{failed}: {log:#?}");
    assert!(log.len() <= 90, "{}: {log:#?}", log.len());
}

#[test]
fn moved_chunks_are_pinned_where_they_are_now() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let source = program.source();
    fs::create_dir_all(&source).unwrap();
    (0..60).for_each(|file| fs::write(source.join(file.to_string()), noise(file, 30_000)).unwrap());
    let path = source.to_str().unwrap();
    program.run(&["backup", path]).ok();
    (0..60).step_by(2).for_each(|file| fs::remove_file(source.join(file.to_string())).unwrap());
    program.run(&["backup", path]).ok();
    program.run(&["forget", "--keep-last", "1"]).ok();
    program.run(&["prune", "--grace", "0", "--max-unused", "0%"]).ok();
    let what = program.at("latest", "");
    program.run(&["--cache-size", "1G", "pin", what.trim_end_matches('/')]).ok();
    let packs = program.repository().join("packs");
    fs::rename(&packs, program.repository().join("packs-away")).unwrap();
    let back = program.scratch().join("back");
    program.run(&["--offline", "restore", what.trim_end_matches('/'), "--to", back.to_str().unwrap()]).ok();
    expect_equal(&source, &back);
}
