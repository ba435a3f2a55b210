//! A repository and a state in scratch folders, for tests of the deeds.

use bygone::backup;
use bygone::backup::Options;
use bygone::backup::Parent;
use bygone::backup::Summary;
use bygone::browse::Browse;
use bygone::chunker::Sizes;
use bygone::crypto::password::Cost;
use bygone::crypto::password::Password;
use bygone::meta::Time;
use bygone::monitor::Collect;
use bygone::monitor::Monitor;
use bygone::repo::Author;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::InitOptions;
use bygone::repo::Log;
use bygone::repo::Repo;
use bygone::source;
use bygone::state::State;
use bygone::store;
use bygone::store::AnyStore;
use bygone::store::Location;
use bygone::store::StoreOptions;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A scratch folder with a repository, its state and a place for sources.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) repo: Repo,
    pub(crate) state: State,
    clock: std::cell::Cell<i64>,
}

pub(crate) fn password() -> Password {
    Password::new(b"test".to_vec())
}

/// Opens the store in a folder.
pub(crate) fn open_store(folder: &Path) -> AnyStore {
    let location: Location = folder.to_str().unwrap().parse().unwrap();
    store::open(&location, &StoreOptions { create: true, ..StoreOptions::default() }).unwrap()
}

impl House {
    pub(crate) fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(&folder.path().join("repository"));
        House::with_store(folder, store)
    }

    pub(crate) fn with_store(folder: TempDir, store: AnyStore) -> House {
        let options = InitOptions { sizes: Sizes::DEFAULT, cost: Cost::CHEAP, create_only: true, now_secs: 1 };
        House::with_options(folder, store, &password(), &options)
    }

    pub(crate) fn with_options(folder: TempDir, store: AnyStore, password: &Password, options: &InitOptions) -> House {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let repo = runtime.block_on(Repo::init(store, password, options)).unwrap();
        let state = State::open(&folder.path().join("state"), repo.config().repository).unwrap();
        std::fs::create_dir(folder.path().join("source")).unwrap();
        House { folder, runtime, repo, state, clock: std::cell::Cell::new(1_700_000_000) }
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub(crate) fn author(&self) -> Author<'_> {
        Author { state: &self.state, machine: b"test" }
    }

    pub(crate) fn options(&self) -> Options {
        self.clock.set(self.clock.get() + 1);
        Options {
            source: source::Options { roots: vec![self.source()], threads: 2, ..source::Options::default() },
            stdin: None,
            original: None,
            log: None,
            disks: Vec::new(),
            host: "host".to_owned(),
            user: "ada".to_owned(),
            tags: Vec::new(),
            description: String::new(),
            program: "test".to_owned(),
            time: Time { secs: self.clock.get(), nanos: 0 },
            parent: Parent::Newest,
            level: 3,
            threads: 2,
            dry_run: false,
            checkpoint_every: Duration::from_secs(3600),
        }
    }

    /// Takes a snapshot of the source; there must be no problems.
    pub(crate) fn backup(&self) -> Summary {
        let monitor = Collect::default();
        let summary = self.backup_with(self.options(), &monitor).unwrap();
        let problems = monitor.problems.lock().unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        summary
    }

    pub(crate) fn backup_with(&self, options: Options, monitor: &dyn Monitor) -> Result<Summary, backup::Error> {
        backup::backup(&self.repo, self.author(), self.runtime.handle(), options, monitor)
    }

    /// Opens the newest snapshot.
    pub(crate) fn browse(&self) -> Browse {
        self.runtime.block_on(open_latest(&self.repo))
    }
}

/// Opens the newest snapshot of a repository with caches of its own.
pub(crate) async fn open_latest(repo: &Repo) -> Browse {
    let log = Log::read(repo).await.unwrap();
    assert!(log.problems.is_empty(), "{:?}", log.problems);
    let chunks = Chunks::new(repo, &ChunksOptions::default());
    let snapshots = log.snapshots();
    Browse::open(&chunks, &log, snapshots.last().unwrap())
}

/// A repository whose password costs hardly anything.
pub(crate) fn init_cheaply(folder: &Path) {
    let options = InitOptions { sizes: Sizes::DEFAULT, cost: Cost::CHEAP, create_only: true, now_secs: 1 };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(Repo::init(open_store(folder), &password(), &options)).unwrap();
}

/// Copies files and folders; nothing else is there.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}
