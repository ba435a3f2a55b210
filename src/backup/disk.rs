//! Disks and disk images as sources: what is on them is found out first, then they are read from the first byte to the
//! last, in chunks of one size that begin anew at each partition.
//!
//! What a file system calls free, holes and zeros are not stored anew. What a browse needs is stored before everything else,
//! close together. What cannot be read is told, and written down in the description of the disk: the zeros in its
//! place are never taken for content.

mod bytes;
mod plan;

pub(super) use plan::Plan;

use crate::backup::Error;
use crate::backup::disk::bytes::DiskBytes;
use crate::backup::known::Known;
use crate::backup::parent::OldNodes;
use crate::backup::scout::Line;
use crate::backup::scout::Scout;
use crate::backup::scout::empty_draft;
use crate::backup::work::NodeDraft;
use crate::backup::work::Outcome;
use crate::backup::work::Run;
use crate::browse::disk_of;
use crate::disk::free::joined;
use crate::extent::Extent;
use crate::format::disk;
use crate::format::disk::DISK_XATTR;
use crate::format::extents::FILE_BYTES_MAX;
use crate::image;
use crate::image::Device;
use crate::meta::Content;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Node;
use crate::meta::Time;
use crate::meta::Xattr;
use crate::monitor::Event;
use crate::source;
use crate::tree::Piece;
use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;

/// Bytes of a chunk. Measured: of two versions of a disk, 64 KiB store a third of what 1 MiB do, 4 KiB a third of that,
/// for 16 times as many chunks.
const CHUNK_BYTES: u64 = 64 << 10;
/// Bytes read at once.
const READ_BYTES: u64 = 4 << 20;
/// Most of the metadata of file systems that is stored before the rest.
const AHEAD_BYTES_MAX: u64 = 256 << 20;

/// A disk to back up.
pub struct Disk {
    /// The device or image file that is read.
    pub device: Device,
    /// Where it is, without links. Something else may be read in its place, as a snapshot of it.
    pub origin: PathBuf,
    /// Name of its file in the snapshot.
    pub name: Vec<u8>,
    /// Store unused blocks, too.
    pub all_blocks: bool,
    /// It is in use, and may change while it is read.
    pub live: bool,
    /// Where it changed since the parent, if somebody knows: elsewhere the parent's content is taken unread.
    pub changes: Option<Changes>,
}

/// Who knows where a disk changed since the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// The caller: nowhere but in these ranges.
    Ranges(Vec<Range<u64>>),
    /// The dirty bitmap of this name in the container.
    Bitmap(String),
}

/// Why a disk cannot be backed up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// It is mounted, and can change while it is read.
    #[error("'{}' is mounted at '{}' and can change while it is read", path.display(), point.display())]
    Mounted {
        /// The disk.
        path: PathBuf,
        /// Where it is mounted.
        point: PathBuf,
    },
    /// A virtual machine has it open, and can change it while it is read.
    #[error("'{}' is open in a virtual machine (or a tool of QEMU) and can change while it is read", path.display())]
    Open {
        /// The disk.
        path: PathBuf,
    },
    /// Nobody knows what is mounted.
    #[error("cannot find out whether '{}' is mounted", path.display())]
    Mounts {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What it is wrapped in cannot be read.
    #[error("'{}' cannot be read as a disk image", path.display())]
    Image {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: crate::image::Error,
    },
    /// Its dirty bitmap does not tell what changed.
    #[error("the dirty bitmap '{name}' of '{}' cannot be used", path.display())]
    Bitmap {
        /// The disk.
        path: PathBuf,
        /// The bitmap.
        name: String,
        /// Why.
        #[source]
        source: crate::image::Error,
    },
    /// The list of what changed is about another disk.
    #[error(
        "the list of changed blocks of '{}' speaks of byte {offset}, but the disk ends at {len}: it is about another disk, \
         or not in bytes", path.display()
    )]
    Changed {
        /// The disk.
        path: PathBuf,
        /// Where a changed range begins.
        offset: u64,
        /// Bytes of the disk.
        len: u64,
    },
    /// It says that it is longer than anything can be.
    #[error("'{}' is a disk of {bytes} bytes; {} can be stored at most", path.display(), FILE_BYTES_MAX)]
    TooLong {
        /// The disk.
        path: PathBuf,
        /// Bytes of the disk.
        bytes: u64,
    },
    /// Its description is too long.
    #[error("'{}' cannot be described", path.display())]
    Describe {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: crate::format::FormatError,
    },
}

/// Who can change a disk while it is read, if somebody can.
fn user_of(disk: &Disk) -> Option<DiskError> {
    let path = || disk.origin.clone();
    match disk.device.mounted_at() {
        Ok(None) => disk.device.is_open_in_machine().then(|| DiskError::Open { path: path() }),
        Ok(Some(point)) => Some(DiskError::Mounted { path: path(), point }),
        Err(source) => Some(DiskError::Mounts { path: path(), source }),
    }
}

/// Looks at disks that are to be backed up. Fails if one is in use and nobody said that this is well.
pub(super) fn plan(disks: Vec<Disk>, runtime: &Handle) -> Result<Vec<Plan>, Error> {
    let whole = |disk: Disk| match runtime.block_on(image::whole(disk.device, runtime)) {
        Ok(device) => Ok(Disk { device, ..disk }),
        Err(source) => Err(DiskError::Image { path: disk.origin, source }),
    };
    let disks: Vec<Disk> = disks.into_iter().map(whole).collect::<Result<_, _>>()?;
    let mut notes = Vec::new();
    for disk in &disks {
        notes.push(match user_of(disk) {
            Some(user) if !disk.live => return Err(user.into()),
            user => user.map(|user| format!("{user}: it is stored as a power cut would leave it")),
        });
    }
    disks.into_iter().zip(notes).map(|(disk, note)| Plan::make(disk, note, runtime)).collect()
}

impl Scout<'_> {
    /// Backs up disks, one after the other.
    pub(super) fn disks(mut self, plans: Vec<Plan>, mut line: Line<'_>, runtime: &Handle) -> Result<u64, Error> {
        let bytes = plans.iter().fold(0u64, |sum, plan| sum.saturating_add(plan.needed_bytes()));
        self.monitor.event(Event::Total { nodes: plans.len() as u64 + 1, bytes });
        let meta = Meta { mode: 0o755, mtime: self.time, ctime: self.time, links: 1, ..Meta::default() };
        line.node(empty_draft(b"".as_slice().into(), Vec::new(), Kind::Folder, meta))?;
        let wants_old = plans.iter().any(|plan| plan.changed.is_some());
        let old = if wants_old { self.old.disks()? } else { Vec::new() };
        let _root = self.old.take(b"", b"")?;
        line.send()?;
        for plan in plans {
            self.disk(plan, &old, &mut line, runtime)?;
        }
        Ok(self.old.finish())
    }

    fn disk(&mut self, mut plan: Plan, old: &[Node], line: &mut Line<'_>, runtime: &Handle) -> Result<(), Error> {
        let name = plan.disk.name.clone();
        self.monitor.event(Event::Path(&name));
        for text in plan.note.iter().chain(plan.description.parts.iter().flat_map(|part| &part.notes)) {
            self.monitor.event(Event::Note { path: &name, text });
        }
        let is_new = self.old.take(b"", &name)?.is_none();
        // Names of disks depend on what else is backed up; where they are does not.
        let mut known = plan.changed.take().and_then(|changed| {
            old.iter().find_map(|old| Unchanged::since(old, &changed, &plan.description, plan.len))
        });
        let mut bytes = DiskBytes::new(&plan, self.shop, runtime);
        self.store_ahead(&plan, &mut bytes, line)?;
        let mut bytes_read = 0;
        let mut at = 0;
        while at < plan.len {
            if self.monitor.is_cancelled() || line.stop.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let end = plan.chunk_end(at);
            if let Some(known) = &mut known
                && let Some(run) = known.run(&self.old, at..end, &self.shop.known)?
            {
                bytes.skip(at..end);
                line.run(run)?;
                at = end;
                continue;
            }
            let nothing = match plan.free_end(&(at..end)) {
                None => bytes.hole_end(at..end)?,
                free => free,
            };
            if let Some(nothing) = nothing {
                // All of it at once: a thin disk may have more chunks than anybody can count.
                let end = if known.is_none() { plan.chunk_start(nothing).max(end) } else { end };
                bytes.zeros(at..end);
                line.run(Run::Hole(end - at))?;
                at = end;
                continue;
            }
            // As many chunks as are wanted one behind the other.
            let mut until = end;
            while until < plan.len && until - at < READ_BYTES {
                let next = until..plan.chunk_end(until);
                let is_known = known.as_ref().is_some_and(|known| !known.has_changed(&next));
                if is_known || plan.is_free(&next) || bytes.is_hole(next.clone())? {
                    break;
                }
                until = next.end;
            }
            let read = bytes.read(at..until, &plan)?;
            bytes_read += until - at;
            let mut rest = read;
            while at < until {
                let end = plan.chunk_end(at);
                let (chunk, after) = rest.split_at((end - at) as usize);
                line.run(if is_zero(chunk) { Run::Hole(end - at) } else { Run::Data(chunk) })?;
                rest = after;
                at = end;
            }
        }
        line.end_runs()?;
        let fault = self.finish_description(&mut plan, bytes);
        let draft = plan.draft(self.time, is_new, bytes_read)?;
        line.end(Outcome::Read(Box::new(draft), fault))
    }

    /// Notes what was read in the description; tells what could not be.
    fn finish_description(&self, plan: &mut Plan, bytes: DiskBytes<'_>) -> Option<source::Error> {
        let has_changed = !plan.disk.live && plan.disk.device.mtime() != plan.mtime;
        let (checksum, unreadable) = bytes.finish();
        plan.description.checksum = checksum;
        plan.description.unreadable = unreadable.ranges;
        match unreadable.cause {
            Some(source) => {
                for range in &plan.description.unreadable {
                    let text = format!("bytes {} to {} cannot be read", range.start, range.end);
                    let cause = std::io::Error::new(source.kind(), text);
                    self.monitor.event(Event::Problem { path: &plan.disk.name, cause: &cause });
                }
                Some(source::Error::Failed { verb: "read all of it", source })
            }
            None => has_changed.then_some(source::Error::Torn),
        }
    }

    /// Stores the chunks that a browse needs, in the order in which it does.
    fn store_ahead(&self, plan: &Plan, bytes: &mut DiskBytes<'_>, line: &mut Line<'_>) -> Result<(), Error> {
        let mut left = AHEAD_BYTES_MAX;
        let mut seen = HashSet::new();
        for range in &plan.browse_first {
            let mut at = plan.chunk_start(range.start);
            while at < range.end.min(plan.len) && left > 0 {
                let chunk = at..plan.chunk_end(at);
                at = chunk.end;
                if plan.is_free(&chunk) || !seen.insert(chunk.start) {
                    continue;
                }
                left = left.saturating_sub(chunk.end - chunk.start);
                let read = bytes.peek(chunk, plan)?;
                if !is_zero(read) {
                    line.run_ahead(read)?;
                }
            }
        }
        line.end_ahead()
    }
}

impl Plan {
    /// The node of the disk.
    fn draft(&self, time: Time, is_new: bool, bytes_read: u64) -> Result<NodeDraft, Error> {
        let path = || self.disk.origin.clone();
        let value = self.description.encode().map_err(|source| DiskError::Describe { path: path(), source })?;
        let mtime = self.mtime.map_or(time, |(secs, nanos)| Time { secs, nanos });
        let xattrs = vec![Xattr { name: DISK_XATTR.to_vec(), value }];
        let meta = Meta { mode: 0o600, mtime, ctime: time, links: 1, xattrs, ..Meta::default() };
        let draft = empty_draft(b"".as_slice().into(), self.disk.name.clone(), Kind::File, meta);
        Ok(NodeDraft { is_new, bytes_read, ..draft })
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // In parts, so that what is not zero is soon found and the rest is compared many bytes at once.
    bytes.chunks(256).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// What the parent has, where nothing changed since.
struct Unchanged {
    changed: Vec<Range<u64>>,
    content: Content,
    /// Pieces of the parent from the last look on.
    pieces: Vec<Piece>,
    at: usize,
}

/// Bytes of the parent looked up at once.
const LOOK_BYTES: u64 = 64 << 20;

impl Unchanged {
    /// `None` if the parent's node is not this disk, or lacks blocks that are wanted now.
    fn since(parent: &Node, changed: &[Range<u64>], now: &disk::Disk, len: u64) -> Option<Unchanged> {
        let before = disk_of(parent)?;
        // Another disk may have taken its place: letters of devices change from one start of the system to the next.
        let is_same = before.path == now.path && before.uuid == now.uuid && parent.content.len() == len;
        if !is_same || before.container != now.container || (now.all_blocks && !before.all_blocks) {
            return None;
        }
        let mut changed = changed.to_vec();
        // What could not be read then is no content.
        changed.extend(before.unreadable);
        Some(Unchanged { changed: joined(changed), content: parent.content.clone(), pieces: Vec::new(), at: 0 })
    }

    fn has_changed(&self, range: &Range<u64>) -> bool {
        let before = self.changed.partition_point(|changed| changed.start < range.end);
        self.changed[..before].last().is_some_and(|changed| changed.end > range.start)
    }

    /// The run for this chunk, if the parent has it as one.
    fn run<'a>(&mut self, old: &OldNodes, chunk: Range<u64>, known: &Known) -> Result<Option<Run<'a>>, Error> {
        if self.has_changed(&chunk) || chunk.end > self.content.len() {
            return Ok(None);
        }
        while self.pieces.get(self.at).is_some_and(|piece| piece.end() <= chunk.start) {
            self.at += 1;
        }
        if self.pieces.get(self.at).is_none() {
            self.pieces = old.pieces(&self.content, chunk.start..self.content.len().min(chunk.start + LOOK_BYTES))?;
            self.at = 0;
        }
        Ok(match self.pieces.get(self.at) {
            Some(piece) if piece.offset <= chunk.start && piece.end() >= chunk.end => match piece.extent {
                Extent::Hole(_) => Some(Run::Hole(chunk.end - chunk.start)),
                Extent::Data(data) if (piece.offset, piece.end()) == (chunk.start, chunk.end) => {
                    known.is_usable(&data.hint).then_some(Run::Known(data))
                }
                Extent::Data(_) => None,
            },
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_within_changes_hide_nothing() {
        let nested = (0..100).map(|n| n << 20..(n << 20) + 512);
        let disk =
            disk::Disk { unreadable: std::iter::once(5000 << 20..5001 << 20).collect(), ..disk::Disk::default() };
        let value = disk.encode().expect("a short description");
        let xattrs = vec![Xattr { name: DISK_XATTR.to_vec(), value }];
        let meta = Meta { xattrs, ..Meta::default() };
        let node = Node { name: b"disk.img".to_vec(), kind: Kind::File, meta, content: Content::Empty };
        let changed: Vec<Range<u64>> = std::iter::once(0..1 << 30).chain(nested).collect();
        let known = Unchanged::since(&node, &changed, &disk, 0).expect("the same disk");
        for (at, has_changed) in
            [(0, true), (900 << 20, true), (1 << 30, false), (5000 << 20, true), (5001 << 20, false)]
        {
            assert_eq!(known.has_changed(&(at..at + 65_536)), has_changed, "{at}");
        }
        for other in [
            disk::Disk { all_blocks: true, ..disk.clone() },
            disk::Disk { path: b"/vm/other".to_vec(), ..disk.clone() },
            disk::Disk { uuid: "7".to_owned(), ..disk.clone() },
        ] {
            assert!(Unchanged::since(&node, &changed, &other, 0).is_none(), "{other:?}");
        }
        assert!(Unchanged::since(&node, &changed, &disk, 1).is_none());
        assert!(Unchanged::since(&Node { meta: Meta::default(), ..node }, &changed, &disk, 0).is_none());
    }

    #[test]
    fn zeros_are_told_from_others() {
        for len in [0, 1, 63, 64, 65, 4096, 65536] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes), "{len}");
            for at in [0, len / 2, len.saturating_sub(1)] {
                if at < len {
                    bytes[at] = 1;
                    assert!(!is_zero(&bytes), "{at} of {len}");
                    bytes[at] = 0;
                }
            }
        }
    }
}
