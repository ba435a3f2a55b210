//! One restore while it runs: what everything needs, and the one way to tell the monitor.
//! Always: every chosen node is told as done once, whatever became of it.

use crate::browse::Browse;
use crate::browse::Sums;
use crate::browse::Unreadable;
use crate::meta::Kind;
use crate::monitor::Deed;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::path;
use crate::restore::Error;
use crate::restore::Summary;
use crate::restore::flush::Flushes;
use crate::restore::problem::Problem;
use crate::restore::work::Item;
use crate::restore::work::Outcome;
use crate::restore::work::Work;
use crate::target::Missed;
use crate::target::Target;
use crate::target::What;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

/// Reasons remembered so that each is told once; beyond that, problems are told one by one.
const REASONS_MAX: usize = 10_000;

pub(super) struct Run<'a> {
    pub(super) browse: &'a Browse,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) work: Arc<Work>,
    /// Snapshot path of what becomes the top of the target.
    pub(super) top: Vec<u8>,
    tally: Mutex<Tally>,
    flushes: Mutex<Flushes>,
}

#[derive(Default)]
struct Tally {
    summary: Summary,
    total: Sums,
    /// For each reason its first problem in words, and how many followed.
    told: BTreeMap<String, (String, u64)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(browse: &'a Browse, monitor: &'a dyn Monitor, work: Arc<Work>, top: Vec<u8>) -> Run<'a> {
        Run { browse, monitor, work, top, tally: Mutex::default(), flushes: Mutex::default() }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The snapshot path of a target path.
    pub(super) fn snapshot_path(&self, path: &[u8]) -> Vec<u8> {
        path::join(&self.top, path)
    }

    /// True once the restore is to end early; then everything else ends soon too.
    pub(super) fn is_over(&self) -> bool {
        if self.monitor.is_cancelled() {
            self.work.stop();
        }
        self.work.is_stopped()
    }

    /// Changes what is known about the total by this much, and tells.
    pub(super) fn total(&self, change: impl FnOnce(&mut Sums)) {
        let Sums { nodes, bytes } = {
            let mut tally = self.tally();
            change(&mut tally.total);
            tally.total
        };
        self.monitor.event(Event::Total { nodes, bytes });
    }

    /// This much of the total will not be restored.
    pub(super) fn leave_out(&self, nodes: u64, bytes: u64) {
        self.total(|total| {
            total.nodes = total.nodes.saturating_sub(nodes);
            total.bytes = total.bytes.saturating_sub(bytes);
        });
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Summary)) {
        count(&mut self.tally().summary);
    }

    /// Takes note of bytes that were written to the target.
    pub(super) fn wrote(&self, bytes: u64) {
        if let Some(target) = self.work.target().filter(|_| !self.work.dry_run) {
            self.flushes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).wrote(bytes, target);
        }
    }

    /// Returns when everything is on disk.
    pub(super) async fn flush(&self, target: &Target) -> Result<(), Error> {
        let flushes = std::mem::take(&mut *self.flushes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        flushes.finish(target).await
    }

    pub(super) fn done(&self, nodes: u64, bytes: u64) {
        self.monitor.event(Event::Done { nodes, bytes });
    }

    /// Tells a problem (or counts it, if its like was told), or ends the restore if all that follows would fail too.
    pub(super) fn fail(&self, snapshot_path: &[u8], problem: Problem) -> Result<(), Error> {
        let problem = problem.fatal().inspect_err(|_| self.work.stop())?;
        {
            let mut tally = self.tally();
            if let Some(reason) = problem.reason() {
                if let Some((_, more)) = tally.told.get_mut(&reason) {
                    *more += 1;
                    return Ok(());
                }
                if tally.told.len() < REASONS_MAX {
                    tally.told.insert(reason, (problem.to_string(), 0));
                }
            }
            tally.summary.problems += 1;
        }
        self.monitor.event(Event::Problem { path: snapshot_path, cause: &problem });
        Ok(())
    }

    /// Tells what of the metadata failed. What was left out by rule is no problem.
    pub(super) fn missed(&self, snapshot_path: &[u8], missed: Vec<Missed>) -> Result<(), Error> {
        for Missed { what, source } in missed {
            match source {
                // An ordinary user cannot give files away, nor to groups of others; that is no news.
                Some(_) if what == What::Owner && !self.work.privileged => {}
                Some(source) => self.fail(snapshot_path, Problem::Missed { what, source })?,
                None => {}
            }
        }
        Ok(())
    }

    /// Takes note of what became of an item, `told` bytes of which were told as done already.
    pub(super) fn finish(&self, item: &Item, outcome: Outcome, told: u64) -> Result<(), Error> {
        let size = if item.node().kind == Kind::File { item.node().size() } else { 0 };
        if let Outcome::Written { bytes, .. } = &outcome {
            self.wrote(bytes.saturating_sub(told));
        }
        let is_verified =
            matches!(outcome, Outcome::Written { verified: true, .. } | Outcome::Same { verified: true, .. });
        self.count(|summary| {
            summary.verified += u64::from(is_verified);
            match &outcome {
                Outcome::Written { bytes, .. } => {
                    summary.written += 1;
                    summary.bytes_written += bytes;
                }
                Outcome::Same { .. } | Outcome::Left => summary.unchanged += 1,
                Outcome::Failed(_) | Outcome::Stopped => {}
            }
        });
        if matches!(outcome, Outcome::Written { .. }) {
            self.tell_deed(item);
        }
        let is_there = matches!(outcome, Outcome::Written { .. } | Outcome::Same { .. });
        let result = match outcome {
            Outcome::Written { missed, .. } | Outcome::Same { missed, .. } if missed.is_empty() => Ok(()),
            Outcome::Written { missed, .. } | Outcome::Same { missed, .. } => self.missed(&item.told_path(), missed),
            Outcome::Failed(problem) => self.fail(&item.told_path(), problem),
            Outcome::Left => Ok(()),
            Outcome::Stopped => return Ok(()),
        };
        let result = if is_there { result.and_then(|()| self.tell_zeros(item)) } else { result };
        self.done(1, size.saturating_sub(told));
        result
    }

    /// Tells what a dry run would have done.
    fn tell_deed(&self, item: &Item) {
        if self.tells_deeds() {
            let is_there = self.work.existing(item).is_ok_and(|existing| existing.is_some());
            let deed = if is_there { Deed::Change } else { Deed::Create };
            self.monitor.event(Event::Would { path: &item.told_path(), is_folder: false, deed });
        }
    }

    /// True if somebody wants to know what this dry run would do.
    pub(super) fn tells_deeds(&self) -> bool {
        self.work.dry_run && self.monitor.wants_deeds()
    }

    /// Tells where the file of a disk has zeros because nobody could read it: once more each time, as nothing brings back
    /// what should be there.
    fn tell_zeros(&self, item: &Item) -> Result<(), Error> {
        for range in Unreadable::of(item.node()).ranges() {
            self.fail(&item.told_path(), Problem::Unreadable { range: range.clone() })?;
        }
        Ok(())
    }

    /// The summary, after telling how often problems came up that were told once.
    pub(super) fn end(self) -> Summary {
        let told = std::mem::take(&mut self.tally().told);
        for (what, count) in told.into_values().filter(|(_, count)| *count > 0) {
            self.count(|summary| summary.problems += 1);
            self.monitor.event(Event::Problem { path: &self.top, cause: &Problem::More { count, what } });
        }
        self.tally().summary
    }
}

/// Ends the blocking work of a restore that nobody waits for any more.
pub(super) struct StopOnDrop(
    /// The work to end.
    pub(super) Arc<Work>,
);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
