//! Real processes at once on one repository: two machines that back up, somebody who forgets, recalls and prunes, a check, and a
//! drive that is read all the time; some of them killed in their middle. Afterwards `check --read-data` finds nothing, and
//! every snapshot that was acknowledged and not forgotten is restored as it was.
//!
//! Who is killed, and at which of its calls, follows from a seed; how the processes get along follows from the machine.
//! The gate runs a few seeds; `BYGONE_TEST_INTERLEAVINGS=50` says how many.

use crate::drives::until;
use crate::house::copy_folder;
use crate::house::noise;
use crate::program::json_lines;
use crate::scene::Place;
use crate::scene::Scene;
use crate::tracer;
use crate::tracer::Act;
use crate::tracer::At;
use nix::libc::ENOTCONN;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Seeds in the gate.
const SEEDS: u64 = 3;
/// Backups by each machine.
const ROUNDS: u64 = 3;
/// Who is to be killed is killed at one of so many calls.
const CALLS: u64 = 130;

/// What one after the other does beside the backups; the code it ends with if it is not killed. `{}` is a snapshot.
const UPKEEP: &[(&[&str], &[i32])] = &[
    (&["forget", "-q", "{}"], &[0]),
    // A forget that was killed has left nothing to take back.
    (&["undo-forget", "-q", "{}"], &[0, 1, 13]),
    (&["tag", "-q", "--add", "upkeep", "latest"], &[0]),
    (&["prune", "-q", "--grace", "0"], &[0]),
    (&["forget", "-q", "{}"], &[0, 13]),
    (&["prune", "-q", "--grace", "0", "--max-unused", "0%"], &[0]),
    (&["prune", "-q", "--grace", "0"], &[0]),
];

/// Files by path, with what is in them.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(root: &Path) -> std::io::Result<Files> {
    let mut found = Files::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
                found.insert(entry.path().strip_prefix(root).unwrap().to_owned(), fs::read(entry.path())?);
            }
        }
    }
    Ok(found)
}

fn dice(seed: u64, what: &str, sides: u64) -> u64 {
    let hash = blake3::hash(format!("{seed} {what}").as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % sides
}

/// What happens at once.
struct Crowd<'a> {
    seed: u64,
    place: &'a Place<'a>,
    /// Snapshots that were acknowledged, with what is in them, and where it lay.
    acknowledged: Mutex<Vec<(String, PathBuf, Files)>>,
    killed: AtomicUsize,
    reads: AtomicUsize,
    is_over: AtomicBool,
}

impl Crowd<'_> {
    /// Runs the program as a machine, and perhaps kills it. Returns code and output, if it ended by itself.
    fn run(&self, machine: &str, arguments: &[&str]) -> Option<(i32, String, String)> {
        let mut command = self.place.command(arguments);
        command.env("BYGONE_STATE_DIR", self.place.folder().join(format!("state {machine}")));
        let what = format!("{machine} {arguments:?}");
        let at = if dice(self.seed, &what, 3) == 0 { 1 + dice(self.seed, &what, CALLS) } else { u64::MAX };
        let mut at = At::new(usize::try_from(at).unwrap(), Act::Kill);
        let traced = tracer::run(&command, &[&self.place.folder()], &mut at);
        if traced.code.is_none() {
            self.killed.fetch_add(1, Ordering::SeqCst);
        }
        Some((traced.code?, traced.stdout, traced.stderr))
    }

    fn back_up(&self, machine: &str) {
        let source = self.place.folder().join(format!("source {machine}"));
        copy_folder(&self.place.scene.program.source().join("folder 0"), &source);
        for round in 0..ROUNDS {
            let new = noise(self.seed * 100 + round, 30_000 + 70_000 * dice(self.seed, "size", 4) as usize);
            fs::write(source.join("new"), new).unwrap();
            fs::write(source.join(format!("{machine} {round}")), "small").unwrap();
            let tag = round.to_string();
            let arguments = ["backup", "--json", "--tag", &tag, "--checkpoint-every", "0s", source.to_str().unwrap()];
            let Some((code, told, said)) = self.run(machine, &arguments) else { continue };
            assert_eq!(code, 0, "seed {}, machine {machine}: {said}", self.seed);
            let id = json_lines(&told).last().unwrap()["snapshot"]["id"].as_str().unwrap().to_owned();
            self.acknowledged.lock().unwrap().push((id, source.clone(), files(&source).unwrap()));
        }
    }

    fn look_after(&self, snapshot: &str) {
        for (arguments, codes) in UPKEEP {
            let arguments: Vec<_> = arguments.iter().map(|word| if *word == "{}" { snapshot } else { word }).collect();
            if let Some((code, told, said)) = self.run("upkeep", &arguments) {
                assert!(codes.contains(&code), "seed {}, {arguments:?} ends with {code}: {told}{said}", self.seed);
            }
        }
    }

    fn check(&self) {
        let told = self.place.run(&["check", "--read-data"]);
        assert_eq!(told.code, 0, "seed {}: {}{}", self.seed, told.stdout, told.stderr);
    }

    /// Reads from a drive until all is over; in some crowds its process is killed, and another one takes its place.
    fn read(&self, snapshot: &str) {
        let at = self.place.folder().join("drive");
        let _drive = Drive(at.clone());
        let source = self.place.scene.program.source();
        let what = format!("{snapshot}:{}", source.display());
        let mount = || {
            let told = self.place.run(&["--json", "mount", &what, at.to_str().unwrap()]);
            assert_eq!(told.code, 0, "seed {}: {}", self.seed, told.stderr);
            json_lines(&told.stdout)[0]["pid"].as_i64().unwrap()
        };
        let mut pid = mount();
        let truth = files(&at).unwrap();
        let mut is_to_be_killed = dice(self.seed, "drive", 3) == 0;
        while !self.is_over.load(Ordering::SeqCst) {
            assert!(files(&at).unwrap() == truth, "seed {}: the drive shows something else", self.seed);
            // The others need the processors as well.
            thread::sleep(Duration::from_millis(5));
            if self.reads.fetch_add(1, Ordering::SeqCst) == 2 && is_to_be_killed {
                is_to_be_killed = false;
                let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
                // Folders that were read come from the memory of the kernel.
                until(|| {
                    fs::metadata(at.join("asked for by nobody")).is_err_and(|e| e.raw_os_error() == Some(ENOTCONN))
                });
                pid = mount();
                self.killed.fetch_add(1, Ordering::SeqCst);
            }
        }
        let told = self.place.run(&["umount", at.to_str().unwrap()]);
        assert_eq!(told.code, 0, "seed {}: {}", self.seed, told.stderr);
    }

    /// All that was acknowledged is there.
    fn expect_all(&self) {
        self.check();
        let back = self.place.folder().join("back");
        for (id, source, truth) in &*self.acknowledged.lock().unwrap() {
            let what = format!("{id}:{}", source.display());
            let told = self.place.run(&["restore", "-q", &what, "--to", back.to_str().unwrap()]);
            assert_eq!((told.code, told.stderr.as_str()), (0, ""), "seed {}", self.seed);
            assert!(files(&back).unwrap() == *truth, "seed {}: {id} is not what was backed up", self.seed);
            fs::remove_dir_all(&back).unwrap();
        }
    }
}

/// A mount point that is cleared whatever happens.
struct Drive(PathBuf);

impl Drop for Drive {
    fn drop(&mut self) {
        let _mostly_unmounted = Command::new("fusermount3").arg("-uzq").arg(&self.0).output();
    }
}

#[test]
fn many_at_once_some_of_them_killed() {
    let began = Instant::now();
    let seeds = std::env::var("BYGONE_TEST_INTERLEAVINGS").map_or(SEEDS, |number| number.parse().unwrap());
    let scene = Scene::new(2);
    let listed = json_lines(&scene.run(&["snapshots", "--json"]).ok().stdout);
    let id = |number: usize| listed[number]["id"].as_str().unwrap();
    let (mut acknowledged, mut killed, mut reads) = (0, 0, 0);
    for seed in 0..seeds {
        let place = scene.place();
        let crowd = Crowd {
            seed,
            place: &place,
            acknowledged: Mutex::default(),
            killed: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        };
        thread::scope(|scope| {
            let reader = scope.spawn(|| crowd.read(id(1)));
            let others = [
                scope.spawn(|| crowd.back_up("a")),
                scope.spawn(|| crowd.back_up("b")),
                scope.spawn(|| crowd.look_after(id(0))),
                scope.spawn(|| crowd.check()),
            ];
            let ended = others.map(thread::ScopedJoinHandle::join);
            crowd.is_over.store(true, Ordering::SeqCst);
            reader.join().unwrap();
            ended.into_iter().for_each(|ended| ended.unwrap());
        });
        crowd.expect_all();
        acknowledged += crowd.acknowledged.into_inner().unwrap().len();
        killed += crowd.killed.into_inner();
        reads += crowd.reads.into_inner();
    }
    println!(
        "{seeds} interleavings in {:?}: {acknowledged} snapshots acknowledged and restored, {killed} processes killed, the \
         drive read {reads} times",
        began.elapsed()
    );
    assert!(killed > 0 && acknowledged > 0 && reads > 0);
}
