//! Removing packs, with their parity.

use crate::id::ObjectId;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::prune::Listed;
use crate::prune::Result;
use crate::repo;
use crate::repo::PARITY_FOLDER;
use crate::repo::Repo;
use crate::repo::pack_name;
use crate::repo::parity_of;
use futures::StreamExt;
use std::collections::HashSet;

/// Objects removed at once.
const DELETES_AT_ONCE: usize = 8;

/// What goes, by name and length.
pub(super) struct Removal {
    parity: Vec<(String, u64)>,
    packs: Vec<(String, u64)>,
}

impl Removal {
    /// These packs, with their parity.
    pub(super) async fn of(repo: &Repo, listed: &Listed, going: &[ObjectId]) -> Result<Removal> {
        let gone: HashSet<&ObjectId> = going.iter().collect();
        let parity = repo.store().list(PARITY_FOLDER).await.map_err(repo::Error::from)?.into_iter();
        let parity = parity.filter(|stored| parity_of(&stored.name).is_some_and(|pack| gone.contains(&pack)));
        Ok(Removal {
            parity: parity.map(|stored| (stored.name, stored.len)).collect(),
            packs: going.iter().map(|pack| (pack_name(*pack), listed[pack].len)).collect(),
        })
    }

    /// Each object is removed by a request of its own.
    pub(super) fn requests(&self) -> u64 {
        (self.parity.len() + self.packs.len()) as u64
    }

    /// Parity goes before its pack, so that none is left alone.
    pub(super) async fn run(self, repo: &Repo, monitor: &dyn Monitor) -> Result<()> {
        delete(repo, self.parity, monitor).await?;
        delete(repo, self.packs, monitor).await
    }
}

async fn delete(repo: &Repo, objects: Vec<(String, u64)>, monitor: &dyn Monitor) -> Result<()> {
    let store = repo.store();
    let deletes = objects.iter().map(|(name, len)| async move { (*len, store.delete(name).await) });
    let mut deletes = futures::stream::iter(deletes.collect::<Vec<_>>()).buffer_unordered(DELETES_AT_ONCE);
    while let Some((bytes, deleted)) = deletes.next().await {
        deleted.map_err(repo::Error::from)?;
        monitor.event(Event::Done { nodes: 1, bytes });
    }
    Ok(())
}
