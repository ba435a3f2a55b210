//! The value of an attribute: where its bytes lie, whether here, in clusters, compressed or nowhere.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::ntfs::attribute::Attribute;
use crate::disk::fs::ntfs::attribute::Body;
use crate::disk::fs::ntfs::attribute::FLAG_COMPRESSION;
use crate::disk::fs::ntfs::attribute::FLAG_ENCRYPTED;
use crate::disk::fs::ntfs::attribute::FLAG_SPARSE;
use crate::disk::fs::ntfs::attribute::Sizes;
use crate::disk::fs::ntfs::inode::Held;
use crate::disk::fs::ntfs::inode::Inode;
use crate::disk::fs::ntfs::inode::Part;
use crate::disk::fs::ntfs::record::Record;
use crate::disk::fs::ntfs::runlist;
use crate::disk::fs::ntfs::runlist::Extent;
use crate::disk::fs::ntfs::volume::Volume;
use crate::disk::read_runs;
use std::ops::Range;
use std::sync::Arc;

/// A value that can be read.
pub(super) struct Stream {
    pub(super) inode: Arc<Inode>,
    /// Which attribute of it.
    pub(super) index: usize,
    pub(super) flags: u16,
    pub(super) sizes: Sizes,
    /// The value itself, if it is in the record.
    pub(super) resident: Option<Vec<u8>>,
}

impl Stream {
    /// True if it cannot be read without a key.
    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & FLAG_ENCRYPTED != 0
    }

    fn held(&self) -> Result<&Held> {
        self.inode.attributes.get(self.index).ok_or(Error::NotFound)
    }
}

/// The attribute that a part names.
pub(super) fn attribute<'r>(record: &'r Record, kind: u32, part: &Part) -> Result<Attribute<'r>> {
    let mut all = record.attributes()?.into_iter();
    let found = all.find(|attribute| attribute.kind == kind && attribute.instance == part.instance);
    found.ok_or_else(|| record.fields().damaged("an attribute is not in the record that should hold it"))
}

impl Volume {
    /// Opens an attribute of a file by its place among all.
    pub(super) fn stream(&mut self, inode: &Arc<Inode>, index: usize) -> Result<Stream> {
        let held = inode.attributes.get(index).ok_or(Error::NotFound)?;
        let part = held.parts.first().ok_or(Error::NotFound)?;
        let record = self.record_of(inode, part)?;
        let attribute = attribute(&record, held.kind, part)?;
        let (sizes, resident) = match &attribute.body {
            Body::Resident(value) => {
                let size = value.len() as u64;
                (Sizes { size, initialized: size, ..Sizes::default() }, Some(value.all().to_vec()))
            }
            Body::NonResident(part) if part.first_vcn == 0 => (part.sizes, None),
            Body::NonResident(part) => return Err(part.pairs.damaged("it is not the first part")),
        };
        Ok(Stream { inode: inode.clone(), index, flags: attribute.flags, sizes, resident })
    }

    /// Opens an attribute of a file by its name, if there is one.
    pub(super) fn find_stream(&mut self, inode: &Arc<Inode>, kind: u32, name: &[u16]) -> Result<Option<Stream>> {
        inode.find(kind, name).map(|index| self.stream(inode, index)).transpose()
    }

    /// The extent that holds a cluster of a value; `None` behind the last.
    pub(super) fn extent(&mut self, stream: &Stream, vcn: u64) -> Result<Option<Extent>> {
        let held = stream.held()?;
        let after = held.parts.partition_point(|part| part.first_vcn <= vcn);
        let Some(part) = after.checked_sub(1).and_then(|index| held.parts.get(index)) else { return Ok(None) };
        let segment = match self.segments.get(&(part.record, part.instance)) {
            Some(segment) => segment.clone(),
            None => {
                let segment = Arc::new(self.segment(stream, part, held.parts.get(after))?);
                self.segments.put((part.record, part.instance), segment.clone());
                segment
            }
        };
        Ok(runlist::find(&segment, vcn))
    }

    fn segment(&mut self, stream: &Stream, part: &Part, next: Option<&Part>) -> Result<Vec<Extent>> {
        let record = self.record_of(&stream.inode, part)?;
        let attribute = attribute(&record, stream.held()?.kind, part)?;
        let Body::NonResident(body) = attribute.body else {
            return Err(record.fields().damaged("a part of an attribute has no clusters"));
        };
        if body.first_vcn != part.first_vcn {
            return Err(body.pairs.damaged("it is another part than the one that is listed"));
        }
        let extents = runlist::decode(&body.pairs, body.first_vcn, body.end_vcn, self.boot.clusters())?;
        let end = extents.last().map_or(body.first_vcn, Extent::end);
        if next.is_some_and(|next| next.first_vcn != end) {
            return Err(body.pairs.damaged("the next part does not follow it"));
        }
        Ok(extents)
    }

    /// Appends where the bytes of the part of `range` that is within the value lie.
    pub(super) fn map_stream(&mut self, stream: &Stream, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let (start, end) = (range.start, range.end.min(stream.sizes.size));
        if start >= end {
            return Ok(());
        }
        if stream.is_encrypted() {
            return Err(Error::Encrypted);
        }
        if let Some(value) = &stream.resident {
            let part = value.get(start as usize..end as usize).ok_or(Error::WrongKind)?;
            Run::Bytes(part.to_vec()).push(runs);
            return Ok(());
        }
        // What was allocated but never written reads as zeros, whatever lies there.
        let written = end.min(stream.sizes.initialized).max(start);
        match stream.flags & FLAG_COMPRESSION {
            0 => self.map_plain(stream, start..written, runs)?,
            1 => self.map_compressed(stream, start..written, runs)?,
            method => return Err(Error::unsupported(format!("NTFS compression method {method}"))),
        }
        Run::Zero { len: end - written }.push(runs);
        Ok(())
    }

    fn map_plain(&mut self, stream: &Stream, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let extent = self.extent(stream, at / self.boot.cluster_bytes)?;
            let extent = extent.ok_or_else(|| stream.inode.record.fields().damaged("its runs end before its size"))?;
            at = runlist::map(&[extent], self.boot.clusters(), at..range.end, runs);
        }
        Ok(())
    }

    /// The bytes of a part of a value.
    pub(super) fn read_stream(&mut self, stream: &Stream, range: Range<u64>) -> Result<Vec<u8>> {
        let mut runs = Vec::new();
        self.map_stream(stream, range, &mut runs)?;
        read_runs(&self.source, &runs)
    }

    /// The whole of a value that must not be longer than `bytes_max`, if there is one.
    pub(super) fn value(
        &mut self,
        inode: &Arc<Inode>,
        kind: u32,
        name: &[u16],
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>> {
        let Some(stream) = self.find_stream(inode, kind, name)? else { return Ok(None) };
        if stream.sizes.size > bytes_max {
            return Err(inode.record.fields().damaged("an attribute is longer than it may be"));
        }
        self.read_stream(&stream, 0..bytes_max).map(Some)
    }
}

impl Volume {
    /// As [`Volume::map_stream`], for a file of which parts may be in a cloud: only those that are really here.
    pub(super) fn map_here(&mut self, stream: &Stream, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let mut found = Vec::new();
        self.map_stream(stream, range, &mut found)?;
        let is_absent = |run: &Run| matches!(run, Run::Zero { .. });
        if found.iter().any(is_absent) || (stream.resident.is_some() && stream.flags & FLAG_SPARSE != 0) {
            return Err(Error::unsupported("content that is only in a cloud"));
        }
        found.into_iter().for_each(|run| run.push(runs));
        Ok(())
    }
}
