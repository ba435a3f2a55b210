//! zisofs: files that were compressed block by block with zlib. (Rock Ridge entry `ZF`: "zisofs format", versions 1 of
//! entry and header.)

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;

/// The first bytes of such a file.
const MAGIC: [u8; 8] = [0x37, 0xE4, 0x53, 0x96, 0xC9, 0xDB, 0xD6, 0x07];
/// Bytes of the header; pointers follow.
pub(crate) const HEADER_BYTES: u64 = 16;
/// Bytes of the pointer to a block.
pub(crate) const POINTER_BYTES: u64 = 4;

const WHAT: &str = "zisofs file";
const SHIFTS: std::ops::RangeInclusive<u8> = 15..=17;

/// What the entry `ZF` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zisofs {
    algorithm: [u8; 2],
    header_words: u8,
    block_shift: u8,
    /// Bytes of the content.
    pub(crate) size: u64,
}

impl Zisofs {
    /// Reads an entry.
    pub(crate) fn read(entry: &Fields) -> Result<Zisofs> {
        let algorithm = entry.array(4)?;
        // The second version has a longer size.
        let size = if algorithm == *b"PZ" { entry.u64(8)? } else { u64::from(entry.u32(8)?) };
        Ok(Zisofs { algorithm, header_words: entry.u8(6)?, block_shift: entry.u8(7)?, size })
    }

    /// True if the content can be told, given the first [`HEADER_BYTES`] that are stored.
    pub(crate) fn check(&self, header: &[u8]) -> Result<()> {
        if self.algorithm != *b"pz" {
            let name = String::from_utf8_lossy(&self.algorithm).into_owned();
            return Err(Error::unsupported(format!("the compression {name:?} of zisofs")));
        }
        let header = Fields::new(header, WHAT, 0);
        let is_same = header.array(0)? == MAGIC
            && u64::from(header.u32(8)?) == self.size
            && header.u8(12)? == self.header_words
            && header.u8(13)? == self.block_shift;
        if !is_same || u64::from(self.header_words) * 4 != HEADER_BYTES || !SHIFTS.contains(&self.block_shift) {
            return Err(header.damaged("its header does not fit to its entry"));
        }
        Ok(())
    }

    /// Bytes of a block, if [`Zisofs::check`] found nothing.
    pub(crate) fn block_bytes(&self) -> u64 {
        1 << self.block_shift.min(*SHIFTS.end())
    }

    /// Bytes of the block `index`; the last one is shorter.
    pub(crate) fn len_of(&self, index: u64) -> usize {
        self.size.saturating_sub(index.saturating_mul(self.block_bytes())).min(self.block_bytes()) as usize
    }

    /// Where the block lies in what is stored, from its pointer and the next one.
    pub(crate) fn stored(&self, pointers: &[u8]) -> Result<std::ops::Range<u64>> {
        let pointers = Fields::new(pointers, WHAT, 0);
        let (start, end) = (u64::from(pointers.u32(0)?), u64::from(pointers.u32(4)?));
        if start > end || end - start > 2 * self.block_bytes() {
            return Err(pointers.damaged("a block has no such place"));
        }
        Ok(start..end)
    }

    /// The `len` bytes of a block that is stored as `stored`.
    pub(crate) fn unpack(&self, stored: &[u8], len: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; len];
        let mut stream = Decompress::new(true);
        let status = stream.decompress(stored, &mut out, FlushDecompress::Finish);
        if !matches!(status, Ok(Status::StreamEnd)) || stream.total_out() != len as u64 {
            return Err(Error::damaged(WHAT, 0, "a block cannot be unpacked"));
        }
        Ok(out)
    }
}
