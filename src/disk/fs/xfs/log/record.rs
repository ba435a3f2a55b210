//! A record of the log: its headers, and its data with the words that the turns stand in place of.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 10 "Journaling Log": log records.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_append;
use crate::disk::fs::xfs::crc32c;
use crate::disk::fs::xfs::log::ring::BLOCK_BYTES;
use crate::disk::fs::xfs::log::ring::MAGIC;
use crate::disk::fs::xfs::log::ring::Ring;

const WHAT: &str = "XFS log record";
/// Bytes of a record that one block of header describes, and the blocks of that.
const HEADER_COVERS_BYTES: u32 = 32 << 10;
const HEADER_COVERS_BLOCKS: usize = 64;
const LEN_MAX: u32 = 256 << 10;
const CRC_AT: usize = 32;
/// Bytes of the header as the checksum counts them: 64-bit and 32-bit machines fill it up differently.
const HEADER_BYTES: [usize; 2] = [328, 324];
const EXTENDED_HEADER_BYTES: usize = 260;
/// The log was written by a machine whose numbers are little-endian.
const FORMAT_LITTLE_ENDIAN: u32 = 1;

/// The headers of a record.
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) turn: u32,
    /// Where what is not yet in place began when this was written.
    pub(super) tail: u64,
    pub(super) operations: u32,
    /// The numbers in items are in the order of a little-endian machine.
    pub(super) is_little_endian: bool,
    header_blocks: u64,
    len: u32,
}

impl Record {
    /// Reads the headers of a record at a block, if one begins there.
    pub(super) fn at(ring: &Ring<'_>, number: u64) -> Result<Option<Record>> {
        let bytes = ring.read(number, 1)?;
        let fields = Fields::new(&bytes, WHAT, ring.at);
        if fields.be32(0)? != MAGIC {
            return Ok(None);
        }
        let (version, len) = (fields.be32(8)?, fields.be32(12)?);
        let covered = if version & 2 != 0 { fields.be32(320)?.max(1) } else { 1 };
        if len > LEN_MAX || covered > LEN_MAX {
            return Ok(None);
        }
        Ok(Some(Record {
            number: number % ring.blocks,
            turn: fields.be32(4)?,
            tail: u64::from(fields.be32(28)?),
            operations: fields.be32(40)?,
            is_little_endian: fields.be32(300)? == FORMAT_LITTLE_ENDIAN,
            header_blocks: u64::from(covered.div_ceil(HEADER_COVERS_BYTES)),
            len,
        }))
    }

    /// Blocks of headers and data.
    pub(super) fn blocks(&self) -> u64 {
        self.header_blocks + u64::from(self.len.div_ceil(BLOCK_BYTES))
    }

    /// The data as it was before the turns were written into it, if the checksum is right.
    pub(super) fn data(&self, ring: &Ring<'_>, needs_checksum: bool) -> Result<Option<Vec<u8>>> {
        let mut bytes = ring.read(self.number, self.blocks())?;
        let start = (self.header_blocks * u64::from(BLOCK_BYTES)) as usize;
        let start = start.min(bytes.len());
        let (headers, data) = bytes.split_at_mut(start);
        let fields = Fields::new(headers, WHAT, ring.at);
        let len = self.len as usize;
        let wanted = fields.u32(CRC_AT)?;
        if (needs_checksum || wanted != 0)
            && !self.has_checksum(&fields, Fields::new(data, WHAT, 0).bytes(0, len)?, wanted)?
        {
            return Ok(None);
        }
        for (n, block) in data.chunks_mut(BLOCK_BYTES as usize).enumerate() {
            // The words of the first 64 blocks are in the first header, of the next in the next.
            let (header, place) = (n / HEADER_COVERS_BLOCKS, n % HEADER_COVERS_BLOCKS);
            let table = if header == 0 { 44 } else { header * BLOCK_BYTES as usize + 4 };
            let word: [u8; 4] = fields.array(table + place * 4)?;
            if let Some(room) = block.first_chunk_mut() {
                *room = word;
            }
        }
        bytes.drain(..start);
        bytes.truncate(len);
        Ok(Some(bytes))
    }

    fn has_checksum(&self, headers: &Fields<'_>, data: &[u8], wanted: u32) -> Result<bool> {
        for header_bytes in HEADER_BYTES {
            let mut sum = crc32c::without_field(headers.bytes(0, header_bytes)?, CRC_AT);
            for extended in 1..self.header_blocks as usize {
                let at = extended * BLOCK_BYTES as usize;
                sum = crc32c_append(sum, headers.bytes(at, EXTENDED_HEADER_BYTES)?);
            }
            if crc32c_append(sum, data) == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
