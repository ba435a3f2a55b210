//! The metadata area: a ring of texts, of which its header names the one that counts.

use crate::disk::BlockSource;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::volume::lvm::SECTOR_BYTES;
use crate::disk::volume::lvm::label::checksum;
use std::ops::Range;

const WHAT: &str = "LVM metadata area";
const MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const HEADER_BYTES: u64 = SECTOR_BYTES;
const CHECKED_FROM: usize = 4;
/// Where the place of the text stands.
const PLACE_AT: usize = 40;
const IGNORED: u32 = 1;
/// Usual: some KiB.
const TEXT_BYTES_MAX: u64 = 8 << 20;

/// The text of the area at `place`, if it has one.
pub(super) fn read(source: &Source, place: &Range<u64>) -> Result<Option<Vec<u8>>> {
    let mut bytes = [0; HEADER_BYTES as usize];
    source.read_at(place.start, &mut bytes)?;
    let fields = Fields::new(&bytes, WHAT, place.start);
    if fields.bytes(4, MAGIC.len())? != MAGIC || fields.u32(0)? != checksum(fields.rest(CHECKED_FROM)?) {
        return Err(fields.damaged("its header is not as it should be"));
    }
    let (start, size) = (fields.u64(24)?, fields.u64(32)?);
    if fields.u32(20)? != 1 || start != place.start || size <= HEADER_BYTES {
        return Err(fields.damaged("its header does not fit"));
    }
    let text = fields.part(PLACE_AT, 24, WHAT)?;
    let (offset, len) = (text.u64(0)?, text.u64(8)?);
    if offset == 0 || text.u32(20)? & IGNORED != 0 {
        return Ok(None);
    }
    let end = start.checked_add(size).ok_or_else(|| fields.damaged("it lies behind the disk"))?;
    if offset < HEADER_BYTES || offset >= size || len > TEXT_BYTES_MAX || len > size - HEADER_BYTES {
        return Err(fields.damaged("its text does not fit"));
    }
    // What does not fit before the end goes on behind the header.
    let first = len.min(size - offset);
    if end > source.len() {
        return Err(fields.damaged("it is longer than the disk"));
    }
    let mut found = vec![0; len as usize];
    let (head, tail) = found.split_at_mut(first as usize);
    source.read_at(start + offset, head)?;
    source.read_at(start + HEADER_BYTES, tail)?;
    if checksum(&found) != text.u32(16)? {
        return Err(fields.damaged("the checksum of its text is wrong"));
    }
    Ok(Some(found))
}
