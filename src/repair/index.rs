//! The index out of the packs: what no readable index object names is named again, and then what is wrong goes.
//!
//! The index is listed and read before the packs are listed: a pack is stored before it is named, so a name without a
//! pack means that the pack is gone.

use crate::format::FormatError;
use crate::format::chunk::Packed;
use crate::format::index::Index;
use crate::format::index::IndexedPack;
use crate::format::sealed;
use crate::format::sealed::ObjectType;
use crate::id::ObjectId;
use crate::monitor;
use crate::repair::Error;
use crate::repair::Job;
use crate::repair::Result;
use crate::repair::What;
use crate::repo::Repo;
use crate::repo::directories;
use crate::repo::index_name;
use crate::repo::pack_of;
use crate::repo::store_index;
use crate::store;
use crate::store::ErrorKind;
use futures::StreamExt;
use std::collections::HashMap;
use std::collections::HashSet;

/// Index objects read at once.
const READS_AT_ONCE: usize = 8;
/// Lines of an index object that is written; bounds the memory.
const LINES_MAX: usize = 100_000;
/// Somebody else may be replacing index objects: so often the listing is begun anew.
const TRIES_MAX: usize = 10;

/// What the index says, and which packs there are.
#[derive(Debug, Default)]
pub struct Survey {
    /// Packs that are listed, with their lengths.
    pub listed: HashMap<ObjectId, u64>,
    /// Packs that are listed and named by no readable index object.
    pub unnamed: Vec<IndexedPack>,
    /// Index objects that name packs which are gone.
    stale: Vec<ObjectId>,
    /// Packs that are gone.
    pub gone: HashSet<ObjectId>,
    /// Index objects that cannot be read.
    unreadable: Vec<ObjectId>,
}

enum Read {
    Index(Index),
    Vanished,
    Unreadable,
    Newer,
}

async fn read(repo: &Repo, id: ObjectId) -> Result<Read> {
    let bytes = match repo.store().get(&index_name(id)).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Read::Vanished),
        Err(error) if error.kind == ErrorKind::Other || error.kind == ErrorKind::Truncated => {
            return Ok(Read::Unreadable);
        }
        Err(error) => return Err(error.into()),
    };
    let index = sealed::open(repo.keys(), ObjectType::Index, Some(id), &bytes)
        .and_then(|opened| Index::decode(opened.payload()));
    Ok(match index {
        Ok(index) => Read::Index(index),
        Err(FormatError::Newer { .. }) => Read::Newer,
        Err(_) => Read::Unreadable,
    })
}

/// Reads every index object, then lists the packs. Memory: the packs, not the chunks.
pub async fn survey(repo: &Repo, monitor: &dyn monitor::Monitor) -> Result<Survey> {
    for _ in 0..TRIES_MAX {
        if let Some(survey) = try_survey(repo, monitor).await? {
            return Ok(survey);
        }
    }
    Err(Error::Restless)
}

/// `None` if an index object was listed and is gone: what it said stands in one that was not listed yet.
async fn try_survey(repo: &Repo, monitor: &dyn monitor::Monitor) -> Result<Option<Survey>> {
    let names = repo.store().list("index").await?;
    let ids: Vec<ObjectId> =
        names.iter().filter_map(|stored| stored.name.strip_prefix("index/")?.parse().ok()).collect();
    let reads = ids.into_iter().map(|id| {
        let repo = repo.clone();
        async move { (id, read(&repo, id).await) }
    });
    let mut reads = futures::stream::iter(reads).buffer_unordered(READS_AT_ONCE);
    let mut survey = Survey::default();
    let mut naming: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
    while let Some((id, read)) = reads.next().await {
        if monitor.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match read? {
            Read::Index(index) => index.packs.iter().for_each(|pack| naming.entry(pack.pack).or_default().push(id)),
            Read::Vanished => return Ok(None),
            Read::Unreadable => survey.unreadable.push(id),
            Read::Newer => {}
        }
    }
    let listed = repo.store().list("packs").await?;
    survey.listed = listed.iter().filter_map(|stored| Some((pack_of(&stored.name)?, stored.len))).collect();
    let mut unnamed: Vec<IndexedPack> = survey
        .listed
        .iter()
        .filter(|(pack, _)| !naming.contains_key(*pack))
        .map(|(pack, len)| IndexedPack { pack: *pack, len: *len })
        .collect();
    unnamed.sort_unstable_by_key(|pack| pack.pack);
    survey.unnamed = unnamed;
    let mut stale = HashSet::new();
    for (pack, by) in naming {
        if !survey.listed.contains_key(&pack) {
            survey.gone.insert(pack);
            stale.extend(by);
        }
    }
    survey.stale = stale.into_iter().collect();
    survey.stale.sort_unstable();
    survey.unreadable.sort_unstable();
    Ok(Some(survey))
}

/// Reads the directories of these packs and names what is in them. Gives back those that cannot tell, and are damaged.
pub async fn name_packs(job: &mut Job<'_>, packs: Vec<IndexedPack>) -> Result<Vec<ObjectId>> {
    let (mut index, mut damaged, mut counts) = (Index::default(), Vec::new(), (0, 0));
    let mut directories = directories(job.repo, packs);
    while let Some((pack, directory)) = directories.next().await {
        job.go_on()?;
        match directory {
            Ok(lines) => {
                counts = (counts.0 + 1, counts.1 + lines.len() as u64);
                index.packs.push(pack);
                index.chunks.extend(lines);
                if index.chunks.len() >= LINES_MAX {
                    put(job, std::mem::take(&mut index)).await?;
                }
            }
            Err(error) if error.is_transient() => return Err(error.into()),
            // Removed since it was listed.
            Err(crate::repo::Error::Store(store::Error { kind: ErrorKind::NotFound, .. })) => {}
            Err(_) => damaged.push(pack.pack),
        }
    }
    put(job, index).await?;
    if counts.0 > 0 {
        job.did(What::Named { packs: counts.0, chunks: counts.1 }, "index");
    }
    Ok(damaged)
}

async fn put(job: &Job<'_>, index: Index) -> Result<()> {
    if !job.dry_run && !index.packs.is_empty() {
        store_index(job.repo, index).await?;
    }
    Ok(())
}

/// Leaves out of the index what is gone, and removes index objects that cannot be read: all packs that they could have
/// named are named by now. Removes nothing if the log says something that this program does not understand.
/// `is_all_named`: every pack that is there is named by an index object that can be read.
pub async fn tidy_index(job: &mut Job<'_>, survey: &Survey, is_all_named: bool) -> Result<()> {
    if job.log.has_unknown_events() {
        return Ok(());
    }
    for id in &survey.stale {
        job.go_on()?;
        if !job.dry_run {
            without_gone(job.repo, *id, &survey.gone).await?;
        }
    }
    if !survey.stale.is_empty() {
        job.did(What::Forgotten { packs: survey.gone.len() as u64 }, "index");
    }
    for id in survey.unreadable.iter().filter(|_| is_all_named) {
        job.go_on()?;
        let name = index_name(*id);
        // A disk that would not give it then may give it now.
        if matches!(read(job.repo, *id).await?, Read::Index(_)) {
            continue;
        }
        if !job.dry_run {
            job.repo.store().delete(&name).await?;
        }
        job.did(What::Removed, &name);
    }
    Ok(())
}

/// Puts an index object without some packs in the place of another.
async fn without_gone(repo: &Repo, id: ObjectId, gone: &HashSet<ObjectId>) -> Result<()> {
    // One that is gone was replaced by somebody else.
    let Read::Index(mut index) = read(repo, id).await? else { return Ok(()) };
    index.packs.retain(|pack| !gone.contains(&pack.pack));
    index.chunks.retain(|line: &Packed| !gone.contains(&line.chunk.hint.pack));
    if !index.packs.is_empty() {
        store_index(repo, index).await?;
    }
    Ok(repo.store().delete(&index_name(id)).await?)
}
