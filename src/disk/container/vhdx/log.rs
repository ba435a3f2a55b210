//! Log of VHDX: a ring of entries, each with a checksum, that have to be written over the file again.
//!
//! Source of the format: MS-VHDX, section 2.3.

use super::header::Header;
use super::overlay::Overlay;
use super::overlay::PIECE_BYTES;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c;
use crate::disk::guid::Guid;
use std::ops::Range;

const WHAT: &str = "VHDX log";
const LOG_BYTES_MAX: u64 = 16 << 20;
/// How often the bytes of a log are summed: entries that claim to be long are looked at from many sides.
const SUMMED_TIMES_MAX: usize = 8;
const SECTOR: usize = PIECE_BYTES as usize;
const HEADER_BYTES: usize = 64;
const DESCRIPTOR_BYTES: usize = 32;

/// One entry, whole.
struct Entry {
    sequence: u64,
    /// Where in the log the oldest entry is that still counts.
    tail: usize,
    descriptor_count: usize,
    flushed_len: u64,
    last_len: u64,
    bytes: Vec<u8>,
}

/// Writes what counts of the log over the file.
pub(super) fn replay(source: &dyn BlockSource, header: &Header, overlay: &mut Overlay) -> Result<()> {
    let (at, len) = (header.log_at, header.log_len);
    let is_within = at.checked_add(len).is_some_and(|end| end <= source.len());
    if !is_within || len == 0 || !len.is_multiple_of(PIECE_BYTES) || !at.is_multiple_of(PIECE_BYTES) {
        return Err(Error::damaged(WHAT, at, "it is not within the file"));
    }
    if len > LOG_BYTES_MAX {
        return Err(Error::unsupported("a VHDX log of more than 16 MiB"));
    }
    let mut ring = vec![0; len as usize];
    source.read_at(at, &mut ring)?;
    let mut ring = Ring { summed_left: SUMMED_TIMES_MAX * ring.len(), log_id: header.log_id, bytes: ring };
    let places = ring.newest_sequence().ok_or(Error::damaged(WHAT, at, "no entry of it is whole"))?;
    ring.summed_left = ring.bytes.len();
    let mut flushed_len = 0;
    for place in places {
        let entry = ring.entry(place).ok_or(Error::damaged(WHAT, at, "its entries overlap"))?;
        flushed_len = flushed_len.max(entry.flushed_len);
        entry.write(overlay, at)?;
    }
    if flushed_len > source.len() {
        return Err(Error::damaged("VHDX", source.len(), "its file was cut off"));
    }
    Ok(())
}

/// The bytes of the log.
struct Ring {
    bytes: Vec<u8>,
    log_id: Guid,
    summed_left: usize,
}

impl Ring {
    /// Places of the entries that count, oldest first: of all unbroken sequences the one with the highest number, from
    /// the tail that its last entry names.
    fn newest_sequence(&mut self) -> Option<Vec<usize>> {
        let mut newest: Option<(u64, Vec<usize>)> = None;
        let mut at = 0;
        while at < self.bytes.len() {
            let mut places: Vec<usize> = Vec::new();
            let mut last: Option<Entry> = None;
            let mut next = at;
            let mut walked = 0;
            while let Some(entry) = self.entry(next) {
                let follows = last.as_ref().is_none_or(|last| last.sequence.checked_add(1) == Some(entry.sequence));
                if !follows || walked + entry.bytes.len() > self.bytes.len() {
                    break;
                }
                places.push(next);
                walked += entry.bytes.len();
                next = (next + entry.bytes.len()) % self.bytes.len();
                last = Some(entry);
            }
            if let Some(last) = last
                && newest.as_ref().is_none_or(|(sequence, _)| last.sequence > *sequence)
                && let Some(first) = places.iter().position(|place| *place == last.tail)
            {
                newest = Some((last.sequence, places.split_off(first)));
            }
            // What follows in the middle of a sequence is part of it.
            at += walked.max(SECTOR);
        }
        newest.map(|(_, places)| places)
    }

    /// The entry at a place, if there is one and it is whole.
    fn entry(&mut self, at: usize) -> Option<Entry> {
        let first = self.bytes.get(at..at.checked_add(SECTOR)?)?;
        let fields = Fields::new(first, WHAT, 0);
        let len = fields.u32(8).ok()? as usize;
        let is_ours = first.starts_with(b"loge") && fields.bytes(32, 16).ok()? == self.log_id.0;
        if !is_ours || len < SECTOR || !len.is_multiple_of(SECTOR) || len > self.bytes.len() {
            return None;
        }
        self.summed_left = self.summed_left.checked_sub(len)?;
        let to_end = len.min(self.bytes.len() - at);
        let mut bytes = self.bytes.get(at..at + to_end)?.to_vec();
        bytes.extend_from_slice(self.bytes.get(..len - to_end)?);
        let mut cleared = bytes.clone();
        cleared[4..8].fill(0);
        let fields = Fields::new(&bytes, WHAT, 0);
        if crc32c(&cleared) != fields.u32(4).ok()? {
            return None;
        }
        let entry = Entry {
            sequence: fields.u64(16).ok()?,
            tail: fields.u32(12).ok()? as usize,
            descriptor_count: fields.u32(24).ok()? as usize,
            flushed_len: fields.u64(48).ok()?,
            last_len: fields.u64(56).ok()?,
            bytes,
        };
        (entry.sequence != 0).then_some(entry)
    }
}

impl Entry {
    fn write(&self, overlay: &mut Overlay, at: u64) -> Result<()> {
        let fields = Fields::new(&self.bytes, WHAT, at);
        // Descriptors come first, in whole sectors, then a sector for each that has data.
        let described = HEADER_BYTES.saturating_add(self.descriptor_count.saturating_mul(DESCRIPTOR_BYTES));
        let mut data_at = described.saturating_add(SECTOR - 1) / SECTOR * SECTOR;
        overlay.grow(self.last_len);
        for index in 0..self.descriptor_count {
            let start = HEADER_BYTES + index * DESCRIPTOR_BYTES;
            let descriptor = fields.part(start, DESCRIPTOR_BYTES, "VHDX log descriptor")?;
            if descriptor.u64(24)? != self.sequence {
                return Err(descriptor.damaged("it belongs to another entry"));
            }
            let offset = descriptor.u64(16)?;
            match descriptor.bytes(0, 4)? {
                b"zero" => {
                    let range = checked_range(&descriptor, offset, descriptor.u64(8)?, self.last_len)?;
                    overlay.write_zeros(range);
                }
                b"desc" => {
                    let range = checked_range(&descriptor, offset, PIECE_BYTES, self.last_len)?;
                    let sector = fields.part(data_at, SECTOR, "VHDX log data")?;
                    overlay.write(range.start, piece(&descriptor, &sector, self.sequence)?);
                    data_at += SECTOR;
                }
                _ => return Err(descriptor.damaged("its signature is missing")),
            }
        }
        Ok(())
    }
}

fn checked_range(descriptor: &Fields, offset: u64, len: u64, file_len: u64) -> Result<Range<u64>> {
    let end = offset.checked_add(len).filter(|end| *end <= file_len);
    let end = end.ok_or_else(|| descriptor.damaged("it is not within the file"))?;
    if !offset.is_multiple_of(PIECE_BYTES) || !len.is_multiple_of(PIECE_BYTES) {
        return Err(descriptor.damaged("it is not aligned"));
    }
    Ok(offset..end)
}

/// The bytes to write: the ends of the sector gave way to marks and are kept in the descriptor.
fn piece(descriptor: &Fields, sector: &Fields, sequence: u64) -> Result<Box<[u8]>> {
    let (high, low) = (sector.u32(4)?, sector.u32(SECTOR - 4)?);
    if sector.bytes(0, 4)? != b"data" || u64::from(high) << 32 | u64::from(low) != sequence {
        return Err(sector.damaged("it belongs to another entry"));
    }
    let parts = [descriptor.bytes(8, 8)?, sector.bytes(8, SECTOR - 12)?, descriptor.bytes(4, 4)?];
    Ok(parts.concat().into_boxed_slice())
}
