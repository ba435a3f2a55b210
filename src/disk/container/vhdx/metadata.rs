//! Metadata of VHDX: size of the disk and of its blocks.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::guid::Guid;
use std::ops::Range;

const WHAT: &str = "VHDX metadata";
const TABLE_BYTES: usize = 64 << 10;
const SIGNATURE: &[u8] = b"metadata";
const ENTRY_BYTES: usize = 32;
const ENTRY_COUNT_MAX: u16 = 2047;
const ITEM_BYTES_MAX: usize = 8;
const IS_USER: u32 = 1;
const IS_REQUIRED: u32 = 1 << 2;

const FILE_PARAMETERS: Guid = Guid::new(0xcaa16737, 0xfa36, 0x4d43, 0xb3b6, 0x33f0aa44e76b);
const DISK_SIZE: Guid = Guid::new(0x2fa54224, 0xcd1b, 0x4876, 0xb211, 0x5dbed83bf4b8);
const DISK_ID: Guid = Guid::new(0xbeca12ab, 0xb2e6, 0x4523, 0x93ef, 0xc309e000c746);
const LOGICAL_SECTOR: Guid = Guid::new(0x8141bf1d, 0xa96f, 0x4709, 0xba47, 0xf233a8faab5f);
const PHYSICAL_SECTOR: Guid = Guid::new(0xcda348c7, 0x445d, 0x4471, 0x9cc9, 0xe9885251c556);
const PARENT_LOCATOR: Guid = Guid::new(0xa8d35f2d, 0xb30b, 0x454d, 0xabf7, 0xd3d84834ab0c);

const HAS_PARENT: u32 = 1 << 1;
const BLOCK_BYTES_MIN: u64 = 1 << 20;
const BLOCK_BYTES_MAX: u64 = 256 << 20;
/// The largest disk of the specification.
const DISK_BYTES_MAX: u64 = 64 << 40;

/// What the metadata say.
pub(super) struct Metadata {
    pub(super) disk_bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) sector_bytes: u64,
}

impl Metadata {
    pub(super) fn read(source: &dyn BlockSource, region: &Range<u64>) -> Result<Metadata> {
        let mut bytes = vec![0; TABLE_BYTES];
        if region.end - region.start < TABLE_BYTES as u64 {
            return Err(Error::damaged(WHAT, region.start, "it is too short"));
        }
        source.read_at(region.start, &mut bytes)?;
        let fields = Fields::new(&bytes, WHAT, region.start);
        if fields.bytes(0, 8)? != SIGNATURE {
            return Err(fields.damaged("its signature is missing"));
        }
        let count = fields.u16(10)?;
        if count > ENTRY_COUNT_MAX {
            return Err(fields.damaged("it has too many entries"));
        }
        let (mut disk_bytes, mut block_bytes, mut sector_bytes) = (None, None, None);
        for index in 0..usize::from(count) {
            let entry = fields.part(32 + index * ENTRY_BYTES, ENTRY_BYTES, WHAT)?;
            let (id, flags) = (Guid(entry.array(0)?), entry.u32(24)?);
            if flags & IS_USER != 0 {
                continue;
            }
            let item = item(source, region, &entry)?;
            let item = Fields::new(&item, "VHDX metadata item", region.start);
            match id {
                DISK_SIZE => disk_bytes = Some(item.u64(0)?),
                LOGICAL_SECTOR => sector_bytes = Some(u64::from(item.u32(0)?)),
                FILE_PARAMETERS if item.u32(4)? & HAS_PARENT != 0 => {
                    return Err(Error::unsupported("a differencing VHDX"));
                }
                FILE_PARAMETERS => block_bytes = Some(u64::from(item.u32(0)?)),
                PARENT_LOCATOR => return Err(Error::unsupported("a differencing VHDX")),
                DISK_ID | PHYSICAL_SECTOR => {}
                _ if flags & IS_REQUIRED != 0 => {
                    return Err(Error::unsupported(format!("the metadata {id} of VHDX")));
                }
                _ => {}
            }
        }
        let missing = || fields.damaged("an item is missing");
        let metadata = Metadata {
            disk_bytes: disk_bytes.ok_or_else(missing)?,
            block_bytes: block_bytes.ok_or_else(missing)?,
            sector_bytes: sector_bytes.ok_or_else(missing)?,
        };
        metadata.check(&fields)?;
        Ok(metadata)
    }

    fn check(&self, fields: &Fields) -> Result<()> {
        let is_block = self.block_bytes.is_power_of_two();
        if !is_block || !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&self.block_bytes) {
            return Err(fields.damaged("blocks have a size that cannot be"));
        }
        if !matches!(self.sector_bytes, 512 | 4096) {
            return Err(fields.damaged("sectors have a size that cannot be"));
        }
        if self.disk_bytes > DISK_BYTES_MAX || !self.disk_bytes.is_multiple_of(self.sector_bytes) {
            return Err(fields.damaged("the disk has a size that cannot be"));
        }
        Ok(())
    }
}

/// The first bytes of an item.
fn item(source: &dyn BlockSource, region: &Range<u64>, entry: &Fields) -> Result<Vec<u8>> {
    let (offset, len) = (u64::from(entry.u32(16)?), u64::from(entry.u32(20)?));
    if offset + len > region.end - region.start {
        return Err(entry.damaged("an item is not within the metadata"));
    }
    let mut bytes = vec![0; (len as usize).min(ITEM_BYTES_MAX)];
    source.read_at(region.start + offset, &mut bytes)?;
    Ok(bytes)
}
