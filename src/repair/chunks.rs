//! Lost chunks out of another repository that names chunks alike: stored again in new packs, where readers find them
//! through the index. Equal ids are equal contents, whoever stored them.

use crate::check::PackFault;
use crate::extent::ChunkRef;
use crate::format::chunk;
use crate::format::chunk::Packed;
use crate::format::index::Index;
use crate::format::index::IndexedPack;
use crate::id::ObjectId;
use crate::repair::Error;
use crate::repair::Job;
use crate::repair::Result;
use crate::repair::index::Survey;
use crate::repair::index::put_index;
use crate::repair::packs::examine;
use crate::repo::Chunks;
use crate::repo::FinishedPack;
use crate::repo::KnownChunks;
use crate::repo::PackWriter;
use crate::repo::Repo;
use crate::repo::pack_name;
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// zstd level of what is stored again.
const LEVEL: i32 = 3;

/// Takes from the other repository what lies in these packs and cannot be read, here or elsewhere. Returns how many
/// chunks were found there.
pub(super) async fn fetch(
    job: &mut Job<'_>,
    survey: &Survey,
    bad: &HashSet<ObjectId>,
    other: &Arc<Chunks>,
) -> Result<u64> {
    let mut areas = HashMap::new();
    for pack in bad {
        areas.insert(*pack, unreadable(job.repo, *pack).await?);
    }
    let is_in_bad = |packed: &Packed| {
        let place = packed.chunk.hint;
        let range = u64::from(place.offset)..u64::from(place.offset) + u64::from(place.len);
        let areas = areas.get(&place.pack).map(Vec::as_slice).unwrap_or_default();
        areas.iter().any(|area: &Range<u64>| area.start < range.end && range.start < area.end)
    };
    let mut lost: Vec<Packed> = Vec::new();
    let known = KnownChunks::load_telling(job.repo, |_, _, index| {
        if let Ok(index) = index {
            lost.extend(index.chunks.iter().filter(|packed| is_in_bad(packed)));
        }
    });
    let known = known.await?;
    let is_elsewhere = |packed: &Packed| {
        let mut places = known.places(packed.chunk.id);
        places.any(|place| survey.listed.contains_key(&place.pack) && !bad.contains(&place.pack))
    };
    lost.retain(|packed| !is_elsewhere(packed));
    lost.sort_unstable_by_key(|packed| (packed.chunk.hint.pack, packed.chunk.hint.offset));
    drop(known);
    let there = KnownChunks::load(other.repo()).await?;
    let mut stored = HashSet::new();
    let mut shelf = Shelf::new(job.repo, job.dry_run);
    for Packed { kind, chunk } in lost {
        job.go_on()?;
        if stored.contains(&chunk.id) {
            continue;
        }
        for hint in there.places(chunk.id) {
            let wanted = ChunkRef { hint, ..chunk };
            match other.stored(kind, &wanted).await {
                Ok(plain) => {
                    shelf.add(Packed { kind, chunk }, &plain).await?;
                    stored.insert(chunk.id);
                    break;
                }
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
    shelf.close().await?;
    Ok(stored.len() as u64)
}

/// Stretches of a pack's plaintext that cannot be read: all, if it is gone.
async fn unreadable(repo: &Repo, pack: ObjectId) -> Result<Vec<Range<u64>>> {
    let bytes = match repo.store().get(&pack_name(pack)).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(_) => return Ok(std::iter::once(0..u64::MAX).collect()),
    };
    let found = examine(repo, pack, &bytes)?;
    Ok(found.faults.iter().flat_map(PackFault::areas).collect())
}

/// New packs that are being filled, and what goes into the index.
struct Shelf<'a> {
    repo: &'a Repo,
    dry_run: bool,
    data: PackWriter,
    meta: PackWriter,
    index: Index,
}

impl<'a> Shelf<'a> {
    fn new(repo: &'a Repo, dry_run: bool) -> Shelf<'a> {
        let (data, meta) = (PackWriter::new(false), PackWriter::new(true));
        Shelf { repo, dry_run, data, meta, index: Index::default() }
    }

    async fn add(&mut self, packed: Packed, plain: &[u8]) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        let mut encoded = Vec::new();
        chunk::encode(plain, LEVEL, &mut encoded).map_err(Error::Encode)?;
        let pack = if packed.kind.is_metadata() { &mut self.meta } else { &mut self.data };
        let full = pack.is_full_for(encoded.len()).then(|| pack.take());
        pack.append(packed.kind, packed.chunk.id, packed.chunk.len, &encoded);
        match full {
            Some(full) => self.store(full).await,
            None => Ok(()),
        }
    }

    async fn store(&mut self, mut pack: FinishedPack) -> Result<()> {
        let object = Bytes::from(pack.seal(self.repo.keys())?);
        self.index.packs.push(IndexedPack { pack: pack.pack, len: object.len() as u64 });
        self.repo.store_pack(pack.pack, pack.object_type, object).await?;
        self.index.chunks.append(&mut pack.directory);
        Ok(())
    }

    async fn close(mut self) -> Result<()> {
        for is_metadata in [false, true] {
            let pack = if is_metadata { &mut self.meta } else { &mut self.data };
            if !pack.is_empty() {
                let full = pack.take();
                self.store(full).await?;
            }
        }
        if !self.index.packs.is_empty() {
            put_index(self.repo, std::mem::take(&mut self.index)).await?;
        }
        Ok(())
    }
}
