//! Files and folders from inside of a disk image, into a folder.
//!
//! # Order
//! A walk down the folders of the image, several files at once; whenever some folders are complete, further names of
//! files with several, then the metadata of these folders, bottom-up.
//!
//! # Always
//! - The image is believed nothing: a folder is entered once, however often it is named; a name that cannot exist is a
//!   problem; everything is written through [`crate::target`].
//! - What cannot be read is one problem told to the monitor; the rest is restored.
//! - Memory is bounded by the depth of the folders and the number of jobs at once, plus 8 bytes for each folder and a
//!   line for each file with several names.

mod content;
mod nodes;
mod walk;

use crate::browse::Inside;
use crate::browse::InsideError;
use crate::disk::fs;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::path;
use crate::restore::Error;
use crate::restore::Options;
use crate::restore::Summary;
use crate::restore::inside::content::restore_item;
use crate::restore::inside::nodes::convert;
use crate::restore::inside::walk::Walker;
use crate::restore::open_target;
use crate::restore::problem::Problem;
use crate::restore::rules::Rules;
use crate::restore::run::Run;
use crate::restore::run::StopOnDrop;
use crate::restore::settle;
use crate::restore::work::Item;
use crate::restore::work::Origin;
use crate::restore::work::Place;
use crate::restore::work::Work;
use std::path::Path;
use std::sync::Arc;

/// What keeps one file from being restored, or ends the restore.
enum Fault {
    This(Problem),
    All(Error),
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Fault {
        Fault::This(problem)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::All(error)
    }
}

impl From<InsideError> for Fault {
    fn from(error: InsideError) -> Fault {
        Fault::This(Problem::Inside(error))
    }
}

/// Restores a node of a disk image into the folder `to` (made if missing). `told_path` is its path for people; it ends
/// with its name.
///
/// If the node is a folder, what is in it goes into `to`, and `to` gets its metadata; except that the root of a file
/// system leaves the metadata of a folder alone that was there before. Anything else goes into `to` under its own name,
/// and rules are not asked. Must be called within a tokio runtime.
pub async fn restore_inside(
    inside: &Arc<Inside>,
    node: NodeId,
    told_path: &[u8],
    to: &Path,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Summary, Error> {
    let rules = Rules::new(options)?;
    let found = inside.ask(async |reader| reader.node(node).await).await?;
    let (root, _) = inside.ask(async |reader| reader.about().await).await?;
    let is_folder = found.kind == NodeKind::Folder;
    let rules = if is_folder { rules } else { Rules::none() };
    let (target, was_there) = open_target(to, options).await?;
    let top = if is_folder { told_path.to_vec() } else { path::split(told_path).0.to_vec() };
    let keys = inside.browse().chunks().repo().keys().clone();
    let work = Arc::new(Work::new(target, keys, rules, options));
    let _guard = StopOnDrop(work.clone());
    let run = Run::new(inside.browse(), monitor, work, top);
    let done = if is_folder {
        Walker::new(&run, inside, node == root && was_there).restore(node, found).await
    } else {
        restore_one(&run, inside, node, &found, told_path).await
    };
    let settled = settle(&run).await;
    done?;
    settled?;
    Ok(run.end())
}

async fn restore_one(
    run: &Run<'_>,
    inside: &Arc<Inside>,
    id: NodeId,
    found: &fs::Node,
    told_path: &[u8],
) -> Result<(), Error> {
    let node = match convert(inside, id, found, path::split(told_path).1).await {
        Ok(node) => node,
        Err(problem) => {
            run.fail(told_path, problem)?;
            return Ok(());
        }
    };
    let size = node.size();
    run.total(|total| (total.nodes, total.bytes) = (1, size));
    run.count(|summary| (summary.nodes, summary.bytes) = (1, node.content.len()));
    run.work.is_first(&node);
    monitor_path(run, told_path);
    let origin = Origin::Image(Arc::new(node), id, told_path.to_vec());
    restore_item(run, inside, Item { origin, place: Place::new(Vec::new()) }).await?;
    if run.is_over() { Err(Error::Cancelled) } else { Ok(()) }
}

fn monitor_path(run: &Run<'_>, told_path: &[u8]) {
    run.monitor.event(Event::Path(told_path));
}
