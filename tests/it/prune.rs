//! Pruning with the real program: what is forgotten comes free after the grace period, what is needed stays, wherever it is
//! moved, and nothing else gets in the way.

use crate::house::House;
use crate::house::noise;
use crate::program::Program;
use crate::program::json_lines;
#[cfg(target_arch = "x86_64")]
use crate::tracer::Act;
#[cfg(target_arch = "x86_64")]
use crate::tracer::At;
use bygone::extent::ChunkKind;
use bygone::extent::ChunkRef;
use bygone::extent::Locator;
use bygone::format::chunk::Packed;
use bygone::format::index::Index;
use bygone::format::index::IndexedPack;
use bygone::id::ChunkId;
use bygone::id::ObjectId;
use bygone::meta::Time;
use bygone::monitor::Collect;
use bygone::prune;
use bygone::prune::Options;
use bygone::prune::Unused;
use bygone::repo;
use serde_json::Value;
use std::fs;
use std::path::Path;

pub(crate) fn summary(program: &Program, arguments: &[&str]) -> Value {
    let told = program.run(&[&["prune", "--json"], arguments].concat()).ok().stdout;
    json_lines(&told).into_iter().rfind(|line| line["type"] == "summary").unwrap()
}

pub(crate) fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} in {value}"))
}

/// Bytes of all packs.
pub(crate) fn pack_bytes(program: &Program) -> u64 {
    bytes_of_packs(&program.repository())
}

pub(crate) fn bytes_of_packs(repository: &Path) -> u64 {
    let folders = fs::read_dir(repository.join("packs")).unwrap();
    let packs = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    packs.map(|pack| pack.unwrap().metadata().unwrap().len()).sum()
}

fn write_all(source: &Path, names: std::ops::Range<u64>, content: impl Fn(u64) -> Vec<u8>) {
    fs::create_dir_all(source).unwrap();
    for name in names {
        fs::write(source.join(name.to_string()), content(name)).unwrap();
    }
}

/// A backup of so many files.
pub(crate) fn backup_of(names: std::ops::Range<u64>, content: impl Fn(u64) -> Vec<u8>) -> Program {
    let program = Program::new();
    program.run(&["init"]).ok();
    write_all(&program.source(), names, content);
    backup(&program);
    program
}

pub(crate) fn backup(program: &Program) {
    program.run(&["backup", "source"]).ok();
}

/// Every snapshot that is left is whole, by its data; and the newest one is the source.
pub(crate) fn all_is_well(program: &Program) {
    let told = program.run(&["check", "--read-data"]).ok().stdout;
    assert!(told.contains("no problems"), "{told}");
    let _ = fs::remove_dir_all(program.scratch().join("back"));
    program.run(&["restore", "latest", "--to", "back"]).ok();
    let diff = std::process::Command::new("diff").arg("-r").arg(program.source()).arg(back(program)).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

/// Where `restore` puts the source.
fn back(program: &Program) -> std::path::PathBuf {
    let below = program.source().strip_prefix("/").unwrap().to_owned();
    let whole = program.scratch().join("back").join(below);
    if whole.exists() { whole } else { program.scratch().join("back/source") }
}

/// Three snapshots: the first has what nobody else has, the second and third share.
fn three() -> Program {
    let program = backup_of(0..20, |name| noise(name, 200_000));
    for name in 0..15 {
        fs::remove_file(program.source().join(name.to_string())).unwrap();
    }
    backup(&program);
    write_all(&program.source(), 20..25, |name| noise(name, 200_000));
    backup(&program);
    program
}

#[test]
fn forgotten_content_comes_free_and_what_is_shared_moves() {
    let program = three();
    let before = pack_bytes(&program);
    assert!(before > 4_500_000);
    // Nothing was forgotten: nothing goes.
    let nothing = summary(&program, &["--grace", "0"]);
    assert_eq!((number(&nothing, "removed_packs"), number(&nothing, "marked_packs")), (0, 0));
    assert_eq!(pack_bytes(&program), before);
    let told = program.run(&["stats", "latest~2", "--json"]).ok().stdout;
    let share = &json_lines(&told)[0];
    assert!((3_000_000..3_010_000).contains(&number(share, "unique_bytes")), "{share}");
    assert!((4_000_000..4_020_000).contains(&number(share, "stored_bytes")), "{share}");
    let told = program.run(&["stats", "latest", "latest~1", "latest~2"]).ok().stdout;
    assert!(told.contains("4.8 MiB of that"), "{told}");
    program.run(&["forget", "latest~2"]).ok();
    let looked = summary(&program, &["--grace", "0", "--dry-run"]);
    assert_eq!(number(&looked, "removed_packs"), 0);
    assert!(number(&looked, "marked_packs") >= 1 && number(&looked, "marked_snapshots") == 1, "{looked}");
    assert_eq!(pack_bytes(&program), before);
    let point = program.scratch().join("drive");
    program.run(&["mount", "latest~1", point.to_str().unwrap()]).ok();
    let done = summary(&program, &["--grace", "0"]);
    // Fifteen files of 200,000 bytes go, and five of the same pack are copied.
    assert!(number(&done, "removed_bytes") > 4_000_000, "{done}");
    assert!((1_000_000..1_500_000).contains(&number(&done, "stored_bytes")), "{done}");
    let after = pack_bytes(&program);
    assert_eq!((number(&done, "before_bytes"), number(&done, "after_bytes")), (before, after));
    assert!(before - after > 3_000_000, "{before} {after}");
    all_is_well(&program);
    assert_eq!(json_lines(&program.run(&["snapshots", "--json"]).ok().stdout).len(), 2);
    // Too late.
    program.run(&["undo-forget", "--last"]).fails(13);
    // A drive that was open all the time finds what was moved.
    let source = program.source();
    let inside = [point.join(source.strip_prefix("/").unwrap()), point.join("source"), point.clone()];
    let inside = inside.iter().find(|path| path.join("17").exists()).unwrap();
    for name in 15..20 {
        assert!(fs::read(inside.join(name.to_string())).unwrap() == noise(name, 200_000), "{name}");
    }
    program.run(&["umount", point.to_str().unwrap()]).ok();
    // Old pages lead to where the chunks were; readers find where they are.
    for name in 15..20 {
        let path = program.at("latest~1", &name.to_string());
        let told = program.command(&["cat", &path]).output().unwrap();
        assert!(told.stdout == noise(name, 200_000), "{}", String::from_utf8_lossy(&told.stderr));
    }
    // And the next backup stores nothing of it again.
    fs::write(program.source().join("new"), "new").unwrap();
    backup(&program);
    assert!(pack_bytes(&program) - after < 100_000);
    let again = summary(&program, &["--grace", "0"]);
    // But for pages of extents whose hints it has refreshed.
    assert!(number(&again, "removed_bytes") < 2_000, "{again}");
    all_is_well(&program);
}

#[test]
fn a_dry_run_tells_each_pack_once() {
    let program = three();
    program.run(&["forget", "latest~2"]).ok();
    age(&program, 2);
    let marked = summary(&program, &[]);
    age(&program, 8);
    let looked = summary(&program, &["--dry-run"]);
    assert_eq!(looked["removed_packs"], marked["marked_packs"], "{marked} {looked}");
    assert_eq!((number(&looked, "marked_packs"), number(&looked, "marked_snapshots")), (0, 0), "{looked}");
    let done = summary(&program, &[]);
    assert_eq!(done["removed_bytes"], looked["removed_bytes"], "{looked} {done}");
}

#[test]
fn until_the_grace_period_is_over_everything_can_be_taken_back() {
    let program = three();
    let before = pack_bytes(&program);
    program.run(&["forget", "latest~2"]).ok();
    // A day old at least, or they would be too new to be judged.
    age(&program, 2);
    let marked = summary(&program, &[]);
    assert!(number(&marked, "marked_packs") >= 1 && number(&marked, "removed_packs") == 0, "{marked}");
    assert!(marked["ripe_secs"].as_i64().unwrap() > jiff::Timestamp::now().as_second() + 6 * 24 * 3600);
    assert!(pack_bytes(&program) >= before);
    let waits = program.run(&["prune"]).ok().stdout;
    assert!(waits.contains("Marked: ") && waits.contains("undo-forget"), "{waits}");
    program.run(&["undo-forget", "--last"]).ok();
    // The week goes by: what was marked is needed again, and stays.
    age(&program, 8);
    let done = summary(&program, &[]);
    assert_eq!(number(&done, "removed_bytes") / 3_000_000, 0, "{done}");
    assert_eq!(json_lines(&program.run(&["snapshots", "--json"]).ok().stdout).len(), 3);
    let told = program.command(&["cat", &program.at("latest~2", "3")]).output().unwrap();
    assert!(told.stdout == noise(3, 200_000), "{}", String::from_utf8_lossy(&told.stderr));
    all_is_well(&program);
}

/// Makes everything in the repository so many days older.
fn age(program: &Program, days: u64) {
    let mut folders = vec![program.repository()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = fs::File::options().write(true).open(&path);
            let Ok(file) = file else {
                // Objects may be read-only; their owner may change that.
                set_age(&path, days);
                continue;
            };
            let then = file.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(days * 24 * 3600);
            file.set_modified(then).unwrap();
        }
    }
}

fn set_age(path: &Path, days: u64) {
    let text = format!("{days} days ago");
    let status = std::process::Command::new("touch").arg("-d").arg(text).arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn what_ripened_is_swept_by_the_next_prune() {
    let program = three();
    program.run(&["forget", "latest~2"]).ok();
    age(&program, 2);
    summary(&program, &[]);
    let before = pack_bytes(&program);
    age(&program, 8);
    let done = program.run(&["prune"]).ok().stdout;
    for words in [" by 4 requests.", " came free.", " before, ", " are left."] {
        assert!(done.contains(words), "{words}: {done}");
    }
    assert!(before - pack_bytes(&program) > 3_000_000);
    all_is_well(&program);
}

#[test]
fn unused_space_may_stay() {
    let program = three();
    program.run(&["forget", "latest~2"]).ok();
    let done = summary(&program, &["--grace", "0", "--max-unused", "unlimited"]);
    assert_eq!(number(&done, "stored_bytes"), 0, "{done}");
    assert!(number(&done["found"], "unused_bytes") > 2_900_000, "{done}");
    let done = summary(&program, &["--grace", "0", "--max-repack-size", "1K"]);
    assert!(number(&done, "stored_bytes") < 2000, "{done}");
    let done = summary(&program, &["--grace", "0", "--max-unused", "1G"]);
    assert_eq!(number(&done, "stored_bytes"), 0, "{done}");
    let done = summary(&program, &["--grace", "0", "--max-unused", "0%"]);
    assert!(number(&done, "stored_bytes") > 900_000, "{done}");
    all_is_well(&program);
    for wrong in [
        ["--max-unused", "5"],
        ["--max-unused", "5%%"],
        ["--max-unused", "-1%"],
        ["--grace", "soon"],
        ["--max-repack-size", "x"],
    ] {
        program.run(&[&["prune"][..], &wrong[..]].concat()).fails(2);
    }
    program.run(&["prune", "--offline"]).fails(2);
}

/// Backups that store little leave small packs.
#[test]
fn many_small_packs_become_few() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let source = program.source();
    let count = || {
        let folders = fs::read_dir(program.repository().join("packs")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    for day in 0..17 {
        write_all(&source, day..day + 1, |day| noise(day, 3000));
        program.run(&["backup", source.to_str().unwrap()]).ok();
        if day == 15 {
            assert_eq!((number(&summary(&program, &["--grace", "0"]), "stored_bytes"), count()), (0, 32));
        }
    }
    let done = summary(&program, &["--grace", "0", "--max-unused", "unlimited"]);
    assert_eq!((number(&done, "stored_bytes"), count()), (0, 34), "{done}");
    let done = summary(&program, &["--grace", "0", "--dry-run"]);
    assert_eq!((number(&done, "marked_packs"), count()), (34, 34), "{done}");
    let done = summary(&program, &["--grace", "0"]);
    assert_eq!((number(&done, "removed_packs"), count()), (34, 2), "{done}");
    all_is_well(&program);
}

/// A prune that does not know what is needed removes nothing.
#[test]
fn a_snapshot_that_cannot_be_read_stops_it() {
    let program = three();
    program.run(&["forget", "latest~2"]).ok();
    // Take away what the newest backup has stored, pages and all.
    let mut packs: Vec<_> = fs::read_dir(program.repository().join("packs"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect();
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().modified().unwrap());
    let newest: Vec<_> = packs.iter().rev().take(2).map(|pack| (pack, fs::read(pack).unwrap())).collect();
    newest.iter().for_each(|(pack, _)| fs::remove_file(pack).unwrap());
    let told = program.run(&["prune", "--grace", "0", "--no-cache"]).fails(4);
    assert!(told.stderr.contains("nothing can be removed") && told.stderr.contains("bygone check"), "{}", told.stderr);
    newest.iter().for_each(|(pack, bytes)| fs::write(pack, bytes).unwrap());
    summary(&program, &["--grace", "0"]);
    all_is_well(&program);
}

/// Who does not know all snapshots does not know what they need.
#[test]
fn a_log_that_is_not_whole_stops_it() {
    let program = three();
    let before = pack_bytes(&program);
    let log = program.repository().join("log");
    let chain = fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let mut records: Vec<_> = fs::read_dir(&chain).unwrap().map(|entry| entry.unwrap().path()).collect();
    records.sort();
    let newest = records.last().unwrap();
    let copy = program.repository().join("copies").join(newest.strip_prefix(program.repository()).unwrap());
    let bytes = fs::read(newest).unwrap();
    // Its second copy tells the same.
    fs::write(newest, "rot").unwrap();
    summary(&program, &["--grace", "0", "--no-cache"]);
    fs::remove_file(&copy).unwrap();
    let told = program.run(&["prune", "--grace", "0", "--no-cache"]).fails(4).stderr;
    assert!(told.contains("the log is not whole") && told.contains("bygone repair"), "{told}");
    // Gone altogether: this machine knows of it.
    fs::remove_file(newest).unwrap();
    program.run(&["prune", "--grace", "0", "--no-cache"]).fails(4);
    assert_eq!(pack_bytes(&program), before);
    fs::write(newest, bytes).unwrap();
    summary(&program, &["--grace", "0", "--no-cache"]);
    all_is_well(&program);
    // Whoever gives it up gets the space.
    fs::remove_file(newest).unwrap();
    let done = summary(&program, &["--grace", "0", "--no-cache", "--despite-log"]);
    assert!(number(&done, "removed_packs") > 0, "{done}");
}

/// Killed at any moment, it leaves a repository that is whole, and the next one goes on.
#[test]
#[cfg(target_arch = "x86_64")] // the tracer knows no other
fn a_killed_prune_is_finished_by_the_next() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let mut killed = 0;
    for round in 0..8u64 {
        write_all(&program.source(), round * 10..round * 10 + 20, |name| noise(name, 100_000));
        backup(&program);
        for name in 0..round * 10 {
            let _ = fs::remove_file(program.source().join(name.to_string()));
        }
        backup(&program);
        program.run(&["forget", "--keep-last", "1"]).ok();
        // Killed at one of the calls that change the repository, a later one each time.
        let mut at = At::new(2 + 3 * usize::try_from(round).unwrap(), Act::Kill);
        let folder = program.repository().canonicalize().unwrap();
        let ended = crate::tracer::run(&program.command(&["prune", "--grace", "0"]), &[&folder], &mut at);
        assert_eq!(ended.code.is_none(), at.hit.is_some(), "{}", ended.stderr);
        killed += usize::from(ended.code.is_none());
        all_is_well(&program);
    }
    assert!(killed > 4, "{killed}");
    summary(&program, &["--grace", "0"]);
    all_is_well(&program);
    assert_eq!(json_lines(&program.run(&["snapshots", "--json"]).ok().stdout).len(), 1);
    let needed: u64 =
        fs::read_dir(program.source()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let there = pack_bytes(&program);
    assert!(there < needed * 12 / 10 + 200_000, "{there} bytes for {needed}");
}

/// Far more chunks than there is memory to sort them in: the index alone is made, of packs with nothing in them.
/// `BYGONE_PRUNE=100000000` makes it as large as that; the memory of the process is printed then.
#[test]
fn memory_does_not_go_with_the_number_of_chunks() {
    const PACK_CHUNKS: u64 = 1000;
    let large = std::env::var("BYGONE_PRUNE").ok();
    let count: u64 = large.as_deref().unwrap_or("100000").parse().unwrap();
    let house = House::new();
    fs::write(house.source().join("file"), noise(1, 100_000)).unwrap();
    house.backup();
    let id = |n: u64| ObjectId(noise(n, 16).try_into().unwrap());
    for first in (0..count).step_by(100_000) {
        let mut index = Index::default();
        for number in first..count.min(first + 100_000) {
            let pack = id(number / PACK_CHUNKS);
            if number % PACK_CHUNKS == 0 {
                index.packs.push(IndexedPack { pack, len: 100 });
                house
                    .runtime
                    .block_on(house.repo.store().put_new(&repo::pack_name(pack), vec![0; 100].into()))
                    .unwrap();
            }
            let hint = Locator { pack, offset: (number % PACK_CHUNKS) as u32 * 100, len: 100 };
            let chunk = ChunkRef { id: ChunkId(noise(number, 32).try_into().unwrap()), len: 100, hint };
            index.chunks.push(Packed { kind: ChunkKind::Data, chunk });
        }
        house.runtime.block_on(repo::store_index(&house.repo, index)).unwrap();
    }
    let options = Options {
        now: Time { secs: jiff::Timestamp::now().as_second(), nanos: 0 },
        grace_secs: 0,
        max_unused: Unused::Percent(5.0),
        max_repack_bytes: None,
        despite_log: false,
        dry_run: true,
        scratch: house.folder.path().join("scratch"),
        memory_bytes: if large.is_some() { 24 << 20 } else { 256 << 10 },
    };
    let began = std::time::Instant::now();
    let monitor = Collect::default();
    let run = prune::prune(&house.repo, house.author(), &options, &monitor, &|_| {});
    let report = house.runtime.block_on(run).unwrap();
    let found = report.found.unwrap();
    assert_eq!((found.garbage_packs, report.lost_count), (count.div_ceil(PACK_CHUNKS), 0));
    assert!((99_000..110_000).contains(&found.needed_bytes), "{found:?}");
    if large.is_some() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        println!("{count} chunks: {:?}, {peak}", began.elapsed());
    }
}

/// A good copy is a better home than one in a pack that is damaged.
#[test]
fn the_only_good_copy_of_a_chunk_stays() {
    let program = three();
    // Every pack that is there now gets damaged in its contents, and is noted; the source still has all.
    let mut packs: Vec<_> = fs::read_dir(program.repository().join("packs"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect();
    packs.sort_by_key(|pack| std::cmp::Reverse(fs::metadata(pack).unwrap().len()));
    let mut bytes = fs::read(&packs[0]).unwrap();
    let middle = bytes.len() * 19 / 20;
    bytes[middle..middle + 200_000].fill(0);
    fs::remove_file(&packs[0]).unwrap();
    fs::write(&packs[0], bytes).unwrap();
    let _ = fs::remove_dir_all(program.repository().join("parity"));
    program.run(&["check", "--read-data", "--mark"]).fails(4);
    for name in 0..15 {
        fs::write(program.source().join(name.to_string()), noise(name, 200_000)).unwrap();
    }
    backup(&program);
    for name in 0..3 {
        fs::write(program.source().join(format!("more {name}")), noise(100 + name, 300_000)).unwrap();
        backup(&program);
        program.run(&["forget", "--keep-last", "3"]).ok();
        program.run(&["prune", "--grace", "0", "--max-unused", "0%", "--no-cache"]).ok();
    }
    program.run(&["forget", "--keep-last", "1", "--prune"]).ok();
    program.run(&["prune", "--grace", "0", "--no-cache"]).ok();
    all_is_well(&program);
}
