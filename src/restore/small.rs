//! Small things by the batch: a look at the target, the chunks in the order of their packs, then all writing at once.
//! One hop to a blocking thread is shared by many files; the bytes of a batch are bounded.

use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Node;
use crate::restore::Error;
use crate::restore::choice::Choice;
use crate::restore::problem::Problem;
use crate::restore::run::Run;
use crate::restore::work::Item;
use crate::restore::work::Outcome;
use crate::restore::work::Work;
use crate::restore::work::blocking;
use bytes::Bytes;
use futures::future::join_all;

/// Items of a batch.
pub(super) const BATCH_ITEMS_MAX: usize = 64;
/// Bytes of a batch, after which no more items are added.
pub(super) const BATCH_BYTES_MAX: u64 = 4 << 20;

/// True for what is restored by the batch.
pub(super) fn is_small(node: &Node) -> bool {
    !matches!(node.content, Content::Extents { .. })
}

/// An item on its way: settled, or with the bytes to write.
enum Step {
    Settled(Outcome),
    Write(Bytes),
}

/// Restores a batch. Fails only if the whole restore must end.
pub(super) async fn restore_batch(run: &Run<'_>, items: Vec<Item>) -> Result<(), Error> {
    let work = run.work.clone();
    let look = move || items.into_iter().map(|item| (work.settle(&item), item)).collect::<Vec<_>>();
    let looked = blocking(look).await?;
    let wanted =
        looked.iter().filter(|(settled, _)| settled.is_none()).filter_map(|(_, item)| match item.node().content {
            Content::Chunk(chunk) => Some(chunk),
            _ => None,
        });
    run.browse.chunks().fetch_ahead(&wanted.collect::<Vec<_>>());
    let steps = join_all(looked.into_iter().map(|(settled, item)| async move {
        let step = match settled {
            Some(outcome) => Step::Settled(outcome),
            None => match content(run, item.node()).await {
                Ok(bytes) => Step::Write(bytes),
                Err(error) => Step::Settled(Outcome::Failed(Problem::Content(error))),
            },
        };
        (step, item)
    }))
    .await;
    if run.is_over() {
        return Err(Error::Cancelled);
    }
    let work = run.work.clone();
    let write = move || steps.into_iter().map(|(step, item)| (work.write(&item, step), item)).collect::<Vec<_>>();
    let mut result = Ok(());
    for (outcome, item) in blocking(write).await? {
        result = result.and(run.finish(&item, outcome, 0));
    }
    result
}

async fn content(run: &Run<'_>, node: &Node) -> Result<Bytes, crate::repo::Error> {
    match &node.content {
        Content::Inline(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        Content::Chunk(chunk) => run.browse.chunks().data(chunk).await,
        Content::Empty | Content::Extents { .. } => Ok(Bytes::new()),
    }
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

    fn write(&self, item: &Item, step: Step) -> Outcome {
        match step {
            Step::Settled(outcome) => outcome,
            Step::Write(_) if self.is_stopped() => Outcome::Stopped,
            Step::Write(bytes) => self.try_write(item, &bytes).unwrap_or_else(|problem| {
                if matches!(&problem, Problem::Target(error) if error.is_full()) {
                    // The next one would fail as well.
                    self.stop();
                }
                Outcome::Failed(problem)
            }),
        }
    }

    fn try_write(&self, item: &Item, bytes: &Bytes) -> Result<Outcome, Problem> {
        let missed = self.put(item, bytes)?;
        Ok(Outcome::Written { bytes: data_bytes(item.node()), missed, verified: self.verify_small(item)? })
    }
}
