//! Stores, sources and disks that fail: what was stored before stays as it was, and the next run makes up for it.

use crate::damage::needs_of;
use crate::drive::mount_latest;
use crate::house::House;
use crate::house::noise;
use crate::house::open_store;
use crate::house::password;
use crate::program::Program;
use crate::truth::Objects;
use crate::truth::Said;
use crate::truth::Told;
use crate::truth::listen;
use bygone::backup;
use bygone::backup::Options;
use bygone::backup::Parent;
use bygone::backup::Summary;
use bygone::browse::Browse;
use bygone::chunker::Sizes;
use bygone::crypto::password::Cost;
use bygone::drive::DriveOptions;
use bygone::drive::snapshot_drive;
use bygone::monitor::Collect;
use bygone::monitor::chain;
use bygone::repo::Author;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::InitOptions;
use bygone::repo::Repo;
use bygone::state::State;
use bygone::store::AnyStore;
use bygone::store::ErrorKind;
use bygone::store::Fault;
use bygone::store::Faulty;
use bygone::store::Verb;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// A repository in memory with one snapshot, and a source that has changed since.
struct Before {
    house: House,
    objects: Arc<Objects>,
    truth: Said,
}

fn fill(root: &Path) {
    for d in 0..3 {
        let folder = root.join(format!("folder {d}"));
        fs::create_dir(&folder).unwrap();
        for f in 0..10 {
            fs::write(folder.join(format!("tiny {f}")), format!("{d} {f}")).unwrap();
        }
        fs::write(folder.join("small"), noise(d, 30_000)).unwrap();
    }
    fs::write(root.join("several chunks"), noise(9, 900_000)).unwrap();
}

impl Before {
    fn new() -> Before {
        let objects = Arc::new(Objects::default());
        let house = House::with_store(tempfile::tempdir().unwrap(), objects.clone());
        fill(&house.source());
        house.backup();
        let truth = house.runtime.block_on(listen(objects.clone())).unwrap();
        assert_eq!((truth.snapshots.len(), truth.complaints().len()), (1, 0));
        fs::write(house.source().join("folder 1/small"), noise(101, 40_000)).unwrap();
        fs::write(house.source().join("new"), noise(102, 600_000)).unwrap();
        fs::remove_dir_all(house.source().join("folder 2")).unwrap();
        Before { house, objects, truth }
    }

    /// A backup through this store, by a machine whose state lies in `state`.
    fn backup(&self, store: AnyStore, state: &Path) -> Result<Summary, backup::Error> {
        let runtime = &self.house.runtime;
        let repo = runtime.block_on(Repo::open(store, &password()))?;
        let state = State::open(state, repo.config().repository).unwrap();
        let author = Author { state: &state, machine: b"test" };
        let options = Options { checkpoint_every: Duration::ZERO, ..self.house.options() };
        let monitor = Collect::default();
        let done = backup::backup(&repo, author, runtime.handle(), options, &monitor);
        assert!(monitor.problems.lock().unwrap().is_empty());
        done
    }

    /// The first snapshot is as it was, and every other is the source as it is now.
    fn expect_whole(&self, objects: &Arc<Objects>, now: &Told, what: &str) -> usize {
        let said = self.house.runtime.block_on(listen(objects.clone())).unwrap();
        assert!(said.complaints().is_empty(), "{what}: {:?}", said.complaints());
        for (id, told) in &said.snapshots {
            match self.truth.snapshots.get(id) {
                Some(truth) => assert!(told == truth, "{what}: the old snapshot changed"),
                None => assert!(below(self, told) == below(self, now), "{what}: the new snapshot is not the source"),
            }
        }
        // No page leads astray: drives would have to load the index.
        let packs = self.house.runtime.block_on(async {
            let repo = Repo::open(objects.clone(), &password()).await.unwrap();
            needs_of(&repo).await.packs()
        });
        let there = objects.names("packs/");
        assert!(packs.iter().all(|pack| there.contains(pack)), "{what}: a page leads to a pack that is not there");
        said.snapshots.len() - 1
    }

    /// The source as a backup without any trouble sees it.
    fn now(&self) -> Told {
        let objects = self.objects.copy();
        let state = tempfile::tempdir().unwrap();
        let summary = self.backup(objects.clone(), state.path()).unwrap();
        let said = self.house.runtime.block_on(listen(objects)).unwrap();
        said.snapshots[&summary.snapshot.unwrap().id].clone()
    }
}

/// What lies below the source: the folders above it change all the time.
fn below(before: &Before, told: &Told) -> BTreeMap<Vec<u8>, blake3::Hash> {
    let source = before.house.source().canonicalize().unwrap();
    let base = source.to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    told.nodes.iter().filter(|(path, _)| path.starts_with(&base)).map(|(path, hash)| (path.clone(), *hash)).collect()
}

#[test]
fn a_store_that_stops_at_any_request() {
    let before = Before::new();
    let now = before.now();
    let (mut stops, mut finished) = (0, false);
    for number in 1.. {
        for after in [false, true] {
            let objects = before.objects.copy();
            let stop = if after { Faulty::stop_after } else { Faulty::stop_at };
            let faulty = stop(objects.clone(), number);
            let state = tempfile::tempdir().unwrap();
            let done = before.backup(faulty.clone(), state.path());
            let what = format!("stopped at request {number}, {}", if after { "after its effect" } else { "before" });
            // A run may be over before the last request it would have made, but never succeed after a failed one.
            finished = done.is_ok();
            assert_eq!(finished, faulty.requests() < number, "{what}");
            let count = before.expect_whole(&objects, &now, &what);
            // A record can stand without having been acknowledged.
            assert!(count == 1 || count == 0 && !finished, "{what}: {count}");
            let again =
                before.backup(objects.clone(), state.path()).unwrap_or_else(|e| panic!("{what}: {}", chain(&e)));
            assert_eq!(before.expect_whole(&objects, &now, &what), count + 1, "{what}");
            assert!(again.figures.problems == 0);
            stops += 1;
        }
        if finished {
            break;
        }
    }
    println!("{stops} stops");
}

#[test]
fn weather_changes_nothing() {
    let before = Before::new();
    let now = before.now();
    let began = Instant::now();
    let (mut requests, mut ended) = (0, 0);
    for seed in 0..200 {
        let objects = before.objects.copy();
        // Each run also reads what the runs before have left, so it must not be too hard to come through.
        let weather = Faulty::weather(objects.clone(), seed, 40);
        let state = tempfile::tempdir().unwrap();
        // Without patience a run ends at the first gust; every run goes on where the last one ended.
        let mut runs = 0;
        while let Err(error) = before.backup(weather.clone(), state.path()) {
            runs += 1;
            assert!(runs < 200, "seed {seed}: {error:?}");
        }
        ended += runs;
        before.expect_whole(&objects, &now, &format!("seed {seed}"));
        requests += weather.requests();
    }
    println!("200 seeds, {requests} requests, {ended} runs cut short, {:?}", began.elapsed());
}

#[test]
fn reading_in_bad_weather_is_right_or_an_error() {
    let before = Before::new();
    let (mut errors, mut read) = (0, 0);
    for seed in 0..200 {
        let plan = move |asked: &bygone::store::Asked<'_>| {
            let random = blake3::hash(format!("{seed} {}", asked.number).as_bytes());
            let [dice, kind, ..] = *random.as_bytes();
            // The first requests open the repository.
            match (asked.number < 6 || dice > 40, kind % 6) {
                (true, _) => Fault::None,
                (_, 0) => Fault::Torn,
                (_, 1) => Fault::Flipped,
                (_, 2) => Fault::Vanished,
                (_, 3) => Fault::Throttled,
                (_, 4) => Fault::After(ErrorKind::Unreachable),
                _ => Fault::Before(ErrorKind::Other),
            }
        };
        let faulty = Faulty::new(before.objects.copy(), plan);
        let Ok(said) = before.house.runtime.block_on(listen(faulty.clone())) else {
            errors += 1;
            continue;
        };
        for (id, told) in &said.snapshots {
            let truth = &before.truth.snapshots[id];
            assert_eq!(told.nodes.len() + told.faults.len(), truth.nodes.len());
            assert!(told.nodes.iter().all(|(path, hash)| truth.nodes[path] == *hash), "seed {seed}: wrong content");
            errors += told.faults.len();
            read += told.nodes.len();
        }
    }
    println!("200 seeds: {read} nodes read, {errors} errors");
    // Torn and turned bits are cured by asking again.
    assert!(errors > 20 && read > 1000);
}

#[test]
fn writing_to_a_store_that_lies_about_lists_and_loses_answers() {
    let before = Before::new();
    let now = before.now();
    let mut failed = 0;
    for seed in 0..60u64 {
        let objects = before.objects.copy();
        let plan = move |asked: &bygone::store::Asked<'_>| {
            let random = blake3::hash(format!("{seed} {}", asked.number).as_bytes());
            let [dice, kind, ..] = *random.as_bytes();
            match (asked.verb, dice > 60, kind % 3) {
                (_, true, _) => Fault::None,
                (Verb::List, _, 0) if asked.name != "keys" => Fault::Torn,
                (Verb::List, _, 1) if asked.name != "keys" => Fault::Vanished,
                (Verb::List, ..) => Fault::Stale(3),
                (Verb::Put, ..) => Fault::After(ErrorKind::Unreachable),
                (Verb::Get, _, 0) if asked.number > 4 => Fault::Torn,
                _ => Fault::None,
            }
        };
        let faulty = Faulty::new(objects.clone(), plan);
        let state = tempfile::tempdir().unwrap();
        failed += usize::from(before.backup(faulty, state.path()).is_err());
        before.backup(objects.clone(), state.path()).unwrap();
        assert!(before.expect_whole(&objects, &now, &format!("seed {seed}")) >= 1);
    }
    println!("60 seeds, {failed} runs failed");
}

// -- a drive on a store that fails

#[test]
fn a_drive_on_damage_fails_where_the_damage_is() {
    let house = House::new();
    let root = house.source();
    fs::create_dir(root.join("first")).unwrap();
    fs::write(root.join("first/lost"), noise(1, 200_000)).unwrap();
    house.backup();
    let is_data = |name: &str| fs::metadata(house.folder.path().join("repository").join(name)).unwrap().len() > 150_000;
    let packs = house.runtime.block_on(house.repo.store().list("packs")).unwrap();
    let lost: Vec<_> = packs.into_iter().filter(|pack| is_data(&pack.name)).collect();
    assert_eq!(lost.len(), 1);
    for i in 0..50 {
        fs::write(root.join(format!("first/healthy {i}")), noise(10 + i, 50_000)).unwrap();
    }
    house.backup();
    let pack = house.folder.path().join("repository").join(&lost[0].name);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let mounted = mount_latest(&house);
    let error = fs::read(mounted.at.join("first/lost")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
    for i in 0..50 {
        assert!(fs::read(mounted.at.join(format!("first/healthy {i}"))).unwrap() == noise(10 + i, 50_000));
    }
    assert_eq!(fs::read_dir(mounted.at.join("first")).unwrap().count(), 51);
    assert_eq!(fs::metadata(mounted.at.join("first/lost")).unwrap().len(), 200_000);
    assert!(rustix::fs::statvfs(&mounted.at).unwrap().f_blocks > 0);
}

/// Readers of a drive that check every byte.
struct Readers<'a> {
    at: &'a Path,
    large: &'a [u8],
    small: &'a [Vec<u8>],
    right: AtomicU64,
    failed: AtomicU64,
}

impl Readers<'_> {
    /// Reads what the seed says: the right bytes, or an error.
    fn read(&self, seed: u64) {
        let dice = blake3::hash(&seed.to_le_bytes());
        let dice = u64::from_le_bytes(dice.as_bytes()[..8].try_into().unwrap());
        let (got, expected) = if dice % 2 == 0 {
            let offset = (dice >> 8) as usize % self.large.len();
            let len = ((dice >> 40) as usize % 200_000).min(self.large.len() - offset);
            let mut got = vec![0; len];
            let file = fs::File::open(self.at.join("large"));
            let read = file.and_then(|file| file.read_exact_at(&mut got, offset as u64));
            (read.map(|()| got), &self.large[offset..offset + len])
        } else {
            let i = (dice >> 8) as usize % self.small.len();
            (fs::read(self.at.join(format!("many/{i}"))), &self.small[i][..])
        };
        match got {
            Ok(got) => {
                assert!(got == expected, "{seed}: wrong bytes");
                self.right.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(5), "{error}");
                self.failed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

#[test]
fn a_drive_in_bad_weather_is_right_or_an_error_and_recovers() {
    let house = House::new();
    let large = noise(1, 12 << 20);
    fs::write(house.source().join("large"), &large).unwrap();
    let small: Vec<_> = (0..100).map(|i| noise(1000 + i, 3_000 + 900 * i as usize)).collect();
    fs::create_dir(house.source().join("many")).unwrap();
    for (i, bytes) in small.iter().enumerate() {
        fs::write(house.source().join(format!("many/{i}")), bytes).unwrap();
    }
    house.backup();
    let (is_bad, number) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (bad, faults) = (is_bad.clone(), number.clone());
    let faulty = Faulty::new(house.repo.store().clone(), move |asked| {
        if !bad.load(Ordering::SeqCst) || asked.number % 2 == 0 {
            return Fault::None;
        }
        faults.fetch_add(1, Ordering::SeqCst);
        match asked.number / 2 % 5 {
            0 => Fault::Torn,
            1 => Fault::Flipped,
            2 => Fault::Vanished,
            3 => Fault::Throttled,
            _ => Fault::Before(ErrorKind::Other),
        }
    });
    let base = house.source().canonicalize().unwrap();
    let base = base.to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    let drive = house.runtime.block_on(async {
        let (repo, log) = Repo::open_with_log(faulty.clone(), &password()).await.unwrap();
        // Hardly any memory: everything is fetched again and again.
        let chunks = Chunks::new(&repo, &ChunksOptions { memory_bytes: 4 << 20 });
        let browse = Browse::open(&chunks, &log, log.snapshots().last().unwrap());
        snapshot_drive(browse, &base, &[], DriveOptions::default()).await.unwrap().unwrap()
    });
    let mounted = crate::drive::attach(&house, drive);
    is_bad.store(true, Ordering::SeqCst);
    let readers = Readers { at: &mounted.at, large: &large, small: &small, right: 0.into(), failed: 0.into() };
    thread::scope(|scope| {
        for reader in 0..8 {
            let readers = &readers;
            scope.spawn(move || (0..150).for_each(|round| readers.read(reader * 1000 + round)));
        }
    });
    is_bad.store(false, Ordering::SeqCst);
    assert!(fs::read(mounted.at.join("large")).unwrap() == large);
    for (i, bytes) in small.iter().enumerate() {
        assert!(fs::read(mounted.at.join(format!("many/{i}"))).unwrap() == *bytes);
    }
    let (right, failed) = (readers.right.into_inner(), readers.failed.into_inner());
    assert!(right > 50 && failed > 50, "{right} {failed}");
    println!("{right} reads right, {failed} failed, {} faults", number.load(Ordering::SeqCst));
}

// -- several at once

#[test]
fn two_writers_and_a_reader_at_once() {
    let before = Before::new();
    let other = House::with_store(tempfile::tempdir().unwrap(), Arc::new(Objects::default()));
    fill(&other.source());
    fs::write(other.source().join("mine"), noise(55, 2 << 20)).unwrap();
    let now = before.now();
    let states = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let done = AtomicBool::new(false);
    let rounds = 6;
    let reads = thread::scope(|scope| {
        let writers: Vec<_> = states
            .iter()
            .map(|state| {
                let (objects, before_state) = (before.objects.clone(), state.path());
                let (password, source) = (password(), before.house.source());
                let options =
                    || Options { parent: Parent::Newest, checkpoint_every: Duration::ZERO, ..before_options(&source) };
                let options: Vec<_> = (0..rounds).map(|_| options()).collect();
                scope.spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
                    let repo = runtime.block_on(Repo::open(objects, &password)).unwrap();
                    let state = State::open(before_state, repo.config().repository).unwrap();
                    let author = Author { state: &state, machine: b"test" };
                    for options in options {
                        backup::backup(&repo, author, runtime.handle(), options, &Collect::default()).unwrap();
                    }
                })
            })
            .collect();
        let objects = before.objects.clone();
        let done = &done;
        let reader = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let mut reads = 0;
            while !done.load(Ordering::SeqCst) {
                let said = runtime.block_on(listen(objects.clone())).unwrap();
                assert!(said.complaints().is_empty(), "{:?}", said.complaints());
                reads += 1;
            }
            reads
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap()
    });
    assert_eq!(before.expect_whole(&before.objects, &now, "after all"), 2 * rounds);
    println!("{} snapshots by two writers while the repository was read {reads} times", 2 * rounds);
}

fn before_options(source: &Path) -> Options {
    Options {
        source: bygone::source::Options { roots: vec![source.to_owned()], threads: 1, ..Default::default() },
        stdin: None,
        original: None,
        log: None,
        disks: Vec::new(),
        host: "host".to_owned(),
        user: "ada".to_owned(),
        tags: Vec::new(),
        description: String::new(),
        program: "test".to_owned(),
        time: bygone::meta::Time { secs: 1_800_000_000, nanos: 0 },
        parent: Parent::Newest,
        level: 3,
        threads: 2,
        dry_run: false,
        checkpoint_every: Duration::from_secs(3600),
    }
}

// -- disks

fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output().unwrap();
    output.status.success()
}

/// A small disk in memory; unmounted when dropped. `None` where nobody may mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(megabytes: u64) -> Option<SmallDisk> {
        let at = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let path = at.path().to_str().unwrap().to_owned();
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &path]).then_some(SmallDisk(at))
    }

    fn again_with(&self, options: &str) {
        assert!(run("mount", &["-o", &format!("remount,{options}"), self.0.path().to_str().unwrap()]));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.path().to_str().unwrap()]);
    }
}

fn store_error(error: &backup::Error) -> Option<ErrorKind> {
    match error {
        backup::Error::Repo(error) => match error.inner() {
            bygone::repo::Error::Store(error) => Some(error.kind),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn a_full_disk_a_read_only_disk() {
    let Some(disk) = SmallDisk::new(20) else {
        println!("Skipped: mounting takes root");
        return;
    };
    let house = House::with_store(tempfile::tempdir().unwrap(), open_store(&disk.0.path().join("repository")));
    fill(&house.source());
    house.backup();
    let read_all = || house.runtime.block_on(listen(house.repo.store().clone())).unwrap();
    let truth = read_all();
    for i in 0..20 {
        fs::write(house.source().join(format!("much {i}")), noise(200 + i, 2 << 20)).unwrap();
    }
    for _ in 0..3 {
        let full = house.backup_with(house.options(), &Collect::default()).unwrap_err();
        assert_eq!(store_error(&full), Some(ErrorKind::Full), "{}", chain(&full));
        assert!(read_all() == truth);
    }
    disk.again_with("ro,size=100m");
    let denied = house.backup_with(house.options(), &Collect::default()).unwrap_err();
    assert_eq!(store_error(&denied), Some(ErrorKind::Denied), "{}", chain(&denied));
    assert!(read_all() == truth);
    disk.again_with("rw,size=100m");
    house.backup();
    let said = read_all();
    assert_eq!((said.snapshots.len(), said.complaints().len()), (2, 0));
    assert!(truth.snapshots.iter().all(|(id, told)| said.snapshots[id] == *told));
    let staged = fs::read_dir(disk.0.path().join("repository/.staging")).unwrap().count();
    assert_eq!(staged, 0, "what did not fit is cleared away");
}

/// Full to the last byte: what frees space has what was held back for it, and nobody else takes that.
#[test]
fn a_full_disk_can_be_freed() {
    let Some(disk) = SmallDisk::new(96) else { return println!("Skipped: mounting takes root") };
    let program = Program::new();
    let (repository, filler) = (disk.0.path().join("repository"), disk.0.path().join("filler"));
    let run = |arguments: &[&str]| program.run(&[&["-r", repository.to_str().unwrap()], arguments].concat());
    let source = program.source();
    let back_up = || run(&["backup", "-q", "--parity", "off", source.to_str().unwrap()]);
    run(&["init"]).ok();
    let reserve = repository.join(".reserve");
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 2 << 20);
    fs::create_dir(&source).unwrap();
    (0..10).for_each(|n| fs::write(source.join(n.to_string()), noise(n, 1 << 20)).unwrap());
    back_up().ok();
    // The first pack is garbage now; of the others something is needed, which takes room to move.
    (0..9).for_each(|n| fs::remove_file(source.join(n.to_string())).unwrap());
    back_up().ok();
    let free = || rustix::fs::statvfs(disk.0.path()).unwrap().f_bavail;
    fs::write(&filler, vec![1; 100 << 20]).unwrap_err();
    assert_eq!(free(), 0);
    fs::write(source.join("more"), noise(77, 1 << 20)).unwrap();
    let told = back_up().fails(15).stderr;
    assert!(told.contains("no space left") && told.contains("prune --grace 0"), "{told}");
    assert!(reserve.exists(), "a backup takes what is held back");
    run(&["forget", "-q", "latest~1"]).ok();
    let left = fs::metadata(&reserve).unwrap().len();
    assert!((1 << 20..2 << 20).contains(&left), "{left}");
    // What it left of the room somebody else takes.
    fs::write(disk.0.path().join("more filler"), vec![1; 100 << 20]).unwrap_err();
    assert_eq!(free(), 0);
    run(&["prune", "-q", "--grace", "0"]).ok();
    let freed = free() * 4096;
    assert!(freed > 8 << 20, "{freed} bytes came free");
    run(&["prune", "-q", "--grace", "0"]).ok();
    run(&["check", "--read-data"]).ok();
    // It is there again as soon as there is room; no listing shows it.
    assert!(fs::metadata(&reserve).unwrap().len() < left);
    fs::remove_file(&filler).unwrap();
    back_up().ok();
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 2 << 20);
    let check = run(&["check"]).ok().stdout;
    assert!(check.contains("no problems"), "{check}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listed = runtime.block_on(open_store(&repository).list("")).unwrap();
    assert!(listed.len() > 5 && listed.iter().all(|stored| !stored.name.contains("reserve")));
}

#[test]
fn a_full_disk_at_init_leaves_nothing_that_opens() {
    let Some(disk) = SmallDisk::new(1) else { return println!("Skipped: mounting takes root") };
    let store = open_store(&disk.0.path().join("repository"));
    let filler = disk.0.path().join("filler");
    let _full = fs::write(&filler, vec![1; 2 << 20]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = InitOptions { sizes: Sizes::DEFAULT, cost: Cost::CHEAP, create_only: true, now_secs: 1 };
    let init = || runtime.block_on(Repo::init(store.clone(), &password(), &options));
    let error = init().unwrap_err();
    assert!(chain(&error).contains("no space left"), "{}", chain(&error));
    fs::remove_file(&filler).unwrap();
    assert!(init().is_ok());
    assert!(runtime.block_on(Repo::open(store.clone(), &password())).is_ok());
}
