//! Locks against removal (Object Lock of S3), extended as long as something is needed.
//!
//! What a snapshot shares with older ones was locked when it was stored, for a time that may be nearly over. So everything
//! in the repository is locked anew now and then, but for what a prune has swept: a mark can still be taken back.

use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::pack_of;
use crate::repo::parity_of;
use crate::store::ErrorKind;
use futures::StreamExt;

/// Objects locked at once.
const LOCKS_AT_ONCE: usize = 16;

/// Puts off the end of the locks of all objects that no prune has swept: how many. One request each. If some cannot be locked the others
/// are all the same, and the first failure is told.
pub async fn extend_locks(repo: &Repo, monitor: &dyn Monitor) -> Result<u64> {
    let words = Log::read(repo).await?.words();
    let listed = repo.store().list("").await?;
    let stays =
        |name: &str| pack_of(name).or_else(|| parity_of(name)).is_none_or(|pack| !words.swept().contains(&pack));
    let staying: Vec<_> = listed.into_iter().filter(|stored| stays(&stored.name)).collect();
    let locks = staying.iter().map(|stored| repo.store().extend_lock(&stored.name)).collect::<Vec<_>>();
    let mut locks = futures::stream::iter(locks).buffer_unordered(LOCKS_AT_ONCE);
    let (mut count, mut failed) = (0, None);
    while let Some(locked) = locks.next().await {
        monitor.event(Event::Done { nodes: 1, bytes: 0 });
        match locked {
            Ok(()) => count += 1,
            // Somebody else removed it meanwhile.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(count), |error| Err(error.into()))
}
