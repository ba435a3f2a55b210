//! From the options to an open repository: runtime, store, password, log, local state.

use crate::browse::Browse;
use crate::browse::Filter;
use crate::browse::SnapshotPath;
use crate::cli::error::CommandError;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::global::Global;
use crate::cli::global::moved;
use crate::cli::human;
use crate::cli::json;
use crate::cli::met;
use crate::cli::out;
use crate::cli::password;
use crate::cli::password::Given;
use crate::cli::place;
use crate::cli::select;
use crate::format::record::Snapshot;
use crate::monitor::chain;
use crate::repo::Author;
use crate::repo::Chunks;
use crate::repo::ChunksOptions;
use crate::repo::Freshness;
use crate::repo::Log;
use crate::repo::LogProblem;
use crate::repo::Memory;
use crate::repo::Repo;
use crate::state::State;
use crate::store;
use crate::store::Counted;
use crate::store::Location;
use crate::store::StoreOptions;
use crate::store::Totals;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Fewest threads of the runtime: decoding must not keep requests from being sent.
const WORKERS_MIN: usize = 2;
/// Memory for what is read from a store that is far away: three eighths of it hold what was read ahead.
const FAR_MEMORY_BYTES: usize = 224 << 20;

/// The one runtime of the program.
pub(super) fn runtime() -> Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(cores.max(WORKERS_MIN)).enable_all().build().map_err(Fault::Runtime)?)
}

/// A store whose requests are counted.
pub(super) fn counted(global: &Global, location: &Location, options: &StoreOptions) -> Result<Arc<Counted>> {
    for key in global.exposed_settings() {
        let text = format!("other users can see '{key}' in the list of processes; an environment variable is hidden");
        out::warning(global.json, text);
    }
    Ok(Counted::new(store::open(location, options)?))
}

/// What is remembered of a repository: kept for clouds, and for a folder if the size of the cache is given.
fn memory(global: &Global, location: &Location, freshness: Freshness) -> Result<Option<Memory>> {
    let is_far = matches!(location, Location::Bucket { .. });
    let cache = if is_far || global.cache_size.is_some() || global.offline { global.cache()? } else { None };
    if global.offline && cache.is_none() {
        return Err(usage("--offline needs the cache, and it cannot be opened"));
    }
    let freshness = if global.offline { Freshness::Offline } else { freshness };
    Ok(cache.map(|cache| Memory { cache, freshness }))
}

/// An open repository and its log.
pub(super) struct Opened {
    pub(super) runtime: Runtime,
    pub(super) counted: Arc<Counted>,
    pub(super) location: Location,
    pub(super) repo: Repo,
    pub(super) state: State,
    pub(super) log: Log,
    /// Whether programs are to understand what is told.
    pub(super) json: bool,
}

impl Opened {
    /// Opens the repository that was named, with the password from wherever it is.
    pub(super) fn new(global: &Global) -> Result<Opened> {
        Opened::with(global, &global.store_options()?, Freshness::Newest, password::read)
    }

    /// The same for who is going to free space: on a full disk there is room for that.
    pub(super) fn to_free_space(global: &Global) -> Result<Opened> {
        let options = StoreOptions { frees_space: true, ..global.store_options()? };
        Opened::with(global, &options, Freshness::Newest, password::read)
    }

    /// The same with a store opened in another way, and a password from elsewhere. The store is opened first: a
    /// mistyped folder is told before anybody is asked for a password.
    pub(super) fn with(
        global: &Global,
        options: &StoreOptions,
        freshness: Freshness,
        password: impl FnOnce(&Global) -> Result<Given>,
    ) -> Result<Opened> {
        let location = global.location()?;
        let memory = memory(global, &location, freshness)?;
        let counted = counted(global, &location, options)?;
        let given = password(global)?;
        let runtime = runtime()?;
        let opened = runtime.block_on(async {
            match &memory {
                Some(memory) => Repo::open_remembered(counted.clone(), memory, &given.password()).await,
                None => Repo::open_with_log(counted.clone(), &given.password()).await,
            }
        });
        let (repo, log) = opened.map_err(|error| wrong_password(error, &given))?;
        met::meet(global, &location, repo.config().repository);
        let state = open_state(global, &repo)?;
        let mut opened = Opened { runtime, counted, location, repo, state, log, json: global.json };
        // An old answer is older than what this machine has seen since, and no rollback.
        if memory.is_none_or(|memory| matches!(memory.freshness, Freshness::Newest | Freshness::Ask)) {
            opened.check_heads(global);
        }
        for name in opened.repo.copied() {
            let text = "cannot be read; its second copy can: 'bygone repair' puts it back";
            out::warning(global.json, format_args!("'{name}' {text}"));
        }
        opened.find_what_is_gone(global)?;
        tell_problems(global, &opened.log.problems);
        Ok(opened)
    }

    /// Records that are gone may have second copies.
    fn find_what_is_gone(&mut self, global: &Global) -> Result<()> {
        if !global.offline {
            let log = std::mem::take(&mut self.log);
            self.log = self.runtime.block_on(log.with_copies(&self.repo, &self.state))?;
        }
        Ok(())
    }

    /// Who appends to the log: this user of this machine.
    pub(super) fn author<'a>(&'a self, machine: &'a [u8]) -> Author<'a> {
        Author { state: &self.state, machine }
    }

    /// Asks which snapshots there are by now.
    pub(super) fn read_log(&mut self, global: &Global) -> Result<()> {
        self.log = self.runtime.block_on(Log::read(&self.repo))?;
        self.check_heads(global);
        self.find_what_is_gone(global)?;
        tell_problems(global, &self.log.problems);
        Ok(())
    }

    fn check_heads(&mut self, global: &Global) {
        if let Err(error) = self.log.check_heads(&self.state) {
            out::warning(global.json, format_args!("rollback cannot be noticed: {}", chain(&error)));
        }
    }

    /// The snapshot that was meant.
    pub(super) fn select(&self, wanted: &SnapshotPath, filter: &Filter) -> Result<&Snapshot> {
        select::choose(self.json, &wanted.snapshot, &self.log.snapshots(), filter)
    }

    /// Bounds of memory that fit the place: for a store that is far away, much is read ahead.
    pub(super) fn chunks_options(&self) -> ChunksOptions {
        match self.location {
            Location::Folder(_) if self.repo.cache().is_none() => ChunksOptions::default(),
            _ => ChunksOptions { memory_bytes: FAR_MEMORY_BYTES },
        }
    }

    /// A reader of chunks within these bounds.
    pub(super) fn chunks(&self, options: &ChunksOptions) -> Arc<Chunks> {
        let _within = self.runtime.enter();
        Chunks::new(&self.repo, options)
    }

    /// A snapshot as a tree.
    pub(super) fn browse(&self, snapshot: &Snapshot) -> Browse {
        Browse::open(&self.chunks(&self.chunks_options()), &self.log, snapshot)
    }

    /// The local folders that a backup never contains.
    pub(super) fn own_folders(&self, global: &Global) -> Vec<PathBuf> {
        let repository = match &self.location {
            Location::Folder(path) => Some(path.clone()),
            _ => None,
        };
        repository.into_iter().chain(place::state_folder()).chain(global.cache_folder()).collect()
    }

    /// What was asked of the store, at the end of every command.
    pub(super) fn tell_requests(&self, global: &Global) {
        tell_requests(global, &self.location, &self.counted.totals());
    }
}

/// Programs are always told; people if the store is far away, or with `-v`.
pub(super) fn tell_requests(global: &Global, location: &Location, totals: &Totals) {
    let moved = moved();
    if global.json {
        out::note(json::line("requests", &json::totals(totals, &moved)));
        return;
    }
    let is_near = matches!(location, Location::Folder(_) | Location::Memory(_));
    if global.quiet || (is_near && global.verbose == 0) {
        return;
    }
    let mut text = format!(
        "{} to the repository, {} down, {} up",
        human::plural(totals.requests, "request", "requests"),
        human::size(moved.bytes_down),
        human::size(moved.bytes_up),
    );
    if moved.retries > 0 {
        text += &format!(", {} tried again", human::count(moved.retries));
    }
    if moved.throttled > 0 {
        text += &format!(", {} times asked to slow down", human::count(moved.throttled));
    }
    out::note(text);
}

fn wrong_password(error: crate::repo::Error, given: &Given) -> CommandError {
    let is_wrong = matches!(error.inner(), crate::repo::Error::WrongPassword);
    let mut error = CommandError::from(error);
    if is_wrong && given.is_mistyped_code() {
        error = error.hint("it looks like a recovery code, but a character of it is wrong or missing");
    }
    if is_wrong { error.hint(format!("the password came from {}", given.from)) } else { error }
}

/// Local state, or a stand-in that lasts as long as the process: a restore must not fail for want of it.
fn open_state(global: &Global, repo: &Repo) -> Result<State> {
    let repository = repo.config().repository;
    let why = match place::state_folder() {
        Some(folder) => match State::open(&folder, repository) {
            Ok(state) => return Ok(state),
            Err(error) => chain(&error),
        },
        None => "no folder for local state: HOME is not set".to_owned(),
    };
    out::warning(global.json, format_args!("{why}; going on without (rollback cannot be noticed)"));
    Ok(State::in_memory()?)
}

fn tell_problems(global: &Global, problems: &[LogProblem]) {
    for problem in problems {
        out::warning(global.json, chain(problem));
    }
    let is_attack = |p: &LogProblem| matches!(p, LogProblem::RolledBack { .. } | LogProblem::Replaced { .. });
    if problems.iter().any(is_attack) {
        out::warning(
            global.json,
            "*** THE REPOSITORY WENT BACKWARDS *** Snapshots this machine has seen are gone without having been \
             forgotten. Either the storage was restored from an older copy, or somebody tampers with it. \
             Do not delete other copies before this is explained; once it is, 'bygone repair --accept-rollback' ends this warning.",
        );
    }
}
