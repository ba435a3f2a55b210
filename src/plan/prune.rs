//! What a prune decides: what comes next, what it marks, what it sweeps, what it removes.

use crate::id::ObjectId;
use crate::id::SnapshotId;
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
    /// The mark of this chain, record `seq`, names something that is still there. Once it is as old as the grace period (by the clock of the
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
    let swept = words.sweep_of(me).into_iter().flat_map(|named| &named.ids).copied();
    let left: Vec<ObjectId> = swept.filter(|pack| is_there(*pack)).collect();
    if !left.is_empty() {
        return Next::Finish(left);
    }
    let is_open = |id: &ObjectId| is_there(*id) || is_going(words, SnapshotId(id.0));
    match words.mark_of(me) {
        Some(named) if named.ids.iter().any(is_open) => Next::Ripen { seq: named.seq },
        _ => Next::Mark,
    }
}

/// True for a snapshot that is forgotten, and no sweep has named it.
fn is_going(words: &Words, id: SnapshotId) -> bool {
    words.knows(id) && words.is_forgotten(id) && !words.is_taken(id)
}

/// What to mark: the forgotten snapshots, the packs that are no home of what [wanted](Words::wanted) ones need, and the packs
/// that others have swept and left behind. `packs` are the packs that are there and that the index names, and whether
/// they are too young: what a running backup stores looks like garbage until it commits.
///
/// The mark takes the place of the chain's earlier one: what that named and this does not is free again. So an empty
/// answer has to be appended too, unless the earlier mark was empty.
pub fn to_mark<C>(
    words: &Words,
    homes: &Homes<C, ObjectId>,
    packs: impl IntoIterator<Item = (ObjectId, bool)>,
) -> Vec<ObjectId> {
    let goes =
        |(pack, is_young): &(ObjectId, bool)| words.standing(*pack) == Standing::Swept || !is_young && !homes.has(pack);
    let snapshots = words.recallable().map(|id| ObjectId(id.0));
    let packs = packs.into_iter().filter(goes).map(|(pack, _)| pack);
    packs.chain(snapshots).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The snapshots that this chain's mark holds no more: those that were forgotten when it was written and still are.
pub fn marked_snapshots(words: &Words, me: WriterId) -> BTreeSet<SnapshotId> {
    let marked = words.mark_of(me).into_iter().flat_map(|named| &named.ids);
    marked.map(|id| SnapshotId(id.0)).filter(|id| is_going(words, *id)).collect()
}

/// What to sweep: of this chain's mark, the packs that are there and no home of what is [held](Words::held) and the snapshots
/// that are still forgotten; and what an earlier sweep named, as long as it is there (packs) or known (snapshots).
/// From the moment the record stands nobody counts on them, and that is never taken back. `None`: nothing new; go on
/// with a new mark, which frees what the old one named.
pub fn to_sweep<C>(
    words: &Words,
    me: WriterId,
    homes: &Homes<C, ObjectId>,
    is_there: impl Fn(ObjectId) -> bool,
) -> Option<Vec<ObjectId>> {
    let marked = words.mark_of(me).into_iter().flat_map(|named| &named.ids).copied();
    let goes = |id: &ObjectId| is_there(*id) && !homes.has(id) || is_going(words, SnapshotId(id.0));
    let fresh: BTreeSet<ObjectId> = marked.filter(goes).collect();
    if fresh.is_empty() {
        return None;
    }
    let swept = words.sweep_of(me).into_iter().flat_map(|named| &named.ids).copied();
    let stays = |id: &ObjectId| is_there(*id) || words.knows(SnapshotId(id.0));
    Some(swept.filter(stays).chain(fresh).collect::<BTreeSet<_>>().into_iter().collect())
}

/// The packs to remove, **after** the sweep: all of the chain's sweep that is there. Asked only when everything in
/// [`Homes::rescue`] is stored elsewhere and named by an index object; the homes must come from a log that was read after
/// the sweep record was written, and after the wait (see the page of this module).
pub fn to_remove(words: &Words, me: WriterId, is_there: impl Fn(ObjectId) -> bool) -> Vec<ObjectId> {
    let swept = words.sweep_of(me).into_iter().flat_map(|named| &named.ids).copied();
    swept.filter(|pack| is_there(*pack)).collect()
}
