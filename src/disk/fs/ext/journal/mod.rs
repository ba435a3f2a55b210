//! The journal: transactions that were made durable but not yet put in place are laid over the blocks, in memory.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Journal (jbd2).
//!
//! Only places are kept: which block lies where in the journal. Blocks are read when they are wanted, and checked then.

mod scan;
mod tag;

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::Source;
use crate::disk::fs::ext::blocks;
use crate::disk::fs::ext::blocks::Piece;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::space;
use crate::disk::fs::ext::volume::Volume;
use std::collections::BTreeMap;
use std::ops::Range;

const WHAT: &str = "ext4 journal";
/// First four bytes of every block of the journal's own. In a logged block they are replaced by zeros.
const MAGIC: u32 = 0xc03b_3998;

const COMPAT_CHECKSUM: u32 = 1;
const INCOMPAT_REVOKE: u32 = 1;
const INCOMPAT_WIDE: u32 = 2;
const INCOMPAT_ASYNC_COMMIT: u32 = 4;
const INCOMPAT_CSUM_V2: u32 = 8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const INCOMPAT_KNOWN: u32 = INCOMPAT_REVOKE
    | INCOMPAT_WIDE
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;
const FAST_BLOCKS_DEFAULT: u32 = 256;
const RING_BLOCKS_MIN: u64 = 1024;

/// Blocks that may wait in a journal: those of 2 GiB, twice the largest journal that is made.
const LOGGED_MAX: usize = 512 << 10;
/// Parts a journal may lie in.
const PARTS_MAX: usize = 64 << 10;

/// Where the newest copy of a block lies in the journal.
#[derive(Debug, Clone, Copy)]
struct Logged {
    /// First byte, in the source.
    at: u64,
    /// Transaction it belongs to.
    sequence: u32,
    checksum: u32,
    is_escaped: bool,
}

/// What of a journal counts.
#[derive(Debug)]
pub(super) struct Journal {
    block_bytes: u64,
    seed: u32,
    /// Bits of a block's checksum that are kept.
    checksum_mask: u32,
    logged: BTreeMap<u64, Logged>,
    /// What was left out, in sentences.
    notes: Vec<String>,
}

impl Journal {
    /// Reads the journal of a volume; `None` if there is nothing in it.
    pub(super) fn read(volume: &Volume) -> Result<Option<Journal>> {
        let sb = volume.superblock();
        if sb.journal_inode == 0 {
            return Err(Error::unsupported("ext4 journal on another disk"));
        }
        let inode = Inode::read(volume, sb.journal_inode)?;
        let mut log = Log { source: volume.source().clone(), block_bytes: sb.block_bytes, parts: Vec::new() };
        let count = inode.size / sb.block_bytes;
        let mut at = 0;
        blocks::pieces(volume, &inode, 0..count, &mut |piece| {
            at = log.add(at, piece, volume)?;
            Ok(())
        })?;
        let first = log.block(0)?;
        let header = Header::parse(&Fields::new(&first, WHAT, inode.at), sb.block_bytes, at)?;
        if header.start == 0 {
            return Ok(None);
        }
        let mut journal = Journal {
            block_bytes: sb.block_bytes,
            seed: crc32c_running(!0, &header.uuid),
            checksum_mask: header.checksum_mask(),
            logged: BTreeMap::new(),
            notes: Vec::new(),
        };
        scan::all(&header, &log, &mut journal)?;
        Ok(Some(journal))
    }

    /// What lies over block `number`, if anything does.
    pub(super) fn block(&self, source: &Source, number: u64) -> Result<Option<Vec<u8>>> {
        let Some(logged) = self.logged.get(&number) else { return Ok(None) };
        let mut block = vec![0; self.block_bytes as usize];
        source.read_at(logged.at, &mut block)?;
        let sum = crc32c_running(crc32c_running(self.seed, &logged.sequence.swap_bytes().to_le_bytes()), &block);
        if sum & self.checksum_mask != logged.checksum & self.checksum_mask {
            return Err(Error::damaged("block in the ext4 journal", logged.at, "the checksum is wrong"));
        }
        if logged.is_escaped {
            let magic = MAGIC.swap_bytes().to_le_bytes();
            block.iter_mut().zip(magic).for_each(|(byte, magic)| *byte = magic);
        }
        Ok(Some(block))
    }

    /// Blocks of `range` that something lies over, in order.
    pub(super) fn logged(&self, range: Range<u64>) -> impl Iterator<Item = u64> {
        let range = range.start..range.end.max(range.start);
        self.logged.range(range).map(|(number, _)| *number)
    }

    /// Where the blocks lie in the source, in order.
    pub(super) fn places(&self) -> Vec<Range<u64>> {
        let places = self.logged.values().map(|logged| logged.at..logged.at.saturating_add(self.block_bytes));
        space::joined(places.collect())
    }

    /// What was left out, in sentences.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// The blocks of a journal.
struct Log {
    source: Source,
    block_bytes: u64,
    /// First block in the journal, first block in the volume, number of blocks.
    parts: Vec<(u64, u64, u64)>,
}

impl Log {
    fn add(&mut self, at: u64, piece: Piece, volume: &Volume) -> Result<u64> {
        let (first, count) = match piece {
            Piece::Map(_) => return Ok(at),
            Piece::Hole(_) => return Err(Error::damaged(WHAT, volume.byte(at), "it has holes")),
            Piece::Data { first, count } => (first, count),
        };
        let known = self.parts.len();
        match self.parts.last_mut() {
            Some((_, place, len)) if *place + *len == first => *len += count,
            _ if known < PARTS_MAX => self.parts.push((at, first, count)),
            _ => return Err(Error::damaged(WHAT, volume.byte(first), "it lies in too many parts")),
        }
        Ok(at + count)
    }

    /// Where block `number` lies in the source.
    fn place(&self, number: u64) -> Result<u64> {
        let part = self.parts.partition_point(|part| part.0 <= number).checked_sub(1).and_then(|n| self.parts.get(n));
        let place = part.filter(|part| number - part.0 < part.2).map(|part| part.1 + (number - part.0));
        let place = place.and_then(|place| place.checked_mul(self.block_bytes));
        place.ok_or(Error::damaged(WHAT, 0, "it points outside of itself"))
    }

    fn block(&self, number: u64) -> Result<Vec<u8>> {
        let mut block = vec![0; self.block_bytes as usize];
        self.source.read_at(self.place(number)?, &mut block)?;
        Ok(block)
    }
}

/// The journal's superblock.
struct Header {
    /// The blocks that are written round and round.
    ring: Range<u64>,
    /// Where those of fast commits end. They follow the ring, one block apart.
    fast_end: u64,
    /// First transaction.
    sequence: u32,
    /// Where it begins; 0: there is none.
    start: u64,
    compat: u32,
    incompat: u32,
    uuid: [u8; 16],
}

impl Header {
    fn parse(f: &Fields, block_bytes: u64, blocks: u64) -> Result<Header> {
        let version = f.be32(4)?;
        if f.be32(0)? != MAGIC || !(3..=4).contains(&version) {
            return Err(f.damaged("the superblock is wrong"));
        }
        let flags = |at| if version == 4 { f.be32(at) } else { Ok(0) };
        let (compat, incompat) = (flags(0x24)?, flags(0x28)?);
        if incompat & !INCOMPAT_KNOWN != 0 {
            return Err(Error::unsupported(format!("ext4 journal with incompatible flags {incompat:#x}")));
        }
        let has_checksums = incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0;
        if has_checksums {
            let parts = [f.bytes(0, 0xfc)?, &[0; 4], f.bytes(0x100, 1024 - 0x100)?];
            if f.u8(0x50)? != 4 || parts.iter().fold(!0, |crc, part| crc32c_running(crc, part)) != f.be32(0xfc)? {
                return Err(f.damaged("the checksum is wrong"));
            }
        }
        let (end, first) = (u64::from(f.be32(0x10)?), u64::from(f.be32(0x14)?));
        let fast = match (incompat & INCOMPAT_FAST_COMMIT != 0, f.be32(0x54)?) {
            (false, _) => 0,
            (true, 0) => FAST_BLOCKS_DEFAULT,
            (true, count) => count,
        };
        // A ring that would become too short by it is left whole.
        let shorter = end.checked_sub(u64::from(fast)).filter(|end| *end >= RING_BLOCKS_MIN);
        let ring = first..shorter.unwrap_or(end);
        let start = u64::from(f.be32(0x1c)?);
        if u64::from(f.be32(0xc)?) != block_bytes || end > blocks || first == 0 || ring.is_empty() {
            return Err(f.damaged("its size is impossible"));
        }
        if start != 0 && !ring.contains(&start) {
            return Err(f.damaged("it begins outside of itself"));
        }
        Ok(Header { ring, fast_end: end, sequence: f.be32(0x18)?, start, compat, incompat, uuid: f.array(0x30)? })
    }

    fn has(&self, flag: u32) -> bool {
        self.incompat & flag != 0
    }

    /// Whether blocks of the journal have checksums.
    fn has_checksums(&self) -> bool {
        self.has(INCOMPAT_CSUM_V2) || self.has(INCOMPAT_CSUM_V3)
    }

    fn checksum_mask(&self) -> u32 {
        match (self.has(INCOMPAT_CSUM_V3), self.has(INCOMPAT_CSUM_V2)) {
            (true, _) => u32::MAX,
            (false, true) => 0xffff,
            (false, false) => 0,
        }
    }
}
