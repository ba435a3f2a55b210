//! Where the content of an inode lies, whichever way its blocks are mapped.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::ext::extents;
use crate::disk::fs::ext::indirect;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::volume::Volume;
use std::ops::Range;

/// A part of the map of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// This many blocks of zeros.
    Hole(u64),
    /// `count` blocks of content from block `first` of the volume on.
    Data {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// A block of the map itself; it covers nothing.
    Map(u64),
}

/// Gets the pieces, in order.
pub(super) type Take<'a> = &'a mut dyn FnMut(Piece) -> Result<()>;

/// Tells the pieces of `blocks` (counted in the file) in order. They cover exactly that.
pub(super) fn pieces(volume: &Volume, inode: &Inode, blocks: Range<u64>, take: Take) -> Result<()> {
    if blocks.start >= blocks.end {
        return Ok(());
    }
    if inode.has_inline_data() {
        return Err(inode.fields().damaged("it has no map of blocks"));
    }
    if inode.has_extents() {
        extents::pieces(volume, inode, blocks, take)
    } else {
        indirect::pieces(volume, inode, blocks, take)
    }
}

/// That `count` blocks from `first` on are within the volume.
pub(super) fn check(volume: &Volume, first: u64, count: u64) -> Result<()> {
    let sb = volume.superblock();
    let fits = first >= sb.first_block && first.checked_add(count).is_some_and(|end| end <= sb.blocks);
    if fits {
        Ok(())
    } else {
        Err(Error::damaged("ext4 block map", volume.byte(first), "it points outside of the file system"))
    }
}

/// Appends where the bytes of `range` lie.
pub(super) fn runs(volume: &Volume, inode: &Inode, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
    let block_bytes = volume.superblock().block_bytes;
    let blocks = range.start / block_bytes..range.end.div_ceil(block_bytes);
    let mut at = blocks.start.saturating_mul(block_bytes);
    pieces(volume, inode, blocks, &mut |piece| {
        let (first, count) = match piece {
            Piece::Map(_) => return Ok(()),
            Piece::Hole(count) => (None, count),
            Piece::Data { first, count } => (Some(first), count),
        };
        let len = count.saturating_mul(block_bytes);
        let wanted = at.max(range.start)..at.saturating_add(len).min(range.end);
        let skipped = wanted.start.saturating_sub(at);
        at = at.saturating_add(len);
        let len = wanted.end.saturating_sub(wanted.start);
        match first {
            None => Run::Zero { len }.push(runs),
            Some(first) => place(volume, volume.byte(first).saturating_add(skipped), len, runs)?,
        }
        Ok(())
    })
}

/// Appends `len` bytes of the volume from `at` on: out of the journal what is in the journal.
fn place(volume: &Volume, at: u64, len: u64, runs: &mut Vec<Run>) -> Result<()> {
    let Some(journal) = volume.journal() else {
        Run::Below { offset: at, len }.push(runs);
        return Ok(());
    };
    let block_bytes = volume.superblock().block_bytes;
    let end = at.saturating_add(len);
    let mut done = at;
    for number in journal.logged(at / block_bytes..end.div_ceil(block_bytes)) {
        let block = volume.byte(number).max(done)..volume.byte(number).saturating_add(block_bytes).min(end);
        Run::Below { offset: done, len: block.start.saturating_sub(done) }.push(runs);
        let mut bytes = vec![0; block.end.saturating_sub(block.start) as usize];
        volume.read(block.start, &mut bytes)?;
        Run::Bytes(bytes).push(runs);
        done = block.end;
    }
    Run::Below { offset: done, len: end.saturating_sub(done) }.push(runs);
    Ok(())
}

/// The bytes of `range`, read. For what is short: folders, links, attributes.
pub(super) fn read(volume: &Volume, inode: &Inode, range: Range<u64>) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    runs(volume, inode, range, &mut list)?;
    crate::disk::read_runs(&**volume.source(), &list)
}
