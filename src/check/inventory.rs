//! What is there: the packs that are listed, the chunks that the index knows, and whether a reference leads anywhere.

use crate::check::Kind;
use crate::check::Result;
use crate::check::Run;
use crate::check::problem::Findings;
use crate::check::problem::Number;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::chunk::Packed;
use crate::format::index::Index;
use crate::format::sealed::check_sum;
use crate::format::sealed::object_len_min;
use crate::id::ObjectId;
use crate::monitor::Event;
use crate::monitor::chain;
use crate::repo::KnownChunks;
use crate::repo::pack_name;
use crate::repo::pack_of;
use std::collections::HashMap;
use std::collections::HashSet;
use std::error::Error;

/// Packs, and what the index says of them.
#[derive(Default)]
pub(super) struct Inventory {
    /// Packs that are listed, with their lengths.
    pub(super) listed: HashMap<ObjectId, u64>,
    pub(super) index: KnownChunks,
    /// Chunks in each pack, as the index tells.
    pub(super) counts: HashMap<ObjectId, u64>,
    /// Packs that a snapshot leads to.
    needed: HashSet<ObjectId>,
    /// Objects with names of another form.
    pub(super) strange: u64,
}

/// Why there is nothing at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Missing,
    Short,
    /// The index knows all chunks of the pack, and this is none of them.
    NotThere,
    Damaged(Number),
}

impl Inventory {
    pub(super) fn is_needed(&self, pack: ObjectId) -> bool {
        self.needed.contains(&pack)
    }

    fn look(&self, findings: &Findings, wanted: &ChunkRef, place: &Locator) -> std::result::Result<(), Why> {
        let area = u64::from(place.offset)..u64::from(place.offset) + u64::from(place.len);
        let len = self.listed.get(&place.pack).ok_or(Why::Missing)?;
        if *len < object_len_min(area.end) {
            return Err(Why::Short);
        }
        if self.index.pack_len(place.pack).is_some() && !self.index.places(wanted.id).any(|known| known == *place) {
            return Err(Why::NotThere);
        }
        match findings.spoiled(place.pack, &area) {
            Some(number) => Err(Why::Damaged(number)),
            None => Ok(()),
        }
    }

    /// Where a chunk lies that a reference leads to.
    pub(super) fn resolve(
        &mut self,
        findings: &mut Findings,
        wanted: &ChunkRef,
    ) -> std::result::Result<Locator, Number> {
        let hint = wanted.hint;
        if self.index.pack_len(hint.pack).is_some() && self.look(findings, wanted, &hint).is_ok() {
            self.needed.insert(hint.pack);
            return Ok(hint);
        }
        // It may have been moved: the index says where it should be now, a hint that the index does not know only where it was.
        let (here, elsewhere): (Vec<Locator>, Vec<Locator>) =
            self.index.places(wanted.id).partition(|place| *place == hint);
        let places = if here.is_empty() { [elsewhere, vec![hint]] } else { [here, elsewhere] };
        let mut fault = None;
        for place in places.into_iter().flatten() {
            match self.look(findings, wanted, &place) {
                Ok(()) => {
                    self.needed.insert(place.pack);
                    return Ok(place);
                }
                Err(why) => fault = fault.or(Some((place, why))),
            }
        }
        let (place, why) = fault.unwrap_or((hint, Why::Missing));
        self.needed.insert(place.pack);
        findings.has_lost_chunks = true;
        let name = pack_name(place.pack);
        Err(match why {
            Why::Damaged(number) => number,
            Why::Missing => findings.add(&name, Kind::Missing, &name, "is missing".to_owned()),
            Why::Short => {
                let len = self.listed.get(&place.pack).copied().unwrap_or(0);
                let message = format!("is {len} bytes long, too short for what should be in it");
                findings.add(&name, Kind::Damaged, &name, message)
            }
            Why::NotThere => {
                let message = format!("chunk {} should lie in it, but the index knows it nowhere", wanted.id);
                findings.add(&wanted.id.to_string(), Kind::Contradiction, &name, message)
            }
        })
    }
}

/// Chunks chosen by chance out of all that go by, each as likely as any other.
struct Sampler {
    count: usize,
    seed: u64,
    passed: u64,
    chosen: Vec<Packed>,
}

impl Sampler {
    fn pass(&mut self, index: &Index) {
        for packed in &index.chunks {
            self.passed += 1;
            if self.chosen.len() < self.count {
                self.chosen.push(*packed);
                continue;
            }
            let mut hasher = blake3::Hasher::new();
            hasher.update(&self.seed.to_le_bytes()).update(&self.passed.to_le_bytes());
            let number = hasher.finalize().as_bytes().iter().take(8).fold(0u64, |n, &b| n << 8 | u64::from(b));
            let at = (number % self.passed) as usize;
            if let Some(slot) = self.chosen.get_mut(at) {
                *slot = *packed;
            }
        }
    }
}

/// Chunks of a sample at the most: 64 MiB of memory.
const SAMPLE_MAX: u64 = 1 << 20;

impl Run<'_> {
    /// Reads the index and lists the packs. Returns the chunks of the sample that was asked for, in the order of packs.
    pub(super) async fn take_inventory(&mut self, sample: Option<(u64, u64)>) -> Result<Vec<Packed>> {
        let (count, seed) = sample.unwrap_or((0, 0));
        let mut sampler = Sampler { count: count.min(SAMPLE_MAX) as usize, seed, passed: 0, chosen: Vec::new() };
        let (findings, figures, monitor) = (&mut self.findings, &mut self.figures, self.monitor);
        let mut lens: HashMap<ObjectId, u64> = HashMap::new();
        let index = KnownChunks::load_telling(self.repo, |name, bytes, read| {
            figures.indexes += 1;
            monitor.event(Event::Done { nodes: 1, bytes: bytes.len() as u64 });
            let index = match read {
                Ok(index) => index,
                Err(error) => {
                    let why = error.source().map_or_else(|| error.to_string(), chain);
                    findings.add(name, Kind::Damaged, name, why);
                    return;
                }
            };
            if let Err(source) = check_sum(bytes) {
                findings.add(name, Kind::Damaged, name, source.to_string());
            }
            for pack in &index.packs {
                let len = *lens.entry(pack.pack).or_insert(pack.len);
                if len != pack.len {
                    let pack_name = pack_name(pack.pack);
                    let message = format!("says that '{pack_name}' is {} bytes long, another says {len}", pack.len);
                    findings.add(name, Kind::Contradiction, name, message);
                }
            }
            if sampler.count > 0 {
                sampler.pass(index);
            }
        });
        let index = index.await?;
        drop(lens);
        self.go_on()?;
        let (mut listed, mut strange) = (HashMap::new(), 0);
        for stored in self.repo.store().list("packs").await? {
            match pack_of(&stored.name) {
                Some(pack) => {
                    listed.insert(pack, stored.len);
                }
                None => strange += 1,
            }
        }
        self.figures.packs = listed.len() as u64;
        self.figures.bytes = listed.values().sum();
        self.compare(&index, &listed);
        let counts = index.counts();
        let needed = HashSet::new();
        self.inventory = Inventory { listed, index, counts, needed, strange: self.inventory.strange + strange };
        let mut chosen = sampler.chosen;
        chosen.sort_unstable_by_key(|packed| (packed.chunk.hint.pack, packed.chunk.hint.offset));
        Ok(chosen)
    }

    /// The packs that the index names against those that are there. What is gone is told when a snapshot needs it.
    fn compare(&mut self, index: &KnownChunks, listed: &HashMap<ObjectId, u64>) {
        let mut packs: Vec<_> = index.packs().collect();
        packs.sort_unstable();
        let swept = self.log.marked_packs();
        for (pack, len) in packs {
            let name = pack_name(pack);
            match listed.get(&pack) {
                Some(there) if *there == len => {}
                Some(there) => {
                    let message = format!("is {there} bytes long, the index says {len}");
                    self.findings.add(&name, Kind::Damaged, &name, message);
                }
                None if swept.contains(&pack) => {}
                None => {
                    self.findings.add(&name, Kind::Missing, &name, "is missing".to_owned());
                }
            }
        }
    }
}
