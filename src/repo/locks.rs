//! Locks against removal (Object Lock of S3), extended as long as something is needed.
//!
//! What a snapshot shares with older ones was locked when it was stored, for a time that may be nearly over. So everything
//! in the repository is locked anew now and then, but for what a prune is going to remove.

use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::pack_of;
use crate::repo::parity_of;
use crate::store::ErrorKind;
use futures::StreamExt;
use futures::TryStreamExt;

/// Objects locked at once.
const LOCKS_AT_ONCE: usize = 16;

/// Puts off the end of the locks of all objects that no prune has marked: how many. One request each.
pub async fn extend_locks(repo: &Repo, monitor: &dyn Monitor) -> Result<u64> {
    let marked = Log::read(repo).await?.marked_packs();
    let listed = repo.store().list("").await?;
    let stays = |name: &str| pack_of(name).or_else(|| parity_of(name)).is_none_or(|pack| !marked.contains(&pack));
    let staying: Vec<_> = listed.into_iter().filter(|stored| stays(&stored.name)).collect();
    let count = staying.len() as u64;
    let locked = futures::stream::iter(staying).map(Ok).try_for_each_concurrent(LOCKS_AT_ONCE, async |stored| {
        match repo.store().extend_lock(&stored.name).await {
            // Somebody else removed it meanwhile.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            done => done?,
        }
        monitor.event(Event::Done { nodes: 1, bytes: 0 });
        Ok(())
    });
    locked.await.map(|()| count)
}
