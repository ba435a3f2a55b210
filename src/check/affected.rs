//! Who suffers: a second walk, only if something is lost, through all pages that lead to a loss.
//!
//! A page below which nothing is lost is walked through once, however many snapshots share it; only the ways down to
//! losses are walked again for each snapshot.

use crate::check::Result;
use crate::check::Run;
use crate::check::problem::Claimed;
use crate::check::problem::Number;
use crate::check::trees::Claim;
use crate::check::trees::Page;
use crate::check::trees::Wanted;
use crate::check::trees::children;
use crate::check::trees::extents;
use crate::extent::ChunkRef;
use crate::format::page::NodePage;
use crate::format::page::Run as NodeRun;
use crate::format::record::Snapshot;
use crate::id::SnapshotId;
use crate::meta::Content;
use crate::path;

use std::collections::BTreeSet;
use std::collections::HashSet;

/// A page on the way down.
struct Step {
    claimed: Claimed,
    /// Pages below it, the next one last.
    below: Vec<Wanted>,
    /// True if something below is lost.
    has_loss: bool,
}

impl Run<'_> {
    /// Finds the snapshots and files that need what is lost.
    pub(super) async fn attribute(&mut self, snapshots: &[&Snapshot]) -> Result<()> {
        self.findings.is_complete = true;
        let mut clean: HashSet<Claimed> = HashSet::new();
        for snapshot in snapshots {
            self.walk(snapshot, &mut clean).await?;
        }
        Ok(())
    }

    async fn walk(&mut self, snapshot: &Snapshot, clean: &mut HashSet<Claimed>) -> Result<()> {
        let mut steps: Vec<Step> = Vec::new();
        let mut next = Some(Wanted::root(snapshot));
        loop {
            self.go_on()?;
            if let Some(wanted) = next.take() {
                let claimed = wanted.claimed();
                if !clean.contains(&claimed) {
                    let step = self.step(snapshot.id, &wanted, claimed, clean).await?;
                    steps.push(step);
                }
            }
            let Some(step) = steps.last_mut() else { return Ok(()) };
            match step.below.pop() {
                Some(wanted) => next = Some(wanted),
                None => {
                    let Some(Step { claimed, has_loss, .. }) = steps.pop() else { return Ok(()) };
                    match steps.last_mut() {
                        Some(above) if has_loss => above.has_loss = true,
                        _ if !has_loss => {
                            clean.insert(claimed);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// Opens a page of nodes and notes what is lost in it.
    async fn step(
        &mut self,
        snapshot: SnapshotId,
        wanted: &Wanted,
        claimed: Claimed,
        clean: &mut HashSet<Claimed>,
    ) -> Result<Step> {
        let mut step = Step { claimed, below: Vec::new(), has_loss: true };
        if let Some(number) = self.findings.lost_page(&claimed) {
            if let (Claim::Nodes { nodes, first, .. }, Some(affected)) = (&wanted.claim, self.findings.affected(number))
            {
                affected.add(snapshot, &path::join(&first.parent, &first.name), *nodes);
            }
            return Ok(step);
        }
        // Lost since the first walk; a second check will tell.
        let Some(page) = self.page_again(wanted).await? else { return Ok(step) };
        step.has_loss = false;
        match &page {
            Page::Nodes(page @ NodePage::Inner(..)) => {
                step.below = children(page, &wanted.claim);
                step.below.reverse();
            }
            Page::Nodes(NodePage::Leaf(runs)) => {
                for run in runs {
                    step.has_loss |= self.losses_in(snapshot, run, clean).await?;
                }
            }
            Page::Extents(_) => {}
        }
        if self.note_spoiled_page(snapshot, wanted) {
            step.has_loss = true;
        }
        Ok(step)
    }

    /// A page that could be read, from a place where damage was found later: it was whole elsewhere.
    fn note_spoiled_page(&mut self, snapshot: SnapshotId, wanted: &Wanted) -> bool {
        let Err(number) = self.inventory.resolve(&mut self.findings, &wanted.page) else { return false };
        if let Some(affected) = self.findings.affected(number) {
            affected.add_snapshot(snapshot);
        }
        true
    }

    async fn page_again(&mut self, wanted: &Wanted) -> Result<Option<Page>> {
        let read = self.chunks.stored(wanted.kind(), &wanted.page).await;
        Ok(self.page(wanted, read).await?.ok())
    }

    /// Notes the nodes of a run whose contents are lost.
    async fn losses_in(&mut self, snapshot: SnapshotId, run: &NodeRun, clean: &mut HashSet<Claimed>) -> Result<bool> {
        let mut has_loss = false;
        for node in &run.nodes {
            let mut lost = BTreeSet::new();
            for content in node.contents() {
                self.losses_of(content, clean, &mut lost).await?;
            }
            has_loss |= !lost.is_empty();
            for number in lost {
                if let Some(affected) = self.findings.affected(number) {
                    affected.add(snapshot, &path::join(&run.parent, &node.name), 1);
                }
            }
        }
        Ok(has_loss)
    }

    /// The problems that keep a content from being read.
    async fn losses_of(
        &mut self,
        content: &Content,
        clean: &mut HashSet<Claimed>,
        lost: &mut BTreeSet<Number>,
    ) -> Result<()> {
        let (root, len) = match content {
            Content::Empty | Content::Inline(_) => return Ok(()),
            Content::Chunk(chunk) => {
                self.loss_of(chunk, lost);
                return Ok(());
            }
            Content::Extents { root, len, .. } => (*root, *len),
        };
        let root = Wanted::file(root, len);
        // Pages of this file that were opened: a hostile one can lead to the same page over and over.
        let mut opened = HashSet::new();
        let mut todo = vec![root.clone()];
        let losses = lost.len();
        while let Some(wanted) = todo.pop() {
            let claimed = wanted.claimed();
            if clean.contains(&claimed) || !opened.insert(claimed) {
                continue;
            }
            self.go_on()?;
            if let Some(number) = self.findings.lost_page(&claimed) {
                lost.insert(number);
                continue;
            }
            let Some(Page::Extents(page)) = self.page_again(&wanted).await? else { continue };
            self.loss_of(&wanted.page, lost);
            let (below, data) = extents(&page);
            data.iter().for_each(|chunk| self.loss_of(chunk, lost));
            todo.extend(below.into_iter().rev());
        }
        if lost.len() == losses {
            clean.insert(root.claimed());
        }
        Ok(())
    }

    fn loss_of(&mut self, chunk: &ChunkRef, lost: &mut BTreeSet<Number>) {
        if let Err(number) = self.inventory.resolve(&mut self.findings, chunk) {
            lost.insert(number);
        }
    }
}
