//! What a killed run left: packs that no index names. Their directories tell what is in them, so nothing of it is
//! uploaded again.

use crate::backup::Error;
use crate::backup::uploader::Uploader;
use crate::repo;
use crate::repo::Author;
use crate::repo::Repo;
use tokio::runtime::Handle;

/// If the last run of this machine did not finish, finds the packs it stored. From now on this run counts as unfinished.
pub(super) fn adopt_orphans(
    repo: &Repo,
    author: Author<'_>,
    runtime: &Handle,
    uploader: &mut Uploader<'_>,
) -> Result<(), Error> {
    if author.state.is_unfinished().map_err(repo::Error::from)? {
        for (pack, chunks) in runtime.block_on(repo::orphans(repo))? {
            tracing::info!(pack = %pack.pack, chunks = chunks.len(), "Pack of an unfinished run is used");
            uploader.adopt(pack, chunks);
        }
    }
    author.state.set_unfinished(true).map_err(repo::Error::from)?;
    Ok(())
}

/// Notes that nothing of this run is left to find.
pub(super) fn mark_finished(author: Author<'_>) -> Result<(), Error> {
    author.state.set_unfinished(false).map_err(repo::Error::from)?;
    Ok(())
}
