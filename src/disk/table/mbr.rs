//! Master boot record, with logical partitions in an extended one.
//!
//! Source of the format: UEFI Specification 2.10 section 5.2.1 ("Legacy MBR"); the chain of extended boot records and
//! the numbers of what is in it are as the Linux kernel's `block/partitions/msdos.c` has them.

use super::Partition;
use super::Table;
use super::TableKind;
use super::types;
use crate::disk::BlockSource;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::magic;

const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const ENTRY_COUNT: usize = 4;
const SIGNATURE: u16 = 0xaa55;
const PROTECTIVE: u8 = 0xee;
/// Extended boot records that are followed; the kernel knows no more than 256 partitions.
const CHAIN_MAX: usize = 256;

/// One of the four entries of a record, in sectors.
#[derive(Debug, Clone, Copy)]
struct Entry {
    flag: u8,
    kind: u8,
    start: u32,
    count: u32,
}

impl Entry {
    /// A type of 0 is no reason not to be: images of optical discs have such an entry for all that is on them.
    fn is_used(&self) -> bool {
        self.count != 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// A boot record: the first of the disk, or one in an extended partition.
pub(super) struct Record {
    id: u32,
    entries: [Entry; ENTRY_COUNT],
    is_boot_sector: bool,
}

impl Record {
    /// The record in a sector, if it has the signature of one.
    pub(super) fn parse(sector: &[u8]) -> Result<Option<Record>> {
        let fields = Fields::new(sector, "boot record", 0);
        if fields.u16(510)? != SIGNATURE {
            return Ok(None);
        }
        let mut entries = [Entry { flag: 0, kind: 0, start: 0, count: 0 }; ENTRY_COUNT];
        for (n, entry) in entries.iter_mut().enumerate() {
            let at = ENTRIES_AT + n * ENTRY_BYTES;
            *entry = Entry {
                flag: fields.u8(at)?,
                kind: fields.u8(at + 4)?,
                start: fields.u32(at + 8)?,
                count: fields.u32(at + 12)?,
            };
        }
        let is_boot_sector = magic::is_boot_sector(sector);
        Ok(Some(Record { id: fields.u32(440)?, entries, is_boot_sector }))
    }

    /// A GPT follows.
    pub(super) fn is_protective(&self) -> bool {
        self.flags_are_right() && self.entries.iter().any(|entry| entry.kind == PROTECTIVE)
    }

    /// There are other entries beside the protective one.
    pub(super) fn is_hybrid(&self) -> bool {
        self.entries.iter().any(|entry| entry.is_used() && entry.kind != PROTECTIVE)
    }

    /// Whether this is a partition table, and not the boot sector of a file system, which ends in the same signature
    /// and has code, text or zeros in the place of the entries.
    pub(super) fn is_table(&self, disk_bytes: u64) -> bool {
        let mut used = self.entries.iter().filter(|entry| entry.is_used()).peekable();
        // Formatting a whole disk as FAT may leave an entry that covers the disk with the boot sector in it.
        let is_apart = |entry: &Entry| {
            let end = (u64::from(entry.start) + u64::from(entry.count)) * 512;
            entry.start > 0 && end <= disk_bytes
        };
        self.flags_are_right() && (!self.is_boot_sector || used.peek().is_some() && used.all(is_apart))
    }

    fn flags_are_right(&self) -> bool {
        self.entries.iter().all(|entry| entry.flag & 0x7f == 0)
    }
}

/// The partitions of a record that is one, counted in sectors of `sector_bytes`.
pub(super) fn read(source: &dyn BlockSource, record: &Record, sector_bytes: u32) -> Result<Table> {
    let id = if record.id == 0 { String::new() } else { format!("{:08x}", record.id) };
    let mut table = Table::new(TableKind::Mbr, sector_bytes, id);
    for (entry, number) in record.entries.iter().zip(1..) {
        if entry.is_used() {
            push(&mut table, number, 0, entry);
        }
    }
    for entry in record.entries.iter().filter(|entry| entry.is_used() && entry.is_extended()) {
        chain(source, &mut table, entry)?;
    }
    Ok(table)
}

fn push(table: &mut Table, number: u32, base: u64, entry: &Entry) {
    let sector_bytes = u64::from(table.sector_bytes);
    // At most 2^33 sectors of 4096 bytes each.
    let start = (base + u64::from(entry.start)) * sector_bytes;
    let uuid = if table.id.is_empty() { String::new() } else { format!("{}-{number:02x}", table.id) };
    table.partitions.push(Partition {
        number,
        range: start..start + u64::from(entry.count) * sector_bytes,
        kind: types::of_mbr(entry.kind).to_owned(),
        type_id: format!("{:x}", entry.kind),
        name: String::new(),
        uuid,
        bootable: entry.flag == 0x80,
        is_extended: entry.is_extended(),
    });
}

/// The logical partitions in an extended one: each has a record of its own, and that points to the next record.
fn chain(source: &dyn BlockSource, table: &mut Table, extended: &Entry) -> Result<()> {
    let base = u64::from(extended.start);
    let mut at = base;
    let mut seen = Vec::new();
    loop {
        let byte = at * u64::from(table.sector_bytes);
        if seen.contains(&at) || seen.len() >= CHAIN_MAX {
            table.notes.push("The chain of logical partitions does not end; what follows is left out.".into());
            return Ok(());
        }
        seen.push(at);
        let mut sector = [0; 512];
        let is_there = byte.checked_add(512).is_some_and(|end| end <= source.len());
        if is_there {
            source.read_at(byte, &mut sector)?;
        }
        let Some(record) = Record::parse(&sector)?.filter(|_| is_there) else {
            table.notes.push("The chain of logical partitions is broken; what follows is left out.".into());
            return Ok(());
        };
        for (n, entry) in record.entries.iter().enumerate().filter(|(_, entry)| entry.is_used()) {
            let end = u64::from(entry.start) + u64::from(entry.count);
            // The last two entries are of no use to anybody, and rarely hold what is true.
            let is_right = n < 2 || end <= u64::from(extended.count);
            if !entry.is_extended() && is_right {
                let last = table.partitions.iter().map(|partition| partition.number).max().unwrap_or_default();
                push(table, last.max(4) + 1, at, entry);
            }
        }
        match record.entries.iter().find(|entry| entry.is_used() && entry.is_extended()) {
            Some(next) => at = base + u64::from(next.start),
            None => return Ok(()),
        }
    }
}
