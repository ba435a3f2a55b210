//! ISO 9660 with Rock Ridge or Joliet: the discs of ECMA-119, IEEE P1282 and the Joliet Specification.
//!
//! A file's number is the place of its first record in bytes, a folder's that of its own first record, where also those
//! are found that were moved because they lay too deep. Rock Ridge goes before Joliet, Joliet before plain names, as
//! Linux does it. Of a disc with several sessions the first is read; boot images (El Torito) are not files. Without a
//! map of free space nothing tells what is in use.

mod date;
mod descriptor;
mod extents;
mod folder;
mod name;
mod record;
mod rock_ridge;
mod system_use;
#[cfg(test)]
mod tests;
mod zisofs;

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::About;
use crate::disk::fs::Entry;
use crate::disk::fs::FileSystem;
use crate::disk::fs::NODE_ID_END;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::disk::fs::Source;
use crate::disk::fs::breadth::each_folder;
use crate::disk::fs::name_index::NameIndex;
use crate::disk::fs::wide::is_name;
use crate::disk::read_runs;
use crate::meta::Xattr;
use descriptor::Descriptors;
use descriptor::SECTOR_BYTES;
use descriptor::Volume;
use extents::Extents;
use folder::each_record;
use folder::record_at;
use record::Record;
use rock_ridge::RockRidge;
use std::ops::Range;
use std::sync::Arc;
use system_use::Area;
use zisofs::HEADER_BYTES;
use zisofs::POINTER_BYTES;
use zisofs::Zisofs;

/// True if there are volume descriptors of ISO 9660 or UDF on `source`.
pub(crate) fn is_iso(source: &Source) -> Result<bool> {
    match Descriptors::read(source) {
        Ok(found) => Ok(found.primary.is_some() || found.has_udf),
        Err(error @ Error::Read { .. }) => Err(error),
        Err(_) => Ok(true),
    }
}

/// The disc on `source`.
pub(crate) fn open(source: &Source) -> Result<Box<dyn FileSystem>> {
    let found = Descriptors::read(source)?;
    let Some(primary) = found.primary else {
        return Err(Error::unsupported("UDF"));
    };
    let primary_root = u64::from(primary.root_block) * SECTOR_BYTES;
    let own = record_at(source, primary_root)?;
    let own = own
        .filter(Record::is_self)
        .ok_or_else(|| Error::damaged("ISO 9660 root folder", primary_root, "it has no record of itself"))?;
    let area_at = primary_root + own.system_use_at() as u64;
    let skipped = rock_ridge::skipped(source, &own.system_use, area_at)?;
    let (volume, names) = match (skipped, found.joliet) {
        (Some(skipped), _) => (primary, Names::RockRidge { skipped }),
        (None, Some(joliet)) => (joliet, Names::Joliet),
        (None, None) => (primary, Names::Plain),
    };
    let index = Some(NameIndex::default());
    Ok(Box::new(Iso {
        source: source.clone(),
        volume,
        primary_root,
        names,
        has_udf: found.has_udf,
        index,
        unpacked: None,
    }))
}

/// Where names are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    RockRidge {
        /// Bytes for system use that come before.
        skipped: usize,
    },
    Joliet,
    Plain,
}

struct Iso {
    source: Source,
    volume: Volume,
    /// Where the primary root begins, which is asked for Rock Ridge.
    primary_root: u64,
    names: Names,
    has_udf: bool,
    /// Only away while it is asked.
    index: Option<NameIndex>,
    /// The block that was unpacked last: file, number, bytes.
    unpacked: Option<(NodeId, u64, Arc<[u8]>)>,
}

impl Iso {
    fn record(&self, id: NodeId) -> Result<Record> {
        if id >= NODE_ID_END || id >= self.source.len() {
            return Err(Error::NotFound);
        }
        record_at(&self.source, id)?.filter(|record| record.is_self() || !record.is_folder).ok_or(Error::NotFound)
    }

    /// The first record of a folder.
    fn folder(&self, id: NodeId) -> Result<Record> {
        self.record(id)?.into_folder().ok_or(Error::NotAFolder)
    }

    fn rock_ridge(&self, offset: u64, record: &Record) -> Result<RockRidge> {
        match self.area(offset, record) {
            Some((area, at)) => RockRidge::read(&self.source, area, at),
            None => Ok(RockRidge::default()),
        }
    }

    /// What a record has for Rock Ridge, and where it begins.
    fn area<'a>(&self, offset: u64, record: &'a Record) -> Option<(&'a [u8], u64)> {
        let Names::RockRidge { skipped } = self.names else { return None };
        // The root's own record is where the number of bytes to skip is told: none are skipped there.
        let skipped = if record.system_use.starts_with(b"SP\x07\x01") { 0 } else { skipped };
        let area = record.system_use.get(skipped..).unwrap_or_default();
        Some((area, offset + (record.system_use_at() + skipped) as u64))
    }

    /// The name and node of a record. `None`: it is none that is shown.
    fn named(&self, offset: u64, record: &Record) -> Result<Option<(Vec<u8>, NodeId)>> {
        if record.is_self() || record.is_parent() || record.is_associated {
            return Ok(None);
        }
        let rock_ridge = match self.area(offset, record) {
            Some((area, at)) => RockRidge::read_name(&self.source, area, at)?,
            None => RockRidge::default(),
        };
        if rock_ridge.is_relocated {
            return Ok(None);
        }
        let name = match (rock_ridge.name, self.names) {
            (Some(name), _) => name,
            (None, Names::Joliet) => name::joliet(&record.name),
            (None, _) => name::plain(&record.name),
        };
        if !is_name(&name) {
            return Err(Error::damaged("ISO 9660 directory record", offset, "its name is none"));
        }
        let node = match (rock_ridge.child, record.is_folder) {
            (Some(block), _) => u64::from(block) * SECTOR_BYTES,
            (None, true) => u64::from(record.block) * SECTOR_BYTES,
            (None, false) => offset,
        };
        Ok(Some((name, node)))
    }

    /// The part of what is stored for a file.
    fn stored(&self, extents: &Extents, range: Range<u64>) -> Result<Vec<u8>> {
        let mut runs = Vec::new();
        extents.map(range, &mut runs);
        read_runs(&self.source, &runs)
    }

    /// A block of a compressed file. `None`: zeros.
    fn block(&mut self, file: NodeId, extents: &Extents, zisofs: &Zisofs, index: u64) -> Result<Option<Arc<[u8]>>> {
        if let Some((_, _, bytes)) = self.unpacked.as_ref().filter(|(of, at, _)| (*of, *at) == (file, index)) {
            return Ok(Some(bytes.clone()));
        }
        let pointer = HEADER_BYTES + index * POINTER_BYTES;
        let place = zisofs.stored(&self.stored(extents, pointer..pointer + 2 * POINTER_BYTES)?)?;
        if place.is_empty() {
            return Ok(None);
        }
        let packed = self.stored(extents, place)?;
        let bytes: Arc<[u8]> = zisofs.unpack(&packed, zisofs.len_of(index))?.into();
        self.unpacked = Some((file, index, bytes.clone()));
        Ok(Some(bytes))
    }

    fn unpacked(
        &mut self,
        file: NodeId,
        extents: &Extents,
        zisofs: &Zisofs,
        range: Range<u64>,
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        zisofs.check(&self.stored(extents, 0..HEADER_BYTES)?)?;
        let (mut at, end) = (range.start, range.end.min(zisofs.size));
        while at < end {
            let (index, within) = (at / zisofs.block_bytes(), (at % zisofs.block_bytes()) as usize);
            let len = ((zisofs.len_of(index) - within) as u64).min(end - at);
            match self.block(file, extents, zisofs, index)? {
                Some(block) => {
                    let part = block.get(within..within + len as usize);
                    let part = part.ok_or_else(|| Error::damaged("zisofs file", 0, "a block is too short"))?;
                    Run::Bytes(part.to_vec()).push(runs);
                }
                None => Run::Zero { len }.push(runs),
            }
            at += len;
        }
        Ok(())
    }

    /// Calls `take` with the ranges that are read to list a folder.
    fn ranges(&self, folder: NodeId, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<bool> {
        let own = self.folder(folder)?;
        let start = u64::from(own.block) * SECTOR_BYTES;
        let mut goes_on = take(start..start + u64::from(own.size).next_multiple_of(SECTOR_BYTES));
        each_record(&self.source, &own, 0, &mut |placed| {
            let Some((area, at)) = self.area(placed.offset, &placed.record) else { return Ok(false) };
            system_use::each(&self.source, area, at, &mut |signature, entry| {
                if goes_on && signature == *b"CE" {
                    let area = Area::read(&entry)?;
                    goes_on = take(area.start..area.start + area.len as u64);
                }
                Ok(())
            })?;
            Ok(goes_on)
        })?;
        Ok(goes_on)
    }
}

/// What the mode of a node that is no folder says it is.
fn kind(mode: u32) -> NodeKind {
    match mode >> 12 & 0xF {
        0o01 => NodeKind::Fifo,
        0o02 => NodeKind::CharDevice,
        0o06 => NodeKind::BlockDevice,
        0o12 => NodeKind::Symlink,
        0o14 => NodeKind::Socket,
        _ => NodeKind::File,
    }
}

impl FileSystem for Iso {
    fn about(&self) -> About {
        let (kind, is_joliet) = match self.names {
            Names::RockRidge { .. } => ("ISO 9660 with Rock Ridge", false),
            Names::Joliet => ("ISO 9660 with Joliet", true),
            Names::Plain => ("ISO 9660", false),
        };
        let note = "There is a UDF file system too, which is not read; it may hold other files.";
        let bytes = u64::from(self.volume.blocks) * SECTOR_BYTES;
        About {
            kind: kind.to_owned(),
            label: name::label(&self.volume.label, is_joliet),
            uuid: self.volume.uuid(),
            bytes,
            // Nothing is ever removed from a disc.
            used_bytes: Some(bytes),
            notes: if self.has_udf { vec![note.to_owned()] } else { Vec::new() },
            ..About::default()
        }
    }

    fn root(&self) -> NodeId {
        u64::from(self.volume.root_block) * SECTOR_BYTES
    }

    fn node(&mut self, id: NodeId) -> Result<Node> {
        let record = self.record(id)?;
        let known = self.rock_ridge(id, &record)?;
        let mode = known.posix.map(|(mode, ..)| mode);
        let kind = if record.is_self() { NodeKind::Folder } else { mode.map_or(NodeKind::File, kind) };
        let stored =
            if record.goes_on { Extents::read(&self.source, id, &record)?.size() } else { u64::from(record.size) };
        let size = match (kind, &known.target, &known.zisofs) {
            (NodeKind::Symlink, target, _) => target.as_ref().map_or(0, |target| target.len() as u64),
            (NodeKind::File, _, Some(zisofs)) => zisofs.size,
            _ => stored,
        };
        let is_device = matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice);
        Ok(Node {
            kind,
            size,
            allocated: stored.checked_next_multiple_of(SECTOR_BYTES),
            mode: mode.map(|mode| mode & 0o7777),
            uid: known.posix.map(|(_, _, uid, _)| uid),
            gid: known.posix.map(|(_, _, _, gid)| gid),
            links: known.posix.map(|(_, links, _, _)| links),
            device: known.device.filter(|_| is_device),
            mtime: known.mtime.or(record.time),
            ctime: known.ctime,
            btime: known.btime,
        })
    }

    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        let own = self.folder(folder)?;
        // The first record of the file whose extents are passed.
        let mut first = None;
        each_record(&self.source, &own, cursor, &mut |placed| {
            let (offset, record) = first.take().unwrap_or((placed.offset, placed.record.clone()));
            if placed.record.goes_on {
                first = Some((offset, record));
                return Ok(true);
            }
            let named = self.named(offset, &record)?;
            Ok(named.is_none_or(|(name, node)| take(Entry { name, node, cursor: placed.end })))
        })
    }

    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        let mut index = self.index.take().unwrap_or_default();
        let found = index.lookup(self, folder, name);
        self.index = Some(index);
        found
    }

    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let record = self.record(file)?;
        let known = self.rock_ridge(file, &record)?;
        let kind = known.posix.map_or(NodeKind::File, |(mode, ..)| kind(mode));
        if record.is_self() || kind != NodeKind::File {
            return Err(Error::WrongKind);
        }
        known.check_content()?;
        let extents = Extents::read(&self.source, file, &record)?;
        match &known.zisofs {
            Some(zisofs) => self.unpacked(file, &extents, zisofs, range, runs)?,
            None => extents.map(range, runs),
        }
        Ok(())
    }

    fn link(&mut self, node: NodeId) -> Result<Vec<u8>> {
        let record = self.record(node)?;
        let known = self.rock_ridge(node, &record)?;
        let is_link = !record.is_self() && known.posix.is_some_and(|(mode, ..)| kind(mode) == NodeKind::Symlink);
        known.target.filter(|_| is_link).ok_or(Error::WrongKind)
    }

    fn xattrs(&mut self, _node: NodeId) -> Result<Vec<Xattr>> {
        Ok(Vec::new())
    }

    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        Ok(None)
    }

    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        if !take(descriptor::PLACE) || !take(self.primary_root..self.primary_root + SECTOR_BYTES) {
            return Ok(());
        }
        each_folder(self, &mut |iso, folder| iso.ranges(folder, take))
    }
}
