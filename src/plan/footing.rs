//! What a snapshot stands on, and whether it still stands: asked by a backup before and after its record.

use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::plan::words::Standing;
use crate::plan::words::Words;

/// Before or after the record that makes the snapshot wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Marked packs count as gone: so whoever commits within the grace period is never too late.
    Before,
    /// Marked packs are good: the snapshot holds them, whoever marked them will see it before sweeping them.
    After,
}

/// Whether a snapshot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Footing {
    /// It does.
    Firm,
    /// It does not stand on these packs: each of its chunks that is to be found in no other pack has to be stored again.
    Loose(Vec<ObjectId>),
    /// Nobody holds the parent for sure: walk the whole tree, and store again each chunk that lies in no good pack.
    Unknown,
    /// After: the snapshot itself was forgotten by somebody while the backup slept, and a sweep has named it. It needs a new
    /// record with a new id, and the check before that.
    Gone,
}

impl When {
    /// True if a chunk in a pack of this standing need not be stored again.
    pub fn is_good(self, standing: Standing) -> bool {
        match self {
            When::Before => standing == Standing::Free,
            When::After => standing != Standing::Swept,
        }
    }
}

/// Whether `snapshot` stands, which shares chunks with its parent and has all others in `packs` (those the run has stored
/// as well as those it found in the index). `is_there`: the pack was listed **after** the log was read, or the run has stored
/// it so recently that a listing need not show it.
///
/// What it shares with the parent is not looked at while no mark (before) or no sweep (after) names the parent: until
/// then all prunes hold it, forgotten or not. So the parent must have been found whole, and not be an unfinished one.
pub fn footing(
    words: &Words,
    snapshot: SnapshotId,
    parent: Option<SnapshotId>,
    packs: impl IntoIterator<Item = ObjectId>,
    is_there: impl Fn(ObjectId) -> bool,
    when: When,
) -> Footing {
    if when == When::After && (!words.knows(snapshot) || words.is_taken(snapshot)) {
        return Footing::Gone;
    }
    let is_held = |parent: SnapshotId| words.knows(parent) && when.is_good(words.standing(ObjectId(parent.0)));
    if !parent.is_none_or(is_held) {
        return Footing::Unknown;
    }
    let is_loose = |pack: &ObjectId| !when.is_good(words.standing(*pack)) || !is_there(*pack);
    let loose: Vec<ObjectId> = packs.into_iter().filter(is_loose).collect();
    if loose.is_empty() { Footing::Firm } else { Footing::Loose(loose) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WriterId;
    use crate::plan::words::Word;

    #[test]
    fn marks_count_before_and_sweeps_after() {
        let [free, marked, swept, broken, absent] = [1, 2, 3, 4, 10].map(|n| ObjectId([n; 16]));
        let [calm, going, gone, new] = [5, 6, 7, 8].map(|n| SnapshotId([n; 16]));
        let words = [
            Word::Snapshot(calm),
            Word::Forget(calm),
            Word::Snapshot(going),
            Word::Snapshot(gone),
            Word::Snapshot(new),
            Word::Mark(&[marked, ObjectId(going.0)]),
            Word::Sweep(&[swept, ObjectId(gone.0)]),
            Word::Damaged(&[broken]),
        ];
        let words = Words::read(words.into_iter().zip(0..).map(|(word, seq)| (WriterId([0; 16]), seq, word)));
        let packs = [free, marked, swept, broken, absent];
        let ask = |parent, when| footing(&words, new, parent, packs, |pack| pack != absent, when);
        let before = Footing::Loose(vec![marked, swept, broken, absent]);
        let after = Footing::Loose(vec![swept, absent]);
        assert_eq!(ask(None, When::Before), before);
        assert_eq!(ask(None, When::After), after);
        // A forgotten parent is held until it is named.
        assert_eq!(ask(Some(calm), When::Before), before);
        assert_eq!(ask(Some(going), When::Before), Footing::Unknown);
        assert_eq!(ask(Some(going), When::After), after);
        assert_eq!(ask(Some(gone), When::After), Footing::Unknown);
        assert_eq!(ask(Some(SnapshotId([9; 16])), When::After), Footing::Unknown);
        assert_eq!(footing(&words, new, Some(calm), [free], |_| true, When::Before), Footing::Firm);
        // The snapshot itself: named by a sweep, or no longer told of.
        assert_eq!(footing(&words, gone, None, [free], |_| true, When::After), Footing::Gone);
        assert_eq!(footing(&words, SnapshotId([9; 16]), None, [free], |_| true, When::After), Footing::Gone);
        assert_eq!(footing(&words, SnapshotId([9; 16]), None, [free], |_| true, When::Before), Footing::Firm);
    }
}
