//! What a disk is, where its chunks end, what of it is needed, and what is stored first.

use crate::backup::Changes;
use crate::backup::Error;
use crate::backup::disk::CHUNK_BYTES;
use crate::backup::disk::Disk;
use crate::backup::disk::DiskError;
use crate::disk::Run;
use crate::disk::VOLUME_NUMBERS;
use crate::disk::WHOLE_NUMBERS;
use crate::disk::free::PartUse;
use crate::disk::free::VolumeUse;
use crate::disk::free::free;
use crate::disk::free::with_volumes;
use crate::disk::layout::Layout;
use crate::format::disk;
use crate::format::extents::FILE_BYTES_MAX;
use crate::image;
use crate::image::Image;
use crate::image::ImageReader;
use crate::image::Part;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Most ranges that a file system may name as needed for browsing.
const BROWSE_RANGES_MAX: usize = 1 << 16;

/// Most pieces of a logical volume whose free blocks are left out.
const PIECES_MAX: usize = 1 << 16;

/// Most partitions named in a line about a disk.
const IN_SHORT_MAX: usize = 16;

/// Those of them that the root needs, about.
const ROOT_RANGES: usize = 16;

/// How a disk will be read.
pub(in crate::backup) struct Plan {
    pub(super) disk: Disk,
    /// What is to be told about it first.
    pub(super) note: Option<String>,
    /// Asks about the virtual disk.
    pub(super) reader: Arc<ImageReader>,
    /// Bytes of the virtual disk.
    pub(super) len: u64,
    /// Whether it lies in a container.
    pub(super) is_contained: bool,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) description: disk::Disk,
    /// Starts of partitions, where chunks begin anew; 0 first.
    starts: Vec<u64>,
    /// What nobody needs, in order.
    free: Vec<Range<u64>>,
    /// Where it changed since the parent, if somebody knows.
    pub(super) changed: Option<Vec<Range<u64>>>,
    /// What a browse needs, in that order.
    pub(super) browse_first: Vec<Range<u64>>,
}

impl Plan {
    /// Looks at the disk.
    pub(super) fn make(disk: Disk, note: Option<String>, runtime: &Handle) -> Result<Plan, Error> {
        let device: Arc<dyn Image> = Arc::new(disk.device.clone());
        let mtime = disk.device.mtime();
        let path = disk.origin.clone();
        let fault = |source| DiskError::Image { path: path.clone(), source };
        let reader = ImageReader::new(device.clone(), Some(Part::Disk), &[], runtime);
        let layout = match runtime.block_on(reader.layout()) {
            Ok(layout) => layout,
            // Whatever is on a device, its bytes can be stored.
            Err(error) if disk.device.is_device() && disk.changes.is_none() => {
                tracing::warn!(disk = %path.display(), error = %crate::monitor::chain(&error), "Stored whole");
                Layout::unknown(device.len())
            }
            Err(error) => return Err(fault(error).into()),
        };
        if layout.bytes > FILE_BYTES_MAX {
            return Err(DiskError::TooLong { path, bytes: layout.bytes }.into());
        }
        let changed = match &disk.changes {
            None => None,
            // A last block may reach beyond the end.
            Some(Changes::Ranges(ranges)) => match ranges.iter().find(|range| range.start >= layout.bytes) {
                Some(range) => {
                    return Err(DiskError::Changed { path, offset: range.start, len: layout.bytes }.into());
                }
                None => Some(ranges.clone()),
            },
            Some(Changes::Bitmap(name)) => {
                let fault = |source| DiskError::Bitmap { path: path.clone(), name: name.clone(), source };
                Some(runtime.block_on(reader.dirty(name)).map_err(fault)?)
            }
        };
        let mut description = image::describe(&layout);
        description.path = path.as_os_str().as_bytes().to_vec();
        description.chunk_bytes = CHUNK_BYTES as u32;
        description.all_blocks = disk.all_blocks;
        description.live = disk.live;
        let is_contained = layout.is_contained();
        if !is_contained {
            description.container = if disk.device.is_device() { "device" } else { "raw" }.to_owned();
            description.sector_bytes = description.sector_bytes.max(disk.device.sector_bytes());
        }
        let mut plan = Plan {
            disk,
            note,
            reader,
            len: layout.bytes,
            is_contained,
            mtime,
            starts: vec![0],
            free: Vec::new(),
            changed,
            browse_first: Vec::new(),
            description,
        };
        plan.survey(&layout, runtime);
        plan.starts.sort_unstable();
        plan.starts.dedup();
        Ok(plan)
    }

    /// Looks into its parts: what of them is free, where chunks begin, and what a browse needs.
    fn survey(&mut self, layout: &Layout, runtime: &Handle) {
        let image = self.reader.image().clone();
        // Snapshots and thin volumes lie on the blocks of others, whatever those call free.
        let are_volumes_plain = layout.parts.iter().all(|part| part.number < VOLUME_NUMBERS || part.error.is_none());
        let (mut uses, mut volumes, mut browsed) = (Vec::new(), Vec::new(), Vec::new());
        for (part, found) in self.description.parts.iter_mut().zip(&layout.parts) {
            self.starts.push(part.range.start);
            let mut part_use = PartUse { range: part.range.clone(), fs_bytes: 0, used: None };
            let reader = ImageReader::new(image.clone(), Some(Part::Number(part.number)), &[], runtime);
            if let Some(about) = &found.about {
                part_use.fs_bytes = about.bytes;
                match runtime.block_on(look(&reader, part, &mut browsed)) {
                    Ok(None) if part.number < WHOLE_NUMBERS && !about.notes.is_empty() => {
                        part.notes.push("All of it was stored: what is free cannot be told.".to_owned());
                    }
                    Ok(used) => part_use.used = used.filter(|_| !self.disk.all_blocks),
                    Err(error) => {
                        tracing::warn!(part = part.folder, error = %crate::monitor::chain(&error), "Stored whole");
                        part.notes.push("It was stored whole, because not all of it could be understood.".to_owned());
                    }
                }
            }
            let is_volume = (VOLUME_NUMBERS..WHOLE_NUMBERS).contains(&part.number);
            if is_volume && are_volumes_plain && !self.is_contained {
                match runtime.block_on(pieces(&reader)) {
                    Ok(Some(pieces)) => {
                        volumes.push(VolumeUse { pieces, fs_bytes: part_use.fs_bytes, used: part_use.used.clone() });
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(part = part.folder, error = %crate::monitor::chain(&error), "Stored whole");
                    }
                }
            }
            uses.push(part_use);
        }
        with_volumes(&mut uses, &volumes);
        self.free = free(self.len, &uses);
        self.browse_first = in_order(browsed);
    }

    /// What is on it, in a line: `sda.img: GPT, 1 EFI system (FAT32), 2 rootfs (ext4)`.
    pub(in crate::backup) fn in_short(&self) -> String {
        let name = crate::path::Show(&self.disk.name).to_string();
        let once = self.description.parts.iter().filter(|part| part.number < WHOLE_NUMBERS);
        let parts = once.map(|part| part.folder.as_str());
        let words = std::iter::once(self.description.table.as_str()).chain(parts).filter(|word| !word.is_empty());
        match words.take(IN_SHORT_MAX).collect::<Vec<_>>().join(", ") {
            empty if empty.is_empty() => name,
            words => format!("{name}: {words}"),
        }
    }

    /// Where the chunk that `at` is in ends.
    pub(super) fn chunk_end(&self, at: u64) -> u64 {
        let next = self.starts.partition_point(|start| *start <= at);
        let end = self.chunk_start(at).saturating_add(CHUNK_BYTES);
        end.min(self.len).min(self.starts.get(next).copied().unwrap_or(u64::MAX))
    }

    /// Where the chunk that `at` is in begins.
    pub(super) fn chunk_start(&self, at: u64) -> u64 {
        let next = self.starts.partition_point(|start| *start <= at);
        let base = self.starts[..next].last().copied().unwrap_or(0);
        base + (at - base) / CHUNK_BYTES * CHUNK_BYTES
    }

    /// Where what nobody needs ends that all of this chunk lies in; nothing if some of the chunk is needed.
    pub(super) fn free_end(&self, chunk: &Range<u64>) -> Option<u64> {
        let at = self.free.partition_point(|free| free.end < chunk.end);
        self.free.get(at).filter(|free| free.start <= chunk.start).map(|free| free.end)
    }

    /// True if nobody needs anything of a chunk.
    pub(super) fn is_free(&self, chunk: &Range<u64>) -> bool {
        self.free_end(chunk).is_some()
    }

    /// Parts of a range that nobody needs.
    pub(super) fn free_in(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.free.partition_point(|free| free.end <= range.start);
        let range = range.clone();
        let within = self.free[first..].iter().take_while({
            let end = range.end;
            move |free| free.start < end
        });
        within.map(move |free| free.start.max(range.start)..free.end.min(range.end))
    }

    /// Bytes that will be read at most.
    pub(super) fn needed_bytes(&self) -> u64 {
        let free = self.free.iter().fold(0u64, |sum, free| sum.saturating_add(free.end - free.start));
        self.len.saturating_sub(free)
    }
}

/// Fills in the root of the file system, what it needs for browsing, and how much it uses; gives what it uses.
async fn look(
    reader: &Arc<ImageReader>,
    part: &mut disk::DiskPart,
    browsed: &mut Vec<Vec<Range<u64>>>,
) -> image::Result<Option<Vec<Range<u64>>>> {
    let (root, about) = reader.about().await?;
    let root = reader.node(root).await?;
    let Some(fs) = &mut part.fs else { return Ok(None) };
    fs.root = (root.mode_or_usual(), root.uid.unwrap_or(0), root.gid.unwrap_or(0));
    fs.root_mtime = root.mtime.unwrap_or_default();
    if part.number >= WHOLE_NUMBERS {
        return Ok(None);
    }
    browsed.push(reader.metadata(BROWSE_RANGES_MAX).await?);
    let used = reader.used().await?;
    fs.used_bytes = fs.used_bytes.or(used.as_ref().map(|ranges| about.bytes_of(ranges)));
    Ok(used)
}

/// Where a logical volume lies on the disk, in its own order; `None` if it lies on several, or in too many pieces.
async fn pieces(reader: &Arc<ImageReader>) -> image::Result<Option<Vec<Range<u64>>>> {
    let (mut pieces, mut at): (Vec<Range<u64>>, u64) = (Vec::new(), 0);
    loop {
        let runs = reader.map_part(at..u64::MAX).await?;
        if runs.is_empty() {
            return Ok(Some(pieces));
        }
        for run in runs {
            let Run::Below { offset, len } = run else { return Ok(None) };
            at += len;
            match pieces.last_mut() {
                Some(last) if last.end == offset => last.end += len,
                _ => pieces.push(offset..offset.saturating_add(len)),
            }
            if pieces.len() > PIECES_MAX {
                return Ok(None);
            }
        }
    }
}

/// What a browse needs of all parts: the partition table, what the roots need, and then the rest.
fn in_order(parts: Vec<Vec<Range<u64>>>) -> Vec<Range<u64>> {
    let table = std::iter::once(0..1);
    let mut all: Vec<Range<u64>> = table.collect();
    all.extend(parts.iter().flat_map(|part| part.iter().take(ROOT_RANGES)).cloned());
    all.extend(parts.into_iter().flat_map(|part| part.into_iter().skip(ROOT_RANGES)));
    all
}
