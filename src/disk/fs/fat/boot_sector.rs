//! The boot sector with its BIOS parameter block: where the tables, the root folder and the clusters lie, and whether
//! clusters have 12, 16 or 28 bits. (Microsoft FAT32 File System Specification 1.03, "Boot Sector and BPB" and "FAT
//! Type Determination".)

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::fat::heap::Heap;
use crate::disk::fs::fat::table::Width;

/// Bytes that are looked at.
pub(crate) const BOOT_BYTES: usize = 512;

const WHAT: &str = "FAT boot sector";
/// From these counts of clusters on, the entries of the table are wider.
const FAT16_CLUSTERS_MIN: u64 = 4085;
const FAT32_CLUSTERS_MIN: u64 = 65_525;
const FAT32_CLUSTERS_MAX: u64 = 0x0FFF_FFF5;
/// The next three fields of the boot sector are there.
const EXTENDED: [u8; 2] = [0x28, 0x29];

/// Where the root folder lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// Behind the tables (FAT12, FAT16).
    Fixed { start: u64, bytes: u64 },
    /// In clusters (FAT32).
    Cluster(u32),
}

/// What the boot sector says, checked.
#[derive(Debug)]
pub(crate) struct BootSector {
    pub(crate) width: Width,
    /// First byte of the table in force.
    pub(crate) table_start: u64,
    pub(crate) heap: Heap,
    pub(crate) root: Root,
    /// Bytes of the volume.
    pub(crate) bytes: u64,
    pub(crate) serial: Option<u32>,
    /// Windows and Linux set this while the volume is mounted.
    pub(crate) is_dirty: bool,
}

impl BootSector {
    /// True if `sector` can be nothing else.
    pub(crate) fn is_fat(sector: &[u8]) -> bool {
        BootSector::read(sector).is_ok()
    }

    /// Reads the first sector of a volume.
    pub(crate) fn read(sector: &[u8]) -> Result<BootSector> {
        let fields = Fields::new(sector, WHAT, 0);
        let sector_bytes = signs_of_fat(&fields)?;
        let cluster_sectors = fields.u8(13)?;
        if !cluster_sectors.is_power_of_two() {
            return Err(fields.damaged("the size of clusters is not a power of two"));
        }
        let cluster_bytes = u32::from(sector_bytes) * u32::from(cluster_sectors);
        let sector_bytes = u64::from(sector_bytes);
        let (reserved, tables) = (u64::from(fields.u16(14)?), u64::from(fields.u8(16)?));
        let root_bytes = u64::from(fields.u16(17)?) * 32;
        let table_short = fields.u16(22)?;
        // Only FAT32 has no short size; a small FAT32 is one all the same, because nothing else fits to the rest.
        let is_fat32 = table_short == 0;
        let table_sectors = if is_fat32 { u64::from(fields.u32(36)?) } else { u64::from(table_short) };
        let sectors = match fields.u16(19)? {
            0 => u64::from(fields.u32(32)?),
            few => u64::from(few),
        };
        if reserved == 0 || tables == 0 || table_sectors == 0 {
            return Err(fields.damaged("there is no table"));
        }
        if is_fat32 != (root_bytes == 0) {
            return Err(fields.damaged("the size of the root folder does not fit to the kind"));
        }
        // No overflow: 2^16 + 2^8 * 2^32 sectors of 2^12 bytes.
        let root_start = (reserved + tables * table_sectors) * sector_bytes;
        let heap_start = root_start + root_bytes.next_multiple_of(sector_bytes);
        let heap_bytes = (sectors * sector_bytes).checked_sub(heap_start);
        let heap_bytes = heap_bytes.ok_or_else(|| fields.damaged("the clusters begin behind the end"))?;
        let clusters = heap_bytes / u64::from(cluster_bytes);
        let width = match clusters {
            0 => return Err(fields.damaged("there are no clusters")),
            count if is_fat32 && count <= FAT32_CLUSTERS_MAX => Width::Bits28,
            count if !is_fat32 && count < FAT16_CLUSTERS_MIN => Width::Bits12,
            count if !is_fat32 && count < FAT32_CLUSTERS_MIN => Width::Bits16,
            _ => return Err(fields.damaged("there are more clusters than its kind can have")),
        };
        // As drivers do: clusters without an entry in the table are not there.
        let clusters = clusters.min(width.entries(table_sectors * sector_bytes).saturating_sub(2));
        let count = u32::try_from(clusters).map_err(|_| fields.damaged("there are too many clusters"))?;
        let heap = Heap { start: heap_start, cluster_bytes, count };
        let (root, active) = if is_fat32 {
            fat32_root(&fields, &heap)?
        } else {
            (Root::Fixed { start: root_start, bytes: root_bytes }, 0)
        };
        if active >= tables {
            return Err(fields.damaged("the table in force is not there"));
        }
        let extended = if is_fat32 { 64 } else { 36 };
        let has_serial = EXTENDED.contains(&fields.u8(extended + 2)?);
        Ok(BootSector {
            width,
            table_start: (reserved + active * table_sectors) * sector_bytes,
            heap,
            root,
            bytes: sectors * sector_bytes,
            serial: if has_serial { Some(fields.u32(extended + 3)?) } else { None },
            is_dirty: has_serial && fields.u8(extended + 1)? & 1 != 0,
        })
    }
}

/// What tells FAT from other boot sectors; gives the bytes of a sector.
fn signs_of_fat(fields: &Fields) -> Result<u16> {
    let (jump, sector_bytes, media) = (fields.u8(0)?, fields.u16(11)?, fields.u8(21)?);
    if !matches!(jump, 0xEB | 0xE9) || fields.array(510)? != [0x55, 0xAA] {
        return Err(fields.damaged("it has no signature"));
    }
    if !matches!(sector_bytes, 512 | 1024 | 2048 | 4096) {
        return Err(fields.damaged("no such size of sectors"));
    }
    if !matches!(media, 0xF0 | 0xF8..) {
        return Err(fields.damaged("no such medium"));
    }
    Ok(sector_bytes)
}

/// Where the root folder begins, and which table is in force.
fn fat32_root(fields: &Fields, heap: &Heap) -> Result<(Root, u64)> {
    let (flags, version, root) = (fields.u16(40)?, fields.u16(42)?, fields.u32(44)?);
    if version != 0 {
        return Err(Error::unsupported(format!("FAT32 version {}.{}", version >> 8, version & 0xFF)));
    }
    if !heap.contains(root) {
        return Err(fields.damaged("there is no cluster of the root folder"));
    }
    let is_mirrored = flags & 0x80 == 0;
    Ok((Root::Cluster(root), if is_mirrored { 0 } else { u64::from(flags & 0xF) }))
}
