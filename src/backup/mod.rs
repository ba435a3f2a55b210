//! Taking a snapshot: walk the source in the order of the tree, compare with the parent, read what changed, store what
//! is new, and commit with one record.
//!
//! Three kinds of threads, joined by bounded queues, so that memory does not depend on the number of files:
//! ```text
//! scout: walk, compare, cut large files ──> workers: read small files, hash, compress ──> collector (the caller's
//!        └────────────── the same order, as tickets ──────────────────────────────────────^  thread): packs, tree
//! ```
//! The collector takes results in the order of the scout's tickets, so packs keep the order of the tree. Now and then
//! it stores everything open and writes down the tree so far as an unfinished snapshot: a killed run goes on from
//! there. Nothing is visible before the record; nothing uploaded is uploaded again.

mod census;
mod collect;
mod copy;
mod disk;
mod known;
mod looks;
mod mend;
mod options;
mod parent;
mod salvage;
mod scout;
mod together;
mod uploader;
mod work;

pub use copy::CopyOptions;
pub use copy::Original;
pub use copy::copy;
pub use copy::copy_id;
pub use disk::Changes;
pub use disk::Disk;
pub use disk::DiskError;
pub use options::Error;
pub use options::Options;
pub use options::Parent;
pub use options::Stdin;
pub use options::Summary;

use crate::browse::Browse;
use crate::crypto::random;
use crate::format::record::Snapshot;
use crate::id::SnapshotId;
use crate::monitor::Monitor;
use crate::repo::Author;
use crate::repo::Chunks;
use crate::repo::ChunksOptions;
use crate::repo::Log;
use crate::repo::Repo;
use crate::source;
use crate::source::Owners;
use census::Census;
use collect::Collector;
use copy::Copying;
use known::HeldBy;
use known::Known;
use looks::Looks;
use parent::OldNodes;
use scout::Job;
use scout::Line;
use scout::Scout;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;
use tokio::runtime::Handle;
use uploader::Uploader;
use work::Shop;

/// Longest description that nobody wrote.
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// Memory for pages of the parent while it is compared.
const PARENT_MEMORY_BYTES: usize = 32 << 20;
/// How often a backup begins anew because a prune was faster.
const AGAIN_MAX: usize = 3;
/// Files that one worker has open at once: what a disk whose files are not in memory works on meanwhile. Linux 6.1, two workers:
/// 6.6 s instead of 10.4.
const FILES_OPEN_MAX: usize = 32;

/// Takes a snapshot. Blocks the calling thread (which must not be one of the runtime's) until it is part of the
/// repository, or the monitor cancels it. Sources that cannot be read are told to the monitor and left out.
pub fn backup(
    repo: &Repo,
    author: Author<'_>,
    runtime: &Handle,
    mut options: Options,
    monitor: &dyn Monitor,
) -> Result<Summary, Error> {
    let began = Instant::now();
    for count in 0.. {
        let again = options.again().filter(|_| count < AGAIN_MAX);
        match (attempt((repo, author, runtime), options, monitor, began), again) {
            (Err(error @ Error::Removed { .. }), Some(again)) => {
                // What was stored for it is found again; only what is lost is read once more.
                tracing::warn!(error = %crate::monitor::chain(&error), "The backup begins anew");
                options = again;
            }
            (done, _) => return done,
        }
    }
    Err(Error::Unsteady)
}

fn attempt(
    (repo, author, runtime): (&Repo, Author<'_>, &Handle),
    mut options: Options,
    monitor: &dyn Monitor,
    began: Instant,
) -> Result<Summary, Error> {
    let (mut input, sources) = Input::of(&mut options, runtime)?;
    let log = match options.log.take() {
        Some(log) => log,
        None => runtime.block_on(Log::read(repo))?,
    };
    // After the log was read: so the log knows of each pack that is listed whether it goes.
    let listing = {
        let repo = repo.clone();
        runtime.spawn(async move { repo.store().list("packs").await })
    };
    let wanted = input.wanted(&options)?.unwrap_or_else(|| sources.clone());
    let (parent, mut partial) = choose_parent(&log, &options, &sources, &wanted)?;
    if let Input::Copy(copying) = &input {
        let id = copying.original.browse.snapshot().id;
        partial = log.partials().into_iter().rev().find(|partial| partial.id == id).cloned();
    }
    let chunks = {
        let _inside = runtime.enter();
        Chunks::new(repo, &ChunksOptions { memory_bytes: PARENT_MEMORY_BYTES })
    };
    // Without anything to compare with, it is sure to be asked for.
    let loading = (parent.is_none() && partial.is_none()).then(|| known::begin_to_load(repo, runtime));
    let packs =
        runtime.block_on(listing).map_err(|_| crate::repo::Error::TaskLost)?.map_err(crate::repo::Error::from)?;
    let known = Known::new(repo.clone(), runtime.clone(), &packs, log.marked_packs(), loading);
    let held = held_parent(author, &options, &known, parent.as_ref())?;
    let must_walk = partial.is_some() || parent.is_some() && held.is_none();
    let open_old = |snapshots: &[&Snapshot]| open_old(&chunks, &log, (runtime, &known), snapshots, held);
    let old = match &mut input {
        // An unfinished copy is of the same snapshot: what it has is neither new nor old.
        Input::Copy(copying) => {
            let part = open_old(&partial.iter().collect::<Vec<_>>())?;
            copying.begun = Some(OldNodes::new(runtime.clone(), chunks.clone(), part)?);
            open_old(&parent.iter().collect::<Vec<_>>())?
        }
        _ => open_old(&partial.iter().chain(&parent).collect::<Vec<_>>())?,
    };
    let is_whole = wanted == sources || parent.as_ref().is_some_and(|parent| parent.sources == sources);
    let mut draft = draft(&options, sources, parent.as_ref());
    if let Input::Copy(copying) = &input {
        draft.id = copying.original.browse.snapshot().id;
    }
    let chunker = repo.chunker();
    let shop = Shop {
        keys: repo.keys().clone(),
        recuts: matches!(&input, Input::Copy(copying) if copying.original.browse.chunks().repo().chunker() != chunker),
        chunker,
        known,
        owners: Owners::default(),
        level: options.level,
        files_open: (source::files_share() / options.threads.max(1)).clamp(1, FILES_OPEN_MAX),
    };
    let mut uploader = Uploader::new(repo, runtime, &shop.known, options.dry_run);
    if !options.dry_run {
        salvage::adopt_orphans(repo, author, runtime, &mut uploader)?;
    }
    let old = OldNodes::new(runtime.clone(), chunks, old)?;
    let resumed = partial.is_some();
    let mut collector = Collector::new(repo, author, runtime, uploader, monitor, draft, &options, began);
    let is_copy = matches!(input, Input::Copy(_));
    let scout = Scout::new(&shop, old, monitor, options.time);
    let census = Census::new(parent.as_ref(), monitor, !matches!(input, Input::Walk(_)));
    let removed = run(&shop, runtime, &options, scout, (input, census), &mut collector)?;
    let looks = Looks::new((repo, author, runtime), &shop.known, &log, held, must_walk, is_copy);
    let mut summary = collector.finish(looks)?;
    // What lies in a source that is missing today was not removed from it.
    summary.nodes_removed = if is_whole { removed } else { 0 };
    summary.resumed = resumed;
    summary.found_losses = shop.known.has_losses();
    summary.parent = parent.map(|p| p.id);
    if !options.dry_run {
        salvage::mark_finished(author)?;
    }
    Ok(summary)
}

/// The parent, if all prunes are bound to hold all of it. Notes how far old pages are believed.
fn held_parent(
    author: Author<'_>,
    options: &Options,
    known: &Known,
    parent: Option<&Snapshot>,
) -> Result<Option<SnapshotId>, Error> {
    if options.parent == Parent::None {
        // Who asks for this believes nothing: an old page may be damaged.
        known.be_wary();
    }
    let Some(parent) = parent else { return Ok(None) };
    if author.state.is_unacknowledged(parent.id).map_err(crate::repo::Error::from)? {
        // It may have lost something before anybody was told of it.
        known.be_wary();
        return Ok(None);
    }
    Ok(Some(parent.id))
}

/// Opens the snapshots to compare with and notes their pages as known.
fn open_old(
    chunks: &Arc<Chunks>,
    log: &Log,
    (runtime, known): (&Handle, &Known),
    snapshots: &[&Snapshot],
    held: Option<SnapshotId>,
) -> Result<Vec<Browse>, Error> {
    let mut old = Vec::new();
    for snapshot in snapshots {
        let held_by = if held == Some(snapshot.id) { HeldBy::Parent } else { HeldBy::Nobody };
        let browse = Browse::open(chunks, log, snapshot);
        match parent::pages_of(runtime, &browse) {
            Ok(pages) => {
                pages.iter().filter(|page| known.is_usable(&page.hint)).for_each(|page| known.add(page, held_by))
            }
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => {
                // A damaged parent costs time, not the backup.
                known.note_loss();
                tracing::warn!(snapshot = %snapshot.id, error = %crate::monitor::chain(&error), "Parent cannot be read");
                continue;
            }
        }
        old.push(browse);
    }
    Ok(old)
}

/// The snapshot that is going to be, without its tree.
fn draft(options: &Options, sources: Vec<Vec<u8>>, parent: Option<&Snapshot>) -> Snapshot {
    Snapshot {
        id: SnapshotId(random()),
        time: options.time,
        host: options.host.clone(),
        user: options.user.clone(),
        sources,
        tags: options.tags.clone(),
        description: options.description.clone(),
        program: options.program.clone(),
        parent: parent.map(|p| p.id),
        root: crate::extent::ChunkRef {
            id: crate::id::ChunkId([0; 32]),
            len: 0,
            hint: crate::format::extents::NOWHERE,
        },
        level: 0,
        nodes: 0,
        bytes: 0,
        with_xattrs: 0,
        figures: crate::format::record::Figures::default(),
    }
}

/// The snapshot to compare with, and the unfinished one to go on from.
fn choose_parent(
    log: &Log,
    options: &Options,
    sources: &[Vec<u8>],
    wanted: &[Vec<u8>],
) -> Result<(Option<Snapshot>, Option<Snapshot>), Error> {
    let is_of = |s: &&&Snapshot, sources: &[Vec<u8>]| s.host == options.host && s.sources == sources;
    let fits = |s: &&&Snapshot| is_of(s, sources);
    let snapshots = log.snapshots();
    let parent = match options.parent {
        Parent::None => return Ok((None, None)),
        // The first time that a source is missing, the others are known from when it was there.
        Parent::Newest => {
            let of_wanted = || snapshots.iter().rev().find(|s| is_of(s, wanted));
            snapshots.iter().rev().find(fits).or_else(of_wanted).copied()
        }
        Parent::Snapshot(id) => Some(*snapshots.iter().find(|s| s.id == id).ok_or(Error::NoParent { id })?),
    };
    let since = parent.map(|p| p.time);
    let partials = log.partials();
    let partial = partials.iter().rev().find(fits).filter(|p| since.is_none_or(|since| p.time > since));
    Ok((parent.cloned(), partial.copied().cloned()))
}

/// Where the nodes come from.
enum Input {
    Walk(Box<source::Walk>),
    Stdin(Stdin),
    Disks(Vec<disk::Plan>),
    Copy(Box<Copying>),
}

impl Input {
    /// The sources as they would be if those were there that are missing.
    fn wanted(&self, options: &Options) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let is_walk = matches!(self, Input::Walk(_));
        Ok(is_walk.then(|| source::wanted_roots(&options.source)).transpose()?)
    }

    /// Takes it out of the options, with the sources as a snapshot names them.
    fn of(options: &mut Options, runtime: &Handle) -> Result<(Input, Vec<Vec<u8>>), Error> {
        if let Some(stdin) = options.stdin.take() {
            let sources = vec![stdin.path.clone()];
            return Ok((Input::Stdin(stdin), sources));
        }
        if let Some(original) = options.original.take() {
            let sources = original.browse.snapshot().sources.clone();
            return Ok((Input::Copy(Box::new(Copying { original, begun: None })), sources));
        }
        let mut disks = std::mem::take(&mut options.disks);
        if disks.is_empty() {
            let walk = source::walk(&options.source)?;
            return Ok((Input::Walk(Box::new(walk)), source::roots_of(&options.source)?));
        }
        disks.sort_by(|a, b| a.name.cmp(&b.name));
        let path = |disk: &Disk| {
            let path = disk.origin.as_os_str().as_bytes();
            path.strip_prefix(b"/").unwrap_or(path).to_vec()
        };
        let mut sources: Vec<Vec<u8>> = disks.iter().map(path).collect();
        sources.sort();
        let plans = disk::plan(disks, runtime)?;
        if options.description.is_empty() {
            let all = plans.iter().map(disk::Plan::in_short).collect::<Vec<_>>().join("; ");
            options.description = all.chars().take(DESCRIPTION_CHARS_MAX).collect();
        }
        Ok((Input::Disks(plans), sources))
    }
}

/// Runs scout and workers until the collector has everything; returns how many old nodes are gone.
fn run(
    shop: &Shop,
    runtime: &Handle,
    options: &Options,
    scout: Scout<'_>,
    (input, census): (Input, Option<Census<'_>>),
    collector: &mut Collector<'_>,
) -> Result<u64, Error> {
    let threads = options.threads.max(1);
    let stop = AtomicBool::new(false);
    let (work, jobs) = crossbeam_channel::bounded::<Job>(threads);
    let (tickets, order) = crossbeam_channel::bounded(2 * threads + 2);
    thread::scope(|scope| {
        for _ in 0..threads {
            let jobs = jobs.clone();
            let spawned = thread::Builder::new().name("worker".to_owned()).spawn_scoped(scope, || {
                let mut buffer = Vec::new();
                jobs.into_iter().for_each(|job| job.run(shop, &mut buffer));
            });
            spawned.map_err(Error::Thread)?;
        }
        drop(jobs);
        let stop = &stop;
        let line = Line::new(work, tickets, stop);
        let scouting = thread::Builder::new().name("scout".to_owned()).spawn_scoped(scope, move || match input {
            Input::Stdin(stdin) => scout.stream(stdin, line),
            Input::Walk(walk) => scout.explore(*walk, line),
            Input::Disks(plans) => scout.disks(plans, line, runtime),
            Input::Copy(copying) => scout.copy(*copying, line),
        });
        let scouting = scouting.map_err(Error::Thread)?;
        if let Some(census) = census {
            let counted = &options.source;
            let counting = move || census.take(counted, stop);
            thread::Builder::new().name("census".to_owned()).spawn_scoped(scope, counting).map_err(Error::Thread)?;
        }
        let collected = collector.collect(&order);
        stop.store(true, Ordering::Relaxed);
        // Lets a scout that waits for room go on and see that it should stop.
        drop(order);
        let scouted = scouting.join().unwrap_or(Err(Error::Repo(crate::repo::Error::TaskLost)));
        collected.and(scouted)
    })
}
