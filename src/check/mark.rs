//! Noting damage in the log, so that it heals: writers do not build on marked packs, so the next backup of a source
//! that still has the content stores it again, and readers find the new place through the index.
//!
//! Nothing is removed by this. A mark is also what prune sets on packs it wants to remove; whoever sweeps must look
//! again whether a snapshot needs a marked pack, and leave it if so. The last mark of a chain takes the place of those
//! before it, so this one repeats what they named.

use crate::format::record::Event;
use crate::id::ObjectId;
use crate::meta::Time;
use crate::repo::Author;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::Result;

/// Appends one record that marks these packs, unless all of them are marked already. Returns how many were new.
pub async fn mark(repo: &Repo, author: Author<'_>, time: Time, packs: &[ObjectId]) -> Result<usize> {
    let log = Log::read(repo).await?;
    let words = log.words();
    let marked = words.avoided();
    let fresh: Vec<ObjectId> = packs.iter().copied().filter(|pack| !marked.contains(pack)).collect();
    if fresh.is_empty() {
        return Ok(0);
    }
    let count = fresh.len();
    let mine = author.state.writer(author.machine)?.and_then(|me| words.mark_of(me));
    let before = mine.map(|named| named.ids.clone()).unwrap_or_default();
    Log::append(repo, author, time, Event::Mark([before, fresh].concat()), Vec::new()).await?;
    Ok(count)
}
