//! The master file table: where file records are. Its own place stands in its own records.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::Source;
use crate::disk::fs::ntfs::attribute::Attribute;
use crate::disk::fs::ntfs::attribute::Body;
use crate::disk::fs::ntfs::attribute::NonResident;
use crate::disk::fs::ntfs::attribute_list;
use crate::disk::fs::ntfs::boot::Boot;
use crate::disk::fs::ntfs::kind;
use crate::disk::fs::ntfs::record::Record;
use crate::disk::fs::ntfs::runlist;
use crate::disk::fs::ntfs::runlist::Clusters;
use crate::disk::fs::ntfs::runlist::Extent;
use crate::disk::read_runs;

/// A table in more pieces is not read: their places stay in memory.
const EXTENTS_MAX: usize = 32 << 10;
/// Records of which `$MFTMirr` has a copy.
const MIRRORED: u64 = 4;
/// Node numbers have room for so many.
const RECORDS_MAX: u64 = 1 << 32;

/// The file table.
pub(super) struct Mft {
    extents: Vec<Extent>,
    /// Number of records.
    pub(super) count: u64,
    /// True if a record had to be read from the mirror.
    pub(super) mirror_used: bool,
}

impl Mft {
    /// Finds the table through its own first record, or the copy of that.
    pub(super) fn open(source: &Source, boot: &Boot) -> Result<Mft> {
        let (first, mirror_used) = match contiguous(source, boot, boot.mft, 0) {
            Err(Error::Damaged { what, at, why }) => {
                let copy = contiguous(source, boot, boot.mirror, 0);
                (copy.map_err(|_| Error::Damaged { what, at, why })?, true)
            }
            first => (first?, false),
        };
        let mut mft = Mft { extents: Vec::new(), count: 0, mirror_used };
        let attributes = first.attributes()?;
        let is_data = |attribute: &&Attribute<'_>| attribute.kind == kind::DATA && attribute.name.is_empty();
        let Some(Attribute { body: Body::NonResident(data), .. }) = attributes.iter().find(is_data) else {
            return Err(first.fields().damaged("the file table has no clusters"));
        };
        mft.extend(data, boot)?;
        if let Some(list) = attributes.iter().find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST) {
            mft.follow(source, boot, &list_bytes(source, boot, list)?)?;
        }
        let covered = mft.extents.last().map_or(0, Extent::end).saturating_mul(boot.cluster_bytes);
        // Whoever looks at all records has to come to an end.
        if data.sizes.size > covered.min(source.len()) {
            return Err(first.fields().damaged("the file table is longer than its clusters"));
        }
        mft.count = data.sizes.size.min(data.sizes.initialized) / boot.record_bytes;
        if mft.count > RECORDS_MAX {
            return Err(first.fields().damaged("the file table is longer than it may be"));
        }
        Ok(mft)
    }

    /// The further parts, each in a record that lies in a part before it.
    fn follow(&mut self, source: &Source, boot: &Boot, list: &[u8]) -> Result<()> {
        let list = Fields::new(list, "NTFS attribute list of the file table", 0);
        for entry in attribute_list::parse(&list)? {
            if entry.kind != kind::DATA || !entry.name.is_empty() || entry.first_vcn == 0 {
                continue;
            }
            let record = self.parse(source, boot, entry.reference.record)?;
            let parts = record.attributes()?;
            let part = parts.iter().find(|part| part.kind == kind::DATA && part.instance == entry.instance);
            let Some(Attribute { body: Body::NonResident(part), .. }) = part else {
                return Err(list.damaged("a part is not where it says"));
            };
            self.extend(part, boot)?;
        }
        Ok(())
    }

    fn extend(&mut self, part: &NonResident<'_>, boot: &Boot) -> Result<()> {
        if part.first_vcn != self.extents.last().map_or(0, Extent::end) {
            return Err(part.pairs.damaged("parts of the file table are missing"));
        }
        let extents = runlist::decode(&part.pairs, part.first_vcn, part.end_vcn, boot.clusters())?;
        if extents.iter().any(|extent| extent.lcn.is_none()) {
            return Err(part.pairs.damaged("the file table has a hole"));
        }
        self.extents.extend(extents);
        if self.extents.len() > EXTENTS_MAX {
            return Err(Error::unsupported("an NTFS file table in so many pieces"));
        }
        Ok(())
    }

    /// Where a record lies.
    pub(super) fn map(&self, boot: &Boot, number: u64, count: u64, runs: &mut Vec<Run>) -> Result<()> {
        let start = number.saturating_mul(boot.record_bytes);
        let range = start..start.saturating_add(count.saturating_mul(boot.record_bytes));
        let end = range.end;
        if runlist::map(&self.extents, boot.clusters(), range, runs) != end {
            return Err(Error::damaged("NTFS file table", start, "a record lies outside of it"));
        }
        Ok(())
    }

    /// The record of a number.
    pub(super) fn read(&mut self, source: &Source, boot: &Boot, number: u64) -> Result<Record> {
        if number >= self.count {
            return Err(Error::damaged("NTFS file record", 0, "its number is beyond the table"));
        }
        match self.parse(source, boot, number) {
            Err(Error::Damaged { what, at, why }) if number < MIRRORED => {
                let copy = contiguous(source, boot, boot.mirror, number);
                self.mirror_used |= copy.is_ok();
                copy.map_err(|_| Error::Damaged { what, at, why })
            }
            read => read,
        }
    }

    fn parse(&self, source: &Source, boot: &Boot, number: u64) -> Result<Record> {
        let mut runs = Vec::new();
        self.map(boot, number, 1, &mut runs)?;
        let at = runs.iter().find_map(|run| if let Run::Below { offset, .. } = run { Some(*offset) } else { None });
        Record::parse(read_runs(source, &runs)?, number, at.unwrap_or(0))
    }
}

/// A record of a table that begins at cluster `lcn` and is not in pieces so far.
fn contiguous(source: &Source, boot: &Boot, lcn: u64, number: u64) -> Result<Record> {
    if lcn >= boot.clusters {
        return Err(Error::damaged("NTFS boot sector", 0, "a file table lies outside"));
    }
    let at = lcn * boot.cluster_bytes + number * boot.record_bytes;
    let mut bytes = vec![0; boot.record_bytes as usize];
    source.read_at(at, &mut bytes)?;
    Record::parse(bytes, number, at)
}

/// The bytes of an attribute list, wherever they are.
pub(super) fn list_bytes(source: &Source, boot: &Boot, list: &Attribute<'_>) -> Result<Vec<u8>> {
    let part = match &list.body {
        Body::Resident(value) => return Ok(value.all().to_vec()),
        Body::NonResident(part) => part,
    };
    if part.sizes.size > attribute_list::LIST_BYTES_MAX || part.first_vcn != 0 {
        return Err(part.pairs.damaged("the attribute list is too long"));
    }
    let (size, filled) = (part.sizes.size, part.sizes.size.min(part.sizes.initialized));
    let extents = runlist::decode(&part.pairs, 0, part.end_vcn, boot.clusters())?;
    let mut runs = Vec::new();
    if size != filled || runlist::map(&extents, boot.clusters(), 0..size, &mut runs) != size {
        return Err(part.pairs.damaged("the attribute list is not all there"));
    }
    read_runs(source, &runs)
}

impl Boot {
    /// How clusters are counted.
    pub(super) fn clusters(&self) -> Clusters {
        Clusters { bytes: self.cluster_bytes, count: self.clusters }
    }
}
