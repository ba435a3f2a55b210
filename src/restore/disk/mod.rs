//! Writing a disk back, all of it or one partition: to a block device, or to a file.
//!
//! # Always
//! - Every byte of the target, up to the length of the disk or partition, is what the snapshot has there: data is
//!   written, and where the snapshot has a hole the target has zeros. A new file is sparse; anything else is read there,
//!   and zeros are written where something else stands. What devices promise about discarded blocks is not relied upon.
//! - What is lost in the repository becomes zeros, is told, and does not keep the rest from being restored.
//! - What came of it is on the disk when this returns.
//!
//! # Never
//! - A disk that is in use is written to, nor one that is there already unless [`DiskOptions::overwrite`] says so.
//! - A byte behind the end of that is touched on a device that is larger.

mod blocks;
mod fault;
mod job;
mod verify;

pub use self::fault::DiskError;

use self::blocks::Manner;
use self::fault::DiskProblem;
use self::job::Job;
use self::job::blocking;
use self::job::pass;
use crate::browse::Browse;
use crate::browse::disk_of;
use crate::format::disk::Disk;
use crate::format::disk::DiskPart;
use crate::image;
use crate::meta::Node;
use crate::monitor::Monitor;
use crate::target::DiskTarget;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskOptions {
    /// Write over a device, or over a file that is there.
    pub overwrite: bool,
    /// Read what is there and write only what differs.
    pub delta: bool,
    /// Read everything back and compare.
    pub verify: bool,
    /// Write nothing, only tell.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskSummary {
    /// Bytes of the disk.
    pub bytes: u64,
    /// Those of them that are no holes.
    pub bytes_data: u64,
    /// Data written, or that would be.
    pub bytes_written: u64,
    /// Zeros written in place of something else, or that would be.
    pub bytes_zeroed: u64,
    /// Data that was there already.
    pub bytes_same: u64,
    /// Bytes of the device behind the end of the disk, which were not touched.
    pub bytes_behind: u64,
    /// True if everything was read back and is right.
    pub verified: bool,
    /// What could not be read when the disk was backed up.
    pub unreadable: Vec<Range<u64>>,
    /// What is lost in the repository.
    pub lost: Vec<Range<u64>>,
    /// What was read back and differs.
    pub differs: Vec<Range<u64>>,
    /// Problems told to the monitor.
    pub problems: u64,
}

type Result<T> = std::result::Result<T, DiskError>;

/// Writes the disk that `node` holds, or only this part of it, to the device or file `target`; a file is made if nothing
/// is there. All that is told of ranges then counts from the beginning of the part.
///
/// What is wrong with parts of the disk is told to the monitor and counted; an error leaves the target as it was, or is
/// [`DiskError::Incomplete`]. Must be called within a tokio runtime.
pub async fn restore_disk(
    browse: &Browse,
    node: &Node,
    part: Option<&DiskPart>,
    target: &Path,
    options: &DiskOptions,
    monitor: &dyn Monitor,
) -> Result<DiskSummary> {
    let disk = disk_of(node).ok_or_else(|| DiskError::NotADisk { path: node.name.clone() })?;
    let range = part.map_or(0..node.content.len(), |part| part.range.clone());
    let disk = if part.is_some() { part_alone(disk, &range) } else { disk };
    let mut job = Job::new(browse, node, range, *options, monitor);
    let (path, len, own) = (target.to_owned(), job.len(), *options);
    let found = blocking(move || look(&path, len, &disk, own).map(|found| (found, disk))).await?;
    let (found, disk) = found?;
    job.count_data().await?;
    job.summary.bytes_behind = found.as_ref().map_or(0, |found| if found.is_device() { found.len() - len } else { 0 });
    for range in &disk.unreadable {
        job.tell(&DiskProblem::Unreadable { range: range.clone() });
    }
    job.summary.unreadable.clone_from(&disk.unreadable);
    // Nothing is touched before the repository has shown that it gives something.
    browse.read(&node.content, job.start(), 1).await.map(drop).or_else(pass)?;
    if options.dry_run {
        let manner = Manner { is_blank: found.is_none() || job.replaces(found.as_ref()), ..job.manner() };
        if let Some(found) = found {
            job.write(Arc::new(found), manner).await?;
        } else {
            job.summary.bytes_written = job.summary.bytes_data;
        }
        return Ok(job.summary);
    }
    let (path, own) = (target.to_owned(), *options);
    let (disk_target, is_blank) = blocking(move || open(&path, len, found, own)).await??;
    let opened = Arc::new(disk_target);
    let manner = Manner { is_blank, ..job.manner() };
    let done = job.write_and_verify(opened, manner, &disk).await;
    let path = || target.to_owned();
    done.map_err(|source| DiskError::Incomplete { path: path(), source: Box::new(source) })?;
    Ok(job.summary)
}

/// What is known of a part, as if it were a disk of its own.
fn part_alone(disk: Disk, range: &Range<u64>) -> Disk {
    let within = |lost: &Range<u64>| lost.start.max(range.start)..lost.end.min(range.end);
    let unreadable = disk.unreadable.iter().map(within).filter(|lost| lost.start < lost.end);
    let unreadable = unreadable.map(|lost| lost.start - range.start..lost.end - range.start).collect();
    Disk { table: String::new(), checksum: None, parts: Vec::new(), unreadable, ..disk }
}

/// Fails if the system uses the device or file at `path`: it is mounted, swap space, or part of another device.
fn check_unused(path: &Path) -> Result<()> {
    let path_of = || path.to_owned();
    match image::used_by(path) {
        Ok(None) => Ok(()),
        Ok(Some(used)) => Err(DiskError::InUse { path: path_of(), used }),
        Err(source) => Err(DiskError::Uses { path: path_of(), source }),
    }
}

/// A file that another one is to take the place of, opened so that virtual machines leave it alone until this is dropped.
/// Fails if somebody uses it: they would go on with a file that nobody sees any more.
pub fn open_unused(path: &Path) -> Result<DiskTarget> {
    check_unused(path)?;
    Ok(DiskTarget::open(path)?)
}

/// What is at the target, if it may be written to.
fn look(path: &Path, len: u64, disk: &Disk, options: DiskOptions) -> Result<Option<DiskTarget>> {
    let Some(found) = DiskTarget::look(path)? else { return Ok(None) };
    let own = || path.to_owned();
    check_unused(path)?;
    if found.is_device() {
        if found.len() < len {
            return Err(DiskError::TooSmall { path: own(), has: found.len(), needs: len });
        }
        let (has, needs) = (found.sector_bytes(), disk.sector_bytes);
        if !disk.table.is_empty() && has != needs {
            return Err(DiskError::Sectors { path: own(), has, needs });
        }
    }
    if !options.overwrite && !options.dry_run {
        return Err(DiskError::Exists { path: own() });
    }
    Ok(Some(found))
}

/// Opens the target, and says whether it reads as zeros all over.
fn open(path: &Path, len: u64, found: Option<DiskTarget>, options: DiskOptions) -> Result<(DiskTarget, bool)> {
    let Some(found) = found else { return Ok((DiskTarget::create(path, len)?, true)) };
    // The lock on a file ends when any handle of it is closed.
    drop(found);
    let mut disk = DiskTarget::open(path)?;
    if disk.is_device() {
        return match disk.len() < len {
            true => Err(DiskError::TooSmall { path: path.to_owned(), has: disk.len(), needs: len }),
            false => Ok((disk, false)),
        };
    }
    if !options.delta {
        disk.set_len(0)?;
    }
    disk.set_len(len)?;
    Ok((disk, !options.delta))
}
