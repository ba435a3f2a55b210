//! The chunk cache among processes that are killed, on damaged files and on disks without room.

use crate::cache::PATIENCE;
use crate::cache::Place;
use crate::cache::body_of;
use crate::cache::has;
use crate::cache::keep;
use crate::cache::pack;
use crate::cache::run;
use crate::cache::sealed;
use crate::cache::segments;
use bygone::cache::Cache;
use bygone::cache::Class;
use bygone::cache::Error;
use bygone::cache::LIMIT_BYTES_MIN;
use bygone::cache::Options;
use bygone::cache::RUN_SEGMENTS;
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

// -- several processes

/// Set for the copy of this program that fills a cache until it is killed.
const FILLS: &str = "BYGONE_TEST_FILLS_CACHE";

/// Not a test of its own: what another process does in the next one.
#[test]
fn filling_until_killed() {
    let Some(folder) = std::env::var_os(FILLS) else { return };
    let cache = Cache::open(Path::new(&folder), &Options::default()).unwrap();
    println!("begun");
    churn(&cache, u64::from(std::process::id()), |_| false);
}

fn start_filling(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "cache_trouble::filling_until_killed", "--nocapture"]).env(FILLS, folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.contains("begun")), "it fills");
    child
}

/// Writes, reads and forgets at random as fast as it can, until it is told to stop. What it reads is right, or is
/// forgotten as the repository would; returns how often each was so.
fn churn(cache: &Cache, seed: u64, stop: impl Fn(u64) -> bool) -> (u64, u64) {
    let (mut right, mut wrong) = (0, 0);
    for step in 0.. {
        if stop(step) {
            break;
        }
        let dice = blake3::hash(&[seed.to_le_bytes(), u64::to_le_bytes(step)].concat());
        let dice = dice.as_bytes();
        let (number, at) = (u64::from(dice[0] % 8), u64::from(dice[1] % 32));
        match dice[2] % 8 {
            0..4 => cache.keep(pack(number), Class::Data, at * RUN_SEGMENTS, run(number, at)),
            4 => cache.keep(
                pack(number + 100),
                Class::Metadata,
                at * RUN_SEGMENTS + 1,
                body_of(number + 100, at * 4 + 1..at * 4 + 3),
            ),
            5 => cache.keep_object("s3://a", &format!("{at}"), vec![dice[3]; usize::from(dice[4]) << 8].into()),
            _ => {
                let wanted = segments(at);
                for (segment, found) in wanted.clone().zip(cache.read(pack(number), wanted)) {
                    match found {
                        Some(found) if found == sealed(number, segment) => right += 1,
                        Some(_) => {
                            wrong += 1;
                            cache.forget(pack(number), segment..segment + 1);
                        }
                        None => {}
                    }
                }
                if dice[5] == 0 {
                    assert!(cache.flush(PATIENCE));
                }
            }
        }
    }
    (right, wrong)
}

#[test]
fn the_bound_holds_whoever_writes_and_is_killed() {
    let (place, cache) = Place::with_limit(40 << 20);
    let over = AtomicBool::new(false);
    let largest = AtomicU64::new(0);
    let handles: Vec<_> = (0..2).map(|_| place.open()).collect();
    let (mut right, mut wrong) = (0, 0);
    std::thread::scope(|scope| {
        let fillers: Vec<_> = (0u64..)
            .zip(&handles)
            .map(|(seed, cache)| {
                let over = &over;
                scope.spawn(move || churn(cache, seed + 1, |_| over.load(Ordering::Relaxed)))
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                largest.fetch_max(place.disk_bytes(), Ordering::Relaxed);
            }
        });
        for _ in 0..8 {
            let mut other = start_filling(&place.folder);
            // Killed in the middle of whatever it does, once enough has happened.
            let before = cache.status().unwrap().runs + handles[0].stats().bytes_kept;
            while handles[0].stats().bytes_kept < before + (8 << 20) {
                std::thread::yield_now();
            }
            other.kill().unwrap();
            other.wait().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        for filler in fillers {
            let seen = filler.join().unwrap();
            (right, wrong) = (right + seen.0, wrong + seen.1);
        }
    });
    assert!(handles.iter().all(|cache| cache.flush(PATIENCE)));
    let largest = largest.into_inner().max(place.disk_bytes());
    println!("{right} segments right, {wrong} in other hands; at most {largest} bytes on disk");
    assert!(largest <= 40 << 20, "{largest}");
    assert!(right > 100 && largest > 30 << 20, "{right} {largest}");
    assert!(wrong < right, "{wrong} of {right}");
    assert!(has_any(&cache));
}

fn has_any(cache: &Cache) -> bool {
    (0..8).any(|number| cache.holds(pack(number), 0..128).contains(&true))
}

// -- damage

#[test]
fn a_deleted_folder_is_made_anew() {
    let place = Place::new();
    let (cache, other) = (place.open(), place.open());
    keep(&cache, 1, 0, Class::Data);
    for round in 1..4 {
        fs::remove_dir_all(&place.folder).unwrap();
        keep(&cache, 1, round, Class::Data);
        keep(&other, 2, round, Class::Data);
        assert!(has(&cache, 1, round) && has(&cache, 2, round) && has(&other, 1, round) && has(&other, 2, round));
        assert!(!has(&other, 1, round - 1), "it went with the folder");
    }
    for name in ["slots", "cache.sqlite", "cache.sqlite-wal", "CACHEDIR.TAG"] {
        fs::remove_file(place.folder.join(name)).unwrap();
        keep(&cache, 5, 0, Class::Data);
        keep(&other, 6, 0, Class::Data);
        drop(place.open());
        keep(&cache, 7, 0, Class::Data);
        assert!(has(&cache, 7, 0) || cache.status().unwrap().runs == 0, "{name}");
    }
}

/// Whatever is in the files: no error, no panic, nothing that was not kept under that name; and the cache mends itself.
#[test]
fn damage_anywhere_is_a_miss() {
    let (place, cache) = Place::with_limit(LIMIT_BYTES_MIN);
    for at in 0..20 {
        keep(&cache, 1, at, if at % 4 == 0 { Class::Metadata } else { Class::Data });
        cache.keep_object("s3://a", &format!("{at}"), vec![at as u8; 3000].into());
    }
    cache.pin("x", "s3://b", 1, &[(pack(1), 0..8)]).unwrap();
    assert!(cache.flush(PATIENCE));
    drop(cache);
    let names = ["cache.sqlite", "slots"];
    let whole = names.map(|name| fs::read(place.folder.join(name)).unwrap());
    let mut survived = 0;
    for round in 0..150u64 {
        for (name, whole) in names.iter().zip(&whole) {
            fs::write(place.folder.join(name), whole).unwrap();
        }
        let dice = blake3::hash(&round.to_le_bytes());
        let mut dice = dice.as_bytes().as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || dice.next().unwrap();
        let victim = if round % 5 == 4 { 1 } else { 0 };
        let (name, len) = (place.folder.join(names[victim]), whole[victim].len() as u64);
        let file = fs::File::options().write(true).open(&name).unwrap();
        // With a reader that has it open, or before anybody has; a few bytes, a page, or the end cut off.
        let early = (round % 2 == 0).then(|| place.open());
        match round % 3 {
            0 => file.write_all_at(&next().to_le_bytes(), next() % len).unwrap(),
            1 => file.write_all_at(&[next() as u8; 4096], next() % len / 4096 * 4096).unwrap(),
            _ => file.set_len(next() % len).unwrap(),
        }
        let cache = early.unwrap_or_else(|| place.open());
        let mut all_there = true;
        for at in 0..20 {
            for (segment, found) in segments(at).zip(cache.read(pack(1), segments(at))) {
                let is_right = found.as_deref() == Some(&sealed(1, segment)[..]);
                if !is_right && found.is_some() {
                    cache.forget(pack(1), segment..segment + 1);
                }
                all_there &= is_right;
            }
            let object = cache.object("s3://a", &format!("{at}"));
            assert!(object.is_none_or(|object| object == vec![at as u8; 3000]), "round {round}");
        }
        survived += u32::from(all_there);
        cache.keep(pack(9), Class::Data, 0, run(9, 0));
        cache.flush(PATIENCE);
        // It is emptied with the next that is kept, at the latest.
        let _busy_mending = cache.status();
        cache.keep(pack(9), Class::Data, 0, run(9, 0));
        assert!(cache.flush(PATIENCE));
        drop(cache);
        let cache = place.open();
        cache.keep(pack(8), Class::Data, 0, run(8, 0));
        assert!(cache.flush(PATIENCE));
        assert!(has(&cache, 8, 0), "round {round} has not mended");
        assert!(place.disk_bytes() <= LIMIT_BYTES_MIN + cache.status().unwrap().pinned_bytes, "round {round}");
    }
    assert!((10..150).contains(&survived), "{survived} of 150 had nothing to mend");
}

// -- disks

/// A small disk in memory; unmounted when dropped. `None` where nobody may mount.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(options: &str) -> Option<SmallDisk> {
        let at = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at.path());
        mount.output().unwrap().status.success().then_some(SmallDisk(at))
    }

    fn fill(&self, bytes: usize) {
        // As much of it as there is room for.
        let _full = fs::write(self.0.path().join("others"), vec![1; bytes]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().unwrap();
    }
}

#[test]
fn a_twentieth_of_the_disk_stays_free_and_a_full_one_is_no_error() {
    let Some(disk) = SmallDisk::new("size=100m") else {
        println!("Skipped: mounting takes root");
        return;
    };
    let folder = disk.0.path().join("cache");
    let cache = Cache::open(&folder, &Options::default()).unwrap();
    assert_eq!(cache.limit().unwrap(), LIMIT_BYTES_MIN.max((100 << 20) / 10));
    cache.set_limit(1 << 30).unwrap();
    let free = || {
        let disk = rustix::fs::statvfs(disk.0.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    let twentieth = (100 << 20) / 20;
    for at in 0..500 {
        keep(&cache, 1, at, Class::Data);
        assert!(free() >= twentieth, "{at}: {}", free());
    }
    assert!(free() < twentieth + (10 << 20), "{}", free());
    assert!(has(&cache, 1, 499) && has(&cache, 1, 300) && !has(&cache, 1, 0));
    // Pins stop there as well, and say so.
    cache.pin("x", "s3://a", 1, &[]).unwrap();
    let kept = (0..500)
        .take_while(|at| cache.write_pinned("x", pack(2), Class::Data, at * RUN_SEGMENTS, &run(2, *at)).is_ok());
    let kept = kept.count() as u64;
    assert!((200..500).contains(&kept) && has(&cache, 2, kept - 1), "{kept}");
    let full = cache.write_pinned("x", pack(2), Class::Data, kept * RUN_SEGMENTS, &run(2, kept)).unwrap_err();
    assert!(matches!(full, Error::DiskShort { .. }), "{full}");
    assert!(free() >= twentieth);
    cache.unpin("x").unwrap();
    // Others fill the disk to the brim: the cache makes room with the next thing it is given.
    disk.fill(30 << 20);
    assert!(free() < twentieth);
    keep(&cache, 3, 0, Class::Data);
    assert!(free() >= twentieth, "{}", free());
    disk.fill(200 << 20);
    for at in 0..20 {
        keep(&cache, 4, at, Class::Data);
        let _whatever_it_finds = has(&cache, 4, at);
    }
    drop(cache);
    disk.fill(200 << 20);
    // Not even the database fits: the caller goes on without.
    let full = Cache::open(&disk.0.path().join("another"), &Options::default());
    assert!(full.is_err());
    fs::remove_file(disk.0.path().join("others")).unwrap();
    let cache = Cache::open(&folder, &Options::default()).unwrap();
    keep(&cache, 5, 0, Class::Data);
    assert!(has(&cache, 5, 0));
    drop(cache);
    // Nothing can be written at all: the caller goes on without.
    let remount = |options: &str| {
        let status = Command::new("mount").args(["-o", options]).arg(disk.0.path()).status().unwrap();
        assert!(status.success(), "{options}");
    };
    remount("remount,ro");
    assert!(Cache::open(&folder, &Options::default()).is_err());
    remount("remount,rw");
    assert!(has(&Cache::open(&folder, &Options::default()).unwrap(), 5, 0));
}
