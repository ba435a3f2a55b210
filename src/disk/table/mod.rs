//! Partition tables: GPT and MBR, told apart as the Linux kernel does it.
//!
//! Partitions have the kernel's numbers (`sda5` is the first logical one). What a table claims is kept within the disk;
//! whatever had to be mended for that is told in [`Table::notes`].

mod gpt;
mod mbr;
mod types;

#[cfg(test)]
mod tests;

use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::magic;
use serde::Deserialize;
use serde::Serialize;
use std::ops::Range;

/// Kind of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// GUID partition table.
    Gpt,
    /// Master boot record, with or without an extended partition.
    Mbr,
    /// No table: one file system on the whole disk, or nothing.
    None,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its number, as the kernel counts.
    pub number: u32,
    /// Bytes of the disk.
    pub range: Range<u64>,
    /// Its type, as people call it; empty if the type is not known.
    pub kind: String,
    /// Its type, as the table has it: a GUID, or one byte in hex.
    pub type_id: String,
    /// Its name (GPT), or empty.
    pub name: String,
    /// Its own id, as `blkid` prints it (`PARTUUID`).
    pub uuid: String,
    /// Marked for a BIOS to start from.
    pub bootable: bool,
    /// It only holds other partitions.
    pub is_extended: bool,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its kind.
    pub kind: TableKind,
    /// Bytes of the sectors it counts in.
    pub sector_bytes: u32,
    /// Id of the disk, as the table has it.
    pub id: String,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
    /// What is wrong with the table, in sentences.
    pub notes: Vec<String>,
}

impl Table {
    fn new(kind: TableKind, sector_bytes: u32, id: String) -> Table {
        Table { kind, sector_bytes, id, partitions: Vec::new(), notes: Vec::new() }
    }
}

/// Sizes of sectors that are tried, in this order.
const SECTOR_BYTES: [u32; 2] = [512, 4096];

/// The partition table of a disk.
pub fn read(source: &dyn BlockSource) -> Result<Table> {
    let mut sector = [0; 512];
    if source.len() < sector.len() as u64 {
        return Ok(Table::new(TableKind::None, SECTOR_BYTES[0], String::new()));
    }
    let mut table = match source.read_at(0, &mut sector) {
        Ok(()) => told_by(&sector, source)?,
        // The table behind it may be whole.
        Err(fault) => {
            let mut table = gpt::read(source).map_err(|_| fault)?;
            table.notes.push("The protective MBR cannot be read.".into());
            table
        }
    };
    keep_within(&mut table, source.len());
    Ok(table)
}

/// The table that the first sector of a disk tells of.
fn told_by(sector: &[u8; 512], source: &dyn BlockSource) -> Result<Table> {
    let none = Table::new(TableKind::None, SECTOR_BYTES[0], String::new());
    let record = mbr::Record::parse(sector)?;
    Ok(match &record {
        Some(record) if record.is_protective() => {
            let mut table = gpt::read(source)?;
            if record.is_hybrid() {
                table
                    .notes
                    .push("The disk has a hybrid MBR. The GPT is shown, the other entries of the MBR are not.".into());
            }
            table
        }
        Some(record) if record.is_table(source.len()) => counted_in_right_sectors(source, record)?,
        // The first sector was lost, the table behind it perhaps not. Of a file system's boot sector it is none.
        None if *sector == [0; 512] => match gpt::read(source) {
            Ok(mut table) => {
                table.notes.push("The protective MBR is missing.".into());
                table
            }
            Err(_) => none,
        },
        _ => none,
    })
}

/// An MBR does not say how long the sectors are that it counts in. They have 512 bytes, unless that finds nothing that
/// is known and 4096 does; where neither finds any, the one counts whose chain of logical partitions is whole.
fn counted_in_right_sectors(source: &dyn BlockSource, record: &mbr::Record) -> Result<Table> {
    let mut tables = Vec::new();
    for bytes in SECTOR_BYTES {
        let table = mbr::read(source, record, bytes)?;
        let is_within = table.partitions.iter().all(|partition| partition.range.end <= source.len());
        let is_likely = bytes == SECTOR_BYTES[0] || is_within;
        if is_likely && table.partitions.iter().any(|partition| is_known(source, &partition.range)) {
            return Ok(with_note(table));
        }
        if is_likely {
            tables.push(table);
        }
    }
    let whole = tables.iter().position(|table| table.notes.is_empty()).unwrap_or_default();
    Ok(with_note(tables.swap_remove(whole)))
}

/// Large sectors are told: whoever reads the table elsewhere may find it wrong.
fn with_note(mut table: Table) -> Table {
    if table.sector_bytes != SECTOR_BYTES[0] {
        table.notes.push("The table counts in sectors of 4096 bytes.".into());
    }
    table
}

fn is_known(source: &dyn BlockSource, range: &Range<u64>) -> bool {
    matches!(magic::kind(source, range.clone()), Ok(Some(_)))
}

/// Cuts partitions that leave the disk, drops those outside of it, and names those that overlap.
fn keep_within(table: &mut Table, bytes: u64) {
    let notes = &mut table.notes;
    for partition in &mut table.partitions {
        if partition.range.end > bytes && partition.range.start < bytes {
            notes.push(format!("Partition {} ends behind the end of the disk and is cut there.", partition.number));
            partition.range.end = bytes;
        }
    }
    table.partitions.retain(|partition| {
        let is_there = partition.range.start < partition.range.end && partition.range.end <= bytes;
        if !is_there {
            notes.push(format!("Partition {} is not within the disk and is left out.", partition.number));
        }
        is_there
    });
    table.partitions.sort_by_key(|partition| partition.number);
    let mut by_start: Vec<&Partition> = table.partitions.iter().filter(|partition| !partition.is_extended).collect();
    by_start.sort_by_key(|partition| partition.range.start);
    let mut before: Option<&Partition> = None;
    for partition in by_start {
        if let Some(before) = before.filter(|before| before.range.end > partition.range.start) {
            notes.push(format!("Partitions {} and {} overlap.", before.number, partition.number));
        }
        if before.is_none_or(|before| partition.range.end > before.range.end) {
            before = Some(partition);
        }
    }
}
