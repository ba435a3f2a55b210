//! VHD, fixed and dynamic.
//!
//! Source of the format: Microsoft, "Virtual Hard Disk Image Format Specification" 1.0. Not opened: differencing disks.

use super::Container;
use super::clusters::Clusters;
use super::clusters::Disk;
use super::clusters::Place;
use super::clusters::TABLES_BYTES;
use super::clusters::UNIT_BYTES_MAX;
use crate::disk::BlockSource;
use crate::disk::Cached;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::Window;
use crate::disk::fs::Source;
use std::sync::Arc;

const FOOTER_BYTES: u64 = 512;
const FOOTER_MAGIC: &[u8] = b"conectix";
const FOOTER_SUM_AT: usize = 64;
const HEADER_BYTES: usize = 1024;
const HEADER_MAGIC: &[u8] = b"cxsparse";
const HEADER_SUM_AT: usize = 36;
const SECTOR_BYTES: u64 = 512;
const UNUSED: u32 = u32::MAX;
const BLOCK_BYTES_MAX: u64 = 1 << 30;

const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

/// The disk in `source`, if it is a VHD: that is told at its end, and for a dynamic one at its start as well.
pub(super) fn open(source: Source) -> Result<Option<Container>> {
    let Some(last_at) = source.len().checked_sub(FOOTER_BYTES) else { return Ok(None) };
    let mut notes = Vec::new();
    let footer = match Footer::read(&source, last_at) {
        Ok(Some(footer)) => footer,
        // Without the footer at its end a file is only a VHD if it begins with a copy, which fixed disks do not have.
        other => match Footer::read(&source, 0)? {
            Some(footer) => {
                notes.push("The footer of the VHD is missing or damaged; its copy at the start is used.".to_owned());
                footer
            }
            // A failing disk is a disk although its end cannot be read.
            None if matches!(other, Err(Error::Read { .. })) => return Ok(None),
            None => return other.map(|_| None),
        },
    };
    match footer.kind {
        FIXED if footer.bytes > last_at => {
            Err(Error::damaged("VHD footer", last_at, "the disk is longer than its file"))
        }
        FIXED => {
            let disk = Arc::new(Window::new(source.clone(), 0..footer.bytes));
            Ok(Some(Container::new("VHD", disk, source, notes)))
        }
        DYNAMIC => {
            let blocks = Blocks::read(source.clone(), &footer)?;
            let disk = Arc::new(Disk::new(blocks, source.clone(), UNIT_BYTES_MAX));
            Ok(Some(Container::new("VHD", disk, source, notes)))
        }
        DIFFERENCING => Err(Error::unsupported("a differencing VHD")),
        kind => Err(Error::unsupported(format!("type {kind} of VHD"))),
    }
}

struct Footer {
    kind: u32,
    bytes: u64,
    header_at: u64,
}

impl Footer {
    /// `None` without its mark.
    fn read(source: &dyn BlockSource, at: u64) -> Result<Option<Footer>> {
        let mut bytes = [0; FOOTER_BYTES as usize];
        source.read_at(at, &mut bytes)?;
        if !bytes.starts_with(FOOTER_MAGIC) {
            return Ok(None);
        }
        let fields = Fields::new(&bytes, "VHD footer", at);
        check_sum(&fields, FOOTER_SUM_AT)?;
        if fields.be32(12)? >> 16 != 1 {
            return Err(Error::unsupported(format!("version {:#x} of VHD", fields.be32(12)?)));
        }
        Ok(Some(Footer { kind: fields.be32(60)?, bytes: fields.be64(48)?, header_at: fields.be64(16)? }))
    }
}

/// The sum of all bytes without the sum itself, turned around.
fn check_sum(fields: &Fields, at: usize) -> Result<()> {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    let found = !sum(fields.bytes(0, at)?).wrapping_add(sum(fields.rest(at + 4)?));
    if found == fields.be32(at)? { Ok(()) } else { Err(fields.damaged("its checksum is wrong")) }
}

/// The blocks of a dynamic disk. Each begins with a bitmap of the sectors that were written; others are zeros.
struct Blocks {
    tables: Cached<Source>,
    bytes: u64,
    table_at: u64,
    block_bytes: u64,
    bitmap_bytes: u64,
}

impl Blocks {
    fn read(source: Source, footer: &Footer) -> Result<Blocks> {
        let at = footer.header_at;
        if at.checked_add(HEADER_BYTES as u64).is_none_or(|end| end > source.len()) {
            return Err(Error::damaged("VHD header", at, "it is not within the file"));
        }
        let mut bytes = vec![0; HEADER_BYTES];
        source.read_at(at, &mut bytes)?;
        let fields = Fields::new(&bytes, "VHD header", at);
        if fields.bytes(0, 8)? != HEADER_MAGIC {
            return Err(fields.damaged("its mark is missing"));
        }
        check_sum(&fields, HEADER_SUM_AT)?;
        let block_bytes = u64::from(fields.be32(32)?);
        if !block_bytes.is_power_of_two() || !(SECTOR_BYTES..=BLOCK_BYTES_MAX).contains(&block_bytes) {
            return Err(fields.damaged("its blocks have a size that cannot be"));
        }
        let (table_at, count) = (fields.be64(16)?, u64::from(fields.be32(28)?));
        if table_at.checked_add(count * 4).is_none_or(|end| end > source.len()) {
            return Err(fields.damaged("its table is not within the file"));
        }
        if footer.bytes.div_ceil(block_bytes) > count {
            return Err(fields.damaged("its table is too short"));
        }
        let bitmap_bytes = (block_bytes / SECTOR_BYTES).div_ceil(8).next_multiple_of(SECTOR_BYTES);
        let tables = Cached::new(source, TABLES_BYTES);
        Ok(Blocks { tables, bytes: footer.bytes, table_at, block_bytes, bitmap_bytes })
    }

    fn block(&self, index: u64) -> Result<Option<u64>> {
        let at = self.table_at + index * 4;
        let mut bytes = [0; 4];
        self.tables.read_at(at, &mut bytes)?;
        let sector = Fields::new(&bytes, "VHD table", at).be32(0)?;
        Ok(if sector == UNUSED { None } else { Some(u64::from(sector) * SECTOR_BYTES) })
    }
}

impl Clusters for Blocks {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn find(&self, at: u64, wanted: u64) -> Result<(Place, u64)> {
        let within = at % self.block_bytes;
        let left = self.block_bytes - within;
        let Some(block) = self.block(at / self.block_bytes)? else { return Ok((Place::Zero, left)) };
        let (sector, skipped) = (within / SECTOR_BYTES, within % SECTOR_BYTES);
        let enough = wanted.saturating_add(skipped).div_ceil(SECTOR_BYTES);
        let sectors = (self.block_bytes / SECTOR_BYTES - sector).min(enough.max(1));
        let (first, last) = (sector / 8, (sector + sectors - 1) / 8);
        let mut bitmap = vec![0; (last - first + 1) as usize];
        self.tables.read_at(block + first, &mut bitmap)?;
        let is_written = |sector: u64| {
            let byte = bitmap.get((sector / 8 - first) as usize).copied().unwrap_or_default();
            byte >> (7 - sector % 8) & 1 != 0
        };
        let is_there = is_written(sector);
        let same = (sector..sector + sectors).take_while(|sector| is_written(*sector) == is_there).count() as u64;
        let place = if is_there { Place::Below(block + self.bitmap_bytes + within) } else { Place::Zero };
        Ok((place, same * SECTOR_BYTES - skipped))
    }

    fn unpack(&self, key: u64) -> Result<Vec<u8>> {
        Err(Error::damaged("VHD", key, "nothing in it is compressed"))
    }
}
