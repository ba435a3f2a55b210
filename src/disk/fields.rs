//! Numbers out of on-disk structures, at fixed places, never outside of them.

use crate::disk::Error;
use crate::disk::Result;

/// The bytes of one on-disk structure. Every read names the structure if it is too short.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    what: &'static str,
    at: u64,
}

impl<'a> Fields<'a> {
    /// `what` the bytes are, and `at` which byte of the source they begin.
    pub fn new(bytes: &'a [u8], what: &'static str, at: u64) -> Fields<'a> {
        Fields { bytes, what, at }
    }

    /// All bytes.
    pub fn all(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The structure breaks the rule `why`.
    pub fn damaged(&self, why: &'static str) -> Error {
        Error::Damaged { what: self.what, at: self.at, why }
    }

    /// `len` bytes at `at`.
    pub fn bytes(&self, at: usize, len: usize) -> Result<&'a [u8]> {
        let end = at.checked_add(len).ok_or_else(|| self.short())?;
        self.bytes.get(at..end).ok_or_else(|| self.short())
    }

    /// Everything from `at` on.
    pub fn rest(&self, at: usize) -> Result<&'a [u8]> {
        self.bytes.get(at..).ok_or_else(|| self.short())
    }

    /// A structure inside this one.
    pub fn part(&self, at: usize, len: usize, what: &'static str) -> Result<Fields<'a>> {
        Ok(Fields { bytes: self.bytes(at, len)?, what, at: self.at.saturating_add(at as u64) })
    }

    /// `N` bytes at `at`.
    pub fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let bytes = self.bytes(at, N)?;
        bytes.try_into().map_err(|_| self.short())
    }

    /// One byte.
    pub fn u8(&self, at: usize) -> Result<u8> {
        Ok(self.array::<1>(at)?[0])
    }

    /// A little-endian number.
    pub fn u16(&self, at: usize) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// A little-endian number.
    pub fn u32(&self, at: usize) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// A little-endian number.
    pub fn u64(&self, at: usize) -> Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A big-endian number.
    pub fn be16(&self, at: usize) -> Result<u16> {
        self.u16(at).map(u16::swap_bytes)
    }

    /// A big-endian number.
    pub fn be32(&self, at: usize) -> Result<u32> {
        self.u32(at).map(u32::swap_bytes)
    }

    /// A big-endian number.
    pub fn be64(&self, at: usize) -> Result<u64> {
        self.u64(at).map(u64::swap_bytes)
    }

    fn short(&self) -> Error {
        self.damaged("it is too short")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_orders() {
        let fields = Fields::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9], "test", 100);
        assert_eq!(fields.u16(0).unwrap(), 0x0201);
        assert_eq!(fields.be16(0).unwrap(), 0x0102);
        assert_eq!(fields.u32(1).unwrap(), 0x0504_0302);
        assert_eq!(fields.be64(1).unwrap(), 0x0203_0405_0607_0809);
        assert_eq!(fields.part(4, 2, "part").unwrap().u8(1).unwrap(), 6);
    }

    #[test]
    fn outside_is_an_error_that_says_where() {
        let fields = Fields::new(&[0; 9], "test", 100);
        for fault in [fields.u64(2).map(drop), fields.bytes(usize::MAX, 2).map(drop), fields.rest(10).map(drop)] {
            assert_eq!(fault.unwrap_err().to_string(), "test at byte 100 is damaged: it is too short");
        }
    }
}
