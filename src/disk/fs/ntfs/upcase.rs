//! The table that makes letters large, and the order of names in folders that comes from it.
//!
//! (Linux-NTFS documentation, file "$UpCase".) Names are ordered as if their letters were large.

use crate::disk::fs::ntfs::utf16;
use std::cmp::Ordering;

/// Bytes of the table: one unit for each of 65536.
pub(super) const UPCASE_BYTES: u64 = 128 << 10;

/// `$UpCase`.
pub(super) struct Upcase(Vec<u16>);

impl Upcase {
    /// The table of these bytes.
    pub(super) fn new(bytes: &[u8]) -> Upcase {
        Upcase(utf16::units(bytes).collect())
    }

    fn large(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// Compares a name with one on the disk, whatever their case is.
    pub(super) fn compare(&self, name: &[u16], key: &[u8]) -> Ordering {
        let key = utf16::units(key).map(|unit| self.large(unit));
        name.iter().map(|unit| self.large(*unit)).cmp(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_of_no_matter() {
        let table: Vec<u8> =
            (0..=u16::MAX).flat_map(|u| (if (97..123).contains(&u) { u - 32 } else { u }).to_le_bytes()).collect();
        let upcase = Upcase::new(&table);
        let compare = |a: &str, b: &str| {
            let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
            let key: Vec<u8> = units(b).iter().flat_map(|u| u.to_le_bytes()).collect();
            upcase.compare(&units(a), &key)
        };
        assert_eq!(compare("readme", "README"), Ordering::Equal);
        assert_eq!(compare("a", "B"), Ordering::Less);
        assert_eq!(compare("_", "a"), Ordering::Greater);
        assert_eq!(compare("ab", "A"), Ordering::Greater);
    }
}
