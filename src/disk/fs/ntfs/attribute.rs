//! One attribute of a file record: its header, and either its value or where that lies.
//!
//! Layout: Linux-NTFS documentation, concept "Attribute Header".

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::kind;

/// Methods of compression; 1 is LZNT1, the others were never used.
pub(super) const FLAG_COMPRESSION: u16 = 0x00ff;
/// Encrypted with EFS.
pub(super) const FLAG_ENCRYPTED: u16 = 0x4000;
/// May have holes.
pub(super) const FLAG_SPARSE: u16 = 0x8000;

const HEADER_BYTES: usize = 16;

/// One attribute, or one part of it.
pub(super) struct Attribute<'a> {
    pub(super) kind: u32,
    /// UTF-16, little-endian; empty for none.
    pub(super) name: &'a [u8],
    pub(super) flags: u16,
    /// Unique in its record.
    pub(super) instance: u16,
    pub(super) body: Body<'a>,
}

/// Where the value is.
pub(super) enum Body<'a> {
    /// Here.
    Resident(Fields<'a>),
    /// In clusters.
    NonResident(NonResident<'a>),
}

/// A part of a value that lies in clusters.
pub(super) struct NonResident<'a> {
    pub(super) first_vcn: u64,
    /// `None` if it is not told.
    pub(super) end_vcn: Option<u64>,
    /// Only of use in the first part, as are all sizes.
    pub(super) sizes: Sizes,
    /// Mapping pairs.
    pub(super) pairs: Fields<'a>,
}

/// Sizes of a value that lies in clusters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Binary logarithm of the clusters of a compression unit; 0 for none.
    pub(super) unit_shift: u8,
    /// Bytes of clusters that are taken.
    pub(super) allocated: u64,
    pub(super) size: u64,
    /// From here on it reads as zeros.
    pub(super) initialized: u64,
}

/// The attribute that `fields` begin with, and its length; `None` at the end mark.
pub(super) fn parse<'a>(fields: &Fields<'a>) -> Result<Option<(Attribute<'a>, usize)>> {
    let kind = fields.u32(0)?;
    if kind == kind::END {
        return Ok(None);
    }
    let len = fields.u32(4)? as usize;
    if len < HEADER_BYTES || !len.is_multiple_of(8) {
        return Err(fields.damaged("an attribute has an impossible length"));
    }
    let fields = fields.part(0, len, "NTFS attribute")?;
    let name = fields.bytes(usize::from(fields.u16(0x0a)?), 2 * usize::from(fields.u8(9)?))?;
    let (flags, instance) = (fields.u16(0x0c)?, fields.u16(0x0e)?);
    let body = match fields.u8(8)? {
        0 => {
            let (len, offset) = (fields.u32(0x10)? as usize, usize::from(fields.u16(0x14)?));
            Body::Resident(fields.part(offset, len, "NTFS attribute value")?)
        }
        1 => Body::NonResident(non_resident(&fields, flags)?),
        _ => return Err(fields.damaged("it is neither resident nor not")),
    };
    Ok(Some((Attribute { kind, name, flags, instance, body }, len)))
}

fn non_resident<'a>(fields: &Fields<'a>, flags: u16) -> Result<NonResident<'a>> {
    let (first_vcn, last_vcn) = (fields.u64(0x10)?, fields.u64(0x18)?);
    let end_vcn = match last_vcn {
        // Either says that nobody counted.
        0 | u64::MAX => None,
        last => Some(last.checked_add(1).ok_or_else(|| fields.damaged("its last cluster is impossible"))?),
    };
    let offset = usize::from(fields.u16(0x20)?);
    let pairs = fields.part(offset, fields.len().saturating_sub(offset), "NTFS mapping pairs")?;
    let mut sizes = Sizes::default();
    if first_vcn == 0 {
        sizes.unit_shift = fields.u8(0x22)?;
        sizes.size = fields.u64(0x30)?;
        sizes.initialized = fields.u64(0x38)?;
        // With holes the second count tells what is really taken.
        let has_compressed_size = flags & (FLAG_SPARSE | FLAG_COMPRESSION) != 0 && offset >= 0x48;
        sizes.allocated = fields.u64(if has_compressed_size { 0x40 } else { 0x28 })?;
        if sizes.size > i64::MAX as u64 || sizes.initialized > i64::MAX as u64 {
            return Err(fields.damaged("it is longer than can be counted"));
        }
    }
    Ok(NonResident { first_vcn, end_vcn, sizes, pairs })
}
