//! The main boot region: where the table, the clusters and the root folder lie. (exFAT file system specification, 3.)

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::fat::heap::Heap;

/// Sectors of the boot region; the last one repeats the checksum of the others.
const REGION_SECTORS: u64 = 12;
/// Bytes that are looked at to know the format.
pub(crate) const BOOT_BYTES: usize = 512;

const WHAT: &str = "exFAT boot sector";
const SECTOR_SHIFTS: std::ops::RangeInclusive<u8> = 9..=12;
/// A cluster is 32 MiB at most.
const CLUSTER_SHIFT_MAX: u8 = 25;
const CLUSTERS_MAX: u32 = 0xFFFF_FFF5;
/// Node numbers have to hold the place of every entry.
const BYTES_MAX: u64 = 1 << 52;

/// What the boot sector says, checked.
#[derive(Debug)]
pub(crate) struct BootSector {
    sector_shift: u8,
    /// First byte of the table in force.
    pub(crate) table_start: u64,
    pub(crate) heap: Heap,
    pub(crate) root: u32,
    /// Bytes of the volume.
    pub(crate) bytes: u64,
    pub(crate) serial: u32,
    pub(crate) is_dirty: bool,
    /// The second table and bitmap are in force.
    pub(crate) is_second_active: bool,
}

impl BootSector {
    /// True if `sector` says that it is one.
    pub(crate) fn is_exfat(sector: &[u8]) -> bool {
        sector.get(3..11) == Some(b"EXFAT   ") && sector.get(510..512) == Some(&[0x55, 0xAA])
    }

    /// Reads the first 512 bytes of a volume.
    pub(crate) fn read(sector: &[u8]) -> Result<BootSector> {
        let fields = Fields::new(sector, WHAT, 0);
        let (revision, flags) = (fields.u16(104)?, fields.u16(106)?);
        let (sector_shift, more_shift, tables) = (fields.u8(108)?, fields.u8(109)?, fields.u8(110)?);
        if revision >> 8 != 1 {
            return Err(Error::unsupported(format!("exFAT version {}", revision >> 8)));
        }
        if !SECTOR_SHIFTS.contains(&sector_shift) || more_shift > CLUSTER_SHIFT_MAX - sector_shift {
            return Err(fields.damaged("no such size of sectors or clusters"));
        }
        if !matches!(tables, 1 | 2) {
            return Err(fields.damaged("no such number of tables"));
        }
        // 32 bits and at most 12 more.
        let bytes_of = |sectors: u32| u64::from(sectors) << sector_shift;
        let (table_start, table_bytes) = (bytes_of(fields.u32(80)?), bytes_of(fields.u32(84)?));
        let count = fields.u32(92)?;
        let heap = Heap { start: bytes_of(fields.u32(88)?), cluster_bytes: 1 << (sector_shift + more_shift), count };
        let bytes = fields.u64(72)?.checked_mul(1 << sector_shift);
        let bytes = bytes.ok_or_else(|| fields.damaged("the volume is too long"))?;
        if bytes > BYTES_MAX {
            return Err(Error::unsupported("an exFAT volume of more than 4 PiB"));
        }
        if count == 0 || count > CLUSTERS_MAX || heap.end() > bytes {
            return Err(fields.damaged("the clusters end behind the volume"));
        }
        if table_start < REGION_SECTORS << sector_shift || table_bytes / 4 < u64::from(count) + 2 {
            return Err(fields.damaged("the table is too short"));
        }
        if table_start + u64::from(tables) * table_bytes > heap.start {
            return Err(fields.damaged("the tables end behind the start of the clusters"));
        }
        let (root, is_second_active) = (fields.u32(96)?, flags & 1 != 0);
        if !heap.contains(root) {
            return Err(fields.damaged("there is no cluster of the root folder"));
        }
        if is_second_active && tables == 1 {
            return Err(fields.damaged("the table in force is not there"));
        }
        Ok(BootSector {
            sector_shift,
            table_start: table_start + if is_second_active { table_bytes } else { 0 },
            heap,
            root,
            bytes,
            serial: fields.u32(100)?,
            is_dirty: flags & 2 != 0,
            is_second_active,
        })
    }

    /// Bytes of the boot region.
    pub(crate) fn region_bytes(&self) -> u64 {
        REGION_SECTORS << self.sector_shift
    }

    /// Compares the checksum of the boot `region`, which is whole.
    pub(crate) fn check(&self, region: &[u8]) -> Result<()> {
        let fields = Fields::new(region, "exFAT boot region", 0);
        let (summed, sums) =
            region.split_at_checked(11 << self.sector_shift).ok_or_else(|| fields.damaged("it is too short"))?;
        // What changes while the volume is in use is left out: VolumeFlags and PercentInUse.
        let sum = summed.iter().enumerate().filter(|(at, _)| !matches!(at, 106 | 107 | 112));
        let sum = sum.fold(0u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
        match sums.as_chunks::<4>().0.iter().all(|stored| u32::from_le_bytes(*stored) == sum) {
            true => Ok(()),
            false => Err(fields.damaged("its checksum is wrong")),
        }
    }
}
