//! What the blocking half of a restore needs: the target, the rules, the places. No waiting for the repository here.
//!
//! Always: a thing is registered for hard links only when it is in place, with the snapshot's content.

use crate::crypto::Keys;
use crate::disk::fs::NodeId;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Node;
use crate::path;
use crate::restore::Error;
use crate::restore::Options;
use crate::restore::Overwrite;
use crate::restore::choice;
use crate::restore::choice::Choice;
use crate::restore::problem::Problem;
use crate::restore::rules::Rules;
use crate::target;
use crate::target::Existing;
use crate::target::FileId;
use crate::target::Folder;
use crate::target::Missed;
use crate::target::Obstacle;
use crate::target::Placed;
use crate::target::Removal;
use crate::target::Target;
use crate::tree::Found;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// A folder of the target, opened when the first thing goes into it.
#[derive(Debug)]
pub(super) struct Place {
    /// Path in the target.
    pub(super) path: Vec<u8>,
    folder: Mutex<Option<Arc<Folder>>>,
}

impl Place {
    pub(super) fn new(path: Vec<u8>) -> Arc<Place> {
        Arc::new(Place { path, folder: Mutex::new(None) })
    }
}

/// Where a node comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The tree of the snapshot.
    Tree(Found),
    /// A disk image in it: what its file system knows as a node, its number there, and its path for people. Of its
    /// content only the length is known.
    Image(Arc<Node>, NodeId, Vec<u8>),
}

/// A node that is no folder, and where it goes.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) origin: Origin,
    pub(super) place: Arc<Place>,
}

impl Item {
    pub(super) fn node(&self) -> &Node {
        match &self.origin {
            Origin::Tree(found) => found.node(),
            Origin::Image(node, ..) => node,
        }
    }

    /// The path that is told.
    pub(super) fn told_path(&self) -> Vec<u8> {
        match &self.origin {
            Origin::Tree(found) => found.path(),
            Origin::Image(.., path) => path.clone(),
        }
    }

    /// Path in the target.
    pub(super) fn path(&self) -> Vec<u8> {
        path::join(&self.place.path, &self.node().name)
    }
}

/// What became of an item.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was put there (or would be): bytes written, metadata it lacks, and whether it was compared.
    Written { bytes: u64, missed: Vec<Missed>, verified: bool },
    /// It was there already.
    Same { missed: Vec<Missed>, verified: bool },
    /// Something else was there and was left.
    Left,
    /// It is not there, or not as it should be.
    Failed(Problem),
    /// The restore ends before its turn came.
    Stopped,
}

/// The name under which a group of hard links was restored first.
#[derive(Debug, Clone)]
pub(super) struct Linked {
    pub(super) path: Vec<u8>,
    pub(super) id: FileId,
    /// Hash of kind and content: a member that differs must not become a link to it.
    pub(super) print: blake3::Hash,
}

/// What a dry run registers in place of an identity: no file has it.
const NOWHERE: FileId = FileId { device: u64::MAX, inode: u64::MAX };

/// Shared by all threads of one restore.
#[derive(Debug)]
pub(super) struct Work {
    target: Option<Target>,
    pub(super) keys: Keys,
    pub(super) rules: Rules,
    pub(super) overwrite: Overwrite,
    pub(super) verify: bool,
    pub(super) dry_run: bool,
    pub(super) delete: bool,
    pub(super) spared: Vec<FileId>,
    pub(super) privileged: bool,
    stop: AtomicBool,
    links: Mutex<HashMap<u64, Option<Linked>>>,
}

impl Work {
    /// `target` is missing in a dry run into a folder that does not exist.
    pub(super) fn new(target: Option<Target>, keys: Keys, rules: Rules, options: &Options) -> Work {
        Work {
            target,
            keys,
            rules,
            overwrite: options.overwrite,
            verify: options.verify && !options.dry_run,
            dry_run: options.dry_run,
            delete: options.delete,
            spared: options.spared.clone(),
            privileged: options.privileged,
            stop: AtomicBool::new(false),
            links: Mutex::default(),
        }
    }

    pub(super) fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// Makes everything end soon.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What happens to things in the way of a folder.
    pub(super) fn obstacle(&self) -> Obstacle {
        match self.overwrite {
            Overwrite::Always | Overwrite::IfChanged => Obstacle::Replace,
            Overwrite::Never | Overwrite::IfNewer => Obstacle::Report,
        }
    }

    /// Opens the folder, creates it if need be, and rids it of what a killed restore left. Not in a dry run.
    pub(super) fn enter(&self, place: &Place) -> Result<(&Target, Arc<Folder>), Problem> {
        let target = self.target.as_ref().expect("only a dry run has no target, and it enters no folder");
        let mut slot = place.folder.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(folder) = &*slot {
            return Ok((target, folder.clone()));
        }
        let folder = target.folder(&place.path, self.obstacle())?;
        if !folder.is_new() {
            target.remove_leftovers(&folder)?;
        }
        *slot = Some(folder.clone());
        Ok((target, folder))
    }

    /// What stands where the item goes.
    pub(super) fn existing(&self, item: &Item) -> Result<Option<Existing>, Problem> {
        if !self.dry_run {
            let (target, folder) = self.enter(&item.place)?;
            let look = !folder.is_new();
            return Ok(if look { target.state_in(&folder, &item.node().name)? } else { None });
        }
        match self.target.as_ref().map(|target| target.state(&item.path())) {
            // What is in the way would be replaced.
            Some(Err(target::Error::NotAFolder { .. })) if self.obstacle() == Obstacle::Replace => Ok(None),
            Some(found) => Ok(found?),
            None => Ok(None),
        }
    }

    /// Chooses, and clears the place of an empty folder. A folder with contents is a problem before anything is read.
    pub(super) fn choose(&self, item: &Item) -> Result<(Choice, Option<Existing>), Problem> {
        let existing = self.existing(item)?;
        let choice = choice::choose(self.overwrite, item.node(), existing.as_ref(), self.privileged);
        match choice {
            Choice::Write if self.dry_run => self.register(item, NOWHERE),
            Choice::Write => self.clear(item, existing.as_ref())?,
            Choice::Same { .. } | Choice::Leave => {}
        }
        Ok((choice, existing))
    }

    pub(super) fn clear(&self, item: &Item, existing: Option<&Existing>) -> Result<(), Problem> {
        if let Some(target) = &self.target
            && existing.is_some_and(|existing| existing.kind == Kind::Folder)
        {
            target.remove(&item.path(), Removal::Node)?;
        }
        Ok(())
    }

    /// Leaves what is there, but gives it the permissions of the snapshot.
    pub(super) fn keep(&self, item: &Item, existing: &Existing, stale: bool) -> Result<Vec<Missed>, Problem> {
        self.register(item, existing.id);
        if !stale || self.dry_run {
            return Ok(Vec::new());
        }
        let (target, folder) = self.enter(&item.place)?;
        Ok(target.refresh(&folder, &item.node().name, existing.id, &item.node().meta)?)
    }

    /// Puts something small in place: a link, a special node, or a file with these bytes.
    pub(super) fn put(&self, item: &Item, bytes: &Bytes) -> Result<Vec<Missed>, Problem> {
        let (target, folder) = self.enter(&item.place)?;
        let node = item.node();
        let placed = match &node.kind {
            Kind::File => {
                let file = target.begin_file(&folder, &node.name, 0)?;
                file.write_at(0, bytes)?;
                file.finish(&node.meta)?
            }
            Kind::Symlink(to) => target.symlink(&folder, &node.name, to, &node.meta)?,
            other => target.special(&folder, &node.name, other, &node.meta)?,
        };
        Ok(self.placed(item, placed))
    }

    /// Takes note of something that is in place now.
    pub(super) fn placed(&self, item: &Item, placed: Placed) -> Vec<Missed> {
        self.register(item, placed.id);
        placed.missed
    }

    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Option<Linked>>> {
        self.links.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// True for the first member of its group of hard links, and for everything without a group.
    pub(super) fn is_first(&self, node: &Node) -> bool {
        let Some(group) = node.meta.link_group else { return true };
        let mut links = self.links();
        let is_new = !links.contains_key(&group);
        links.entry(group).or_default();
        is_new
    }

    fn register(&self, item: &Item, id: FileId) {
        if let Some(group) = item.node().meta.link_group {
            let linked = Linked { path: item.path(), id, print: print(item.node()) };
            self.links().entry(group).or_default().get_or_insert(linked);
        }
    }

    /// What this item may become a further name of.
    pub(super) fn link_for(&self, node: &Node) -> Option<Linked> {
        let group = node.meta.link_group?;
        self.links().get(&group)?.clone().filter(|linked| linked.print == print(node))
    }
}

/// Equal for nodes of equal kind and content, wherever their chunks lie.
fn print(node: &Node) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut add = |tag: u8, bytes: &[u8]| {
        hasher.update(&[tag]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match &node.kind {
        Kind::File => add(0, &[]),
        Kind::Symlink(to) => add(1, to),
        Kind::CharDevice { major, minor } => add(2, &[major.to_le_bytes(), minor.to_le_bytes()].concat()),
        Kind::BlockDevice { major, minor } => add(3, &[major.to_le_bytes(), minor.to_le_bytes()].concat()),
        Kind::Fifo => add(4, &[]),
        Kind::Socket => add(5, &[]),
        Kind::Folder => add(6, &[]),
    }
    match &node.content {
        Content::Empty => {}
        Content::Inline(bytes) => add(7, bytes),
        Content::Chunk(chunk) => add(8, &chunk.id.0),
        Content::Extents { root, len, .. } => add(9, &[&root.id.0[..], &len.to_le_bytes()].concat()),
    }
    hasher.finalize()
}

/// Runs something that blocks on the file system, away from the async threads.
pub(super) async fn blocking<T: Send + 'static>(deed: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(deed).await.map_err(|_| Error::Repo(crate::repo::Error::TaskLost))
}
