//! Small things by the batch: a look at the target, the chunks in the order of their packs, then all writing at once.
//! One hop to a blocking thread is shared by many files, which decodes what was fetched and writes it; the bytes of a batch are
//! bounded.

use crate::extent::ChunkRef;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Node;
use crate::repo::Chunks;
use crate::restore::Error;
use crate::restore::choice::Choice;
use crate::restore::problem::Problem;
use crate::restore::run::Run;
use crate::restore::work::Item;
use crate::restore::work::Outcome;
use crate::restore::work::Work;
use crate::restore::work::blocking;
use bytes::Bytes;
use std::collections::VecDeque;

/// Items of a batch.
pub(super) const BATCH_ITEMS_MAX: usize = 64;
/// Bytes of a batch, after which no more items are added.
pub(super) const BATCH_BYTES_MAX: u64 = 4 << 20;

/// True for what is restored by the batch.
pub(super) fn is_small(node: &Node) -> bool {
    !matches!(node.content, Content::Extents { .. })
}

/// An item on its way: settled, with the bytes to write, or with the chunk that has them.
enum Step {
    Settled(Outcome),
    Write(Bytes),
    Wanted(ChunkRef),
}

/// What became of an item.
type Done = (Outcome, Item);

impl Step {
    fn of(settled: Option<Outcome>, node: &Node) -> Step {
        match (settled, &node.content) {
            (Some(outcome), _) => Step::Settled(outcome),
            (None, Content::Chunk(chunk)) => Step::Wanted(*chunk),
            (None, Content::Inline(bytes)) => Step::Write(Bytes::copy_from_slice(bytes)),
            (None, Content::Empty | Content::Extents { .. }) => Step::Write(Bytes::new()),
        }
    }
}

/// Restores a batch. Fails only if the whole restore must end.
pub(super) async fn restore_batch(run: &Run<'_>, items: Vec<Item>) -> Result<(), Error> {
    let work = run.work.clone();
    let look = move || items.into_iter().map(|item| (Step::of(work.settle(&item), item.node()), item)).collect();
    let mut steps: VecDeque<(Step, Item)> = blocking(look).await?;
    let wanted = |(step, _): &(Step, Item)| if let Step::Wanted(chunk) = step { Some(*chunk) } else { None };
    run.browse.chunks().fetch_ahead(&steps.iter().filter_map(wanted).collect::<Vec<_>>());
    let mut result = Ok(());
    while let Some((first, _)) = steps.front_mut() {
        // Waiting for the one brings its neighbours too.
        if let Step::Wanted(chunk) = first {
            *first = match run.browse.chunks().data(chunk).await {
                Ok(bytes) => Step::Write(bytes),
                Err(error) => Step::Settled(Outcome::Failed(Problem::Content(error))),
            };
        }
        if run.is_over() {
            return result.and(Err(Error::Cancelled));
        }
        let (work, chunks) = (run.work.clone(), run.browse.chunks().clone());
        let (written, left) = blocking(move || work.write_ready(&chunks, steps)).await?;
        steps = left;
        for (outcome, item) in written {
            result = result.and(run.finish(&item, outcome, 0));
        }
    }
    result
}

/// Bytes that restoring a node writes.
fn data_bytes(node: &Node) -> u64 {
    if node.kind == Kind::File { node.content.len() } else { 0 }
}

impl Work {
    /// Settles an item without its bytes, if that can be done.
    fn settle(&self, item: &Item) -> Option<Outcome> {
        if self.is_stopped() {
            return Some(Outcome::Stopped);
        }
        self.try_settle(item).unwrap_or_else(|problem| Some(Outcome::Failed(problem)))
    }

    fn try_settle(&self, item: &Item) -> Result<Option<Outcome>, Problem> {
        Ok(match self.choose(item)? {
            (Choice::Leave, _) => Some(Outcome::Left),
            (Choice::Same { stale }, Some(existing)) => {
                let missed = self.keep(item, &existing, stale)?;
                Some(Outcome::Same { missed, verified: self.verify_small(item)? })
            }
            _ if self.dry_run => {
                let bytes = data_bytes(item.node());
                Some(Outcome::Written { bytes, missed: Vec::new(), verified: false })
            }
            _ => None,
        })
    }

    /// Does steps in turn until one needs bytes that are not at hand. Returns what became of the items, and what is left.
    fn write_ready(&self, chunks: &Chunks, mut steps: VecDeque<(Step, Item)>) -> (Vec<Done>, VecDeque<(Step, Item)>) {
        let mut written = Vec::new();
        while let Some((step, item)) = steps.pop_front() {
            let outcome = match step {
                Step::Settled(outcome) => outcome,
                _ if self.is_stopped() => Outcome::Stopped,
                Step::Write(bytes) => self.write(&item, &bytes),
                Step::Wanted(chunk) => match chunks.data_at_hand(&chunk) {
                    Some(bytes) => self.write(&item, &bytes),
                    None => {
                        steps.push_front((step, item));
                        break;
                    }
                },
            };
            written.push((outcome, item));
        }
        (written, steps)
    }

    fn write(&self, item: &Item, bytes: &Bytes) -> Outcome {
        self.try_write(item, bytes).unwrap_or_else(|problem| {
            if matches!(&problem, Problem::Target(error) if error.is_full()) {
                // The next one would fail as well.
                self.stop();
            }
            Outcome::Failed(problem)
        })
    }

    fn try_write(&self, item: &Item, bytes: &Bytes) -> Result<Outcome, Problem> {
        let missed = self.put(item, bytes)?;
        Ok(Outcome::Written { bytes: data_bytes(item.node()), missed, verified: self.verify_small(item)? })
    }
}
