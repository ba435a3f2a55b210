//! GUID partition table.
//!
//! Source of the format: UEFI Specification 2.10, section 5.3.

use super::Partition;
use super::SECTOR_BYTES;
use super::Table;
use super::TableKind;
use super::types;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32;
use crate::disk::guid::Guid;
use std::ops::Range;

const WHAT: &str = "GPT header";
const SIGNATURE: &[u8] = b"EFI PART";
const HEADER_BYTES_MIN: usize = 92;
const ENTRY_BYTES_MIN: u32 = 128;
const ENTRY_BYTES_MAX: u32 = 4096;
const ENTRY_COUNT_MAX: u32 = 1024;
/// Attribute: a BIOS may start from it.
const LEGACY_BOOTABLE: u64 = 1 << 2;

/// One of the two headers, with all entries.
struct Header {
    sector_bytes: u32,
    alternate: u64,
    usable: Range<u64>,
    id: Guid,
    entries: Vec<u8>,
    entry_bytes: usize,
}

/// The table, out of the primary header or its backup.
pub(super) fn read(source: &dyn BlockSource) -> Result<Table> {
    let mut fault = None;
    for bytes in SECTOR_BYTES {
        match Header::read(source, 1, bytes) {
            Ok(header) => {
                let mut table = header.table()?;
                table.notes.extend(backup_note(source, &header));
                return Ok(table);
            }
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    for bytes in SECTOR_BYTES {
        let last = (source.len() / u64::from(bytes)).saturating_sub(1);
        if let Ok(header) = Header::read(source, last, bytes) {
            let mut table = header.table()?;
            table.notes.push("The primary GPT is damaged; its backup at the end of the disk is shown.".into());
            return Ok(table);
        }
    }
    Err(fault.unwrap_or(Error::damaged(WHAT, 0, "there is none")))
}

fn backup_note(source: &dyn BlockSource, header: &Header) -> Option<String> {
    let last = (source.len() / u64::from(header.sector_bytes)).saturating_sub(1);
    match Header::read(source, header.alternate, header.sector_bytes) {
        Err(Error::Read { .. }) => Some("The backup GPT is behind the end of the disk.".into()),
        Err(_) => Some("The backup GPT is damaged.".into()),
        Ok(backup) if backup.entries != header.entries || backup.id != header.id => {
            Some("The backup GPT differs from the primary one, which is shown.".into())
        }
        Ok(_) if header.alternate != last => Some("The backup GPT is not at the end of the disk.".into()),
        Ok(_) => None,
    }
}

impl Header {
    fn read(source: &dyn BlockSource, sector: u64, sector_bytes: u32) -> Result<Header> {
        let at = sector.saturating_mul(u64::from(sector_bytes));
        let mut bytes = vec![0; sector_bytes as usize];
        read_within(source, at, &mut bytes)?;
        let fields = Fields::new(&bytes, WHAT, at);
        if fields.bytes(0, 8)? != SIGNATURE {
            return Err(fields.damaged("its signature is missing"));
        }
        if fields.u32(8)? >> 16 != 1 {
            return Err(Error::unsupported(format!("revision {:#x} of GPT", fields.u32(8)?)));
        }
        let len = fields.u32(12)? as usize;
        if len < HEADER_BYTES_MIN {
            return Err(fields.damaged("it is too short"));
        }
        let mut summed = fields.bytes(0, len)?.to_vec();
        summed[16..20].fill(0);
        if crc32(&summed) != fields.u32(16)? {
            return Err(fields.damaged("its checksum is wrong"));
        }
        if fields.u64(24)? != sector {
            return Err(fields.damaged("it is not where it says"));
        }
        let (count, entry_bytes) = (fields.u32(80)?, fields.u32(84)?);
        let is_right = (ENTRY_BYTES_MIN..=ENTRY_BYTES_MAX).contains(&entry_bytes) && entry_bytes.is_multiple_of(128);
        if !is_right || count > ENTRY_COUNT_MAX {
            return Err(fields.damaged("its entries are too many, or of a size that cannot be"));
        }
        let mut entries = vec![0; count as usize * entry_bytes as usize];
        let entries_at = fields.u64(72)?.saturating_mul(u64::from(sector_bytes));
        read_within(source, entries_at, &mut entries)?;
        if crc32(&entries) != fields.u32(88)? {
            return Err(Error::damaged("GPT entries", entries_at, "their checksum is wrong"));
        }
        Ok(Header {
            sector_bytes,
            alternate: fields.u64(32)?,
            usable: fields.u64(40)?..fields.u64(48)?.saturating_add(1),
            id: Guid(fields.array(56)?),
            entries,
            entry_bytes: entry_bytes as usize,
        })
    }

    fn table(&self) -> Result<Table> {
        let mut table = Table::new(TableKind::Gpt, self.sector_bytes, self.id.to_string());
        for (entry, number) in self.entries.chunks_exact(self.entry_bytes).zip(1..) {
            let entry = Fields::new(entry, "GPT entry", 0);
            let kind = Guid(entry.array(0)?);
            if kind.is_nil() {
                continue;
            }
            let sectors = entry.u64(32)?..entry.u64(40)?.saturating_add(1);
            if sectors.start < self.usable.start || sectors.end > self.usable.end {
                table.notes.push(format!("Partition {number} is outside of what the GPT calls usable."));
            }
            let bytes = |sector: u64| sector.saturating_mul(u64::from(self.sector_bytes));
            table.partitions.push(Partition {
                number,
                range: bytes(sectors.start)..bytes(sectors.end),
                kind: types::of_gpt(&kind).to_owned(),
                type_id: kind.to_string(),
                name: name(entry.bytes(56, 72)?),
                uuid: Guid(entry.array(16)?).to_string(),
                bootable: entry.u64(48)? & LEGACY_BOOTABLE != 0,
                is_extended: false,
            });
        }
        Ok(table)
    }
}

fn read_within(source: &dyn BlockSource, at: u64, bytes: &mut [u8]) -> Result<()> {
    if at.checked_add(bytes.len() as u64).is_none_or(|end| end > source.len()) {
        return Err(crate::disk::source::beyond_end(at));
    }
    source.read_at(at, bytes)
}

fn name(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
