//! Lost chunks out of another repository that names chunks alike: stored again in new packs, where readers find them
//! through the index. Equal ids are equal contents, whoever stored them.

use crate::check::PackFault;
use crate::extent::ChunkRef;
use crate::format::chunk;
use crate::format::chunk::Packed;
use crate::id::ObjectId;
use crate::repair::Error;
use crate::repair::Job;
use crate::repair::Result;
use crate::repair::index::Survey;
use crate::repair::packs::examine;
use crate::repo::Chunks;
use crate::repo::KnownChunks;
use crate::repo::Packer;
use crate::repo::Repo;
use crate::repo::pack_name;
use std::collections::HashMap;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// New packs on their way at once.
const PACKS_AT_ONCE: usize = 2;
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
    let mut packer = Packer::new(job.repo, PACKS_AT_ONCE).dry(job.dry_run);
    for Packed { kind, chunk } in lost {
        job.go_on()?;
        if stored.contains(&chunk.id) {
            continue;
        }
        for hint in there.places(chunk.id) {
            let wanted = ChunkRef { hint, ..chunk };
            match other.stored(kind, &wanted).await {
                Ok(plain) => {
                    let mut encoded = Vec::new();
                    chunk::encode(&plain, LEVEL, &mut encoded).map_err(Error::Encode)?;
                    packer.append(kind, &[(chunk.id, chunk.len)], &encoded).await?;
                    stored.insert(chunk.id);
                    break;
                }
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
    packer.flush().await?;
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
