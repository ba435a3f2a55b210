//! What lies on a partition, told by the marks its makers left: enough to give it a name, not to open it.
//!
//! Sources: each format's own documentation, and the places where `libblkid` looks.

use crate::disk::BlockSource;
use crate::disk::Fields;
use crate::disk::Result;
use std::ops::Range;

/// What lies in `range` of a source, as people call it. Boxes for other things come first, as what is inside of them
/// may have left its mark as well.
pub fn kind(source: &dyn BlockSource, range: Range<u64>) -> Result<Option<&'static str>> {
    let place = Place { source, range };
    for find in [box_kind, boot_kind, marked_kind, optical_kind, swap_kind, fat_kind, zfs_kind] {
        if let Some(kind) = find(&place)? {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// The kind of box that lies in `range`, if what is inside of it must not be looked at without opening the box.
pub fn sealed_kind(source: &dyn BlockSource, range: Range<u64>) -> Result<Option<&'static str>> {
    let place = Place { source, range };
    if matches!(raid(&place)?, Some(Raid { level: 1, is_at_end: true })) {
        return Ok(None);
    }
    box_kind(&place)
}

/// Whether a first sector is that of a file system a PC can start from, which ends as an MBR does.
pub(crate) fn is_boot_sector(sector: &[u8]) -> bool {
    let oem = sector.get(3..11).unwrap_or_default();
    BOOT_NAMES.iter().any(|(name, _)| *name == oem) || is_fat(sector).unwrap_or_default()
}

struct Place<'a> {
    source: &'a dyn BlockSource,
    range: Range<u64>,
}

impl Place<'_> {
    fn len(&self) -> u64 {
        self.range.end.min(self.source.len()).saturating_sub(self.range.start)
    }

    /// Bytes at a place, zeros where there are none.
    fn bytes<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        if at.checked_add(N as u64).is_some_and(|end| end <= self.len()) {
            self.source.read_at(self.range.start + at, &mut bytes)?;
        }
        Ok(bytes)
    }

    fn has(&self, at: u64, mark: &[u8]) -> Result<bool> {
        Ok(self.bytes::<16>(at)?.starts_with(mark))
    }
}

type Find<'a> = Result<Option<&'a str>>;

fn box_kind(place: &Place) -> Find<'static> {
    if place.has(0, b"LUKS\xba\xbe\0\x01")? {
        return Ok(Some("LUKS1"));
    }
    if place.has(0, b"LUKS\xba\xbe\0\x02")? {
        return Ok(Some("LUKS2"));
    }
    for sector in 0..4 {
        if place.has(sector * 512, b"LABELONE")? && place.has(sector * 512 + 24, b"LVM2 001")? {
            return Ok(Some("LVM2"));
        }
    }
    if place.has(3, b"-FVE-FS-")? || place.has(424, BITLOCKER_TO_GO)? {
        return Ok(Some("BitLocker"));
    }
    Ok(raid(place)?.map(|_| "Linux RAID member"))
}

/// GUID 4967d63b-2e29-4ad8-8399-f6a339e3d001, which BitLocker To Go leaves in what looks like FAT.
const BITLOCKER_TO_GO: &[u8] = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";

struct Raid {
    level: u32,
    /// The superblock comes after the data, which begin where the member does.
    is_at_end: bool,
}

const RAID_MAGIC: u32 = 0xa92b_4efc;

/// The superblock of a member of a Linux RAID, in each of its four places.
fn raid(place: &Place) -> Result<Option<Raid>> {
    let sectors = place.len() / 512;
    let v1_0 = (sectors.saturating_sub(16) & !7) * 512;
    for (at, is_at_end) in [(0, false), (4096, false), (v1_0, true)] {
        let bytes = place.bytes::<160>(at)?;
        let fields = Fields::new(&bytes, "RAID superblock", at);
        if fields.u32(0)? == RAID_MAGIC && fields.u32(4)? == 1 && fields.u64(144)? == at / 512 {
            return Ok(Some(Raid { level: fields.u32(72)?, is_at_end }));
        }
    }
    let v0_90 = (place.len() & !0xffff).saturating_sub(0x10000);
    let bytes = place.bytes::<64>(v0_90)?;
    let fields = Fields::new(&bytes, "RAID superblock", v0_90);
    let is_raid = fields.u32(0)? == RAID_MAGIC && fields.u32(4)? == 0;
    Ok(if is_raid { Some(Raid { level: fields.u32(28)?, is_at_end: true }) } else { None })
}

const BOOT_NAMES: &[(&[u8; 8], &str)] =
    &[(b"NTFS    ", "NTFS"), (b"EXFAT   ", "exFAT"), (b"ReFS\0\0\0\0", "ReFS"), (b"-FVE-FS-", "BitLocker")];

fn boot_kind(place: &Place) -> Find<'static> {
    let oem: [u8; 8] = place.bytes(3)?;
    Ok(BOOT_NAMES.iter().find(|(name, _)| **name == oem).map(|(_, kind)| *kind))
}

/// A mark at one place.
const MARKS: &[(u64, &[u8], &str)] = &[
    (0, b"XFSB", "XFS"),
    (0, b"hsqs", "SquashFS"),
    (32, b"NXSB", "APFS"),
    (0x10040, b"_BHRfS_M", "Btrfs"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (1024, b"H+\0\x04", "HFS+"),
    (1024, b"HX\0\x05", "HFS+"),
    (4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcachefs"),
    (4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", "bcachefs"),
    (65536 + 52, b"ReIsEr", "ReiserFS"),
    (32768, b"JFS1", "JFS"),
    (512, b"LVM1", "LVM1"),
];

fn marked_kind(place: &Place) -> Find<'static> {
    if let Some(kind) = ext_kind(place)? {
        return Ok(Some(kind));
    }
    for (at, mark, kind) in MARKS {
        if place.has(*at, mark)? {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

fn ext_kind(place: &Place) -> Find<'static> {
    let bytes = place.bytes::<104>(1024)?;
    let fields = Fields::new(&bytes, "ext superblock", 1024);
    // The mark is short: what it stands beside has to be likely too.
    if fields.u16(56)? != 0xef53 || fields.u32(24)? > 6 || fields.u32(76)? > 1 || fields.u32(0)? == 0 {
        return Ok(None);
    }
    let (compatible, incompatible, read_only) = (fields.u32(92)?, fields.u32(96)?, fields.u32(100)?);
    // What ext3 knows: filetype, recover, journal_dev and meta_bg; sparse_super, large_file and btree_dir.
    let is_ext4 = incompatible & !0x1e != 0 || read_only & !0x7 != 0;
    Ok(Some(match (is_ext4, compatible & 4 != 0) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    }))
}

/// ISO 9660 and UDF mark a sequence of sectors; where both are, UDF is what was meant.
fn optical_kind(place: &Place) -> Find<'static> {
    let mut found = None;
    for sector in 16..32 {
        let id: [u8; 6] = place.bytes(sector * 2048)?;
        match &id[1..] {
            b"NSR02" | b"NSR03" => return Ok(Some("UDF")),
            b"CD001" => found = Some("ISO 9660"),
            b"BEA01" | b"TEA01" | b"BOOT2" => {}
            _ => break,
        }
    }
    Ok(found)
}

/// Swap is marked at the end of its first page.
fn swap_kind(place: &Place) -> Find<'static> {
    for page in [4096, 8192, 16384, 32768, 65536] {
        let mark: [u8; 10] = place.bytes(page - 10)?;
        if &mark == b"SWAPSPACE2" || &mark == b"SWAP-SPACE" {
            return Ok(Some("swap"));
        }
    }
    Ok(None)
}

fn fat_kind(place: &Place) -> Find<'static> {
    let sector: [u8; 512] = place.bytes(0)?;
    Ok(if is_fat(&sector)? { Some("FAT") } else { None })
}

/// Whether the parameter block of a boot sector is one of FAT (Microsoft FAT Specification, section 3).
fn is_fat(sector: &[u8]) -> Result<bool> {
    let fields = Fields::new(sector, "boot sector", 0);
    let starts = fields.u8(0)? == 0xe9 || fields.u8(0)? == 0xeb;
    let sector_bytes = matches!(fields.u16(11)?, 512 | 1024 | 2048 | 4096);
    let cluster = fields.u8(13)?.is_power_of_two();
    let fats = matches!(fields.u8(16)?, 1 | 2) && fields.u16(14)? != 0;
    let sectors = fields.u16(19)? != 0 || fields.u32(32)? != 0;
    let media = matches!(fields.u8(21)?, 0xf0 | 0xf8..=0xff);
    Ok(starts && sector_bytes && cluster && fats && sectors && media)
}

/// The uberblocks of the first label, 1 KiB each or a power of two more.
fn zfs_kind(place: &Place) -> Find<'static> {
    for slot in 0..128 {
        let at = (128 + slot) << 10;
        if place.has(at, b"\x0c\xb1\xba\0\0\0\0\0")? || place.has(at, b"\0\0\0\0\0\xba\xb1\x0c")? {
            return Ok(Some("ZFS"));
        }
    }
    Ok(None)
}
