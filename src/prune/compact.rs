//! Tidying the index: lines of packs that are gone leave it, many small objects become few, and packs that no object
//! names are named. New objects are stored before old ones go, so a reader finds each line in one of them at any time.

use crate::format::chunk::Packed;
use crate::format::index::Index;
use crate::format::index::IndexedPack;
use crate::id::ObjectId;
use crate::prune::Listed;
use crate::prune::Result;
use crate::prune::lines::Lines;
use crate::repo;
use crate::repo::Repo;
use crate::repo::index_name;
use crate::store::ErrorKind;
use futures::StreamExt;
use std::collections::HashMap;
use std::collections::HashSet;

/// Lines of an object: about 10 MiB.
const LINES_MAX: usize = 200_000;
/// An object with fewer lines is a small one.
const SMALL_LINES: usize = LINES_MAX / 4;
/// So many small ones may stay.
const SMALL_MAX: usize = 12;

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Compacted {
    /// Objects that were taken away.
    pub(super) removed: u64,
    /// Objects that were stored in their place.
    pub(super) stored: u64,
    /// Packs that are named now and were not before.
    pub(super) named: u64,
}

/// Tidies the index. `lines` were read **before** `listed`. Packs in `left` may belong to somebody who is about to name them.
pub(super) async fn compact(
    repo: &Repo,
    lines: &Lines,
    listed: &Listed,
    left: impl Fn(ObjectId) -> bool,
) -> Result<Compacted> {
    let unnamed = listed.iter().filter(|(pack, _)| lines.number(**pack).is_none());
    let (young, old): (Vec<_>, Vec<_>) = unnamed.partition(|(pack, _)| left(**pack));
    let old: Vec<IndexedPack> =
        old.into_iter().map(|(pack, there)| IndexedPack { pack: *pack, len: there.len }).collect();
    let rewritten = worn(lines, listed);
    let mut done = Compacted::default();
    let mut stored = Stored { repo, contents: Index::default(), pages: Index::default(), count: 0 };
    let mut taken = HashSet::new();
    let mut told = repo::directories(repo, old.clone());
    while let Some((pack, directory)) = told.next().await {
        let mut said = Index::default();
        if note(&mut said, pack, directory)? {
            done.named += 1;
            taken.insert(pack.pack);
            stored.take(pack, said.chunks).await?;
        }
    }
    // An object that nobody can read named packs; once all packs are named, nothing is lost with it.
    let is_all_named = young.is_empty() && done.named == old.len() as u64;
    let mut going: Vec<ObjectId> = if is_all_named { lines.unreadable.iter().copied().collect() } else { Vec::new() };
    for id in rewritten {
        let index = match repo::index_object(repo, id).await {
            Ok(index) => index,
            // Somebody else has tidied it away: their objects say the same.
            Err(repo::Error::Store(e)) if e.kind == ErrorKind::NotFound => continue,
            Err(e) => return Err(e.into()),
        };
        let mut of_pack: HashMap<ObjectId, Vec<Packed>> = HashMap::new();
        for line in index.chunks {
            of_pack.entry(line.chunk.hint.pack).or_default().push(line);
        }
        for pack in index.packs.iter().filter(|pack| listed.contains_key(&pack.pack)) {
            if taken.insert(pack.pack) {
                stored.take(*pack, of_pack.remove(&pack.pack).unwrap_or_default()).await?;
            }
        }
        going.push(id);
    }
    done.stored = stored.end().await?;
    for id in going {
        repo.store().delete(&index_name(id)).await.map_err(repo::Error::from)?;
        done.removed += 1;
    }
    Ok(done)
}

/// The new objects. Pages stand apart from contents: who looks for a moved page need not read where all contents lie.
struct Stored<'a> {
    repo: &'a Repo,
    contents: Index,
    pages: Index,
    count: u64,
}

impl Stored<'_> {
    async fn take(&mut self, pack: IndexedPack, lines: Vec<Packed>) -> Result<()> {
        let is_of_pages = lines.first().is_some_and(|line| line.kind.is_metadata());
        let index = if is_of_pages { &mut self.pages } else { &mut self.contents };
        index.packs.push(pack);
        index.chunks.extend(lines);
        if index.chunks.len() >= LINES_MAX {
            repo::store_index(self.repo, std::mem::take(index)).await?;
            self.count += 1;
        }
        Ok(())
    }

    /// Stores the rest; how many there were.
    async fn end(mut self) -> Result<u64> {
        for rest in [self.contents, self.pages] {
            if !rest.packs.is_empty() {
                repo::store_index(self.repo, rest).await?;
                self.count += 1;
            }
        }
        Ok(self.count)
    }
}

/// Objects that name packs which are gone, and small ones if there are many.
fn worn(lines: &Lines, listed: &Listed) -> Vec<ObjectId> {
    let small = lines.objects.values().filter(|named| named.chunks < SMALL_LINES).count();
    let is_worn = |(_, named): &(&ObjectId, &super::lines::Named)| {
        let mut packs = named.packs.iter().map(|number| lines.packs[*number as usize].pack);
        small > SMALL_MAX && named.chunks < SMALL_LINES || packs.any(|pack| !listed.contains_key(&pack))
    };
    lines.objects.iter().filter(is_worn).map(|(id, _)| *id).collect()
}

/// What packs say themselves. Those that cannot be read are not among the answers.
pub(super) async fn directories(repo: &Repo, packs: &[IndexedPack]) -> Result<Index> {
    let mut reads = repo::directories(repo, packs.to_vec());
    let mut said = Index::default();
    while let Some((pack, directory)) = reads.next().await {
        note(&mut said, pack, directory)?;
    }
    Ok(said)
}

/// Takes in what a pack says; false if it cannot be read.
fn note(said: &mut Index, pack: IndexedPack, directory: repo::Result<Vec<Packed>>) -> Result<bool> {
    match directory {
        Ok(chunks) => {
            said.packs.push(pack);
            said.chunks.extend(chunks);
            Ok(true)
        }
        Err(e) if e.is_transient() => Err(e.into()),
        Err(e) => {
            tracing::warn!(pack = %pack.pack, error = %crate::monitor::chain(&e), "Pack without index cannot be read");
            Ok(false)
        }
    }
}
