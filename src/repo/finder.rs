//! Finds chunks that are not where their hints say: a prune has moved them, and the pages that refer to them stay as they
//! are.
//!
//! What the index says is read as far as it is needed, the smallest objects first: what was moved lately, and the pages of
//! trees, stand in these. What was read serves from then on in the place of hints, so that a walk through moved pages is as
//! fast as any other.

use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::chunk::Packed;
use crate::format::index::Index;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::monitor::chain;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::index::index_object;
use crate::repo::index_name;
use crate::store::ErrorKind;
use futures::future::join_all;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use tokio::sync::Mutex as AsyncMutex;

/// Index objects read at once.
const READS_AT_ONCE: usize = 8;
/// Bytes of them, but for a larger one alone: about what a round trip costs.
const READ_BYTES: u64 = 4 << 20;

/// What one index object says, sorted by chunk.
struct Table {
    packs: Vec<ObjectId>,
    lines: Vec<Line>,
}

struct Line {
    id: ChunkId,
    pack: u32,
    offset: u32,
    len: u32,
}

/// What is there to be read.
#[derive(Default)]
struct Listing {
    /// Every object that was ever listed.
    seen: HashSet<ObjectId>,
    /// Those that were not read yet, the smallest last.
    unread: Vec<(u64, ObjectId)>,
}

/// Knows more and more of the index of a repository.
pub(super) struct Finder {
    repo: Repo,
    tables: RwLock<Vec<Arc<Table>>>,
    /// Packs that were asked for and are not there any more.
    gone: RwLock<HashSet<ObjectId>>,
    /// Locked while something is read.
    listing: AsyncMutex<Listing>,
}

impl Finder {
    pub(super) fn new(repo: &Repo) -> Finder {
        Finder {
            repo: repo.clone(),
            tables: RwLock::default(),
            gone: RwLock::default(),
            listing: AsyncMutex::default(),
        }
    }

    /// Where a chunk lies, as far as is known without asking: its hint, if nothing says otherwise.
    pub(super) fn place(&self, wanted: &ChunkRef) -> Locator {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        if tables.is_empty() {
            return wanted.hint;
        }
        let gone = self.gone.read().unwrap_or_else(PoisonError::into_inner);
        let known = tables.iter().flat_map(|table| table.places(wanted.id));
        let mut known = known.filter(|place| !gone.contains(&place.pack)).peekable();
        let Some(first) = known.peek().copied() else { return wanted.hint };
        if known.any(|place| place.pack == wanted.hint.pack) { wanted.hint } else { first }
    }

    /// Takes note that a pack is not there any more; false if that is known.
    pub(super) fn note_gone(&self, pack: ObjectId) -> bool {
        self.gone.write().unwrap_or_else(PoisonError::into_inner).insert(pack)
    }

    /// Another place of a chunk than those that were tried; `None` if the whole index, as it is now, knows none.
    pub(super) async fn another(&self, wanted: &ChunkRef, tried: &[Locator]) -> Result<Option<Locator>> {
        let is_new = |place: &Locator| !tried.contains(place);
        if is_new(&wanted.hint) {
            return Ok(Some(wanted.hint));
        }
        let known = || {
            let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
            tables.iter().flat_map(|table| table.places(wanted.id)).find(is_new)
        };
        if let Some(place) = known() {
            return Ok(Some(place));
        }
        let mut listing = self.listing.lock().await;
        loop {
            // Somebody else may have read it meanwhile.
            if let Some(place) = known() {
                return Ok(Some(place));
            }
            if listing.unread.is_empty() && !self.list(&mut listing).await? {
                return Ok(None);
            }
            self.read(&mut listing).await?;
        }
    }

    /// Reads all that is not known yet; false if there was nothing.
    pub(super) async fn read_all(&self) -> Result<bool> {
        let mut listing = self.listing.lock().await;
        let mut is_more = self.list(&mut listing).await?;
        while !listing.unread.is_empty() {
            self.read(&mut listing).await?;
            is_more = true;
        }
        Ok(is_more)
    }

    /// Looks for index objects that were not there before; false if there are none.
    async fn list(&self, listing: &mut Listing) -> Result<bool> {
        let listed = self.repo.store().list("index").await?;
        let listed =
            listed.iter().filter_map(|stored| Some((stored.len, stored.name.strip_prefix("index/")?.parse().ok()?)));
        let fresh: Vec<(u64, ObjectId)> = listed.filter(|(_, id)| listing.seen.insert(*id)).collect();
        let is_more = !fresh.is_empty();
        listing.unread.extend(fresh);
        listing.unread.sort_unstable_by(|a, b| b.cmp(a));
        Ok(is_more)
    }

    /// Reads some more.
    async fn read(&self, listing: &mut Listing) -> Result<()> {
        let (mut count, mut bytes) = (0, 0);
        for (len, _) in listing.unread.iter().rev().take(READS_AT_ONCE) {
            bytes += len;
            if count > 0 && bytes > READ_BYTES {
                break;
            }
            count += 1;
        }
        let batch = &listing.unread[listing.unread.len() - count..];
        let reads = join_all(batch.iter().map(async |(_, id)| (*id, index_object(&self.repo, *id).await))).await;
        let mut tables = Vec::new();
        for (id, read) in reads {
            match read {
                Ok(index) => tables.push(Arc::new(Table::new(&index))),
                // A prune has put others in its place, which a later listing shows; or nobody may be asked.
                Err(Error::Store(e)) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::Offline) => {}
                Err(e @ Error::Object { .. }) => {
                    tracing::warn!(object = index_name(id), error = chain(&e), "Index object cannot be read");
                }
                // It may be read another time.
                Err(e) => return Err(e),
            }
        }
        self.tables.write().unwrap_or_else(PoisonError::into_inner).append(&mut tables);
        listing.unread.truncate(listing.unread.len() - count);
        Ok(())
    }
}

impl Table {
    fn new(index: &Index) -> Table {
        let packs: Vec<ObjectId> = index.packs.iter().map(|pack| pack.pack).collect();
        let numbers: HashMap<ObjectId, u32> = packs.iter().copied().zip(0..).collect();
        let line = |packed: &Packed| {
            let Locator { pack, offset, len } = packed.chunk.hint;
            Line { id: packed.chunk.id, pack: numbers[&pack], offset, len }
        };
        let mut lines: Vec<Line> = index.chunks.iter().map(line).collect();
        lines.sort_unstable_by_key(|line| line.id);
        Table { packs, lines }
    }

    fn places(&self, id: ChunkId) -> impl Iterator<Item = Locator> + '_ {
        let start = self.lines.partition_point(|line| line.id < id);
        let lines = self.lines[start..].iter().take_while(move |line| line.id == id);
        lines.map(|line| Locator { pack: self.packs[line.pack as usize], offset: line.offset, len: line.len })
    }
}
