//! What was found on a disk, as a snapshot keeps it.

use crate::disk::layout::Layout;
use crate::format::disk::Disk;
use crate::format::disk::DiskFs;
use crate::format::disk::DiskPart;
use crate::format::disk::PARTS_MAX;

/// The description of a disk, as far as its layout tells.
pub fn describe(layout: &Layout) -> Disk {
    let parts = layout.parts.iter().take(PARTS_MAX).map(|part| {
        let fs = part.fs.as_ref().map(|about| DiskFs {
            label: about.label.clone(),
            uuid: about.uuid.clone(),
            used_bytes: about.used_bytes,
            root: (0o755, 0, 0),
            ..DiskFs::default()
        });
        DiskPart {
            number: part.number,
            range: part.range.clone(),
            folder: part.name.clone(),
            kind: part.fs.as_ref().map(|about| about.kind.clone()).unwrap_or_default(),
            notes: part.fs.as_ref().map(|about| about.notes.clone()).unwrap_or_default(),
            fs,
            ..DiskPart::default()
        }
    });
    Disk {
        container: layout.container.clone(),
        sector_bytes: layout.sector_bytes,
        parts: parts.collect(),
        ..Disk::default()
    }
}
