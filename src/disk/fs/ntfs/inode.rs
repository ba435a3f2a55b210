//! A file as its base record and attribute list describe it: which attributes it has, and where their parts are.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::NodeId;
use crate::disk::fs::ntfs::attribute::Body;
use crate::disk::fs::ntfs::attribute_list;
use crate::disk::fs::ntfs::kind;
use crate::disk::fs::ntfs::mft;
use crate::disk::fs::ntfs::record::Record;
use crate::disk::fs::ntfs::record::Reference;
use crate::disk::fs::ntfs::utf16;
use crate::disk::fs::ntfs::volume::Volume;
use std::sync::Arc;

/// A file: everything but its values.
pub(super) struct Inode {
    pub(super) record: Arc<Record>,
    pub(super) is_folder: bool,
    /// In the order of the disk.
    pub(super) attributes: Vec<Held>,
}

/// One attribute.
pub(super) struct Held {
    pub(super) kind: u32,
    pub(super) name: Vec<u16>,
    /// By their first clusters; never empty.
    pub(super) parts: Vec<Part>,
}

/// A part of an attribute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) first_vcn: u64,
    pub(super) record: u64,
    pub(super) instance: u16,
}

impl Inode {
    /// Number of the base record.
    pub(super) fn number(&self) -> u64 {
        self.record.number
    }

    /// The place of an attribute among all.
    pub(super) fn find(&self, kind: u32, name: &[u16]) -> Option<usize> {
        self.attributes.iter().position(|held| held.kind == kind && held.name == name)
    }

    /// All its parts together, for how much of a cache it takes.
    pub(super) fn weight(&self) -> usize {
        self.attributes.iter().map(|held| held.parts.len()).sum()
    }

    fn add(&mut self, kind: u32, name: &[u8], part: Part) -> Result<()> {
        let name: Vec<u16> = utf16::units(name).collect();
        let last = self.attributes.last_mut().filter(|last| last.kind == kind && last.name == name);
        match (part.first_vcn, last) {
            (0, _) => self.attributes.push(Held { kind, name, parts: vec![part] }),
            (vcn, Some(last)) if last.parts.last().is_some_and(|before| before.first_vcn < vcn) => {
                last.parts.push(part);
            }
            _ => return Err(self.record.fields().damaged("the first part of an attribute is missing")),
        }
        Ok(())
    }
}

/// Number of the node of a record: the record, and above it eight bits of how often it was given away, so that a stale
/// name does not lead to another file.
pub(super) fn node_id(reference: Reference) -> Result<NodeId> {
    if reference.record > u64::from(u32::MAX) {
        return Err(Error::damaged("NTFS file reference", 0, "its record is beyond any table"));
    }
    Ok(reference.record | u64::from(reference.sequence & 0xff) << 32)
}

/// Number of the node of a named stream; the first has index 0.
pub(super) fn stream_id(base: NodeId, index: usize) -> Result<NodeId> {
    let index = u64::try_from(index + 1).ok().filter(|index| *index <= 0xff);
    let index = index.ok_or_else(|| Error::unsupported("an NTFS file with so many streams"))?;
    Ok(base & 0xff_ffff_ffff | index << 40)
}

/// The base and the index of a stream's number.
pub(super) fn split_id(id: NodeId) -> (NodeId, Option<usize>) {
    let index = usize::try_from(id >> 40).unwrap_or(usize::MAX);
    (id & 0xff_ffff_ffff, index.checked_sub(1))
}

impl Volume {
    /// The file of a node.
    pub(super) fn inode(&mut self, id: NodeId) -> Result<Arc<Inode>> {
        let (base, _) = split_id(id);
        let number = base & u64::from(u32::MAX);
        let inode = match self.inodes.get(&number) {
            Some(inode) => inode.clone(),
            None => {
                let inode = Arc::new(self.load(number)?);
                self.inodes.put(inode.clone());
                inode
            }
        };
        let given = inode.record.sequence()? & 0xff;
        let wanted = (base >> 32) as u16;
        if wanted != 0 && given != wanted {
            return Err(inode.record.fields().damaged("it is of another file than the one that was named"));
        }
        Ok(inode)
    }

    /// The file of a base record.
    pub(super) fn load(&mut self, number: u64) -> Result<Inode> {
        let record = self.record(number)?;
        if !record.is_in_use()? {
            return Err(record.fields().damaged("it is not in use"));
        }
        if record.base()?.is_some() {
            return Err(record.fields().damaged("it belongs to another record"));
        }
        let is_folder = record.is_folder()?;
        let mut inode = Inode { record: record.clone(), is_folder, attributes: Vec::new() };
        let attributes = record.attributes()?;
        let Some(list) = attributes.iter().find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST) else {
            for attribute in attributes {
                let first_vcn = match &attribute.body {
                    Body::Resident(_) => 0,
                    Body::NonResident(part) => part.first_vcn,
                };
                let part = Part { first_vcn, record: number, instance: attribute.instance };
                inode.add(attribute.kind, attribute.name, part)?;
            }
            return Ok(inode);
        };
        let bytes = mft::list_bytes(&self.source, &self.boot, list)?;
        for entry in attribute_list::parse(&Fields::new(&bytes, "NTFS attribute list", 0))? {
            let part = Part { first_vcn: entry.first_vcn, record: entry.reference.record, instance: entry.instance };
            inode.add(entry.kind, entry.name, part)?;
        }
        Ok(inode)
    }

    /// The record that holds a part of an attribute of `inode`.
    pub(super) fn record_of(&mut self, inode: &Inode, part: &Part) -> Result<Arc<Record>> {
        if part.record == inode.number() {
            return Ok(inode.record.clone());
        }
        let record = self.record(part.record)?;
        let base = Reference { record: inode.number(), sequence: inode.record.sequence()? };
        if !record.is_in_use()? || record.base()? != Some(base) {
            return Err(record.fields().damaged("it does not belong to the file that lists it"));
        }
        Ok(record)
    }
}
