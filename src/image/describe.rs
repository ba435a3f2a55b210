//! What was found on a disk, as a snapshot keeps it.

use crate::disk::layout::Layout;
use crate::disk::layout::Part;
use crate::disk::table::TableKind;
use crate::format::disk::Disk;
use crate::format::disk::DiskFs;
use crate::format::disk::DiskPart;
use crate::format::disk::PARTS_MAX;
use crate::format::disk::TEXT_BYTES_MAX;

/// The description of a disk, as far as its layout tells.
pub fn describe(layout: &Layout) -> Disk {
    let table = match layout.table {
        TableKind::Gpt => "GPT",
        TableKind::Mbr => "MBR",
        TableKind::None => "",
    };
    let mut parts: Vec<DiskPart> = layout.parts.iter().take(PARTS_MAX).map(part).collect();
    if let Some(first) = parts.first_mut() {
        // The format has notes for parts only; those about the disk stand before them.
        first.notes.splice(..0, layout.notes.iter().map(|note| cut(note)));
        first.notes.truncate(PARTS_MAX);
    }
    Disk {
        container: cut(&layout.container),
        sector_bytes: layout.sector_bytes,
        table: table.to_owned(),
        uuid: cut(&layout.id),
        parts,
        ..Disk::default()
    }
}

fn part(part: &Part) -> DiskPart {
    let fs = part.about.as_ref().map(|about| DiskFs {
        label: cut(&about.label),
        uuid: cut(&about.uuid),
        used_bytes: about.used_bytes,
        root: (0o755, 0, 0),
        ..DiskFs::default()
    });
    let notes = part.about.iter().flat_map(|about| &about.notes).chain(&part.error).take(PARTS_MAX);
    let entry = part.partition.as_ref();
    DiskPart {
        number: part.number,
        range: part.range.clone(),
        // A volume without files has no bytes of its own to show.
        folder: if fs.is_some() || !part.range.is_empty() { part.title.clone() } else { String::new() },
        type_name: entry.map(|entry| cut(&entry.kind)).unwrap_or_default(),
        name: cut(&part.name),
        uuid: entry.map(|entry| cut(&entry.uuid)).unwrap_or_default(),
        kind: cut(&part.kind),
        notes: notes.map(|note| cut(note)).collect(),
        fs,
    }
}

/// As much of a text as a description holds.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
