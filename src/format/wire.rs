//! Reading and writing the primitive values of the format: fixed little-endian numbers, LEB128 varints, byte strings.
//! A [`Reader`] never reads beyond its slice, never allocates more than is there, and names the rule that was broken.

use crate::path::NameError;

/// A rule of the format that some bytes break. One variant per rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes end too early.
    #[error("ends within {what}")]
    Short {
        /// The field that is cut.
        what: &'static str,
    },
    /// Bytes are left over.
    #[error("{count} bytes left over after {what}")]
    Trailing {
        /// What was read.
        what: &'static str,
        /// How many are left.
        count: usize,
    },
    /// A number above its limit.
    #[error("{what} is {value}, allowed are at most {max}")]
    Limit {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// A byte that stands for nothing.
    #[error("{what} has the unknown value {value}")]
    Unknown {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Not one of ours.
    #[error("does not begin with the magic bytes of Bygone")]
    Magic,
    /// Written by a newer program.
    #[error("has format version {found}, this program reads up to {known}")]
    Newer {
        /// Version found.
        found: u16,
        /// Newest version known.
        known: u16,
    },
    /// The clear checksum does not match: damaged.
    #[error("checksum does not match, the object is damaged")]
    Checksum,
    /// The object is of another repository, type or name than expected.
    #[error("{what} is not the expected one, objects were swapped or mixed up")]
    Mismatch {
        /// The field.
        what: &'static str,
    },
    /// Sealed under another key.
    #[error("is sealed under another key")]
    Commitment,
    /// A segment fails authentication.
    #[error("segment {index} fails authentication")]
    Segment {
        /// Which.
        index: u64,
    },
    /// The length of the object does not follow from its header.
    #[error("is {found} bytes long, its header says {expected}")]
    Length {
        /// Length by the header.
        expected: u64,
        /// Real length.
        found: u64,
    },
    /// A name or path that cannot stand in a snapshot.
    #[error("bad name in {what}")]
    Name {
        /// The field.
        what: &'static str,
        /// The rule.
        #[source]
        source: NameError,
    },
    /// Things that must be sorted are not.
    #[error("{what} are not in order")]
    Order {
        /// Which things.
        what: &'static str,
    },
    /// Compressed data is damaged.
    #[error("compressed data is damaged")]
    Compressed(#[from] crate::compress::CompressError),
    /// The plaintext does not have the id it should have.
    #[error("content does not match its id")]
    Id,
}

/// Result of decoding.
pub type Result<T> = std::result::Result<T, FormatError>;

/// Reads values from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// Bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(FormatError::Short { what })?;
        self.0 = rest;
        Ok(front)
    }

    /// A fixed array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk().ok_or(FormatError::Short { what })?;
        self.0 = rest;
        Ok(*front)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// Little-endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Little-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Little-endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// LEB128, at most 10 bytes, no more than 64 bits, no needless bytes: a number has one form only.
    pub fn varint(&mut self, what: &'static str) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(FormatError::Limit { what, value: u64::MAX, max: u64::MAX });
            }
            value |= bits << shift;
            if byte == 0 && shift > 0 {
                break;
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FormatError::Unknown { what, value })
    }

    /// A varint within a limit.
    pub fn varint_max(&mut self, max: u64, what: &'static str) -> Result<u64> {
        let value = self.varint(what)?;
        if value > max {
            return Err(FormatError::Limit { what, value, max });
        }
        Ok(value)
    }

    /// A varint that fits 32 bits.
    pub fn varint32(&mut self, what: &'static str) -> Result<u32> {
        let value = self.varint(what)?;
        u32::try_from(value).map_err(|_| FormatError::Limit { what, value, max: u32::MAX.into() })
    }

    /// A count of things that take at least `bytes_each`: never more than can be there.
    pub fn count(&mut self, bytes_each: usize, what: &'static str) -> Result<usize> {
        let value = self.varint(what)?;
        let max = self.0.len() / bytes_each.max(1);
        match usize::try_from(value) {
            Ok(count) if count <= max => Ok(count),
            _ => Err(FormatError::Limit { what, value, max: max.try_into().unwrap_or(u64::MAX) }),
        }
    }

    /// Zigzag varint.
    pub fn signed(&mut self, what: &'static str) -> Result<i64> {
        let raw = self.varint(what)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// Length as varint, then the bytes.
    pub fn bytes(&mut self, max: usize, what: &'static str) -> Result<&'a [u8]> {
        let len = self.varint_max(max.try_into().unwrap_or(u64::MAX), what)?;
        self.take(usize::try_from(len).unwrap_or(max), what)
    }

    /// UTF-8 text.
    pub fn text(&mut self, max: usize, what: &'static str) -> Result<String> {
        let bytes = self.bytes(max, what)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| FormatError::Unknown { what, value: 0 })
    }

    /// Bytes kept for later versions: all zero in this one.
    pub fn reserved(&mut self, len: usize) -> Result<()> {
        let what = "reserved field";
        match self.take(len, what)?.iter().find(|&&byte| byte != 0) {
            Some(&byte) => Err(FormatError::Unknown { what, value: byte.into() }),
            None => Ok(()),
        }
    }

    /// Fails if anything is left.
    pub fn end(&self, what: &'static str) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(FormatError::Trailing { what, count: self.0.len() }) }
    }
}

/// Appends values to a buffer.
pub trait Write {
    /// LEB128.
    fn put_varint(&mut self, value: u64);
    /// Zigzag varint.
    fn put_signed(&mut self, value: i64);
    /// Length as varint, then the bytes.
    fn put_bytes(&mut self, bytes: &[u8]);
}

impl Write for Vec<u8> {
    fn put_varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_signed(&mut self, value: i64) {
        self.put_varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            out.put_varint(value);
            assert_eq!(Reader::new(&out).varint("n").unwrap(), value);
            for len in 0..out.len() {
                assert_eq!(Reader::new(&out[..len]).varint("n"), Err(FormatError::Short { what: "n" }));
            }
        }
        for value in [0, 1, -1, i64::MAX, i64::MIN, -86_400] {
            let mut out = Vec::new();
            out.put_signed(value);
            assert_eq!(Reader::new(&out).signed("n").unwrap(), value);
        }
    }

    #[test]
    fn overlong_numbers_and_counts_are_refused() {
        assert!(Reader::new(&[0xff; 10]).varint("n").is_err());
        assert!(Reader::new(&[0x80; 11]).varint("n").is_err());
        let beyond = [&[0xff; 9][..], &[2]].concat();
        assert!(matches!(Reader::new(&beyond).varint("n"), Err(FormatError::Limit { .. })));
        for needless in [&[0x80, 0][..], &[0xff, 0x80, 0], &[0x80, 0x80, 0x80, 0]] {
            assert!(matches!(Reader::new(needless).varint("n"), Err(FormatError::Unknown { what: "n", .. })));
        }
        assert_eq!(Reader::new(&[9, 1, 1]).count(1, "n"), Err(FormatError::Limit { what: "n", value: 9, max: 2 }));
        assert!(Reader::new(&[200, 1]).bytes(1000, "b").is_err());
    }
}
