//! Chunks that need not be stored: those of the parent's tree, those this run has stored, those the index knows.
//!
//! The index is loaded when something is asked for that the parent does not have: a run that finds nothing changed
//! never loads it.

use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::repo::KnownChunks;
use crate::repo::Repo;
use crate::repo::Result;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use tokio::runtime::Handle;

/// Half an id is enough to tell chunks apart: ids are keyed hashes that nobody can aim at.
type Short = [u8; 16];

/// 28 bytes a chunk, because there can be millions.
#[derive(Debug, Clone, Copy)]
struct Place {
    pack: u32,
    offset: u32,
    len: u32,
}

#[derive(Debug, Default)]
struct Fresh {
    packs: Vec<ObjectId>,
    numbers: HashMap<ObjectId, u32>,
    places: HashMap<Short, Place>,
}

/// What is known. Shared by all threads of a backup.
pub(super) struct Known {
    repo: Repo,
    runtime: Handle,
    marked: HashSet<ObjectId>,
    fresh: Mutex<Fresh>,
    index: OnceLock<KnownChunks>,
    loading: Mutex<()>,
}

fn short(id: ChunkId) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&id.0[..16]);
    short
}

impl Known {
    /// Nothing known yet. Chunks in `marked` packs count as unknown: those packs are going to be removed.
    pub(super) fn new(repo: Repo, runtime: Handle, marked: HashSet<ObjectId>) -> Known {
        let (fresh, index, loading) = (Mutex::default(), OnceLock::new(), Mutex::default());
        Known { repo, runtime, marked, fresh, index, loading }
    }

    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// True if content in this pack may be referred to.
    pub(super) fn is_usable(&self, pack: ObjectId) -> bool {
        self.marked.is_empty() || !self.marked.contains(&pack)
    }

    /// Notes a chunk that is stored, or will be before the run ends.
    pub(super) fn add(&self, chunk: &ChunkRef) {
        if !self.is_usable(chunk.hint.pack) {
            return;
        }
        let mut fresh = self.fresh();
        let Locator { pack, offset, len } = chunk.hint;
        let number = match fresh.numbers.get(&pack) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(fresh.packs.len()).expect("fewer than 2^32 packs");
                fresh.packs.push(pack);
                fresh.numbers.insert(pack, number);
                number
            }
        };
        fresh.places.insert(short(chunk.id), Place { pack: number, offset, len });
    }

    /// A reference to the chunk, if it need not be stored.
    pub(super) fn get(&self, id: ChunkId, len: u32) -> Result<Option<ChunkRef>> {
        {
            let fresh = self.fresh();
            if let Some(place) = fresh.places.get(&short(id)) {
                let hint = Locator { pack: fresh.packs[place.pack as usize], offset: place.offset, len: place.len };
                return Ok(Some(ChunkRef { id, len, hint }));
            }
        }
        let place = self.index()?.places(id).find(|place| self.is_usable(place.pack));
        Ok(place.map(|hint| ChunkRef { id, len, hint }))
    }

    /// The index, loaded by the first who asks while the others wait.
    fn index(&self) -> Result<&KnownChunks> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let _guard = self.loading.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = self.runtime.block_on(KnownChunks::load(&self.repo))?;
        for problem in &index.problems {
            tracing::warn!(%problem, "Index object cannot be read; what it names will be stored again");
        }
        Ok(self.index.get_or_init(|| index))
    }
}
