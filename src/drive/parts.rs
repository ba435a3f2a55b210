//! Partitions of disk images as folders of a drive: the files inside, under numbers of the drive.
//!
//! A number has the part in its upper bits and the node's own number in the lower ones. Parts are numbered in the order
//! in which they are first seen. What people should know about a disk stands beside them as a file of text.

use crate::browse::Browse;
use crate::browse::ImageAt;
use crate::browse::Inside;
use crate::browse::InsideError;
use crate::disk::fs;
use crate::disk::fs::NODE_ID_END;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::drive::DriveOptions;
use crate::drive::attr::inside_attr;
use crate::drive::part::PartAt;
use crate::drive::refuse;
use crate::drive::watch::Watch;
use crate::format::disk::Disk;
use crate::format::disk::DiskPart;
use crate::id::SnapshotId;
use crate::image;
use crate::image::Fault;
use crate::image::Part;
use crate::meta::Node;
use crate::meta::Time;
use crate::monitor::chain;
use crate::path;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::DriveError;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listed;
use bygone_mount::drive::Listing;
use bygone_mount::drive::ROOT;
use bygone_mount::drive::Result;
use bygone_mount::drive::Seek;
use bytes::Bytes;
use lru::LruCache;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

const NODE_BITS: u32 = NODE_ID_END.trailing_zeros();
/// The two uppermost bits of a number in a part.
const PART_MARK: u64 = 0b01;
const MARK_SHIFT: u32 = 62;
/// Parts of one drive at most.
const PARTS_MAX: usize = 1 << (MARK_SHIFT - NODE_BITS);
/// Stands for the root folder, whose own number is not known before the part is opened.
const ROOT_ALIAS: NodeId = NODE_ID_END - 1;
/// Stands for the notes about a disk among the numbers of its parts.
const NOTES: u32 = u32::MAX;
const NOTES_NAME: &str = "NOTES.txt";
/// Folders whose parents are remembered.
const FOLDERS_MAX: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("it is not 0");

/// All parts that were seen on a drive.
#[derive(Default)]
pub(super) struct Parts {
    owner: Option<(u32, u32)>,
    passphrase: Vec<u8>,
    watch: Arc<Watch>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    numbers: HashMap<(u64, u64, u32), usize>,
    parts: Vec<Arc<PartFolder>>,
}

/// Where a disk lies on the drive.
pub(super) struct DiskAt<'a> {
    /// Slot of the snapshot and rank of the disk in it: together they name it.
    pub(super) slot: u64,
    pub(super) rank: u64,
    pub(super) browse: &'a Browse,
    /// The file that holds it.
    pub(super) node: &'a Node,
    /// True if its bytes are the disk as it is.
    pub(super) is_raw: bool,
    /// The folder its parts stand in.
    pub(super) parent: Ino,
}

/// What stands for a part.
enum Top {
    /// A folder with its files.
    Folder,
    /// One file of its bytes, from here to there on the disk: nothing more is known of them.
    Raw(Range<u64>),
    /// One file of text: no part, but what people should know about the disk.
    Notes(Bytes),
}

/// A part that may have no number of the drive yet.
struct NewPart {
    /// Its number on the disk.
    number: u32,
    name: String,
    node: fs::Node,
    inside: Arc<Inside>,
    content: Top,
}

/// One part of a disk.
pub(super) struct PartFolder {
    index: u64,
    name: Vec<u8>,
    attr: Attr,
    parent: Ino,
    owner: Option<(u32, u32)>,
    watch: Arc<Watch>,
    snapshot: SnapshotId,
    inside: Arc<Inside>,
    content: Top,
    root: Mutex<Option<NodeId>>,
    parents: Mutex<LruCache<NodeId, NodeId>>,
}

/// The part a number belongs to, by its index.
fn index_of(ino: Ino) -> Option<usize> {
    let index = (ino & !(PART_MARK << MARK_SHIFT)) >> NODE_BITS;
    (ino >> MARK_SHIFT == PART_MARK).then_some(index as usize)
}

impl Parts {
    pub(super) fn new(options: &DriveOptions) -> Arc<Parts> {
        let passphrase = options.passphrase.clone();
        Arc::new(Parts { owner: options.owner, passphrase, watch: options.watch.clone(), state: Mutex::default() })
    }

    /// Opens encrypted parts; empty if there is none.
    pub(super) fn passphrase(&self) -> &[u8] {
        &self.passphrase
    }

    /// The part a number belongs to, and the number there. `None`: it belongs to no part.
    pub(super) fn of(&self, ino: Ino) -> Option<Result<(Arc<PartFolder>, NodeId)>> {
        let index = index_of(ino)?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let part = state.parts.get(index).cloned().ok_or(DriveError::NotFound);
        Some(part.map(|part| (part, ino & (NODE_ID_END - 1))))
    }

    /// The parts of a disk, numbered the first time they are seen. `prefix` stands before their names.
    pub(super) fn of_disk(&self, disk: &Disk, at: &DiskAt<'_>, prefix: &str) -> Vec<Arc<PartFolder>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = disk.parts.iter().filter(|part| !part.folder.is_empty());
        let parts = shown.filter_map(|part| self.enter(&mut state, part, at, prefix)).collect::<Vec<_>>();
        parts.into_iter().chain(self.enter_notes(&mut state, disk, at, prefix)).collect()
    }

    /// The file of notes, if there is something to tell.
    fn enter_notes(&self, state: &mut State, disk: &Disk, at: &DiskAt<'_>, prefix: &str) -> Option<Arc<PartFolder>> {
        let text = notes_of(disk);
        if text.is_empty() {
            return None;
        }
        let size = text.len() as u64;
        let node =
            fs::Node { mode: Some(0o444), mtime: Some(at.node.meta.mtime), ..fs::Node::new(NodeKind::File, size) };
        let image = ImageAt { rank: at.rank, node: at.node, is_raw: at.is_raw };
        let inside = Inside::new(at.browse, image, None, &[]);
        let (name, content) = (format!("{prefix}{NOTES_NAME}"), Top::Notes(text.into()));
        self.add(state, at, NewPart { number: NOTES, name, node, inside, content })
    }

    /// A folder of a part, to be the top of a drive.
    pub(super) fn top(&self, at: PartAt<'_>) -> Arc<PartFolder> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let top = Arc::new(PartFolder {
            index: state.parts.len() as u64,
            name: at.path.to_vec(),
            attr: inside_attr(at.folder, ROOT, self.owner),
            parent: ROOT,
            owner: self.owner,
            watch: self.watch.clone(),
            snapshot: at.snapshot,
            inside: at.inside,
            content: Top::Folder,
            root: Mutex::new(Some(at.id)),
            parents: Mutex::new(LruCache::new(FOLDERS_MAX)),
        });
        state.parts.push(top.clone());
        top
    }

    fn enter(&self, state: &mut State, part: &DiskPart, at: &DiskAt<'_>, prefix: &str) -> Option<Arc<PartFolder>> {
        let image = ImageAt { rank: at.rank, node: at.node, is_raw: at.is_raw };
        // What is shown as it is stays encrypted.
        let (end, passphrase, content) = match part.fs {
            Some(_) => ("", &self.passphrase[..], Top::Folder),
            None => (".img", &[][..], Top::Raw(part.range.clone())),
        };
        let inside = Inside::new(at.browse, image, Some(Part::Number(part.number)), passphrase);
        let (name, node) = (format!("{prefix}{}{end}", part.folder), root_node(part, at.node.meta.mtime));
        self.add(state, at, NewPart { number: part.number, name, node, inside, content })
    }

    /// What was added before, or else this, under the next number of the drive.
    fn add(&self, state: &mut State, at: &DiskAt<'_>, new: NewPart) -> Option<Arc<PartFolder>> {
        let NewPart { number, name, node, inside, content } = new;
        let key = (at.slot, at.rank, number);
        if let Some(known) = state.numbers.get(&key) {
            return state.parts.get(*known).cloned();
        }
        let index = state.parts.len();
        if index >= PARTS_MAX {
            return None;
        }
        let ino = PART_MARK << MARK_SHIFT | (index as u64) << NODE_BITS | ROOT_ALIAS;
        let new = Arc::new(PartFolder {
            index: index as u64,
            name: name.into_bytes(),
            attr: inside_attr(&node, ino, self.owner),
            parent: at.parent,
            owner: self.owner,
            watch: self.watch.clone(),
            snapshot: at.browse.snapshot().id,
            inside,
            content,
            root: Mutex::default(),
            parents: Mutex::new(LruCache::new(FOLDERS_MAX)),
        });
        state.parts.push(new.clone());
        state.numbers.insert(key, index);
        Some(new)
    }
}

/// What people should know about a disk, a line each.
fn notes_of(disk: &Disk) -> String {
    let mut text = String::new();
    for part in &disk.parts {
        part.notes.iter().for_each(|note| text += &format!("{}: {note}\n", part.title()));
    }
    for bad in &disk.unreadable {
        text += &format!("Bytes {} to {} could not be read when the disk was backed up.\n", bad.start, bad.end);
    }
    text
}

/// The part itself as a node, out of what the description has of it.
fn root_node(part: &DiskPart, time: Time) -> fs::Node {
    let root = part.fs.as_ref().map(|fs| (fs.root, fs.root_mtime));
    let (mode, uid, gid) = root.map_or((0o400, 0, 0), |(root, _)| root);
    let size = part.range.end.saturating_sub(part.range.start);
    let kind = if root.is_some() { NodeKind::Folder } else { NodeKind::File };
    fs::Node {
        mode: Some(mode),
        uid: Some(uid),
        gid: Some(gid),
        mtime: Some(root.map_or(time, |(_, mtime)| mtime)),
        ..fs::Node::new(kind, if root.is_some() { 0 } else { size })
    }
}

impl PartFolder {
    fn told<T>(&self, answer: std::result::Result<T, InsideError>) -> Result<T> {
        answer.map_err(|error| match &error {
            InsideError::Repo(error) => self.watch.faults().failed(self.snapshot, || self.name.clone(), error),
            _ => match error.fault() {
                Some(Fault::NotFound) => DriveError::NotFound,
                Some(Fault::NotAFolder) => DriveError::NotAFolder,
                Some(Fault::WrongKind) => DriveError::Invalid,
                Some(Fault::Encrypted) => DriveError::NoKey,
                _ => {
                    self.note(chain(&error));
                    DriveError::Io
                }
            },
        })
    }

    /// Takes note of a fault somewhere in it.
    pub(super) fn note(&self, reason: String) {
        self.watch.faults().note(self.snapshot, self.name.clone(), reason);
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The folder or file that stands for the whole part.
    pub(super) fn top(&self) -> Attr {
        self.attr
    }

    fn ino(&self, node: NodeId) -> Ino {
        let is_root = *self.root.lock().unwrap_or_else(PoisonError::into_inner) == Some(node);
        if is_root { self.attr.ino } else { PART_MARK << MARK_SHIFT | self.index << NODE_BITS | node }
    }

    fn attr_of(&self, id: NodeId, node: &fs::Node) -> Attr {
        let ino = self.ino(id);
        if ino == self.attr.ino { self.attr } else { inside_attr(node, ino, self.owner) }
    }

    /// The node's own number.
    async fn own(&self, node: NodeId) -> Result<NodeId> {
        if node != ROOT_ALIAS {
            return Ok(node);
        }
        let known = *self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = known {
            return Ok(root);
        }
        if !matches!(self.content, Top::Folder) {
            return Err(DriveError::NotAFolder);
        }
        let (root, _) = self.told(self.inside.ask(async |reader| reader.about().await).await)?;
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(root);
        Ok(root)
    }

    fn note_parent(&self, node: NodeId, kind: NodeKind, folder: NodeId) {
        if kind == NodeKind::Folder {
            self.parents.lock().unwrap_or_else(PoisonError::into_inner).put(node, folder);
        }
    }

    fn parent_of(&self, folder: NodeId) -> Ino {
        let parent = self.parents.lock().unwrap_or_else(PoisonError::into_inner).get(&folder).copied();
        let is_root = self.ino(folder) == self.attr.ino;
        if is_root { self.parent } else { parent.map_or(self.attr.ino, |parent| self.ino(parent)) }
    }

    /// The number of the top among those of the part.
    pub(super) fn top_node() -> NodeId {
        ROOT_ALIAS
    }

    pub(super) fn attr(self: Arc<Self>, node: NodeId) -> Answer<Attr> {
        if node == ROOT_ALIAS {
            return Answer::Now(Ok(self.attr));
        }
        Answer::later(async move {
            let found = self.told(self.inside.ask(async |reader| reader.node(node).await).await)?;
            Ok(self.attr_of(node, &found))
        })
    }

    pub(super) fn lookup(self: Arc<Self>, folder: NodeId, name: &[u8]) -> Answer<Attr> {
        let name = name.to_vec();
        Answer::later(async move {
            let folder = self.own(folder).await?;
            let (id, node) = self.told(self.inside.ask(async |reader| reader.lookup(folder, &name).await).await)?;
            self.note_parent(id, node.kind, folder);
            Ok(self.attr_of(id, &node))
        })
    }

    pub(super) fn list(self: Arc<Self>, folder: NodeId, cursor: u64, entries_max: usize) -> Answer<Listing> {
        Answer::later(async move {
            let folder = self.own(folder).await?;
            let most = u32::try_from(entries_max).unwrap_or(u32::MAX);
            let (mut entries, mut at) = (Vec::new(), cursor);
            // A part of which no entry can be shown is not the end.
            let end = loop {
                let listed = self.inside.ask(async |reader| reader.list(folder, at, most).await).await;
                let (found, end) = self.told(listed)?;
                let is_file =
                    |listed: &&image::Listed| listed.node.as_ref().is_some_and(|node| node.kind == NodeKind::File);
                self.inside.note_listed(folder, at == 0, found.iter().filter(is_file).map(|listed| listed.entry.node));
                at = found.last().map_or(at, |last| last.entry.cursor);
                for listed in found {
                    // What a driver of the system would not show either.
                    let Some(node) = listed.node.filter(|_| path::check_name(&listed.entry.name).is_ok()) else {
                        continue;
                    };
                    self.note_parent(listed.entry.node, node.kind, folder);
                    let attr = self.attr_of(listed.entry.node, &node);
                    entries.push(Listed { name: listed.entry.name, attr, cursor: listed.entry.cursor });
                }
                if end || !entries.is_empty() {
                    break end;
                }
            };
            Ok(Listing { entries, parent: self.parent_of(folder), end })
        })
    }

    pub(super) fn read(self: Arc<Self>, node: NodeId, offset: u64, len: u32) -> Answer<Bytes> {
        let len = len as usize;
        match &self.content {
            Top::Folder => {}
            Top::Raw(range) => {
                if let Some(read) = self.inside.read_raw_now(range, offset, len) {
                    return Answer::Now(self.told(read));
                }
                let range = range.clone();
                return Answer::later(async move { self.told(self.inside.read_raw(&range, offset, len).await) });
            }
            Top::Notes(text) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                return Answer::Now(Ok(text.slice(start..start.saturating_add(len).min(text.len()))));
            }
        }
        if node == ROOT_ALIAS {
            return refuse(DriveError::IsAFolder);
        }
        if let Some(read) = self.inside.read_now(node, offset, len) {
            return Answer::Now(self.told(read));
        }
        Answer::later(async move { self.told(self.inside.read(node, offset, len).await) })
    }

    pub(super) fn read_link(self: Arc<Self>, node: NodeId) -> Answer<Bytes> {
        Answer::later(async move {
            let node = self.own(node).await?;
            self.told(self.inside.ask(async |reader| reader.link(node).await).await).map(Bytes::from)
        })
    }

    pub(super) fn xattr(self: Arc<Self>, node: NodeId, name: &[u8]) -> Answer<Bytes> {
        let name = name.to_vec();
        Answer::later(async move {
            let found = self.xattrs(node).await?.into_iter().find(|xattr| xattr.name == name);
            found.map(|xattr| xattr.value.into()).ok_or(DriveError::NoAttribute)
        })
    }

    pub(super) fn xattr_names(self: Arc<Self>, node: NodeId) -> Answer<Vec<Vec<u8>>> {
        Answer::later(async move { Ok(self.xattrs(node).await?.into_iter().map(|xattr| xattr.name).collect()) })
    }

    async fn xattrs(&self, node: NodeId) -> Result<Vec<crate::meta::Xattr>> {
        if !matches!(self.content, Top::Folder) {
            return Ok(Vec::new());
        }
        let node = self.own(node).await?;
        self.told(self.inside.ask(async |reader| reader.xattrs(node).await).await)
    }

    pub(super) fn seek(self: Arc<Self>, node: NodeId, offset: u64, what: Seek) -> Answer<u64> {
        if !matches!(self.content, Top::Folder) {
            // One run of data, holes unseen.
            let len = self.attr.size;
            let found = if what == Seek::Data { offset } else { len };
            return Answer::Now(if offset < len { Ok(found) } else { Err(DriveError::BeyondEnd) });
        }
        Answer::later(async move {
            let found = self.told(self.inside.seek(node, offset, what == Seek::Data).await)?;
            found.ok_or(DriveError::BeyondEnd)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_parts_are_told_from_others() {
        assert_eq!(index_of(PART_MARK << MARK_SHIFT | 5 << NODE_BITS | 17), Some(5));
        // The root, a node of a snapshot, the file with the drive's name, and two files with several names.
        for other in [1, 7 << 40 | 3, 1 << 61, 1 << 63, 0b11 << 62] {
            assert_eq!(index_of(other), None);
        }
    }
}
