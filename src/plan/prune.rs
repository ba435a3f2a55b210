//! What a prune decides: what comes next, what it marks, what it sweeps, what it removes.

use crate::id::ObjectId;
use crate::id::WriterId;
use crate::plan::homes::Homes;
use crate::plan::words::Standing;
use crate::plan::words::Words;
use std::collections::BTreeSet;

/// What a prune has to do next, from the log and a listing of packs alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// An earlier sweep of this chain was cut short: check again what is needed, rescue it, and remove these packs.
    Finish(Vec<ObjectId>),
    /// The mark of this chain, record `seq`, has packs left that are there. Once it is as old as the grace period (by the clock of the
    /// store): sweep.
    Ripen {
        /// Number of the record, whose age counts.
        seq: u64,
    },
    /// Nothing is open: look for packs that nothing needs, and mark them.
    Mark,
}

/// What comes next for the chain `me`. `is_there`: the pack was listed **after** the log was read.
pub fn next(words: &Words, me: WriterId, is_there: impl Fn(ObjectId) -> bool) -> Next {
    let left = |packs: &[ObjectId]| packs.iter().copied().filter(|pack| is_there(*pack)).collect::<Vec<_>>();
    let sweep = words.sweep_of(me).map(|named| left(&named.packs)).unwrap_or_default();
    if !sweep.is_empty() {
        return Next::Finish(sweep);
    }
    match words.mark_of(me) {
        Some(named) if named.packs.iter().any(|pack| is_there(*pack)) => Next::Ripen { seq: named.seq },
        _ => Next::Mark,
    }
}

/// The packs to mark: all that are no home, and those that others have swept and left behind. `packs` tells which packs
/// are there and whether they are too young: what a running backup stores looks like garbage until it commits.
///
/// The mark takes the place of the chain's earlier one: what that named and this does not is free again. An empty
/// answer has to be appended too if the earlier mark was not empty.
pub fn to_mark<C>(
    words: &Words,
    homes: &Homes<C, ObjectId>,
    packs: impl IntoIterator<Item = (ObjectId, bool)>,
) -> Vec<ObjectId> {
    let goes = |(pack, is_young): &(ObjectId, bool)| {
        words.standing(*pack) == Standing::Swept || !is_young && !homes.has(pack)
    };
    packs.into_iter().filter(goes).map(|(pack, _)| pack).collect()
}

/// The packs to sweep: those of this chain's mark that are there and still no home, and what is left of its earlier
/// sweep. From the moment the record stands nobody counts on them, and that is never taken back. Empty: nothing to
/// sweep; go on with a new mark, which frees what the old one named.
pub fn to_sweep<C>(
    words: &Words,
    me: WriterId,
    homes: &Homes<C, ObjectId>,
    is_there: impl Fn(ObjectId) -> bool,
) -> Vec<ObjectId> {
    let marked = words.mark_of(me).into_iter().flat_map(|named| &named.packs).filter(|pack| !homes.has(pack));
    let swept = words.sweep_of(me).into_iter().flat_map(|named| &named.packs);
    let all: BTreeSet<ObjectId> = marked.chain(swept).copied().filter(|pack| is_there(*pack)).collect();
    all.into_iter().collect()
}

/// The packs to remove, **after** the sweep: all of the chain's sweep that is there. Asked only when everything in
/// [`Homes::rescue`] is stored elsewhere and named by an index object; the homes must come from a log that was read after
/// the sweep record was written, and after the wait (see the page of this module).
pub fn to_remove(words: &Words, me: WriterId, is_there: impl Fn(ObjectId) -> bool) -> Vec<ObjectId> {
    let swept = words.sweep_of(me).into_iter().flat_map(|named| &named.packs);
    swept.copied().filter(|pack| is_there(*pack)).collect()
}
