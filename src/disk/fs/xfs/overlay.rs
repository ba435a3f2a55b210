//! What the log changes, in sectors that lie over those of the source.

use std::collections::BTreeMap;

/// Sectors of the overlay, whatever those of the file system are.
pub(super) const SECTOR_BYTES: usize = 512;
/// More are not kept: 32 MiB.
const SECTORS_MAX: usize = 64 << 10;

/// Changed sectors by number.
#[derive(Default)]
pub(super) struct Overlay {
    sectors: BTreeMap<u64, Box<[u8; SECTOR_BYTES]>>,
}

impl Overlay {
    /// Puts what is changed into bytes that were read from byte `at`. True if anything was.
    pub(super) fn apply(&self, at: u64, bytes: &mut [u8]) -> bool {
        if self.sectors.is_empty() {
            return false;
        }
        let each = SECTOR_BYTES as u64;
        let end = at.saturating_add(bytes.len() as u64);
        let mut is_changed = false;
        for (number, sector) in self.sectors.range(at / each..end.div_ceil(each)) {
            // Numbers are those of bytes in memory once: no product overflows.
            let start = number * each;
            let (skip, to) = (at.saturating_sub(start) as usize, start.saturating_sub(at) as usize);
            let part = sector.get(skip..).unwrap_or_default();
            let room = bytes.get_mut(to..).unwrap_or_default();
            let len = part.len().min(room.len());
            if let (Some(room), Some(part)) = (room.get_mut(..len), part.get(..len)) {
                room.copy_from_slice(part);
                is_changed |= len > 0;
            }
        }
        is_changed
    }

    /// Sets whole sectors from byte `at` on, which is where one begins. False if there are too many.
    pub(super) fn set(&mut self, at: u64, bytes: &[u8]) -> bool {
        let (sectors, rest) = bytes.as_chunks::<SECTOR_BYTES>();
        debug_assert!(rest.is_empty() && at.is_multiple_of(SECTOR_BYTES as u64));
        for (number, sector) in (at / SECTOR_BYTES as u64..).zip(sectors) {
            self.sectors.insert(number, Box::new(*sector));
        }
        self.sectors.len() <= SECTORS_MAX
    }

    /// True if nothing is changed.
    pub(super) fn is_empty(&self) -> bool {
        self.sectors.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_sectors() {
        let mut overlay = Overlay::default();
        assert!(overlay.set(1024, &[7; 1024]));
        let mut bytes = [0; 1000];
        assert!(overlay.apply(500, &mut bytes));
        assert_eq!((&bytes[..524], &bytes[524..]), (&[0; 524][..], &[7; 476][..]));
        assert!(overlay.apply(2000, &mut bytes));
        assert_eq!((bytes[47], bytes[600]), (7, 7));
        assert!(!overlay.apply(2048, &mut bytes));
        assert!(!overlay.apply(u64::MAX - 3, &mut bytes));
    }
}
