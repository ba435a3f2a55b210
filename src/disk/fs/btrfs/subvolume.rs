//! Subvolumes: which there are, where their trees begin, and which of them is shown.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::NODE_ID_END;
use crate::disk::fs::NodeId;
use crate::disk::fs::btrfs::checksum::name_hash;
use crate::disk::fs::btrfs::directory;
use crate::disk::fs::btrfs::key;
use crate::disk::fs::btrfs::key::Key;
use crate::disk::fs::btrfs::node::LEVEL_END;
use crate::disk::fs::btrfs::node::Pointer;
use crate::disk::fs::btrfs::tree;
use crate::disk::fs::btrfs::tree::Cursor;
use crate::disk::fs::btrfs::volume::Volume;
use lru::LruCache;
use std::num::NonZeroUsize;

/// Inode of the root folder of every subvolume.
pub(super) const ROOT_INODE: u64 = key::FIRST_FREE;
/// Inode that stands for a subvolume that is not there, as in Linux.
pub(super) const PLACEHOLDER: u64 = 2;
const COUNT_MAX: usize = 1 << 18;
const ROOTS_KEPT: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");
const WHAT: &str = "Btrfs root item";

/// All subvolumes. A node is numbered by the place of its subvolume here and its inode.
pub(super) struct Subvolumes {
    /// Numbers of their trees, in order.
    ids: Vec<u64>,
    /// Bits of a node number that are the inode.
    inode_bits: u32,
    roots: LruCache<u64, Pointer>,
}

impl Subvolumes {
    /// Those of the root tree.
    pub(super) fn read(volume: &mut Volume) -> Result<Subvolumes> {
        let mut ids = Vec::new();
        let mut from = Key::new(key::FS_TREE, key::ROOT_ITEM, 0);
        loop {
            let cursor = Cursor::seek(volume, volume.superblock.root, &from)?;
            let Some(item) = cursor.item()?.filter(|item| item.key.objectid <= key::LAST_FREE) else { break };
            let id = item.key.objectid;
            if item.key.kind < key::ROOT_ITEM {
                from = Key::new(id, key::ROOT_ITEM, 0);
                continue;
            }
            if item.key.kind == key::ROOT_ITEM && is_whole(&item.fields(WHAT)?)? {
                ids.push(id);
            }
            if ids.len() > COUNT_MAX {
                return Err(Error::unsupported(format!("a Btrfs of more than {COUNT_MAX} subvolumes")));
            }
            from = Key::new(id.saturating_add(1).max(key::FIRST_FREE), 0, 0);
        }
        let count_bits = usize::BITS - ids.len().saturating_sub(1).leading_zeros();
        let inode_bits = NODE_ID_END.ilog2().saturating_sub(count_bits);
        Ok(Subvolumes { ids, inode_bits, roots: LruCache::new(ROOTS_KEPT) })
    }

    /// Number of a node.
    pub(super) fn node_id(&self, subvolume: u64, inode: u64) -> Result<NodeId> {
        let index = self.ids.binary_search(&subvolume).map_err(|_| Error::NotFound)?;
        if inode >> self.inode_bits != 0 {
            return Err(Error::unsupported(format!("Btrfs inode {inode} among {} subvolumes", self.ids.len())));
        }
        Ok((index as u64) << self.inode_bits | inode)
    }

    /// Subvolume and inode of a node.
    pub(super) fn split(&self, node: NodeId) -> Result<(u64, u64)> {
        let index = usize::try_from(node >> self.inode_bits).unwrap_or(usize::MAX);
        let id = self.ids.get(index).ok_or(Error::NotFound)?;
        Ok((*id, node & !(u64::MAX << self.inode_bits)))
    }

    /// Root of the tree of a subvolume.
    pub(super) fn root(&mut self, volume: &mut Volume, id: u64) -> Result<Pointer> {
        if let Some(root) = self.roots.get(&id) {
            return Ok(*root);
        }
        let root = tree_root(volume, id)?;
        self.roots.put(id, root);
        Ok(root)
    }

    /// The node an entry in a folder leads to if it names a subvolume. That is true only in the subvolume it was made
    /// in, and not in snapshots of that.
    pub(super) fn entered(
        &self,
        volume: &mut Volume,
        folder: (u64, u64),
        entry: &directory::DirItem<'_>,
    ) -> Result<NodeId> {
        let (parent, inode) = folder;
        let child = entry.location.objectid;
        let key = Key::new(parent, key::ROOT_REF, child);
        let item = tree::find(volume, volume.superblock.root, &key)?;
        let is_child = match &item {
            Some(item) => is_reference(&item.fields("Btrfs root reference")?, inode, entry.name)?,
            None => false,
        };
        if is_child && self.ids.binary_search(&child).is_ok() {
            return self.node_id(child, ROOT_INODE);
        }
        self.node_id(parent, PLACEHOLDER)
    }

    /// Numbers of all, the one that is shown first.
    pub(super) fn ids_from(&self, shown: u64) -> Vec<u64> {
        let others = self.ids.iter().copied().filter(|id| *id != shown);
        std::iter::once(shown).chain(others).collect()
    }
}

/// Whether the subvolume of a `btrfs_root_item` is not one that is being deleted: that has no references any more, and
/// part of its tree is gone.
fn is_whole(fields: &Fields<'_>) -> Result<bool> {
    Ok(fields.u32(216)? != 0)
}

/// `btrfs_root_ref`: whether it is of this name in this folder.
fn is_reference(fields: &Fields<'_>, folder: u64, name: &[u8]) -> Result<bool> {
    let name_len = usize::from(fields.u16(16)?);
    Ok(fields.u64(0)? == folder && fields.bytes(18, name_len)? == name)
}

/// Root of a tree that the root tree names: `btrfs_root_item`.
pub(super) fn tree_root(volume: &mut Volume, id: u64) -> Result<Pointer> {
    let newest = Key::new(id, key::ROOT_ITEM, u64::MAX);
    let item = Cursor::near(volume, volume.superblock.root, &newest)?.item()?;
    let item = item.filter(|item| item.key.is(id, key::ROOT_ITEM)).ok_or(Error::NotFound)?;
    let fields = item.fields(WHAT)?;
    let level = fields.u8(238)?;
    if level >= LEVEL_END {
        return Err(fields.damaged("its level is too high"));
    }
    Ok(Pointer::to_root(fields.u64(176)?, fields.u64(160)?, level))
}

/// The subvolume that is shown if nobody asks for another one.
pub(super) fn default(volume: &mut Volume) -> Result<u64> {
    const NAME: &[u8] = b"default";
    let key = Key::new(volume.superblock.root_dir, key::DIR_ITEM, name_hash(NAME));
    let Some(item) = tree::find(volume, volume.superblock.root, &key)? else { return Ok(key::FS_TREE) };
    let entries = directory::entries(&item.fields("Btrfs directory entry")?)?;
    let entry = entries.iter().find(|entry| entry.name == NAME);
    Ok(entry.map_or(key::FS_TREE, |entry| entry.location.objectid))
}
