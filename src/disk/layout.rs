//! A disk as people know it: its partitions, with names, and what lies on each.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Result;
use crate::disk::WHOLE_NUMBERS;
use crate::disk::Window;
use crate::disk::fs;
use crate::disk::fs::About;
use crate::disk::fs::Source;
use crate::disk::magic;
use crate::disk::table;
use crate::disk::table::Partition;
use crate::disk::table::TableKind;
use serde::Deserialize;
use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;

/// Partitions that are looked into.
pub const PARTS_MAX: usize = 128;
/// Bytes of a title, and of a name within it.
const TITLE_BYTES_MAX: usize = 120;
const NAME_BYTES_MAX: usize = 72;

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Bytes of the disk.
    pub bytes: u64,
    /// Bytes of the sectors that its table counts in.
    pub sector_bytes: u32,
    /// What it is wrapped in, `qcow2` and the like; empty for nothing.
    pub container: String,
    /// Kind of its partition table.
    pub table: TableKind,
    /// Id of the disk, as the table has it.
    pub id: String,
    /// Partitions by number, then volumes, then what plain mounts of those do not show all of; a disk without partitions is one part, and an optical disc is one before
    /// those it has. Never none.
    pub parts: Vec<Part>,
    /// What is wrong with the disk as a whole, in sentences.
    pub notes: Vec<String>,
}

/// A place on the disk that a file system may lie on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Part {
    /// Number of the partition; 0 for the whole disk; from [`VOLUME_NUMBERS`](crate::disk::VOLUME_NUMBERS) on for
    /// volumes; from [`WHOLE_NUMBERS`] on for a part that is shown twice.
    pub number: u32,
    /// Bytes of the disk; none for a volume, which lies in partitions, and where a part is shown again.
    pub range: Range<u64>,
    /// For people: `2 rootfs (ext4)`. Can be the name of a folder, and no other part has it.
    pub title: String,
    /// Name of the partition or label of its file system; empty if there is neither.
    pub name: String,
    /// What lies on it: `ext4`, `LUKS2`, `swap`; empty if that is not known.
    pub kind: String,
    /// The entry in the partition table, if there is one.
    pub partition: Option<Partition>,
    /// The file system, if it can be opened.
    pub about: Option<About>,
    /// Why it cannot.
    pub error: Option<String>,
}

impl Part {
    /// The bytes of the part.
    pub fn source(&self, disk: &Source) -> Source {
        Arc::new(Window::new(disk.clone(), self.range.clone()))
    }
}

/// Which parts of a disk are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    /// All, and the volumes that are made of them.
    All,
    /// The part with this number.
    Only(u32),
    /// None: the partition table alone is read, and the marks at the beginning of each part.
    Nothing,
}

impl Look {
    /// True if the part with this number is looked into.
    pub fn includes(self, number: u32) -> bool {
        match self {
            Look::All => true,
            Look::Only(only) => only == number,
            Look::Nothing => false,
        }
    }
}

/// What is on `disk`. Only a disk that cannot be read at all is an error; everything else is told in what is given.
pub fn read(disk: &Source, look: Look) -> Result<Layout> {
    let whole = 0..disk.len();
    let (table, fault) = match table::read(disk) {
        Ok(table) => (Some(table), None),
        Err(fault @ Error::Read { .. }) => return Err(fault),
        Err(fault) => (None, Some(fault)),
    };
    let mut notes: Vec<String> = fault.map(|fault| told(&fault)).into_iter().collect();
    let (kind, sector_bytes, id, partitions) = match table {
        Some(table) => {
            notes.extend(table.notes);
            (table.kind, table.sector_bytes, table.id, table.partitions)
        }
        None => (TableKind::None, 512, String::new(), Vec::new()),
    };
    let mut parts = Vec::new();
    for partition in partitions.into_iter().filter(|partition| !partition.is_extended) {
        if parts.len() >= PARTS_MAX {
            notes.push(format!("The disk has more than {PARTS_MAX} partitions; the others are left out."));
            break;
        }
        parts.push(part(disk, partition.range.clone(), Some(partition), look));
    }
    // Images of optical discs are made so that they start from USB as well: with partitions inside of what is read.
    let is_optical = |kind: &str| kind.starts_with("ISO") || kind == "UDF";
    let has_unlisted =
        is_optical(&known(magic::kind(disk, whole.clone()))) && !parts.iter().any(|p| is_optical(&p.kind));
    if parts.is_empty() || has_unlisted {
        parts.insert(0, part(disk, whole, None, look));
    }
    Ok(Layout { bytes: disk.len(), sector_bytes, container: String::new(), table: kind, id, parts, notes })
}

/// Fills in what lies on a part that had to be opened first.
pub(super) fn look_inside(source: &Source, part: &mut Part) {
    let Content { kind, about, error } = content(source, &(0..source.len()));
    part.kind = if part.kind.is_empty() { kind } else { format!("{kind} in {}", part.kind) };
    (part.about, part.error) = (about, error);
    if part.name.is_empty() {
        let label = part.about.as_ref().map_or("", |about| about.label.as_str());
        part.name = name(part.partition.as_ref(), label);
    }
    let type_name = part.partition.as_ref().map_or("disk", |partition| partition.kind.as_str());
    part.title = title(part.number, [&part.name, type_name, "partition"], &part.kind);
}

/// Gives a volume its own name, and what lies on it.
pub(super) fn retitle(part: &mut Part, name: &str) {
    part.title = title(0, [name, "", "volume"], &part.kind);
}

/// All of a part whose file system shows only some of itself.
pub(super) fn whole(part: &Part) -> Option<Part> {
    let about = part.about.as_ref().filter(|about| about.is_partial)?;
    let name = part.title.strip_suffix(&format!(" ({})", part.kind)).unwrap_or(&part.title);
    let kind = format!("{}, top level", part.kind);
    // Its blocks are counted once, and what is wrong with it is told once.
    let about = About { kind: kind.clone(), used_bytes: None, is_partial: false, notes: Vec::new(), ..about.clone() };
    Some(Part {
        number: part.number.checked_add(WHOLE_NUMBERS)?,
        title: format!("{name} ({kind})"),
        name: part.name.clone(),
        kind,
        about: Some(about),
        ..Part::default()
    })
}

impl Layout {
    /// A disk of which nothing is known: one part.
    pub fn unknown(bytes: u64) -> Layout {
        let part = Part { range: 0..bytes, title: title(0, ["", "disk", ""], ""), ..Part::default() };
        let (container, id) = (String::new(), String::new());
        let (table, sector_bytes) = (TableKind::None, 512);
        Layout { bytes, sector_bytes, container, table, id, parts: vec![part], notes: Vec::new() }
    }

    /// True if its bytes lie in a container.
    pub fn is_contained(&self) -> bool {
        !self.container.is_empty()
    }
}

fn part(disk: &Source, range: Range<u64>, partition: Option<Partition>, look: Look) -> Part {
    let number = partition.as_ref().map_or(0, |partition| partition.number);
    let Content { kind, about, error } = match look.includes(number) {
        true => content(disk, &range),
        false => Content { kind: known(magic::kind(disk, range.clone())), about: None, error: None },
    };
    let label = about.as_ref().map_or("", |about| about.label.as_str());
    let name = name(partition.as_ref(), label);
    let type_name = partition.as_ref().map_or("disk", |partition| partition.kind.as_str());
    let title = title(number, [&name, type_name, "partition"], &kind);
    Part { number, range, title, name, kind, partition, about, error }
}

struct Content {
    kind: String,
    about: Option<About>,
    error: Option<String>,
}

/// What lies in a range, and if it can be opened. Boxes with something else inside are never taken for what they hold.
fn content(disk: &Source, range: &Range<u64>) -> Content {
    let sealed = known(magic::sealed_kind(disk, range.clone()));
    if !sealed.is_empty() {
        return Content { kind: sealed, about: None, error: None };
    }
    let window: Source = Arc::new(Window::new(disk.clone(), range.clone()));
    match fs::open(&window) {
        Ok(Some(fs)) => {
            let about = fs.about();
            Content { kind: about.kind.clone(), about: Some(about), error: None }
        }
        Ok(None) => Content { kind: known(magic::kind(disk, range.clone())), about: None, error: None },
        Err(fault) => Content { kind: known(magic::kind(disk, range.clone())), about: None, error: Some(told(&fault)) },
    }
}

fn known(kind: Result<Option<&str>>) -> String {
    kind.ok().flatten().unwrap_or_default().to_owned()
}

/// Names that partitioning tools give without being asked.
const EMPTY_NAMES: &[&str] = &["Basic data partition", "Linux filesystem", "primary", "logical", "extended"];

/// The name people know a part by: that of the partition, unless it is one that all have; else the label.
fn name(partition: Option<&Partition>, label: &str) -> String {
    let given = partition.map_or("", |partition| partition.name.trim());
    let kind = partition.map_or("", |partition| partition.kind.as_str());
    let is_empty = given.is_empty() || given == kind || EMPTY_NAMES.contains(&given);
    let label = label.trim();
    if is_empty && !label.is_empty() { label.to_owned() } else { given.to_owned() }
}

/// Number, the first of the names that can be shown, and what lies there. The number makes it the only one.
fn title(number: u32, names: [&str; 3], kind: &str) -> String {
    let names = names.map(|name| file_name(name, NAME_BYTES_MAX));
    let name = names.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
    let kind = file_name(kind, NAME_BYTES_MAX);
    let number = if number == 0 { String::new() } else { format!("{number} ") };
    let kind = if kind.is_empty() || kind == name { String::new() } else { format!(" ({kind})") };
    let mut title = format!("{number}{name}");
    cut(&mut title, TITLE_BYTES_MAX.saturating_sub(kind.len()));
    title + &kind
}

/// `text` as part of a name that every system can have for a file, and that shows as what it is.
fn file_name(text: &str, bytes_max: usize) -> String {
    let is_invisible = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let shown = text.chars().filter(|c| !is_invisible(c));
    let safe: String = shown.map(|c| if "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
    let mut name = safe.trim_matches(|c: char| c.is_whitespace() || c == '.').to_owned();
    cut(&mut name, bytes_max);
    name
}

fn cut(text: &mut String, bytes_max: usize) {
    while text.len() > bytes_max {
        text.pop();
    }
    text.truncate(text.trim_end_matches(|c: char| c.is_whitespace() || c == '.').len());
}

/// An error in one line, with what caused it.
fn told(fault: &Error) -> String {
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(fault) = cause {
        text = format!("{text}: {fault}");
        cause = fault.source();
    }
    text
}

#[cfg(test)]
mod tests;
