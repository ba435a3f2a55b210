//! The snapshots a backup compares with, as one stream of nodes in key order: what an unfinished run has reached,
//! then the newest whole snapshot from there on. Damage costs time, not the backup: nodes in a page that cannot be read
//! count as new.

use crate::backup::known::Known;
use crate::browse;
use crate::browse::Browse;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::format::page::compare_keys;
use crate::meta::Content;
use crate::meta::Node;
use crate::path::Show;
use crate::repo;
use crate::repo::Chunks;
use crate::repo::Result;
use crate::tree::Found;
use crate::tree::Piece;
use crate::tree::Stop;
use crate::tree::pieces;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Nodes looked at for disks: a snapshot of disks has no more.
const DISKS_MAX: usize = 4096;

/// A stream of old nodes, read as far as the new ones go.
pub(super) struct OldNodes {
    runtime: Handle,
    chunks: Arc<Chunks>,
    /// The snapshot being read, and those that follow.
    current: Option<Browse>,
    later: Vec<Browse>,
    next: Option<Found>,
    /// Old nodes that no new node took the place of.
    pub(super) removed: u64,
    /// True once something could not be read.
    pub(super) is_damaged: bool,
}

impl OldNodes {
    /// `snapshots`: first the unfinished one, if any, then the whole one.
    pub(super) fn new(runtime: Handle, chunks: Arc<Chunks>, mut snapshots: Vec<Browse>) -> Result<OldNodes> {
        snapshots.reverse();
        let current = snapshots.pop();
        let mut old =
            OldNodes { runtime, chunks, current, later: snapshots, next: None, removed: 0, is_damaged: false };
        old.go_to(0)?;
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

    /// The files of the snapshots that hold disks in many pieces, those of the unfinished one first. Nothing may have been
    /// taken yet.
    pub(super) fn disks(&mut self) -> Result<Vec<Node>> {
        let mut disks = Vec::new();
        let snapshots: Vec<Browse> = self.current.iter().chain(self.later.iter().rev()).cloned().collect();
        for browse in snapshots {
            let ranks = match self.runtime.block_on(browse.children(b"")) {
                Ok(ranks) => ranks,
                Err(error) => {
                    self.survive(error)?;
                    continue;
                }
            };
            for rank in ranks.take(DISKS_MAX) {
                match self.runtime.block_on(browse.at(rank)) {
                    Ok(found) => disks.extend(found.map(|found| found.node().clone())),
                    Err(error) => self.survive(error)?,
                }
            }
        }
        disks.retain(|node| matches!(node.content, Content::Extents { .. }) && browse::disk_of(node).is_some());
        Ok(disks)
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
        match browse.tree().next(&**browse.chunks(), found) {
            Ok(Some(next)) => {
                self.next = Some(next);
                Ok(())
            }
            Ok(None) => self.switch(),
            Err(Stop::Bad(_) | Stop::Miss(..)) => self.go_to(found.rank + 1),
        }
    }

    /// Goes to the node of a rank, or behind it if it cannot be read: the more so the longer it goes on.
    fn go_to(&mut self, rank: u64) -> Result<()> {
        let mut at = rank;
        let mut step = 1;
        loop {
            let Some(browse) = &self.current else { return Ok(()) };
            match self.runtime.block_on(browse.at(at)) {
                Ok(Some(found)) => {
                    self.next = Some(found);
                    return Ok(());
                }
                Ok(None) => return self.switch(),
                Err(error) => self.survive(error)?,
            }
            at = at.saturating_add(step);
            step *= 2;
        }
    }

    /// Fails only if trying again later may help.
    fn survive(&mut self, error: repo::Error) -> Result<()> {
        if error.is_transient() {
            return Err(error);
        }
        tracing::warn!(error = %crate::monitor::chain(&error), "Parent is damaged; some files are read again");
        self.is_damaged = true;
        Ok(())
    }

    /// Goes on with the next snapshot, behind the last key of this one.
    fn switch(&mut self) -> Result<()> {
        let last = self.next.take();
        self.current = self.later.pop();
        let Some(browse) = &self.current else { return Ok(()) };
        let Some(last) = last else { return self.go_to(0) };
        let (parent, name) = (last.parent().to_vec(), last.node().name.clone());
        let found = match self.runtime.block_on(browse.ask(|tree, pages| tree.lower_bound(pages, &parent, &name))) {
            Ok(found) => found,
            Err(error) => {
                // Nobody knows where to go on.
                self.current = None;
                return self.survive(error);
            }
        };
        self.next = found;
        if self.next.as_ref().is_some_and(|f| compare_keys(f.parent(), &f.node().name, &parent, &name).is_eq()) {
            self.advance()?;
        }
        Ok(())
    }

    /// True if all a node refers to is where it should be, as far as can be told without reading it. The pages of a
    /// large file are looked into only if something is known to be lost or going to be.
    pub(super) fn is_whole(&mut self, node: &Node, known: &Known) -> Result<bool> {
        let absent = match &node.content {
            Content::Empty | Content::Inline(_) => None,
            Content::Chunk(chunk) | Content::Extents { root: chunk, .. } => {
                Some(*chunk).filter(|chunk| !known.is_usable(&chunk.hint))
            }
        };
        let absent = match (absent, &node.content) {
            (None, Content::Extents { .. }) if known.must_look_inside() => match self.absent_in(&node.content, known) {
                Ok(absent) => absent,
                Err(error) => return self.survive(error).map(|()| false),
            },
            (absent, _) => absent,
        };
        let Some(chunk) = absent else { return Ok(true) };
        tracing::warn!(name = %Show(&node.name), pack = %chunk.hint.pack, "Pack of unchanged content is gone");
        known.be_wary();
        if known.get(chunk.id, chunk.len)?.is_none() {
            known.note_loss();
        }
        Ok(false)
    }

    /// The pieces of a large file in a range; none if they cannot be read.
    pub(super) fn pieces(&self, content: &Content, range: Range<u64>) -> Result<Vec<Piece>> {
        match self.runtime.block_on(browse::pieces_of(&self.chunks, content, range)) {
            Ok(found) => Ok(found),
            Err(error) if error.is_transient() => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// A chunk of a large file that is not where it should be.
    fn absent_in(&self, content: &Content, known: &Known) -> Result<Option<ChunkRef>> {
        self.runtime.block_on(self.chunks.ask(|pages| {
            let mut absent = None;
            pieces(pages, content, 0..content.len(), &mut |piece| {
                absent = match piece.extent {
                    Extent::Data(chunk) if !known.is_usable(&chunk.hint) => Some(chunk),
                    _ => None,
                };
                absent.is_none()
            })?;
            Ok(absent)
        }))
    }
}

/// Every page of a snapshot's tree, out of its inner pages alone.
pub(super) fn pages_of(runtime: &Handle, browse: &Browse) -> Result<Vec<ChunkRef>> {
    runtime.block_on(browse.ask(|tree, pages| tree.all_pages(pages)))
}
