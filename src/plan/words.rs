//! What all chains of the log say together about snapshots and packs. The order in which records of different chains
//! were written does not matter and no clock is asked, so two readers of the same records always agree.

use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;

/// One thing a record says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// A snapshot is complete.
    Snapshot(SnapshotId),
    /// A snapshot so far.
    Partial(SnapshotId),
    /// A snapshot is no longer wanted.
    Forget(SnapshotId),
    /// It is wanted after all.
    Recall(SnapshotId),
    /// All packs that this chain is going to remove, and all forgotten snapshots that go with them.
    Mark(&'a [ObjectId]),
    /// All packs that this chain removes or has removed, and all snapshots that nobody can recall any more.
    Sweep(&'a [ObjectId]),
    /// All packs in which this chain has found damage.
    Damaged(&'a [ObjectId]),
}

/// How good a place a pack is for a chunk, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Here to stay.
    Free,
    /// May be swept one day.
    Marked,
    /// Gone, or as good as gone: nobody may count on it. What is needed of it can still be copied out while it is there.
    Swept,
    /// Here to stay, and no good home: what is needed of it may be what cannot be read. Any other place is better.
    Damaged,
}

/// The last mark (or sweep) of a chain: it takes the place of the ones before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Number of the record.
    pub seq: u64,
    /// What it names: packs, and snapshots by the same kind of id.
    pub ids: Vec<ObjectId>,
}

/// What the log says.
#[derive(Debug, Clone, Default)]
pub struct Words {
    snapshots: HashSet<SnapshotId>,
    said: HashMap<(WriterId, SnapshotId), (u32, u32)>,
    turns: HashMap<SnapshotId, u32>,
    marks: BTreeMap<WriterId, Named>,
    sweeps: BTreeMap<WriterId, Named>,
    damages: BTreeMap<WriterId, Named>,
    marked: HashSet<ObjectId>,
    swept: HashSet<ObjectId>,
    damaged: HashSet<ObjectId>,
}

impl Words {
    /// Takes in everything the log says: the words of each chain in the order of its records.
    pub fn read<'a>(said: impl Iterator<Item = (WriterId, u64, Word<'a>)>) -> Words {
        let mut words = Words::default();
        for (writer, seq, word) in said {
            match word {
                Word::Snapshot(id) => drop(words.snapshots.insert(id)),
                Word::Partial(_) => {}
                Word::Forget(id) => words.said.entry((writer, id)).or_default().0 += 1,
                Word::Recall(id) => words.said.entry((writer, id)).or_default().1 += 1,
                Word::Mark(ids) => drop(words.marks.insert(writer, Named { seq, ids: ids.to_vec() })),
                Word::Sweep(ids) => drop(words.sweeps.insert(writer, Named { seq, ids: ids.to_vec() })),
                Word::Damaged(ids) => drop(words.damages.insert(writer, Named { seq, ids: ids.to_vec() })),
            }
        }
        for ((_, id), (forgets, recalls)) in &words.said {
            let turn = words.turns.entry(*id).or_default();
            *turn = (*turn).max((2 * forgets).saturating_sub(1)).max(2 * recalls);
        }
        words.marked = words.marks.values().flat_map(|named| &named.ids).copied().collect();
        words.swept = words.sweeps.values().flat_map(|named| &named.ids).copied().collect();
        words.damaged = words.damages.values().flat_map(|named| &named.ids).copied().collect();
        words
    }

    /// True if the log tells of such a snapshot, forgotten or not.
    pub fn knows(&self, id: SnapshotId) -> bool {
        self.snapshots.contains(&id)
    }

    /// True if the snapshot is not wanted any more.
    pub fn is_forgotten(&self, id: SnapshotId) -> bool {
        self.turns.get(&id).is_some_and(|turn| turn % 2 == 1)
    }

    /// True if a sweep has named the snapshot: once it is forgotten, that is final. Stays true as long as the log
    /// [knows](Words::knows) the snapshot.
    pub fn is_taken(&self, id: SnapshotId) -> bool {
        self.swept.contains(&ObjectId(id.0))
    }

    /// True if nobody can want the snapshot any more: a checkpoint need not repeat it.
    pub fn is_gone(&self, id: SnapshotId) -> bool {
        self.is_forgotten(id) && self.is_taken(id)
    }

    /// The snapshots that a prune must keep whole: those that are wanted, and those that can still be recalled, except forgotten
    /// ones that the prune itself has marked (`is_marked`).
    pub fn held(&self, is_marked: impl Fn(SnapshotId) -> bool) -> impl Iterator<Item = SnapshotId> {
        let goes = move |id: SnapshotId| self.is_forgotten(id) && (self.is_taken(id) || is_marked(id));
        self.snapshots.iter().copied().filter(move |id| !goes(*id))
    }

    /// The snapshots that are forgotten and can still be recalled.
    pub fn recallable(&self) -> impl Iterator<Item = SnapshotId> {
        self.snapshots.iter().copied().filter(|id| self.is_forgotten(*id) && !self.is_taken(*id))
    }

    /// The snapshots that are wanted.
    pub fn wanted(&self) -> impl Iterator<Item = SnapshotId> {
        self.snapshots.iter().copied().filter(|id| !self.is_forgotten(*id))
    }

    /// How many Forget records this chain must append so that the snapshot is forgotten: mostly 1, and 0 if it is already.
    pub fn forgets_missing(&self, me: WriterId, id: SnapshotId) -> u32 {
        let turn = self.turns.get(&id).copied().unwrap_or(0);
        let mine = self.said.get(&(me, id)).map_or(0, |said| said.0);
        if turn % 2 == 1 { 0 } else { (turn / 2 + 1).saturating_sub(mine) }
    }

    /// How many Recall records this chain must append so that the snapshot is wanted again: mostly 1, and 0 if it is.
    pub fn recalls_missing(&self, me: WriterId, id: SnapshotId) -> u32 {
        let turn = self.turns.get(&id).copied().unwrap_or(0);
        let mine = self.said.get(&(me, id)).map_or(0, |said| said.1);
        if turn % 2 == 0 { 0 } else { turn.div_ceil(2).saturating_sub(mine) }
    }

    /// Where a pack stands that is there.
    pub fn standing(&self, pack: ObjectId) -> Standing {
        if self.swept.contains(&pack) {
            Standing::Swept
        } else if self.damaged.contains(&pack) {
            Standing::Damaged
        } else if self.marked.contains(&pack) {
            Standing::Marked
        } else {
            Standing::Free
        }
    }

    /// The last mark of a chain.
    pub fn mark_of(&self, writer: WriterId) -> Option<&Named> {
        self.marks.get(&writer)
    }

    /// The last sweep of a chain.
    pub fn sweep_of(&self, writer: WriterId) -> Option<&Named> {
        self.sweeps.get(&writer)
    }

    /// What a chain has found damaged.
    pub fn damage_of(&self, writer: WriterId) -> Option<&Named> {
        self.damages.get(&writer)
    }

    /// Packs in which somebody has found damage.
    pub fn damaged(&self) -> &HashSet<ObjectId> {
        &self.damaged
    }

    /// All chains that have marked something, with their last marks.
    pub fn marks(&self) -> impl Iterator<Item = (WriterId, &Named)> {
        self.marks.iter().map(|(writer, named)| (*writer, named))
    }

    /// True if no chain has swept anything since `before` was read: then no pack was removed since that was free or marked
    /// then. For whoever removes a pack has named it in a sweep record, and the record came before. What was read must be
    /// the whole log both times.
    pub fn sweeps_are_those_of(&self, before: &Words) -> bool {
        self.sweeps == before.sweeps
    }

    /// Packs that somebody has swept: writers and readers count them as gone.
    pub fn swept(&self) -> &HashSet<ObjectId> {
        &self.swept
    }

    /// Packs that a writer does not build upon.
    pub fn avoided(&self) -> HashSet<ObjectId> {
        self.marked.iter().chain(&self.swept).chain(&self.damaged).copied().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: WriterId = WriterId([1; 16]);
    const B: WriterId = WriterId([2; 16]);
    const S: SnapshotId = SnapshotId([9; 16]);

    fn read(said: &[(WriterId, Word<'_>)]) -> Words {
        Words::read(said.iter().zip(0..).map(|((writer, word), seq)| (*writer, seq, *word)))
    }

    #[test]
    fn a_recall_wins_over_what_it_saw_whoever_comes_first() {
        let (forget, recall) = (Word::Forget(S), Word::Recall(S));
        assert!(read(&[(A, forget)]).is_forgotten(S));
        // The order of chains does not matter.
        assert!(!read(&[(A, forget), (B, recall)]).is_forgotten(S));
        assert!(!read(&[(B, recall), (A, forget)]).is_forgotten(S));
        // Neither does a forget of somebody who did not see the recall.
        assert!(!read(&[(A, forget), (B, recall), (WriterId([3; 16]), forget)]).is_forgotten(S));
    }

    #[test]
    fn every_word_says_how_often_it_must_be_said() {
        let mut said = Vec::new();
        for round in 0..6 {
            // Turns between two chains, so that each has to catch up with the other.
            let me = if round % 3 == 0 { A } else { B };
            let words = read(&said);
            assert!(!words.is_forgotten(S));
            assert_eq!(words.recalls_missing(me, S), 0);
            let times = words.forgets_missing(me, S);
            said.extend((0..times).map(|_| (me, Word::Forget(S))));
            let you = if round % 2 == 0 { B } else { A };
            let words = read(&said);
            assert!(words.is_forgotten(S), "{round}");
            assert_eq!(words.forgets_missing(you, S), 0);
            let times = words.recalls_missing(you, S);
            said.extend((0..times).map(|_| (you, Word::Recall(S))));
        }
        assert!(!read(&said).is_forgotten(S));
    }

    #[test]
    fn the_last_mark_of_a_chain_stands_and_a_sweep_is_worse() {
        let [p, q, r] = [1, 2, 3].map(|n| ObjectId([n; 16]));
        let words =
            read(&[(A, Word::Mark(&[p, q])), (B, Word::Mark(&[q])), (A, Word::Mark(&[r])), (B, Word::Sweep(&[r]))]);
        assert_eq!([p, q, r].map(|pack| words.standing(pack)), [Standing::Free, Standing::Marked, Standing::Swept]);
        assert_eq!(words.avoided(), [q, r].into());
        assert_eq!(words.mark_of(A), Some(&Named { seq: 2, ids: vec![r] }));
    }

    #[test]
    fn damage_is_the_last_place_to_look_until_it_is_found_whole() {
        let [p, q, r] = [1, 2, 3].map(|n| ObjectId([n; 16]));
        let (all, p_alone, q_alone, r_alone) = ([p, q], [p], [q], [r]);
        let found = [(A, Word::Damaged(&all)), (B, Word::Damaged(&r_alone))];
        let mut said = [found, [(B, Word::Mark(&p_alone)), (B, Word::Sweep(&r_alone))]].concat();
        let standing = |said: &[_]| [p, q, r].map(|pack| read(said).standing(pack));
        assert_eq!(standing(&said), [Standing::Damaged, Standing::Damaged, Standing::Swept]);
        assert!(Standing::Swept < Standing::Damaged);
        assert_eq!(read(&said).avoided(), [p, q, r].into());
        said.push((A, Word::Damaged(&q_alone)));
        assert_eq!(standing(&said), [Standing::Marked, Standing::Damaged, Standing::Swept]);
        let words = read(&said);
        assert_eq!(words.damaged(), &[q, r].into());
        assert_eq!(words.damage_of(A), Some(&Named { seq: 4, ids: vec![q] }));
    }

    #[test]
    fn any_new_sweep_is_seen() {
        let p = [ObjectId([1; 16])];
        let before = read(&[(A, Word::Sweep(&p))]);
        let after = |more: &[(WriterId, Word<'_>)]| read(&[&[(A, Word::Sweep(&p))], more].concat());
        assert!(after(&[(B, Word::Mark(&p)), (A, Word::Damaged(&p))]).sweeps_are_those_of(&before));
        // It names the same, and may have removed it since.
        assert!(!after(&[(A, Word::Sweep(&p))]).sweeps_are_those_of(&before));
        assert!(!after(&[(B, Word::Sweep(&p))]).sweeps_are_those_of(&before));
        assert_eq!(before.swept(), &p.into());
    }

    #[test]
    fn a_forgotten_snapshot_is_held_until_it_is_marked_or_taken() {
        let [wanted, forgotten, marked, taken] = [1, 2, 3, 4].map(|n| SnapshotId([n; 16]));
        let named = [ObjectId(taken.0), ObjectId(wanted.0)];
        let mut said: Vec<_> = [wanted, forgotten, marked, taken].map(|id| (A, Word::Snapshot(id))).into();
        said.extend([forgotten, marked, taken].map(|id| (B, Word::Forget(id))));
        said.extend([(B, Word::Mark(&named[..1])), (A, Word::Sweep(&named))]);
        let words = read(&said);
        let sorted = |ids: &mut dyn Iterator<Item = SnapshotId>| {
            let mut ids: Vec<SnapshotId> = ids.collect();
            ids.sort();
            ids
        };
        // A sweep takes nothing that is wanted.
        assert_eq!(sorted(&mut words.wanted()), [wanted]);
        assert_eq!(sorted(&mut words.recallable()), [forgotten, marked]);
        assert_eq!(sorted(&mut words.held(|_| false)), [wanted, forgotten, marked]);
        assert_eq!(sorted(&mut words.held(|id| id == marked || id == wanted)), [wanted, forgotten]);
        assert_eq!([wanted, forgotten, taken].map(|id| words.is_gone(id)), [false, false, true]);
        assert_eq!(words.marks().collect::<Vec<_>>(), [(B, &Named { seq: 7, ids: named[..1].to_vec() })]);
    }
}
