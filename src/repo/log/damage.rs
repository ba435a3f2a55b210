//! Noting damage, so that it heals: writers do not build on damaged packs, so the next backup of a source that still has
//! the content stores it again, and readers find the new place through the index.
//!
//! Nothing is removed by this. A prune removes a damaged pack when nothing needs it any more, like any other, and counts any other
//! place of a chunk as a better one.

use crate::format::later::DAMAGED_MAX;
use crate::format::record::Event;
use crate::id::ObjectId;
use crate::id::WriterId;
use crate::meta::Time;
use crate::repo::Author;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::Result;
use std::cell::Cell;
use std::collections::BTreeSet;

impl Log {
    /// Notes that there is damage in some packs, unless that is noted already, and that others are whole again. Returns how
    /// many damaged ones were new.
    pub async fn note_damage(
        repo: &Repo,
        author: Author<'_>,
        time: Time,
        damaged: &[ObjectId],
        whole: &[ObjectId],
    ) -> Result<usize> {
        let count = Cell::new(0);
        let decide = |log: &Log, me: WriterId| {
            let words = log.words();
            let before: BTreeSet<ObjectId> =
                words.damage_of(me).into_iter().flat_map(|named| &named.ids).copied().collect();
            let is_noted = |pack: &ObjectId| words.swept().contains(pack) || words.damaged().contains(pack);
            let fresh: BTreeSet<ObjectId> = damaged.iter().copied().filter(|pack| !is_noted(pack)).collect();
            count.set(fresh.len());
            let mut after = fresh;
            after.extend(
                before.iter().filter(|pack| !whole.contains(pack)).take(DAMAGED_MAX - after.len().min(DAMAGED_MAX)),
            );
            (after != before).then(|| Event::Damaged(after.into_iter().take(DAMAGED_MAX).collect()))
        };
        Log::append_decided(repo, author, time, Vec::new(), decide).await?;
        Ok(count.get())
    }
}
