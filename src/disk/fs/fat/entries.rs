//! The entries of a folder, 32 bytes each, of FAT and exFAT alike.

use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::fs::fat::clusters::Clusters;
use crate::disk::fs::fat::clusters::Place;

/// Bytes of an entry.
pub(crate) const ENTRY_BYTES: u64 = 32;

/// Bytes read at once: first, for a look-up, and then, for a listing.
const FIRST_BYTES: u64 = 2 << 10;
const PART_BYTES: u64 = 32 << 10;

/// An entry and where it stands.
pub(crate) struct RawEntry<'a> {
    /// How many-th of its folder.
    pub(crate) index: u64,
    /// First byte in the source.
    pub(crate) offset: u64,
    pub(crate) raw: &'a [u8; 32],
}

/// Calls `take` with the entries from the `from`th on, until it returns false or the clusters end.
pub(crate) fn each_entry(
    clusters: &mut Clusters,
    place: Place,
    from: u64,
    take: &mut dyn FnMut(RawEntry) -> Result<bool>,
) -> Result<()> {
    let (mut index, mut most) = (from, FIRST_BYTES);
    let mut bytes = Vec::new();
    loop {
        let piece = clusters.piece(place, index.saturating_mul(ENTRY_BYTES), most)?;
        bytes.resize((piece.end - piece.start) as usize, 0);
        clusters.source.read_at(piece.start, &mut bytes)?;
        let (entries, _) = bytes.as_chunks::<32>();
        if entries.is_empty() {
            return Ok(());
        }
        for (raw, at) in entries.iter().zip(0u64..) {
            if !take(RawEntry { index: index + at, offset: piece.start + at * ENTRY_BYTES, raw })? {
                return Ok(());
            }
        }
        index += entries.len() as u64;
        most = PART_BYTES;
    }
}
