//! Folders: sorted names in groups of at most 256, whose inodes share a metadata block, and an index over large ones.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Entry;
use crate::disk::fs::NodeId;
use crate::disk::fs::squash::metadata::METADATA_BYTES;
use crate::disk::fs::squash::metadata::Metadata;
use crate::disk::fs::squash::metadata::Place;
use std::cmp::Ordering;

const WHAT: &str = "SquashFS folder";
const HEADER_BYTES: usize = 12;
const ENTRY_BYTES: usize = 8;
const INDEX_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 256;
/// Entries after one header.
const GROUP_MAX: u64 = 256;
/// A cursor is the place of a header in the listing, and above these bits the number of the next entry after it.
const CURSOR_BITS: u32 = 9;
/// What `.` and `..` add to the length of a listing, though they do not stand there.
const DOTS_BYTES: u32 = 3;

/// Where a folder's listing and its index stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder {
    listing: Place,
    /// Bytes of the listing.
    len: u64,
    index_count: u16,
    index: Place,
}

/// A header of the listing: how far into the listing, and where.
#[derive(Debug, Clone, Copy)]
struct Start {
    at: u64,
    place: Place,
}

impl Folder {
    /// `size` as the inode has it; `index` is the place of the first entry of the index.
    pub(super) fn new(listing: Place, size: u32, index_count: u16, index: Place) -> Folder {
        Folder { listing, len: size.saturating_sub(DOTS_BYTES).into(), index_count, index }
    }

    /// Where the first metadata block of the listing begins.
    pub(super) fn first_block(&self) -> u64 {
        self.listing.block
    }

    /// Calls `take` with the entries after `cursor`.
    pub(super) fn list(
        &self,
        directories: u64,
        cursor: u64,
        metadata: &mut Metadata,
        take: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<()> {
        let (at, skipped) = (cursor >> CURSOR_BITS, cursor & ((1 << CURSOR_BITS) - 1));
        if at >= self.len {
            return Ok(());
        }
        let mut start = self.start(directories, metadata, &mut |position, _| position <= at)?;
        let ahead = usize::try_from(at.saturating_sub(start.at)).unwrap_or(usize::MAX);
        metadata.skip(&mut start.place, ahead)?;
        self.groups(Start { at, place: start.place }, skipped, metadata, take)
    }

    /// The node of a name.
    pub(super) fn lookup(&self, directories: u64, name: &[u8], metadata: &mut Metadata) -> Result<NodeId> {
        let start = self.start(directories, metadata, &mut |_, first| first <= name)?;
        let mut found = Err(Error::NotFound);
        self.groups(start, 0, metadata, &mut |entry| match entry.name.as_slice().cmp(name) {
            Ordering::Less => true,
            Ordering::Equal => {
                found = Ok(entry.node);
                false
            }
            Ordering::Greater => false,
        })?;
        found
    }

    /// The last header in the index for which `is_before` holds, which is asked with its place in the listing and the
    /// first name after it; or the first header of all.
    fn start(
        &self,
        directories: u64,
        metadata: &mut Metadata,
        is_before: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<Start> {
        let mut start = Start { at: 0, place: self.listing };
        let mut place = self.index;
        for _ in 0..self.index_count {
            let bytes = metadata.read(&mut place, INDEX_BYTES)?;
            let fields = Fields::new(&bytes, "SquashFS index of a folder", place.block);
            let at = u64::from(fields.u32(0)?);
            let name = metadata.read(&mut place, name_len(fields.u32(8)? as usize, &fields)?)?;
            if at < start.at || at >= self.len {
                return Err(fields.damaged("it is not in order"));
            }
            if !is_before(at, &name) {
                break;
            }
            let offset = (self.listing.offset as u64 + at) % METADATA_BYTES as u64;
            start = Start { at, place: Place::new(directories, fields.u32(4)?.into(), offset as usize)? };
        }
        Ok(start)
    }

    /// Calls `take` with the entries from a header on, without the first `skipped`.
    fn groups(
        &self,
        start: Start,
        skipped: u64,
        metadata: &mut Metadata,
        take: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<()> {
        let Start { mut at, mut place } = start;
        let mut skipped = skipped;
        while at < self.len {
            let header_at = at;
            let header = metadata.read(&mut place, HEADER_BYTES)?;
            let header = Fields::new(&header, WHAT, place.block);
            let count = u64::from(header.u32(0)?).saturating_add(1);
            if count > GROUP_MAX {
                return Err(header.damaged("too many entries after one header"));
            }
            let block = u64::from(header.u32(4)?) << 16;
            at += HEADER_BYTES as u64;
            for number in 1..=count {
                let bytes = metadata.read(&mut place, ENTRY_BYTES)?;
                let fields = Fields::new(&bytes, WHAT, place.block);
                let name = metadata.read(&mut place, name_len(fields.u16(6)?.into(), &fields)?)?;
                at += ENTRY_BYTES as u64 + name.len() as u64;
                if at > self.len {
                    return Err(fields.damaged("its last entry goes beyond its end"));
                }
                if number <= skipped {
                    continue;
                }
                check_name(&name, &fields)?;
                let node = block | u64::from(fields.u16(0)?);
                if !take(Entry { name, node, cursor: header_at << CURSOR_BITS | number }) {
                    return Ok(());
                }
            }
            skipped = 0;
        }
        Ok(())
    }
}

/// Lengths stand there less one.
fn name_len(less_one: usize, fields: &Fields<'_>) -> Result<usize> {
    match less_one {
        ..NAME_BYTES_MAX => Ok(less_one + 1),
        _ => Err(fields.damaged("a name is too long")),
    }
}

fn check_name(name: &[u8], fields: &Fields<'_>) -> Result<()> {
    if name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(fields.damaged("no such name can be"));
    }
    Ok(())
}
