//! Damaged packs: rebuilt from parity where there is enough, else the lost chunks taken from elsewhere.

use crate::check;
use crate::check::PackFound;
use crate::format::parity::PerMille;
use crate::id::ObjectId;
use crate::repair::Job;
use crate::repair::Result;
use crate::repair::What;
use crate::repair::chunks;
use crate::repair::index::Survey;
use crate::repo::Chunks;
use crate::repo::Rebuilt;
use crate::repo::Repo;
use crate::repo::pack_name;
use bytes::Bytes;
use std::sync::Arc;

/// What became of damaged packs.
#[derive(Debug, Default)]
pub struct Mended {
    /// They are whole again.
    pub rebuilt: Vec<ObjectId>,
    /// Lost chunks that were taken from elsewhere.
    pub fetched: u64,
    /// They stay damaged, whether or not their chunks are elsewhere by now; with why parity did not help.
    pub left: Vec<(ObjectId, String)>,
}

/// Tries to mend packs in which damage was found. Chunks that parity does not bring back are taken from another
/// repository with the same names for chunks, if there is one.
pub async fn mend(
    job: &mut Job<'_>,
    survey: &Survey,
    damaged: &[ObjectId],
    other: Option<&Arc<Chunks>>,
) -> Result<Mended> {
    let mut mended = Mended::default();
    for pack in damaged {
        job.go_on()?;
        let why = match job.repo.rebuild_pack(*pack).await? {
            Rebuilt::Sound => continue,
            Rebuilt::NoParity => "it has no parity".to_owned(),
            Rebuilt::Failed(error) => crate::monitor::chain(&error),
            Rebuilt::Whole(bytes) if is_whole(job.repo, *pack, &bytes)? => {
                put_back(job, *pack, bytes).await?;
                mended.rebuilt.push(*pack);
                continue;
            }
            Rebuilt::Whole(_) => "what its parity gives is not the pack".to_owned(),
        };
        mended.left.push((*pack, why));
    }
    let Some(other) = other else { return Ok(mended) };
    let bad = mended.left.iter().map(|(pack, _)| *pack).chain(survey.gone.iter().copied()).collect();
    mended.fetched = chunks::fetch(job, survey, &bad, other).await?;
    if mended.fetched > 0 {
        job.did(What::Fetched { chunks: mended.fetched }, "packs");
    }
    Ok(mended)
}

/// Looks at all of it with the keys: the checksum alone proves nothing about its author.
fn is_whole(repo: &Repo, pack: ObjectId, bytes: &Bytes) -> Result<bool> {
    let found = examine(repo, pack, bytes)?;
    Ok(found.faults.is_empty())
}

/// What is wrong with a pack that was read as a whole.
pub(super) fn examine(repo: &Repo, pack: ObjectId, bytes: &Bytes) -> Result<PackFound> {
    let read = &mut |range: std::ops::Range<u64>| Ok(bytes.slice(range.start as usize..range.end as usize));
    Ok(check::examine(repo.keys(), pack, bytes.len() as u64, read)?)
}

async fn put_back(job: &mut Job<'_>, pack: ObjectId, bytes: Bytes) -> Result<()> {
    let name = pack_name(pack);
    if !job.dry_run {
        job.repo.store().replace(&name, bytes).await?;
    }
    job.did(What::Rebuilt, &name);
    Ok(())
}

/// Gives parity to all packs that have none, or damaged. What cannot be done is a warning, unless it `is_wanted`.
pub async fn add_parity(job: &mut Job<'_>, survey: &Survey, amount: PerMille, is_wanted: bool) -> Result<()> {
    let mut packs: Vec<ObjectId> = survey.listed.keys().copied().collect();
    packs.sort_unstable();
    let mut made = 0;
    for pack in packs {
        job.go_on()?;
        match job.repo.add_parity(pack, amount, !job.dry_run).await {
            Ok(is_made) => made += u64::from(is_made),
            Err(error) if is_wanted => return Err(error.into()),
            Err(error) => tracing::warn!(%pack, error = %crate::monitor::chain(&error), "A pack gets no parity"),
        }
    }
    if made > 0 {
        job.did(What::Protected { packs: made }, "packs");
    }
    Ok(())
}
