//! VHDX, fixed and dynamic; a log that was not written out is replayed in memory.
//!
//! Source of the format: Microsoft, MS-VHDX "Virtual Hard Disk v2 (VHDX) File Format". Not opened: differencing disks.

mod block;
mod header;
mod log;
mod metadata;
mod overlay;
mod region;

use super::Container;
use super::clusters::Disk;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c;
use crate::disk::fs::Source;
use block::Blocks;
use header::Header;
use metadata::Metadata;
use overlay::Overlay;
use region::Regions;
use std::sync::Arc;

/// The first bytes.
pub(super) const MAGIC: &[u8] = b"vhdxfile";

/// The disk in a file that begins with [`MAGIC`].
pub(super) fn open(source: Source) -> Result<Container> {
    let header = Header::read(&source)?;
    let mut notes = Vec::new();
    let mut overlay = Overlay::new(source.clone());
    if !header.log_id.is_nil() {
        log::replay(&source, &header, &mut overlay)?;
        notes.push("The container was not closed; its log was replayed in memory.".to_owned());
    }
    let overlay = Arc::new(overlay);
    let regions = Regions::read(&*overlay)?;
    let metadata = Metadata::read(&*overlay, &regions.metadata)?;
    let blocks = Blocks::new(overlay, metadata, &regions.table)?;
    let disk = Arc::new(Disk::new(blocks, source.clone(), overlay::PIECE_BYTES));
    Ok(Container::new("VHDX", disk, source, notes))
}

/// `len` bytes of a structure that has a checksum over all of it in its bytes 4 to 8.
fn summed(source: &dyn BlockSource, what: &'static str, at: u64, len: usize) -> Result<Vec<u8>> {
    if at.checked_add(len as u64).is_none_or(|end| end > source.len()) {
        return Err(Error::damaged(what, at, "it is not within the file"));
    }
    let mut bytes = vec![0; len];
    source.read_at(at, &mut bytes)?;
    let wanted = Fields::new(&bytes, what, at).u32(4)?;
    let mut cleared = bytes.clone();
    cleared[4..8].fill(0);
    if crc32c(&cleared) != wanted {
        return Err(Error::damaged(what, at, "its checksum is wrong"));
    }
    Ok(bytes)
}
