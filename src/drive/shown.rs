//! One snapshot on a drive: its nodes under numbers of the drive.

use crate::browse::Ahead;
use crate::browse::Browse;
use crate::browse::InsideError;
use crate::browse::OpenedDisk;
use crate::browse::children;
use crate::browse::disk_of;
use crate::drive::DriveOptions;
use crate::drive::attr::attr;
use crate::drive::parts::DiskAt;
use crate::drive::parts::PartFolder;
use crate::drive::parts::Parts;
use crate::drive::refuse;
use crate::drive::watch::Watch;
use crate::format::disk::OWN_XATTR_PREFIX;
use crate::meta::Kind;
use crate::meta::Xattr;
use crate::monitor::chain;
use crate::path;
use crate::repo::Error;
use crate::tree::Found;
use crate::tree::NodeTree;
use crate::tree::Pages;
use crate::tree::Stop;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::DriveError;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listed;
use bygone_mount::drive::Listing;
use bytes::Bytes;
use lru::LruCache;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

/// Numbers of one snapshot: its slot in the upper bits, rank + [`RANK_OFFSET`] in the lower ones.
const RANK_BITS: u32 = 40;
/// Keeps 0 and 1 free.
const RANK_OFFSET: u64 = 2;
/// Numbers shared by the names of one hard-linked file.
const LINK_BIT: u64 = 1 << 63;
/// Sequential readers that are remembered.
const READERS_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// A snapshot, shown under numbers of its own.
pub(super) struct Shown {
    pub(super) browse: Browse,
    slot: u64,
    /// Rank of the node shown as the top, the number it has there, and its parent's.
    top_rank: u64,
    top_ino: Ino,
    parent_ino: Ino,
    owner: Option<(u32, u32)>,
    links: Mutex<HashMap<Ino, u64>>,
    pub(super) readers: Mutex<LruCache<Ino, u64>>,
    pub(super) ahead: Arc<Ahead>,
    watch: Arc<Watch>,
    parts: Arc<Parts>,
    disks: OnceLock<Vec<Arc<PartFolder>>>,
}

/// Where a snapshot stands on its drive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) slot: u64,
    pub(super) top_rank: u64,
    pub(super) top_ino: Ino,
    pub(super) parent_ino: Ino,
}

/// The slot of a number; `None` for one shared by hard links.
pub(super) fn slot_of(ino: Ino) -> Option<u64> {
    (ino & LINK_BIT == 0).then_some(ino >> RANK_BITS)
}

/// First number of a slot: its root node.
pub(super) fn slot_root(slot: u64) -> Ino {
    (slot << RANK_BITS) + RANK_OFFSET
}

/// A question about a tree that can be asked again once a page has come.
pub(super) trait Question<T>:
    Fn(&Shown, &NodeTree, &dyn Pages) -> Result<T, Stop> + Send + Sync + 'static
{
}
impl<T, F: Fn(&Shown, &NodeTree, &dyn Pages) -> Result<T, Stop> + Send + Sync + 'static> Question<T> for F {}

pub(super) type Asked<T> = bygone_mount::drive::Result<T>;

impl Shown {
    pub(super) fn new(browse: Browse, place: Place, options: &DriveOptions, parts: &Arc<Parts>) -> Arc<Shown> {
        let Place { slot, top_rank, top_ino, parent_ino } = place;
        Arc::new(Shown {
            ahead: Ahead::new(browse.clone()),
            browse,
            slot,
            top_rank,
            top_ino,
            parent_ino,
            owner: options.owner,
            links: Mutex::default(),
            readers: Mutex::new(LruCache::new(READERS_MAX)),
            watch: options.watch.clone(),
            parts: parts.clone(),
            disks: OnceLock::new(),
        })
    }

    /// True if the number is one of this snapshot's hard-linked files that were seen.
    pub(super) fn has_link(&self, ino: Ino) -> bool {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&ino)
    }

    /// Asks something about a node now; if a page is missing, later.
    pub(super) fn ask<T: Send + 'static>(self: &Arc<Self>, ino: Ino, question: impl Question<Asked<T>>) -> Answer<T> {
        let tree = *self.browse.tree();
        match question(self, &tree, &**self.browse.chunks()) {
            Ok(answer) => Answer::Now(answer),
            Err(_) => {
                let this = self.clone();
                Answer::later(async move { this.ask_later(ino, question).await })
            }
        }
    }

    pub(super) async fn ask_later<T>(self: &Arc<Self>, ino: Ino, question: impl Question<Asked<T>>) -> Asked<T> {
        let asked = self.browse.ask(|tree, pages| question(self, tree, pages)).await;
        asked.unwrap_or_else(|error| Err(self.failed(ino, &error)))
    }

    /// Takes note of a failure; what the system is told of it.
    pub(super) fn failed(&self, ino: Ino, error: &Error) -> DriveError {
        self.watch.faults().failed(self.browse.snapshot().id, || self.path_at_hand(ino), error)
    }

    /// Takes note of a fault.
    pub(super) fn note(&self, ino: Ino, reason: String) {
        self.watch.faults().note(self.browse.snapshot().id, self.path_at_hand(ino), reason);
    }

    /// Where a node is; empty if nothing in memory tells.
    fn path_at_hand(&self, ino: Ino) -> Vec<u8> {
        match self.node(self.browse.tree(), &**self.browse.chunks(), ino) {
            Ok(Ok(found)) => found.path(),
            _ => Vec::new(),
        }
    }

    fn rank(&self, ino: Ino) -> Option<u64> {
        if ino == self.top_ino {
            return Some(self.top_rank);
        }
        if ino & LINK_BIT != 0 {
            return self.links.lock().unwrap_or_else(PoisonError::into_inner).get(&ino).copied();
        }
        (ino & ((1 << RANK_BITS) - 1)).checked_sub(RANK_OFFSET)
    }

    fn ino(&self, found: &Found) -> Ino {
        if found.rank == self.top_rank {
            return self.top_ino;
        }
        let Some(group) = found.node().meta.link_group else {
            return (self.slot << RANK_BITS) + found.rank + RANK_OFFSET;
        };
        // Snapshots share groups but not numbers: a large odd factor keeps the slots apart.
        let ino = group.wrapping_add(self.slot.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | LINK_BIT;
        self.links.lock().unwrap_or_else(PoisonError::into_inner).entry(ino).or_insert(found.rank);
        ino
    }

    fn attr_of(&self, found: &Found) -> Attr {
        attr(found.node(), self.ino(found), self.owner)
    }

    pub(super) fn node<P: Pages + ?Sized>(&self, tree: &NodeTree, pages: &P, ino: Ino) -> Result<Asked<Found>, Stop> {
        let Some(rank) = self.rank(ino) else { return Ok(Err(DriveError::NotFound)) };
        Ok(tree.at(pages, rank)?.ok_or(DriveError::NotFound))
    }

    /// Asks something about one node.
    fn ask_node<T: Send + 'static>(
        self: &Arc<Self>,
        ino: Ino,
        answer: impl Fn(&Shown, &Found) -> Asked<T> + Send + Sync + 'static,
    ) -> Answer<T> {
        self.ask(ino, move |this, tree, pages| Ok(this.node(tree, pages, ino)?.and_then(|found| answer(this, &found))))
    }

    pub(super) fn attr(self: &Arc<Self>, ino: Ino) -> Answer<Attr> {
        self.ask_node(ino, |this, found| Ok(this.attr_of(found)))
    }

    pub(super) fn lookup(self: &Arc<Self>, parent: Ino, name: &[u8]) -> Answer<Attr> {
        if path::check_name(name).is_err() {
            return refuse(DriveError::NotFound);
        }
        let name = name.to_vec();
        if self.has_locked_disks(parent) {
            let this = self.clone();
            return Answer::later(async move {
                this.unlock_disks().await?;
                this.lookup(parent, &name).wait().await
            });
        }
        self.ask(parent, move |this, tree, pages| {
            let folder = match this.node(tree, pages, parent)? {
                Ok(found) if found.node().is_folder() => found.path(),
                Ok(_) => return Ok(Err(DriveError::NotAFolder)),
                Err(error) => return Ok(Err(error)),
            };
            if let Some(found) = tree.get(pages, &folder, &name)? {
                return Ok(Ok(this.attr_of(&found)));
            }
            let parts = if parent == this.top_ino { this.parts_of_disks(tree, pages)? } else { &[] };
            let part = parts.iter().find(|part| part.name() == name);
            Ok(part.map(|part| part.top()).ok_or(DriveError::NotFound))
        })
    }

    pub(super) fn list(self: &Arc<Self>, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing> {
        if self.has_locked_disks(folder) {
            let this = self.clone();
            return Answer::later(async move {
                this.unlock_disks().await?;
                this.list(folder, cursor, entries_max).wait().await
            });
        }
        self.ask(folder, move |this, tree, pages| {
            let found = match this.node(tree, pages, folder)? {
                Ok(found) if found.node().is_folder() => found,
                Ok(_) => return Ok(Err(DriveError::NotAFolder)),
                Err(error) => return Ok(Err(error)),
            };
            let parent = if folder == this.top_ino {
                this.parent_ino
            } else {
                let above = tree.get_path(pages, found.parent())?;
                above.map_or(this.top_ino, |above| this.ino(&above))
            };
            let range = children(tree, pages, &found.path())?;
            let parts = if folder == this.top_ino { this.parts_of_disks(tree, pages)? } else { &[] };
            let most = entries_max.max(1);
            let start = range.start.max(cursor);
            let end = range.end.min(start.saturating_add(most as u64));
            let mut entries = Vec::with_capacity(end.saturating_sub(start) as usize);
            let mut next = if start < end { tree.at(pages, start)? } else { None };
            while let Some(found) = next {
                let attr = this.attr_of(&found);
                entries.push(Listed { name: found.node().name.clone(), attr, cursor: found.rank + 1 });
                next = if found.rank + 1 < end { tree.next(pages, &found)? } else { None };
            }
            // Parts stand behind the last node.
            let first = start.max(range.end) - range.end;
            let room = if end >= range.end { most.saturating_sub(entries.len()) } else { 0 };
            let listed = (range.end + 1..).zip(parts).skip(first as usize).take(room);
            entries.extend(listed.map(|(cursor, part)| Listed {
                name: part.name().to_vec(),
                attr: part.top(),
                cursor,
            }));
            let until = entries.last().map_or(start, |last| last.cursor);
            Ok(Ok(Listing { entries, parent, end: until >= range.end + parts.len() as u64 }))
        })
    }

    /// Parts of the disks at the top. A snapshot of disks has nothing but them.
    fn parts_of_disks<P: Pages + ?Sized>(&self, tree: &NodeTree, pages: &P) -> Result<&[Arc<PartFolder>], Stop> {
        if let Some(known) = self.disks.get() {
            return Ok(known);
        }
        Ok(self.show_parts(&self.disks_at_top(tree, pages)?))
    }

    /// The disks at the top, as the snapshot knows them.
    fn disks_at_top<P: Pages + ?Sized>(&self, tree: &NodeTree, pages: &P) -> Result<Vec<OpenedDisk>, Stop> {
        let mut disks = Vec::new();
        if self.top_rank == 0 && self.browse.may_hold_disks() {
            for rank in 1..tree.nodes {
                let Some(found) = tree.at(pages, rank)? else { break };
                disks.extend(disk_of(found.node()).map(|disk| OpenedDisk {
                    bytes: found.node().size(),
                    found,
                    disk,
                    is_raw: true,
                }));
            }
        }
        Ok(disks)
    }

    /// True if a passphrase is to open something at the top that it has not been tried on.
    fn has_locked_disks(&self, folder: Ino) -> bool {
        let is_top = folder == self.top_ino && self.top_rank == 0;
        is_top && self.disks.get().is_none() && !self.parts.passphrase().is_empty() && self.browse.may_hold_disks()
    }

    /// Looks at the disks at the top with the passphrase.
    async fn unlock_disks(self: &Arc<Self>) -> Asked<()> {
        let passphrase = self.parts.passphrase();
        let mut disks = Vec::new();
        for known in
            self.ask_later(self.top_ino, |this: &Shown, tree, pages| Ok(Ok(this.disks_at_top(tree, pages)?))).await?
        {
            let opened = OpenedDisk::open(&self.browse, known.found.clone(), passphrase).await;
            let disk = match opened {
                Ok(opened) => opened,
                Err(InsideError::Repo(error)) => return Err(self.failed(self.ino(&known.found), &error)),
                Err(error) => {
                    self.note(self.ino(&known.found), chain(&error));
                    known
                }
            };
            disks.push(disk.with_roots(&self.browse, passphrase).await);
        }
        self.show_parts(&disks);
        Ok(())
    }

    /// From now on these disks are at the top.
    pub(super) fn show_parts(&self, disks: &[OpenedDisk]) -> &[Arc<PartFolder>] {
        let many = disks.len() > 1;
        let parts = disks.iter().flat_map(|OpenedDisk { found, disk, is_raw, .. }| {
            let node = found.node();
            let stem = String::from_utf8_lossy(node.name.strip_suffix(b".img").unwrap_or(&node.name)).into_owned();
            let at = DiskAt {
                slot: self.slot,
                rank: found.rank,
                browse: &self.browse,
                node,
                is_raw: *is_raw,
                parent: self.top_ino,
            };
            self.parts.of_disk(disk, &at, &if many { format!("{stem} - ") } else { String::new() })
        });
        self.disks.get_or_init(|| parts.collect())
    }

    pub(super) fn read_link(self: &Arc<Self>, ino: Ino) -> Answer<Bytes> {
        self.ask_node(ino, |_, found| match &found.node().kind {
            Kind::Symlink(target) => Ok(Bytes::copy_from_slice(target)),
            _ => Err(DriveError::Invalid),
        })
    }

    pub(super) fn xattr(self: &Arc<Self>, ino: Ino, name: &[u8]) -> Answer<Bytes> {
        let name = name.to_vec();
        self.ask_node(ino, move |_, found| {
            let xattr = shown_xattrs(found).find(|xattr| xattr.name == name);
            xattr.map(|xattr| Bytes::copy_from_slice(&xattr.value)).ok_or(DriveError::NoAttribute)
        })
    }

    pub(super) fn xattr_names(self: &Arc<Self>, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        self.ask_node(ino, |_, found| Ok(shown_xattrs(found).map(|xattr| xattr.name.clone()).collect()))
    }
}

/// Attributes but our own.
fn shown_xattrs(found: &Found) -> impl Iterator<Item = &Xattr> {
    found.node().meta.xattrs.iter().filter(|xattr| !xattr.name.starts_with(OWN_XATTR_PREFIX))
}
