//! Noting damage in the log, so that it heals: writers do not build on damaged packs, so the next backup of a source
//! that still has the content stores it again, and readers find the new place through the index.
//!
//! Nothing is removed by this. A prune removes a damaged pack when nothing needs it any more, like any other.

use crate::format::later::DAMAGED_MAX;
use crate::format::record::Event;
use crate::id::ObjectId;
use crate::meta::Time;
use crate::repo;
use crate::repo::Author;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::Result;
use std::collections::BTreeSet;

/// Another process of this machine can append between reading and writing; after this many times it has gone wild.
const TRIES_MAX: usize = 20;

/// Notes that there is damage in these packs, unless all of them are avoided already. Returns how many were new.
pub async fn mark(repo: &Repo, author: Author<'_>, time: Time, packs: &[ObjectId]) -> Result<usize> {
    for _ in 0..TRIES_MAX {
        let log = Log::read(repo).await?;
        let words = log.words();
        let mine = author.state.writer(author.machine)?.and_then(|me| words.damage_of(me));
        let before: BTreeSet<ObjectId> = mine.into_iter().flat_map(|named| &named.ids).copied().collect();
        let is_noted = |pack: &ObjectId| words.swept().contains(pack) || words.damaged().contains(pack);
        let fresh: BTreeSet<ObjectId> = packs.iter().copied().filter(|pack| !is_noted(pack)).collect();
        if fresh.is_empty() {
            return Ok(0);
        }
        let count = fresh.len();
        let all: Vec<ObjectId> = fresh.into_iter().chain(before).take(DAMAGED_MAX).collect();
        if Log::append_if_unmoved(repo, author, time, Event::Damaged(all), &log).await?.is_some() {
            return Ok(count);
        }
    }
    Err(repo::Error::LogBusy)
}
