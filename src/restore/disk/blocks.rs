//! Ranges of a target compared with what the snapshot has there: by the ids of chunks, so nothing is fetched for it.

use crate::crypto::Keys;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::target::DiskFault;
use crate::target::DiskTarget;
use crate::tree::Piece;
use std::ops::Range;

/// What is read, compared and written at once where zeros should be.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;
static ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];

/// What is done to a target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// It reads as zeros from the first byte to the last.
    pub(super) is_blank: bool,
    /// Data that is there already is left.
    pub(super) delta: bool,
    /// Nothing is written.
    pub(super) dry_run: bool,
    /// Where the last chunk ends at the latest.
    pub(super) end: u64,
}

/// What came of comparing some pieces.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Data to be written, and where.
    pub(super) wanted: Vec<(u64, ChunkRef)>,
    /// Bytes of data that are there already.
    pub(super) same: u64,
    /// Bytes that were not zero and are (or would be) now.
    pub(super) zeroed: u64,
    /// Bytes dealt with, without those that are wanted.
    pub(super) done: u64,
}

/// Finds out what of these pieces has to be written, and writes zeros where a hole should be.
pub(super) fn compare(
    disk: &DiskTarget,
    keys: &Keys,
    pieces: &[(Range<u64>, Extent)],
    manner: Manner,
) -> Result<Compared, DiskFault> {
    let mut compared = Compared::default();
    let mut buffer = Vec::new();
    for (range, extent) in pieces {
        let len = range.end.min(manner.end) - range.start;
        match extent {
            Extent::Hole(_) if manner.is_blank => {}
            Extent::Hole(_) => {
                compared.zeroed += clear(disk, range, manner.dry_run)?;
                compared.done += len;
            }
            Extent::Data(chunk) if manner.delta && !manner.is_blank => {
                buffer.resize(chunk.len as usize, 0);
                // What cannot be read is written.
                let is_read = disk.read_at(range.start, &mut buffer).is_ok();
                if is_read && keys.chunk_id(ChunkKind::Data, &buffer) == chunk.id {
                    compared.same += len;
                    compared.done += len;
                } else {
                    compared.wanted.push((range.start, *chunk));
                }
            }
            Extent::Data(chunk) => compared.wanted.push((range.start, *chunk)),
        }
    }
    Ok(compared)
}

/// Writes zeros where something else is; how many bytes.
pub(super) fn clear(disk: &DiskTarget, range: &Range<u64>, dry_run: bool) -> Result<u64, DiskFault> {
    let mut buffer = vec![0; BLOCK_BYTES as usize];
    let (mut at, mut cleared) = (range.start, 0);
    while at < range.end {
        at = disk.next_data(at);
        if at >= range.end {
            break;
        }
        let len = BLOCK_BYTES.min(range.end - at);
        let block = &mut buffer[..len as usize];
        let is_zero = disk.read_at(at, block).is_ok() && is_zero(block);
        if !is_zero {
            cleared += len;
            if !dry_run {
                disk.write_at(at, &ZEROS[..len as usize])?;
            }
        }
        at += len;
    }
    Ok(cleared)
}

fn is_zero(bytes: &[u8]) -> bool {
    // In parts, so that what is not zero is soon found and the rest is compared many bytes at once.
    bytes.chunks(256).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Reads pieces back and adds them to the checksum; gives those that are not what they should be.
pub(super) fn check(
    disk: &DiskTarget,
    keys: &Keys,
    pieces: &[(Range<u64>, Extent)],
    hasher: &mut blake3::Hasher,
) -> Result<Vec<Range<u64>>, DiskFault> {
    let mut wrong = Vec::new();
    let mut buffer = Vec::new();
    for (range, extent) in pieces {
        let mut at = range.start;
        while at < range.end {
            let len = match extent {
                Extent::Data(_) => range.end - at,
                Extent::Hole(_) => BLOCK_BYTES.min(range.end - at),
            };
            buffer.resize(len as usize, 0);
            disk.read_at(at, &mut buffer)?;
            hasher.update(&buffer);
            let is_right = match extent {
                Extent::Data(chunk) => keys.chunk_id(ChunkKind::Data, &buffer) == chunk.id,
                Extent::Hole(_) => is_zero(&buffer),
            };
            if !is_right {
                add_range(&mut wrong, at..at + len);
            }
            at += len;
        }
    }
    Ok(wrong)
}

/// Adds a range behind all others; neighbours become one.
pub(super) fn add_range(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// Pieces of a content as ranges of `span`: data that begins in it, holes cut to it.
pub(super) fn within(pieces: Vec<Piece>, span: &Range<u64>) -> Vec<(Range<u64>, Extent)> {
    let range = |piece: &Piece| match piece.extent {
        Extent::Data(_) => piece.offset..piece.end(),
        Extent::Hole(_) => piece.offset.max(span.start)..piece.end().min(span.end),
    };
    let pieces = pieces.into_iter().map(|piece| (range(&piece), piece.extent));
    pieces.filter(|(range, _)| range.start >= span.start && range.start < range.end).collect()
}
