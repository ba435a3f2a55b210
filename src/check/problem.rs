//! What a check finds: problems, each told once however often it is met, with the snapshots and files that suffer; and
//! notes of what is strange but does no harm. All lists are bounded; what does not fit is counted.

use crate::id::ObjectId;
use crate::id::SnapshotId;
use std::collections::HashMap;
use std::ops::Range;

/// Problems that are listed.
const PROBLEMS_MAX: usize = 1000;
/// Snapshots that are listed with a problem.
const SNAPSHOTS_MAX: usize = 20;
/// Files that are listed with a problem.
const FILES_MAX: usize = 10;

/// What sort of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An object or chunk is gone.
    Missing,
    /// Bytes are not what was written.
    Damaged,
    /// Whole objects that cannot both be right.
    Contradiction,
    /// The log has a hole, or went backwards.
    Log,
    /// The store does not give it.
    Unreadable,
}

impl Kind {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Damaged => "damaged",
            Kind::Contradiction => "contradiction",
            Kind::Log => "log",
            Kind::Unreadable => "unreadable",
        }
    }
}

/// Who suffers from a problem.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affected {
    /// Snapshots, the first ones.
    pub snapshots: Vec<SnapshotId>,
    /// How many in all.
    pub snapshots_count: u64,
    /// Files and folders, the first ones: snapshot and path.
    pub files: Vec<(SnapshotId, Vec<u8>)>,
    /// How many in all snapshots.
    pub files_count: u64,
    /// The snapshot that was noted last.
    pub(super) last: Option<SnapshotId>,
}

impl Affected {
    /// True if nobody does.
    pub fn is_empty(&self) -> bool {
        self.snapshots_count == 0
    }

    /// Notes `count` nodes of a snapshot from this path on. Snapshots come one after the other.
    pub(super) fn add(&mut self, snapshot: SnapshotId, path: &[u8], count: u64) {
        if self.files.len() < FILES_MAX {
            self.files.push((snapshot, path.to_vec()));
        }
        self.files_count = self.files_count.saturating_add(count);
        self.add_snapshot(snapshot);
    }

    pub(super) fn add_snapshot(&mut self, snapshot: SnapshotId) {
        if self.last == Some(snapshot) {
            return;
        }
        self.last = Some(snapshot);
        self.snapshots_count += 1;
        if self.snapshots.len() < SNAPSHOTS_MAX {
            self.snapshots.push(snapshot);
        }
    }
}

/// Something that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What sort.
    pub kind: Kind,
    /// The object it was found in, by its name.
    pub object: String,
    /// What is wrong.
    pub message: String,
    /// Who suffers.
    pub affected: Affected,
}

/// Something strange that does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its name for programs.
    pub what: &'static str,
    /// For people.
    pub message: String,
}

/// Number of a problem; `None` for one that did not fit into the list.
pub(super) type Number = Option<usize>;

/// Half a hash: what a reference to a page says, all of it.
pub(super) type Claimed = [u8; 16];

/// All problems so far, and what they spoil.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) more: u64,
    numbers: HashMap<String, Number>,
    /// References to pages that lead nowhere, or to a page that is not what they say.
    pages: HashMap<Claimed, Number>,
    /// Stretches of plaintext of packs that are wrong.
    areas: HashMap<ObjectId, Vec<(Range<u64>, Number)>>,
    /// True once a reference to a chunk was found to lead nowhere.
    pub(super) has_lost_chunks: bool,
    /// True once all has been looked at, and is only looked at again.
    pub(super) is_complete: bool,
}

impl Findings {
    /// Notes a problem, unless there is one under this key.
    pub(super) fn add(&mut self, key: &str, kind: Kind, object: &str, message: String) -> Number {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        if self.problems.len() >= PROBLEMS_MAX {
            self.more += u64::from(!self.is_complete);
            return None;
        }
        let number = Some(self.problems.len());
        self.problems.push(Problem { kind, object: object.to_owned(), message, affected: Affected::default() });
        self.numbers.insert(key.to_owned(), number);
        number
    }

    /// True if there is a problem under this key.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.numbers.contains_key(key)
    }

    pub(super) fn lose_page(&mut self, claimed: Claimed, number: Number) {
        self.pages.insert(claimed, number);
    }

    pub(super) fn lost_page(&self, claimed: &Claimed) -> Option<Number> {
        self.pages.get(claimed).copied()
    }

    pub(super) fn spoil(&mut self, pack: ObjectId, area: Range<u64>, number: Number) {
        if !area.is_empty() {
            self.areas.entry(pack).or_default().push((area, number));
        }
    }

    /// The problem of this stretch of a pack, if it has one.
    pub(super) fn spoiled(&self, pack: ObjectId, area: &Range<u64>) -> Option<Number> {
        let areas = self.areas.get(&pack)?;
        areas.iter().find(|(bad, _)| bad.start < area.end && area.start < bad.end).map(|(_, number)| *number)
    }

    /// True if anything that a snapshot could need is lost.
    pub(super) fn has_losses(&self) -> bool {
        self.has_lost_chunks || !self.pages.is_empty() || !self.areas.is_empty()
    }

    pub(super) fn has_lost_pages(&self) -> bool {
        !self.pages.is_empty()
    }

    /// Who suffers from a problem, to be added to.
    pub(super) fn affected(&mut self, number: Number) -> Option<&mut Affected> {
        self.problems.get_mut(number?).map(|problem| &mut problem.affected)
    }
}
