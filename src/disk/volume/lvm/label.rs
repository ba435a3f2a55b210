//! The label: in one of the first four sectors, it says that this is a physical volume, and where its metadata stands.

use crate::disk::BlockSource;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::volume::lvm::SECTOR_BYTES;
use std::ops::Range;

const WHAT: &str = "LVM label";
const LABEL_SECTORS: u64 = 4;
const MAGIC: &[u8] = b"LABELONE";
const KIND: &[u8] = b"LVM2 001";
/// Behind the checksum, everything is under it.
const CHECKED_FROM: usize = 20;
/// The UUID and the size of the device stand before the lists of areas.
const LISTS_AT: usize = 40;
const UUID_BYTES: usize = 32;

/// What a label says.
pub(super) struct Label {
    /// Of the physical volume, without dashes.
    pub(super) uuid: String,
    pub(super) metadata_areas: Vec<Range<u64>>,
}

/// The label of `source`, if there is one.
pub(super) fn read(source: &Source) -> Result<Option<Label>> {
    for sector in 0..LABEL_SECTORS {
        let at = sector * SECTOR_BYTES;
        if at + SECTOR_BYTES > source.len() {
            break;
        }
        let mut bytes = [0; SECTOR_BYTES as usize];
        source.read_at(at, &mut bytes)?;
        let fields = Fields::new(&bytes, WHAT, at);
        let is_label = fields.bytes(0, 8)? == MAGIC && fields.bytes(24, 8)? == KIND && fields.u64(8)? == sector;
        if is_label && fields.u32(16)? == checksum(fields.rest(CHECKED_FROM)?) {
            return parse(&fields).map(Some);
        }
    }
    Ok(None)
}

fn parse(fields: &Fields<'_>) -> Result<Label> {
    let header = Fields::new(fields.rest(fields.u32(20)? as usize)?, "LVM physical volume", 0);
    let uuid = String::from_utf8_lossy(header.bytes(0, UUID_BYTES)?).into_owned();
    let (_, next) = areas(&header, LISTS_AT)?;
    let (metadata_areas, _) = areas(&header, next)?;
    Ok(Label { uuid, metadata_areas })
}

/// A list of areas that ends with an empty one, and where the next begins. All of it is in one sector.
fn areas(header: &Fields<'_>, at: usize) -> Result<(Vec<Range<u64>>, usize)> {
    let mut found = Vec::new();
    let mut at = at;
    loop {
        let (start, len) = (header.u64(at)?, header.u64(at + 8)?);
        at += 16;
        if start == 0 {
            return Ok((found, at));
        }
        let end = start.checked_add(len).ok_or_else(|| header.damaged("an area lies behind the disk"))?;
        found.push(start..end);
    }
}

/// CRC-32 as LVM begins it, and without the last inversion.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |crc, byte| {
        let mut crc: u32 = crc ^ u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
        crc
    })
}
