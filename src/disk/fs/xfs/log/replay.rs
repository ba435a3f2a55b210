//! What the log changes, put over what is on the disk: as the driver would do it when it mounts.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 10 "Journaling Log": buffer, inode and intent items.
//!
//! Everything from the tail on is done again in order; what was done before its blocks were freed for something else
//! is left out, as the log tells with a "cancel". Blocks of inodes are logged for the list of nameless inodes only, and
//! new inodes are logged by themselves too: neither matters here. Intents that were not carried out leave the extents of
//! a file in between: that file is not read.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::NodeId;
use crate::disk::fs::xfs::log::inode_item::InodeItem;
use crate::disk::fs::xfs::log::transaction::Item;
use crate::disk::fs::xfs::overlay::Overlay;
use crate::disk::fs::xfs::overlay::SECTOR_BYTES;
use crate::disk::fs::xfs::volume::Volume;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Kinds of items.
const INODE: u16 = 0x123b;
const BUFFER: u16 = 0x123c;
/// Frees, allocations of inodes, quotas, reverse mappings, reference counts: nothing that is shown.
const INVISIBLE: [u16; 10] = [0x1236, 0x1237, 0x1238, 0x123d, 0x123e, 0x123f, 0x1240, 0x1241, 0x1242, 0x1243];
/// The same of real-time devices.
const INVISIBLE_REALTIME: [u16; 6] = [0x124a, 0x124b, 0x124c, 0x124d, 0x124e, 0x124f];
/// Changes of mappings, of attributes, exchanges of mappings: intended, and what of it was done.
const MAPPING: [u16; 2] = [0x1244, 0x1245];
const ATTRIBUTE: [u16; 2] = [0x1246, 0x1247];
const EXCHANGE: [u16; 2] = [0x1248, 0x1249];

/// Flags of a buffer.
const FLAG_INODES: u16 = 0x01;
const FLAG_CANCEL: u16 = 0x02;
const FLAG_QUOTA: u16 = 0x1c;
/// A bit of a buffer's map stands for so many bytes.
const CHUNK_BYTES: usize = 128;
/// Longest buffer, in sectors: 64 KiB of inodes or of a folder.
const BUFFER_SECTORS_MAX: u16 = 128;

/// Sectors of a buffer: first and number.
type Buffer = (u64, u32);

/// What both passes over the log find.
#[derive(Default)]
pub(super) struct Replay {
    cancelled: BTreeMap<Buffer, u32>,
    overlay: Overlay,
    /// Intents that were not carried out yet, and whose mappings they change.
    intents: BTreeMap<u64, Vec<NodeId>>,
}

/// A buffer item.
struct BufferItem<'a> {
    item: &'a Item,
    flags: u16,
    buffer: Buffer,
    map: Fields<'a>,
}

impl<'a> BufferItem<'a> {
    fn parse(item: &'a Item) -> Result<BufferItem<'a>> {
        let format = item.region(0)?;
        let words = format.u32(16)? as usize;
        let map = format.part(20, words.saturating_mul(4), "XFS log buffer")?;
        Ok(BufferItem { item, flags: format.u16(4)?, buffer: (format.u64(8)?, u32::from(format.u16(6)?)), map })
    }

    fn has(&self, chunk: usize) -> bool {
        self.map.u8(chunk / 8).is_ok_and(|byte| byte >> (chunk % 8) & 1 == 1)
    }

    /// Copies each region over the chunks it is of.
    fn apply(&self, bytes: &mut [u8]) -> Result<()> {
        let (mut chunk, mut region, chunks) = (0, 1, self.map.len() * 8);
        while chunk < chunks {
            if !self.has(chunk) {
                chunk += 1;
                continue;
            }
            let source = self.item.region(region)?;
            // A run of chunks may be in several regions.
            let run = (chunk..chunks).take_while(|chunk| self.has(*chunk)).count();
            let run = run.min(source.len() / CHUNK_BYTES);
            let room = bytes.get_mut(chunk * CHUNK_BYTES..(chunk + run) * CHUNK_BYTES);
            let (Some(room), true) = (room, run > 0) else {
                return Err(source.damaged("a region does not fit"));
            };
            room.copy_from_slice(source.bytes(0, run * CHUNK_BYTES)?);
            chunk += run;
            region += 1;
        }
        Ok(())
    }
}

fn kind(item: &Item) -> Result<u16> {
    item.region(0)?.u16(0)
}

impl Replay {
    /// First pass: what was cancelled, how often.
    pub(super) fn note_cancelled(&mut self, items: &[Item]) -> Result<()> {
        for item in items {
            if kind(item)? == BUFFER {
                let buffer = BufferItem::parse(item)?;
                if buffer.flags & FLAG_CANCEL != 0 {
                    *self.cancelled.entry(buffer.buffer).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// Second pass: the changes of a transaction, buffers first.
    pub(super) fn apply(&mut self, volume: &Volume, items: &[Item]) -> Result<()> {
        for item in items {
            if kind(item)? == BUFFER {
                self.buffer(volume, &BufferItem::parse(item)?)?;
            }
        }
        for item in items {
            match kind(item)? {
                INODE => self.inode(volume, &InodeItem::parse(item)?)?,
                BUFFER => {}
                kind if INVISIBLE.contains(&kind) || INVISIBLE_REALTIME.contains(&kind) => {}
                kind => self.intent(kind, item)?,
            }
        }
        for item in items {
            if kind(item)? == BUFFER {
                self.cancel(&BufferItem::parse(item)?);
            }
        }
        Ok(())
    }

    fn is_cancelled(&self, buffer: Buffer) -> bool {
        self.cancelled.contains_key(&buffer)
    }

    /// One of the cancels is behind us.
    fn cancel(&mut self, item: &BufferItem<'_>) {
        if item.flags & FLAG_CANCEL == 0 {
            return;
        }
        if let Some(count) = self.cancelled.get_mut(&item.buffer) {
            *count -= 1;
            if *count == 0 {
                self.cancelled.remove(&item.buffer);
            }
        }
    }

    /// Bytes of whole sectors, as changed so far.
    fn current(&self, volume: &Volume, at: u64, len: u32) -> Result<Vec<u8>> {
        if at.checked_add(u64::from(len)).is_none_or(|end| end > volume.source_len()) {
            return Err(Error::damaged("XFS log item", at, "it leads outside"));
        }
        let (mut bytes, _) = volume.read(at, len)?;
        self.overlay.apply(at, &mut bytes);
        Ok(bytes)
    }

    fn set(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        match self.overlay.set(at, bytes) {
            true => Ok(()),
            false => Err(Error::unsupported("XFS log with changes of more than 32 MiB")),
        }
    }

    fn buffer(&mut self, volume: &Volume, item: &BufferItem<'_>) -> Result<()> {
        let is_shown = item.flags & (FLAG_INODES | FLAG_CANCEL | FLAG_QUOTA) == 0;
        if !is_shown || self.is_cancelled(item.buffer) {
            return Ok(());
        }
        let (sector, sectors) = item.buffer;
        if sectors > u32::from(BUFFER_SECTORS_MAX) {
            return Err(Error::damaged("XFS log buffer", 0, "it is too long"));
        }
        let at = sector.saturating_mul(SECTOR_BYTES as u64);
        let mut bytes = self.current(volume, at, sectors * SECTOR_BYTES as u32)?;
        item.apply(&mut bytes)?;
        self.set(at, &bytes)
    }

    fn inode(&mut self, volume: &Volume, item: &InodeItem<'_>) -> Result<()> {
        if self.is_cancelled(item.buffer) {
            return Ok(());
        }
        // Inodes of 256 bytes share a sector.
        let inode_bytes = volume.superblock.inode_bytes as usize;
        let start = item.at - item.at % SECTOR_BYTES as u64;
        let within = (item.at - start) as usize;
        let mut bytes = self.current(volume, start, inode_bytes.max(SECTOR_BYTES) as u32)?;
        let inode = bytes.get_mut(within..within + inode_bytes);
        item.apply(&volume.superblock, inode.ok_or(Error::damaged("XFS log inode", item.at, "it lies askew"))?)?;
        self.set(start, &bytes)
    }

    /// Intents are kept until they are done.
    fn intent(&mut self, kind: u16, item: &Item) -> Result<()> {
        let format = item.region(0)?;
        let id = format.u64(8)?;
        let nodes = match kind {
            kind if kind == MAPPING[0] => {
                let count = (format.len().saturating_sub(16)) / 32;
                (0..count).map(|n| format.u64(16 + n * 32)).collect::<Result<Vec<_>>>()?
            }
            kind if kind == ATTRIBUTE[0] => vec![format.u64(16)?],
            kind if kind == EXCHANGE[0] => vec![format.u64(16)?, format.u64(24)?],
            kind if [MAPPING[1], ATTRIBUTE[1], EXCHANGE[1]].contains(&kind) => {
                self.intents.remove(&id);
                return Ok(());
            }
            _ => return Err(Error::unsupported(format!("XFS log item {kind:#x}"))),
        };
        self.intents.insert(id, nodes);
        Ok(())
    }

    /// The changes, and the inodes that are in between.
    pub(super) fn finish(self) -> (Overlay, BTreeSet<NodeId>) {
        (self.overlay, self.intents.into_values().flatten().collect())
    }
}
