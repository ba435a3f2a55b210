//! The collector: takes results in the order of the tree, fills packs, builds the tree, commits.

use crate::backup::Error;
use crate::backup::Options;
use crate::backup::Summary;
use crate::backup::looks::Looks;
use crate::backup::scout::Ticket;
use crate::backup::together::Frame;
use crate::backup::uploader::Uploader;
use crate::backup::work::Draft;
use crate::backup::work::NodeDraft;
use crate::backup::work::Outcome;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::extent::Locator;
use crate::format::group;
use crate::format::page::add_bytes;
use crate::format::record;
use crate::format::record::Figures;
use crate::format::record::Snapshot;
use crate::meta::Content;
use crate::meta::Node;
use crate::meta::Time;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::path;
use crate::repo::Author;
use crate::repo::Log;
use crate::repo::Repo;
use crate::tree::ExtentTreeBuilder;
use crate::tree::NodeTreeBuilder;
use crate::tree::Root;
use crossbeam_channel::Receiver;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;
use tokio::runtime::Handle;

/// Builds one snapshot.
pub(super) struct Collector<'a> {
    repo: &'a Repo,
    author: Author<'a>,
    runtime: &'a Handle,
    uploader: Uploader<'a>,
    monitor: &'a dyn Monitor,
    snapshot: Snapshot,
    tree: NodeTreeBuilder,
    summary: Summary,
    /// Extents of the large file whose runs are coming in.
    large: Option<ExtentTreeBuilder>,
    /// Bytes of it that the monitor knows of.
    large_told: u64,
    began: Instant,
    dry_run: bool,
    /// zstd level of data.
    level: i32,
    checkpoint_every: Duration,
    checkpoint_at: Instant,
    new_at_checkpoint: u64,
}

impl<'a> Collector<'a> {
    #[allow(clippy::too_many_arguments)] // one caller, which has just made all of these
    pub(super) fn new(
        repo: &'a Repo,
        author: Author<'a>,
        runtime: &'a Handle,
        uploader: Uploader<'a>,
        monitor: &'a dyn Monitor,
        snapshot: Snapshot,
        options: &Options,
        began: Instant,
    ) -> Collector<'a> {
        Collector {
            repo,
            author,
            runtime,
            uploader,
            monitor,
            snapshot,
            tree: NodeTreeBuilder::new(repo.keys().clone()),
            summary: Summary::default(),
            large: None,
            large_told: 0,
            began,
            dry_run: options.dry_run,
            level: options.level,
            checkpoint_every: options.checkpoint_every,
            checkpoint_at: began + options.checkpoint_every,
            new_at_checkpoint: 0,
        }
    }

    /// Takes everything the tickets promise.
    pub(super) fn collect(&mut self, order: &Receiver<Ticket>) -> Result<(), Error> {
        // A worker that died took the sending end of its ticket with it.
        let lost = |_| Error::Repo(crate::repo::Error::TaskLost);
        for ticket in order {
            match ticket {
                Ticket::Ready(outcomes) => self.take_all(outcomes)?,
                Ticket::Batch(results) => self.take_all(results.recv().map_err(lost)??)?,
                Ticket::Runs(results) => {
                    let mut large = self.large.take().unwrap_or_default();
                    let before = large.len();
                    for draft in results.recv().map_err(lost)?? {
                        self.take_run(draft, &mut large)?;
                    }
                    let bytes = large.len() - before;
                    self.large_told += bytes;
                    self.monitor.event(Event::Done { nodes: 0, bytes });
                    self.large = Some(large);
                }
                Ticket::Ahead(results) => {
                    for draft in results.recv().map_err(lost)?? {
                        self.store(draft)?;
                    }
                }
                Ticket::End(outcome) => self.take(*outcome)?,
            }
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            self.checkpoint_if_due()?;
        }
        Ok(())
    }

    fn take_all(&mut self, outcomes: Vec<Outcome>) -> Result<(), Error> {
        if let Some(Outcome::Read(draft, _)) = outcomes.first() {
            self.monitor.event(Event::Path(&path::join(&draft.parent, &draft.name)));
        }
        outcomes.into_iter().try_for_each(|outcome| self.take(outcome))
    }

    fn take(&mut self, outcome: Outcome) -> Result<(), Error> {
        match outcome {
            Outcome::Same(parent, node) => self.push(&parent, *node),
            Outcome::Skipped(path, why) => {
                self.monitor.event(Event::Skipped { path: &path, why });
                Ok(())
            }
            Outcome::Problem(path, error) => {
                self.large = None;
                self.large_told = 0;
                self.problem(&path, &error);
                Ok(())
            }
            Outcome::Read(draft, changed) => {
                if let Some(error) = changed {
                    self.problem(&path::join(&draft.parent, &draft.name), &error);
                }
                self.take_node(*draft)
            }
        }
    }

    fn problem(&mut self, path: &[u8], error: &crate::source::Error) {
        self.summary.figures.problems += 1;
        self.monitor.event(Event::Problem { path, cause: error });
    }

    fn take_node(&mut self, draft: NodeDraft) -> Result<(), Error> {
        let mut extents = self.large.take().unwrap_or_default();
        for run in draft.runs {
            self.take_run(run, &mut extents)?;
        }
        let content = match draft.inline {
            Some(bytes) => Content::Inline(bytes),
            None => extents.finish(&mut self.uploader)?,
        };
        self.summary.figures.nodes_changed += 1;
        self.summary.nodes_new += u64::from(draft.is_new);
        self.summary.figures.bytes_read += draft.bytes_read;
        self.push(&draft.parent, Node { name: draft.name, kind: draft.kind, meta: draft.meta, content })
    }

    fn take_run(&mut self, draft: Draft, extents: &mut ExtentTreeBuilder) -> Result<(), Error> {
        let extent = self.store(draft)?;
        extents.push(extent, &mut self.uploader)
    }

    /// Sees to it that a run is stored.
    fn store(&mut self, draft: Draft) -> Result<Extent, Error> {
        Ok(match draft {
            Draft::Hole(len) => Extent::Hole(len),
            Draft::Known(chunk) => Extent::Data(chunk),
            Draft::Chunk { id, len, frame } => {
                // Two workers can have met the same new chunk at once: the first to come here stores it.
                let chunk = match (self.uploader.known(id, len)?, frame.as_deref().and_then(OnceLock::get)) {
                    (Some(known), _) => known,
                    (None, Some(frame)) => ChunkRef { id, len, hint: self.store_frame(frame)? },
                    (None, None) => return Err(Error::Repo(crate::repo::Error::ChunkLost { id })),
                };
                Extent::Data(chunk)
            }
        })
    }

    /// Stores what was encoded as one, without those that are stored by now.
    fn store_frame(&mut self, frame: &Frame) -> Result<Locator, Error> {
        let mut new = Vec::with_capacity(frame.members.len());
        for (id, len) in &frame.members {
            if self.uploader.known(*id, *len)?.is_none() {
                new.push((*id, *len));
                self.summary.figures.bytes_new += u64::from(*len);
            }
        }
        if new.len() == frame.members.len() {
            return self.uploader.append(ChunkKind::Data, &new, &frame.encoded);
        }
        let fewer = group::only(self.repo.keys(), ChunkKind::Data, &new, &frame.encoded, self.level);
        let (_, fewer) = fewer.map_err(Error::Encode)?;
        self.uploader.append(ChunkKind::Data, &new, fewer.as_deref().unwrap_or(&frame.encoded))
    }

    fn push(&mut self, parent: &[u8], node: Node) -> Result<(), Error> {
        self.summary.nodes += 1;
        self.summary.folders += u64::from(node.is_folder());
        self.summary.bytes = add_bytes(self.summary.bytes, node.size());
        self.snapshot.with_xattrs += u64::from(!node.meta.xattrs.is_empty());
        let bytes = node.size().saturating_sub(std::mem::take(&mut self.large_told));
        self.monitor.event(Event::Done { nodes: 1, bytes });
        self.tree.push(parent, node, &mut self.uploader)
    }

    /// Writes down the tree so far, if it is time and something was stored since the last time.
    fn checkpoint_if_due(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.dry_run || self.large.is_some() || now < self.checkpoint_at || self.summary.nodes == 0 {
            return Ok(());
        }
        if self.summary.figures.bytes_new > self.new_at_checkpoint {
            let root = self.tree.clone().finish(&mut self.uploader)?;
            self.uploader.flush()?;
            let event = record::Event::Partial(Box::new(self.describe(&root)));
            let time: Time = self.snapshot.time;
            self.runtime.block_on(Log::append(self.repo, self.author, time, event, Vec::new()))?;
            self.new_at_checkpoint = self.summary.figures.bytes_new;
        }
        self.checkpoint_at = Instant::now() + self.checkpoint_every;
        Ok(())
    }

    fn describe(&mut self, root: &Root) -> Snapshot {
        let figures = Figures {
            bytes_stored: self.uploader.bytes_stored(),
            millis: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..self.summary.figures
        };
        self.summary.figures = figures;
        let Root { page, level, nodes, bytes, .. } = *root;
        Snapshot { root: page, level, nodes, bytes, figures, ..self.snapshot.clone() }
    }

    /// Stores what is open and commits the snapshot.
    pub(super) fn finish(mut self, looks: Looks<'_>) -> Result<Summary, Error> {
        let tree = std::mem::replace(&mut self.tree, NodeTreeBuilder::new(self.repo.keys().clone()));
        let root = tree.finish(&mut self.uploader)?;
        if self.dry_run {
            let _figures = self.describe(&root);
            return Ok(self.summary);
        }
        self.uploader.flush()?;
        let mut snapshot = self.describe(&root);
        let is_done = looks.commit(&mut self.uploader, &mut snapshot, &root.plain)?;
        // What was taken away meanwhile was stored again.
        self.summary.figures.bytes_stored = self.uploader.bytes_stored();
        self.summary.was_there = !is_done;
        self.summary.snapshot = is_done.then_some(snapshot);
        Ok(self.summary)
    }
}
