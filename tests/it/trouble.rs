//! A full disk and a disk that fails, at every call of whatever writes: the program says what and where, ends with the code
//! it documents, and leaves a repository that is valid and in which the same command succeeds once the disk is well, and a target
//! that the next restore completes.
//!
//! A full disk stays full: from the chosen call on, everything that takes space fails with `ENOSPC`, and what frees
//! space does not. A failing disk fails once, with `EIO`, at any call.

use crate::house::init_cheaply;
use crate::scene::Place;
use crate::scene::Scene;
use crate::tracer::Act;
use crate::tracer::Call;
use crate::tracer::Traced;
use crate::tracer::Watch;
use crate::tracer::What;
use bygone::id::SnapshotId;
use nix::libc::EIO;
use nix::libc::ENOSPC;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// Points at which something failed, at least.
const POINTS_MIN: usize = 700;

/// Fails calls below a folder, from this number on, counted from 1.
struct Bad<'a> {
    below: &'a Path,
    number: usize,
    error: i32,
    calls: usize,
    hit: Option<Call>,
}

impl Bad<'_> {
    fn new(below: &Path, number: usize, error: i32) -> Bad<'_> {
        Bad { below, number, error, calls: 0, hit: None }
    }
}

impl Watch for Bad<'_> {
    fn before(&mut self, call: &Call) -> Act {
        let counts = if self.error == ENOSPC { call.what.takes_space() } else { call.what != What::Unlink };
        if !counts || !call.path.starts_with(self.below) {
            return Act::Go;
        }
        self.calls += 1;
        if self.calls < self.number || (self.error == EIO && self.calls > self.number) {
            return Act::Go;
        }
        self.hit.get_or_insert_with(|| call.clone());
        Act::Fail(self.error)
    }
}

/// What was seen: how often a run ended so.
type Seen = Mutex<BTreeMap<(i32, What, i32), usize>>;

/// It ended by itself, and if not well, then with words.
fn expect_words(traced: &Traced, places: &[String], error: i32, what: &str) -> i32 {
    let code = traced.code.unwrap_or_else(|| panic!("{what}: it was killed"));
    let told = &traced.stderr;
    assert!(!told.contains("panicked") && !told.contains("internal"), "{what}: {told}");
    if code == 0 {
        return code;
    }
    assert!(places.iter().any(|place| told.contains(place)), "{what}: code {code}, and not a word of where: {told}");
    // The database of the local state has words of its own, some of them far from the cause.
    let why = if error == ENOSPC { "no space left" } else { "input/output error" };
    let is_told = told.to_lowercase().contains(why) || told.contains("cannot use the local state in");
    assert!(is_told, "{what}: code {code}, and not a word of why: {told}");
    code
}

fn backups(scene: &Scene, error: i32, folder: &str, seen: &Seen) {
    let source = scene.program.source();
    let arguments = ["backup", "-q", "--checkpoint-every", "0s", source.to_str().unwrap()];
    scene.count_up(|number| {
        let place = scene.place();
        let below = place.folder().join(folder);
        let mut bad = Bad::new(&below, number, error);
        let traced = place.trace(&arguments, &mut bad);
        let Some(call) = bad.hit else {
            assert_eq!((traced.code, traced.stderr.as_str()), (Some(0), ""));
            return false;
        };
        let what = format!("backup, error {error} at call {number}, {:?} {}", call.what, call.path.display());
        let code = expect_words(&traced, &[place.folder().display().to_string()], error, &what);
        let allowed: &[i32] = match (folder, error) {
            // Second copies and parity are extras: the snapshot is whole without them.
            ("repository", ENOSPC) => &[0, 15],
            // A disk that answers so is often one that was unplugged.
            ("repository", _) => &[0, 16],
            // Without the state a backup can do, or not begin.
            (_, ENOSPC) => &[0, 1, 15],
            _ => &[0, 1],
        };
        assert!(allowed.contains(&code), "{what}: code {code}: {}", traced.stderr);
        place.expect_clean(&what);
        let fresh = place.expect_sound(&[], &what);
        assert!(code != 0 || fresh.len() == 1, "{what}: it says it was done");
        let staged = std::fs::read_dir(place.repository().join(".staging")).into_iter().flatten().count();
        assert_eq!(staged, 0, "{what}: what failed is cleared away");
        place.expect_next_backup(&[], fresh.len(), &what);
        *seen.lock().unwrap().entry((error, call.what, code)).or_default() += 1;
        true
    });
}

/// A command that changes a repository, and where.
struct Deed<'a> {
    scene: &'a Scene,
    /// What is the matter with the repository before.
    prepare: &'a (dyn Fn(&Place<'_>) + Sync),
    arguments: Vec<&'a str>,
    may_be_gone: &'a [SnapshotId],
}

impl Deed<'_> {
    /// It is done; a repair tells besides what was the matter.
    fn is_well(&self, code: Option<i32>, told: &str) -> bool {
        code == Some(0) && (told.is_empty() || self.arguments[0] == "repair")
    }

    fn do_everywhere(&self, error: i32, folder: &str, seen: &Seen) {
        let name = self.arguments[0];
        self.scene.count_up(|number| {
            let place = self.scene.place();
            (self.prepare)(&place);
            let below = place.folder().join(folder);
            let mut bad = Bad::new(&below, number, error);
            let traced = place.trace(&self.arguments, &mut bad);
            let Some(call) = bad.hit else {
                assert!(self.is_well(traced.code, &traced.stderr), "{name}: {}", traced.stderr);
                return false;
            };
            let what = format!("{name}, error {error} at call {number}, {:?} {}", call.what, call.path.display());
            let code = expect_words(&traced, &[place.folder().display().to_string()], error, &what);
            let allowed: &[i32] = match (folder, error) {
                ("repository", ENOSPC) => &[0, 15],
                ("repository", _) => &[0, 16],
                // Without the state nobody knows which words are of this machine.
                _ if name == "undo-forget" => &[0, 1, 13, 15],
                (_, ENOSPC) => &[0, 1, 15],
                _ => &[0, 1],
            };
            assert!(allowed.contains(&code), "{what}: code {code}: {}", traced.stderr);
            if code != 0 {
                // A record may be there although the disk said that it failed: then nothing is left to be taken back.
                let again = place.run(&self.arguments);
                let is_done = again.code == 13 && name == "undo-forget";
                assert!(
                    is_done || self.is_well(Some(again.code), &again.stderr),
                    "{what}: and again: {}",
                    again.stderr
                );
            }
            place.expect_clean(&what);
            place.expect_sound(self.may_be_gone, &what);
            *seen.lock().unwrap().entry((error, call.what, code)).or_default() += 1;
            true
        });
    }
}

/// What a repair puts right: no index, no config but its second copy, and a record of which only the second copy is left.
fn break_it(place: &Place<'_>) {
    let repository = place.repository();
    fs::remove_dir_all(repository.join("index")).unwrap();
    fs::remove_file(repository.join("config")).unwrap();
    let chain = fs::read_dir(repository.join("log")).unwrap().next().unwrap().unwrap();
    fs::remove_file(chain.path().join("0000000000")).unwrap();
}

fn restores(scene: &Scene, error: i32, seen: &Seen) {
    let source = scene.program.source();
    let base = scene.place();
    base.run(&["backup", "-q", source.to_str().unwrap()]).ok();
    let at = format!("latest:{}", source.display());
    // Files are called by their names below the target, or in the snapshot.
    let mut names: Vec<_> = scene.now.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    let top = source.to_str().unwrap().trim_start_matches('/').to_owned() + "/";
    names.iter_mut().for_each(|name| *name = format!("'{}'", name.trim_start_matches(&top)));
    scene.count_up(|number| {
        let target = tempfile::tempdir().unwrap();
        let to = target.path().canonicalize().unwrap().join("back");
        let arguments = ["restore", "-q", &at, "--to", to.to_str().unwrap()];
        let mut bad = Bad::new(&to, number, error);
        let command = base.command(&arguments);
        let traced = crate::tracer::run(&command, &[to.parent().unwrap()], &mut bad);
        let Some(call) = bad.hit else {
            assert_eq!((traced.code, traced.stderr.as_str()), (Some(0), ""));
            return false;
        };
        let places = [&[to.display().to_string(), top.trim_end_matches('/').to_owned()], &names[..]].concat();
        let what = format!("restore, error {error} at call {number}, {:?} {}", call.what, call.path.display());
        let code = expect_words(&traced, &places, error, &what);
        let allowed: &[i32] = if error == ENOSPC { &[15] } else { &[1, 3] };
        assert!(allowed.contains(&code), "{what}: code {code}: {}", traced.stderr);
        // Again, on a disk that is well: nothing of the first attempt is in the way, or left behind.
        let again = base.run(&arguments);
        assert_eq!((again.code, again.stderr.as_str()), (0, ""), "{what}");
        crate::drive::expect_equal(&source, &to);
        *seen.lock().unwrap().entry((error, call.what, code)).or_default() += 1;
        true
    });
}

fn ids(scene: &Scene) -> Vec<SnapshotId> {
    scene.before.snapshots.keys().copied().collect()
}

#[test]
fn a_full_or_failing_disk_at_every_call() {
    let began = Instant::now();
    let scene = Scene::new(2);
    let mut points = 0;
    let forgotten = Scene::new(2);
    forgotten.run(&["forget", "-q", "latest~1"]).ok();
    let (all, recallable) = (ids(&scene), ids(&forgotten));
    let from = scene.program.repository();
    let nothing = |_: &Place<'_>| {};
    let other = |place: &Place<'_>| {
        fs::remove_dir_all(place.repository()).unwrap();
        init_cheaply(&place.repository());
    };
    let copy = ["copy", "-q", "--from", from.to_str().unwrap(), "--from-password-command", "echo test", "latest"];
    let deed = |scene, prepare, arguments: &[&'static str], may_be_gone| Deed {
        scene,
        prepare,
        arguments: arguments.to_vec(),
        may_be_gone,
    };
    let deeds = [
        deed(&scene, &nothing, &["forget", "-q", "latest"], &all),
        deed(&forgotten, &nothing, &["undo-forget", "-q", "--last"], &recallable),
        deed(&forgotten, &nothing, &["prune", "-q", "--grace", "0", "--max-unused", "0%"], &recallable),
        deed(&scene, &break_it, &["repair", "-q"], &[]),
        Deed { scene: &scene, prepare: &other, arguments: copy.to_vec(), may_be_gone: &all },
    ];
    for error in [ENOSPC, EIO] {
        let in_state = deeds.iter().filter(|deed| ["undo-forget", "prune"].contains(&deed.arguments[0]));
        for (deed, folder) in deeds.iter().map(|deed| (deed, "repository")).chain(in_state.map(|deed| (deed, "state")))
        {
            let seen = Seen::default();
            deed.do_everywhere(error, folder, &seen);
            let seen = seen.into_inner().unwrap();
            println!("{} in {folder}: {seen:?}", deed.arguments[0]);
            points += seen.values().sum::<usize>();
        }
        for folder in ["repository", "state", "restore"] {
            let seen = Seen::default();
            match folder {
                "restore" => restores(&scene, error, &seen),
                _ => backups(&scene, error, folder, &seen),
            }
            let seen = seen.into_inner().unwrap();
            println!("{folder}: {seen:?}");
            points += seen.values().sum::<usize>();
        }
    }
    println!("{points} points in {:?}", began.elapsed());
    assert!(points >= POINTS_MIN, "only {points} points");
}
