//! The boot sector: the geometry that everything else is counted in, validated once.
//!
//! Layout: Linux-NTFS documentation, file "$Boot". A copy is the last sector of the volume, after the last cluster.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;

/// Bytes that are read of a boot sector.
const BOOT_BYTES: u64 = 512;
/// What NTFS calls itself.
const OEM_NTFS: &[u8] = b"NTFS    ";
/// What BitLocker calls itself.
const OEM_BITLOCKER: &[u8] = b"-FVE-FS-";

/// Largest cluster that Windows makes.
const CLUSTER_BYTES_MAX: u64 = 2 << 20;
/// File records of Windows have 1024 or 4096 bytes.
const RECORD_BYTES_MAX: u64 = 4096;

/// Geometry of a volume. All counts times the size of a cluster are below 2^63.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) sector_bytes: u64,
    pub(super) sectors: u64,
    pub(super) cluster_bytes: u64,
    pub(super) clusters: u64,
    /// Size of a file record.
    pub(super) record_bytes: u64,
    /// First cluster of `$MFT`.
    pub(super) mft: u64,
    /// First cluster of `$MFTMirr`.
    pub(super) mirror: u64,
    pub(super) serial: u64,
}

/// What the first sector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Ntfs,
    BitLocker,
    Neither,
}

/// What the first sector calls itself.
pub(super) fn claim(source: &Source) -> Result<Claim> {
    let mut oem = [0; 8];
    if source.len() < BOOT_BYTES {
        return Ok(Claim::Neither);
    }
    source.read_at(3, &mut oem)?;
    Ok(match &oem[..] {
        oem if oem == OEM_NTFS => Claim::Ntfs,
        oem if oem == OEM_BITLOCKER => Claim::BitLocker,
        _ => Claim::Neither,
    })
}

/// The boot sector at the start of the volume.
pub(super) fn first(source: &Source) -> Result<Boot> {
    read(source, 0)
}

/// The copy at the end of the volume.
pub(super) fn backup(source: &Source) -> Option<Boot> {
    [512, 4096, 1024, 2048].into_iter().find_map(|sector_bytes: u64| {
        let at = source.len().checked_sub(sector_bytes)?;
        let boot = read(source, at).ok()?;
        // It is a backup only if it counts as many sectors as lie before it.
        (boot.sector_bytes == sector_bytes && boot.sectors.checked_mul(sector_bytes)? == at).then_some(boot)
    })
}

fn read(source: &Source, at: u64) -> Result<Boot> {
    let mut sector = [0; BOOT_BYTES as usize];
    source.read_at(at, &mut sector)?;
    parse(&Fields::new(&sector, "NTFS boot sector", at))
}

fn parse(fields: &Fields<'_>) -> Result<Boot> {
    if fields.bytes(3, 8)? != OEM_NTFS {
        return Err(fields.damaged("it does not call itself NTFS"));
    }
    let sector_bytes = u64::from(fields.u16(0x0b)?);
    if !sector_bytes.is_power_of_two() || !(256..=4096).contains(&sector_bytes) {
        return Err(fields.damaged("its sectors have an impossible size"));
    }
    // Above 128 it is the negative exponent of a size that has no place in a byte.
    let sectors_per_cluster = match fields.u8(0x0d)? {
        count @ 1..=128 => u64::from(count),
        exponent => 1u64.checked_shl(256 - u32::from(exponent)).unwrap_or(0),
    };
    let cluster_bytes = sector_bytes.saturating_mul(sectors_per_cluster);
    if !cluster_bytes.is_power_of_two() || cluster_bytes > CLUSTER_BYTES_MAX {
        return Err(fields.damaged("its clusters have an impossible size"));
    }
    let sectors = fields.u64(0x28)?;
    if sectors.checked_mul(sector_bytes).is_none_or(|bytes| bytes > i64::MAX as u64) {
        return Err(fields.damaged("it covers more than can be counted"));
    }
    let record_bytes = match fields.u8(0x40)? {
        count @ 1..=127 => cluster_bytes.saturating_mul(u64::from(count)),
        exponent => 1u64.checked_shl(256 - u32::from(exponent)).unwrap_or(0),
    };
    if !record_bytes.is_power_of_two() || record_bytes < 512 {
        return Err(fields.damaged("its file records have an impossible size"));
    }
    if record_bytes > RECORD_BYTES_MAX {
        return Err(Error::unsupported(format!("NTFS with file records of {record_bytes} bytes")));
    }
    let clusters = sectors / sectors_per_cluster;
    let (mft, mirror) = (fields.u64(0x30)?, fields.u64(0x38)?);
    if mft >= clusters {
        return Err(fields.damaged("its file table lies outside"));
    }
    let serial = fields.u64(0x48)?;
    Ok(Boot { sector_bytes, sectors, cluster_bytes, clusters, record_bytes, mft, mirror, serial })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn sector() -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[3..11].copy_from_slice(OEM_NTFS);
        sector[0x0c] = 2;
        sector[0x0d] = 8;
        sector[0x28] = 80;
        sector[0x30] = 4;
        sector[0x38] = 5;
        sector[0x40] = 0xf6;
        sector
    }

    fn parsed(change: impl Fn(&mut Vec<u8>)) -> Result<Boot> {
        let mut bytes = sector();
        change(&mut bytes);
        parse(&Fields::new(&bytes, "boot", 0))
    }

    #[test]
    fn geometry() {
        let boot = parsed(|_| {}).unwrap();
        assert_eq!((boot.cluster_bytes, boot.clusters, boot.record_bytes), (4096, 10, 1024));
        assert!(parsed(|b| b[0x0d] = 0xf4).unwrap_err().to_string().contains("file table"));
        let large = parsed(|b| (b[0x0d], b[0x2a]) = (0xf4, 9)).unwrap();
        assert_eq!(large.cluster_bytes, CLUSTER_BYTES_MAX);
        assert_eq!(parsed(|b| b[0x40] = 1).unwrap().record_bytes, 4096);
    }

    #[test]
    fn impossible_geometry() {
        for (at, value) in [
            (3, 0),
            (0x0c, 3),
            (0x0c, 0),
            (0x0d, 0),
            (0x0d, 3),
            (0x0d, 0x81),
            (0x2f, 1),
            (0x30, 99),
            (0x40, 0),
            (0x40, 0x80),
        ] {
            assert!(parsed(|b| b[at] = value).is_err(), "{at} {value}");
        }
        assert!(matches!(parsed(|b| b[0x40] = 2), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn the_backup_is_where_it_says() {
        let mut disk = vec![0; 80 * 512];
        disk.extend_from_slice(&sector());
        let source: Source = Arc::new(disk.clone());
        assert!(backup(&source).is_some());
        disk.extend_from_slice(&sector());
        let source: Source = Arc::new(disk);
        assert!(backup(&source).is_none());
    }
}
