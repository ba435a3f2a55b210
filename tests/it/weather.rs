//! Many readers of one drive at once, in bad weather, with hardly any memory and a cache that is too small for all of
//! it: a read may fail while the weather lasts, but what comes is right.

use crate::cache::disk_bytes;
use crate::drive::Mounted;
use crate::drive::attach;
use crate::drive::expect_equal;
use crate::house::House;
use crate::house::noise;
use crate::house::password;
use crate::link::Line;
use crate::link::Link;
use crate::link::Way;
use crate::s3::s3;
use crate::servers::moto;
use bygone::browse::Browse;
use bygone::cache;
use bygone::cache::Cache;
use bygone::drive::DriveOptions;
use bygone::drive::snapshot_drive;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Freshness;
use bygone::repo::Memory;
use bygone::repo::Repo;
use bygone::store::AnyStore;
use bygone::store::ErrorKind;
use bygone::store::Fault;
use bygone::store::Faulty;
use bygone::store::Latency;
use rustix::fs::Advice;
use rustix::fs::fadvise;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const MIB: usize = 1 << 20;
const CACHE_BYTES: u64 = 16 << 20;
const READERS: u64 = 8;
/// How often one read is tried: one request in eight fails, and a read needs a few.
const TRIES: usize = 40;

/// The same numbers for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 += 1;
        let bytes = blake3::hash(&self.0.to_le_bytes());
        u64::from_le_bytes(bytes.as_bytes()[..8].try_into().unwrap()) % limit.max(1)
    }

    fn of(seed: u64) -> Dice {
        Dice(seed << 32)
    }
}

/// Files of all lengths, one with holes, and many small ones.
fn fill(root: &Path, largest: usize) {
    for (i, len) in [0, 1, 4095, 65_536, 65_537, 300_000, MIB, 5 * MIB + 3, largest].into_iter().enumerate() {
        fs::write(root.join(format!("{i} of {len}")), noise(i as u64, len)).unwrap();
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 * largest as u64 + 12_345).unwrap();
    for i in 0..6 {
        sparse.write_all_at(&noise(50 + i, 250_000), i * largest as u64 / 2 + 777 * i).unwrap();
    }
    for d in 0..6 {
        let folder = root.join(format!("folder {d}"));
        fs::create_dir(&folder).unwrap();
        for f in 0..50u64 {
            let len = Dice::of(d * 100 + f).below(9_000) as usize;
            fs::write(folder.join(format!("{f:02}")), noise(1_000 + d * 100 + f, len)).unwrap();
        }
    }
}

/// Paths of the files below a folder, in the order of the tree.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.into_iter().flat_map(below).collect()
}

/// Mounts the newest snapshot through this store and a cache, with hardly any memory.
fn mount(house: &House, store: AnyStore, cache: &Path) -> Mounted {
    let base = house.source().canonicalize().unwrap();
    let base = base.to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    let options = cache::Options { limit: Some(CACHE_BYTES), ..cache::Options::default() };
    let memory = Memory { cache: Cache::open(cache, &options).unwrap(), freshness: Freshness::Newest };
    let drive = house.runtime.block_on(async {
        let (repo, log) = Repo::open_remembered(store, &memory, &password()).await.unwrap();
        let chunks = Chunks::new(&repo, &ChunksOptions { memory_bytes: 8 << 20 });
        let browse = Browse::open(&chunks, &log, log.snapshots().last().unwrap());
        snapshot_drive(browse, &base, &[], DriveOptions::default()).await.unwrap().unwrap()
    });
    attach(house, drive)
}

/// A source and the drive that shows it.
#[derive(Clone, Copy)]
struct Twins<'a> {
    source: &'a Path,
    drive: &'a Path,
    failed: &'a AtomicU64,
}

impl Twins<'_> {
    /// Tries until it succeeds. Nothing but the failure of one read may come of the weather.
    fn patiently<T>(&self, path: &Path, attempt: impl Fn() -> io::Result<T>) -> T {
        for _ in 0..TRIES {
            match attempt() {
                Ok(done) => return done,
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(5), "{}: {error}", path.display());
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        panic!("{} cannot be read", path.display())
    }

    /// Reads a part of a file in both; nothing of it stays in memory.
    fn compare(&self, source: &Path, offset: u64, len: usize) {
        let shown = self.drive.join(source.strip_prefix(self.source).unwrap());
        let expected = read_part(&File::open(source).unwrap(), offset, len).unwrap();
        let found = self.patiently(&shown, || {
            let file = File::open(&shown)?;
            let found = read_part(&file, offset, len);
            fadvise(&file, 0, None, Advice::DontNeed)?;
            found
        });
        assert!(found == expected, "{} from {offset}, {len} bytes", shown.display());
    }

    /// Reads anything anywhere.
    fn roam(&self, all: &[PathBuf], seed: u64, reads: usize) {
        let mut dice = Dice::of(seed);
        for _ in 0..reads {
            let path = &all[dice.below(all.len() as u64) as usize];
            let size = fs::metadata(path).unwrap().len();
            // Now and then across the end, or behind it.
            let offset =
                if dice.below(8) == 0 { size.saturating_sub(dice.below(100_000)) } else { dice.below(size + 9) };
            let len = 1 << dice.below(20);
            self.compare(path, offset, len + dice.below(len as u64) as usize);
        }
    }

    /// Reads a file from its beginning to its end.
    fn stream(&self, path: &Path) {
        let size = fs::metadata(path).unwrap().len();
        (0..=size).step_by(256 << 10).for_each(|offset| self.compare(path, offset, 256 << 10));
    }
}

/// Up to `len` bytes from an offset: fewer at the end of the file.
pub(crate) fn read_part(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let (mut all, mut at) = (vec![0; len], 0);
    while at < len {
        match file.read_at(&mut all[at..], offset + at as u64)? {
            0 => break,
            more => at += more,
        }
    }
    all.truncate(at);
    Ok(all)
}

#[test]
fn every_byte_is_right_whatever_the_store_does() {
    let house = House::new();
    fill(&house.source(), 40 * MIB);
    house.backup();
    let is_fair = Arc::new(AtomicBool::new(true));
    let faults = Arc::new(AtomicU64::new(0));
    let (fair, counted) = (is_fair.clone(), faults.clone());
    let store = Faulty::new(house.repo.store().clone(), move |asked| {
        let fault = match Dice::of(asked.number).below(1000) {
            _ if fair.load(Ordering::Relaxed) => Fault::None,
            0..40 => Fault::Before(ErrorKind::Unreachable),
            40..60 => Fault::After(ErrorKind::Unreachable),
            60..90 => Fault::Torn,
            90..120 => Fault::Flipped,
            _ => Fault::None,
        };
        counted.fetch_add(u64::from(fault != Fault::None), Ordering::Relaxed);
        fault
    });
    let cache = house.folder.path().join("cache");
    let mounted = mount(&house, Latency::new(store.clone(), Duration::from_millis(2)), &cache);
    is_fair.store(false, Ordering::Relaxed);
    let (source, failed) = (house.source(), AtomicU64::new(0));
    let twins = Twins { source: &source, drive: &mounted.at, failed: &failed };
    let all = files(&source);
    thread::scope(|scope| {
        let all = &all;
        (0..READERS).for_each(|seed| drop(scope.spawn(move || twins.roam(all, seed, 80))));
        scope.spawn(move || {
            all.iter().filter(|path| path.ends_with("8 of 41943040")).for_each(|path| twins.stream(path))
        });
        scope.spawn(move || all.iter().filter(|path| path.ends_with("sparse")).for_each(|path| twins.stream(path)));
        // As a copy would, in the order of the tree.
        scope.spawn(move || all.iter().for_each(|path| twins.compare(path, 0, 9_000)));
    });
    assert!(faults.load(Ordering::Relaxed) >= 20, "{faults:?} faults in {} requests", store.requests());
    assert!(disk_bytes(&cache) <= CACHE_BYTES);
    is_fair.store(true, Ordering::Relaxed);
    // Nothing of it stays: not in memory, not on disk.
    expect_equal(&source, &mounted.at);
    drop(mounted);
    let mounted = mount(&house, house.repo.store().clone(), &cache);
    expect_equal(&source, &mounted.at);
    println!("{faults:?} faults in {} requests, {failed:?} reads failed", store.requests());
}

#[test]
fn copies_and_readers_go_on_over_a_network_that_breaks() {
    let server = moto();
    let house = House::with_store(tempfile::tempdir().unwrap(), s3(&server.url(), "weather", 0));
    fill(&house.source(), 12 * MIB);
    house.backup();
    let link = Link::to(server.address(), Line { delay: Duration::from_millis(2), ..Line::default() });
    let cache = house.folder.path().join("cache");
    let mounted = mount(&house, s3(&link.url(), "weather", 120), &cache);
    let (source, failed, is_over) = (house.source(), AtomicU64::new(0), AtomicBool::new(false));
    let twins = Twins { source: &source, drive: &mounted.at, failed: &failed };
    let all = files(&source);
    let copy = house.folder.path().join("copy");
    thread::scope(|scope| {
        let (all, copy, drive) = (&all, &copy, &mounted.at);
        scope.spawn(|| trouble(&link, &is_over));
        let mut readers: Vec<_> =
            (0..READERS).map(|seed| scope.spawn(move || twins.roam(all, 100 + seed, 12))).collect();
        readers.push(scope.spawn(move || {
            let copied = Command::new("cp").args(["-r", drive.to_str().unwrap(), copy.to_str().unwrap()]).status();
            assert!(copied.unwrap().success());
        }));
        let ended: Vec<_> = readers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.into_iter().all(|reader| reader.is_ok()));
    });
    assert_eq!(failed.into_inner(), 0, "who is patient sees no error");
    assert!(link.counts().cuts + link.counts().answered >= 4, "{:?}", link.counts());
    assert!(disk_bytes(&cache) <= CACHE_BYTES);
    link.mend();
    for path in &all {
        let copied = copy.join(path.strip_prefix(&source).unwrap());
        assert!(fs::read(path).unwrap() == fs::read(copied).unwrap(), "{}", path.display());
    }
}

/// Resets, broken bodies and refusals by turns, each after a few more requests.
fn trouble(link: &Link, is_over: &AtomicBool) {
    let mut next = link.counts().requests + 5;
    for turn in 0.. {
        while link.counts().requests < next {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        match turn % 3 {
            0 => link.answer(3, 503, "", "<Error><Code>SlowDown</Code></Error>"),
            1 => link.cut_after(Way::Down, 700_000, 2),
            _ => link.reset(),
        }
        next = link.counts().requests + 12;
    }
}
