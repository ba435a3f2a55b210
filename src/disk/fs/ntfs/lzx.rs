//! LZX as WIM files and WOF have it: chunks of 32 KiB, each for itself.
//!
//! Layout: [MS-PATCH] "LZX DELTA" for the codes; the variant of WIM has a window of 32 KiB, one bit that stands for a
//! block of that length, and always translates calls of x86 code, as if the file had 12 000 000 bytes.

use crate::disk::Result;
use crate::disk::fs::ntfs::huffman;
use crate::disk::fs::ntfs::huffman::Bits;
use crate::disk::fs::ntfs::huffman::Huffman;
use crate::disk::fs::ntfs::huffman::damaged;

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = 32 << 10;

const LITERALS: usize = 256;
/// Slots of distances for a window of 32 KiB.
const SLOTS: usize = 30;
const MAIN_SYMBOLS: usize = LITERALS + 8 * SLOTS;
const LENGTH_SYMBOLS: usize = 249;
const PRE_SYMBOLS: usize = 20;
const LENGTH_MIN: usize = 2;
/// A longer length follows in a code of its own.
const LENGTH_MORE: usize = 7;
/// Code lengths are counted modulo this.
const LENGTH_MODULUS: u8 = 17;

const BLOCK_VERBATIM: u32 = 1;
const BLOCK_ALIGNED: u32 = 2;
const BLOCK_PLAIN: u32 = 3;

const CALL: u8 = 0xe8;
const CALL_FILE_BYTES: i32 = 12_000_000;
/// No call is translated in the last bytes.
const CALL_TAIL: usize = 10;

struct Decoder<'a> {
    bits: Bits<'a>,
    /// Lengths of the codes of the block before.
    main: [u8; MAIN_SYMBOLS],
    length: [u8; LENGTH_SYMBOLS],
    /// The last three distances.
    recent: [usize; 3],
    out: Vec<u8>,
    len: usize,
}

/// Unpacks one chunk of `len` bytes.
pub(super) fn unpack(packed: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut decoder = Decoder {
        bits: Bits::new(packed),
        main: [0; MAIN_SYMBOLS],
        length: [0; LENGTH_SYMBOLS],
        recent: [1; 3],
        out: Vec::with_capacity(len),
        len,
    };
    while decoder.out.len() < len {
        decoder.block()?;
    }
    let mut out = decoder.out;
    translate_calls(&mut out);
    Ok(out)
}

impl Decoder<'_> {
    fn block(&mut self) -> Result<()> {
        let kind = self.bits.take(3)?;
        let size = if self.bits.take(1)? == 1 { CHUNK_BYTES } else { self.bits.take(16)? as usize };
        let end = self.out.len().saturating_add(size);
        if size == 0 || end > self.len {
            return Err(damaged("a block is longer than its chunk"));
        }
        match kind {
            BLOCK_VERBATIM => self.coded(end, None),
            BLOCK_ALIGNED => {
                let mut lens = [0; 8];
                for len in &mut lens {
                    *len = self.bits.take(3)? as u8;
                }
                self.coded(end, Some(Huffman::new(&lens)?))
            }
            BLOCK_PLAIN => self.plain(size),
            _ => Err(damaged("a block is of no kind")),
        }
    }

    fn plain(&mut self, size: usize) -> Result<()> {
        self.bits.align();
        for recent in &mut self.recent {
            let bytes = self.bits.plain(4)?.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            *recent = bytes as usize;
        }
        let bytes = self.bits.plain(size)?;
        self.out.extend_from_slice(bytes);
        if !size.is_multiple_of(2) && self.out.len() < self.len {
            self.bits.plain(1)?;
        }
        Ok(())
    }

    fn coded(&mut self, end: usize, aligned: Option<Huffman>) -> Result<()> {
        let (literals, references) = self.main.split_at_mut(LITERALS);
        code_lengths(&mut self.bits, literals)?;
        code_lengths(&mut self.bits, references)?;
        code_lengths(&mut self.bits, &mut self.length)?;
        let (main, length) = (Huffman::new(&self.main)?, Huffman::new(&self.length)?);
        while self.out.len() < end {
            let symbol = usize::from(main.symbol(&mut self.bits)?);
            let Some(reference) = symbol.checked_sub(LITERALS) else {
                self.out.push(symbol as u8);
                continue;
            };
            let mut len = reference % 8;
            if len == LENGTH_MORE {
                len += usize::from(length.symbol(&mut self.bits)?);
            }
            let distance = self.distance(reference / 8, aligned.as_ref())?;
            huffman::repeat(&mut self.out, distance, len + LENGTH_MIN, end)?;
        }
        Ok(())
    }

    fn distance(&mut self, slot: usize, aligned: Option<&Huffman>) -> Result<usize> {
        let [first, second, third] = self.recent;
        self.recent = match slot {
            0 => self.recent,
            1 => [second, first, third],
            2 => [third, second, first],
            slot => {
                let extra = (slot as u32 / 2).saturating_sub(1);
                // The first slots are single distances, then there are two of each size.
                let base = if slot < 4 { slot } else { (2 + slot % 2) << extra };
                let more = match aligned {
                    Some(aligned) if extra >= 3 => {
                        let high = self.bits.take(extra - 3)? << 3;
                        high | u32::from(aligned.symbol(&mut self.bits)?)
                    }
                    _ => self.bits.take(if slot < 4 { 0 } else { extra })?,
                };
                [base + more as usize - 2, first, second]
            }
        };
        Ok(self.recent[0])
    }
}

/// Lengths of a code, told as differences to those of the block before, with a code of their own.
fn code_lengths(bits: &mut Bits<'_>, lens: &mut [u8]) -> Result<()> {
    let mut pre = [0; PRE_SYMBOLS];
    for len in &mut pre {
        *len = bits.take(4)? as u8;
    }
    let pre = Huffman::new(&pre)?;
    let changed = |before: u8, symbol: u16| (before + LENGTH_MODULUS - symbol as u8) % LENGTH_MODULUS;
    let mut at = 0;
    while let Some(before) = lens.get(at).copied() {
        let (len, count) = match pre.symbol(bits)? {
            17 => (0, 4 + bits.take(4)? as usize),
            18 => (0, 20 + bits.take(5)? as usize),
            19 => {
                let count = 4 + bits.take(1)? as usize;
                match pre.symbol(bits)? {
                    symbol @ 0..17 => (changed(before, symbol), count),
                    _ => return Err(damaged("a run of lengths is of no length")),
                }
            }
            symbol => (changed(before, symbol), 1),
        };
        let end = at + count;
        lens.get_mut(at..end).ok_or_else(|| damaged("it has lengths for too many symbols"))?.fill(len);
        at = end;
    }
    Ok(())
}

/// Calls have absolute targets in packed code, so that calls of one function are the same bytes.
fn translate_calls(out: &mut [u8]) {
    let end = out.len().saturating_sub(CALL_TAIL);
    let mut at = 0;
    while at < end {
        if out.get(at) != Some(&CALL) {
            at += 1;
            continue;
        }
        if let Some(target) = out.get_mut(at + 1..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            let (absolute, here) = (i32::from_le_bytes(*target), at as i32);
            if (0..CALL_FILE_BYTES).contains(&absolute) {
                *target = (absolute - here).to_le_bytes();
            } else if (-here..0).contains(&absolute) {
                *target = (absolute + CALL_FILE_BYTES).to_le_bytes();
            }
        }
        at += 5;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A block of plain bytes: kind 3, not of full length, 16 bits of length, padding, three distances.
    fn plain(bytes: &[u8]) -> Vec<u8> {
        let header = (3u32 << 29 | (bytes.len() as u32) << 12).to_le_bytes();
        let mut packed = vec![header[2], header[3], header[0], header[1]];
        packed.extend([1, 0, 0, 0].repeat(3));
        packed.extend_from_slice(bytes);
        packed
    }

    #[test]
    fn a_plain_block_with_a_call() {
        let mut bytes = b"0123456789".to_vec();
        bytes.extend([CALL, 0x2a, 1, 0, 0]);
        bytes.extend_from_slice(b"0123456789");
        let mut wanted = bytes.clone();
        wanted[11] = 0x20;
        assert_eq!(unpack(&plain(&bytes), bytes.len()).unwrap(), wanted);
        assert!(unpack(&plain(&bytes), bytes.len() - 1).is_err());
        assert!(unpack(&plain(&bytes)[..30], bytes.len()).is_err());
    }

    #[test]
    fn blocks_that_cannot_be() {
        for packed in [&[][..], &[0, 0, 0, 0], &[0, 0xff, 0, 0], &[0, 0x20, 0, 0, 0, 0, 0, 0], &[0xff; 40]] {
            assert!(unpack(packed, 100).is_err(), "{packed:x?}");
        }
    }
}
