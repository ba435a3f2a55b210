//! `kill -9` at any moment of a backup: all that was there stays whole, and the next run goes on.

use crate::house::noise;
use crate::house::open_store;
use crate::house::password;
use crate::program::Program;
use crate::truth::Said;
use crate::truth::Told;
use crate::truth::listen;
use crate::truth::read_snapshot;
use bygone::browse::Browse;
use bygone::chunker::Sizes;
use bygone::crypto::password::Cost;
use bygone::id::SnapshotId;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::InitOptions;
use bygone::repo::Repo;
use bygone::store::AnyStore;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;
use tokio::runtime::Runtime;

const KILLS: u32 = 200;

/// A repository that is cheap to open, and a source.
struct World {
    program: Program,
    runtime: Runtime,
    store: AnyStore,
}

impl World {
    fn new() -> World {
        let program = Program::new();
        let store = open_store(&program.repository());
        let runtime = Runtime::new().unwrap();
        let options = InitOptions { sizes: Sizes::DEFAULT, cost: Cost::CHEAP, create_only: true, now_secs: 1 };
        runtime.block_on(Repo::init(store.clone(), &password(), &options)).unwrap();
        let world = World { program, runtime, store };
        fs::create_dir(world.source()).unwrap();
        for d in 0..10 {
            fs::create_dir(world.source().join(format!("folder {d}"))).unwrap();
            for f in 0..30 {
                fs::write(world.source().join(format!("folder {d}/{f}")), noise(d * 100 + f, 2_000)).unwrap();
            }
        }
        world
    }

    fn source(&self) -> std::path::PathBuf {
        self.program.scratch().join("source")
    }

    /// Changes a few files, so that every run has something to store.
    fn change(&self, round: u64) {
        for i in 0..4 {
            let path = format!("folder {}/{}", (round + i) % 10, (round * 7 + i) % 30);
            fs::write(self.source().join(path), noise(10_000 + round * 10 + i, 3_000)).unwrap();
        }
        fs::write(self.source().join("large"), noise(20_000 + round, 5 << 20)).unwrap();
    }

    fn start(&self) -> Child {
        let source = self.source();
        let arguments = ["backup", "--quiet", "--checkpoint-every", "0s", source.to_str().unwrap()];
        let mut command = self.program.command(&arguments);
        command.env("BYGONE_PASSWORD", "test").stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn backup(&self) -> Duration {
        let began = Instant::now();
        let mut command = self.program.command(&["backup", "--quiet", self.source().to_str().unwrap()]);
        let output = command.env("BYGONE_PASSWORD", "test").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        began.elapsed()
    }

    fn listen(&self) -> Said {
        self.runtime.block_on(listen(self.store.clone())).unwrap()
    }

    /// Reads the newest snapshot and the oldest one: packs do not change, so now and then all of them is enough.
    fn look(&self, known: &BTreeMap<SnapshotId, Told>) {
        self.runtime.block_on(async {
            let (repo, log) = Repo::open_with_log(self.store.clone(), &password()).await.unwrap();
            assert!(log.problems.is_empty(), "{:?}", log.problems);
            let snapshots = log.snapshots();
            assert!(known.keys().all(|id| snapshots.iter().any(|snapshot| snapshot.id == *id)));
            let chunks = Chunks::new(&repo, &ChunksOptions::default());
            for snapshot in [snapshots[0], snapshots[snapshots.len() - 1]] {
                let told = read_snapshot(&Browse::open(&chunks, &log, snapshot)).await;
                assert!(told.faults.is_empty(), "{:?}", told.faults);
                assert!(known.get(&snapshot.id).is_none_or(|before| *before == told), "a snapshot has changed");
            }
        });
    }

    /// Bytes in packs, and in all.
    fn bytes(&self) -> (u64, u64) {
        let listed = self.runtime.block_on(self.store.list("")).unwrap();
        let packs = listed.iter().filter(|stored| stored.name.starts_with("packs/")).map(|stored| stored.len).sum();
        (packs, listed.iter().map(|stored| stored.len).sum())
    }
}

fn staged(repository: &Path) -> u64 {
    let entries = fs::read_dir(repository.join(".staging")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn killed_at_any_moment() {
    let world = World::new();
    let began = Instant::now();
    world.change(0);
    world.backup();
    let mut known: BTreeMap<_, _> = world.listen().snapshots;
    assert_eq!(known.len(), 1);
    let (first, _) = world.bytes();
    // How long a run with something to do takes: kills are spread over that. It follows what happens, because the
    // machine has other things to do as well.
    world.change(1);
    let mut whole = world.backup();
    let (mut killed, mut finished, mut stored) = (0, 0, 0);
    for kill in 0..KILLS {
        if kill % 4 == 0 {
            world.change(u64::from(kill) + 2);
            stored += 5 << 20;
        }
        let mut child = world.start();
        // Evenly spread, and in no order that follows the changes.
        std::thread::sleep(whole.mul_f64(f64::from(kill * 77 % KILLS) / f64::from(KILLS)));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            finished += 1;
            whole = whole.mul_f64(0.85);
        } else {
            killed += 1;
            whole = whole.mul_f64(1.05);
        }
        if kill % 10 == 9 {
            world.backup();
        }
        if kill % 25 == 24 {
            let said = world.listen();
            assert!(said.complaints().is_empty(), "after {} kills: {:?}", kill + 1, said.complaints());
            for (id, told) in &known {
                assert!(said.snapshots.get(id) == Some(told), "after {} kills a snapshot has changed", kill + 1);
            }
            known = said.snapshots;
        } else {
            world.look(&known);
        }
    }
    world.backup();
    let said = world.listen();
    assert!(said.complaints().is_empty() && known.iter().all(|(id, told)| said.snapshots[id] == *told));
    let (packs, all) = world.bytes();
    let needed = first + stored + (10 << 20);
    println!(
        "{killed} killed, {finished} were faster, {} snapshots, {:?}: {packs} bytes in packs for {needed} bytes of \
         content, {all} in all, {} left half-written",
        said.snapshots.len(),
        began.elapsed(),
        staged(&world.program.repository()),
    );
    assert!(killed > KILLS / 3, "only {killed} of {KILLS} were killed");
    assert!(
        packs < needed * 5 / 4 + (20 << 20),
        "{packs} bytes in packs for {needed}: something is stored again and again"
    );
}
