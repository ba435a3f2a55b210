//! The snapshots a backup compares with, as one stream of nodes in key order: what an unfinished run has reached,
//! then the newest whole snapshot from there on.

use crate::browse::Browse;
use crate::extent::ChunkRef;
use crate::format::page::compare_keys;
use crate::repo::Result;
use crate::tree::Found;
use crate::tree::Stop;
use std::cmp::Ordering;
use tokio::runtime::Handle;

/// A stream of old nodes, read as far as the new ones go.
pub(super) struct OldNodes {
    runtime: Handle,
    /// The snapshot being read, and those that follow.
    current: Option<Browse>,
    later: Vec<Browse>,
    next: Option<Found>,
    /// Old nodes that no new node took the place of.
    pub(super) removed: u64,
}

impl OldNodes {
    /// `snapshots`: first the unfinished one, if any, then the whole one.
    pub(super) fn new(runtime: Handle, mut snapshots: Vec<Browse>) -> Result<OldNodes> {
        snapshots.reverse();
        let current = snapshots.pop();
        let mut old = OldNodes { runtime, current, later: snapshots, next: None, removed: 0 };
        if let Some(browse) = &old.current {
            old.next = old.runtime.block_on(browse.at(0))?;
        }
        Ok(old)
    }

    /// The old node of this key, if there is one. Keys must be asked for in ascending order.
    pub(super) fn take(&mut self, parent: &[u8], name: &[u8]) -> Result<Option<Found>> {
        while let Some(found) = &self.next {
            match compare_keys(found.parent(), &found.node().name, parent, name) {
                Ordering::Greater => return Ok(None),
                Ordering::Equal => {
                    let found = found.clone();
                    self.advance()?;
                    return Ok(Some(found));
                }
                Ordering::Less => {
                    self.removed += 1;
                    self.advance()?;
                }
            }
        }
        Ok(None)
    }

    /// Counts what is left of the whole snapshot as removed.
    pub(super) fn finish(self) -> u64 {
        let left = match (&self.current, &self.next) {
            (Some(browse), Some(found)) if self.later.is_empty() => browse.tree().nodes.saturating_sub(found.rank),
            _ => 0,
        };
        self.removed + left
    }

    fn advance(&mut self) -> Result<()> {
        let (Some(browse), Some(found)) = (&self.current, &self.next) else { return Ok(()) };
        let next = match browse.tree().next(&**browse.chunks(), found) {
            Ok(next) => next,
            Err(Stop::Bad(_) | Stop::Miss(..)) => {
                self.runtime.block_on(browse.ask(|tree, pages| tree.next(pages, found)))?
            }
        };
        match next {
            Some(next) => self.next = Some(next),
            None => self.switch()?,
        }
        Ok(())
    }

    /// Goes on with the next snapshot, behind the last key of this one.
    fn switch(&mut self) -> Result<()> {
        let last = self.next.take();
        self.current = self.later.pop();
        let (Some(browse), Some(last)) = (&self.current, last) else { return Ok(()) };
        let (parent, name) = (last.parent().to_vec(), last.node().name.clone());
        let found = self.runtime.block_on(browse.ask(|tree, pages| tree.lower_bound(pages, &parent, &name)))?;
        self.next = found;
        if self.next.as_ref().is_some_and(|f| compare_keys(f.parent(), &f.node().name, &parent, &name).is_eq()) {
            self.advance()?;
        }
        Ok(())
    }
}

/// Every page of a snapshot's tree, out of its inner pages alone.
pub(super) fn pages_of(runtime: &Handle, browse: &Browse) -> Result<Vec<ChunkRef>> {
    runtime.block_on(browse.ask(|tree, pages| tree.all_pages(pages)))
}
