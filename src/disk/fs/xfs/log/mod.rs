//! The log: whether the file system was unmounted, or the newest changes stand only here.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 10 "Journaling Log": log records, operations.
//!
//! The log is a ring of blocks of 512 bytes. Each begins with the number of the turn in which it was written (a record's
//! first block with a magic number, then the turn). The head is where the turn drops by one. A clean log ends with a
//! record of one operation that says "unmount".

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::volume::Volume;

const BLOCK_BYTES: u32 = 512;
const MAGIC: u32 = 0xfeed_babe;
/// Longest record, its headers and as much again, in blocks: so far back is looked for the last.
const SEARCH_BLOCKS: u64 = 2 * (512 + 8);
/// Bytes of a record that one block of header describes.
const HEADER_COVERS_BYTES: u32 = 32 << 10;
/// In an operation: the log is its own client, and says that this is an unmount.
const CLIENT_LOG: u8 = 0xaa;
const FLAG_UNMOUNT: u8 = 0x20;

/// What the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is only in the log.
    Clean,
    /// The newest changes are only in the log.
    Dirty,
    /// The log is on a device of its own.
    External,
    /// The log has no sensible form.
    Unknown,
}

/// The ring.
struct Ring<'a> {
    volume: &'a Volume,
    at: u64,
    blocks: u64,
}

impl Ring<'_> {
    fn block(&self, number: u64) -> Result<Vec<u8>> {
        self.volume.read(self.at + number * u64::from(BLOCK_BYTES), BLOCK_BYTES)
    }

    /// The turn in which a block was written; 0 for never.
    fn turn(&self, number: u64) -> Result<u32> {
        let bytes = self.block(number)?;
        let fields = Fields::new(&bytes, "XFS log", self.at);
        match fields.be32(0)? {
            MAGIC => fields.be32(4),
            turn => Ok(turn),
        }
    }

    /// The first block that is not of the same turn as block 0, which is of turn `newest`.
    fn head(&self, newest: u32) -> Result<u64> {
        let (mut low, mut high) = (1, self.blocks);
        while low < high {
            let middle = u64::midpoint(low, high);
            if self.turn(middle)? == newest {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Whether the last record before `head` says "unmount" and ends there.
    fn ends_with_unmount(&self, head: u64) -> Result<bool> {
        for back in 1..=SEARCH_BLOCKS.min(self.blocks) {
            let number = (head + self.blocks - back) % self.blocks;
            let bytes = self.block(number)?;
            let fields = Fields::new(&bytes, "XFS log record", self.at);
            if fields.be32(0)? != MAGIC {
                continue;
            }
            let (version, len, operations) = (fields.be32(8)?, fields.be32(12)?, fields.be32(40)?);
            let covered = if version & 2 != 0 { fields.be32(320)?.max(HEADER_COVERS_BYTES) } else { 1 };
            let headers = u64::from(covered.div_ceil(HEADER_COVERS_BYTES));
            let blocks = headers + u64::from(len.div_ceil(BLOCK_BYTES));
            if operations != 1 || blocks != back || headers >= blocks {
                return Ok(false);
            }
            let operation = self.block((number + headers) % self.blocks)?;
            let operation = Fields::new(&operation, "XFS log operation", self.at);
            return Ok(operation.u8(8)? == CLIENT_LOG && operation.u8(9)? & FLAG_UNMOUNT != 0);
        }
        Ok(false)
    }
}

/// Looks at the log.
pub(super) fn state(volume: &Volume) -> Result<State> {
    let superblock = &volume.superblock;
    let Some(start) = superblock.log_start else {
        return Ok(State::External);
    };
    let Some(at) = superblock.byte_of_blocks(start, u64::from(superblock.log_blocks)) else {
        return Ok(State::Unknown);
    };
    let blocks = (u64::from(superblock.log_blocks) << superblock.block_log) / u64::from(BLOCK_BYTES);
    if blocks < 2 {
        return Ok(State::Unknown);
    }
    let ring = Ring { volume, at, blocks };
    let newest = ring.turn(0)?;
    // Made of zeros, as if nothing had ever been written.
    if newest == 0 {
        return Ok(State::Clean);
    }
    let is_clean = ring.ends_with_unmount(ring.head(newest)?)?;
    Ok(if is_clean { State::Clean } else { State::Dirty })
}
