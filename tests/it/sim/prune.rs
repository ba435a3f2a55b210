//! Prunes in the simulation: one request a step.

use crate::sim::world::Failed;
use crate::sim::world::Log;
use crate::sim::world::Packs;
use crate::sim::world::Said;
use crate::sim::world::World;
use crate::sim::world::bits;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::id::WriterId;
use bygone::plan::homes::Homes;
use bygone::plan::homes::Line;
use bygone::plan::homes::each_home;
use bygone::plan::homes::homes;
use bygone::plan::prune::Next;
use bygone::plan::prune::marked_snapshots;
use bygone::plan::prune::next;
use bygone::plan::prune::to_mark;
use bygone::plan::prune::to_remove;
use bygone::plan::prune::to_sweep;
use bygone::plan::words::Named;
use bygone::plan::words::Standing;
use std::cmp::Reverse;

/// A mark that has been ripe for so long is not coming back.
const FORSAKEN: u64 = 300;

#[derive(Default, Debug, Clone, PartialEq)]
enum At {
    #[default]
    Start,
    Decide,
    Sweep(Vec<ObjectId>),
    Wait(u64),
    Log,
    Packs,
    Rescue(u32),
    NameRescued(ObjectId),
    Remove(Vec<ObjectId>),
    ListIndex,
    ListPacks(Vec<ObjectId>, u64),
    PutIndex(Vec<ObjectId>, Vec<ObjectId>),
    RemoveIndex(Vec<ObjectId>),
    MarkLog,
    MarkPacks,
    Repack(Vec<ObjectId>, u32),
    NameRepacked(Vec<ObjectId>, ObjectId),
    Mark(Vec<ObjectId>),
}

/// A prune, again and again.
#[derive(Default)]
pub(super) struct Prune {
    chain: usize,
    at: At,
    log: Log,
    packs: Packs,
    /// Those of the packs that the index names.
    named: Packs,
    listed: u64,
    /// The last sweep that was waited for.
    waited: Option<u64>,
    /// Times it has come to its end.
    pub(super) rounds: u64,
}

impl Prune {
    pub(super) fn new(chain: usize) -> Prune {
        Prune { chain, ..Prune::default() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.at == At::Start
    }

    pub(super) fn step(&mut self, w: &mut World) -> Result<(), Failed> {
        let me = w.chains[self.chain].writer;
        match self.at.clone() {
            At::Start => self.read_log(w, At::Decide),
            At::Decide => self.decide(w, me),
            At::Sweep(packs) => self.sweep(w, packs)?,
            At::Wait(until) if w.now < until => {}
            At::Wait(_) => self.at = At::Log,
            At::Log => {
                self.read_log(w, At::Packs);
                // Another prune of this machine has swept meanwhile: that has not been waited for.
                if w.rules.waits_anew && self.last_sweep(me) != self.waited {
                    self.wait(w, self.last_sweep(me));
                }
            }
            At::Packs => self.check_again(w, me),
            At::Rescue(chunks) => {
                let pack = w.put_pack(chunks)?;
                w.count("rescues");
                self.at = if w.rules.indexes_rescued { At::NameRescued(pack) } else { self.removal(w, me) };
            }
            At::NameRescued(pack) => {
                w.put_index(vec![pack])?;
                self.at = self.removal(w, me);
            }
            At::Remove(mut packs) => {
                if let Some(pack) = packs.last() {
                    w.delete_pack(*pack)?;
                    packs.pop();
                }
                self.at = if packs.is_empty() { At::ListIndex } else { At::Remove(packs) };
            }
            At::ListIndex => {
                self.at = At::ListPacks(w.list_index(), w.now);
            }
            At::ListPacks(index, listed) => self.compact(w, index, listed),
            At::PutIndex(lines, old) => {
                w.put_index(lines)?;
                self.at = At::RemoveIndex(if w.rules.index_new_first { old } else { Vec::new() });
            }
            At::RemoveIndex(mut old) => {
                if let Some(index) = old.last() {
                    w.delete_index(*index)?;
                    old.pop();
                }
                self.at = if old.is_empty() { At::MarkLog } else { At::RemoveIndex(old) };
            }
            At::MarkLog => self.read_log(w, At::MarkPacks),
            At::MarkPacks => self.choose(w),
            At::Repack(old, chunks) => {
                let pack = w.put_pack(chunks)?;
                w.count("repacks");
                self.at = At::NameRepacked(old, pack);
            }
            At::NameRepacked(old, pack) => {
                w.put_index(vec![pack])?;
                self.at = At::Mark(old);
            }
            At::Mark(packs) => {
                w.append(self.chain, Said::Mark(packs.into()), Some(self.log.own))?;
                self.end();
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        *self = Prune { rounds: self.rounds + 1, ..Prune::new(self.chain) };
    }

    /// True if a mark is younger than the grace, by the clock of this machine.
    fn is_unripe(&self, w: &World, seq: u64) -> bool {
        w.rules.grace > 0 && w.chains[self.chain].put[seq as usize] + w.rules.grace > w.clock(self.chain)
    }

    fn last_sweep(&self, me: WriterId) -> Option<u64> {
        self.log.words.sweep_of(me).map(|named| named.seq)
    }

    fn wait(&mut self, w: &World, sweep: Option<u64>) {
        self.waited = sweep;
        self.at = At::Wait(w.now + w.rules.waits * w.rules.stale);
    }

    fn read_log(&mut self, w: &mut World, then: At) {
        self.log = w.read_log(self.chain);
        self.at = then;
    }

    fn list(&mut self, w: &mut World) {
        self.packs = w.list_packs();
        self.named = w.indexed();
        self.listed = w.now;
    }

    /// The chunks of these snapshots, and of unfinished ones that somebody may go on with.
    fn chunks(&self, w: &World, held: impl Iterator<Item = SnapshotId>) -> u32 {
        let young = self.log.partials.iter().filter(|id| w.snapshots[*id].time + w.rules.young > w.clock(self.chain));
        held.chain(young.copied()).fold(0, |all, id| all | w.snapshots[&id].chunks)
    }

    /// Where a pack stands, if it is there and the index names it.
    fn standing(&self, w: &World, pack: ObjectId) -> Option<Standing> {
        let me = w.chains[self.chain].writer;
        let mine = || self.log.words.sweep_of(me).is_some_and(|named| named.ids.contains(&pack));
        let standing = match self.log.words.standing(pack) {
            Standing::Swept if !w.rules.minds_other_sweeps && self.at == At::Packs && !mine() => Standing::Free,
            standing => standing,
        };
        // What this prune removes is asked itself what is in it.
        let is_told = self.named.contains(&pack) || w.rules.directories_tell && mine();
        (is_told || !w.rules.homes_are_named).then_some(standing)
    }

    fn homes(&self, w: &World, needed: u32) -> Homes<u32, ObjectId> {
        if !w.rules.common_home && self.chain == 0 {
            // The other way round than others.
            let lines = w.lines(&self.packs).map(|Line { chunk, pack }| Line { chunk, pack: Reverse(pack) });
            let Homes { at_home, rescue, lost } = homes(lines, bits(needed), |pack| self.standing(w, pack.0));
            let rescue = rescue.into_iter().map(|Line { chunk, pack }| Line { chunk, pack: pack.0 }).collect();
            return Homes { at_home: at_home.into_iter().map(|(pack, count)| (pack.0, count)).collect(), rescue, lost };
        }
        homes(w.lines(&self.packs), bits(needed), |pack| self.standing(w, pack))
    }

    fn decide(&mut self, w: &mut World, me: WriterId) {
        self.list(w);
        let packs = &self.packs;
        self.at = match next(&self.log.words, me, |pack| packs.contains(&pack)) {
            Next::Finish(_) => return self.wait(w, self.last_sweep(me)),
            Next::Ripen { seq } if self.is_unripe(w, seq) => {
                self.end();
                return;
            }
            Next::Ripen { .. } => {
                let marked = marked_snapshots(&self.log.words, me);
                let homes = self.homes(w, self.chunks(w, self.log.words.held(|id| marked.contains(&id))));
                match to_sweep(&self.log.words, me, &homes, |pack| packs.contains(&pack)) {
                    None => At::MarkLog,
                    Some(ids) if !w.rules.sweeps_remember => At::Sweep(
                        ids.into_iter().filter(|id| packs.contains(id) || marked.contains(&SnapshotId(id.0))).collect(),
                    ),
                    Some(ids) if w.rules.sweeps_first => At::Sweep(ids),
                    Some(ids) => At::Remove(ids.into_iter().filter(|id| packs.contains(id)).collect()),
                }
            }
            Next::Mark => At::ListIndex,
        };
    }

    fn sweep(&mut self, w: &mut World, packs: Vec<ObjectId>) -> Result<(), Failed> {
        if w.now < self.listed + w.rules.stale {
            // A listing still shows what is gone for others; until then the sweep before this one has to stand.
            return Ok(());
        }
        let stands = w.append(self.chain, Said::Sweep(packs.as_slice().into()), Some(self.log.own));
        self.at = match stands {
            Ok(true) if w.rules.checks_after_sweep => {
                self.wait(w, Some(self.log.own as u64));
                return Ok(());
            }
            Ok(true) => At::Remove(packs.into_iter().filter(|id| self.packs.contains(id)).collect()),
            // Somebody has appended to this chain meanwhile, perhaps this very record: look again.
            Ok(false) | Err(Failed) => At::Start,
        };
        stands.map(drop)
    }

    fn check_again(&mut self, w: &mut World, me: WriterId) {
        self.list(w);
        let homes = self.homes(w, self.chunks(w, self.log.words.held(|_| false)));
        if !homes.rescue.is_empty() && w.rules.rescues {
            let is_there = homes.rescue.iter().all(|line| w.exists(line.pack));
            let chunks = homes.rescue.iter().fold(0, |all, line| all | 1 << line.chunk);
            // Somebody else has rescued it and removed the pack: look again.
            self.at = if is_there { At::Rescue(chunks) } else { At::Log };
            return;
        }
        self.at = self.removal(w, me);
    }

    fn removal(&self, _: &World, me: WriterId) -> At {
        At::Remove(to_remove(&self.log.words, me, |pack| self.packs.contains(&pack)))
    }

    /// One index object in place of all: without packs that are gone, and with those that none has named.
    fn compact(&mut self, w: &mut World, index: Vec<ObjectId>, listed: u64) {
        if w.now < listed + w.rules.stale && w.rules.index_before_packs {
            return;
        }
        if w.rules.index_before_packs {
            self.list(w);
        }
        let old: Vec<ObjectId> = index.into_iter().filter(|id| w.index[id].gone.is_none()).collect();
        let named = w.read_index(&old).unwrap_or_default();
        let lines: Vec<ObjectId> = self.packs.iter().copied().filter(|pack| w.exists(*pack)).collect();
        self.at = match old.len() {
            0 | 1 if named.iter().eq(&lines) => At::MarkLog,
            _ if w.rules.index_new_first => At::PutIndex(lines, old),
            _ => {
                // The wrong way round: removes first and may die before it stores.
                for id in old {
                    let _ = w.delete_index(id);
                }
                At::PutIndex(lines, Vec::new())
            }
        };
    }

    fn choose(&mut self, w: &mut World) {
        self.list(w);
        let me = w.chains[self.chain].writer;
        let packs = &self.packs;
        if let Next::Ripen { .. } | Next::Finish(_) = next(&self.log.words, me, |pack| packs.contains(&pack))
            && let Some(mark) = self.log.words.mark_of(me)
            && self.is_unripe(w, mark.seq)
        {
            self.end();
            return;
        }
        let needed = self.chunks(w, self.log.words.wanted());
        let homes = self.homes(w, needed);
        let clock = w.clock(self.chain);
        let is_young = |pack: &ObjectId| w.packs[pack].put + w.rules.young > clock;
        let used = |pack: &ObjectId| homes.at_home.get(pack).copied().unwrap_or(0);
        // Whoever marked these has not come back to sweep them or to let them go.
        let mut forsaken = Packs::new();
        for chain in w.chains.iter().filter(|chain| chain.writer != me && w.rules.empties_forsaken) {
            let mark = self.log.words.mark_of(chain.writer);
            let is_old = |named: &&Named| chain.put[named.seq as usize] + FORSAKEN + w.rules.grace < clock;
            forsaken.extend(mark.filter(is_old).into_iter().flat_map(|named| &named.ids));
        }
        let badly = |pack: &&ObjectId| {
            let all = u64::from(w.packs[*pack].what.count_ones());
            let is_bad = used(pack) * 2 < all || forsaken.contains(*pack);
            !is_young(pack) && w.exists(**pack) && used(pack) > 0 && is_bad
        };
        let emptied: Vec<ObjectId> = self.packs.iter().filter(badly).copied().collect();
        let emptying = |pack| match self.standing(w, pack) {
            Some(Standing::Free) if emptied.contains(&pack) => Some(Standing::Marked),
            standing => standing,
        };
        let mut moved = each_home(w.lines(&self.packs), bits(needed), emptying)
            .filter(|(_, home)| home.is_some_and(|(_, pack)| emptied.contains(&pack)))
            .fold(0, |all, (chunk, _)| all | 1 << chunk);
        if !w.rules.moves_homes_only {
            moved |= emptied.iter().fold(0, |all, pack| all | w.packs[pack].what & needed);
        }
        let foreign = |pack: &ObjectId| w.rules.takes_over || self.log.words.standing(*pack) != Standing::Swept;
        let packs = self
            .packs
            .iter()
            .filter(|pack| foreign(pack) && self.named.contains(pack))
            .map(|pack| (*pack, is_young(pack)));
        let mut marked = to_mark(&self.log.words, &homes, packs);
        marked.extend(&emptied);
        let is_named = self.log.words.mark_of(me).is_some_and(|named| !named.ids.is_empty());
        self.at = match (moved == 0, marked.is_empty() && !is_named) {
            (_, true) => {
                self.end();
                return;
            }
            (true, _) => At::Mark(marked),
            (false, _) => At::Repack(marked, moved),
        };
    }
}
