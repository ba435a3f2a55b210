//! What changed between two snapshots, in the order of the tree. Only pages that differ are read; those that will be
//! wanted next are asked for together, so that a store far away costs a round trip for many of them.

use crate::browse::Browse;
use crate::repo::Chunks;
use crate::repo::Result;
use crate::tree::Change;
use crate::tree::Diff;
use crate::tree::Stop;
use std::sync::Arc;

/// Pages of each snapshot that are asked for together: a few MiB.
const PAGES_AHEAD: usize = 256;

/// A running comparison. Memory: one way down in each tree.
pub struct Changes {
    chunks: Arc<Chunks>,
    diff: Diff,
}

impl Changes {
    /// Compares what is below a folder of one snapshot with what is below one of another; the folders themselves only
    /// if both are the roots. Both must read with the same [`Chunks`].
    pub fn new(old: (&Browse, &[u8]), new: (&Browse, &[u8])) -> Changes {
        let diff = Diff::new((*old.0.tree(), old.1), (*new.0.tree(), new.1));
        Changes { chunks: new.0.chunks().clone(), diff }
    }

    /// Everything in a snapshot, as added to nothing.
    pub fn whole(browse: &Browse) -> Changes {
        Changes { chunks: browse.chunks().clone(), diff: Diff::whole(*browse.tree()) }
    }

    /// The next change.
    pub async fn next(&mut self) -> Result<Option<Change>> {
        let Changes { chunks, diff } = self;
        chunks
            .ask(|pages| {
                let next = diff.next(pages);
                if let Err(Stop::Miss(..)) = &next {
                    chunks.pages_ahead(&diff.upcoming(PAGES_AHEAD));
                }
                next
            })
            .await
    }
}
