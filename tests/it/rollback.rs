//! A store that lies: what it removes, replaces, withholds, swaps or brings from elsewhere, and who notices.
//!
//! Every attack is done to a copy of a repository with two writers, whose client has seen the heads of both chains. It
//! must be told of with the name of what is missing, `check` must end with the code of damage, and whatever `restore`
//! brings back must be right. What needs bytes to be read is found by `check --read-data`.

use crate::house::copy_folder;
use crate::house::init_cheaply;
use crate::house::noise;
use crate::program::Ended;
use crate::program::Program;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Who noticed, at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Noticed {
    /// Every command that opens the repository, before it does anything else.
    AtOnce,
    /// `check`, which reads no contents.
    ByCheck,
    /// `check --read-data`.
    ByReading,
    /// The repository does not open at all.
    NotOpened,
}

/// Machines that back up into the repository, and places for copies.
struct World {
    program: Program,
    /// The repository before the last snapshot of each writer.
    old: TempDir,
    /// Another repository with the same password.
    stranger: TempDir,
}

/// A copy of everything, for one attack.
struct Victim<'a> {
    world: &'a World,
    folder: TempDir,
}

type Attack = (&'static str, fn(&Victim<'_>), Noticed, &'static [&'static str]);

const ATTACKS: &[Attack] = &[
    ("the newest record of this machine is gone", |v| v.lose(v.record(0, 1)), Noticed::AtOnce, &["rolled back"]),
    (
        "the newest snapshot of another machine is withheld",
        |v| v.lose(v.record(1, 1)),
        Noticed::AtOnce,
        &["rolled back"],
    ),
    ("a record in the middle is gone", |v| v.lose(v.record(0, 0)), Noticed::AtOnce, &["missing from 0 on"]),
    ("a whole chain is gone", |v| v.lose(v.chain(1)), Noticed::AtOnce, &["rolled back"]),
    ("the whole log is gone", |v| v.lose(v.at("log")), Noticed::AtOnce, &["rolled back"]),
    ("an old copy of the whole repository", |v| v.put_all(v.world.old.path()), Noticed::AtOnce, &["rolled back"]),
    ("an old copy of the log alone", |v| v.put_log(v.world.old.path()), Noticed::AtOnce, &["rolled back"]),
    ("an old copy that a cloned machine continued", |v| v.continue_old(), Noticed::AtOnce, &["was replaced"]),
    (
        "an old record under the name of the newest",
        |v| copy(&v.record(0, 0), &v.record(0, 1)),
        Noticed::AtOnce,
        &["cannot be read"],
    ),
    (
        "a record of another writer in its place",
        |v| copy(&v.record(1, 1), &v.record(0, 1)),
        Noticed::AtOnce,
        &["cannot be read"],
    ),
    (
        "a record of another repository",
        |v| copy(&first(&v.strange("log")), &v.record(0, 1)),
        Noticed::AtOnce,
        &["cannot be read"],
    ),
    ("two packs of pages swapped", |v| swap(&v.packs(1)), Noticed::ByCheck, &["packs/"]),
    ("two packs of contents swapped", |v| swap(&v.packs(0)), Noticed::ByReading, &["packs/"]),
    (
        "a pack of another repository",
        |v| copy(&first(&v.strange("packs")), &v.packs(1)[0]),
        Noticed::ByCheck,
        &["packs/"],
    ),
    ("a pack of pages is gone", |v| remove(v.packs(1)[0].clone()), Noticed::ByCheck, &["packs/"]),
    ("a pack of contents is gone", |v| remove(v.packs(0)[0].clone()), Noticed::ByCheck, &["packs/"]),
    ("a pack is cut", |v| cut(&v.packs(0)[0]), Noticed::ByCheck, &["packs/"]),
    ("contents are changed", |v| flip(&v.packs(0)[0]), Noticed::ByReading, &["packs/"]),
    (
        "contents in the place of an index",
        |v| copy(&v.packs(0)[0], &first(&v.at("index"))),
        Noticed::ByCheck,
        &["index/"],
    ),
    (
        "contents in the place of a record",
        |v| copy(&v.packs(0)[0], &v.record(1, 1)),
        Noticed::AtOnce,
        &["cannot be read"],
    ),
    (
        "the config of another repository",
        |v| copy(&v.strange("config"), &v.at("config")),
        Noticed::NotOpened,
        &["keys/"],
    ),
    ("a changed config", |v| flip(&v.at("config")), Noticed::AtOnce, &["config"]),
    (
        "a slot of another repository",
        |v| copy(&first(&v.strange("keys")), &first(&v.at("keys"))),
        Noticed::AtOnce,
        &["keys/"],
    ),
];

fn remove(path: PathBuf) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

fn swap(two: &[PathBuf]) {
    let (one, other) = (fs::read(&two[0]).unwrap(), fs::read(&two[1]).unwrap());
    fs::write(&two[0], other).unwrap();
    fs::write(&two[1], one).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn first(folder: &Path) -> PathBuf {
    files(folder).swap_remove(0)
}

/// The program as one of the machines.
fn command(program: &Program, root: &Path, state: &str, arguments: &[&str]) -> Command {
    let mut command = program.command(arguments);
    command.env("BYGONE_PASSWORD", "test").env("BYGONE_REPOSITORY", root.join("repository"));
    command.env("BYGONE_STATE_DIR", root.join(state)).env("HOME", root);
    command
}

fn run(program: &Program, root: &Path, state: &str, arguments: &[&str]) -> Ended {
    Ended::of(&mut command(program, root, state, arguments))
}

impl World {
    fn new() -> World {
        let program = Program::new();
        init_cheaply(&program.repository());
        let source = program.source();
        fs::create_dir(&source).unwrap();
        for f in 0..20 {
            fs::write(source.join(format!("{f}")), noise(f, 2_000)).unwrap();
        }
        let (old, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let back_up = |root: &Path, state: &str, seed: u64| {
            fs::write(source.join("large"), noise(100 + seed, 90_000)).unwrap();
            run(&program, root, state, &["backup", "-q", source.to_str().unwrap()]).ok();
        };
        back_up(program.scratch(), "state", 0);
        back_up(program.scratch(), "other", 1);
        copy_folder(program.scratch(), old.path());
        back_up(program.scratch(), "state", 2);
        back_up(program.scratch(), "other", 3);
        init_cheaply(&stranger.path().join("repository"));
        back_up(stranger.path(), "state", 4);
        back_up(stranger.path(), "state", 3);
        let seen = run(&program, program.scratch(), "state", &["snapshots"]).ok();
        assert_eq!((seen.stderr.as_str(), seen.stdout.lines().count()), ("", 5), "{}", seen.stdout);
        World { program, old, stranger }
    }

    fn victim(&self) -> Victim<'_> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["repository", "state"] {
            copy_folder(&self.program.scratch().join(name), &folder.path().join(name));
        }
        Victim { world: self, folder }
    }
}

impl Victim<'_> {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("repository").join(name)
    }

    fn strange(&self, name: &str) -> PathBuf {
        self.world.stranger.path().join("repository").join(name)
    }

    /// The chain of this machine (0) or of the other one (1): the first record of the first names this machine's.
    fn chain(&self, machine: usize) -> PathBuf {
        let writer_of = |state: &str| {
            let database = files(&self.world.program.scratch().join(state)).into_iter();
            let path = database.into_iter().find(|path| path.extension().is_some_and(|end| end == "db")).unwrap();
            let db = rusqlite::Connection::open(path).unwrap();
            let id: [u8; 16] = db.query_row("SELECT id FROM writer", [], |row| row.get(0)).unwrap();
            bygone::id::WriterId(id).to_string()
        };
        self.at("log").join(writer_of(["state", "other"][machine]))
    }

    fn record(&self, machine: usize, seq: u64) -> PathBuf {
        self.chain(machine).join(format!("{seq:010}"))
    }

    /// Packs: those of contents (0) or of pages (1), which are smaller here.
    fn packs(&self, which: usize) -> Vec<PathBuf> {
        let mut packs = files(&self.at("packs"));
        packs.retain(|pack| (fs::metadata(pack).unwrap().len() < 60_000) == (which == 1));
        // Which come first must not hang on their names, which are chance: the first two are of one length.
        packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
        assert!(packs.len() >= 2, "{packs:?}");
        packs
    }

    fn put_all(&self, from: &Path) {
        remove(self.at(""));
        copy_folder(&from.join("repository"), &self.at(""));
    }

    fn put_log(&self, from: &Path) {
        for folder in ["log", "copies/log"] {
            remove(self.at(folder));
            copy_folder(&from.join("repository").join(folder), &self.at(folder));
        }
    }

    /// Removes it with its second copies.
    fn lose(&self, path: PathBuf) {
        remove(self.copy_of(&path));
        remove(path);
    }

    fn copy_of(&self, path: &Path) -> PathBuf {
        self.at("copies").join(path.strip_prefix(self.at("")).unwrap())
    }

    fn continue_old(&self) {
        self.put_all(self.world.old.path());
        let clone = tempfile::tempdir().unwrap();
        copy_folder(&self.world.old.path().join("state"), &self.folder.path().join("clone"));
        let source = clone.path().to_str().unwrap();
        run(&self.world.program, self.folder.path(), "clone", &["backup", "-q", source]).ok();
    }

    fn run(&self, state: &str, arguments: &[&str]) -> Ended {
        run(&self.world.program, self.folder.path(), state, arguments)
    }

    /// Whatever comes back is right.
    fn expect_no_lies(&self, what: &str) {
        let back = self.folder.path().join("back");
        let source = self.world.program.source();
        let told = self
            .run("state", &["restore", "-q", &format!("latest:{}", source.display()), "--to", back.to_str().unwrap()]);
        for path in if back.is_dir() { files(&back) } else { Vec::new() } {
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = fs::read(&path).unwrap();
            let is_right = match name.parse::<u64>() {
                Ok(f) => bytes == noise(f, 2_000),
                Err(_) => (0..4).any(|seed| bytes == noise(100 + seed, 90_000)),
            };
            assert!(is_right, "{what}: '{name}' is wrong, and restore ends with {}", told.code);
        }
    }

    /// Who noticed, and everything that was said up to there.
    fn notice(&self) -> (Option<Noticed>, String) {
        let at_once = self.run("state", &["snapshots"]);
        let mut said = at_once.stderr.clone();
        if at_once.code != 0 {
            return (Some(Noticed::NotOpened), said);
        }
        if !at_once.stderr.is_empty() {
            let check = self.run("state", &["check"]);
            assert_eq!(check.code, 4, "{}{}", check.stdout, check.stderr);
            return (Some(Noticed::AtOnce), said);
        }
        for (noticed, arguments) in
            [(Noticed::ByCheck, &["check"][..]), (Noticed::ByReading, &["check", "--read-data"])]
        {
            let check = self.run("state", arguments);
            said += &(check.stdout + &check.stderr);
            match check.code {
                0 => {}
                4 => return (Some(noticed), said),
                code => panic!("check ends with {code}: {said}"),
            }
        }
        (None, said)
    }
}

#[test]
fn what_a_lying_store_does_is_noticed() {
    let world = World::new();
    for (what, attack, expected, words) in ATTACKS {
        let victim = world.victim();
        attack(&victim);
        let (noticed, said) = victim.notice();
        assert_eq!(noticed, Some(*expected), "{what}: {said}");
        for word in *words {
            assert!(said.contains(word), "{what}: nobody says '{word}': {said}");
        }
        if *expected == Noticed::AtOnce && (said.contains("rolled back") || said.contains("replaced")) {
            assert!(said.contains("WENT BACKWARDS"), "{what}: {said}");
        }
        victim.expect_no_lies(what);
        println!("{noticed:?}: {what}");
    }
    println!("{} attacks, all noticed", ATTACKS.len());
}

#[test]
fn a_fresh_machine_learns_of_a_withheld_record_from_the_others() {
    let world = World::new();
    let victim = world.victim();
    // The other machine saw it when it made its newest snapshot.
    let name = victim.record(0, 1);
    victim.lose(name.clone());
    let check = victim.run("fresh", &["check"]);
    let name = name.strip_prefix(victim.at("")).unwrap().display().to_string();
    assert_eq!(check.code, 4, "{}", check.stderr);
    assert!((check.stdout + &check.stderr).contains(&name));
}

/// A store that loses one of two copies lies to nobody: all that was said can still be read, and repair makes it as it was.
#[test]
fn a_record_that_is_left_in_its_second_copy_is_no_rollback() {
    let world = World::new();
    type Loss = (&'static str, fn(&Victim<'_>) -> PathBuf);
    let losses: [Loss; 4] = [
        ("the newest record of this machine", |v| v.record(0, 1)),
        ("the newest record of another machine", |v| v.record(1, 1)),
        ("a whole chain", |v| v.chain(1)),
        ("the whole log", |v| v.at("log")),
    ];
    for (what, lost) in losses {
        let victim = world.victim();
        let (first, copy) = (lost(&victim), victim.copy_of(&lost(&victim)));
        remove(first.clone());
        let listed = victim.run("state", &["snapshots"]).ok();
        let told = &listed.stderr;
        assert!(told.contains("its second copy can") && told.contains("'bygone repair'"), "{what}: {told}");
        assert!(!told.contains("BACKWARDS") && !told.contains("rolled back"), "{what}: {told}");
        assert_eq!(listed.stdout.lines().count(), 5, "{what}: {}", listed.stdout);
        // Nothing is removed before it is mended.
        for state in ["state", "fresh"] {
            let pruned = victim.run(state, &["prune", "--grace", "0"]).fails(4).stderr;
            assert!(pruned.contains("bygone repair") && !pruned.contains("BACKWARDS"), "{what}: {pruned}");
            let check = victim.run(state, &["check"]).fails(4);
            let said = check.stdout + &check.stderr;
            assert!(said.contains("its second copy is there") && !said.contains("rolled back"), "{what}: {said}");
        }
        victim.expect_no_lies(what);
        victim.run("state", &["repair"]).ok();
        assert!(first.exists() && copy.exists(), "{what}");
        assert_eq!(victim.run("state", &["check"]).ok().stderr, "", "{what}");
    }
    // A copy that is not what this machine has seen excuses nothing.
    for bytes in [b"nonsense".to_vec(), fs::read(world.victim().record(0, 0)).unwrap()] {
        let victim = world.victim();
        fs::write(victim.copy_of(&victim.record(0, 1)), bytes).unwrap();
        remove(victim.record(0, 1));
        let told = victim.run("state", &["snapshots"]).stderr;
        assert!(told.contains("BACKWARDS") && told.contains("rolled back"), "{told}");
    }
}

#[test]
fn another_repository_in_the_place_of_the_known_one_is_told_once() {
    let program = Program::with_source();
    let (ours, away) = (program.repository(), program.scratch().join("away"));
    let told = |arguments: &[&str]| program.run(arguments).ok().stderr;
    assert_eq!(told(&["snapshots"]), "");
    // Made by somebody else, with the same password.
    let other = Program::new();
    other.run(&["init"]).ok();
    fs::rename(&ours, &away).unwrap();
    fs::rename(other.repository(), &ours).unwrap();
    let first = told(&["snapshots"]);
    assert!(first.contains("ANOTHER REPOSITORY") && first.contains(ours.to_str().unwrap()), "{first}");
    assert_eq!(told(&["snapshots"]), "");
    // Disks that take turns are known by now.
    fs::remove_dir_all(&ours).unwrap();
    fs::rename(&away, &ours).unwrap();
    assert_eq!(told(&["snapshots"]), "");
    // Who makes a new one knows what he does.
    fs::remove_dir_all(&ours).unwrap();
    told(&["init"]);
    assert_eq!(told(&["snapshots"]), "");
}

#[test]
fn a_note_that_was_cut_short_accuses_nobody() {
    let program = Program::with_source();
    program.run(&["snapshots"]).ok();
    let folder = program.scratch().join("state/met");
    let note = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&note).unwrap();
    for len in [0, 1, whole.len() / 2, whole.len() - 33, whole.len() - 32, whole.len() - 10, whole.len() - 1] {
        fs::write(&note, &whole[..len]).unwrap();
        for _ in 0..2 {
            assert_eq!(program.run(&["snapshots"]).ok().stderr, "", "{len} of {}", whole.len());
        }
    }
}
