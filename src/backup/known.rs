//! Chunks that need not be stored: those of the parent's tree, those this run has stored, those the index knows.
//!
//! The index is loaded when something is asked for that the parent does not have: a run that finds nothing changed
//! never loads it. Neither parent nor index is believed about packs that the store does not list, or that are too
//! short for what should be in them: what was lost is stored again as long as the source has it. Damage within a pack
//! is not looked for.

use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::sealed::object_len_min;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::repo;
use crate::repo::KnownChunks;
use crate::repo::Repo;
use crate::repo::Result;
use crate::store::Stored;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Half an id is enough to tell chunks apart: ids are keyed hashes that nobody can aim at.
type Short = [u8; 16];

/// 28 bytes a chunk, because there can be millions.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Number of the pack; with [`HELD`] if the parent needs the chunk.
    pack: u32,
    offset: u32,
    len: u32,
}

const HELD: u32 = 1 << 31;

#[derive(Debug, Default)]
struct Fresh {
    packs: Vec<ObjectId>,
    numbers: HashMap<ObjectId, u32>,
    places: HashMap<Short, Place>,
    /// Packs that the new snapshot counts on, beside what it shares with its parent.
    relied: HashSet<ObjectId>,
}

/// Who sees to it that a chunk stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBy {
    /// The parent: as long as that is held, all it needs stays.
    Parent,
    /// Nobody but the snapshot that is going to be.
    Nobody,
}

/// What is known. Shared by all threads of a backup.
pub(super) struct Known {
    repo: Repo,
    runtime: Handle,
    marked: HashSet<ObjectId>,
    /// Packs that are there and not marked, with their lengths.
    packs: HashMap<ObjectId, u64>,
    /// True if there are packs that are going to be removed.
    some_go: bool,
    is_wary: AtomicBool,
    has_losses: AtomicBool,
    fresh: Mutex<Fresh>,
    index: OnceLock<KnownChunks>,
    /// Under way, if it was begun before somebody asked.
    loading: Mutex<Option<Loading>>,
}

/// The index, under way.
pub(super) type Loading = JoinHandle<Result<KnownChunks>>;

/// Begins to load the index.
pub(super) fn begin_to_load(repo: &Repo, runtime: &Handle) -> Loading {
    let repo = repo.clone();
    runtime.spawn(async move { KnownChunks::load(&repo).await })
}

fn short(id: ChunkId) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&id.0[..16]);
    short
}

impl Known {
    /// Nothing known yet but which packs are listed. Chunks in `marked` packs count as unknown: those packs are going to
    /// be removed.
    pub(super) fn new(
        repo: Repo,
        runtime: Handle,
        listed: &[Stored],
        marked: HashSet<ObjectId>,
        loading: Option<Loading>,
    ) -> Known {
        let packs = listed.iter().filter_map(|stored| Some((repo::pack_of(&stored.name)?, stored.len)));
        let (going, packs): (HashMap<_, _>, _) = packs.partition(|(pack, _)| marked.contains(pack));
        let (some_go, is_wary, has_losses) = (!going.is_empty(), AtomicBool::new(false), AtomicBool::new(false));
        let (fresh, index, loading) = (Mutex::default(), OnceLock::new(), Mutex::new(loading));
        Known { repo, runtime, marked, packs, some_go, is_wary, has_losses, fresh, index, loading }
    }

    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// True if this pack is going to be removed.
    pub(super) fn is_marked(&self, pack: ObjectId) -> bool {
        self.marked.contains(&pack)
    }

    /// True if what an earlier run stored there may be referred to.
    pub(super) fn is_usable(&self, hint: &Locator) -> bool {
        let needed = object_len_min(u64::from(hint.offset) + u64::from(hint.len));
        self.packs.get(&hint.pack).is_some_and(|len| *len >= needed)
    }

    /// Old pages are not to be believed: from now on all pages are stored anew, and large files are looked into.
    pub(super) fn be_wary(&self) {
        self.is_wary.store(true, Ordering::Relaxed);
    }

    /// Something that the parent leads to is nowhere to be found.
    pub(super) fn note_loss(&self) {
        self.be_wary();
        self.has_losses.store(true, Ordering::Relaxed);
    }

    /// True if something of the parent was found lost.
    pub(super) fn has_losses(&self) -> bool {
        self.has_losses.load(Ordering::Relaxed)
    }

    /// True if old pages are not to be believed.
    pub(super) fn is_wary(&self) -> bool {
        self.is_wary.load(Ordering::Relaxed)
    }

    /// True if parts of a large file may be lost though its first page is there.
    pub(super) fn must_look_inside(&self) -> bool {
        self.some_go || self.is_wary()
    }

    /// Notes a chunk that is stored, or will be before the run ends.
    pub(super) fn add(&self, chunk: &ChunkRef, held_by: HeldBy) {
        let mut fresh = self.fresh();
        let Locator { pack, offset, len } = chunk.hint;
        let number = match fresh.numbers.get(&pack) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(fresh.packs.len()).expect("fewer than 2^31 packs");
                fresh.packs.push(pack);
                fresh.numbers.insert(pack, number);
                number
            }
        };
        let is_held = held_by == HeldBy::Parent;
        if !is_held {
            fresh.relied.insert(pack);
        }
        let number = if is_held { number | HELD } else { number };
        fresh.places.insert(short(chunk.id), Place { pack: number, offset, len });
    }

    /// The packs that the new snapshot counts on so far, beside what it shares with its parent.
    pub(super) fn relied(&self) -> HashSet<ObjectId> {
        self.fresh().relied.clone()
    }

    /// True if the parent needs this chunk or page.
    pub(super) fn is_held(&self, id: ChunkId) -> bool {
        self.fresh().places.get(&short(id)).is_some_and(|place| place.pack & HELD != 0)
    }

    /// From now on it counts on these instead, and on what is yet to come.
    pub(super) fn rely_on(&self, packs: HashSet<ObjectId>) {
        self.fresh().relied = packs;
    }

    /// A reference to the chunk, if it need not be stored.
    pub(super) fn get(&self, id: ChunkId, len: u32) -> Result<Option<ChunkRef>> {
        {
            let fresh = self.fresh();
            if let Some(place) = fresh.places.get(&short(id)) {
                let pack = fresh.packs[(place.pack & !HELD) as usize];
                let hint = Locator { pack, offset: place.offset, len: place.len };
                return Ok(Some(ChunkRef { id, len, hint }));
            }
        }
        let index = self.index()?;
        let is_whole = |pack| index.pack_len(pack).is_none_or(|len| self.packs.get(&pack) == Some(&len));
        let place = index.places(id).find(|place| self.is_usable(place) && is_whole(place.pack));
        if let Some(place) = place {
            self.fresh().relied.insert(place.pack);
        }
        Ok(place.map(|hint| ChunkRef { id, len, hint }))
    }

    /// The index, loaded by the first who asks while the others wait.
    fn index(&self) -> Result<&KnownChunks> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let mut loading = self.loading.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = match loading.take() {
            Some(begun) => self.runtime.block_on(begun).map_err(|_| repo::Error::TaskLost)??,
            None => self.runtime.block_on(KnownChunks::load(&self.repo))?,
        };
        for problem in &index.problems {
            tracing::warn!(%problem, "Index object cannot be read; what it names will be stored again");
        }
        Ok(self.index.get_or_init(|| index))
    }
}
