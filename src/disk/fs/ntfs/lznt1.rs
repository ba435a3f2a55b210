//! LZNT1: what compressed files are packed with.
//!
//! Layout: [MS-XCA] 2.5. Chunks of 4096 bytes, each of literals and back references whose bits for distance and length
//! are shared out anew as the chunk grows.

use crate::disk::Error;
use crate::disk::Result;

const CHUNK_BYTES: usize = 4096;

fn damaged(why: &'static str) -> Error {
    Error::damaged("LZNT1 data", 0, why)
}

/// Unpacks to exactly `len` bytes; what is not told is zeros.
pub(super) fn unpack(mut packed: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        let Some((header, rest)) = packed.split_first_chunk::<2>() else { break };
        let header = u16::from_le_bytes(*header);
        if header == 0 {
            break;
        }
        if header & 0x7000 != 0x3000 {
            return Err(damaged("a chunk has no signature"));
        }
        let packed_len = usize::from(header & 0xfff) + 1;
        let (chunk, rest) = rest.split_at_checked(packed_len).ok_or_else(|| damaged("a chunk is cut off"))?;
        packed = rest;
        // Every chunk begins at a multiple of its size.
        out.resize(out.len().next_multiple_of(CHUNK_BYTES), 0);
        if header & 0x8000 == 0 {
            out.extend_from_slice(chunk.get(..chunk.len().min(CHUNK_BYTES)).unwrap_or_default());
        } else {
            unpack_chunk(chunk, &mut out)?;
        }
    }
    out.resize(len, 0);
    Ok(out)
}

fn unpack_chunk(chunk: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let mut bytes = chunk.iter().copied();
    while let Some(flags) = bytes.next() {
        for bit in 0..8 {
            if flags >> bit & 1 == 0 {
                let Some(literal) = bytes.next() else { return Ok(()) };
                out.push(literal);
            } else {
                let Some(low) = bytes.next() else { return Ok(()) };
                let high = bytes.next().ok_or_else(|| damaged("a back reference is cut off"))?;
                let done = out.len() - start;
                // As many bits of distance as reach to the start of the chunk, at least four.
                let distance_bits = (usize::BITS - done.saturating_sub(1).leading_zeros()).max(4);
                let pair = u16::from_le_bytes([low, high]);
                let length_bits = 16u32.saturating_sub(distance_bits);
                let distance = usize::from(pair >> length_bits) + 1;
                let length = usize::from(pair & ((1 << length_bits) - 1)) + 3;
                if distance > done {
                    return Err(damaged("a back reference leaves its chunk"));
                }
                for _ in 0..length {
                    let byte = out.get(out.len() - distance).copied();
                    out.push(byte.ok_or_else(|| damaged("a back reference leaves its chunk"))?);
                }
            }
            if out.len() - start > CHUNK_BYTES {
                return Err(damaged("a chunk is too long"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        let packed = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47, 0x01, 0xa0, 0x45,
            0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4,
            0x02, 0x4a, 0x44, 0xef, 0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00,
            0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        let text = "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# \
                    G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        assert_eq!(String::from_utf8(unpack(&packed, text.len()).unwrap()).unwrap(), text);
    }

    #[test]
    fn a_run_and_a_literal_chunk() {
        let mut packed = vec![0x03, 0xb0, 0x02, b'a', 0xfc, 0x0f, 0x01, 0x30, b'x', b'y'];
        let mut wanted = vec![b'a'; 4096];
        wanted.extend_from_slice(b"xy\0\0");
        assert_eq!(unpack(&packed, 4100).unwrap(), wanted);
        packed[4] = 0xfd;
        assert!(unpack(&packed, 4100).is_err());
    }

    #[test]
    fn packed_bytes_that_cannot_be() {
        for packed in [&[0x01, 0x80, 1, 1][..], &[0x05, 0xb0, 0], &[0x02, 0xb0, 0x01, 0, 0], &[0x01, 0xb0, 0x01, 0]] {
            assert!(unpack(packed, 4096).is_err(), "{packed:x?}");
        }
        assert_eq!(unpack(&[], 3).unwrap(), [0; 3]);
    }
}
