//! The ring of blocks: which turn each is of, and where the newest turn ends.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::volume::Volume;
use std::cell::RefCell;
use std::ops::Range;

pub(super) const BLOCK_BYTES: u32 = 512;
/// How a record begins.
pub(super) const MAGIC: u32 = 0xfeed_babe;
/// As much is written at once, at most, in any order: eight buffers of 256 KiB.
const IN_FLIGHT_BLOCKS: u64 = 8 * 512;
/// Most blocks that are read at once.
pub(super) const READ_BLOCKS_MAX: u64 = 1024;

/// The ring.
pub(super) struct Ring<'a> {
    volume: &'a Volume,
    /// Byte of the first block.
    pub(super) at: u64,
    pub(super) blocks: u64,
    /// Single blocks that were read, until somebody asks for them.
    looked_at: RefCell<Option<Vec<Range<u64>>>>,
}

/// The turn a block says it is of; 0 for never written.
fn turn_of(block: &[u8], at: u64) -> Result<u32> {
    let fields = Fields::new(block, "XFS log", at);
    match fields.be32(0)? {
        MAGIC => fields.be32(4),
        turn => Ok(turn),
    }
}

impl<'a> Ring<'a> {
    /// The ring of a file system that has it on the same device.
    pub(super) fn of(volume: &'a Volume, start: u64) -> Result<Ring<'a>> {
        let superblock = &volume.superblock;
        let at = superblock.byte_of_blocks(start, u64::from(superblock.log_blocks));
        let blocks = (u64::from(superblock.log_blocks) << superblock.block_log) / u64::from(BLOCK_BYTES);
        match at {
            Some(at) if blocks >= 8 => Ok(Ring { volume, at, blocks, looked_at: RefCell::new(Some(Vec::new())) }),
            _ => Err(Error::damaged("XFS log", 0, "it lies outside")),
        }
    }

    /// `count` blocks from `number` on, around the end if need be.
    pub(super) fn read(&self, number: u64, count: u64) -> Result<Vec<u8>> {
        if count > READ_BLOCKS_MAX.min(self.blocks) {
            return Err(Error::damaged("XFS log record", self.at, "it is too long"));
        }
        let number = number % self.blocks;
        let first = count.min(self.blocks - number);
        let each = u64::from(BLOCK_BYTES);
        if let Some(looked_at) = self.looked_at.borrow_mut().as_mut().filter(|_| count == 1) {
            looked_at.push(self.at + number * each..self.at + (number + 1) * each);
        }
        let mut bytes = self.volume.read(self.at + number * each, (first * each) as u32)?.0;
        if count > first {
            bytes.extend(self.volume.read(self.at, ((count - first) * each) as u32)?.0);
        }
        Ok(bytes)
    }

    /// Places of the single blocks that were read; from now on they are not noted any more.
    pub(super) fn looked_at(&self) -> Vec<Range<u64>> {
        self.looked_at.borrow_mut().take().unwrap_or_default()
    }

    /// The block `count` before `number`.
    pub(super) fn before(&self, number: u64, count: u64) -> u64 {
        (number + self.blocks - count.min(self.blocks)) % self.blocks
    }

    /// How many blocks come before `to` from `from` on.
    pub(super) fn distance(&self, from: u64, to: u64) -> u64 {
        (to + self.blocks - from) % self.blocks
    }

    pub(super) fn turn(&self, number: u64) -> Result<u32> {
        turn_of(&self.read(number, 1)?, self.at)
    }

    /// The first block that is not of the same turn as block 0, which is of turn `newest`; the length of the ring if
    /// all are.
    pub(super) fn end_of_turn(&self, newest: u32) -> Result<u64> {
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

    /// The first block before `end` that was still to be written when all stopped, or `end`.
    pub(super) fn first_gap(&self, newest: u32, end: u64) -> Result<u64> {
        let count = IN_FLIGHT_BLOCKS.min(self.blocks / 2);
        let start = self.before(end, count);
        let mut done = 0;
        while done < count {
            let part = READ_BLOCKS_MAX.min(self.blocks).min(count - done);
            let bytes = self.read(start + done, part)?;
            for (n, block) in (done..).zip(bytes.chunks(BLOCK_BYTES as usize)) {
                let number = (start + n) % self.blocks;
                // Before block 0 the turn before; in the first turn nothing is there.
                let expected = if number < end { newest } else { newest.saturating_sub(1) };
                if expected > 0 && turn_of(block, self.at)? != expected {
                    return Ok(number);
                }
            }
            done += part;
        }
        Ok(end)
    }
}
