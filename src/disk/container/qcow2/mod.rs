//! qcow2, versions 2 and 3, as QEMU makes it.
//!
//! Source of the format: QEMU, `docs/interop/qcow2.rst`. Not opened: backing files, encryption, external data files.
//! Of internal snapshots nothing is shown; the disk is what it is now.

mod bitmap;
mod header;
mod table;

pub use bitmap::DirtyBitmap;

pub use bitmap::Bitmaps;
pub(super) use header::MAGIC;

use super::Container;
use super::clusters::Disk;
use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::fs::Source;
use header::Header;
use std::sync::Arc;
use table::Tables;

/// The disk in a file that begins with [`MAGIC`].
pub(super) fn open(source: Source) -> Result<Container> {
    let header = Header::read(&source)?;
    let mut notes = Vec::new();
    if header.is_corrupt {
        notes.push("The image is marked as corrupt.".to_owned());
    }
    if header.is_dirty {
        notes.push("The image was not closed; its reference counts may be wrong, its content is not.".to_owned());
    }
    if header.snapshot_count > 0 {
        notes.push(format!("The image holds {} internal snapshots, which are not shown.", header.snapshot_count));
    }
    let cluster_bytes = 1 << header.cluster_bits;
    let bitmaps = Bitmaps::new(source.clone(), &header);
    let tables = Tables::new(source.clone(), header)?;
    let disk = Arc::new(Disk::new(tables, source.clone(), cluster_bytes));
    let mut container = Container::new("qcow2", disk, source, notes);
    container.bitmaps = bitmaps;
    Ok(container)
}

/// Bytes `at` as far as the file has them, up to `len`.
fn read_up_to(source: &dyn BlockSource, at: u64, len: usize) -> Result<Vec<u8>> {
    let there = source.len().saturating_sub(at).min(len as u64);
    let mut bytes = vec![0; there as usize];
    source.read_at(at, &mut bytes)?;
    Ok(bytes)
}
