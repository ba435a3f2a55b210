//! Virtual disks in files: qcow2, VDI, VHD, VHDX, VMDK.
//!
//! Each is a [`BlockSource`] over the file that holds it. Kinds are told by their marks alone, never by a file's name:
//! a guest that writes such a mark into its raw disk is a known trick, so whoever knows that a disk is raw must not ask.

mod clusters;
mod foreign;
mod inflate;
mod joined;
mod qcow2;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

#[cfg(test)]
mod tests;

pub use joined::Neighbour;
pub use qcow2::Bitmaps;
pub use qcow2::DirtyBitmap;

use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::fs::Source;

/// Opens a file that lies beside the container, by its name.
pub type OpenNeighbour<'a> = &'a dyn Fn(&str) -> Result<Source>;

/// A virtual disk in a file.
pub struct Container {
    /// Kind of the container: `qcow2`, `VDI`, `VHD`, `VHDX`, `VMDK`.
    pub kind: &'static str,
    /// The virtual disk. Its runs lie in `below`.
    pub disk: Source,
    /// The file, followed by the neighbours it needs.
    pub below: Source,
    /// Further files the disk is made of, and where each begins in `below`. Few formats have any.
    pub neighbours: Vec<Neighbour>,
    /// What a reader has to know, in sentences.
    pub notes: Vec<String>,
    /// What has been written since some moments, as the hypervisor has noted it in the container.
    pub bitmaps: Option<Bitmaps>,
}

impl Container {
    fn new(kind: &'static str, disk: Source, below: Source, notes: Vec<String>) -> Container {
        Container { kind, disk, below, neighbours: Vec::new(), notes, bitmaps: None }
    }

    /// Bytes of the virtual disk.
    pub fn bytes(&self) -> u64 {
        self.disk.len()
    }
}

/// Names of the further files of the virtual disk in `source`, in the order in which they follow it in [`Container::below`].
pub fn further_files(source: &Source) -> Result<Vec<String>> {
    let mut start = [0; 512];
    let len = source.len().min(512) as usize;
    source.read_at(0, &mut start[..len])?;
    if vmdk::is_vmdk(&start)? { vmdk::further_files(source) } else { Ok(Vec::new()) }
}

/// The virtual disk in `source`; `None` if it is no container that is known: a disk as it is.
pub fn open(source: Source, neighbour: OpenNeighbour) -> Result<Option<Container>> {
    let mut start = [0; 512];
    let len = source.len().min(512) as usize;
    source.read_at(0, &mut start[..len])?;
    if start.starts_with(qcow2::MAGIC) {
        return qcow2::open(source).map(Some);
    }
    if start.starts_with(vhdx::MAGIC) {
        return vhdx::open(source).map(Some);
    }
    if vmdk::is_vmdk(&start)? {
        return vmdk::open(source, neighbour).map(Some);
    }
    if vdi::is_vdi(&start)? {
        return vdi::open(source).map(Some);
    }
    foreign::refuse(&source, &start)?;
    vhd::open(source)
}
