//! The bytes of files: where they lie, or what they are where they are compressed.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::RUNS_BYTES_MAX;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::btrfs::file_extent::FileExtent;
use crate::disk::fs::btrfs::file_extent::Packed;
use crate::disk::fs::btrfs::key;
use crate::disk::fs::btrfs::key::Key;
use crate::disk::fs::btrfs::node::Pointer;
use crate::disk::fs::btrfs::subvolume;
use crate::disk::fs::btrfs::tree::Cursor;
use crate::disk::fs::btrfs::volume::Volume;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

/// Unpacked extents that are kept, of 128 KiB at most.
const UNPACKED_KEPT: NonZeroUsize = NonZeroUsize::new(16).expect("it is not zero");
const WHAT: &str = "Btrfs file extent";

/// Reads compressed extents and finds the others.
pub(super) struct Content {
    /// By logical address, and all else that tells how they are unpacked.
    unpacked: LruCache<(u64, u64, u64, u8), Arc<Vec<u8>>>,
    /// Root of the tree of checksums.
    sums: Option<Pointer>,
}

/// A file as its extents see it.
pub(super) struct File {
    /// Of the tree it is in.
    pub(super) root: Pointer,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) is_unsummed: bool,
}

impl Content {
    pub(super) fn new() -> Content {
        Content { unpacked: LruCache::new(UNPACKED_KEPT), sums: None }
    }

    /// Appends the runs of the part of `range` that is within the file.
    pub(super) fn map(
        &mut self,
        volume: &mut Volume,
        file: &File,
        range: Range<u64>,
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        let end = range.end.min(file.size);
        let mut at = range.start;
        let (mut covered, mut bytes_left) = (0, RUNS_BYTES_MAX);
        let mut cursor = Cursor::near(volume, file.root, &Key::new(file.inode, key::EXTENT_DATA, at))?;
        while at < end {
            let Some(item) = cursor.item()? else { break };
            cursor.advance(volume)?;
            if item.key < Key::new(file.inode, key::EXTENT_DATA, 0) {
                continue;
            }
            if !item.key.is(file.inode, key::EXTENT_DATA) || item.key.offset >= end {
                break;
            }
            let fields = item.fields(WHAT)?;
            let extent = FileExtent::read(&fields, volume.superblock.sector_bytes)?;
            let start = item.key.offset;
            let stop = start.checked_add(extent.len()).ok_or_else(|| fields.damaged("it ends too late"))?;
            if start < covered {
                return Err(fields.damaged("it overlaps the one before"));
            }
            covered = stop;
            if stop <= at {
                continue;
            }
            Run::Zero { len: start.saturating_sub(at) }.push(runs);
            at = at.max(start);
            let part = at.saturating_sub(start)..stop.min(end).saturating_sub(start);
            at = stop.min(end);
            if matches!(extent, FileExtent::Inline { .. } | FileExtent::Packed(_)) {
                let left = bytes_left.checked_sub(part.end.saturating_sub(part.start));
                bytes_left = left.ok_or_else(|| Error::unsupported("so much compressed content at once"))?;
            }
            self.part(volume, file, &fields, extent, part)?.into_iter().for_each(|run| run.push(runs));
        }
        Run::Zero { len: end.saturating_sub(at) }.push(runs);
        Ok(())
    }

    /// Runs of a part of an extent.
    fn part(
        &mut self,
        volume: &mut Volume,
        file: &File,
        fields: &Fields<'_>,
        extent: FileExtent<'_>,
        part: Range<u64>,
    ) -> Result<Vec<Run>> {
        let len = part.end.saturating_sub(part.start);
        let cut = |bytes: &[u8], range: Range<u64>| {
            let bytes = bytes.get(range.start as usize..range.end as usize);
            bytes.map(|bytes| vec![Run::Bytes(bytes.to_vec())]).ok_or_else(|| fields.damaged("it is too short"))
        };
        match extent {
            FileExtent::Zeros { .. } => Ok(vec![Run::Zero { len }]),
            FileExtent::Inline { data, compression: None, .. } => cut(data, part),
            FileExtent::Inline { data, compression: Some(compression), len } => {
                let packed = Fields::new(data, WHAT, 0);
                let sector_bytes = volume.superblock.sector_bytes as usize;
                cut(&compression.unpack(&packed, len as usize, sector_bytes)?, part)
            }
            FileExtent::Plain(range) => {
                let mut runs = Vec::new();
                let start = range.start.saturating_add(part.start);
                volume.map(start..start.saturating_add(len), &mut runs)?;
                Ok(runs)
            }
            FileExtent::Packed(packed) => {
                let start = packed.used.start.saturating_add(part.start);
                cut(&self.unpacked(volume, file, &packed)?, start..start.saturating_add(len))
            }
        }
    }

    /// All plain bytes of a compressed extent.
    fn unpacked(&mut self, volume: &mut Volume, file: &File, packed: &Packed) -> Result<Arc<Vec<u8>>> {
        let known = (packed.logical, packed.len, packed.plain_len, packed.compression as u8);
        if let Some(plain) = self.unpacked.get(&known) {
            return Ok(plain.clone());
        }
        let sums = if file.is_unsummed { None } else { Some(self.sums(volume, packed.logical, packed.len)?) };
        let (sector_bytes, checksum) = (volume.superblock.sector_bytes as usize, volume.superblock.checksum);
        let plain = volume.first_sound(packed.logical, packed.len as usize, |bytes, at| {
            let fields = Fields::new(&bytes, "Btrfs compressed extent", at);
            if let Some(sums) = &sums {
                let mut sectors = bytes.chunks(sector_bytes).zip(sums.chunks(checksum.len()));
                if !sectors.all(|(sector, sum)| checksum.matches(sector, sum)) {
                    return Err(fields.damaged("its checksum is wrong"));
                }
            }
            packed.compression.unpack(&fields, packed.plain_len as usize, sector_bytes)
        })?;
        let plain = Arc::new(plain);
        self.unpacked.put(known, plain.clone());
        Ok(plain)
    }

    /// Checksums of all sectors of a logical range of at most 128 KiB.
    fn sums(&mut self, volume: &mut Volume, logical: u64, len: u64) -> Result<Vec<u8>> {
        let root = match self.sums {
            Some(root) => root,
            None => *self.sums.insert(subvolume::tree_root(volume, key::CSUM_TREE)?),
        };
        let sector_bytes = u64::from(volume.superblock.sector_bytes);
        let sum_len = volume.superblock.checksum.len() as u64;
        let end = logical.saturating_add(len);
        let (mut at, mut sums) = (logical, Vec::new());
        let mut cursor = Cursor::near(volume, root, &Key::new(key::CSUM_OBJECT, key::EXTENT_CSUM, logical))?;
        while at < end {
            let item = cursor.item()?.filter(|item| item.key.is(key::CSUM_OBJECT, key::EXTENT_CSUM));
            let item = item.filter(|item| item.key.offset <= at);
            let item = item.ok_or_else(|| Error::damaged("Btrfs checksums", at, "some are missing"))?;
            cursor.advance(volume)?;
            let fields = item.fields("Btrfs checksums")?;
            let first = at.saturating_sub(item.key.offset) / sector_bytes;
            let after = (fields.len() as u64 / sum_len).min(end.saturating_sub(item.key.offset) / sector_bytes);
            if first < after {
                let count = after - first;
                sums.extend_from_slice(fields.bytes((first * sum_len) as usize, (count * sum_len) as usize)?);
                at = at.saturating_add(count * sector_bytes);
            }
        }
        Ok(sums)
    }
}
