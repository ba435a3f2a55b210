//! What a snapshot stands on, and whether it still stands: asked by a backup before and after its record, and by
//! `undo-forget` after its.

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
    /// The parent was forgotten meanwhile and holds nothing any more: walk the whole tree, and store again each chunk
    /// that lies in no good pack.
    Unknown,
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

/// Whether a snapshot stands that shares chunks with its parent and has all others in `packs` (those the run has stored
/// as well as those it found in the index). `is_there`: the pack was listed **after** the log was read.
///
/// What it shares with the parent is not looked at as long as the parent is wanted: the parent needs it too.
pub fn footing(
    words: &Words,
    parent: Option<SnapshotId>,
    packs: impl IntoIterator<Item = ObjectId>,
    is_there: impl Fn(ObjectId) -> bool,
    when: When,
) -> Footing {
    if parent.is_some_and(|parent| words.is_forgotten(parent) || !words.knows(parent)) {
        return Footing::Unknown;
    }
    let is_loose = |pack: &ObjectId| !when.is_good(words.standing(*pack)) || !is_there(*pack);
    let loose: Vec<ObjectId> = packs.into_iter().filter(is_loose).collect();
    if loose.is_empty() { Footing::Firm } else { Footing::Loose(loose) }
}
