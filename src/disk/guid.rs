//! GUIDs in the order of bytes that Microsoft gave them: GPT and VHDX have them so.

use std::fmt;

/// A GUID as it lies on a disk: the first three fields little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guid(pub(crate) [u8; 16]);

impl Guid {
    /// Of its five fields, as it is written: the last two as one number each, read from left to right.
    pub(crate) const fn new(a: u32, b: u16, c: u16, d: u16, e: u64) -> Guid {
        let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        let (d, e) = (d.swap_bytes().to_le_bytes(), e.swap_bytes().to_le_bytes());
        Guid([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], e[2], e[3], e[4], e[5], e[6], e[7]])
    }

    /// True for the one that stands for none.
    pub(crate) fn is_nil(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for (n, at) in ORDER.into_iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[at])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_text() {
        let efi = Guid::new(0xc12a7328, 0xf81f, 0x11d2, 0xba4b, 0x00a0c93ec93b);
        assert_eq!(efi.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(&efi.0[..4], &[0x28, 0x73, 0x2a, 0xc1]);
    }
}
