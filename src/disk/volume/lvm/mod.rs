//! LVM2: logical volumes cut out of physical ones, as `lvm.conf(5)`, `lvm(8)` and the text of the metadata itself
//! describe them. Linear and striped volumes are opened; all others are listed with the reason why they are not.

mod area;
mod group;
mod label;
mod logical;
#[cfg(test)]
mod tests;
mod text;

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::volume::lvm::group::Group;
use std::collections::BTreeMap;

const SECTOR_BYTES: u64 = 512;

/// A logical volume.
pub struct LogicalVolume {
    /// Volume group and logical volume: `vg/lv`.
    pub name: String,
    /// UUID, as LVM writes it.
    pub uuid: String,
    /// Number of bytes.
    pub len: u64,
    /// Its bytes, or why they cannot be had.
    pub content: Result<Source>,
    /// The only physical volume it stands on, by its place among those that were given: what the runs of
    /// [`BlockSource::map`](crate::disk::BlockSource::map) speak of. `None` if there are several; then all are bytes.
    pub below: Option<usize>,
}

/// True if `source` is a physical volume.
pub fn is_lvm(source: &Source) -> Result<bool> {
    Ok(label::read(source)?.is_some())
}

/// The logical volumes on physical ones, sorted by name. What belongs together is found by UUID, so the order of `pvs`
/// is free; one that is missing makes those volumes unreadable that need it.
pub fn volumes(pvs: &[Source]) -> Result<Vec<LogicalVolume>> {
    let mut known = BTreeMap::new();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut fault: Option<Error> = None;
    for (index, source) in pvs.iter().enumerate() {
        let Some(label) = label::read(source)? else { continue };
        for place in &label.metadata_areas {
            // Each physical volume may have a copy of the metadata, so one that is damaged is no loss.
            match area::read(source, place).and_then(|text| text.map(|text| group::parse(&text)).transpose()) {
                Ok(Some(group)) => {
                    let newer = groups.get(&group.uuid).is_none_or(|other| other.sequence < group.sequence);
                    if newer {
                        groups.insert(group.uuid.clone(), group);
                    }
                }
                Ok(None) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        known.entry(label.uuid).or_insert(index);
    }
    match fault {
        Some(error) if groups.is_empty() => return Err(error),
        _ => {}
    }
    let mut found: Vec<_> = groups.into_values().flat_map(|group| logical::of(group, pvs, &known)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
