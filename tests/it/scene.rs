//! A repository that is cheap to open and copy, a source that has changed since, and what must hold whatever happened to
//! the program meanwhile.
//!
//! A run takes place in a copy: repository, local state and cache. The source is the same for all.

use crate::check::checked;
use crate::house::copy_folder;
use crate::house::init_cheaply;
use crate::house::noise;
use crate::house::open_store;
use crate::program::Ended;
use crate::program::Program;
use crate::tracer;
use crate::tracer::Traced;
use crate::tracer::Watch;
use crate::truth::Said;
use crate::truth::Told;
use crate::truth::listen;
use bygone::check::Data;
use bygone::check::Options;
use bygone::id::SnapshotId;
use bygone::state::State;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What is below the source, by path: a hash of each node with its content.
pub(crate) type Below = BTreeMap<Vec<u8>, blake3::Hash>;

/// Two snapshots of a source, which has changed since.
pub(crate) struct Scene {
    pub(crate) program: Program,
    pub(crate) runtime: Runtime,
    /// What the repository says.
    pub(crate) before: Said,
    /// The source as it is now.
    pub(crate) now: Below,
}

/// A copy of repository and state in which something happens.
pub(crate) struct Place<'a> {
    pub(crate) scene: &'a Scene,
    folder: TempDir,
}

fn fill(root: &Path) {
    fs::create_dir(root).unwrap();
    for d in 0..3 {
        let folder = root.join(format!("folder {d}"));
        fs::create_dir(&folder).unwrap();
        for f in 0..6 {
            fs::write(folder.join(format!("tiny {f}")), format!("{d} {f}")).unwrap();
        }
        fs::write(folder.join("small"), noise(d, 20_000)).unwrap();
    }
    symlink("folder 1/small", root.join("link")).unwrap();
    fs::write(root.join("several chunks"), noise(9, 300_000)).unwrap();
}

fn change(root: &Path) {
    fs::write(root.join("folder 1/small"), noise(101, 25_000)).unwrap();
    fs::write(root.join("new"), noise(102, 60_000)).unwrap();
    fs::remove_dir_all(root.join("folder 2")).unwrap();
}

impl Scene {
    /// With as many snapshots as wanted, at most two.
    pub(crate) fn new(snapshots: usize) -> Scene {
        let program = Program::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        init_cheaply(&program.repository());
        let (before, now) = (Said::default(), Below::new());
        let mut scene = Scene { program, runtime, before, now };
        let source = scene.program.source();
        fill(&source);
        for number in 0..snapshots {
            fs::write(source.join("numbered"), noise(number as u64, 5_000)).unwrap();
            scene.run(&["backup", "-q", source.to_str().unwrap()]).ok();
        }
        change(&source);
        scene.before = scene.listen(&scene.program.repository());
        assert!(scene.before.snapshots.len() == snapshots && scene.before.complaints().is_empty());
        let place = scene.place();
        place.run(&["backup", "-q", source.to_str().unwrap()]).ok();
        let said = scene.listen(&place.repository());
        let newest = said.snapshots.iter().find(|(id, _)| !scene.before.snapshots.contains_key(id)).unwrap();
        let now = scene.below(newest.1);
        drop(place);
        assert!(now.len() > 15);
        scene.now = now;
        scene
    }

    /// The program where everything began.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.program.command(arguments).env("BYGONE_PASSWORD", "test"))
    }

    /// What a repository says.
    pub(crate) fn listen(&self, repository: &Path) -> Said {
        self.runtime.block_on(listen(open_store(repository))).unwrap()
    }

    /// The folders above the source change all the time.
    pub(crate) fn below(&self, told: &Told) -> Below {
        let base = self.program.source().to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
        told.nodes
            .iter()
            .filter(|(path, _)| path.starts_with(&base))
            .map(|(path, hash)| (path.clone(), *hash))
            .collect()
    }

    /// A copy.
    pub(crate) fn place(&self) -> Place<'_> {
        let place = self.empty_place();
        copy_folder(&self.program.repository(), &place.repository());
        copy_folder(&self.program.scratch().join("state"), &place.folder().join("state"));
        place
    }

    /// Without repository and state.
    pub(crate) fn empty_place(&self) -> Place<'_> {
        // In memory, where that is possible: what is waited for in these tests are disks.
        let in_memory = tempfile::tempdir_in("/dev/shm");
        Place { scene: self, folder: in_memory.or_else(|_| tempfile::tempdir()).unwrap() }
    }

    /// Does something with 1, 2, 3 and so on, two at once, until it says that it was the last.
    pub(crate) fn count_up(&self, work: impl Fn(usize) -> bool + Sync) {
        let (next, is_over) = (AtomicUsize::new(1), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::SeqCst) {
                        if !work(next.fetch_add(1, Ordering::SeqCst)) {
                            is_over.store(true, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
    }
}

impl Place<'_> {
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder().join("repository")
    }

    /// The program here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.scene.program.command(arguments);
        command.env("BYGONE_PASSWORD", "test").env("BYGONE_REPOSITORY", self.repository());
        command.env("BYGONE_STATE_DIR", self.folder().join("state")).env("HOME", self.folder());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// The same, watched.
    pub(crate) fn trace(&self, arguments: &[&str], watch: &mut dyn Watch) -> Traced {
        tracer::run(&self.command(arguments), &[&self.folder()], watch)
    }

    /// The repository is sound, every snapshot of before is as it was (but for those that may be gone), and every other
    /// one is the source. Returns the new ones.
    #[track_caller]
    pub(crate) fn expect_sound(&self, may_be_gone: &[SnapshotId], what: &str) -> BTreeSet<SnapshotId> {
        let scene = self.scene;
        let said = scene.runtime.block_on(listen(open_store(&self.repository())));
        let said = said.unwrap_or_else(|e| panic!("{what}: {}", bygone::monitor::chain(&e)));
        assert!(said.complaints().is_empty(), "{what}: {:?}", said.complaints());
        for (id, told) in &scene.before.snapshots {
            match said.snapshots.get(id) {
                Some(now) => assert!(now == told, "{what}: a snapshot has changed"),
                None => assert!(may_be_gone.contains(id), "{what}: a snapshot is gone"),
            }
        }
        let fresh = said.snapshots.iter().filter(|(id, _)| !scene.before.snapshots.contains_key(id));
        for (_, told) in fresh.clone() {
            assert!(scene.below(told) == scene.now, "{what}: a new snapshot is not the source");
        }
        fresh.map(|(id, _)| *id).collect()
    }

    /// `check --read-data` finds nothing.
    #[track_caller]
    pub(crate) fn expect_clean(&self, what: &str) {
        let options = Options { data: Data::All, ..Options::default() };
        // Without a memory: what the machine has seen is the business of the program.
        let state = State::in_memory().unwrap();
        let report = self.scene.runtime.block_on(checked(open_store(&self.repository()), &state, &options));
        let report = report.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(report.is_clean(), "{what}: {:?}", report.problems);
    }

    /// The next backup succeeds without a word, and is the source.
    #[track_caller]
    pub(crate) fn expect_next_backup(&self, may_be_gone: &[SnapshotId], known: usize, what: &str) {
        let source = self.scene.program.source();
        let told = self.run(&["backup", "-q", source.to_str().unwrap()]);
        assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{what}: the next backup");
        let fresh = self.expect_sound(may_be_gone, what);
        assert_eq!(fresh.len(), known + 1, "{what}: the next backup has no snapshot");
    }

    /// The same with the program itself, from check to restore.
    #[track_caller]
    pub(crate) fn expect_restores(&self, what: &str) {
        let told = self.run(&["check", "--read-data"]);
        assert_eq!(told.code, 0, "{what}: {}{}", told.stdout, told.stderr);
        let (source, back) = (self.scene.program.source(), self.folder().join("back"));
        let told =
            self.run(&["restore", "-q", &format!("latest:{}", source.display()), "--to", back.to_str().unwrap()]);
        assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{what}");
        crate::drive::expect_equal(&source, &back);
        fs::remove_dir_all(back).unwrap();
    }
}
