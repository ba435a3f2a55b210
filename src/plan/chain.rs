//! What of a chain's past has to stand in a checkpoint, so that the newest record and one checkpoint tell all.

use crate::id::SnapshotId;
use crate::plan::words::Word;
use std::collections::HashMap;

/// The numbers of those of a chain's words (in the order of its records) that are still true when `next` is appended,
/// if that is a word.
/// `gone`: [`Words::is_gone`](crate::plan::words::Words::is_gone) of a log that was read before (however long).
///
/// - Snapshots stay, forgotten or not, until they are gone: whoever recalls one must find it.
/// - Of marks, of sweeps and of damage found, the last one stays; earlier ones it has replaced.
/// - Unfinished snapshots stay until a whole one follows, or another unfinished one.
/// - Every forget and recall stays: it is counted.
pub fn still_true<'a>(
    words: impl Iterator<Item = (u64, Word<'a>)>,
    next: Option<Word<'_>>,
    gone: impl Fn(SnapshotId) -> bool,
) -> Vec<u64> {
    let words: Vec<(u64, Word<'a>)> = words.collect();
    let mut last: HashMap<u8, u64> = HashMap::new();
    for (seq, word) in words.iter().map(|(seq, word)| (*seq, *word)).chain(next.map(|next| (u64::MAX, next))) {
        match word {
            Word::Snapshot(_) | Word::Partial(_) => drop(last.insert(0, seq)),
            Word::Mark(_) => drop(last.insert(1, seq)),
            Word::Sweep(_) => drop(last.insert(2, seq)),
            Word::Damaged(_) => drop(last.insert(3, seq)),
            Word::Forget(_) | Word::Recall(_) => {}
        }
    }
    let is_last = |kind: u8, seq: u64| last.get(&kind) == Some(&seq);
    let stays = |(seq, word): &(u64, Word<'_>)| match *word {
        Word::Snapshot(id) => !gone(id),
        Word::Partial(_) => is_last(0, *seq),
        Word::Mark(_) => is_last(1, *seq),
        Word::Sweep(_) => is_last(2, *seq),
        Word::Damaged(_) => is_last(3, *seq),
        Word::Forget(_) | Word::Recall(_) => true,
    };
    words.iter().filter(|entry| stays(entry)).map(|(seq, _)| *seq).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;

    #[test]
    fn a_checkpoint_keeps_what_counts() {
        let [here, gone, part] = [1, 2, 3].map(|n| SnapshotId([n; 16]));
        let packs = [ObjectId([9; 16])];
        let words = [
            Word::Snapshot(gone),
            Word::Snapshot(here),
            Word::Partial(part),
            Word::Forget(here),
            Word::Forget(gone),
            Word::Mark(&packs),
            Word::Mark(&[]),
            Word::Sweep(&packs),
            Word::Damaged(&[]),
            Word::Damaged(&packs),
        ];
        let words = || words.into_iter().zip(0..).map(|(word, seq)| (seq, word));
        assert_eq!(still_true(words(), Some(Word::Forget(part)), |id| id == gone), [1, 2, 3, 4, 6, 7, 9]);
        assert_eq!(still_true(words(), Some(Word::Sweep(&[])), |_| false), [0, 1, 2, 3, 4, 6, 9]);
        assert_eq!(still_true(words(), Some(Word::Snapshot(part)), |_| false), [0, 1, 3, 4, 6, 7, 9]);
        assert_eq!(still_true(words(), Some(Word::Damaged(&[])), |_| false), [0, 1, 2, 3, 4, 6, 7]);
        assert_eq!(still_true(words(), None, |_| true), [2, 3, 4, 6, 7, 9]);
    }
}
