//! ext2, ext3 and ext4.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms" (Documentation/filesystems/ext4).
//!
//! What has a checksum is believed only if it fits. A journal that was not put in place is laid over the blocks in
//! memory; if that cannot be done, the volume is shown as it lies there, and says so.

mod acl;
mod blocks;
mod crc;
mod extents;
mod feature;
mod folder;
mod group;
mod hash;
mod index;
mod indirect;
mod inline;
mod inode;
mod journal;
mod metadata;
mod names;
mod nokey;
mod space;
mod superblock;
#[cfg(test)]
mod tests;
mod volume;
mod xattr;

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
use crate::disk::fs::ext::feature::compat;
use crate::disk::fs::ext::feature::incompat;
use crate::disk::fs::ext::folder::Stored;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::journal::Journal;
use crate::disk::fs::ext::names::Names;
use crate::disk::fs::ext::superblock::Superblock;
use crate::disk::fs::ext::volume::Volume;
use crate::meta::Xattr;
use std::ops::ControlFlow;
use std::ops::Range;
use std::sync::Arc;

const ROOT: u32 = 2;
/// Longest target of a link.
const LINK_BYTES_MAX: u64 = 4096;
/// Blocks of a folder that are looked through without keeping where its names are.
const SCANNED_BLOCKS: u64 = 4;

/// Whether a file system of the family is on the source.
pub fn is_ext(source: &Source) -> Result<bool> {
    if source.len() < superblock::AT + superblock::BYTES as u64 {
        return Ok(false);
    }
    let mut bytes = [0; superblock::BYTES];
    source.read_at(superblock::AT, &mut bytes)?;
    Ok(Superblock::has_magic(&bytes))
}

/// The file system on the source.
pub fn open(source: Source) -> Result<Box<dyn FileSystem>> {
    let mut volume = Volume::open(source)?;
    let mut notes = Vec::new();
    if volume.superblock().has_incompat(incompat::RECOVER) {
        let played = match Journal::read(&volume) {
            Ok(Some(journal)) => {
                notes.extend_from_slice(journal.notes());
                volume.replay(journal)
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = played {
            notes.push(format!("Its journal was not replayed, so some of it may be old or wrong: {error}."));
        }
    }
    if volume.superblock().bytes() > volume.source().len() {
        notes.push("The disk ends before the file system does.".to_owned());
    }
    let ext = Ext { volume, notes, names: Names::default() };
    if !ext.volume.inode(ROOT)?.is_folder() {
        return Err(Error::damaged("ext4 root", 0, "it is not a folder"));
    }
    Ok(Box::new(ext))
}

struct Ext {
    volume: Volume,
    notes: Vec<String>,
    names: Names,
}

impl Ext {
    /// The inode of a node, if it can have a name.
    fn named(&self, id: NodeId) -> Result<Arc<Inode>> {
        let number = u32::try_from(id).map_err(|_| Error::NotFound)?;
        if number != ROOT && number < self.volume.superblock().first_inode {
            return Err(Error::NotFound);
        }
        let inode = self.volume.inode(number)?;
        inode.check_in_use()?;
        Ok(inode)
    }

    fn folder(&self, id: NodeId) -> Result<Arc<Inode>> {
        let inode = self.named(id)?;
        if inode.is_folder() { Ok(inode) } else { Err(Error::NotAFolder) }
    }

    /// The name of an entry as it is shown.
    fn shown(&self, folder: &Inode, stored: &Stored) -> Vec<u8> {
        if !folder.is_encrypted() {
            return stored.name.to_vec();
        }
        let sb = self.volume.superblock();
        let is_hashed = sb.has_compat(compat::DIR_INDEX) && (folder.is_indexed() || folder.size == sb.block_bytes);
        let computed = || hash::of(stored.name, sb.hash_version, sb.hash_sign, sb.hash_seed).filter(|_| is_hashed);
        nokey::shown(stored.hash.or_else(computed).unwrap_or_default(), stored.name)
    }

    /// The first entry after `cursor` with this name.
    fn search(&self, folder: &Inode, cursor: u64, name: &[u8], is_one: bool) -> Result<Option<u32>> {
        let mut found = None;
        folder::entries(&self.volume, folder, cursor, &mut |stored| {
            if self.shown(folder, &stored) == name {
                found = Some(stored.inode);
            }
            Ok(if found.is_some() || is_one { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    /// Learns where all names of a folder are.
    fn learn(&mut self, folder: &Inode) -> Result<()> {
        let mut names = std::mem::take(&mut self.names);
        names.start(folder.number);
        folder::entries(&self.volume, folder, 0, &mut |stored| {
            names.add(&self.shown(folder, &stored), &stored);
            Ok(ControlFlow::Continue(()))
        })?;
        names.finish();
        self.names = names;
        Ok(())
    }
}

impl FileSystem for Ext {
    fn about(&self) -> About {
        let sb = self.volume.superblock();
        let uuid: String = sb.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts: Vec<&str> = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &uuid[part]).to_vec();
        About {
            kind: sb.kind().to_owned(),
            label: String::from_utf8_lossy(&sb.label).into_owned(),
            uuid: if sb.uuid == [0; 16] { String::new() } else { parts.join("-") },
            bytes: sb.bytes(),
            // While it is mounted, the number in the superblock is old.
            used_bytes: sb
                .is_clean
                .then(|| sb.blocks.checked_sub(sb.free_blocks).map(|blocks| blocks.saturating_mul(sb.block_bytes)))
                .flatten(),
            notes: self.notes.clone(),
            ..About::default()
        }
    }

    fn root(&self) -> NodeId {
        u64::from(ROOT)
    }

    fn node(&mut self, id: NodeId) -> Result<Node> {
        self.named(id)?.node()
    }

    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        let folder = self.folder(folder)?;
        folder::entries(&self.volume, &folder, cursor, &mut |stored| {
            let name = self.shown(&folder, &stored);
            let wants_more = take(Entry { name, node: u64::from(stored.inode), cursor: stored.end });
            Ok(if wants_more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }

    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        let folder = self.folder(folder)?;
        if let Some(found) = index::lookup(&self.volume, &folder, name)? {
            return found.map(u64::from);
        }
        if folder.has_inline_data() || folder::block_count(&self.volume, &folder)? <= SCANNED_BLOCKS {
            return self.search(&folder, 0, name, false)?.map(u64::from).ok_or(Error::NotFound);
        }
        if self.names.find(folder.number, name).is_none() {
            self.learn(&folder)?;
        }
        let Some(ends) = self.names.find(folder.number, name) else {
            // More names than are kept.
            return self.search(&folder, 0, name, false)?.map(u64::from).ok_or(Error::NotFound);
        };
        for end in ends {
            if let Some(inode) = self.search(&folder, end.saturating_sub(1), name, true)? {
                return Ok(u64::from(inode));
            }
        }
        Err(Error::NotFound)
    }

    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let inode = self.named(file)?;
        if inode.kind()? != NodeKind::File {
            return Err(Error::WrongKind);
        }
        let range = range.start..range.end.min(inode.size);
        if range.is_empty() {
            return Ok(());
        }
        if inode.is_encrypted() {
            return Err(Error::Encrypted);
        }
        if inode.has_inline_data() {
            let content = inline::content(&self.volume, &inode)?;
            let place = |at: u64| at.min(content.len() as u64) as usize;
            let part = content.get(place(range.start)..place(range.end)).unwrap_or_default().to_vec();
            let len = (range.end - range.start).saturating_sub(part.len() as u64);
            Run::Bytes(part).push(runs);
            Run::Zero { len }.push(runs);
            return Ok(());
        }
        blocks::runs(&self.volume, &inode, range, runs)
    }

    fn link(&mut self, node: NodeId) -> Result<Vec<u8>> {
        let inode = self.named(node)?;
        if inode.kind()? != NodeKind::Symlink {
            return Err(Error::WrongKind);
        }
        if inode.is_encrypted() {
            return Err(Error::Encrypted);
        }
        if inode.size == 0 || inode.size > LINK_BYTES_MAX.max(self.volume.superblock().block_bytes) {
            return Err(inode.fields().damaged("the target of the link has an impossible length"));
        }
        let target = if inode.has_inline_data() {
            inline::content(&self.volume, &inode)?
        } else if inode.is_fast_symlink(self.volume.superblock()) {
            inode.map()?.bytes(0, inode.size as usize)?.to_vec()
        } else {
            blocks::read(&self.volume, &inode, 0..inode.size)?
        };
        if target.len() as u64 != inode.size || target.contains(&0) {
            return Err(inode.fields().damaged("the target of the link is cut off"));
        }
        Ok(target)
    }

    fn xattrs(&mut self, node: NodeId) -> Result<Vec<Xattr>> {
        xattr::all(&self.volume, &*self.named(node)?)
    }

    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        let bytes = |blocks: Range<u64>| self.volume.byte(blocks.start)..self.volume.byte(blocks.end);
        let Some(blocks) = space::used(&self.volume)? else { return Ok(None) };
        let mut used: Vec<_> = blocks.into_iter().map(bytes).collect();
        // What lies behind the file system is not its to give away.
        used.push(self.volume.superblock().bytes()..self.volume.source().len());
        Ok(Some(space::joined(used)))
    }

    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        metadata::ranges(&self.volume, ROOT, take)
    }
}
