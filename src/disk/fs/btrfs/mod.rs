//! Btrfs, on one device.
//!
//! Format: "On-disk Format" of the Btrfs documentation (btrfs.readthedocs.io, dev/On-disk-format) and the structures in
//! `include/uapi/linux/btrfs_tree.h` of Linux.
//!
//! ```text
//! superblock ── chunk tree: logical addresses to bytes of devices
//!            └─ root tree ─┬─ a tree for each subvolume: inodes, names, attributes, extents of files
//!                          ├─ extent tree: what is allocated
//!                          └─ checksum tree
//! ```
//! What is shown is what a plain mount shows: the default subvolume, and the subvolumes in it; [`open_whole`] shows what
//! `mount -o subvolid=5` does. All nodes are compared with their checksums, and so is all data that is unpacked here; a
//! copy takes the place of what is damaged.
//!
//! A log tree, what `fsync` saved since the last transaction, is not replayed, and is told of.

mod allocation;
mod checksum;
mod chunk;
mod compression;
mod content;
mod directory;
mod file_extent;
mod inode;
mod key;
mod node;
mod subvolume;
mod superblock;
#[cfg(test)]
mod tests;
mod tree;
mod volume;

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::About;
use crate::disk::fs::Entry;
use crate::disk::fs::FileSystem;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::disk::fs::Source;
use crate::disk::fs::btrfs::checksum::name_hash;
use crate::disk::fs::btrfs::content::Content;
use crate::disk::fs::btrfs::directory::DirItem;
use crate::disk::fs::btrfs::inode::Inode;
use crate::disk::fs::btrfs::key::Key;
use crate::disk::fs::btrfs::node::Pointer;
use crate::disk::fs::btrfs::subvolume::PLACEHOLDER;
use crate::disk::fs::btrfs::subvolume::ROOT_INODE;
use crate::disk::fs::btrfs::subvolume::Subvolumes;
use crate::disk::fs::btrfs::tree::Cursor;
use crate::disk::fs::btrfs::volume::Volume;
use crate::meta::Xattr;
use std::ops::Range;

/// Longest target of a symbolic link that is believed.
const TARGET_BYTES_MAX: u64 = 64 << 10;
const ENTRY: &str = "Btrfs directory entry";

/// Whether a source begins as a Btrfs does.
pub fn is_btrfs(source: &Source) -> Result<bool> {
    superblock::is_there(source)
}

/// The Btrfs on a source, from its default subvolume on.
pub fn open(source: &Source) -> Result<Box<dyn FileSystem>> {
    let mut volume = Volume::open(source)?;
    let shown = subvolume::default(&mut volume)?;
    open_at(volume, shown)
}

/// The Btrfs on a source, from its top level on: with all subvolumes.
pub fn open_whole(source: &Source) -> Result<Box<dyn FileSystem>> {
    open_at(Volume::open(source)?, key::FS_TREE)
}

fn open_at(mut volume: Volume, shown: u64) -> Result<Box<dyn FileSystem>> {
    let mut subvolumes = Subvolumes::read(&mut volume)?;
    let root = subvolumes.node_id(shown, ROOT_INODE)?;
    subvolumes.root(&mut volume, shown)?;
    Ok(Box::new(Btrfs { volume, subvolumes, shown, root, content: Content::new() }))
}

struct Btrfs {
    volume: Volume,
    subvolumes: Subvolumes,
    /// The subvolume of the root.
    shown: u64,
    root: NodeId,
    content: Content,
}

/// Where a node is.
struct Place {
    /// Subvolume and inode.
    number: (u64, u64),
    /// Root of the tree of the subvolume.
    root: Pointer,
}

impl Btrfs {
    fn place(&mut self, id: NodeId) -> Result<Place> {
        let number = self.subvolumes.split(id)?;
        Ok(Place { number, root: self.subvolumes.root(&mut self.volume, number.0)? })
    }

    fn inode(&mut self, place: &Place) -> Result<Inode> {
        let key = Key::new(place.number.1, key::INODE_ITEM, 0);
        let item = tree::find(&mut self.volume, place.root, &key)?.ok_or(Error::NotFound)?;
        Inode::read(&item.fields("Btrfs inode")?)
    }

    /// The place of a folder; `None` if it is empty because it stands for a subvolume that is not there.
    fn folder(&mut self, id: NodeId) -> Result<Option<Place>> {
        let place = self.place(id)?;
        if place.number.1 == PLACEHOLDER {
            return Ok(None);
        }
        if self.inode(&place)?.kind != NodeKind::Folder {
            return Err(Error::NotAFolder);
        }
        Ok(Some(place))
    }

    /// The node an entry leads to.
    fn entered(&mut self, place: &Place, entry: &DirItem<'_>) -> Result<NodeId> {
        match entry.location.kind {
            key::INODE_ITEM if entry.location.objectid >= key::FIRST_FREE => {
                self.subvolumes.node_id(place.number.0, entry.location.objectid)
            }
            key::ROOT_ITEM => self.subvolumes.entered(&mut self.volume, place.number, entry),
            _ => Err(Error::damaged(ENTRY, 0, "it names neither a file nor a subvolume")),
        }
    }

    fn map_inode(&mut self, place: &Place, inode: &Inode, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let (size, is_unsummed) = (inode.size, inode.is_unsummed);
        let file = content::File { root: place.root, inode: place.number.1, size, is_unsummed };
        self.content.map(&mut self.volume, &file, range, runs)
    }
}

impl FileSystem for Btrfs {
    fn about(&self) -> About {
        let superblock = &self.volume.superblock;
        let mut notes = Vec::new();
        if superblock.has_log {
            notes.push("The log tree was not replayed: what fsync saved last is missing.".to_owned());
        }
        if superblock.device_count > 1 {
            let count = superblock.device_count;
            notes.push(format!("This is one of {count} devices: what lies only on the others cannot be read."));
        }
        if superblock.device_bytes > self.volume.source_bytes() {
            notes.push("The disk ends before the file system does.".to_owned());
        }
        About {
            kind: "Btrfs".to_owned(),
            label: String::from_utf8_lossy(&superblock.label).into_owned(),
            uuid: uuid(&superblock.fsid),
            bytes: superblock.device_bytes,
            used_bytes: Some(superblock.bytes_used),
            is_partial: self.shown != key::FS_TREE,
            notes,
        }
    }

    fn root(&self) -> NodeId {
        self.root
    }

    fn node(&mut self, id: NodeId) -> Result<Node> {
        let place = self.place(id)?;
        if place.number.1 == PLACEHOLDER {
            return Ok(inode::placeholder());
        }
        Ok(self.inode(&place)?.node())
    }

    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        let (Some(place), Some(next)) = (self.folder(folder)?, cursor.checked_add(1)) else { return Ok(()) };
        let inode = place.number.1;
        let mut items = Cursor::seek(&mut self.volume, place.root, &Key::new(inode, key::DIR_INDEX, next))?;
        while let Some(item) = items.take(&mut self.volume, inode, key::DIR_INDEX)? {
            let fields = item.fields(ENTRY)?;
            let entries = directory::entries(&fields)?;
            let [entry] = entries.as_slice() else { return Err(fields.damaged("it is not one")) };
            if !directory::is_name(entry.name) {
                return Err(fields.damaged("its name is impossible"));
            }
            let node = self.entered(&place, entry)?;
            if !take(Entry { name: entry.name.to_vec(), node, cursor: item.key.offset }) {
                break;
            }
        }
        Ok(())
    }

    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        let place = self.folder(folder)?.ok_or(Error::NotFound)?;
        if !directory::is_name(name) {
            return Err(Error::NotFound);
        }
        let key = Key::new(place.number.1, key::DIR_ITEM, name_hash(name));
        let item = tree::find(&mut self.volume, place.root, &key)?.ok_or(Error::NotFound)?;
        let entries = directory::entries(&item.fields(ENTRY)?)?;
        let entry = entries.iter().find(|entry| entry.name == name).ok_or(Error::NotFound)?;
        self.entered(&place, entry)
    }

    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let place = self.place(file)?;
        let inode = self.inode(&place)?;
        if inode.kind != NodeKind::File {
            return Err(Error::WrongKind);
        }
        self.map_inode(&place, &inode, range, runs)
    }

    fn link(&mut self, node: NodeId) -> Result<Vec<u8>> {
        let place = self.place(node)?;
        let inode = self.inode(&place)?;
        if inode.kind != NodeKind::Symlink {
            return Err(Error::WrongKind);
        }
        if inode.size > TARGET_BYTES_MAX {
            return Err(Error::damaged("Btrfs symbolic link", 0, "its target is too long"));
        }
        let mut runs = Vec::new();
        self.map_inode(&place, &inode, 0..inode.size, &mut runs)?;
        self.volume.read_runs(&runs)
    }

    fn xattrs(&mut self, node: NodeId) -> Result<Vec<Xattr>> {
        let place = self.place(node)?;
        let inode = place.number.1;
        let mut found = Vec::new();
        let mut items = Cursor::seek(&mut self.volume, place.root, &Key::new(inode, key::XATTR_ITEM, 0))?;
        while let Some(item) = items.take(&mut self.volume, inode, key::XATTR_ITEM)? {
            let entries = directory::entries(&item.fields("Btrfs attribute")?)?;
            found.extend(entries.iter().map(|e| Xattr { name: e.name.to_vec(), value: e.data.to_vec() }));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        allocation::used(&mut self.volume)
    }

    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        let ids = self.subvolumes.ids_from(self.shown);
        allocation::metadata(&mut self.volume, &ids, take)
    }
}

fn uuid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (mut rest, mut parts) = (hex.as_str(), Vec::new());
    for len in [8, 4, 4, 4] {
        let (part, behind) = rest.split_at(len);
        parts.push(part);
        rest = behind;
    }
    parts.push(rest);
    parts.join("-")
}
