//! What some snapshots need, and what of it no other snapshot needs: the same sorted streams that a prune looks at.

use crate::id::SnapshotId;
use crate::monitor::Monitor;
use crate::prune::Result;
use crate::prune::lines::Lines;
use crate::prune::list;
use crate::prune::needed::Needed;
use crate::prune::needed::Walk;
use crate::prune::sorted::Scratch;
use crate::repo::Chunks;
use crate::repo::ChunksOptions;
use crate::repo::Log;
use crate::repo::Repo;
use std::collections::BTreeSet;
use std::iter::Peekable;
use std::path::PathBuf;

/// Memory for pages.
const CHUNKS_MEMORY_BYTES: usize = 32 << 20;

/// Chunks and pages as they are stored, each once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// How many the snapshots need.
    pub chunks: u64,
    /// Their contents, bytes.
    pub plain_bytes: u64,
    /// What they take, compressed.
    pub stored_bytes: u64,
    /// How many no other snapshot needs.
    pub unique_chunks: u64,
    /// What these take: so much comes free when the snapshots are forgotten.
    pub unique_bytes: u64,
}

/// Finds out what these snapshots need, and what only they need. `scratch` is a folder for sorting in `memory_bytes`.
pub async fn share(
    repo: &Repo,
    log: &Log,
    chosen: &BTreeSet<SnapshotId>,
    scratch: PathBuf,
    memory_bytes: usize,
    monitor: &dyn Monitor,
) -> Result<Share> {
    let scratch = Scratch { folder: scratch, memory_bytes };
    let chunks = Chunks::new(repo, &ChunksOptions { memory_bytes: CHUNKS_MEMORY_BYTES });
    let listed = list(repo).await?;
    let lines = Lines::load(repo, &scratch).await?;
    let walk = Walk { chunks: &chunks, lines: &lines, packs: &listed, scratch: &scratch, monitor };
    let all = log.snapshots();
    let (mine, others): (Vec<_>, Vec<_>) =
        all.into_iter().map(|snapshot| (snapshot, true)).partition(|(snapshot, _)| chosen.contains(&snapshot.id));
    let mine = Needed::nothing(&scratch)?.of(&mine, &walk).await?;
    let others = Needed::nothing(&scratch)?.of(&others, &walk).await?;
    let mut share = Share::default();
    lines.visit(|rows| {
        mine.visit(|mine| {
            others.visit(|others| {
                let (mut mine, mut others) = (mine.peekable(), others.peekable());
                let mut last = None;
                for row in rows {
                    let chunk = row.chunk().0;
                    // A chunk that lies in several places counts once.
                    if last.replace(chunk) == Some(chunk) || !meets(&mut mine, &chunk) {
                        continue;
                    }
                    share.chunks += 1;
                    share.plain_bytes += u64::from(lines.line(&row).chunk.len);
                    share.stored_bytes += row.len();
                    if !meets(&mut others, &chunk) {
                        share.unique_chunks += 1;
                        share.unique_bytes += row.len();
                    }
                }
            })
        })
    })???;
    Ok(share)
}

/// Goes on to `wanted`; true if it is there.
fn meets<T: Ord>(sorted: &mut Peekable<impl Iterator<Item = T>>, wanted: &T) -> bool {
    while sorted.next_if(|found| found < wanted).is_some() {}
    sorted.peek() == Some(wanted)
}
