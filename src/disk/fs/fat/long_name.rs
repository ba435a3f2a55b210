//! Long names: UTF-16 in the entries before the one they belong to, last part first. (Microsoft FAT32 File System
//! Specification 1.03, "FAT Long Directory Entries".)

use crate::disk::fs::wide::is_name;
use crate::disk::fs::wide::wtf8;

const PARTS_MAX: u8 = 20;
const PART_UNITS: usize = 13;
const UNITS_MAX: usize = 255;
const LAST: u8 = 0x40;
/// Where the characters of a part stand in its entry.
const PLACES: [usize; PART_UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A long name while its parts are read.
#[derive(Debug, Default)]
pub(crate) struct LongName {
    /// All parts, the first at the start. Empty: there is no long name.
    units: Vec<u16>,
    /// Number of the part that was read last.
    part: u8,
    checksum: u8,
}

impl LongName {
    /// Forgets what was read: it belonged to nothing.
    pub(crate) fn clear(&mut self) {
        self.units.clear();
    }

    /// Takes the entry of the next part. Parts in a wrong order are orphans and are forgotten.
    pub(crate) fn push(&mut self, entry: &[u8; 32]) {
        let (number, checksum) = (entry[0] & !LAST, entry[13]);
        if entry[0] & LAST != 0 && (1..=PARTS_MAX).contains(&number) {
            self.units = vec![0; usize::from(number) * PART_UNITS];
            self.checksum = checksum;
        } else if self.units.is_empty() || number.checked_add(1) != Some(self.part) || checksum != self.checksum {
            return self.clear();
        }
        self.part = number;
        let start = usize::from(number).saturating_sub(1) * PART_UNITS;
        for (unit, place) in self.units.iter_mut().skip(start).zip(PLACES) {
            *unit = u16::from_le_bytes([entry[place], entry[place + 1]]);
        }
    }

    /// The name, if it is whole and belongs to the entry with the short name `raw`. Nothing is left of it.
    pub(crate) fn take(&mut self, raw: &[u8; 11]) -> Option<Vec<u8>> {
        let units = std::mem::take(&mut self.units);
        if units.is_empty() || self.part != 1 || self.checksum != checksum(raw) {
            return None;
        }
        let len = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
        let name = units.get(..len).filter(|units| units.len() <= UNITS_MAX)?;
        Some(wtf8(name.iter().copied())).filter(|name| is_name(name))
    }
}

/// What ties a long name to its short one.
fn checksum(raw: &[u8; 11]) -> u8 {
    raw.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SHORT: &[u8; 11] = b"ALONGN~1TXT";

    fn parts(name: &str) -> Vec<[u8; 32]> {
        let mut units: Vec<u16> = name.encode_utf16().collect();
        if !units.len().is_multiple_of(PART_UNITS) {
            units.push(0);
        }
        let count = units.len().div_ceil(PART_UNITS);
        units.resize(count * PART_UNITS, 0xFFFF);
        let part = |index: usize| {
            let mut entry = [0; 32];
            entry[0] = (index as u8 + 1) | if index + 1 == count { LAST } else { 0 };
            entry[11] = 0x0F;
            entry[13] = checksum(SHORT);
            for (unit, place) in units[index * PART_UNITS..].iter().zip(PLACES) {
                entry[place..place + 2].copy_from_slice(&unit.to_le_bytes());
            }
            entry
        };
        (0..count).rev().map(part).collect()
    }

    fn read(parts: &[[u8; 32]]) -> Option<String> {
        let mut long = LongName::default();
        parts.iter().for_each(|part| long.push(part));
        long.take(SHORT).map(|name| String::from_utf8(name).unwrap())
    }

    #[test]
    fn names_of_every_length() {
        for len in [1, 12, 13, 14, 26, 254, 255] {
            let name: String = "aé中x".chars().cycle().take(len).collect();
            assert_eq!(read(&parts(&name)).unwrap(), name);
        }
        assert_eq!(read(&parts(&"x".repeat(256))), None);
        assert_eq!(read(&parts("a/b")), None);
    }

    #[test]
    fn orphans_name_nothing() {
        let whole = parts(&"x".repeat(30));
        assert_eq!(read(&whole[1..]), None);
        assert_eq!(read(&whole[..2]), None);
        assert_eq!(read(&[whole[0], whole[2]]), None);
        assert_eq!(read(&[whole[0], whole[2], whole[1]]), None);
        let mut other = whole.clone();
        other[1][13] ^= 1;
        assert_eq!(read(&other), None);
        let mut long = LongName::default();
        whole.iter().for_each(|part| long.push(part));
        assert_eq!(long.take(b"OTHER   TXT"), None);
        assert_eq!(long.take(SHORT), None);
    }
}
