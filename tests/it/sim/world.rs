//! The world of the simulation: a store that may show old listings, fail and forget to answer, a log with checkpoints,
//! and what was promised to whom. Nothing here decides; all decisions are those of `bygone::plan`.

use crate::sim::rules::Rules;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::id::WriterId;
use bygone::plan::chain::still_true;
use bygone::plan::homes::Line;
use bygone::plan::words::Word;
use bygone::plan::words::Words;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

/// Chunks are numbers below this, sets of them are bits.
pub(super) const CHUNKS: u32 = 24;
/// Every how many records a chain is summed up.
const CHECKPOINT_EVERY: u64 = 4;

pub(super) type Packs = BTreeSet<ObjectId>;

/// A request that failed, before or after it took effect: nobody can tell.
#[derive(Debug)]
pub(super) struct Failed;

/// Numbers that look random (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }

    pub(super) fn id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.roll(u64::MAX).to_le_bytes());
        id
    }
}

/// What a record says, owned.
#[derive(Clone)]
pub(super) enum Said {
    Snapshot(SnapshotId),
    Partial(SnapshotId),
    Forget(SnapshotId),
    Recall(SnapshotId),
    Mark(Rc<[ObjectId]>),
    Sweep(Rc<[ObjectId]>),
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |packs: &[ObjectId]| packs.iter().map(|pack| short(&pack.0)).collect::<Vec<_>>().join(" ");
        match self {
            Said::Snapshot(id) => write!(f, "snapshot {}", short(&id.0)),
            Said::Partial(id) => write!(f, "partial {}", short(&id.0)),
            Said::Forget(id) => write!(f, "forget {}", short(&id.0)),
            Said::Recall(id) => write!(f, "recall {}", short(&id.0)),
            Said::Mark(packs) => write!(f, "mark {}", all(packs)),
            Said::Sweep(packs) => write!(f, "sweep {}", all(packs)),
        }
    }
}

impl Said {
    fn word(&self) -> Word<'_> {
        match self {
            Said::Snapshot(id) => Word::Snapshot(*id),
            Said::Partial(id) => Word::Partial(*id),
            Said::Forget(id) => Word::Forget(*id),
            Said::Recall(id) => Word::Recall(*id),
            Said::Mark(packs) => Word::Mark(packs),
            Said::Sweep(packs) => Word::Sweep(packs),
        }
    }
}

/// An object that was put, and perhaps deleted.
pub(super) struct Stored<T> {
    pub(super) what: T,
    pub(super) put: u64,
    pub(super) gone: Option<u64>,
}

/// A chain as its readers see it: for every record, what it tells together with its checkpoint.
pub(super) struct Chain {
    pub(super) writer: WriterId,
    pub(super) tells: Vec<Rc<Vec<(u64, Said)>>>,
    pub(super) put: Vec<u64>,
    /// What was forgotten for good when the owner last read the log.
    pub(super) gone: BTreeSet<SnapshotId>,
}

/// A snapshot in truth.
pub(super) struct Snapshot {
    pub(super) chunks: u32,
    pub(super) time: u64,
    /// It was acknowledged once.
    pub(super) is_whole: bool,
    /// A sweep has named it.
    pub(super) is_taken: bool,
    /// Since when it has been forgotten for good: forgotten, and named by a sweep. A recall that came too late may
    /// stand in the log for a moment, before it is undone.
    pub(super) gone: Option<u64>,
}

/// A log as somebody read it.
#[derive(Default)]
pub(super) struct Log {
    pub(super) words: Words,
    pub(super) partials: Vec<SnapshotId>,
    /// Records of the reader's own chain.
    pub(super) own: usize,
}

pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) dice: Dice,
    /// By the clock of the store.
    pub(super) now: u64,
    /// How far the clock of the machine of each chain is ahead.
    skews: Vec<i64>,
    pub(super) packs: BTreeMap<ObjectId, Stored<u32>>,
    pub(super) index: BTreeMap<ObjectId, Stored<Vec<ObjectId>>>,
    pub(super) chains: Vec<Chain>,
    pub(super) snapshots: HashMap<SnapshotId, Snapshot>,
    /// Snapshots that must be whole: acknowledged, and wanted or still to be recalled.
    pub(super) promised: BTreeSet<SnapshotId>,
    pub(super) faults: bool,
    pub(super) violation: Option<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// What happened, if somebody wants to know.
    pub(super) story: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(rules: Rules, seed: u64, chains: usize) -> World {
        let mut dice = Dice(seed);
        let chain =
            |_| Chain { writer: WriterId(dice.id()), tells: Vec::new(), put: Vec::new(), gone: BTreeSet::new() };
        let chains: Vec<Chain> = (0..chains).map(chain).collect();
        let skew = i64::try_from(rules.skew).unwrap();
        let skews =
            chains.iter().map(|_| if skew == 0 { 0 } else { dice.roll(2 * rules.skew + 1) as i64 - skew }).collect();
        let (packs, index, snapshots, promised) = Default::default();
        let (violation, counts, story) = Default::default();
        World {
            rules,
            dice,
            now: 1000,
            skews,
            packs,
            index,
            chains,
            snapshots,
            promised,
            faults: true,
            violation,
            counts,
            story,
        }
    }

    /// What the clock of the machine of a chain shows.
    pub(super) fn clock(&self, chain: usize) -> u64 {
        self.now.saturating_add_signed(self.skews[chain])
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{now}: {}", what()));
        }
    }

    pub(super) fn accuse(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Runs a request that changes something: it may fail before or after.
    fn change<T>(&mut self, effect: impl FnOnce(&mut World) -> T) -> Result<T, Failed> {
        match self.dice.roll(100) {
            0..2 if self.faults => Err(Failed),
            2..4 if self.faults => {
                effect(self);
                Err(Failed)
            }
            _ => Ok(effect(self)),
        }
    }

    fn is_listed(&mut self, put: u64, gone: Option<u64>) -> bool {
        let stale = self.rules.stale;
        let mut coin = |since: u64| since >= stale || self.dice.percent(50);
        match gone {
            Some(gone) => !coin(self.now - gone) && coin(self.now - put),
            None => coin(self.now - put),
        }
    }

    pub(super) fn list_packs(&mut self) -> Packs {
        let all: Vec<_> = self.packs.iter().map(|(id, pack)| (*id, pack.put, pack.gone)).collect();
        all.into_iter().filter(|(_, put, gone)| self.is_listed(*put, *gone)).map(|(id, ..)| id).collect()
    }

    pub(super) fn list_index(&mut self) -> Vec<ObjectId> {
        let all: Vec<_> = self.index.iter().map(|(id, index)| (*id, index.put, index.gone)).collect();
        all.into_iter().filter(|(_, put, gone)| self.is_listed(*put, *gone)).map(|(id, ..)| id).collect()
    }

    /// The packs that index objects name; nothing if one of them is gone.
    pub(super) fn read_index(&self, listed: &[ObjectId]) -> Option<Packs> {
        let mut named = Packs::new();
        for id in listed {
            let index = &self.index[id];
            if index.gone.is_some() {
                return None;
            }
            named.extend(&index.what);
        }
        Some(named)
    }

    /// Lists the index and reads it, as often as it takes.
    pub(super) fn indexed(&mut self) -> Packs {
        loop {
            let listed = self.list_index();
            if let Some(named) = self.read_index(&listed) {
                return named;
            }
        }
    }

    pub(super) fn exists(&self, pack: ObjectId) -> bool {
        self.packs.get(&pack).is_some_and(|pack| pack.gone.is_none())
    }

    pub(super) fn put_pack(&mut self, chunks: u32) -> Result<ObjectId, Failed> {
        let id = ObjectId(self.dice.id());
        self.change(|w| {
            w.tell(|| format!("pack {} with {chunks:b}", short(&id.0)));
            w.packs.insert(id, Stored { what: chunks, put: w.now, gone: None })
        })?;
        Ok(id)
    }

    pub(super) fn put_index(&mut self, packs: Vec<ObjectId>) -> Result<ObjectId, Failed> {
        let id = ObjectId(self.dice.id());
        self.change(|w| {
            w.tell(|| format!("index {} of {:?}", short(&id.0), packs.iter().map(|p| short(&p.0)).collect::<Vec<_>>()));
            w.index.insert(id, Stored { what: packs, put: w.now, gone: None })
        })?;
        Ok(id)
    }

    pub(super) fn delete_pack(&mut self, id: ObjectId) -> Result<(), Failed> {
        self.change(|w| {
            let now = w.now;
            w.tell(|| format!("pack {} removed", short(&id.0)));
            w.packs.get_mut(&id).unwrap().gone.get_or_insert(now);
            w.count("packs removed");
            w.check("a pack was removed");
        })
    }

    pub(super) fn delete_index(&mut self, id: ObjectId) -> Result<(), Failed> {
        self.change(|w| {
            let now = w.now;
            w.tell(|| format!("index {} removed", short(&id.0)));
            w.index.get_mut(&id).unwrap().gone.get_or_insert(now);
            w.check("an index object was removed");
        })
    }

    /// Reads the log as the owner of a chain: its own records it knows all.
    pub(super) fn read_log(&mut self, me: usize) -> Log {
        let mut lens = Vec::new();
        for number in 0..self.chains.len() {
            let mut len = self.chains[number].put.len();
            while number != me && len > 0 && !self.is_listed(self.chains[number].put[len - 1], None) {
                len -= 1;
            }
            lens.push(len);
        }
        let log = self.log_of(&lens, me);
        self.chains[me].gone = self.gone(&log.words);
        log
    }

    /// What a checkpoint need not repeat. Where listings may be old, the sweep must be so old that all have seen it.
    fn gone(&self, words: &Words) -> BTreeSet<SnapshotId> {
        let is_old = |id: &SnapshotId| {
            let all = self.chains.iter().filter_map(|chain| Some((chain, words.sweep_of(chain.writer)?)));
            let mut naming = all.filter(|(_, named)| named.ids.contains(&ObjectId(id.0)));
            naming.any(|(chain, named)| chain.put[named.seq as usize] + 2 * self.rules.stale <= self.now)
        };
        let all = self.snapshots.keys().copied().filter(|id| words.is_gone(*id));
        if self.rules.stale == 0 { all.collect() } else { all.filter(is_old).collect() }
    }

    fn log_of(&self, lens: &[usize], me: usize) -> Log {
        let told = |number: usize, len: usize| len.checked_sub(1).map(|last| &self.chains[number].tells[last]);
        let mut log = Log { own: lens.get(me).copied().unwrap_or(0), ..Log::default() };
        for (number, len) in lens.iter().enumerate() {
            for (_, said) in told(number, *len).into_iter().flat_map(|told| told.iter()) {
                if let Said::Partial(id) = said {
                    log.partials.push(*id);
                }
            }
        }
        let all = lens.iter().enumerate().flat_map(|(number, len)| {
            let told = told(number, *len).into_iter().flat_map(|told| told.iter());
            told.map(move |(seq, said)| (self.chains[number].writer, *seq, said.word()))
        });
        log.words = Words::read(all);
        log
    }

    /// The log as it is in truth.
    pub(super) fn truth(&self) -> Words {
        let lens: Vec<usize> = self.chains.iter().map(|chain| chain.put.len()).collect();
        self.log_of(&lens, usize::MAX).words
    }

    /// Appends to a chain. With `after`, only if it still has so many records; tells whether it had.
    pub(super) fn append(&mut self, me: usize, said: Said, after: Option<usize>) -> Result<bool, Failed> {
        if self.rules.appends_compare && after.is_some_and(|after| after != self.chains[me].put.len()) {
            return Ok(false);
        }
        self.change(|w| w.append_surely(me, said))?;
        Ok(true)
    }

    fn append_surely(&mut self, me: usize, said: Said) {
        self.tell(|| format!("chain {me}: {said:?}"));
        let truth = self.truth();
        let chain = &self.chains[me];
        let seq = chain.put.len() as u64;
        let before = chain.tells.last().cloned().unwrap_or_default();
        let mut tells: Vec<(u64, Said)> = if seq.is_multiple_of(CHECKPOINT_EVERY) {
            let is_gone = |id: SnapshotId| match self.rules.keeps_forgotten {
                true => self.chains[me].gone.contains(&id),
                false => truth.is_forgotten(id),
            };
            let stays = still_true(before.iter().map(|(seq, said)| (*seq, said.word())), Some(said.word()), is_gone);
            before.iter().filter(|(seq, _)| stays.binary_search(seq).is_ok()).cloned().collect()
        } else {
            before.to_vec()
        };
        tells.push((seq, said.clone()));
        let now = self.now;
        let chain = &mut self.chains[me];
        chain.tells.push(Rc::new(tells));
        chain.put.push(now);
        let truth = self.truth();
        if let Said::Sweep(ids) = &said {
            for id in ids.iter() {
                self.snapshots.entry(SnapshotId(id.0)).and_modify(|snapshot| snapshot.is_taken = true);
            }
        }
        if let Said::Forget(_) | Said::Sweep(_) = said {
            for (id, snapshot) in &mut self.snapshots {
                if snapshot.is_taken && truth.is_forgotten(*id) {
                    snapshot.gone.get_or_insert(now);
                    self.promised.remove(id);
                }
            }
        }
        if let Some(id) = self.promised.iter().find(|id| !truth.knows(**id)) {
            self.violation.get_or_insert(format!("{now}: {id} is not listed any more"));
        }
    }

    /// From now on this snapshot must be whole, unless it is gone meanwhile.
    pub(super) fn promise(&mut self, id: SnapshotId, what: &'static str) {
        let is_forgotten = self.truth().is_forgotten(id);
        let snapshot = self.snapshots.get_mut(&id).unwrap();
        snapshot.is_whole = true;
        if !(snapshot.is_taken && is_forgotten) {
            self.count(what);
            self.tell(|| format!("{what}: {}", short(&id.0)));
            self.promised.insert(id);
            self.check(what);
        }
    }

    /// A backup says that it is done, having read the log at the time `looked`.
    pub(super) fn acknowledge(&mut self, id: SnapshotId, looked: u64, what: &'static str) {
        match self.snapshots[&id].gone {
            None => self.promise(id, what),
            Some(gone) if gone + self.rules.stale < looked => {
                self.accuse(format!("{}: {id} is acknowledged, and was gone at {gone} before that", self.now));
            }
            // Forgotten by somebody while it was being acknowledged: nothing is promised.
            Some(_) => {}
        }
    }

    /// Every chunk of every promised snapshot lies in a pack that is there and that the index names.
    fn check(&mut self, when: &str) {
        let is_there = |pack: &&ObjectId| self.packs[*pack].gone.is_none();
        let named = self.index.values().filter(|index| index.gone.is_none()).flat_map(|index| &index.what);
        let covered = named.filter(is_there).fold(0, |covered, pack| covered | self.packs[pack].what);
        for id in &self.promised {
            let missing = self.snapshots[id].chunks & !covered;
            if missing != 0 {
                let what = format!("{}: {when}, and {id} misses chunks {missing:b}", self.now);
                self.violation.get_or_insert(what);
            }
        }
    }

    /// All lines of these packs.
    pub(super) fn lines<'a>(&'a self, packs: &'a Packs) -> impl Iterator<Item = Line<u32, ObjectId>> + 'a {
        (0..CHUNKS).flat_map(move |chunk| {
            let packs = packs.iter().filter(move |pack| self.packs[*pack].what & 1 << chunk != 0);
            packs.map(move |pack| Line { chunk, pack: *pack })
        })
    }
}

fn short(id: &[u8; 16]) -> String {
    id[..2].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The chunks of a set.
pub(super) fn bits(chunks: u32) -> impl Iterator<Item = u32> {
    (0..CHUNKS).filter(move |chunk| chunks & 1 << chunk != 0)
}
