//! VDI, fixed and growing: the disks of VirtualBox.
//!
//! Source of the format: `block/vdi.c` of QEMU, which describes it. Not opened: snapshots, which stand on another file.
//!
//! ```text
//! header ── table: a number for each block of the disk ── blocks, in the order in which they were first written
//! ```

use super::Container;
use super::clusters::Clusters;
use super::clusters::Disk;
use super::clusters::Place;
use super::clusters::TABLES_BYTES;
use super::clusters::UNIT_BYTES_MAX;
use crate::disk::BlockSource;
use crate::disk::Cached;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use std::sync::Arc;

/// What the maker called it comes first, as in `<<< Oracle VM VirtualBox Disk Image >>>`.
const TEXT: &[u8] = b"<<< ";
const WHAT: &str = "VDI header";
const MAGIC_AT: usize = 64;
const MAGIC: u32 = 0xbeda_107f;
const HEADER_BYTES: usize = 512;
const VERSION: u32 = 0x1_0001;
const BLOCK_BYTES_MIN: u64 = 4096;
const BLOCK_BYTES_MAX: u64 = 1 << 30;
/// Entries of the table from here on are no blocks: discarded, or never written.
const NO_BLOCK: u32 = 0xffff_fffe;

const GROWING: u32 = 1;
const FIXED: u32 = 2;
const SNAPSHOT: u32 = 4;

/// Whether a file begins as a VDI does.
pub(super) fn is_vdi(start: &[u8]) -> Result<bool> {
    // Four bytes alone may stand there by chance.
    Ok(start.starts_with(TEXT) && Fields::new(start, WHAT, 0).u32(MAGIC_AT)? == MAGIC)
}

/// The disk in `source`, which is a VDI.
pub(super) fn open(source: Source) -> Result<Container> {
    let blocks = Blocks::read(source.clone())?;
    let disk = Arc::new(Disk::new(blocks, source.clone(), UNIT_BYTES_MAX));
    Ok(Container::new("VDI", disk, source, Vec::new()))
}

struct Blocks {
    tables: Cached<Source>,
    bytes: u64,
    table_at: u64,
    data_at: u64,
    block_bytes: u64,
}

impl Blocks {
    fn read(source: Source) -> Result<Blocks> {
        let mut header = [0; HEADER_BYTES];
        source.read_at(0, &mut header)?;
        let fields = Fields::new(&header, WHAT, 0);
        let version = fields.u32(68)?;
        if version != VERSION {
            return Err(Error::unsupported(format!("version {}.{} of VDI", version >> 16, version & 0xffff)));
        }
        let has_parent = [0x1a8, 0x1b8].iter().try_fold(false, |has, at| {
            let id: [u8; 16] = fields.array(*at)?;
            Ok::<bool, Error>(has || id != [0; 16])
        })?;
        match fields.u32(76)? {
            GROWING | FIXED if !has_parent => {}
            GROWING | FIXED | SNAPSHOT => return Err(Error::unsupported("a VDI that is a snapshot of another")),
            kind => return Err(Error::unsupported(format!("type {kind} of VDI"))),
        }
        if fields.u32(0x17c)? != 0 {
            return Err(Error::unsupported("a VDI with more than data in its blocks"));
        }
        let (table_at, data_at) = (u64::from(fields.u32(0x154)?), u64::from(fields.u32(0x158)?));
        let (bytes, block_bytes) = (fields.u64(0x170)?, u64::from(fields.u32(0x178)?));
        if !block_bytes.is_power_of_two() || !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&block_bytes) {
            return Err(fields.damaged("its blocks have a size that cannot be"));
        }
        let count = u64::from(fields.u32(0x180)?);
        if bytes.div_ceil(block_bytes) > count {
            return Err(fields.damaged("its table is too short"));
        }
        if table_at + count * 4 > source.len() {
            return Err(fields.damaged("its table is not within the file"));
        }
        Ok(Blocks { tables: Cached::new(source, TABLES_BYTES), bytes, table_at, data_at, block_bytes })
    }
}

impl Clusters for Blocks {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn find(&self, at: u64, _wanted: u64) -> Result<(Place, u64)> {
        let within = at % self.block_bytes;
        let entry_at = self.table_at + at / self.block_bytes * 4;
        let mut entry = [0; 4];
        self.tables.read_at(entry_at, &mut entry)?;
        let place = match Fields::new(&entry, "VDI table", entry_at).u32(0)? {
            NO_BLOCK.. => Place::Zero,
            number => Place::Below(self.data_at + u64::from(number) * self.block_bytes + within),
        };
        Ok((place, self.block_bytes - within))
    }

    fn unpack(&self, key: u64) -> Result<Vec<u8>> {
        Err(Error::damaged("VDI", key, "nothing in it is compressed"))
    }
}
