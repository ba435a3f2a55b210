//! The walk through the snapshot: which nodes are wanted, in the order of the tree (which is that of the packs), as
//! jobs. Damaged pages are told and stepped over; folders that are left out are jumped over.
//!
//! Always: a node is restored only if what the snapshot says of its folder is a folder. Never: the same rank twice.

use crate::browse::Browse;
use crate::format::page::add_bytes;
use crate::meta::Node;
use crate::monitor::Event;
use crate::path;
use crate::repo;
use crate::restore::Error;
use crate::restore::large::restore_large;
use crate::restore::problem::Problem;
use crate::restore::problem::is_damage;
use crate::restore::rules::steps;
use crate::restore::run::Run;
use crate::restore::small::BATCH_BYTES_MAX;
use crate::restore::small::BATCH_ITEMS_MAX;
use crate::restore::small::is_small;
use crate::restore::small::restore_batch;
use crate::restore::work::Item;
use crate::restore::work::Origin;
use crate::restore::work::Place;
use crate::tree::Found;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// Something to restore.
pub(super) enum Job {
    /// Many small things.
    Batch(Vec<Item>),
    /// One large file.
    Large(Item),
}

impl Job {
    /// One item as a job of its own.
    pub(super) fn of(item: Item) -> Job {
        if is_small(item.node()) { Job::Batch(vec![item]) } else { Job::Large(item) }
    }

    /// Does it.
    pub(super) async fn restore(self, run: &Run<'_>) -> Result<(), Error> {
        match self {
            Job::Batch(items) => restore_batch(run, items).await,
            Job::Large(item) => restore_large(run, item).await,
        }
    }
}

/// The folder whose children are being walked.
struct Current {
    /// Snapshot path.
    path: Vec<u8>,
    place: Arc<Place>,
    /// All in it is asked for.
    is_included: bool,
    /// Nothing in it is restored.
    is_blocked: bool,
}

/// The state of the walk, and what it leaves for later.
pub(super) struct Walker<'r> {
    run: &'r Run<'r>,
    range: Range<u64>,
    last: Option<Found>,
    current: Option<Current>,
    /// Nothing at or below this path is restored.
    blocked: Option<Vec<u8>>,
    /// Newest folder that was recorded for what lies in it, with all above it.
    recorded: Option<Vec<u8>>,
    batch: Vec<Item>,
    batch_bytes: u64,
    /// Ranks of the folders to be finished.
    pub(super) folders: Vec<u64>,
    /// Ranks of further names of files with several.
    pub(super) links: Vec<u64>,
}

impl<'r> Walker<'r> {
    /// Walks through a range of ranks. Nodes outside the run's top are passed over.
    pub(super) fn new(run: &'r Run<'r>, range: Range<u64>) -> Walker<'r> {
        Walker {
            run,
            range,
            last: None,
            current: None,
            blocked: None,
            recorded: None,
            batch: Vec::new(),
            batch_bytes: 0,
            folders: Vec::new(),
            links: Vec::new(),
        }
    }

    /// The next job; `None` at the end or when the restore is over.
    pub(super) async fn next(&mut self) -> Option<Result<Job, Error>> {
        loop {
            if self.run.is_over() {
                return None;
            }
            let job = match self.next_node().await {
                Ok(Some(found)) => self.take(found).await,
                Ok(None) if self.batch.is_empty() => return None,
                Ok(None) => Ok(Some(self.flush())),
                Err(error) => Err(error),
            };
            if let Some(job) = job.transpose() {
                return Some(job.inspect_err(|_| self.run.work.stop()));
            }
        }
    }

    fn flush(&mut self) -> Job {
        self.batch_bytes = 0;
        Job::Batch(std::mem::take(&mut self.batch))
    }

    fn browse(&self) -> &'r Browse {
        self.run.browse
    }

    /// The next node that can be read.
    async fn next_node(&mut self) -> Result<Option<Found>, Error> {
        while !self.range.is_empty() {
            let rank = self.range.start;
            let next = match &self.last {
                Some(last) => self.browse().ask(|tree, pages| tree.next(pages, last)).await,
                None => self.browse().at(rank).await,
            };
            let next = match next {
                Err(error) if is_damage(&error) => match self.step_over(rank).await? {
                    Some(found) => Some(found),
                    None => continue,
                },
                next => next?,
            };
            if next.is_some() {
                self.range.start += 1;
            } else {
                self.range.start = self.range.end;
            }
            self.last.clone_from(&next);
            return Ok(next);
        }
        Ok(None)
    }

    /// Passes over all nodes of the page that cannot be read; or finds that it can be after all.
    async fn step_over(&mut self, rank: u64) -> Result<Option<Found>, Error> {
        let mut span = rank..rank + 1;
        let again = self.browse().ask(|tree, pages| tree.at_telling(pages, rank, &mut span)).await;
        let source = match again {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {
                self.range.start = self.range.end;
                return Ok(None);
            }
            Err(error) if is_damage(&error) => error,
            Err(error) => return Err(error.into()),
        };
        let before = self.last.take().map_or_else(|| self.run.top.clone(), |last| last.path());
        let end = span.end.clamp(rank + 1, self.range.end.max(rank + 1));
        self.range.start = end;
        self.run.fail(&before, Problem::Nodes { first: rank, last: end - 1, source })?;
        Ok(None)
    }

    /// Moves on to a rank ahead. If that cannot be found out, the walk goes on node by node.
    async fn jump_over(&mut self, folder: &[u8]) -> Result<(), Error> {
        let from = self.range.start;
        let found = self.browse().ask(|tree, pages| {
            let end = tree.subtree_end(pages, folder)?;
            // The node at hand was taken already, and is one of those jumped over.
            let bytes = tree.bytes_before(pages, end)?.saturating_sub(tree.bytes_before(pages, from - 1)?);
            Ok((end, bytes))
        });
        match found.await {
            Ok((end, bytes)) if end >= from => {
                let end = end.min(self.range.end);
                self.run.leave_out(end - from + 1, bytes);
                self.range.start = end;
                self.last = None;
                Ok(())
            }
            Err(error) if !is_damage(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Decides about one node.
    async fn take(&mut self, found: Found) -> Result<Option<Job>, Error> {
        if self.current.as_ref().is_none_or(|current| current.path != found.parent()) {
            self.current = None;
            self.current = self.enter(&found).await?;
        }
        let Some(current) = self.current.as_ref().filter(|current| !current.is_blocked) else { return Ok(None) };
        let (node, rules) = (found.node(), &self.run.work.rules);
        let path = path::join(&current.place.path, &node.name);
        if rules.excludes(&path, node.is_folder()) {
            self.run.monitor.event(Event::Skipped { path: &found.path(), why: "excluded" });
            self.run.leave_out(1, node.size());
            return Ok(None);
        }
        if !current.is_included && !rules.includes(&path, node.is_folder()) {
            self.run.leave_out(1, node.size());
            return Ok(None);
        }
        if !current.is_included {
            let folder = current.path.clone();
            self.record_above(&folder).await?;
        }
        self.count(node);
        self.choose_job(found)
    }

    fn count(&self, node: &Node) {
        let bytes = if node.kind == crate::meta::Kind::File { node.size() } else { 0 };
        self.run.count(|summary| {
            summary.nodes += 1;
            summary.bytes = add_bytes(summary.bytes, bytes);
        });
    }

    /// Puts a chosen node where it will be restored.
    fn choose_job(&mut self, found: Found) -> Result<Option<Job>, Error> {
        let node = found.node();
        if node.is_folder() {
            self.folders.push(found.rank);
            return Ok(None);
        }
        if !self.run.work.is_first(node) {
            self.links.push(found.rank);
            return Ok(None);
        }
        let Some(current) = &self.current else { return Ok(None) };
        self.run.monitor.event(Event::Path(&found.path()));
        let size = node.content.len();
        let item = Item { place: current.place.clone(), origin: Origin::Tree(found) };
        if !is_small(item.node()) {
            return Ok(Some(Job::Large(item)));
        }
        self.batch.push(item);
        self.batch_bytes += size;
        let is_full = self.batch.len() >= BATCH_ITEMS_MAX || self.batch_bytes >= BATCH_BYTES_MAX;
        Ok(is_full.then(|| self.flush()))
    }

    /// Begins with the children of another folder.
    async fn enter(&mut self, first: &Found) -> Result<Option<Current>, Error> {
        let folder = first.parent().to_vec();
        let top = &self.run.top;
        if !path::is_below(&folder, top) {
            // Only met if damage hides where the top's own nodes begin or end.
            if path::compare(&folder, top) == Ordering::Greater {
                self.range.start = self.range.end;
            }
            return Ok(Some(Current::blocked(folder)));
        }
        if self.blocked.as_ref().is_some_and(|blocked| path::is_below(&folder, blocked)) {
            return Ok(Some(Current::blocked(folder)));
        }
        let below = path::strip(&folder, top).to_vec();
        let rules = &self.run.work.rules;
        let is_included = rules.includes_below(&below);
        let is_wanted = !rules.excludes_below(&below) && (is_included || rules.may_include_below(&below));
        if !is_wanted || !self.is_folder(&folder).await? {
            if is_wanted {
                self.run.fail(&folder, Problem::NoFolder)?;
            }
            self.jump_over(&folder).await?;
            self.blocked = Some(folder.clone());
            return Ok(Some(Current::blocked(folder)));
        }
        Ok(Some(Current { path: folder, place: Place::new(below), is_included, is_blocked: false }))
    }

    /// True if the snapshot has this as a folder. If its own node cannot be read, at least nothing above it may be
    /// anything else.
    async fn is_folder(&self, folder: &[u8]) -> Result<bool, Error> {
        match self.browse().get(folder).await {
            Ok(found) => return Ok(found.is_some_and(|found| found.node().is_folder())),
            Err(error) => passable(error)?,
        }
        for step in steps(folder) {
            match self.browse().get(step).await {
                Ok(Some(found)) if !found.node().is_folder() => return Ok(false),
                Ok(_) => {}
                Err(error) => passable(error)?,
            }
        }
        Ok(true)
    }

    /// Records the folders from the top down to this one, which are there only because something in them is asked for.
    async fn record_above(&mut self, folder: &[u8]) -> Result<(), Error> {
        let top = self.run.top.clone();
        let below = path::strip(folder, &top).to_vec();
        for step in std::iter::once(&b""[..]).chain(steps(&below)) {
            let step = path::join(&top, step);
            // The order of the tree: whatever was recorded above this folder holds the newest one too.
            let is_known = self.recorded.as_ref().is_some_and(|recorded| path::is_below(recorded, &step));
            let is_chosen = self.run.work.rules.includes_below(path::strip(&step, &top));
            if is_known || is_chosen {
                continue;
            }
            match self.browse().get(&step).await {
                Ok(Some(found)) => {
                    self.run.total(|total| total.nodes += 1);
                    self.count(found.node());
                    self.folders.push(found.rank);
                }
                Ok(None) => {}
                Err(error) => passable(error)?,
            }
        }
        self.recorded = Some(folder.to_vec());
        Ok(())
    }
}

impl Current {
    fn blocked(path: Vec<u8>) -> Current {
        Current { path, place: Place::new(Vec::new()), is_included: false, is_blocked: true }
    }
}

/// Damage is told where the walk meets it; anything else ends the restore.
fn passable(error: repo::Error) -> Result<(), Error> {
    if is_damage(&error) { Ok(()) } else { Err(error.into()) }
}
