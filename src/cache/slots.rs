//! The big file of slots: read and written at numbered places, grown and given back by the block.
//!
//! The leaf that asks the system for room. Growing allocates at once, so that a full disk is noticed before anything
//! is promised; nothing here is ever synced, for a torn slot is one that does not open.

use crate::cache::budget::DISK_PART_FREE;
use crate::cache::budget::RUN_SEGMENTS;
use crate::cache::budget::SEGMENT_BYTES;
use crate::cache::budget::STRIDE;
use crate::cache::budget::slots;
use crate::cache::fault::Fault;
use bytes::Bytes;
use rustix::fs::FallocateFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::retry_on_intr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Lengths of the segments of a run; 0 is one that is not there.
pub(super) type Lens = [u32; RUN_SEGMENTS as usize];

/// Segments of a run; at least as many as are asked for.
pub(super) type Parts = [Option<Bytes>; RUN_SEGMENTS as usize];

/// The open file.
#[derive(Debug)]
pub(super) struct Slots {
    file: File,
}

/// What tells one file from another that took its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// Of whatever has this name now.
    pub(super) fn of(path: &Path) -> io::Result<Inode> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Inode { device: metadata.dev(), number: metadata.ino() })
    }
}

/// Bytes on disk of whatever has this name; 0 if nothing has.
pub(super) fn blocks_of(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

/// Bytes that ordinary users of the disk below a folder may still fill.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = retry_on_intr(|| rustix::fs::statvfs(folder))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn at(slot: i64) -> Result<u64, Fault> {
    let start = u64::try_from(slot).ok().and_then(|slot| slot.checked_mul(STRIDE));
    // Offsets of files end here.
    start.filter(|start| *start < 1 << 62).ok_or(Fault::Damaged("a slot lies nowhere"))
}

/// Where a segment of a run begins in its slot.
fn place(segment: usize) -> usize {
    segment * SEGMENT_BYTES
}

impl Slots {
    /// Opens or makes the file. Never follows a link.
    pub(super) fn open(path: &Path) -> Result<Slots, Fault> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
        if !file.metadata()?.is_file() {
            return Err(Fault::NotOurs);
        }
        Ok(Slots { file })
    }

    /// Whether the file system can take blocks back and give them out beforehand.
    pub(super) fn probe(&self) -> Result<(), Fault> {
        let len = self.len()?;
        let tried = self.allocate_at(len, 4096).and_then(|()| self.punch(len, 4096));
        self.file.set_len(len)?;
        match tried {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Err(Fault::Unsupported("give back parts of a file")),
            other => Ok(other?),
        }
    }

    /// Bytes from end to end.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Bytes on disk.
    pub(super) fn blocks(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks() * 512)
    }

    /// Slots that the disk can take before less than its twentieth and `reserve` bytes are free; negative if that is so
    /// already.
    pub(super) fn disk_spare(&self, reserve: u64) -> io::Result<i64> {
        let disk = retry_on_intr(|| rustix::fs::fstatvfs(&self.file))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let keep = disk.f_blocks.saturating_mul(disk.f_frsize) / DISK_PART_FREE + reserve;
        Ok(if free >= keep { slots(free - keep) } else { -slots(keep - free) - 1 })
    }

    fn allocate_at(&self, start: u64, len: u64) -> rustix::io::Result<()> {
        retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), start, len))
    }

    fn punch(&self, start: u64, len: u64) -> rustix::io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry_on_intr(|| rustix::fs::fallocate(&self.file, mode, start, len))
    }

    /// Takes the blocks of these slots from the disk, all or none.
    pub(super) fn allocate(&self, slots: Range<i64>) -> Result<(), Fault> {
        let (start, end) = (at(slots.start)?, at(slots.end)?);
        match self.allocate_at(start, end - start) {
            Ok(()) => Ok(()),
            Err(error) => {
                // Part of it may be there; whether it can be given back does not change the answer.
                let _best_effort = self.punch(start, end - start);
                Err(error.into())
            }
        }
    }

    /// Gives the blocks of a slot back to the disk.
    pub(super) fn give_back(&self, slot: i64) -> Result<(), Fault> {
        Ok(self.punch(at(slot)?, STRIDE)?)
    }

    /// Cuts off what lies behind so many slots.
    pub(super) fn truncate(&self, slots: i64) -> Result<(), Fault> {
        let end = at(slots)?;
        if self.len()? > end {
            self.file.set_len(end)?;
        }
        Ok(())
    }

    /// Writes one segment of a run.
    pub(super) fn write(&self, slot: i64, segment: usize, sealed: &[u8]) -> Result<(), Fault> {
        Ok(self.file.write_all_at(sealed, at(slot)? + place(segment) as u64)?)
    }

    /// Reads those of the wanted segments that are there, in one go.
    pub(super) fn read(&self, slot: i64, lens: &Lens, wanted: Range<usize>) -> Result<Parts, Fault> {
        let mut parts = Parts::default();
        let is_there = |segment: &usize| lens[*segment] != 0;
        let (Some(first), Some(last)) = (wanted.clone().find(is_there), wanted.clone().rev().find(is_there)) else {
            return Ok(parts);
        };
        let end = place(last) + lens[last] as usize;
        let (start, len) = (at(slot)? + place(first) as u64, end - place(first));
        let mut all = Vec::with_capacity(len);
        while all.len() < len {
            let from = start + all.len() as u64;
            if retry_on_intr(|| rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut all), from))? == 0 {
                // Somebody has cut the file just now: what it held is not here any more.
                return Ok(parts);
            }
        }
        let all = Bytes::from(all);
        for segment in (first..=last).filter(is_there) {
            let start = place(segment) - place(first);
            parts[segment] = Some(all.slice(start..start + lens[segment] as usize));
        }
        Ok(parts)
    }
}

/// Lengths as they stand in the database.
pub(super) fn encode_lens(lens: &Lens) -> Vec<u8> {
    lens.iter().flat_map(|len| len.to_le_bytes()).collect()
}

/// The lengths of a row, if they can be.
pub(super) fn decode_lens(bytes: &[u8]) -> Result<Lens, Fault> {
    let fault = Fault::Damaged("a slot has impossible lengths");
    let mut lens = Lens::default();
    if bytes.len() != lens.len() * 4 {
        return Err(fault);
    }
    for (len, bytes) in lens.iter_mut().zip(bytes.as_chunks().0) {
        *len = u32::from_le_bytes(*bytes);
        if *len as usize > SEGMENT_BYTES {
            return Err(fault);
        }
    }
    Ok(lens)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_trip_and_impossible_ones_are_damage() {
        let lens = [65_552, 0, 1, 7];
        assert_eq!(decode_lens(&encode_lens(&lens)).unwrap(), lens);
        for bad in [vec![], vec![0; 15], vec![0; 17], encode_lens(&[65_553, 0, 0, 0])] {
            assert!(decode_lens(&bad).unwrap_err().is_damage());
        }
    }

    #[test]
    fn reads_what_is_there_and_nothing_behind_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::open(&folder.path().join("slots")).unwrap();
        slots.probe().unwrap();
        slots.allocate(0..3).unwrap();
        assert!(slots.blocks().unwrap() >= 3 * STRIDE && slots.len().unwrap() == 3 * STRIDE);
        slots.write(1, 1, b"one").unwrap();
        slots.write(1, 3, b"three").unwrap();
        let parts = slots.read(1, &[0, 3, 0, 5], 0..4).unwrap();
        assert_eq!(parts, [None, Some("one".into()), None, Some("three".into())]);
        assert_eq!(slots.read(1, &[0, 3, 0, 5], 2..3).unwrap(), Parts::default());
        assert_eq!(slots.read(7, &[0, 3, 0, 5], 0..4).unwrap(), Parts::default());
        for nowhere in [-1, i64::MAX] {
            assert!(slots.read(nowhere, &[1; 4], 0..4).unwrap_err().is_damage());
        }
        slots.give_back(1).unwrap();
        assert!(slots.blocks().unwrap() < 3 * STRIDE && slots.len().unwrap() == 3 * STRIDE);
        slots.truncate(1).unwrap();
        assert_eq!(slots.len().unwrap(), STRIDE);
    }
}
