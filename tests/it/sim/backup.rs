//! Backups in the simulation: one request a step.

use crate::sim::world::Failed;
use crate::sim::world::Packs;
use crate::sim::world::Said;
use crate::sim::world::Snapshot;
use crate::sim::world::World;
use crate::sim::world::bits;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::plan::footing::Footing;
use bygone::plan::footing::When;
use bygone::plan::footing::footing;
use bygone::plan::words::Words;
use std::collections::BTreeMap;

#[derive(Default, Debug, Clone, Copy, PartialEq)]
enum At {
    #[default]
    Start,
    Plan,
    Store,
    Index,
    Log,
    Packs,
    Commit,
    GiveUp,
}

/// A backup.
#[derive(Default)]
pub(super) struct Backup {
    chain: usize,
    at: At,
    words: Words,
    listed: Option<Packs>,
    id: Option<SnapshotId>,
    chunks: u32,
    parent: Option<SnapshotId>,
    /// Where each chunk lies that is not left to the parent.
    places: BTreeMap<u32, ObjectId>,
    /// Packs of its own, and when they were stored.
    mine: BTreeMap<ObjectId, u64>,
    to_store: u32,
    to_index: Vec<ObjectId>,
    source_is_there: bool,
    checked: u64,
    /// The log that the last look at the packs followed.
    last_look: Option<Box<Words>>,
    is_committed: bool,
}

impl Backup {
    pub(super) fn new(chain: usize) -> Backup {
        Backup { chain, ..Backup::default() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.at == At::Start
    }

    fn id(&self) -> SnapshotId {
        self.id.unwrap()
    }

    pub(super) fn step(&mut self, w: &mut World) -> Result<(), Failed> {
        match self.at {
            At::Start => self.start(w),
            At::Plan => self.plan(w),
            At::Store => self.store(w)?,
            At::Index => {
                w.put_index(self.to_index.clone())?;
                self.to_index.clear();
                self.at = if w.rules.checks_before || self.is_committed { At::Log } else { At::Commit };
                self.checked = w.now;
            }
            At::Log => {
                self.words = w.read_log(self.chain).words;
                self.checked = w.now;
                self.at = At::Packs;
            }
            At::Packs => self.check(w),
            At::Commit => self.commit(w)?,
            At::GiveUp => {
                w.count("backups given up");
                if self.is_committed {
                    w.append(self.chain, Said::Forget(self.id()), None)?;
                }
                *self = Backup::new(self.chain);
            }
        }
        Ok(())
    }

    fn start(&mut self, w: &mut World) {
        *self = Backup { id: Some(SnapshotId(w.dice.id())), ..Backup::new(self.chain) };
        self.words = w.read_log(self.chain).words;
        let mut wanted: Vec<_> = self.words.wanted().collect();
        wanted.sort();
        let fresh = 1 << w.dice.roll(24) | 1 << w.dice.roll(24) | 1 << w.dice.roll(24);
        self.chunks = fresh;
        if !wanted.is_empty() && w.dice.percent(80) {
            let parent = wanted[w.dice.roll(wanted.len() as u64) as usize];
            self.parent = Some(parent);
            self.chunks |= w.snapshots[&parent].chunks & !(1 << w.dice.roll(24) | 1 << w.dice.roll(24));
        }
        self.source_is_there = w.dice.percent(50);
        self.at = At::Plan;
    }

    fn good_places(&self, w: &mut World, packs: &Packs, when: When) -> BTreeMap<u32, ObjectId> {
        let indexed = w.indexed();
        let mut places = BTreeMap::new();
        for pack in packs.iter().filter(|pack| indexed.contains(*pack) || self.mine.contains_key(*pack)) {
            if when.is_good(self.words.standing(*pack)) {
                places.extend(bits(w.packs[pack].what).map(|chunk| (chunk, *pack)));
            }
        }
        places
    }

    fn plan(&mut self, w: &mut World) {
        let packs = w.list_packs();
        self.last_look = Some(Box::new(self.words.clone()));
        let places = self.good_places(w, &packs, When::Before);
        let shared = self.parent.map_or(0, |parent| w.snapshots[&parent].chunks);
        for chunk in bits(self.chunks) {
            match places.get(&chunk) {
                Some(_) if shared & 1 << chunk != 0 => {}
                Some(pack) => drop(self.places.insert(chunk, *pack)),
                None => self.to_store |= 1 << chunk,
            }
        }
        self.at = if self.to_store == 0 { At::Index } else { At::Store };
    }

    fn store(&mut self, w: &mut World) -> Result<(), Failed> {
        let mask = if w.dice.percent(50) { 0x00ff_ff0f } else { u32::MAX };
        let part = if self.to_store & mask == 0 { self.to_store } else { self.to_store & mask };
        let pack = w.put_pack(part)?;
        self.mine.insert(pack, w.now);
        self.places.extend(bits(part).map(|chunk| (chunk, pack)));
        self.to_store &= !part;
        self.to_index.push(pack);
        if self.to_store == 0 {
            self.at = At::Index;
        } else if !self.is_committed && w.dice.percent(30) {
            let id = SnapshotId(w.dice.id());
            let (chunks, time) = (self.chunks & !self.to_store, w.now);
            w.snapshots.insert(id, Snapshot { chunks, time, is_whole: false, is_taken: false, gone: None });
            w.append(self.chain, Said::Partial(id), None)?;
        }
        Ok(())
    }

    fn check(&mut self, w: &mut World) {
        if !w.rules.log_before_packs && self.listed.is_none() {
            // The wrong way round: what is listed now is compared with a log that is read later.
            self.listed = Some(w.list_packs());
            self.at = At::Log;
            return;
        }
        let when = if self.is_committed { When::After } else { When::Before };
        let parent = self.parent.filter(|_| w.rules.checks_parent);
        let is_calm = self.last_look.as_ref().is_some_and(|before| self.words.sweeps_are_those_of(before));
        if is_calm && w.rules.skips_listings && w.rules.log_before_packs {
            let packs = self.places.values().copied();
            if footing(&self.words, self.id(), parent, packs, |_| true, when) == Footing::Firm {
                w.count("looks without a listing");
                self.stands(w);
                return;
            }
        }
        let packs = self.listed.take().unwrap_or_else(|| w.list_packs());
        let is_young = |pack: &ObjectId| self.mine.get(pack).is_some_and(|put| put + w.rules.stale > w.now);
        let is_there = |pack: ObjectId| !w.rules.checks_packs || packs.contains(&pack) || is_young(&pack);
        let loose: u32 = match footing(&self.words, self.id(), parent, self.places.values().copied(), is_there, when) {
            Footing::Firm => 0,
            Footing::Loose(packs) => {
                self.places.iter().filter(|(_, pack)| packs.contains(pack)).fold(0, |all, (chunk, _)| all | 1 << chunk)
            }
            Footing::Gone if !w.rules.checks_itself => 0,
            Footing::Gone => {
                w.count("records written again");
                self.id = Some(SnapshotId(w.dice.id()));
                self.is_committed = false;
                self.at = At::Log;
                return;
            }
            Footing::Unknown => {
                self.parent = None;
                self.places.clear();
                self.chunks
            }
        };
        // Not if it is gone: then nobody has compared the listing with anything.
        self.last_look = Some(Box::new(self.words.clone()));
        if loose == 0 {
            self.stands(w);
            return;
        }
        w.count(if self.is_committed { "repairs after the record" } else { "repairs before the record" });
        let places = self.good_places(w, &packs, when);
        let copies = packs.iter().filter(|pack| w.exists(**pack)).fold(0, |all, pack| all | w.packs[pack].what);
        self.at = At::Log;
        for chunk in bits(loose) {
            match places.get(&chunk) {
                Some(pack) => drop(self.places.insert(chunk, *pack)),
                None if self.source_is_there || copies & 1 << chunk != 0 => {
                    self.to_store |= 1 << chunk;
                    self.at = At::Store;
                }
                None => {
                    self.at = At::GiveUp;
                    return;
                }
            }
        }
    }

    /// All that the snapshot needs is there.
    fn stands(&mut self, w: &mut World) {
        if self.is_committed {
            w.acknowledge(self.id(), self.checked, "backups acknowledged");
            *self = Backup::new(self.chain);
        } else {
            self.at = At::Commit;
        }
    }

    fn commit(&mut self, w: &mut World) -> Result<(), Failed> {
        let id = self.id();
        let fresh = Snapshot { chunks: self.chunks, time: w.now, is_whole: false, is_taken: false, gone: None };
        w.snapshots.entry(id).or_insert(fresh);
        // Whoever commits soon after checking is whole at once, acknowledged or not.
        let soon = w.now - self.checked + 2 * w.rules.stale + w.rules.skew < w.rules.grace;
        w.append(self.chain, Said::Snapshot(id), None)?;
        self.is_committed = true;
        self.at = At::Log;
        if soon {
            w.acknowledge(id, self.checked, "snapshots whole at once");
        }
        if !w.rules.checks_after {
            w.acknowledge(id, self.checked, "backups acknowledged");
            *self = Backup::new(self.chain);
        }
        Ok(())
    }
}
