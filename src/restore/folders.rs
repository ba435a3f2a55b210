//! The end of a restore: folders that have nothing yet, things to delete, and the metadata of all folders, bottom-up.
//!
//! Always: a folder gets its metadata after everything below it. Only ranks are kept until then; nodes are read again.
//! Never: anything is deleted in a folder whose entries could not all be read, in folders to be spared, or in a file
//! system that is mounted where the snapshot has an empty folder.

use crate::meta::Kind;
use crate::meta::Meta;
use crate::monitor::Deed;
use crate::monitor::Event;
use crate::path;
use crate::restore::Error;
use crate::restore::problem::Problem;
use crate::restore::problem::is_damage;
use crate::restore::run::Run;
use crate::restore::work::Work;
use crate::restore::work::blocking;
use crate::target::FileId;
use crate::target::Missed;
use crate::target::Obstacle;
use crate::target::Removal;
use crate::target::Target;
use crate::target::is_part_name;
use std::collections::HashSet;

/// Folders finished in one go.
const GROUP_MAX: usize = 64;
/// Names of their entries held for that.
const NAMES_MAX: usize = 100_000;

/// A folder to be finished.
pub(super) struct Closing {
    /// The path that is told.
    pub(super) told_path: Vec<u8>,
    pub(super) meta: Meta,
    /// Path in the target.
    pub(super) path: Vec<u8>,
    /// What the snapshot has in it, if the rest is to be deleted.
    pub(super) keep: Option<HashSet<Vec<u8>>>,
    /// Its own metadata stays as it is.
    pub(super) is_left: bool,
}

#[derive(Default)]
struct Closed {
    removed: u64,
    /// In a dry run: whether it has yet to be made, and what would be removed from it, with true for folders.
    is_new: bool,
    gone: Vec<(Vec<u8>, bool)>,
    missed: Vec<Missed>,
    /// Path in the target and what is wrong there.
    problems: Vec<(Vec<u8>, Problem)>,
}

/// Finishes folders by rank. `leave_top`: the top of the target keeps its own metadata.
pub(super) async fn finish_folders(run: &Run<'_>, mut ranks: Vec<u64>, leave_top: bool) -> Result<(), Error> {
    ranks.sort_unstable();
    ranks.dedup();
    // A folder stands before everything below it, so the other way round is bottom-up.
    while !ranks.is_empty() {
        let mut group = Vec::new();
        let mut names_count = 0;
        while group.len() < GROUP_MAX && names_count < NAMES_MAX {
            let Some(rank) = ranks.pop() else { break };
            if run.is_over() {
                return Err(Error::Cancelled);
            }
            if let Some(closing) = prepare(run, rank, leave_top).await? {
                names_count += closing.keep.as_ref().map_or(0, HashSet::len);
                group.push(closing);
            }
        }
        close(run, group).await?;
    }
    Ok(())
}

/// Finishes folders in this order.
pub(super) async fn close(run: &Run<'_>, group: Vec<Closing>) -> Result<(), Error> {
    let work = run.work.clone();
    let close = move || group.into_iter().map(|closing| (work.close(&closing), closing)).collect::<Vec<_>>();
    for (closed, closing) in blocking(close).await? {
        run.count(|summary| summary.removed += closed.removed);
        if run.tells_deeds() {
            tell_deeds(run, &closing, &closed);
        }
        run.missed(&closing.told_path, closed.missed)?;
        for (path, problem) in closed.problems {
            run.fail(&run.snapshot_path(&path), problem)?;
        }
        run.done(1, 0);
    }
    Ok(())
}

fn tell_deeds(run: &Run<'_>, closing: &Closing, closed: &Closed) {
    let tell = |path: &[u8], is_folder, deed| run.monitor.event(Event::Would { path, is_folder, deed });
    if closed.is_new {
        tell(&closing.told_path, true, Deed::Create);
    }
    for (path, is_folder) in &closed.gone {
        tell(&run.snapshot_path(path), *is_folder, Deed::Remove);
    }
}

async fn prepare(run: &Run<'_>, rank: u64, leave_top: bool) -> Result<Option<Closing>, Error> {
    let found = match run.browse.at(rank).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(error) if is_damage(&error) => {
            run.fail(&run.top, Problem::Folder(error))?;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let full_path = found.path();
    let path = path::strip(&full_path, &run.top).to_vec();
    let mut keep = None;
    // Above what was backed up stands only the way to it: what else was there, the snapshot does not know.
    let is_whole = run.browse.snapshot().sources.iter().any(|source| path::is_below(&full_path, source));
    if is_whole && run.work.delete && run.work.rules.includes_below(&path) {
        match names(run, &full_path).await {
            Ok(names) => keep = Some(names),
            Err(error) if is_damage(&error) => run.fail(&full_path, Problem::Folder(error))?,
            Err(error) => return Err(error.into()),
        }
    }
    let is_left = leave_top && path.is_empty();
    let meta = found.node().meta.clone();
    Ok(Some(Closing { told_path: full_path, meta, path, keep, is_left }))
}

/// Everything the snapshot has in a folder.
async fn names(run: &Run<'_>, folder: &[u8]) -> Result<HashSet<Vec<u8>>, crate::repo::Error> {
    let mut walk = run.browse.walk(run.browse.children(folder).await?);
    let mut names = HashSet::new();
    while let Some(found) = walk.next().await? {
        names.insert(found.node().name.clone());
    }
    Ok(names)
}

impl Work {
    fn close(&self, closing: &Closing) -> Closed {
        let mut closed = Closed::default();
        if let Err(problem) = self.try_close(closing, &mut closed) {
            closed.problems.push((closing.path.clone(), problem));
        }
        closed
    }

    fn try_close(&self, closing: &Closing, closed: &mut Closed) -> Result<(), Problem> {
        let Some(target) = self.target() else {
            closed.is_new = true;
            return Ok(());
        };
        if self.dry_run {
            closed.is_new = !is_folder(target, &closing.path);
            return match &closing.keep {
                Some(keep) if is_folder(target, &closing.path) => {
                    let names = target.listing(&closing.path)?;
                    self.delete_others(target, &closing.path, names, keep, closed);
                    Ok(())
                }
                _ => Ok(()),
            };
        }
        let folder = target.folder(&closing.path, self.obstacle())?;
        if let Some(keep) = &closing.keep
            && !folder.is_new()
        {
            self.delete_others(target, &closing.path, target.names(&folder)?, keep, closed);
        }
        if !closing.is_left {
            closed.missed = target.finish_folder(&closing.path, &closing.meta)?;
        }
        Ok(())
    }

    /// True if nothing is to be removed from a folder, because it is one to be spared or lies in it, or because something is
    /// mounted there that the backup stayed out of.
    fn is_spared(&self, target: &Target, folder: &[u8], keep: &HashSet<Vec<u8>>) -> Result<bool, Problem> {
        let mut above = (!self.spared.is_empty()).then_some(folder);
        while let Some(at) = above {
            if target.state(at)?.is_some_and(|found| self.spared.contains(&found.id)) {
                return Ok(true);
            }
            above = (!at.is_empty()).then(|| path::split(at).0);
        }
        if !keep.is_empty() || folder.is_empty() {
            return Ok(false);
        }
        let device = |path: &[u8]| Ok::<_, Problem>(target.state(path)?.map(|found| found.id.device));
        Ok(device(folder)? != device(path::split(folder).0)?)
    }

    /// Removes from a folder what the snapshot does not have and no rule excludes.
    fn delete_others(
        &self,
        target: &Target,
        folder: &[u8],
        names: Vec<Vec<u8>>,
        keep: &HashSet<Vec<u8>>,
        closed: &mut Closed,
    ) {
        match self.is_spared(target, folder, keep) {
            Ok(false) => {}
            Ok(true) => return,
            Err(problem) => return closed.problems.push((folder.to_vec(), problem)),
        }
        for name in names {
            // Unfinished files that are still there belong to another restore.
            if keep.contains(&name) || is_part_name(&name) {
                continue;
            }
            let path = path::join(folder, &name);
            let removed = if self.dry_run || self.rules.has_excludes() || !self.spared.is_empty() {
                Purge::new(self, target, &mut closed.gone).remove(&path)
            } else {
                target.remove(&path, Removal::Tree).map_err(Problem::from)
            };
            match removed {
                Ok(count) => closed.removed += count,
                Err(problem) => closed.problems.push((path, problem)),
            }
        }
    }
}

fn is_folder(target: &Target, path: &[u8]) -> bool {
    target.state(path).is_ok_and(|found| found.is_some_and(|found| found.kind == Kind::Folder))
}

/// Removes a tree except for what is excluded; or only counts.
struct Purge<'a> {
    work: &'a Work,
    target: &'a Target,
    /// Folders met, parents before children.
    folders: Vec<Vec<u8>>,
    /// Those with something in them that stays.
    kept: HashSet<Vec<u8>>,
    removed: u64,
    /// Filled in a dry run.
    gone: &'a mut Vec<(Vec<u8>, bool)>,
}

impl<'a> Purge<'a> {
    fn new(work: &'a Work, target: &'a Target, gone: &'a mut Vec<(Vec<u8>, bool)>) -> Purge<'a> {
        Purge { work, target, folders: Vec::new(), kept: HashSet::new(), removed: 0, gone }
    }

    fn take_away(&mut self, path: Vec<u8>, is_folder: bool) -> Result<(), Problem> {
        if self.work.dry_run {
            self.removed += 1;
            self.gone.push((path, is_folder));
        } else {
            self.removed += self.target.remove(&path, Removal::Node)?;
        }
        Ok(())
    }

    fn remove(mut self, top: &[u8]) -> Result<u64, Problem> {
        let device = self.target.state(path::split(top).0)?.map(|found| found.id);
        let mut pending = vec![top.to_vec()];
        while let Some(path) = pending.pop() {
            self.visit(path, device, &mut pending)?;
        }
        while let Some(folder) = self.folders.pop() {
            if self.kept.contains(&folder) {
                self.keep(&folder);
            } else {
                self.take_away(folder, true)?;
            }
        }
        Ok(self.removed)
    }

    fn visit(&mut self, path: Vec<u8>, device: Option<FileId>, pending: &mut Vec<Vec<u8>>) -> Result<(), Problem> {
        let Some(found) = self.target.state(&path)? else { return Ok(()) };
        let is_folder = found.kind == Kind::Folder;
        // What is mounted there is not ours to remove.
        let is_mounted = device.is_some_and(|top| top.device != found.id.device);
        if is_mounted || self.work.spared.contains(&found.id) || self.work.rules.excludes(&path, is_folder) {
            self.keep(&path);
            return Ok(());
        }
        if !is_folder {
            return self.take_away(path, false);
        }
        let names = match self.work.dry_run {
            true => self.target.listing(&path)?,
            false => self.target.names(&*self.target.folder(&path, Obstacle::Report)?)?,
        };
        for name in names {
            pending.push(path::join(&path, &name));
        }
        self.folders.push(path);
        Ok(())
    }

    /// Keeps the folder something lies in.
    fn keep(&mut self, path: &[u8]) {
        self.kept.insert(path::split(path).0.to_vec());
    }
}
