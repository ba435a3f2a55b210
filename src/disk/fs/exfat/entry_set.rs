//! A file: the set of a file entry, a stream extension and the parts of the name. (exFAT file system specification,
//! 6.3, 7.4, 7.6 and 7.7.)

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::exfat::entry_type;
use crate::disk::fs::fat::dos_time::dos_time;
use crate::disk::fs::wide::is_name;
use crate::disk::fs::wide::wtf8;
use crate::meta::Time;

/// A file entry and at most 18 more.
pub(crate) const ENTRIES_MAX: usize = 19;

const WHAT: &str = "exFAT entry set";
const FOLDER: u16 = 0x10;
const ALLOCATION_POSSIBLE: u8 = 1;
const NO_FAT_CHAIN: u8 = 2;
const NAME_PART_UNITS: usize = 15;

/// What a set says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntrySet {
    pub(crate) name: Vec<u8>,
    pub(crate) is_folder: bool,
    /// Its clusters are one behind the other; the table does not know them.
    pub(crate) is_straight: bool,
    /// 0: it has no clusters.
    pub(crate) first_cluster: u32,
    pub(crate) size: u64,
    /// Bytes that were written; zeros follow up to the size.
    pub(crate) valid_size: u64,
    pub(crate) mtime: Option<Time>,
    pub(crate) btime: Option<Time>,
}

/// Entries of a set that begins with the file entry `raw`.
pub(crate) fn set_len(raw: &[u8; 32]) -> usize {
    usize::from(raw[1]) + 1
}

impl EntrySet {
    /// Reads the whole set `entries`, which begins at byte `at`.
    pub(crate) fn read(entries: &[[u8; 32]], at: u64) -> Result<EntrySet> {
        let bytes = entries.as_flattened();
        let file = Fields::new(bytes, WHAT, at);
        if file.u8(0)? != entry_type::FILE || !(3..=ENTRIES_MAX).contains(&entries.len()) {
            return Err(file.damaged("it is not that of a file"));
        }
        if file.u16(2)? != checksum(bytes) {
            return Err(file.damaged("its checksum is wrong"));
        }
        let stream = file.part(32, 32, "exFAT stream extension")?;
        let flags = stream.u8(1)?;
        if stream.u8(0)? != entry_type::STREAM || flags & ALLOCATION_POSSIBLE == 0 {
            return Err(stream.damaged("it is none"));
        }
        let (size, valid_size) = (stream.u64(24)?, stream.u64(8)?);
        if valid_size > size {
            return Err(stream.damaged("more is valid than there is"));
        }
        let is_folder = file.u16(4)? & FOLDER != 0;
        if is_folder && valid_size != size {
            return Err(stream.damaged("not all of a folder is valid"));
        }
        Ok(EntrySet {
            name: name(&file, entries, stream.u8(3)?)?,
            is_folder,
            is_straight: flags & NO_FAT_CHAIN != 0,
            first_cluster: stream.u32(20)?,
            size,
            valid_size,
            btime: time(file.u32(8)?, file.u8(20)?, file.u8(22)?),
            mtime: time(file.u32(12)?, file.u8(21)?, file.u8(23)?),
        })
    }
}

fn name(file: &Fields, entries: &[[u8; 32]], len: u8) -> Result<Vec<u8>> {
    let len = usize::from(len);
    let (parts, others) = entries
        .get(2..)
        .unwrap_or_default()
        .split_at_checked(len.div_ceil(NAME_PART_UNITS))
        .ok_or_else(|| file.damaged("its name is not whole"))?;
    if parts.iter().any(|part| part[0] != entry_type::NAME) {
        return Err(file.damaged("its name is not whole"));
    }
    // What may be left out is left out; what has to be understood is not there in this version.
    if others.iter().any(|other| !entry_type::is_benign_secondary(other[0])) {
        return Err(Error::unsupported("an exFAT entry set with entries of an unknown kind"));
    }
    let units = parts.iter().flat_map(|part| part[2..].as_chunks::<2>().0).map(|unit| u16::from_le_bytes(*unit));
    let name = wtf8(units.take(len));
    if !is_name(&name) {
        return Err(file.damaged("its name is none"));
    }
    Ok(name)
}

fn checksum(bytes: &[u8]) -> u16 {
    let summed = bytes.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
    summed.fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)))
}

/// Without a known offset the time is taken as UTC.
fn time(stamp: u32, hundredths: u8, offset: u8) -> Option<Time> {
    // Seven bits with a sign, in quarters of an hour.
    let quarters = i32::from((offset << 1).cast_signed() >> 1);
    let minutes_east = if offset & 0x80 != 0 { quarters * 15 } else { 0 };
    dos_time((stamp >> 16) as u16, (stamp & 0xFFFF) as u16, hundredths, minutes_east)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn offsets_from_greenwich() {
        let stamp = 0x0021_0000;
        for (offset, east) in [(0, 0), (0x80, 0), (0x84, 60), (0x04, 0), (0xFC, -60), (0xB8, 840), (0xD0, -720)] {
            assert_eq!(time(stamp, 0, offset).unwrap().secs, 315_532_800 - east * 60, "{offset:#x}");
        }
        assert_eq!(time(stamp, 150, 0).unwrap(), Time { secs: 315_532_801, nanos: 500_000_000 });
    }
}
