//! Further names of files with several, when all first names are in place.
//! Always: a name becomes a link only to what has its own content; if linking fails the content is written again.

use crate::restore::Error;
use crate::restore::Overwrite;
use crate::restore::choice;
use crate::restore::choice::Choice;
use crate::restore::problem::Problem;
use crate::restore::problem::is_damage;
use crate::restore::run::Run;
use crate::restore::walker::Job;
use crate::restore::work::Item;
use crate::restore::work::Origin;
use crate::restore::work::Outcome;
use crate::restore::work::Place;
use crate::restore::work::Work;
use crate::restore::work::blocking;
use std::sync::Arc;

/// Restores these ranks, one after the other.
pub(super) async fn restore_links(run: &Run<'_>, ranks: Vec<u64>) -> Result<(), Error> {
    let mut place: Option<Arc<Place>> = None;
    for rank in ranks {
        if run.is_over() {
            return Err(Error::Cancelled);
        }
        let found = match run.browse.at(rank).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(source) if is_damage(&source) => {
                run.fail(&run.top, Problem::Nodes { first: rank, last: rank, source })?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let path = crate::path::strip(found.parent(), &run.top);
        let place = match &place {
            Some(place) if place.path == path => place.clone(),
            _ => place.insert(Place::new(path.to_vec())).clone(),
        };
        let item = Item { origin: Origin::Tree(found), place };
        run.monitor.event(crate::monitor::Event::Path(&item.told_path()));
        let (work, wanted) = (run.work.clone(), item.clone());
        match blocking(move || work.link(&wanted)).await? {
            Ok(Some(outcome)) => run.finish(&item, outcome, 0)?,
            Ok(None) => Job::of(item).restore(run).await?,
            Err(problem) => run.finish(&item, Outcome::Failed(problem), 0)?,
        }
    }
    Ok(())
}

impl Work {
    /// Makes the item a further name, or says what it is already; `None` if its content has to be written.
    pub(super) fn link(&self, item: &Item) -> Result<Option<Outcome>, Problem> {
        let node = item.node();
        let Some(first) = self.link_for(node) else { return Ok(None) };
        let existing = self.existing(item)?;
        if existing.as_ref().is_some_and(|existing| existing.id == first.id && existing.kind == node.kind) {
            return Ok(Some(Outcome::Same { missed: Vec::new(), verified: false }));
        }
        let is_left = match self.overwrite {
            Overwrite::Always | Overwrite::IfChanged => false,
            policy => choice::choose(policy, node, existing.as_ref(), self.privileged) != Choice::Write,
        };
        let written = Outcome::Written { bytes: 0, missed: Vec::new(), verified: false };
        if is_left || self.dry_run {
            return Ok(Some(if is_left { Outcome::Left } else { written }));
        }
        self.clear(item, existing.as_ref())?;
        let (target, folder) = self.enter(&item.place)?;
        match target.hard_link(&first.path, first.id, &folder, &node.name) {
            Ok(()) => Ok(Some(written)),
            Err(error) if error.is_full() || error.is_read_only() => Err(error.into()),
            Err(error) => {
                tracing::debug!(cause = %crate::monitor::chain(&error), "Cannot link, writing the content again");
                Ok(None)
            }
        }
    }
}
