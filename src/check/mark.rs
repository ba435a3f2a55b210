//! Noting damage in the log, so that it heals: writers do not build on marked packs, so the next backup of a source
//! that still has the content stores it again, and readers find the new place through the index.
//!
//! Nothing is removed by this. A mark is also what prune sets on packs it wants to remove; whoever sweeps must look
//! again whether a snapshot needs a marked pack, and leave it if so.

use crate::format::record::Event;
use crate::id::ObjectId;
use crate::meta::Time;
use crate::repo::Author;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::Result;

/// Appends one record that marks these packs, unless all of them are marked already. Returns how many were new.
pub async fn mark(repo: &Repo, author: Author<'_>, time: Time, packs: &[ObjectId]) -> Result<usize> {
    let marked = Log::read(repo).await?.marked_packs();
    let fresh: Vec<ObjectId> = packs.iter().copied().filter(|pack| !marked.contains(pack)).collect();
    if fresh.is_empty() {
        return Ok(0);
    }
    let count = fresh.len();
    Log::append(repo, author, time, Event::Mark(fresh), Vec::new()).await?;
    Ok(count)
}
