//! XFS, versions 4 and 5, as mkfs.xfs of xfsprogs makes them.
//!
//! Source of the format: kernel.org, "XFS Algorithms & Data Structures", 3rd edition; for what came after it the
//! features' descriptions in the kernel's documentation (`filesystems/xfs`) and in `mkfs.xfs(8)`.
//!
//! Everything is big-endian, but checksums are not. Numbers of blocks and inodes have the allocation group in their
//! upper bits. In version 5 each structure of metadata has a checksum and says whose it is and where; all that is read
//! is held to that. Real-time files and metadata directories are not understood, and say so.

mod attr;
mod block;
mod crc32c;
mod dir;
mod extent;
mod group;
mod hash;
mod inode;
mod log;
mod overlay;
mod short_tree;
mod space;
mod superblock;
mod symlink;
#[cfg(test)]
mod tests;
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
use crate::meta::Xattr;
use inode::Inode;
use inode::Which;
use log::Log;
use log::State;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use superblock::Superblock;
use volume::Volume;

/// As many bytes as the largest sector has.
const SECTOR_BYTES_MAX: u64 = 32 << 10;

/// Whether a source begins as an XFS does.
pub fn is_xfs(source: &Source) -> Result<bool> {
    if source.len() < 512 {
        return Ok(false);
    }
    let mut magic = [0; 4];
    source.read_at(0, &mut magic)?;
    Ok(magic == *superblock::MAGIC)
}

/// Opens the XFS on a source.
pub fn open(source: &Source) -> Result<Box<dyn FileSystem>> {
    let mut sector = vec![0; source.len().min(SECTOR_BYTES_MAX) as usize];
    source.read_at(0, &mut sector)?;
    let superblock = Superblock::parse(&sector, true)?;
    if superblock.byte_of_inode(superblock.root).is_none() {
        return Err(Error::damaged("XFS superblock", 0, "its root lies outside"));
    }
    let volume = Volume::new(source.clone(), superblock);
    let Log { state, overlay, unsettled, places } = Log::read(&volume)?;
    let volume = if overlay.is_empty() { volume } else { volume.with_overlay(overlay)? };
    Ok(Box::new(Xfs { volume, log: state, unsettled, log_places: places }))
}

struct Xfs {
    volume: Volume,
    log: State,
    /// Inodes that were being changed when all stopped, in several steps of which some are missing.
    unsettled: BTreeSet<NodeId>,
    log_places: Vec<Range<u64>>,
}

impl Xfs {
    fn notes(&self) -> Vec<String> {
        let of_log = match self.log {
            State::Clean => None,
            State::Replayed => Some("It was not unmounted: the newest changes are shown as its log tells them."),
            State::Dirty => Some("It was not unmounted, and its log cannot be read: the newest changes are missing."),
            State::External => Some("Its log is on another device: the newest changes may not be shown."),
        };
        let repair = self.volume.superblock.needs_repair;
        let of_repair = repair.then_some("A repair or an upgrade of it was interrupted.");
        of_log.into_iter().chain(of_repair).map(str::to_owned).collect()
    }

    /// An inode of which all is known.
    fn settled(&self, id: NodeId) -> Result<Arc<Inode>> {
        if self.unsettled.contains(&id) {
            return Err(Error::unsupported("XFS file whose mappings or attributes were being changed"));
        }
        self.volume.inode(id)
    }

    fn is_clean(&self) -> bool {
        self.log == State::Clean && !self.volume.superblock.needs_repair
    }
}

impl FileSystem for Xfs {
    fn about(&self) -> About {
        let superblock = &self.volume.superblock;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = superblock.uuid;
        let uuid = format!(
            "{a:02x}{b:02x}{c:02x}{d:02x}-{e:02x}{f:02x}-{g:02x}{h:02x}-{i:02x}{j:02x}-{k:02x}{l:02x}{m:02x}{n:02x}{o:02x}{p:02x}"
        );
        let used_blocks = superblock.blocks.checked_sub(superblock.free_blocks);
        About {
            kind: "XFS".to_owned(),
            label: superblock.label.clone(),
            uuid,
            bytes: superblock.bytes(),
            used_bytes: used_blocks.filter(|_| self.is_clean()).map(|used| used << superblock.block_log),
            notes: self.notes(),
            ..About::default()
        }
    }

    fn root(&self) -> NodeId {
        self.volume.superblock.root
    }

    fn node(&mut self, id: NodeId) -> Result<Node> {
        self.volume.inode(id)?.node()
    }

    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        dir::list(&self.volume, &*self.volume.inode(folder)?, cursor, take)
    }

    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        dir::lookup(&self.volume, &*self.volume.inode(folder)?, name)
    }

    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let inode = self.settled(file)?;
        if inode.kind != NodeKind::File {
            return Err(Error::WrongKind);
        }
        if inode.is_realtime {
            return Err(Error::unsupported("XFS real-time file"));
        }
        let (mut at, end) = (range.start, range.end.min(inode.size));
        let log = self.volume.superblock.block_log;
        if at >= end {
            return Ok(());
        }
        extent::extents(&self.volume, &inode, Which::Data, at >> log, &mut |extent| {
            // Extents end below 2^55 blocks of 2^16 bytes: what is above the largest file is as good as its end.
            let bytes_of = |blocks: u64| blocks.saturating_mul(1 << log).min(end);
            let (start, stop) = (bytes_of(extent.offset).max(at), bytes_of(extent.end()));
            Run::Zero { len: start - at }.push(runs);
            let len = stop.saturating_sub(start);
            at = start + len;
            match extent.is_unwritten {
                true => Run::Zero { len }.push(runs),
                // Not below its first byte, as `start` is not above `stop` unless `len` is 0.
                false => {
                    let within = start.saturating_sub(extent.offset.saturating_mul(1 << log));
                    Run::Below { offset: extent.at + within, len }.push(runs);
                }
            }
            Ok(at < end)
        })?;
        Run::Zero { len: end - at }.push(runs);
        Ok(())
    }

    fn link(&mut self, node: NodeId) -> Result<Vec<u8>> {
        symlink::target(&self.volume, &*self.volume.inode(node)?)
    }

    fn xattrs(&mut self, node: NodeId) -> Result<Vec<Xattr>> {
        attr::xattrs(&self.volume, &*self.settled(node)?)
    }

    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        let is_known = self.is_clean() && !self.volume.superblock.has_unknown_space;
        if is_known { space::used(&self.volume) } else { Ok(None) }
    }

    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        for place in &self.log_places {
            if !take(place.clone()) {
                return Ok(());
            }
        }
        space::metadata(&self.volume, take)
    }
}
