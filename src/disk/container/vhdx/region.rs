//! Region table of VHDX: where the block allocation table and the metadata are.

use super::summed;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::guid::Guid;
use std::ops::Range;

const WHAT: &str = "VHDX region table";
const PLACES: [u64; 2] = [192 << 10, 256 << 10];
const BYTES: usize = 64 << 10;
const SIGNATURE: &[u8] = b"regi";
const ENTRIES_AT: usize = 16;
const ENTRY_BYTES: usize = 32;
const ENTRY_COUNT_MAX: u32 = 2047;
const REQUIRED: u32 = 1;

const BLOCK_TABLE: Guid = Guid::new(0x2dc27766, 0xf623, 0x4200, 0x9d64, 0x115e9bfd4a08);
const METADATA: Guid = Guid::new(0x8b7ca206, 0x4790, 0x4b9a, 0xb8fe, 0x575f050f886e);

/// The two regions that every file has.
pub(super) struct Regions {
    pub(super) table: Range<u64>,
    pub(super) metadata: Range<u64>,
}

impl Regions {
    pub(super) fn read(source: &dyn BlockSource) -> Result<Regions> {
        Regions::at(source, PLACES[0]).or_else(|fault| match fault {
            Error::Unsupported { .. } => Err(fault),
            _ => Regions::at(source, PLACES[1]),
        })
    }

    fn at(source: &dyn BlockSource, at: u64) -> Result<Regions> {
        let bytes = summed(source, WHAT, at, BYTES)?;
        let fields = Fields::new(&bytes, WHAT, at);
        if fields.bytes(0, 4)? != SIGNATURE {
            return Err(fields.damaged("its signature is missing"));
        }
        let count = fields.u32(8)?;
        if count > ENTRY_COUNT_MAX {
            return Err(fields.damaged("it has too many entries"));
        }
        let (mut table, mut metadata) = (None, None);
        for index in 0..count as usize {
            let entry = fields.part(ENTRIES_AT + index * ENTRY_BYTES, ENTRY_BYTES, WHAT)?;
            let start = entry.u64(16)?;
            let end = start.checked_add(u64::from(entry.u32(24)?)).filter(|end| *end <= source.len());
            let range = start..end.ok_or_else(|| entry.damaged("a region is not within the file"))?;
            let id = Guid(entry.array(0)?);
            match id {
                BLOCK_TABLE => table = Some(range),
                METADATA => metadata = Some(range),
                _ if entry.u32(28)? & REQUIRED != 0 => {
                    return Err(Error::unsupported(format!("the region {id} of VHDX")));
                }
                _ => {}
            }
        }
        let missing = || fields.damaged("a region is missing");
        Ok(Regions { table: table.ok_or_else(missing)?, metadata: metadata.ok_or_else(missing)? })
    }
}
