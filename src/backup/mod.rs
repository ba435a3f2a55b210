//! Taking a snapshot.

mod options;

pub use options::Error;
pub use options::Options;
pub use options::Parent;
pub use options::Stdin;
pub use options::Summary;

use crate::monitor::Monitor;
use crate::repo::Author;
use crate::repo::Repo;
use tokio::runtime::Handle;

/// Takes a snapshot. Blocks the calling thread (which must not be one of the runtime's) until it is part of the
/// repository, or the monitor cancels it.
pub fn backup(
    repo: &Repo,
    author: Author<'_>,
    runtime: &Handle,
    options: Options,
    monitor: &dyn Monitor,
) -> Result<Summary, Error> {
    let _ = (repo, author, runtime, options, monitor);
    Err(Error::Cancelled)
}
