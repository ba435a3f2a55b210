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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::homes::Line;
    use crate::plan::homes::homes;
    use crate::plan::words::Word;

    const ME: WriterId = WriterId([1; 16]);
    const YOU: WriterId = WriterId([2; 16]);
    const P: ObjectId = ObjectId([10; 16]);
    const Q: ObjectId = ObjectId([11; 16]);
    const R: ObjectId = ObjectId([12; 16]);
    const OLD: SnapshotId = SnapshotId([20; 16]);

    fn read(said: &[(WriterId, Word<'_>)]) -> Words {
        Words::read(said.iter().zip(0..).map(|((writer, word), seq)| (*writer, seq, *word)))
    }

    /// One chunk in each of P, Q and R, and the second one is needed.
    fn homes_of(words: &Words) -> Homes<u32, ObjectId> {
        let lines = [(1, P), (2, Q), (3, R)].map(|(chunk, pack)| Line { chunk, pack });
        homes(lines, [2], |pack| Some(words.standing(pack)))
    }

    #[test]
    fn a_prune_goes_from_mark_to_sweep_to_the_end() {
        let all = |pack: ObjectId| pack != ObjectId(OLD.0);
        let mut said = vec![(YOU, Word::Snapshot(OLD)), (YOU, Word::Forget(OLD)), (YOU, Word::Sweep(&[R]))];
        let words = read(&said);
        assert_eq!(next(&words, ME, all), Next::Mark);
        // What nothing needs, what others left behind however young, and the snapshot. The young one stays.
        let marked = to_mark(&words, &homes_of(&words), [(P, false), (Q, false), (R, true)]);
        assert_eq!(marked, [P, R, ObjectId(OLD.0)]);
        assert_eq!(to_mark(&words, &homes_of(&words), [(P, true)]), [ObjectId(OLD.0)]);
        let marked = [P, Q, ObjectId(OLD.0)];
        said.push((ME, Word::Mark(&marked)));
        let words = read(&said);
        assert_eq!(next(&words, ME, all), Next::Ripen { seq: 3 });
        assert_eq!(marked_snapshots(&words, ME), [OLD].into());
        // Q is needed after all: its mark comes to nothing.
        let swept = to_sweep(&words, ME, &homes_of(&words), all).unwrap_or_default();
        assert_eq!(swept, [P, ObjectId(OLD.0)]);
        said.push((ME, Word::Sweep(&swept)));
        let words = read(&said);
        assert!(words.is_gone(OLD));
        assert_eq!(next(&words, ME, all), Next::Finish(vec![P]));
        assert_eq!(to_remove(&words, ME, all), [P]);
        let rest = |pack| pack != P && all(pack);
        assert_eq!(to_remove(&words, ME, rest), []);
        assert_eq!(next(&words, ME, rest), Next::Ripen { seq: 3 });
        assert_eq!(to_sweep(&words, ME, &homes_of(&words), rest), None);
        // Nothing of the mark is left: on to the next one.
        assert_eq!(next(&words, ME, |_| false), Next::Mark);
    }

    #[test]
    fn a_sweep_names_again_what_is_left_of_the_last_one() {
        let (before, marked) = ([P, R, ObjectId(OLD.0)], [Q]);
        let said = [(YOU, Word::Snapshot(OLD)), (ME, Word::Sweep(&before)), (ME, Word::Mark(&marked))];
        let words = read(&said);
        let none = homes(Vec::<Line<u32, ObjectId>>::new(), [], |pack| Some(words.standing(pack)));
        let swept = to_sweep(&words, ME, &none, |pack| pack == P || pack == Q);
        assert_eq!(swept, Some(vec![P, Q, ObjectId(OLD.0)]));
        // Once no chain tells of the snapshot any more, neither does the sweep.
        let words = read(&said[1..]);
        assert_eq!(to_sweep(&words, ME, &none, |pack| pack == Q), Some(vec![Q]));
    }

    #[test]
    fn who_forgot_after_the_mark_can_still_undo() {
        let marked = [P];
        let words = read(&[(YOU, Word::Snapshot(OLD)), (ME, Word::Mark(&marked)), (YOU, Word::Forget(OLD))]);
        assert!(marked_snapshots(&words, ME).is_empty());
        assert_eq!(words.held(|_| false).collect::<Vec<_>>(), [OLD]);
        assert_eq!(to_sweep(&words, ME, &homes_of(&words), |pack| pack == P), Some(vec![P]));
    }
}
