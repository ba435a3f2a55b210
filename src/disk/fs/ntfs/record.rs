//! File records: what the master file table consists of.
//!
//! Layout: Linux-NTFS documentation, concept "File Record".

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::attribute;
use crate::disk::fs::ntfs::attribute::Attribute;
use crate::disk::fs::ntfs::fixup;

const WHAT: &str = "NTFS file record";
const FLAG_IN_USE: u16 = 1;
const FLAG_FOLDER: u16 = 2;

/// A record, with its number and the count of how often that was given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) record: u64,
    pub(super) sequence: u16,
}

impl Reference {
    /// As it lies on the disk.
    pub(super) fn from_raw(raw: u64) -> Reference {
        Reference { record: raw & 0xffff_ffff_ffff, sequence: (raw >> 48) as u16 }
    }
}

/// One file record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    /// Where it begins.
    at: u64,
    /// Only what is in use of it.
    bytes: Vec<u8>,
}

impl Record {
    /// Checks a record that was read from `at`.
    pub(super) fn parse(mut bytes: Vec<u8>, number: u64, at: u64) -> Result<Record> {
        if !bytes.starts_with(b"FILE") {
            return Err(Fields::new(&[], WHAT, at).damaged("it has no signature"));
        }
        fixup::undo(&mut bytes, WHAT, at)?;
        let fields = Fields::new(&bytes, WHAT, at);
        let used = fields.u32(0x18)? as usize;
        if used > bytes.len() || used < 0x30 {
            return Err(fields.damaged("more of it is in use than there is"));
        }
        bytes.truncate(used);
        Ok(Record { number, at, bytes })
    }

    /// All of its bytes that are in use.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes, WHAT, self.at)
    }

    /// How often the number was given away.
    pub(super) fn sequence(&self) -> Result<u16> {
        self.fields().u16(0x10)
    }

    fn flags(&self) -> Result<u16> {
        self.fields().u16(0x16)
    }

    /// True if there is a file.
    pub(super) fn is_in_use(&self) -> Result<bool> {
        Ok(self.flags()? & FLAG_IN_USE != 0)
    }

    /// True for a folder.
    pub(super) fn is_folder(&self) -> Result<bool> {
        Ok(self.flags()? & FLAG_FOLDER != 0)
    }

    /// The record that this one only holds more attributes of.
    pub(super) fn base(&self) -> Result<Option<Reference>> {
        let raw = self.fields().u64(0x20)?;
        Ok((raw != 0).then_some(Reference::from_raw(raw)))
    }

    /// All attributes, in order.
    pub(super) fn attributes(&self) -> Result<Vec<Attribute<'_>>> {
        let fields = self.fields();
        let (mut found, mut at) = (Vec::new(), usize::from(fields.u16(0x14)?));
        loop {
            let rest = fields.part(at, fields.len().saturating_sub(at), WHAT)?;
            let Some((attribute, len)) = attribute::parse(&rest)? else { return Ok(found) };
            found.push(attribute);
            at += len;
        }
    }
}
