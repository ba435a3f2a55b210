//! A VHDX file as it would be with its log written out.

use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::container::clusters::Place;
use crate::disk::fs::Source;
use crate::disk::source::beyond_end;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a log writes comes in such pieces, at multiples of their size.
pub(super) const PIECE_BYTES: u64 = 4096;

/// What was written over a part of the file.
enum Patch {
    Zeros { len: u64 },
    Piece(Box<[u8]>),
}

impl Patch {
    fn len(&self) -> u64 {
        match self {
            Patch::Zeros { len } => *len,
            Patch::Piece(_) => PIECE_BYTES,
        }
    }
}

/// The file, and what the log has written over it.
pub(super) struct Overlay {
    below: Source,
    len: u64,
    /// By first byte; apart from each other.
    patches: BTreeMap<u64, Patch>,
}

impl Overlay {
    pub(super) fn new(below: Source) -> Overlay {
        Overlay { len: below.len(), below, patches: BTreeMap::new() }
    }

    /// Makes the file longer.
    pub(super) fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Writes one piece.
    pub(super) fn write(&mut self, at: u64, piece: Box<[u8]>) {
        self.clear(at..at.saturating_add(PIECE_BYTES));
        self.patches.insert(at, Patch::Piece(piece));
    }

    /// Writes zeros.
    pub(super) fn write_zeros(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.clear(range.clone());
            self.patches.insert(range.start, Patch::Zeros { len: range.end - range.start });
        }
    }

    /// Takes what was written to `range` out again. Pieces are never cut: all begin and end at multiples of their size.
    fn clear(&mut self, range: Range<u64>) {
        if let Some((start, Patch::Zeros { len })) = self.patches.range_mut(..range.start).next_back() {
            let end = *start + *len;
            if end > range.start {
                *len = range.start - start;
            }
            if end > range.end {
                self.patches.insert(range.end, Patch::Zeros { len: end - range.end });
            }
        }
        while let Some((start, patch)) = self.patches.range(range.clone()).next() {
            let (start, end) = (*start, start + patch.len());
            self.patches.remove(&start);
            if end > range.end {
                self.patches.insert(range.end, Patch::Zeros { len: end - range.end });
            }
        }
    }

    /// Where byte `at` of the file lies, and for how many bytes the answer goes on. Units are pieces, by first byte.
    pub(super) fn find(&self, at: u64) -> (Place, u64) {
        if let Some((start, patch)) = self.patches.range(..=at).next_back()
            && at - start < patch.len()
        {
            let left = patch.len() - (at - start);
            return match patch {
                Patch::Zeros { .. } => (Place::Zero, left),
                Patch::Piece(_) => (Place::Unit { key: *start, within: at - start }, left),
            };
        }
        let next = self.patches.range(at..).next().map_or(self.len, |(start, _)| *start);
        match self.below.len() {
            end if at < end => (Place::Below(at), next.min(end) - at),
            _ => (Place::Zero, next.saturating_sub(at)),
        }
    }

    /// A piece that [`Overlay::find`] named.
    pub(super) fn piece(&self, start: u64) -> Option<&[u8]> {
        match self.patches.get(&start) {
            Some(Patch::Piece(bytes)) => Some(bytes),
            _ => None,
        }
    }
}

impl BlockSource for Overlay {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        end.ok_or_else(|| beyond_end(offset))?;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (place, len) = self.find(at);
            let (part, later) = rest.split_at_mut(len.min(rest.len() as u64) as usize);
            match place {
                Place::Below(at) => self.below.read_at(at, part)?,
                Place::Zero => part.fill(0),
                Place::Unit { key, within } => {
                    let piece = self.piece(key).and_then(|piece| piece.get(within as usize..)).unwrap_or_default();
                    part.copy_from_slice(piece.get(..part.len()).ok_or_else(|| beyond_end(at))?);
                }
            }
            if part.is_empty() {
                return Err(beyond_end(at));
            }
            at += part.len() as u64;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn later_writes_count() {
        let mut overlay = Overlay::new(Arc::new(vec![7; 5 * 4096]));
        let piece = |byte| vec![byte; 4096].into_boxed_slice();
        overlay.write(4096, piece(1));
        overlay.write_zeros(0..3 * 4096);
        overlay.write(4096, piece(2));
        overlay.write_zeros(6 * 4096..7 * 4096);
        overlay.grow(8 * 4096);
        let mut bytes = vec![9; 8 * 4096];
        overlay.read_at(0, &mut bytes).unwrap();
        let firsts: Vec<u8> = bytes.chunks(4096).map(|piece| piece[5]).collect();
        assert_eq!(firsts, [0, 2, 0, 7, 7, 0, 0, 0]);
        assert!(overlay.read_at(8 * 4096, &mut [0]).is_err());
    }
}
