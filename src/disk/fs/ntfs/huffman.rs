//! Bits and canonical Huffman codes as XPRESS and LZX have them: 16-bit words, highest bit first.

use crate::disk::Error;
use crate::disk::Result;

/// No code is longer.
pub(super) const CODE_BITS_MAX: usize = 16;
/// Codes up to this length are looked up in one step.
const TABLE_BITS: u32 = 10;

/// The packed bytes break the rule `why`.
pub(super) fn damaged(why: &'static str) -> Error {
    Error::damaged("packed data", 0, why)
}

/// Packed bytes, read bit by bit.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next bits, from the highest on.
    held: u64,
    count: u32,
    /// How many of the bits that are held are behind the end.
    invented: u32,
}

impl<'a> Bits<'a> {
    /// All bits of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, held: 0, count: 0, invented: 0 }
    }

    /// Takes words in until `count` bits are held, up to 17; which words are taken when tells where plain bytes begin.
    pub(super) fn hold(&mut self, count: u32) {
        while self.count < count {
            let word = match self.bytes.split_first_chunk::<2>() {
                Some((word, rest)) => {
                    self.bytes = rest;
                    u16::from_le_bytes(*word)
                }
                // A code may be looked up near the end; using these bits is the fault.
                None => {
                    self.invented += 16;
                    0
                }
            };
            self.held |= u64::from(word) << (48 - self.count);
            self.count += 16;
        }
    }

    /// The next 16 bits.
    fn peek(&mut self) -> u16 {
        self.hold(16);
        (self.held >> 48) as u16
    }

    fn skip(&mut self, count: u32) -> Result<()> {
        self.held <<= count;
        self.count = self.count.checked_sub(count).filter(|left| *left >= self.invented).ok_or_else(cut_off)?;
        Ok(())
    }

    /// The next `count` bits, up to 17, as a number.
    pub(super) fn take(&mut self, count: u32) -> Result<u32> {
        if count == 0 {
            return Ok(0);
        }
        self.hold(count);
        let value = (self.held >> (64 - count)) as u32;
        self.skip(count)?;
        Ok(value)
    }

    /// Leaves what is held, and at least one bit.
    pub(super) fn align(&mut self) {
        self.hold(1);
        (self.held, self.count, self.invented) = (0, 0, 0);
    }

    /// Plain bytes, from the next word on that is not held.
    pub(super) fn plain(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(cut_off)?;
        self.bytes = rest;
        Ok(taken)
    }
}

fn cut_off() -> Error {
    damaged("it is cut off")
}

/// A canonical code: shorter codes first, and of one length by symbol.
pub(super) struct Huffman {
    /// Symbol and length for each start of up to [`TABLE_BITS`] bits; 0 for longer codes.
    table: Vec<u16>,
    /// Of each length: first code, how many, and the place of the first among the symbols.
    lengths: [(u32, u32, u32); CODE_BITS_MAX + 1],
    symbols: Vec<u16>,
}

impl Huffman {
    /// The code of symbols with these lengths; 0 for symbols that do not occur.
    pub(super) fn new(lens: &[u8]) -> Result<Huffman> {
        let mut lengths = [(0u32, 0u32, 0u32); CODE_BITS_MAX + 1];
        let mut symbols = Vec::with_capacity(lens.len());
        let mut table = vec![0; 1 << TABLE_BITS];
        let mut code = 0u32;
        for len in 1..=CODE_BITS_MAX {
            code <<= 1;
            let first = (code, symbols.len() as u32);
            for (symbol, _) in (0u16..).zip(lens).filter(|(_, other)| usize::from(**other) == len) {
                symbols.push(symbol);
                if let Some(spare) = TABLE_BITS.checked_sub(len as u32) {
                    let start = (code as usize) << spare;
                    let slots = table.get_mut(start..start + (1 << spare));
                    slots.ok_or_else(over_full)?.fill(symbol << 5 | len as u16);
                }
                code += 1;
            }
            if code > 1 << len {
                return Err(over_full());
            }
            if let Some(length) = lengths.get_mut(len) {
                *length = (first.0, symbols.len() as u32 - first.1, first.1);
            }
        }
        Ok(Huffman { table, lengths, symbols })
    }

    /// The next symbol.
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Result<u16> {
        let next = bits.peek();
        let entry = self.table.get(usize::from(next >> (16 - TABLE_BITS))).copied().unwrap_or(0);
        if entry != 0 {
            bits.skip(u32::from(entry & 31))?;
            return Ok(entry >> 5);
        }
        for (len, (first, count, place)) in (0u32..).zip(&self.lengths).skip(1) {
            let index = (u32::from(next) >> (16 - len)).checked_sub(*first).filter(|index| index < count);
            if let Some(symbol) = index.and_then(|index| self.symbols.get((place + index) as usize)) {
                bits.skip(len)?;
                return Ok(*symbol);
            }
        }
        Err(damaged("it has a code for nothing"))
    }
}

fn over_full() -> Error {
    damaged("a code has too many symbols")
}

/// Appends `len` bytes that stand `distance` bytes before the end.
pub(super) fn repeat(out: &mut Vec<u8>, distance: usize, len: usize, len_max: usize) -> Result<()> {
    let start = out.len().checked_sub(distance).filter(|_| distance > 0);
    let start = start.ok_or_else(|| damaged("a back reference leaves its chunk"))?;
    if len > len_max.saturating_sub(out.len()) {
        return Err(damaged("it is longer than it says"));
    }
    // Bytes that are appended may be referred to as well.
    for at in start..start + len {
        let byte = out.get(at).copied().unwrap_or(0);
        out.push(byte);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_all_lengths() {
        let lens: Vec<u8> = (1..=15).chain([15]).collect();
        let code = Huffman::new(&lens).unwrap();
        // 0, 10, 110, then fifteen ones, then 1111_1111_1110.
        let text = "0 10 110 111111111111111 111111111110".replace(' ', "");
        let text = format!("{text:0<48}");
        let words =
            text.as_bytes().chunks(16).map(|word| u16::from_str_radix(std::str::from_utf8(word).unwrap(), 2).unwrap());
        let bytes: Vec<u8> = words.flat_map(u16::to_le_bytes).collect();
        let mut bits = Bits::new(&bytes);
        let symbols: Vec<u16> = (0..5).map(|_| code.symbol(&mut bits).unwrap()).collect();
        assert_eq!(symbols, [0, 1, 2, 15, 11]);
        assert_eq!(bits.take(15).unwrap(), 0);
        assert!(bits.take(1).is_err());
    }

    #[test]
    fn codes_that_cannot_be() {
        assert!(Huffman::new(&[1, 1, 1]).is_err());
        assert!(Huffman::new(&[12; 5000]).is_err());
        let code = Huffman::new(&[2, 2]).unwrap();
        assert!(code.symbol(&mut Bits::new(&[0, 0x80])).is_err());
        assert!(code.symbol(&mut Bits::new(&[])).is_err());
    }

    #[test]
    fn references() {
        let mut out = b"ab".to_vec();
        repeat(&mut out, 2, 5, 7).unwrap();
        assert_eq!(out, b"abababa");
        assert!(repeat(&mut out, 1, 1, 7).is_err());
        assert!(repeat(&mut out, 8, 1, 9).is_err());
        assert!(repeat(&mut out, 0, 1, 9).is_err());
    }
}
