//! VMDK: sparse and flat extents, in one file or several.
//!
//! Source of the format: VMware, "Virtual Disk Format 5.0" (Technical Note). Not opened: snapshot deltas, the sparse
//! formats of ESX (COWD, SESparse), raw device mappings.

mod descriptor;
mod sparse;

use super::Container;
use super::OpenNeighbour;
use super::clusters::Clusters;
use super::clusters::Disk;
use super::clusters::Place;
use super::clusters::TABLES_BYTES;
use super::joined::Joined;
use super::joined::Neighbour;
use crate::disk::BlockSource;
use crate::disk::Cached;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::Window;
use crate::disk::fs::Source;
use descriptor::Descriptor;
use descriptor::ExtentKind;
use sparse::Sparse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

const SECTOR_BYTES: u64 = 512;
/// Most bytes of a descriptor, and of what is looked at of a file that may be one.
const DESCRIPTOR_BYTES_MAX: u64 = 64 << 10;

/// Whether a file that begins like this is any kind of VMDK.
pub(super) fn is_vmdk(start: &[u8]) -> Result<bool> {
    if start.starts_with(b"COWD") {
        return Err(Error::unsupported("a sparse VMDK of ESX (COWD)"));
    }
    if start.starts_with(&[0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0]) {
        return Err(Error::unsupported("a sparse VMDK of ESX (SESparse)"));
    }
    Ok(start.starts_with(sparse::MAGIC) || descriptor::is_descriptor(start))
}

/// The disk in a file for which [`is_vmdk`] holds.
pub(super) fn open(source: Source, neighbour: OpenNeighbour) -> Result<Container> {
    let mut magic = [0; 4];
    source.read_at(0, &mut magic)?;
    if magic == *sparse::MAGIC { open_sparse(source) } else { open_descriptor(source, neighbour) }
}

/// Names of the files that the descriptor in a file names, each once.
pub(super) fn further_files(source: &Source) -> Result<Vec<String>> {
    let mut magic = [0; 4];
    source.read_at(0, &mut magic)?;
    if magic == *sparse::MAGIC {
        return Ok(Vec::new());
    }
    let descriptor = Descriptor::parse(&text(source, 0, source.len())?)?;
    let mut names: Vec<String> = Vec::new();
    for extent in descriptor.extents.into_iter().filter(|extent| !matches!(extent.kind, ExtentKind::Zero)) {
        if !names.contains(&extent.file) {
            names.push(extent.file);
        }
    }
    Ok(names)
}

/// One file with its descriptor inside.
fn open_sparse(source: Source) -> Result<Container> {
    let tables: Source = Arc::new(Cached::new(source.clone(), TABLES_BYTES));
    let sparse = Sparse::open(tables)?;
    let Some(range) = sparse.descriptor.clone() else {
        return Err(Error::unsupported("one file of a VMDK of several, without its descriptor"));
    };
    let text = text(&source, range.start, range.end.saturating_sub(range.start))?;
    let descriptor = Descriptor::parse(&text)?;
    let [extent] = descriptor.extents.as_slice() else {
        return Err(Error::unsupported("one file of a VMDK of several, without its descriptor"));
    };
    if !matches!(extent.kind, ExtentKind::Sparse) || extent.bytes > sparse.bytes {
        return Err(Error::damaged("VMDK descriptor", range.start, "it describes something else"));
    }
    let notes = sparse.notes().into_iter().collect();
    let (bytes, unit_bytes) = (sparse.bytes, sparse.grain_bytes);
    let piece = Piece { start: 0, bytes, below_start: 0, content: Content::Sparse(sparse) };
    let extents = Extents { bytes, pieces: vec![piece] };
    let disk = Arc::new(Disk::new(extents, source.clone(), unit_bytes));
    Ok(Container::new("VMDK", disk, source, notes))
}

/// A descriptor, and extents in files beside it.
fn open_descriptor(source: Source, neighbour: OpenNeighbour) -> Result<Container> {
    let text = text(&source, 0, source.len())?;
    let descriptor = Descriptor::parse(&text)?;
    let mut joined = Joined::default();
    let too_long = || Error::damaged("VMDK descriptor", 0, "its files are too long together");
    joined.push(source).ok_or_else(too_long)?;
    let mut files: BTreeMap<&str, Range<u64>> = BTreeMap::new();
    let mut neighbours: Vec<Neighbour> = Vec::new();
    for extent in descriptor.extents.iter().filter(|extent| !matches!(extent.kind, ExtentKind::Zero)) {
        if !files.contains_key(extent.file.as_str()) {
            let file = neighbour(&extent.file)?;
            let len = file.len();
            let start = joined.push(file).ok_or_else(too_long)?;
            files.insert(&extent.file, start..start + len);
            neighbours.push(Neighbour { name: extent.file.clone(), start });
        }
    }
    let below: Source = Arc::new(joined);
    // One cache for the tables of all.
    let tables: Source = Arc::new(Cached::new(below.clone(), TABLES_BYTES));
    let mut notes = Vec::new();
    let mut extents = Extents { bytes: 0, pieces: Vec::new() };
    let mut unit_bytes = 0;
    for extent in &descriptor.extents {
        let file = files.get(extent.file.as_str()).cloned().unwrap_or_default();
        let content = match extent.kind {
            ExtentKind::Zero => Content::Zero,
            ExtentKind::Flat { offset } => {
                let end = offset.checked_add(extent.bytes).filter(|end| *end <= file.end - file.start);
                end.ok_or(Error::damaged("VMDK", offset, "the file of an extent ends before"))?;
                Content::Flat { offset }
            }
            ExtentKind::Sparse => {
                let sparse = Sparse::open(Arc::new(Window::new(tables.clone(), file.clone())))?;
                if sparse.bytes < extent.bytes {
                    return Err(Error::damaged("VMDK", 0, "an extent is shorter than its descriptor says"));
                }
                unit_bytes = sparse.grain_bytes.max(unit_bytes);
                notes.extend(sparse.notes());
                Content::Sparse(sparse)
            }
        };
        let (start, bytes) = (extents.bytes, extent.bytes);
        extents.bytes = start.checked_add(bytes).ok_or_else(too_long)?;
        extents.pieces.push(Piece { start, bytes, below_start: file.start, content });
    }
    let disk = Arc::new(Disk::new(extents, below.clone(), unit_bytes));
    let mut container = Container::new("VMDK", disk, below, notes);
    container.neighbours = neighbours;
    Ok(container)
}

fn text(source: &Source, at: u64, len: u64) -> Result<String> {
    let window = Window::new(source.clone(), at..at.saturating_add(len));
    let mut bytes = vec![0; window.len().min(DESCRIPTOR_BYTES_MAX) as usize];
    window.read_at(0, &mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The extents of a disk, one after the other.
struct Extents {
    bytes: u64,
    pieces: Vec<Piece>,
}

/// One extent.
struct Piece {
    start: u64,
    bytes: u64,
    /// Where its file begins in what is below.
    below_start: u64,
    content: Content,
}

enum Content {
    Flat { offset: u64 },
    Sparse(Sparse),
    Zero,
}

/// Units of all extents have to be told apart: the number of the extent comes first, then the sector.
const UNIT_SECTOR_BITS: u32 = 48;

impl Clusters for Extents {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn find(&self, at: u64, wanted: u64) -> Result<(Place, u64)> {
        let index = self.pieces.partition_point(|piece| piece.start <= at).saturating_sub(1);
        let nowhere = || Error::damaged("VMDK", at, "no extent is there");
        let piece = self.pieces.get(index).ok_or_else(nowhere)?;
        let within = at - piece.start;
        let left = piece.bytes.checked_sub(within).ok_or_else(nowhere)?;
        let (place, len) = match &piece.content {
            Content::Zero => (Place::Zero, left),
            Content::Flat { offset } => (Place::Below(offset.saturating_add(within)), left),
            Content::Sparse(sparse) => sparse.find(within, wanted.min(left))?,
        };
        let place = match place {
            Place::Below(at) => Place::Below(at.saturating_add(piece.below_start)),
            Place::Unit { key, within } => Place::Unit { key: (index as u64) << UNIT_SECTOR_BITS | key, within },
            Place::Zero => Place::Zero,
        };
        Ok((place, len.min(left)))
    }

    fn unpack(&self, key: u64) -> Result<Vec<u8>> {
        let piece = usize::try_from(key >> UNIT_SECTOR_BITS).ok().and_then(|index| self.pieces.get(index));
        match piece.map(|piece| &piece.content) {
            Some(Content::Sparse(sparse)) => sparse.unpack(key & ((1 << UNIT_SECTOR_BITS) - 1)),
            _ => Err(Error::damaged("VMDK", 0, "no extent is there")),
        }
    }
}

/// The number of a field in sectors, in bytes.
fn sectors(fields: &Fields, at: usize) -> Result<u64> {
    fields.u64(at)?.checked_mul(SECTOR_BYTES).ok_or_else(|| fields.damaged("a number is too large"))
}
