//! What was written goes to disk while the rest is being written, so that little is left to wait for at the end.
//! Always: a failure is told at the end, as a disk tells each only once.

use crate::repo;
use crate::restore::Error;
use crate::restore::work::blocking;
use crate::target::Target;
use tokio::task::JoinHandle;

/// Bytes written between two flushes.
const FLUSH_BYTES: u64 = 256 << 20;

/// The flushes of one restore, one after the other.
#[derive(Default)]
pub(super) struct Flushes {
    unflushed: u64,
    last: Option<JoinHandle<Result<(), Error>>>,
}

impl Flushes {
    /// Takes note of bytes written, and flushes them if they are many and no flush is under way.
    pub(super) fn wrote(&mut self, bytes: u64, target: &Target) {
        self.unflushed += bytes;
        let is_busy = self.last.as_ref().is_some_and(|last| !last.is_finished());
        if self.unflushed >= FLUSH_BYTES && !is_busy {
            self.begin(target);
        }
    }

    /// Flushes everything written up to now, and waits for it.
    pub(super) async fn finish(mut self, target: &Target) -> Result<(), Error> {
        self.begin(target);
        landed(self.last).await
    }

    fn begin(&mut self, target: &Target) {
        self.unflushed = 0;
        let (before, target) = (self.last.take(), target.clone());
        self.last = Some(tokio::spawn(async move {
            landed(before).await?;
            Ok(blocking(move || target.sync()).await??)
        }));
    }
}

async fn landed(flush: Option<JoinHandle<Result<(), Error>>>) -> Result<(), Error> {
    match flush {
        Some(flush) => flush.await.map_err(|_| Error::Repo(repo::Error::TaskLost))?,
        None => Ok(()),
    }
}
