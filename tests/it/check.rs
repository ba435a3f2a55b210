//! `check`: whatever is broken is found, by every bit of every object, and told with those who need it; what is whole is
//! called whole.

use crate::house::House;
use crate::house::noise;
use crate::house::password;
use crate::program::Program;
use crate::program::json_lines;
use crate::truth::DEADLINE;
use crate::truth::Objects;
use crate::truth::Said;
use crate::truth::listen;
use bygone::backup;
use bygone::check;
use bygone::check::Data;
use bygone::check::Kind;
use bygone::check::Options;
use bygone::check::Report;
use bygone::check::Subset;
use bygone::format::parity::PerMille;
use bygone::format::sealed::CHECKSUM_BYTES;
use bygone::format::sealed::HEADER_BYTES;
use bygone::id::SnapshotId;
use bygone::meta::Time;
use bygone::monitor::Collect;
use bygone::monitor::chain;
use bygone::repo::Author;
use bygone::repo::Log;
use bygone::repo::Repo;
use bygone::state::State;
use bygone::store::AnyStore;
use bygone::store::Counted;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Bit flips that the gate tries, at least.
const FLIPS_MIN: usize = 20_000;

/// A small repository of three snapshots by two writers, with second copies and parity.
struct Small {
    house: House,
    objects: Arc<Objects>,
    truth: Said,
    /// Has seen the healthy log.
    state: State,
}

fn fill(root: &Path) {
    for d in 0..3 {
        let folder = root.join(format!("folder {d}"));
        fs::create_dir(&folder).unwrap();
        for f in 0..40 {
            fs::write(folder.join(format!("tiny {f:03}")), format!("{d} {f}")).unwrap();
        }
        for f in 0..2 {
            fs::write(folder.join(format!("small {f}")), noise(100 * d + f, 9_000)).unwrap();
        }
    }
    fs::write(root.join("larger"), noise(7, 90_000)).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(2 << 20).unwrap();
    sparse.write_all_at(&noise(8, 8_192), 1 << 20).unwrap();
}

impl Small {
    fn new() -> Small {
        let objects = Arc::new(Objects::default());
        let mut house = House::with_store(tempfile::tempdir().unwrap(), objects.clone());
        house.repo = house.repo.with_parity(Some(PerMille::TYPICAL));
        let root = house.source();
        fill(&root);
        house.backup();
        fs::write(root.join("folder 1/small 1"), noise(501, 11_000)).unwrap();
        fs::write(root.join("folder 2/tiny 005"), "changed").unwrap();
        house.backup();
        fs::remove_dir_all(root.join("folder 0")).unwrap();
        let other = State::open(&house.folder.path().join("other"), house.repo.config().repository).unwrap();
        let author = Author { state: &other, machine: b"other" };
        let options = house.options();
        backup::backup(&house.repo, author, house.runtime.handle(), options, &Collect::default()).unwrap();
        let truth = house.runtime.block_on(listen(objects.clone())).unwrap();
        assert_eq!((truth.snapshots.len(), truth.complaints().len()), (3, 0));
        let state = State::in_memory().unwrap();
        house.runtime.block_on(async { Log::read(&house.repo).await.unwrap().check_heads(&state).unwrap() });
        Small { house, objects, truth, state }
    }

    fn check(&self, objects: &Arc<Objects>, data: Data) -> Result<Report, String> {
        let options = Options { data, ..Options::default() };
        self.house.runtime.block_on(checked(objects.clone(), &self.state, &options))
    }

    fn bodies(&self) -> Vec<String> {
        ["index/", "log/", "packs/", "parity/", "copies/"]
            .iter()
            .flat_map(|prefix| self.objects.names(prefix))
            .collect()
    }
}

/// Opens and checks; must come to an end.
pub(crate) async fn checked(store: AnyStore, state: &State, options: &Options) -> Result<Report, String> {
    let checking = async {
        let (repo, mut log) = Repo::open_with_log(store, &password()).await.map_err(|e| chain(&e))?;
        log.check_heads(state).unwrap();
        check::check(&repo, &log, options, &Collect::default()).await.map_err(|e| chain(&e))
    };
    tokio::time::timeout(DEADLINE, checking).await.expect("a check comes to an end")
}

fn flipped(bytes: &Bytes, bit: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}

/// True for the bytes of a data pack.
fn is_data(bytes: &Bytes) -> bool {
    bytes[11] == 1
}

#[test]
fn what_is_whole_is_called_whole() {
    let small = Small::new();
    let packs = small.objects.names("packs/").len() as u64;
    for data in [Data::None, Data::All, Data::Sample(30, 4), Data::Subset(Subset::Percent(40.0), 3)] {
        let report = small.check(&small.objects, data).unwrap();
        assert!(report.is_clean() && report.notes.is_empty(), "{data:?}: {report:?}");
        let f = report.figures;
        assert_eq!((f.snapshots, f.records, f.indexes, f.packs), (3, 3, 3, packs));
        assert!(f.pages >= 7 && f.references > 7, "{f:?}");
        match data {
            Data::All => assert_eq!((f.objects_read, f.bytes_read), (packs, f.bytes)),
            Data::None => assert_eq!((f.objects_read, f.chunks_read), (0, 0)),
            Data::Sample(..) => assert!(f.chunks_read > 7 && f.objects_read == 0, "{f:?}"),
            // All of them, if the largest comes last.
            Data::Subset(..) => assert!((1..=packs).contains(&f.objects_read) && f.chunks_read > 0, "{f:?}"),
        }
    }
    let parts = (1..=3).map(|n| small.check(&small.objects, Data::Subset(Subset::Part { n, m: 3 }, 0)).unwrap());
    assert_eq!(parts.map(|report| report.figures.objects_read).sum::<u64>(), packs);
    let store: AnyStore = small.objects.clone();
    let report = small.house.runtime.block_on(check::scrub(&store, &Collect::default())).unwrap();
    assert!(report.is_clean() && report.figures.objects_read == small.objects.names("").len() as u64, "{report:?}");
}

#[test]
fn structure_is_checked_without_reading_contents_and_with_few_requests() {
    let small = Small::new();
    let counted = Counted::with_log(small.objects.clone());
    let report = small.house.runtime.block_on(checked(counted.clone(), &small.state, &Options::default())).unwrap();
    assert!(report.is_clean());
    let data = small.objects.names("packs/").into_iter().filter(|name| is_data(&small.objects.bytes(name)));
    let data: BTreeSet<String> = data.collect();
    let log = counted.log();
    assert!(!data.is_empty() && log.iter().all(|request| !data.contains(&request.name)), "{log:?}");
    let to_packs = log.iter().filter(|request| request.name.starts_with("packs/")).count() as u64;
    let metadata = report.figures.packs - data.len() as u64;
    println!("{} pages in {to_packs} requests to {metadata} packs, {} in all", report.figures.pages, log.len());
    assert!(to_packs <= 4 * metadata, "{log:?}");
}

#[test]
fn every_flipped_bit_is_found() {
    let small = Small::new();
    let began = Instant::now();
    let names = small.objects.names("");
    let (mut flips, mut found) = (0, 0);
    for name in &names {
        let bytes = small.objects.bytes(name);
        assert_eq!(check::object(&small.house.repo, name, &bytes), [""; 0], "{name}");
        let bits = bytes.len() * 8;
        let stride = (bits * names.len() / (FLIPS_MIN * 5 / 4)).max(1);
        let ends = (0..HEADER_BYTES.min(bytes.len()) * 8).step_by(3).chain(bits - CHECKSUM_BYTES * 8..bits);
        // An odd stride meets every bit of a byte.
        for bit in (0..bits).step_by(stride | 1).chain(ends) {
            flips += 1;
            found += usize::from(!check::object(&small.house.repo, name, &flipped(&bytes, bit)).is_empty());
        }
    }
    println!("{flips} bits flipped in {} objects in {:?}: {found} found", names.len(), began.elapsed());
    assert!(flips >= FLIPS_MIN && found == flips, "{found} of {flips}");
}

/// A name, what was done to it, and what is there now.
type Broken = (String, String, Option<Bytes>);

fn broken(objects: &Objects, name: &str) -> Vec<Broken> {
    let bytes = objects.bytes(name);
    let is = |how: &str, bytes| (name.to_owned(), how.to_owned(), bytes);
    let mut all = vec![is("deleted", None)];
    for cut in [0, HEADER_BYTES.min(bytes.len() / 3), bytes.len() / 2, bytes.len() - 1] {
        all.push(is(&format!("cut at {cut}"), Some(bytes.slice(..cut))));
    }
    all.push(is("extended", Some([&bytes[..], b"more"].concat().into())));
    all.push(is("all zeros", Some(vec![0; bytes.len()].into())));
    for bit in [9, 40 * 8, 85 * 8 + 1, bytes.len() * 3, bytes.len() * 6 + 5, bytes.len() * 8 - 1] {
        all.push(is(&format!("bit {bit} flipped"), Some(flipped(&bytes, bit))));
    }
    let kind = &name[..=name.find('/').unwrap()];
    for other in objects.names(kind).iter().filter(|other| *other != name).take(2) {
        all.push(is(&format!("replaced by {other}"), Some(objects.bytes(other))));
    }
    all
}

#[test]
fn whatever_is_broken_is_found_with_those_who_need_it() {
    let small = Small::new();
    let began = Instant::now();
    let (mut tried, mut structural, mut lost_in_all) = (0, 0, 0);
    for (name, how, bytes) in small.bodies().iter().flat_map(|name| broken(&small.objects, name)) {
        let what = format!("{name} {how}");
        let objects = small.objects.copy();
        objects.set(&name, bytes);
        let report = small.check(&objects, Data::All).unwrap_or_else(|error| panic!("{what}: {error}"));
        // Of what is an extra nobody but the others can say that it was there.
        let is_gone = |folder: &str| name.starts_with(folder) && how == "deleted";
        let gone = [("parity/", "no_parity"), ("copies/", "no_copies")].iter().find(|(folder, _)| is_gone(folder));
        if let Some((_, note)) = gone {
            assert!(report.is_clean() && report.notes.iter().any(|told| told.what == *note), "{what}: {report:?}");
        } else {
            let names_it = report.problems.iter().any(|problem| problem.object == name);
            assert!(names_it || is_gone("index/"), "{what}: {:?}", report.problems);
        }
        // What is told to be lost is what cannot be read, no more and no less.
        let said = small.house.runtime.block_on(listen(objects.clone())).unwrap();
        let mut lost = BTreeSet::new();
        for (id, truth) in &small.truth.snapshots {
            let Some(told) = said.snapshots.get(id) else { continue };
            for (path, hash) in &truth.nodes {
                match told.nodes.get(path) {
                    Some(found) => assert_eq!(found, hash, "{what}: wrong data"),
                    None => drop(lost.insert((*id, path.clone()))),
                }
            }
        }
        let told = told_lost(&report);
        assert!(lost.is_empty() == told.is_empty(), "{what}: {lost:?} are lost, {:?}", report.problems);
        assert!(told.is_subset(&lost) || has_lost_pages(&report), "{what}: {told:?} are not lost");
        let count: u64 = report.problems.iter().map(|problem| problem.affected.files_count).sum();
        assert!(count >= lost.len() as u64, "{what}: {count} of {} lost: {:?}", lost.len(), report.problems);
        let snapshots: BTreeSet<SnapshotId> = lost.iter().map(|(id, _)| *id).collect();
        let told: BTreeSet<_> = report.problems.iter().flat_map(|p| p.affected.snapshots.clone()).collect();
        assert!(told.is_superset(&snapshots), "{what}: {told:?}");
        // Without contents: all but what only the bytes of a data pack tell.
        let report = small.check(&objects, Data::None).unwrap();
        structural += usize::from(!report.is_clean());
        lost_in_all += lost.len();
        tried += 1;
    }
    println!(
        "{tried} damages in {:?}: all found by --read-data, {structural} of them without; {lost_in_all} nodes lost, all told",
        began.elapsed()
    );
}

fn told_lost(report: &Report) -> BTreeSet<(SnapshotId, Vec<u8>)> {
    report.problems.iter().flat_map(|problem| problem.affected.files.clone()).collect()
}

/// True if a page is lost: then the files are told by the first one of the page.
fn has_lost_pages(report: &Report) -> bool {
    report.problems.iter().any(|problem| problem.message.contains("page") || problem.kind == Kind::Missing)
}

#[test]
fn a_lost_page_is_told_with_all_that_was_below() {
    let small = Small::new();
    let metadata = small.objects.names("packs/").into_iter().filter(|name| !is_data(&small.objects.bytes(name)));
    for name in metadata {
        let objects = small.objects.copy();
        objects.set(&name, None);
        let report = small.check(&objects, Data::None).unwrap();
        let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
        assert_eq!((problem.kind, &problem.object), (Kind::Missing, &name));
        let said = small.house.runtime.block_on(listen(objects)).unwrap();
        let faults: usize = said.snapshots.values().map(|told| told.faults.len()).sum();
        assert_eq!(problem.affected.files_count, faults as u64);
    }
}

#[test]
fn without_a_key_decay_is_found_all_the_same() {
    let small = Small::new();
    let scrub = |objects: &Arc<Objects>| {
        let store: AnyStore = objects.clone();
        small.house.runtime.block_on(check::scrub(&store, &Collect::default()))
    };
    let mut tried = 0;
    for name in small.objects.names("") {
        let bytes = small.objects.bytes(&name);
        let bits = bytes.len() * 8;
        let damaged = |bytes| {
            let objects = small.objects.copy();
            objects.set(&name, bytes);
            scrub(&objects)
        };
        let cuts = [bytes.len() / 2, bytes.len() - 1, 0].map(|cut| bytes.slice(..cut));
        let flips = (0..bits).step_by(bits / 12).chain([bits - 1]).map(|bit| flipped(&bytes, bit));
        let longer = Bytes::from([&bytes[..], b"."].concat());
        for (i, bytes) in flips.chain(cuts).chain([longer]).enumerate() {
            let report = damaged(Some(bytes)).unwrap();
            assert!(report.problems.iter().any(|problem| problem.object == name), "{name} {i}: {report:?}");
            tried += 1;
        }
        // That something is gone shows where something else says so.
        let is_told = damaged(None).is_ok_and(|report| !report.is_clean());
        let must_tell = name == "config" || name.starts_with("keys/");
        assert!(is_told || !must_tell, "{name}");
    }
    let objects = small.objects.copy();
    for name in ["notes.txt", "packs/x", "log/x/0000000001"] {
        objects.set(name, Some(Bytes::from_static(b"strange")));
    }
    let report = scrub(&objects).unwrap();
    assert!(report.is_clean() && report.notes[0].message.starts_with("3 objects"), "{report:?}");
    println!("{tried} damages found without a key");
}

#[test]
fn the_end_of_a_chain_is_missed_and_a_gap_is_told() {
    let small = Small::new();
    for name in small.objects.names("log/") {
        let objects = small.objects.copy();
        objects.set(&name, None);
        let report = small.check(&objects, Data::None).unwrap();
        let is_told = report.problems.iter().any(|p| p.kind == Kind::Log && p.object == name);
        assert!(is_told, "{name}: {:?}", report.problems);
    }
}

#[test]
fn what_is_marked_is_stored_again_and_then_nobody_needs_the_damaged_pack() {
    let objects = Arc::new(Objects::default());
    let house = House::with_store(tempfile::tempdir().unwrap(), objects.clone());
    fill(&house.source());
    house.backup();
    let state = State::in_memory().unwrap();
    let check = |data| {
        let options = Options { data, ..Options::default() };
        house.runtime.block_on(checked(objects.clone(), &state, &options)).unwrap()
    };
    let name = objects.names("packs/").into_iter().find(|name| is_data(&objects.bytes(name))).unwrap();
    let bytes = objects.bytes(&name);
    objects.set(&name, Some(flipped(&bytes, bytes.len() * 4)));
    assert!(check(Data::None).is_clean());
    let report = check(Data::All);
    assert_eq!((report.problems.len(), report.damaged_packs.len()), (1, 1), "{report:?}");
    assert!(report.problems[0].affected.files_count > 0);
    // Nobody knows, so nobody heals.
    house.backup();
    assert!(!check(Data::All).is_clean());
    let time = Time { secs: 1_700_000_500, nanos: 0 };
    let mark = || {
        house.runtime.block_on(Log::note_damage(&house.repo, house.author(), time, &report.damaged_packs, &[])).unwrap()
    };
    assert_eq!((mark(), mark()), (1, 0));
    assert!(!check(Data::All).is_clean());
    house.backup();
    let healed = check(Data::All);
    assert!(healed.is_clean(), "{:?}", healed.problems);
    assert!(healed.notes.iter().any(|note| note.message.contains("no snapshot needs it")), "{:?}", healed.notes);
    let said = house.runtime.block_on(listen(objects.clone())).unwrap();
    assert_eq!((said.snapshots.len(), said.complaints().len()), (3, 0), "{:?}", said.complaints());
}

#[test]
fn a_check_can_be_ended() {
    let small = Small::new();
    let monitor = Collect::default();
    monitor.cancelled.store(true, Ordering::Relaxed);
    let (repo, log) = small.house.runtime.block_on(Repo::open_with_log(small.objects.clone(), &password())).unwrap();
    let ended = small.house.runtime.block_on(check::check(&repo, &log, &Options::default(), &monitor));
    assert!(matches!(ended, Err(check::Error::Cancelled)));
}

#[test]
fn only_what_a_snapshot_needs_is_checked() {
    let small = Small::new();
    let (repo, log) = small.house.runtime.block_on(Repo::open_with_log(small.objects.clone(), &password())).unwrap();
    let newest = log.snapshots().last().unwrap().id;
    let options = Options { snapshots: vec![newest], data: Data::All, ..Options::default() };
    let report = small.house.runtime.block_on(check::check(&repo, &log, &options, &Collect::default())).unwrap();
    assert!(report.is_clean() && report.figures.snapshots == 1);
    assert!((1..report.figures.packs).contains(&report.figures.objects_read), "{:?}", report.figures);
}

fn packs_of(program: &Program) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(program.repository().join("packs")).unwrap() {
        found.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}

#[test]
fn the_program_tells_what_is_damaged_and_what_to_do() {
    let program = Program::with_source();
    program.run(&["check"]).ok();
    let source = program.source();
    program.run(&["backup", source.to_str().unwrap()]).ok();
    let told = program.run(&["check"]).ok().stdout;
    assert!(told.contains("no problems") && told.contains("--read-data"), "{told}");
    for arguments in [&["--read-data"][..], &["--read-data-subset", "1/1"], &["--sample", "5"], &["--no-password"]] {
        let told = program.run(&[&["check"], arguments].concat()).ok().stdout;
        assert!(told.contains("no problems"), "{told}");
    }
    let told = program.run(&["check", "--read-data-subset", "50%"]).ok().stdout;
    assert!(told.contains("--seed "), "{told}");
    assert_eq!(program.run(&["-q", "check"]).ok().stdout, "");
    program.run(&["check", "--snapshot", "latest", "--host", "nobody"]).fails(13);
    program.run(&["check", "--tag", "nothing"]).fails(13);
    for wrong in [&["--read-data", "--sample", "1"][..], &["--read-data-subset", "5/1"], &["--mark"], &["--offline"]] {
        program.run(&[&["check"], wrong].concat()).fails(2);
    }
    // The one data pack of the run decays.
    let packs = packs_of(&program);
    let data = packs.iter().find(|pack| is_data(&fs::read(pack).unwrap().into())).unwrap();
    let bytes: Bytes = fs::read(data).unwrap().into();
    fs::write(data, flipped(&bytes, bytes.len() * 4)).unwrap();
    let name = data.strip_prefix(program.repository()).unwrap().to_str().unwrap();
    program.run(&["check"]).ok();
    program.run(&["check", "--no-password"]).fails(4);
    let told = program.run(&["check", "--read-data"]).fails(4).stdout;
    assert!(told.contains(&format!("problem: {name}: ")) && told.contains("sub/big"), "{told}");
    assert!(told.contains("What to do:") && told.contains("--mark"), "{told}");
    let told = json_lines(&program.run(&["--json", "--no-progress", "check", "--read-data"]).fails(4).stdout);
    assert_eq!((&told[0]["type"], &told[0]["object"]), (&"problem".into(), &name.into()));
    assert!(told[0]["files"][0]["path"].as_str().unwrap().ends_with("/sub/big"), "{}", told[0]);
    assert_eq!((&told[1]["type"], &told[1]["what"]), (&"note".into(), &"mendable".into()));
    assert_eq!((&told[2]["type"], &told[2]["problems"]), (&"summary".into(), &1.into()));
    program.run(&["check", "--read-data", "--mark"]).fails(4);
    program.run(&["backup", source.to_str().unwrap()]).ok();
    program.run(&["check", "--read-data"]).ok();
    program.run(&["restore", &format!("latest~1:{}", source.display()), "--to", "back"]).ok();
    crate::drive::expect_equal(&source, &program.scratch().join("back"));
    // Gone, a config that is none, and nothing at all.
    fs::remove_file(packs_of(&program).iter().find(|pack| *pack != data).unwrap()).unwrap();
    program.run(&["check"]).fails(4);
    fs::write(program.repository().join("config"), "nonsense").unwrap();
    program.run(&["check"]).fails(4);
    program.run(&["check", "--no-password"]).fails(4);
    fs::remove_dir_all(program.repository()).unwrap();
    program.run(&["check"]).fails(10);
    program.run(&["check", "--no-password"]).fails(10);
}
