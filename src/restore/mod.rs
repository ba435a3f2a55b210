//! Putting files back: nodes of a snapshot into a folder, with all they had.
//!
//! # Order
//! One walk in the order of the tree, which is that of the packs: small files by the batch, large ones piece by piece,
//! `threads` such jobs at once. Then further names of files with several, then folders bottom-up with what is to be
//! deleted in them, then the flags that lock, then everything to disk.
//!
//! # Always
//! - What cannot be read or written is one problem told to the monitor; the rest is restored.
//! - A file that is interrupted or damaged is not there at all, or still as it was. Running the same restore again goes
//!   on where the first was interrupted, because finished files have their size and time.
//! - The file of a disk that could not be read everywhere when it was backed up has zeros there, and that is told.
//! - Memory is bounded by the number of jobs at once, plus 8 bytes for each folder and for each further hard link, and
//!   a line for each file with several names.
//!
//! # Never
//! - Anything outside the folder is touched; see [`crate::target`].
//! - A node is restored whose folder is no folder in the snapshot.
//!
//! Whole disks are restored by [`restore_disk`], files inside of disk images by [`restore_inside`].

mod choice;
mod disk;
mod flush;
mod folders;
mod inside;
mod large;
mod links;
mod options;
mod problem;
mod rules;
mod run;
mod small;
mod verify;
mod walker;
mod work;

#[cfg(test)]
mod tests;

pub use disk::DiskError;
pub use disk::DiskOptions;
pub use disk::DiskSummary;
pub use disk::open_unused;
pub use disk::restore_disk;
pub use inside::restore_inside;
pub use options::Error;
pub use options::Options;
pub use options::Overwrite;
pub use options::Summary;

use crate::browse::Browse;
use crate::monitor::Monitor;
use crate::path;
use crate::restore::problem::is_damage;
use crate::restore::rules::Rules;
use crate::restore::run::Run;
use crate::restore::run::StopOnDrop;
use crate::restore::walker::Job;
use crate::restore::walker::Walker;
use crate::restore::work::Item;
use crate::restore::work::Origin;
use crate::restore::work::Place;
use crate::restore::work::Work;
use crate::restore::work::blocking;
use crate::target;
use crate::target::Target;
use crate::tree::Found;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Threads that write if the options do not say.
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 8;
/// Batches under way for each of them: most wait for bytes, or for their turn. Linux 6.1 into memory, two processors: 3.7 s with 1,
/// 3.0 with 2, 2.7 with 4.
const BATCHES_PER_THREAD: usize = 4;

/// Restores what is chosen by `options` at and below `base` of the snapshot into the folder `to` (made if missing).
///
/// If `base` is a folder, what is in it goes into `to`, and `to` gets its metadata; except that a whole snapshot leaves
/// the metadata of a folder alone that was there before. Anything else goes into `to` under its own name, and rules are
/// not asked. Must be called within a tokio runtime.
///
/// Fails if nothing more can be done: the storage cannot be reached, the disk is full, the monitor cancels. Everything
/// else is told to the monitor and counted.
pub async fn restore(
    browse: &Browse,
    base: &[u8],
    to: &Path,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Summary, Error> {
    let rules = Rules::new(options)?;
    let found = browse.get(base).await?.ok_or_else(|| Error::NotInSnapshot { path: base.to_vec() })?;
    let is_folder = found.node().is_folder();
    let rules = if is_folder { rules } else { Rules::none() };
    let (target, was_there) = open_target(to, options).await?;
    let top = if is_folder { base.to_vec() } else { path::split(base).0.to_vec() };
    let work = Arc::new(Work::new(target, browse.chunks().repo().keys().clone(), rules, options));
    let _guard = StopOnDrop(work.clone());
    let run = Run::new(browse, monitor, work.clone(), top);
    let leave_top = base.is_empty() && was_there;
    let done = if is_folder {
        restore_folder(&run, found, leave_top, threads(options)).await
    } else {
        restore_one(&run, found).await
    };
    let settled = settle(&run).await;
    done?;
    settled?;
    Ok(run.end())
}

fn threads(options: &Options) -> usize {
    let processors = || std::thread::available_parallelism().map_or(THREADS_MIN, usize::from);
    if options.threads > 0 { options.threads } else { processors().clamp(THREADS_MIN, THREADS_MAX) }
}

/// The target, and whether its folder was there before. A dry run makes no folder and may go without a target.
async fn open_target(to: &Path, options: &Options) -> Result<(Option<Target>, bool), Error> {
    let own = target::Options { privileged: options.privileged, numeric_ids: options.numeric_ids, sparse: true };
    let (to, dry_run) = (to.to_owned(), options.dry_run);
    let open = move || {
        let was_there = to.exists();
        let target = if dry_run { Target::inspect(&to, own)? } else { Some(Target::open(&to, own)?) };
        Ok((target, was_there))
    };
    blocking(open).await?
}

/// A base that is no folder.
async fn restore_one(run: &Run<'_>, found: Found) -> Result<(), Error> {
    let (node, size) = (found.node(), found.node().size());
    run.total(|total| (total.nodes, total.bytes) = (1, size));
    run.count(|summary| {
        summary.nodes = 1;
        summary.bytes = if node.kind == crate::meta::Kind::File { size } else { 0 };
    });
    run.work.is_first(node);
    run.monitor.event(crate::monitor::Event::Path(&found.path()));
    Job::of(Item { origin: Origin::Tree(found), place: Place::new(Vec::new()) }).restore(run).await?;
    if run.is_over() { Err(Error::Cancelled) } else { Ok(()) }
}

/// A base that is a folder.
async fn restore_folder(run: &Run<'_>, found: Found, leave_top: bool, threads: usize) -> Result<(), Error> {
    // Only figures: what is damaged here will be told by the walk.
    if let Ok(sums) = run.browse.sums(&found).await {
        run.total(|total| *total = sums);
    }
    let mut walker = Walker::new(run, ranks_below(run.browse, &found).await?);
    if run.work.rules.includes_below(b"") {
        run.count(|summary| summary.nodes += 1);
        walker.folders.push(found.rank);
    } else {
        run.leave_out(1, 0);
    }
    walk(run, &mut walker, threads).await?;
    links::restore_links(run, std::mem::take(&mut walker.links)).await?;
    folders::finish_folders(run, walker.folders, leave_top).await
}

/// Ranks of what is below a folder; if damage hides where they begin and end, the walk finds out.
async fn ranks_below(browse: &Browse, found: &Found) -> Result<Range<u64>, Error> {
    let all = found.rank + 1..browse.tree().nodes;
    if found.rank == 0 {
        return Ok(all);
    }
    match browse.subtree(&found.path()).await {
        Err(error) if is_damage(&error) => Ok(all),
        other => Ok(other?),
    }
}

/// Does all jobs of the walk. After an error those that are under way are awaited, so that nothing goes on behind the
/// caller's back.
async fn walk(run: &Run<'_>, walker: &mut Walker<'_>, threads: usize) -> Result<(), Error> {
    let jobs_max = threads * BATCHES_PER_THREAD;
    // Several large files at once would only be in each other's way.
    let large = Semaphore::new(threads);
    let mut running = FuturesUnordered::new();
    let mut result = Ok(());
    loop {
        let job = {
            // Walking may have to wait for a page; the jobs go on meanwhile.
            let mut next = pin!(walker.next());
            loop {
                tokio::select! {
                    job = &mut next => break job,
                    Some(done) = running.next() => note(run, &mut result, done),
                }
            }
        };
        match job {
            Some(Ok(job)) => running.push(in_turn(run, job, &large)),
            Some(Err(error)) => note(run, &mut result, Err(error)),
            None => break,
        }
        while running.len() >= jobs_max
            && let Some(done) = running.next().await
        {
            note(run, &mut result, done);
        }
    }
    while let Some(done) = running.next().await {
        note(run, &mut result, done);
    }
    if run.is_over() { result.and(Err(Error::Cancelled)) } else { result }
}

async fn in_turn(run: &Run<'_>, job: Job, large: &Semaphore) -> Result<(), Error> {
    let _turn = match &job {
        // It is never closed.
        Job::Large(_) => large.acquire().await.ok(),
        Job::Batch(_) => None,
    };
    job.restore(run).await
}

/// Keeps the error that says most: why a restore was stopped says more than that it was.
fn note(run: &Run<'_>, result: &mut Result<(), Error>, done: Result<(), Error>) {
    if let Err(error) = done {
        run.work.stop();
        if matches!(result, Ok(()) | Err(Error::Cancelled)) {
            *result = Err(error);
        }
    }
}

/// Sets the flags that lock, gives folders that were opened their permissions back, and writes all to disk.
async fn settle(run: &Run<'_>) -> Result<(), Error> {
    let Some(target) = run.work.target().cloned() else { return Ok(()) };
    let settled = target.clone();
    let missed = blocking(move || settled.settle()).await?;
    for (path, missed) in missed {
        run.missed(&run.snapshot_path(&path), vec![missed])?;
    }
    if run.work.dry_run || run.work.is_stopped() { Ok(()) } else { run.flush(&target).await }
}
