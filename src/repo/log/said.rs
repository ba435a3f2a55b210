//! What the log says, for those who decide: `plan` knows nothing of records.

use crate::format::record::Event;
use crate::id::WriterId;
use crate::plan::words::Word;
use crate::plan::words::Words;
use crate::repo::log::Log;

/// An event as `plan` sees it, if it says anything about snapshots and packs. One of several says nothing itself.
pub(super) fn word(event: &Event) -> Option<Word<'_>> {
    Some(match event {
        Event::Snapshot(snapshot) => Word::Snapshot(snapshot.id),
        Event::Partial(snapshot) => Word::Partial(snapshot.id),
        Event::Forget(id) => Word::Forget(*id),
        Event::Recall(id) => Word::Recall(*id),
        Event::Mark(ids) => Word::Mark(ids),
        Event::Sweep(ids) => Word::Sweep(ids),
        Event::Damaged(ids) => Word::Damaged(ids),
        Event::Amend(_) | Event::Several(_) | Event::Key(_) | Event::Later { .. } => return None,
    })
}

impl Log {
    /// What all chains say together about snapshots and packs.
    pub fn words(&self) -> Words {
        Words::read(self.events().filter_map(|(writer, seq, event)| Some((writer, seq, word(event)?))))
    }

    /// Number of the newest record of a chain that was read: what a decision about this chain is based on.
    pub fn head(&self, writer: WriterId) -> Option<u64> {
        self.chains.get(&writer)?.head.map(|(seq, _)| seq)
    }
}
