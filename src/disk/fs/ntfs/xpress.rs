//! XPRESS with Huffman codes: what WOF packs files with, chunk by chunk.
//!
//! Layout: [MS-XCA] 2.2. 256 bytes of code lengths of 512 symbols, then literals and back references.

use crate::disk::Result;
use crate::disk::fs::ntfs::huffman;
use crate::disk::fs::ntfs::huffman::Bits;
use crate::disk::fs::ntfs::huffman::Huffman;
use crate::disk::fs::ntfs::huffman::damaged;

const LENGTHS_BYTES: usize = 256;
const LITERALS: u16 = 256;
const LENGTH_MIN: usize = 3;
/// A longer length follows in a byte, or after 255 in two.
const LENGTH_MORE: usize = 15;

/// Unpacks one chunk of `len` bytes.
pub(super) fn unpack(packed: &[u8], len: usize) -> Result<Vec<u8>> {
    let (lengths, packed) = packed.split_at_checked(LENGTHS_BYTES).ok_or_else(|| damaged("it is cut off"))?;
    let lengths: Vec<u8> = lengths.iter().flat_map(|pair| [pair & 15, pair >> 4]).collect();
    let code = Huffman::new(&lengths)?;
    let mut bits = Bits::new(packed);
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        let symbol = code.symbol(&mut bits)?;
        let Some(reference) = symbol.checked_sub(LITERALS) else {
            out.push(symbol as u8);
            continue;
        };
        // Bytes of a length stand behind the words that would hold the distance.
        bits.hold(16);
        let mut length = usize::from(reference & 15);
        if length == LENGTH_MORE {
            length = match bits.plain(1)? {
                [255] => long_length(bits.plain(2)?)?,
                more => LENGTH_MORE + usize::from(more.first().copied().unwrap_or(0)),
            };
        }
        let distance_bits = u32::from(reference >> 4);
        let distance = (1 << distance_bits) + bits.take(distance_bits)? as usize;
        huffman::repeat(&mut out, distance, length + LENGTH_MIN, len)?;
    }
    Ok(out)
}

fn long_length(bytes: &[u8]) -> Result<usize> {
    let length = usize::from(bytes.first_chunk::<2>().map_or(0, |bytes| u16::from_le_bytes(*bytes)));
    if length < LENGTH_MORE {
        return Err(damaged("a length is longer than it has to be"));
    }
    Ok(length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The alphabet is one of the examples of the specification (3.2): all letters have a code of five or four bits.
    #[test]
    fn the_example_of_the_specification() {
        let mut packed = vec![0; 48];
        packed.extend([0x50, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x45, 0x44, 0x04]);
        packed.resize(128, 0);
        packed.push(4);
        packed.resize(256, 0);
        packed.extend([
            0xd8, 0x52, 0x3e, 0xd7, 0x94, 0x11, 0x5b, 0xe9, 0x19, 0x5f, 0xf9, 0xd6, 0x7c, 0xdf, 0x8d, 0x04, 0, 0, 0, 0,
        ]);
        assert_eq!(unpack(&packed, 26).unwrap(), b"abcdefghijklmnopqrstuvwxyz");
        assert!(unpack(&packed[..270], 26).is_err());
        assert!(unpack(&packed, 4096).is_err());
        assert!(unpack(&packed[..100], 26).is_err());
    }
}
