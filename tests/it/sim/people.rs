//! People in the simulation: who forgets and recalls, and who reads. One request a step.

use crate::sim::world::Failed;
use crate::sim::world::Said;
use crate::sim::world::World;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::plan::words::Words;

#[derive(Default, Debug, Clone, Copy, PartialEq)]
enum Doing {
    #[default]
    Nothing,
    Forget(SnapshotId),
    Recall(SnapshotId),
    Say(SnapshotId, u32),
    Look(SnapshotId),
    Undo(SnapshotId),
}

/// Somebody who forgets snapshots and changes their mind.
#[derive(Default)]
pub(super) struct Person {
    chain: usize,
    doing: Doing,
}

impl Person {
    pub(super) fn new(chain: usize) -> Person {
        Person { chain, ..Person::default() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.doing == Doing::Nothing
    }

    pub(super) fn step(&mut self, w: &mut World) -> Result<(), Failed> {
        let me = w.chains[self.chain].writer;
        let words = w.read_log(self.chain).words;
        match self.doing {
            Doing::Nothing => self.choose(w, &words),
            Doing::Forget(id) | Doing::Undo(id) if words.forgets_missing(me, id) > 0 => {
                w.append(self.chain, Said::Forget(id), None)?;
            }
            Doing::Forget(_) | Doing::Undo(_) => self.doing = Doing::Nothing,
            Doing::Recall(id) => {
                if !words.knows(id) || words.is_taken(id) {
                    self.too_late(w, id);
                } else {
                    self.doing = Doing::Say(id, words.recalls_missing(me, id));
                }
            }
            Doing::Say(id, 0) if w.rules.checks_recall => self.doing = Doing::Look(id),
            Doing::Say(id, 0) => self.recalled(w, id),
            Doing::Say(id, times) => {
                w.append(self.chain, Said::Recall(id), None)?;
                self.doing = Doing::Say(id, times - 1);
            }
            Doing::Look(id) if !words.knows(id) || words.is_taken(id) => {
                self.too_late(w, id);
                self.doing = Doing::Undo(id);
            }
            Doing::Look(id) if words.is_forgotten(id) => self.doing = Doing::Nothing,
            Doing::Look(id) => self.recalled(w, id),
        }
        Ok(())
    }

    fn choose(&mut self, w: &mut World, words: &Words) {
        let mut wanted: Vec<_> = words.wanted().collect();
        wanted.sort();
        if wanted.len() > 1 && w.dice.percent(60) {
            self.doing = Doing::Forget(wanted[w.dice.roll(wanted.len() as u64) as usize]);
            return;
        }
        let truth = w.truth();
        let is_recent = |time: u64| time + 400 > w.now;
        let all = w.snapshots.iter().filter(|(id, s)| truth.is_forgotten(**id) && is_recent(s.time));
        let mut forgotten: Vec<_> = all.map(|(id, _)| *id).collect();
        forgotten.sort();
        if !forgotten.is_empty() && w.dice.percent(60) {
            self.doing = Doing::Recall(forgotten[w.dice.roll(forgotten.len() as u64) as usize]);
        }
    }

    fn recalled(&mut self, w: &mut World, id: SnapshotId) {
        self.doing = Doing::Nothing;
        // What was never acknowledged can be broken; nobody was told otherwise.
        if w.snapshots[&id].is_whole {
            w.promise(id, "recalls");
        }
    }

    /// Only what a sweep has named cannot be recalled.
    fn too_late(&mut self, w: &mut World, id: SnapshotId) {
        self.doing = Doing::Nothing;
        w.count("recalls too late");
        if !w.snapshots[&id].is_taken && w.rules.stale == 0 {
            w.accuse(format!("{}: {id} cannot be recalled though no sweep has named it", w.now));
        }
    }
}

/// Somebody who reads a snapshot by the index.
#[derive(Default)]
pub(super) struct Reader {
    chain: usize,
    snapshot: Option<SnapshotId>,
    listed: Option<Vec<ObjectId>>,
    rounds: u32,
}

impl Reader {
    pub(super) fn new(chain: usize) -> Reader {
        Reader { chain, ..Reader::default() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.snapshot.is_none()
    }

    pub(super) fn step(&mut self, w: &mut World) -> Result<(), Failed> {
        let Some(id) = self.snapshot else {
            let words = w.read_log(self.chain).words;
            let mut wanted: Vec<_> = words.wanted().collect();
            wanted.sort();
            if !wanted.is_empty() {
                self.snapshot = Some(wanted[w.dice.roll(wanted.len() as u64) as usize]);
            }
            return Ok(());
        };
        let Some(listed) = self.listed.take() else {
            self.listed = Some(w.list_index());
            return Ok(());
        };
        let named = w.read_index(&listed);
        let found =
            named.iter().flatten().filter(|pack| w.exists(**pack)).fold(0, |all, pack| all | w.packs[pack].what);
        let missing = w.snapshots[&id].chunks & !found;
        self.rounds += 1;
        let gives_up = !w.rules.lists_again || self.rounds > 30;
        if missing != 0 && w.promised.contains(&id) && !gives_up {
            return Ok(());
        }
        if missing != 0 && w.promised.contains(&id) {
            w.accuse(format!("{}: a reader does not find chunks {missing:b} of {id}", w.now));
        }
        w.count("reads");
        *self = Reader::new(self.chain);
        Ok(())
    }
}
