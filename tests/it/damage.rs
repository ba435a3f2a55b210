//! The damage matrix: every object × every way to break it × what can still be read, and what the next backup does.

use crate::house::House;
use crate::house::copy_folder;
use crate::house::noise;
use crate::house::password;
use crate::program::Program;
use crate::truth::DEADLINE;
use crate::truth::Objects;
use crate::truth::Said;
use crate::truth::listen;
use crate::truth::listen_to;
use bygone::backup;
use bygone::backup::Options;
use bygone::backup::Parent;
use bygone::browse::Browse;
use bygone::crypto::password::Cost;
use bygone::extent::Extent;
use bygone::extent::Locator;
use bygone::format::sealed::CHECKSUM_BYTES;
use bygone::format::sealed::HEADER_BYTES;
use bygone::format::sealed::SEALED_SEGMENT_BYTES;
use bygone::format::sealed::SEGMENT_BYTES;
use bygone::id::SnapshotId;
use bygone::meta::Content;
use bygone::monitor::Collect;
use bygone::monitor::chain;
use bygone::repo::Author;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Log;
use bygone::repo::Repo;
use bygone::repo::pack_name;
use bygone::state::State;
use bygone::tree::pieces;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The part of an object's plaintext that is damaged.
type Area = Range<u64>;

const WHOLE: Area = 0..u64::MAX;
const NOWHERE: Area = 0..0;

/// A way to break a repository.
#[derive(Debug, Clone)]
struct Damage {
    /// The object that is broken, and how.
    name: String,
    how: String,
    bytes: Option<Bytes>,
    area: Area,
}

/// What must be whole for a node to be read.
#[derive(Default)]
pub(crate) struct Needs {
    /// Pages of each snapshot.
    pages: BTreeMap<SnapshotId, Vec<Locator>>,
    /// Contents of each file.
    files: BTreeMap<(SnapshotId, Vec<u8>), Vec<Locator>>,
}

/// A healthy repository of four snapshots by two writers, and all about it.
struct Healthy {
    house: House,
    objects: Arc<Objects>,
    truth: Said,
    needs: Needs,
    /// The snapshot of each record.
    records: BTreeMap<String, SnapshotId>,
    newest: SnapshotId,
}

fn fill(root: &Path) {
    for d in 0..4 {
        let folder = root.join(format!("folder {d}"));
        fs::create_dir(&folder).unwrap();
        for f in 0..80 {
            fs::write(folder.join(format!("tiny {f:03}")), format!("{d} {f}")).unwrap();
        }
        for f in 0..4 {
            fs::write(folder.join(format!("small {f}")), noise(100 * d + f, 20_000)).unwrap();
        }
    }
    fs::write(root.join("several chunks"), noise(7, 1_400_000)).unwrap();
}

impl Healthy {
    /// From now on it is a repository of the time before there were second copies.
    fn forget_copies(&self) {
        self.objects.names("copies/").iter().for_each(|name| self.objects.set(name, None));
    }

    fn new() -> Healthy {
        let objects = Arc::new(Objects::default());
        let house = House::with_store(tempfile::tempdir().unwrap(), objects.clone());
        let root = house.source();
        fill(&root);
        let mut records = BTreeMap::new();
        let mut note = |summary: backup::Summary| {
            let id = summary.snapshot.unwrap().id;
            let fresh: Vec<String> = objects.names("log/").into_iter().filter(|n| !records.contains_key(n)).collect();
            assert_eq!(fresh.len(), 1);
            records.insert(fresh[0].clone(), id);
            id
        };
        note(house.backup());
        fs::write(root.join("folder 1/small 2"), noise(501, 30_000)).unwrap();
        fs::write(root.join("folder 3/tiny 005"), "changed").unwrap();
        note(house.backup());
        fs::remove_dir_all(root.join("folder 2")).unwrap();
        fs::write(root.join("new"), noise(502, 60_000)).unwrap();
        note(house.backup());
        fs::write(root.join("folder 0/small 0"), noise(503, 25_000)).unwrap();
        // Another machine, with the same folder.
        let other = State::open(&house.folder.path().join("other"), house.repo.config().repository).unwrap();
        let author = Author { state: &other, machine: b"other" };
        let options = house.options();
        let summary = backup::backup(&house.repo, author, house.runtime.handle(), options, &Collect::default());
        let newest = note(summary.unwrap());
        let truth = house.runtime.block_on(listen(objects.clone())).unwrap();
        assert_eq!((truth.snapshots.len(), truth.complaints().len()), (4, 0));
        let needs = house.runtime.block_on(needs_of(&house.repo));
        Healthy { house, objects, truth, needs, records, newest }
    }

    fn damaged(&self, damage: &Damage) -> Arc<Objects> {
        let objects = self.objects.copy();
        objects.set(&damage.name, damage.bytes.clone());
        objects
    }

    /// True for the newest record of a chain.
    fn is_end(&self, record: &str) -> bool {
        let (chain, _) = record.rsplit_once('/').unwrap();
        self.objects.names(chain).last().is_some_and(|last| last == record)
    }

    /// Everything but config and password slot.
    fn bodies(&self) -> Vec<String> {
        ["index/", "log/", "packs/"].iter().flat_map(|prefix| self.objects.names(prefix)).collect()
    }
}

impl Needs {
    /// Every pack that a page leads to.
    pub(crate) fn packs(&self) -> BTreeSet<String> {
        self.pages.values().chain(self.files.values()).flatten().map(|hint| pack_name(hint.pack)).collect()
    }
}

/// What every node of a repository that is whole needs.
pub(crate) async fn needs_of(repo: &Repo) -> Needs {
    let log = Log::read(repo).await.unwrap();
    let chunks = Chunks::new(repo, &ChunksOptions::default());
    let mut needs = Needs::default();
    for snapshot in log.snapshots() {
        let browse = Browse::open(&chunks, &log, snapshot);
        let pages = browse.ask(|tree, pages| tree.all_pages(pages)).await.unwrap();
        needs.pages.insert(snapshot.id, pages.iter().map(|page| page.hint).collect());
        let mut walk = browse.walk(0..snapshot.nodes);
        while let Some(found) = walk.next().await.unwrap() {
            let content = &found.node().content;
            let mut hints = Vec::new();
            if let Content::Extents { root, .. } = content {
                hints.push(root.hint);
            }
            if !matches!(content, Content::Empty) && !matches!(content, Content::Inline(_)) {
                let runs = browse.ask(|_, pages| {
                    let mut runs = Vec::new();
                    pieces(pages, content, 0..content.len(), &mut |piece| {
                        runs.push(piece);
                        true
                    })?;
                    Ok(runs)
                });
                for piece in runs.await.unwrap() {
                    if let Extent::Data(chunk) = piece.extent {
                        hints.push(chunk.hint);
                    }
                }
            }
            needs.files.insert((snapshot.id, found.path()), hints);
        }
    }
    needs
}

fn is_hit(hint: &Locator, damage: &Damage) -> bool {
    let (start, end) = (u64::from(hint.offset), u64::from(hint.offset) + u64::from(hint.len));
    pack_name(hint.pack) == damage.name && start < damage.area.end && damage.area.start < end
}

/// What a wrong byte at this place of an object spoils.
fn area_of(len: usize, at: usize) -> Area {
    if at < HEADER_BYTES {
        return WHOLE;
    }
    if at >= len - CHECKSUM_BYTES {
        return NOWHERE;
    }
    let segment = ((at - HEADER_BYTES) / SEALED_SEGMENT_BYTES) as u64;
    segment * SEGMENT_BYTES as u64..(segment + 1) * SEGMENT_BYTES as u64
}

/// What an object cut off at this length lacks.
fn area_behind(at: usize) -> Area {
    if at < HEADER_BYTES {
        return WHOLE;
    }
    ((at - HEADER_BYTES) / SEALED_SEGMENT_BYTES * SEGMENT_BYTES) as u64..u64::MAX
}

fn flipped(bytes: &Bytes, at: usize, mask: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= mask;
    bytes.into()
}

fn damage(name: &str, how: String, bytes: Option<Bytes>, area: Area) -> Damage {
    Damage { name: name.to_owned(), how, bytes, area }
}

/// Deleted, cut, extended, exchanged.
fn coarse(objects: &Objects, name: &str) -> Vec<Damage> {
    let bytes = objects.bytes(name);
    let mut all = vec![damage(name, "deleted".to_owned(), None, WHOLE)];
    for cut in [0, 1, HEADER_BYTES - 1, HEADER_BYTES, bytes.len() / 2, bytes.len() - CHECKSUM_BYTES, bytes.len() - 1] {
        let cut = cut.min(bytes.len() - 1);
        all.push(damage(name, format!("cut at {cut}"), Some(bytes.slice(..cut)), area_behind(cut)));
    }
    all.push(damage(name, "extended".to_owned(), Some([&bytes[..], b"more"].concat().into()), WHOLE));
    all.push(damage(name, "all zeros".to_owned(), Some(vec![0; bytes.len()].into()), WHOLE));
    let kind = &name[..=name.find('/').unwrap_or(name.len() - 1)];
    for other in objects.names(kind).iter().filter(|other| *other != name).take(3) {
        all.push(damage(name, format!("replaced by {other}"), Some(objects.bytes(other)), WHOLE));
    }
    all
}

/// One bit wrong, at many places.
fn fine(objects: &Objects, name: &str) -> Vec<Damage> {
    let bytes = objects.bytes(name);
    let stride = if bytes.len() < 512 { 4 } else { (bytes.len() / 40).max(64) };
    let inside = (0..bytes.len()).step_by(stride).chain([bytes.len() - CHECKSUM_BYTES - 1, bytes.len() - 1]);
    let flip =
        |at| damage(name, format!("bit wrong at {at}"), Some(flipped(&bytes, at, 0x10)), area_of(bytes.len(), at));
    inside.map(flip).collect()
}

/// Compares what was read with the truth; returns how many nodes were lost.
fn judge(healthy: &Healthy, damage: &Damage, said: &Said) -> usize {
    let what = format!("{} {}", damage.name, damage.how);
    for complaint in said.complaints() {
        let names_it = complaint.contains(&damage.name) || damage.name.starts_with("log/");
        assert!(names_it && !complaint.contains("internal"), "{what}: {complaint}");
    }
    let mut lost = 0;
    for (id, truth) in &healthy.truth.snapshots {
        let Some(told) = said.snapshots.get(id) else {
            assert_eq!(healthy.records.get(&damage.name), Some(id), "{what}: a snapshot is gone");
            // Only who has seen the end of a chain can know that it is gone: see the test of rollback.
            let is_end = damage.bytes.is_none() && healthy.is_end(&damage.name);
            assert!(is_end || !said.problems.is_empty(), "{what}: a snapshot is gone and nobody says so");
            lost += truth.nodes.len();
            continue;
        };
        for (path, hash) in &told.nodes {
            assert!(truth.nodes.get(path) == Some(hash), "{what}: {} is wrong", bygone::path::Show(path));
        }
        let missing: Vec<_> = truth.nodes.keys().filter(|path| !told.nodes.contains_key(*path)).collect();
        assert_eq!(missing.len(), told.faults.len(), "{what}: {:?}", told.faults);
        if healthy.needs.pages[id].iter().all(|page| !is_hit(page, damage)) {
            for path in &missing {
                let hints = &healthy.needs.files[&(*id, path.to_vec())];
                let is_hit = hints.iter().any(|hint| is_hit(hint, damage));
                assert!(is_hit, "{what}: {} does not depend on it", bygone::path::Show(path));
            }
        }
        lost += missing.len();
    }
    assert!(said.snapshots.len() <= healthy.truth.snapshots.len());
    lost
}

#[test]
fn what_is_damaged_is_told_and_the_rest_is_read() {
    let began = Instant::now();
    let healthy = Healthy::new();
    let (mut tried, mut harmless, mut lost) = (0, 0, 0);
    for name in healthy.bodies() {
        for damage in coarse(&healthy.objects, &name).into_iter().chain(fine(&healthy.objects, &name)) {
            let said = healthy.house.runtime.block_on(listen(healthy.damaged(&damage)));
            let said = said.unwrap_or_else(|e| panic!("{} {}: {}", damage.name, damage.how, chain(&e)));
            let count = judge(&healthy, &damage, &said);
            tried += 1;
            lost += count;
            harmless += usize::from(count == 0);
            if name.starts_with("index/") {
                assert!(said == healthy.truth, "{} {}", damage.name, damage.how);
            }
        }
    }
    println!("{tried} damages in {:?}: {harmless} cost nothing, the others {lost} nodes in all", began.elapsed());
}

#[test]
fn a_damaged_config_or_slot_is_named() {
    let healthy = Healthy::new();
    healthy.forget_copies();
    let stranger = Arc::new(Objects::default());
    House::with_store(tempfile::tempdir().unwrap(), stranger.clone());
    let mut tried = 0;
    for name in ["config".to_owned(), healthy.objects.names("keys/")[0].clone()] {
        let (foreign, len) = (&stranger.names(&name[..4])[0], healthy.objects.bytes(&name).len());
        let mut all = coarse(&healthy.objects, &name);
        all.retain(|d| !d.how.starts_with("replaced"));
        all.push(damage(&name, "of another repository".to_owned(), Some(stranger.bytes(foreign)), WHOLE));
        for at in 0..len {
            all.push(damage(
                &name,
                format!("bit wrong at {at}"),
                Some(flipped(&healthy.objects.bytes(&name), at, 1)),
                WHOLE,
            ));
        }
        for damage in all {
            let error = healthy.house.runtime.block_on(listen(healthy.damaged(&damage))).unwrap_err();
            let told = chain(&error);
            let names_it = told.contains(&name) || told.contains("there is no repository at objects");
            let is_foreign = damage.how.starts_with("of another") && told.contains("keys/");
            let no_slot = name.starts_with("keys") && damage.bytes.is_none() && told.contains("no password slot");
            assert!(names_it || is_foreign || no_slot, "{name} {}: {told}", damage.how);
            tried += 1;
        }
    }
    println!("{tried} damages");
}

#[test]
fn one_of_two_slots_is_enough() {
    let healthy = Healthy::new();
    let second = bygone::crypto::password::Password::new(b"second".to_vec());
    let first = healthy.objects.names("keys/")[0].clone();
    healthy.house.runtime.block_on(healthy.house.repo.add_password(&second, Cost::CHEAP, 2)).unwrap();
    healthy.forget_copies();
    let damaged = healthy.objects.copy();
    damaged.set(&first, Some(Bytes::from_static(b"nonsense")));
    let open = |password| healthy.house.runtime.block_on(Repo::open(damaged.clone(), &password));
    assert!(open(second).is_ok());
    // The password may well be right: the slot it belongs to cannot be read.
    let told = chain(&open(password()).unwrap_err());
    assert!(told.contains(&first), "{told}");
    assert!(matches!(
        healthy
            .house
            .runtime
            .block_on(Repo::open(healthy.objects.clone(), &bygone::crypto::password::Password::new(b"x".to_vec()))),
        Err(bygone::repo::Error::WrongPassword)
    ));
}

#[test]
fn strange_objects_are_passed_over() {
    let healthy = Healthy::new();
    let objects = healthy.objects.copy();
    let writer = healthy.objects.names("log/")[0].rsplit_once('/').unwrap().0.to_owned();
    let id = "0123456789abcdef0123456789abcdef";
    for name in ["packs/00/x", "packs/x", "index/x", "keys/x", "log/x", "log/x/y", "strange", "log/0/0/0"] {
        objects.set(name, Some(Bytes::from_static(b"strange")));
    }
    objects.set(&format!("packs/01/{id}"), Some(Bytes::new()));
    objects.set(&format!("index/{id}"), Some(Bytes::from_static(b"strange")));
    let said = healthy.house.runtime.block_on(listen(objects.clone())).unwrap();
    assert!(said == healthy.truth, "{:?}", said.complaints());
    // Records that cannot be: a chain of nobody, and numbers beyond any gap that could be walked through.
    objects.set(&format!("log/{id}/0000000005"), Some(Bytes::from_static(b"strange")));
    // More than ten digits are no number of a record.
    for seq in [u64::MAX - 1, u64::MAX] {
        objects.set(&format!("{writer}/{seq}"), Some(Bytes::from_static(b"strange")));
    }
    for seq in [1_000_000u64, 9_999_999_999] {
        objects.set(&format!("{writer}/{seq:010}"), Some(Bytes::from_static(b"strange")));
        let said = healthy.house.runtime.block_on(listen(objects.clone())).unwrap();
        assert!(said.snapshots == healthy.truth.snapshots);
        assert!(said.problems.iter().any(|p| p.contains(&seq.to_string())), "{:?}", said.problems);
    }
    let healed = next_backup(&healthy, &objects, Parent::Newest);
    let truth = below_source(&healthy, &healthy.truth.snapshots[&healthy.newest].nodes);
    assert!(below_source(&healthy, &healed.newest()) == truth);
}

/// What a backup on a damaged repository left.
struct Next {
    said: Said,
    id: SnapshotId,
}

impl Next {
    fn newest(&self) -> BTreeMap<Vec<u8>, blake3::Hash> {
        self.said.snapshots[&self.id].nodes.clone()
    }
}

/// Backs up the unchanged source into a damaged repository, with a copy of the machine's state.
fn next_backup(healthy: &Healthy, objects: &Arc<Objects>, parent: Parent) -> Next {
    let scratch = tempfile::tempdir().unwrap();
    copy_folder(&healthy.house.folder.path().join("state"), &scratch.path().join("state"));
    let runtime = &healthy.house.runtime;
    let repo = runtime.block_on(Repo::open(objects.clone(), &password())).unwrap();
    let state = State::open(&scratch.path().join("state"), repo.config().repository).unwrap();
    let options = Options { parent, ..healthy.house.options() };
    let monitor = Collect::default();
    let author = Author { state: &state, machine: b"test" };
    let summary = backup::backup(&repo, author, runtime.handle(), options, &monitor);
    let summary = summary.unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert!(monitor.problems.lock().unwrap().is_empty());
    let said = runtime.block_on(async {
        let log = Log::read(&repo).await.unwrap();
        tokio::time::timeout(DEADLINE, listen_to(&repo, &log)).await.unwrap()
    });
    Next { said, id: summary.snapshot.unwrap().id }
}

/// The newest snapshot by path, without the folders above the source: the clock of those goes on.
fn below_source(healthy: &Healthy, nodes: &BTreeMap<Vec<u8>, blake3::Hash>) -> BTreeMap<Vec<u8>, blake3::Hash> {
    let source = healthy.house.source().canonicalize().unwrap();
    let base = source.to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    nodes.iter().filter(|(path, _)| path.starts_with(&base)).map(|(path, hash)| (path.clone(), *hash)).collect()
}

#[test]
fn a_backup_into_a_damaged_repository_succeeds() {
    let began = Instant::now();
    let healthy = Healthy::new();
    let truth = below_source(&healthy, &healthy.truth.snapshots[&healthy.newest].nodes);
    let (mut tried_damages, mut tried, mut believed, mut files) = (0, 0, 0, 0);
    let meta_packs: BTreeSet<String> =
        healthy.needs.pages.values().flatten().map(|page| pack_name(page.pack)).collect();
    for name in healthy.bodies() {
        let fine = fine(&healthy.objects, &name);
        let few = fine.iter().step_by(fine.len() / 2 + 1).cloned();
        for damage in coarse(&healthy.objects, &name).into_iter().chain(few) {
            let what = format!("{} {}", damage.name, damage.how);
            for parent in [Parent::Newest, Parent::None] {
                // Whichever comes first meets the damage; take turns, because each costs a backup.
                if (tried_damages % 2 == 0) != (parent == Parent::None) && !is_deleted(&damage) {
                    continue;
                }
                let next = next_backup(&healthy, &healthy.damaged(&damage), parent);
                let found = below_source(&healthy, &next.newest());
                for (path, hash) in &found {
                    assert_eq!(truth.get(path), Some(hash), "{what}: {}", bygone::path::Show(path));
                }
                let missing: Vec<_> = truth.keys().filter(|path| !found.contains_key(*path)).collect();
                // What the store itself tells is noticed, and so are old pages that cannot be read. What only the extents
                // of a large file lead to is not: it takes --force, which believes no page, or a check.
                let is_meta = meta_packs.contains(&name);
                let is_cut = damage.how.starts_with("cut");
                let may_miss = match parent {
                    _ if !name.starts_with("packs/") => 0,
                    Parent::None if is_deleted(&damage) || is_cut || is_meta => 0,
                    _ if is_deleted(&damage) || is_meta => 1,
                    _ => usize::MAX,
                };
                let faults = &next.said.snapshots[&next.id].faults;
                assert!(missing.len() <= may_miss, "{what}, {parent:?}: {faults:?}");
                assert!(
                    missing.is_empty() || missing.iter().any(|path| path.ends_with(b"several chunks")) || may_miss > 1,
                    "{what}, {parent:?}: {:?} {faults:?}",
                    missing.iter().map(|path| String::from_utf8_lossy(path)).collect::<Vec<_>>()
                );
                tried += 1;
                believed += usize::from(!missing.is_empty());
                files += missing.len();
            }
            tried_damages += 1;
        }
    }
    let elapsed = began.elapsed();
    println!("{tried} backups in {elapsed:?}: {believed} of them took damaged content over, {files} files in all");
}

fn is_deleted(damage: &Damage) -> bool {
    damage.bytes.is_none()
}

#[test]
fn the_end_of_a_chain_is_missed_by_who_has_seen_it() {
    let healthy = Healthy::new();
    let runtime = &healthy.house.runtime;
    let problems = |objects: &Arc<Objects>, state: &State| {
        runtime.block_on(async {
            let repo = Repo::open(objects.clone(), &password()).await.unwrap();
            let mut log = Log::read(&repo).await.unwrap();
            log.check_heads(state).unwrap();
            log.problems.iter().map(|problem| chain(problem)).collect::<Vec<_>>()
        })
    };
    assert_eq!(problems(&healthy.objects, &healthy.house.state), [""; 0]);
    for record in healthy.objects.names("log/").into_iter().filter(|record| healthy.is_end(record)) {
        let objects = healthy.objects.copy();
        objects.set(&record, None);
        // What is seen of this repository is no news of the next one.
        let scratch = tempfile::tempdir().unwrap();
        copy_folder(&healthy.house.folder.path().join("state"), &scratch.path().join("state"));
        let state = State::open(&scratch.path().join("state"), healthy.house.repo.config().repository).unwrap();
        let told = problems(&objects, &state);
        let writer = record.split('/').nth(1).unwrap();
        assert!(told.len() == 1 && told[0].contains("rolled back") && told[0].contains(writer), "{told:?}");
        // It does not pass for granted the next time, and the next backup does not take the number again.
        assert_eq!(problems(&objects, &state), told);
        next_backup(&healthy, &objects, Parent::Newest);
        assert!(!objects.names("log/").contains(&record), "the record that was removed is written anew");
        assert!(problems(&objects, &state).iter().any(|problem| problem.contains("rolled back")));
    }
}

#[test]
fn the_program_on_damage() {
    let program = Program::new();
    let source = program.scratch().join("source");
    fs::create_dir(&source).unwrap();
    fill(&source);
    let path = source.to_str().unwrap();
    program.run(&["init"]).ok();
    program.run(&["backup", path]).ok();
    fs::write(source.join("new"), noise(77, 40_000)).unwrap();
    program.run(&["backup", path]).ok();
    // The largest pack is the one of the first run.
    let packs = walk(&program.repository().join("packs"));
    let largest = packs.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let bytes = fs::read(largest).unwrap();
    fs::write(largest, flipped(&bytes.clone().into(), bytes.len() / 2, 1)).unwrap();
    let name = largest.strip_prefix(program.repository()).unwrap().to_str().unwrap();
    program.run(&["ls", "-R", "latest"]).ok();
    let back = program.scratch().join("back");
    let what = format!("latest:{path}");
    let restored = program.run(&["restore", &what, "--to", back.to_str().unwrap()]);
    assert_eq!(restored.code, 3, "{}", restored.stderr);
    assert!(restored.stderr.contains(name), "{}", restored.stderr);
    assert_eq!(fs::read(back.join("new")).unwrap(), noise(77, 40_000));
    assert!(walk(&back).len() + 1 >= walk(&source).len(), "a single wrong bit costs more than the files around it");
    // Gone altogether: the next run notices, says so, and has all of it again after --force.
    fs::remove_file(largest).unwrap();
    let told = program.run(&["backup", path]).ok().stderr;
    assert!(told.contains("missing or damaged") && told.contains("--force"), "{told}");
    let told = program.run(&["backup", "--force", path]).ok().stderr;
    assert!(!told.contains("--force"), "{told}");
    assert_eq!(program.run(&["backup", path]).ok().stderr, "");
    fs::remove_dir_all(&back).unwrap();
    program.run(&["restore", &what, "--to", back.to_str().unwrap()]).ok();
    crate::drive::expect_equal(&source, &back);
    // A damaged record: told, and the others are listed.
    let records = walk(&program.repository().join("log"));
    let newest = records.iter().max().unwrap();
    fs::write(newest, b"nonsense").unwrap();
    let listed = program.run(&["snapshots"]).ok();
    assert!(
        listed.stderr.contains("cannot be read") && listed.stdout.lines().count() > records.len() - 1,
        "{}",
        listed.stdout
    );
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}
