//! What people say about snapshots and password slots: forget, recall, amend, note. Much at once is one record, so
//! that a thousand snapshots cost one request more than one.

use crate::format::later::Amend;
use crate::format::later::KeyNote;
use crate::format::record::Event;
use crate::format::record::Snapshot;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::meta::Time;
use crate::plan::words::Words;
use crate::repo::Author;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::Result;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;

/// Snapshots that one record speaks of: about half of what stands together in one.
const IDS_AT_ONCE: usize = 8192;

/// Each id once, in the order given: people name the same snapshot twice.
fn unique(snapshots: &[SnapshotId]) -> Vec<SnapshotId> {
    let mut seen = BTreeSet::new();
    snapshots.iter().copied().filter(|id| seen.insert(*id)).collect()
}

impl Log {
    /// Says that these snapshots are no longer wanted. Nothing is removed.
    pub async fn forget(repo: &Repo, author: Author<'_>, time: Time, snapshots: &[SnapshotId]) -> Result<()> {
        let missing = |words: &Words, me, id| (Event::Forget(id), words.forgets_missing(me, id));
        Log::say_what_is_missing(repo, author, time, &unique(snapshots), missing).await
    }

    /// Says that these snapshots are wanted after all. Gives those for which that came too late: a prune has taken them,
    /// and they are forgotten still.
    pub async fn recall(
        repo: &Repo,
        author: Author<'_>,
        time: Time,
        snapshots: &[SnapshotId],
    ) -> Result<Vec<SnapshotId>> {
        let snapshots = unique(snapshots);
        let missing = |words: &Words, me, id| (Event::Recall(id), words.recalls_missing(me, id));
        Log::say_what_is_missing(repo, author, time, &snapshots, missing).await?;
        // A prune writes what it takes and then looks for recalls; whoever recalls does it the other way round.
        let log = Log::read(repo).await?;
        let words = log.words();
        // What a damaged log does not tell of may be there all the same.
        let is_late = |id: &SnapshotId| words.is_taken(*id) || log.problems.is_empty() && !words.knows(*id);
        let late: Vec<SnapshotId> = snapshots.into_iter().filter(is_late).collect();
        if !late.is_empty() {
            Log::forget(repo, author, time, &late).await?;
        }
        Ok(late)
    }

    /// Appends each word as often as it has to be said. `missing` tells the word for a snapshot, and how often.
    async fn say_what_is_missing(
        repo: &Repo,
        author: Author<'_>,
        time: Time,
        snapshots: &[SnapshotId],
        missing: impl Fn(&Words, WriterId, SnapshotId) -> (Event, u32),
    ) -> Result<()> {
        for ids in snapshots.chunks(IDS_AT_ONCE) {
            // One record will do, unless people on several machines have changed their minds again and again.
            let is_more = Cell::new(true);
            while is_more.get() {
                let decide = |log: &Log, me| {
                    let words = log.words();
                    let wanted = ids.iter().map(|id| missing(&words, me, *id));
                    let events = wanted.flat_map(|(event, times)| vec![event; times as usize]).collect();
                    let mut records = Event::together(events).into_iter();
                    let first = records.next();
                    is_more.set(records.next().is_some());
                    first
                };
                Log::append_decided(repo, author, time, Vec::new(), decide).await?;
            }
        }
        Ok(())
    }

    /// Appends events that may stand together, in as few records as will do.
    pub async fn say(repo: &Repo, author: Author<'_>, time: Time, events: Vec<Event>) -> Result<()> {
        for event in Event::together(events) {
            Log::append(repo, author, time, event, Vec::new()).await?;
        }
        Ok(())
    }

    /// What has to be said for a snapshot to be called so. Takes the place of what this log says about it.
    pub fn amendment(&self, snapshot: SnapshotId, mut tags: Vec<String>, description: String) -> Event {
        tags.sort();
        tags.dedup();
        let turns = self.events().filter_map(|(_, _, event)| match event {
            Event::Amend(amend) if amend.snapshot == snapshot => Some(amend.turn),
            _ => None,
        });
        let turn = Amend::turn_after(turns.max());
        Event::Amend(Box::new(Amend { snapshot, turn, tags, description }))
    }

    /// What was noted about password slots: the last note of each.
    pub fn key_notes(&self) -> HashMap<ObjectId, &KeyNote> {
        let mut notes: HashMap<ObjectId, &KeyNote> = HashMap::new();
        for (_, _, event) in self.events() {
            if let Event::Key(note) = event
                && notes.get(&note.slot).is_none_or(|known| known.time <= note.time)
            {
                notes.insert(note.slot, note);
            }
        }
        notes
    }

    /// What this writer forgot last, as far as it can be recalled and was not already.
    pub fn last_forgotten(&self, writer: WriterId) -> Vec<SnapshotId> {
        let recallable: HashSet<SnapshotId> = self.recallable().iter().map(|snapshot| snapshot.id).collect();
        let forgotten = |event: &Event| -> Vec<SnapshotId> {
            let ids = event.parts().iter().filter_map(|e| if let Event::Forget(id) = e { Some(*id) } else { None });
            unique(&ids.filter(|id| recallable.contains(id)).collect::<Vec<_>>())
        };
        let events = self.chains.get(&writer).into_iter().flat_map(|chain| chain.events.values().rev());
        events.map(forgotten).find(|ids| !ids.is_empty()).unwrap_or_default()
    }

    /// True if some of what the log says was written by a later version: whoever removes anything had better not.
    pub fn has_unknown_events(&self) -> bool {
        self.events().any(|(_, _, event)| matches!(event, Event::Later { .. }))
    }

    /// The snapshots that are called otherwise now.
    pub(super) fn amended(&self) -> HashMap<SnapshotId, Snapshot> {
        let mut newest: HashMap<SnapshotId, ((u64, WriterId), &Amend)> = HashMap::new();
        for (writer, _, event) in self.events() {
            if let Event::Amend(amend) = event {
                let rank = (amend.turn, writer);
                if newest.get(&amend.snapshot).is_none_or(|(known, _)| *known <= rank) {
                    newest.insert(amend.snapshot, (rank, amend));
                }
            }
        }
        let amend = |event: &Event| match event {
            Event::Snapshot(snapshot) => newest.get(&snapshot.id).map(|(_, amend)| {
                let (tags, description) = (amend.tags.clone(), amend.description.clone());
                (snapshot.id, Snapshot { tags, description, ..(**snapshot).clone() })
            }),
            _ => None,
        };
        self.events().filter_map(|(_, _, event)| amend(event)).collect()
    }
}
