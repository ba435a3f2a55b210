//! FAT12, FAT16 and FAT32, with the long names of VFAT. (Microsoft FAT32 File System Specification 1.03.)
//!
//! A node's number is the place of its short entry, in entries from the start of the volume; the root has none and is
//! number 1, which is in the boot sector. Times have no zone on the disk and are taken as UTC. Short names are read in
//! code page 437. Which table is in force is told by the boot sector; the others are never looked at, nor is FSInfo.

mod boot_sector;
pub(crate) mod chain;
pub(crate) mod clusters;
pub(crate) mod dos_time;
pub(crate) mod entries;
mod entry;
pub(crate) mod heap;
mod long_name;
pub(crate) mod ranges;
mod short_name;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use crate::disk::BlockSource;
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
use crate::disk::fs::breadth::each_folder;
use crate::disk::fs::name_index::NameIndex;
use crate::disk::fs::wide::is_name;
use crate::meta::Xattr;
use boot_sector::BOOT_BYTES;
use boot_sector::BootSector;
use boot_sector::Root;
use clusters::Clusters;
use clusters::Place;
use entries::ENTRY_BYTES;
use entries::each_entry;
use entry::Role;
use entry::ShortEntry;
use entry::role;
use long_name::LongName;
use ranges::Ranges;
use std::ops::Range;
use table::Link;
use table::Table;
use table::Width;

const ROOT: NodeId = 1;
const WHAT: &str = "FAT folder entry";

/// True if `source` begins as a FAT volume does.
pub(crate) fn is_fat(source: &Source) -> Result<bool> {
    Ok(first_sector(source)?.is_some_and(|sector| BootSector::is_fat(&sector)))
}

/// The FAT volume on `source`.
pub(crate) fn open(source: &Source) -> Result<Box<dyn FileSystem>> {
    let sector = first_sector(source)?.ok_or_else(|| Error::damaged("FAT volume", 0, "it is too short"))?;
    let boot = BootSector::read(&sector)?;
    let table = Table::new(source.clone(), boot.table_start, boot.width, boot.heap);
    let clusters = Clusters::new(source.clone(), boot.heap, table);
    let mut fat = Fat { boot, clusters, label: String::new(), is_clean: true, names: Some(NameIndex::default()) };
    fat.is_clean = fat.is_clean()?;
    fat.label = fat.label()?;
    Ok(Box::new(fat))
}

fn first_sector(source: &Source) -> Result<Option<[u8; BOOT_BYTES]>> {
    let mut sector = [0; BOOT_BYTES];
    if source.len() < BOOT_BYTES as u64 {
        return Ok(None);
    }
    source.read_at(0, &mut sector)?;
    Ok(Some(sector))
}

struct Fat {
    boot: BootSector,
    clusters: Clusters,
    label: String,
    is_clean: bool,
    /// Only away while it is asked.
    names: Option<NameIndex>,
}

impl Fat {
    /// False while the volume is mounted, or if it was not unmounted. FAT12 cannot tell.
    fn is_clean(&mut self) -> Result<bool> {
        let clean_bit = match self.boot.width {
            Width::Bits12 => return Ok(!self.boot.is_dirty),
            Width::Bits16 => 0x8000,
            Width::Bits28 | Width::Bits32 => 0x0800_0000,
        };
        Ok(!self.boot.is_dirty && self.clusters.table.value(1)? & clean_bit != 0)
    }

    fn label(&mut self) -> Result<String> {
        let mut label = String::new();
        each_entry(&mut self.clusters, self.boot.root.into(), 0, &mut |entry| {
            let role = role(entry.raw);
            if role == Role::Label {
                label = short_name::label(&name_of(entry.raw));
            }
            Ok(!matches!(role, Role::Label | Role::End))
        })?;
        Ok(label)
    }

    fn is_fat32(&self) -> bool {
        self.boot.width == Width::Bits28
    }

    fn entry(&self, id: NodeId) -> Result<ShortEntry> {
        let offset = id.checked_mul(ENTRY_BYTES).ok_or(Error::NotFound)?;
        let is_in_root =
            matches!(self.boot.root, Root::Fixed { start, bytes } if (start..start + bytes).contains(&offset));
        if !is_in_root && self.boot.heap.cluster_at(offset).is_none() {
            return Err(Error::NotFound);
        }
        let mut raw = [0; 32];
        self.clusters.source.read_at(offset, &mut raw)?;
        match role(&raw) {
            Role::Node => Ok(ShortEntry::read(&raw, self.is_fat32())),
            _ => Err(Error::NotFound),
        }
    }

    fn folder(&self, id: NodeId) -> Result<Place> {
        if id == ROOT {
            return Ok(self.boot.root.into());
        }
        let entry = self.entry(id)?;
        if !entry.is_folder {
            return Err(Error::NotAFolder);
        }
        Ok(Place::Chain(entry.first_cluster))
    }
}

impl From<Root> for Place {
    fn from(root: Root) -> Place {
        match root {
            Root::Fixed { start, bytes } => Place::Fixed { start, bytes },
            Root::Cluster(cluster) => Place::Chain(cluster),
        }
    }
}

fn name_of(raw: &[u8; 32]) -> [u8; 11] {
    let mut name = [0; 11];
    name.copy_from_slice(&raw[..11]);
    name
}

impl FileSystem for Fat {
    fn about(&self) -> About {
        let kind = match self.boot.width {
            Width::Bits12 => "FAT12",
            Width::Bits16 => "FAT16",
            Width::Bits28 | Width::Bits32 => "FAT32",
        };
        let note = "It was not unmounted: what was written last may be missing.";
        About {
            kind: kind.to_owned(),
            label: self.label.clone(),
            uuid: self.boot.serial.map_or(String::new(), |n| format!("{:04X}-{:04X}", n >> 16, n & 0xFFFF)),
            bytes: self.boot.bytes,
            notes: if self.is_clean { Vec::new() } else { vec![note.to_owned()] },
            ..About::default()
        }
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn node(&mut self, id: NodeId) -> Result<Node> {
        let entry = if id == ROOT { None } else { Some(self.entry(id)?) };
        let is_folder = entry.as_ref().is_none_or(|entry| entry.is_folder);
        let size = entry.as_ref().map_or(0, |entry| if is_folder { 0 } else { u64::from(entry.size) });
        let kind = if is_folder { NodeKind::Folder } else { NodeKind::File };
        Ok(Node {
            allocated: (!is_folder).then(|| size.next_multiple_of(u64::from(self.boot.heap.cluster_bytes))),
            mtime: entry.as_ref().and_then(|entry| entry.mtime),
            btime: entry.as_ref().and_then(|entry| entry.btime),
            ..Node::new(kind, size)
        })
    }

    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        let place = self.folder(folder)?;
        let is_fat32 = self.is_fat32();
        let mut long = LongName::default();
        each_entry(&mut self.clusters, place, cursor, &mut |entry| {
            match role(entry.raw) {
                Role::End => return Ok(false),
                Role::LongName => long.push(entry.raw),
                Role::Deleted | Role::Label | Role::Dots => long.clear(),
                Role::Node => {
                    let short = ShortEntry::read(entry.raw, is_fat32);
                    let name = long.take(&short.raw_name);
                    let name = name.unwrap_or_else(|| short_name::short_name(&short.raw_name, short.case_bits).into());
                    if !is_name(&name) {
                        return Err(Error::damaged(WHAT, entry.offset, "its name is none"));
                    }
                    let node = entry.offset / ENTRY_BYTES;
                    return Ok(take(Entry { name, node, cursor: entry.index + 1 }));
                }
            }
            Ok(true)
        })
    }

    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        let mut names = self.names.take().unwrap_or_default();
        let found = names.lookup(self, folder, name);
        self.names = Some(names);
        found
    }

    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let entry = if file == ROOT { None } else { Some(self.entry(file)?) };
        let entry = entry.filter(|entry| !entry.is_folder).ok_or(Error::WrongKind)?;
        let end = range.end.min(u64::from(entry.size));
        self.clusters.map(Place::Chain(entry.first_cluster), range.start..end, runs)
    }

    fn link(&mut self, _node: NodeId) -> Result<Vec<u8>> {
        Err(Error::WrongKind)
    }

    fn xattrs(&mut self, _node: NodeId) -> Result<Vec<Xattr>> {
        Ok(Vec::new())
    }

    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        if !self.is_clean {
            return Ok(None);
        }
        let heap = self.boot.heap;
        let mut ranges = Ranges::default();
        ranges.push(0..heap.start);
        for cluster in (2u32..).take(heap.count as usize) {
            if !matches!(self.clusters.table.link(cluster)?, Link::Free | Link::Bad) {
                let start = heap.offset(cluster);
                ranges.push(start..start + u64::from(heap.cluster_bytes));
            }
        }
        Ok(Some(ranges.below(self.clusters.source.len())))
    }

    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        if !take(0..BOOT_BYTES as u64) || !take(self.clusters.table.page_of(1)) {
            return Ok(());
        }
        each_folder(self, &mut |fat, folder| {
            let place = fat.folder(folder)?;
            fat.clusters.ranges(place, take)
        })
    }
}
