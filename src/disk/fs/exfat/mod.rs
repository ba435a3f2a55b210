//! exFAT. (Microsoft exFAT file system specification, revision 1.00.)
//!
//! A node's number is the place of its file entry in the volume, in entries, doubled; it is odd in a folder without a
//! chain in the table, for then a set that begins at the end of a cluster goes on in the next one. The root has none
//! and is number 2, which is in the boot sector. Times that name no offset are taken as UTC. Names are told as
//! they are written, so neither the up-case table nor the hashes of names are needed.

mod boot_sector;
mod entry_set;
mod entry_type;
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
use crate::disk::fs::fat::clusters::Clusters;
use crate::disk::fs::fat::clusters::Place;
use crate::disk::fs::fat::entries::ENTRY_BYTES;
use crate::disk::fs::fat::entries::each_entry;
use crate::disk::fs::fat::ranges::Ranges;
use crate::disk::fs::fat::table::Link;
use crate::disk::fs::fat::table::Table;
use crate::disk::fs::fat::table::Width;
use crate::disk::fs::name_index::NameIndex;
use crate::disk::fs::wide::wtf8;
use crate::meta::Xattr;
use boot_sector::BOOT_BYTES;
use boot_sector::BootSector;
use entry_set::EntrySet;
use entry_set::set_len;
use std::ops::Range;

const ROOT: NodeId = 2;

/// True if `source` begins as an exFAT volume does.
pub(crate) fn is_exfat(source: &Source) -> Result<bool> {
    Ok(first_sector(source)?.is_some_and(|sector| BootSector::is_exfat(&sector)))
}

/// The exFAT volume on `source`.
pub(crate) fn open(source: &Source) -> Result<Box<dyn FileSystem>> {
    let sector = first_sector(source)?.ok_or_else(|| Error::damaged("exFAT volume", 0, "it is too short"))?;
    let boot = BootSector::read(&sector)?;
    let mut region = vec![0; boot.region_bytes() as usize];
    source.read_at(0, &mut region)?;
    boot.check(&region)?;
    let table = Table::new(source.clone(), boot.table_start, Width::Bits32, boot.heap);
    let clusters = Clusters::new(source.clone(), boot.heap, table);
    let names = Some(NameIndex::default());
    let mut exfat = ExFat { boot, clusters, label: String::new(), bitmap: None, names };
    exfat.read_root()?;
    Ok(Box::new(exfat))
}

fn first_sector(source: &Source) -> Result<Option<[u8; BOOT_BYTES]>> {
    let mut sector = [0; BOOT_BYTES];
    if source.len() < BOOT_BYTES as u64 {
        return Ok(None);
    }
    source.read_at(0, &mut sector)?;
    Ok(Some(sector))
}

/// Where the allocation bitmap lies.
#[derive(Debug, Clone, Copy)]
struct Bitmap {
    first_cluster: u32,
    bytes: u64,
}

struct ExFat {
    boot: BootSector,
    clusters: Clusters,
    label: String,
    bitmap: Option<Bitmap>,
    /// Only away while it is asked.
    names: Option<NameIndex>,
}

/// Where the entries of a folder lie.
#[derive(Debug, Clone, Copy)]
struct Folder {
    place: Option<Place>,
    /// Number of entries, if that is known.
    entries: Option<u64>,
}

impl ExFat {
    /// Label and bitmap, which are entries of the root.
    fn read_root(&mut self) -> Result<()> {
        let (mut label, mut bitmap) = (None, None);
        let which = u8::from(self.boot.is_second_active);
        each_entry(&mut self.clusters, Place::Chain(self.boot.root), 0, &mut |entry| {
            let raw = entry.raw;
            match raw[0] {
                entry_type::END => return Ok(false),
                entry_type::LABEL => {
                    let units = raw[2..24].as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
                    label = Some(String::from_utf8_lossy(&wtf8(units.take(usize::from(raw[1])))).into_owned());
                }
                entry_type::BITMAP if raw[1] & 1 == which => {
                    let first_cluster = u32::from_le_bytes([raw[20], raw[21], raw[22], raw[23]]);
                    let bytes = raw[24..].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                    bitmap = Some(Bitmap { first_cluster, bytes });
                }
                _ => {}
            }
            Ok(label.is_none() || bitmap.is_none())
        })?;
        self.label = label.unwrap_or_default();
        self.bitmap = bitmap;
        Ok(())
    }

    /// The set of a node.
    fn set(&mut self, id: NodeId) -> Result<EntrySet> {
        let start = (id >> 1).checked_mul(ENTRY_BYTES).ok_or(Error::NotFound)?;
        let mut cluster = self.boot.heap.cluster_at(start).ok_or(Error::NotFound)?;
        let (mut at, mut wanted) = (start, 1);
        let mut entries: Vec<[u8; 32]> = Vec::new();
        while entries.len() < wanted {
            let end = self.boot.heap.offset(cluster) + u64::from(self.boot.heap.cluster_bytes);
            if at == end {
                cluster = self.after(cluster, id & 1 != 0)?;
                at = self.boot.heap.offset(cluster);
            }
            let mut raw = [0; 32];
            self.clusters.source.read_at(at, &mut raw)?;
            at += ENTRY_BYTES;
            if entries.is_empty() {
                if raw[0] != entry_type::FILE {
                    return Err(Error::NotFound);
                }
                wanted = set_len(&raw).min(entry_set::ENTRIES_MAX + 1);
            }
            entries.push(raw);
        }
        EntrySet::read(&entries, start)
    }

    /// The cluster after one of a folder.
    fn after(&mut self, cluster: u32, is_straight: bool) -> Result<u32> {
        match is_straight {
            true => Some(cluster.saturating_add(1)).filter(|next| self.boot.heap.contains(*next)),
            false => match self.clusters.table.link(cluster)? {
                Link::Next(next) => Some(next),
                _ => None,
            },
        }
        .ok_or_else(|| Error::damaged("exFAT entry set", self.boot.heap.offset(cluster), "its folder ends before it"))
    }

    fn folder(&mut self, id: NodeId) -> Result<Folder> {
        if id == ROOT {
            return Ok(Folder { place: Some(Place::Chain(self.boot.root)), entries: None });
        }
        let set = self.set(id)?;
        if !set.is_folder {
            return Err(Error::NotAFolder);
        }
        Ok(Folder { place: self.place(&set)?, entries: Some(set.size / ENTRY_BYTES) })
    }

    /// Where the bytes of a node lie, if it has any.
    fn place(&self, set: &EntrySet) -> Result<Option<Place>> {
        if set.size == 0 {
            return Ok(None);
        }
        if !set.is_straight {
            return Ok(Some(Place::Chain(set.first_cluster)));
        }
        let count = u32::try_from(set.size.div_ceil(u64::from(self.boot.heap.cluster_bytes)));
        let count = count.map_err(|_| Error::damaged("exFAT file", 0, "it is longer than the volume"))?;
        Ok(Some(Place::Straight { first: set.first_cluster, count }))
    }

    /// Calls `take` with the sets of a folder from the `from`th entry on: place of the first entry, index after the
    /// last one, set.
    fn each_set(&mut self, folder: Folder, from: u64, take: &mut dyn FnMut(u64, u64, EntrySet) -> bool) -> Result<()> {
        let Some(place) = folder.place else { return Ok(()) };
        let end = folder.entries.unwrap_or(u64::MAX);
        let (mut set, mut wanted, mut start, mut next) = (Vec::new(), 0, 0, from);
        let broken = |start| Error::damaged("exFAT entry set", start, "it is not whole");
        each_entry(&mut self.clusters, place, from, &mut |entry| {
            let kind = entry.raw[0];
            if entry.index >= end || kind == entry_type::END {
                next = end;
                return Ok(false);
            }
            next = entry.index + 1;
            if set.is_empty() && kind != entry_type::FILE {
                return match entry_type::is_unknown_critical(kind) {
                    true => Err(Error::unsupported(format!("an exFAT folder with entries of kind {kind:#04x}"))),
                    false => Ok(true),
                };
            }
            if set.is_empty() {
                (wanted, start) = (set_len(entry.raw), entry.offset);
            } else if kind & 0xC0 != 0xC0 {
                return Err(broken(start));
            }
            set.push(*entry.raw);
            if set.len() < wanted {
                return Ok(true);
            }
            let whole = EntrySet::read(&set, start)?;
            set.clear();
            let goes_on = take(start, next, whole);
            next = if goes_on { next } else { end };
            Ok(goes_on)
        })?;
        if !set.is_empty() || (next < end && folder.entries.is_some()) {
            return Err(broken(start));
        }
        Ok(())
    }
}

impl FileSystem for ExFat {
    fn about(&self) -> About {
        let note = "It was not unmounted: what was written last may be missing.";
        About {
            kind: "exFAT".to_owned(),
            label: self.label.clone(),
            uuid: format!("{:04X}-{:04X}", self.boot.serial >> 16, self.boot.serial & 0xFFFF),
            bytes: self.boot.bytes,
            notes: if self.boot.is_dirty { vec![note.to_owned()] } else { Vec::new() },
            ..About::default()
        }
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn node(&mut self, id: NodeId) -> Result<Node> {
        let set = if id == ROOT { None } else { Some(self.set(id)?) };
        let is_folder = set.as_ref().is_none_or(|set| set.is_folder);
        let size = set.as_ref().map(|set| set.size);
        let cluster_bytes = u64::from(self.boot.heap.cluster_bytes);
        let kind = if is_folder { NodeKind::Folder } else { NodeKind::File };
        Ok(Node {
            allocated: size.and_then(|size| size.checked_next_multiple_of(cluster_bytes)),
            mtime: set.as_ref().and_then(|set| set.mtime),
            btime: set.as_ref().and_then(|set| set.btime),
            ..Node::new(kind, size.unwrap_or(0))
        })
    }

    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        let folder = self.folder(folder)?;
        let is_straight = matches!(folder.place, Some(Place::Straight { .. }));
        self.each_set(folder, cursor, &mut |start, cursor, set| {
            let node = (start / ENTRY_BYTES) << 1 | u64::from(is_straight);
            take(Entry { name: set.name, node, cursor })
        })
    }

    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        let mut names = self.names.take().unwrap_or_default();
        let found = names.lookup(self, folder, name);
        self.names = Some(names);
        found
    }

    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let set = if file == ROOT { None } else { Some(self.set(file)?) };
        let set = set.filter(|set| !set.is_folder).ok_or(Error::WrongKind)?;
        let end = range.end.min(set.size);
        let written = range.start..end.min(set.valid_size);
        if let Some(place) = self.place(&set)?
            && !written.is_empty()
        {
            self.clusters.map(place, written, runs)?;
        }
        Run::Zero { len: end.saturating_sub(range.start.max(set.valid_size)) }.push(runs);
        Ok(())
    }

    fn link(&mut self, _node: NodeId) -> Result<Vec<u8>> {
        Err(Error::WrongKind)
    }

    fn xattrs(&mut self, _node: NodeId) -> Result<Vec<Xattr>> {
        Ok(Vec::new())
    }

    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        let (heap, Some(bitmap)) = (self.boot.heap, self.bitmap) else { return Ok(None) };
        if self.boot.is_dirty || bitmap.bytes < u64::from(heap.count.div_ceil(8)) {
            return Ok(None);
        }
        const PART_BYTES: u64 = 64 << 10;
        let mut ranges = Ranges::default();
        ranges.push(0..heap.start);
        let (mut cluster, mut at, mut bytes) = (2u32, 0, Vec::new());
        while heap.contains(cluster) {
            let piece = self.clusters.piece(Place::Chain(bitmap.first_cluster), at, PART_BYTES)?;
            if piece.is_empty() {
                return Ok(None);
            }
            bytes.resize((piece.end - piece.start) as usize, 0);
            self.clusters.source.read_at(piece.start, &mut bytes)?;
            at += bytes.len() as u64;
            for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)) {
                if heap.contains(cluster) && bit != 0 {
                    let start = heap.offset(cluster);
                    ranges.push(start..start + u64::from(heap.cluster_bytes));
                }
                cluster = cluster.saturating_add(1);
            }
        }
        Ok(Some(ranges.below(self.clusters.source.len())))
    }

    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        if !take(0..self.boot.region_bytes()) {
            return Ok(());
        }
        each_folder(self, &mut |exfat, folder| match exfat.folder(folder)?.place {
            Some(place) => exfat.clusters.ranges(place, take),
            None => Ok(true),
        })
    }
}
