//! The records of a folder, one behind the other, none across the end of a sector. (ECMA-119, 6.8.)

use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::iso::descriptor::SECTOR_BYTES;
use crate::disk::fs::iso::record::RECORD_BYTES_MAX;
use crate::disk::fs::iso::record::Record;

/// A record and where it stands.
pub(crate) struct Placed {
    /// First byte in the source.
    pub(crate) offset: u64,
    /// The byte of the folder behind it.
    pub(crate) end: u64,
    pub(crate) record: Record,
}

/// The record at byte `offset` of the source, if there is one.
pub(crate) fn record_at(source: &Source, offset: u64) -> Result<Option<Record>> {
    let within = SECTOR_BYTES - offset % SECTOR_BYTES;
    let mut bytes = [0; RECORD_BYTES_MAX];
    let len = source.len().saturating_sub(offset).min(within).min(RECORD_BYTES_MAX as u64);
    let bytes = bytes.get_mut(..len as usize).unwrap_or_default();
    source.read_at(offset, bytes)?;
    Record::read(bytes, offset)
}

/// Calls `take` with the records of the folder whose first record is `own`, from byte `from` of the folder on, until it
/// returns false.
pub(crate) fn each_record(
    source: &Source,
    own: &Record,
    from: u64,
    take: &mut dyn FnMut(Placed) -> Result<bool>,
) -> Result<()> {
    let start = u64::from(own.block) * SECTOR_BYTES;
    let size = u64::from(own.size);
    let mut at = from;
    let mut sector = [0; SECTOR_BYTES as usize];
    while at < size {
        let sector_at = at - at % SECTOR_BYTES;
        source.read_at(start + sector_at, &mut sector)?;
        let used = sector.get(..(size - sector_at).min(SECTOR_BYTES) as usize).unwrap_or_default();
        while let Some(rest) = used.get((at - sector_at) as usize..).filter(|rest| !rest.is_empty()) {
            let Some(record) = Record::read(rest, start + at)? else { break };
            let offset = start + at;
            at += record.len as u64;
            if !take(Placed { offset, end: at, record })? {
                return Ok(());
            }
        }
        at = sector_at + SECTOR_BYTES;
    }
    Ok(())
}
