//! Extended attributes: sets that many nodes share, with values that many sets share.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::squash::metadata::Metadata;
use crate::disk::fs::squash::metadata::Place;
use crate::disk::fs::squash::table::Table;
use crate::meta::Xattr;

const WHAT: &str = "SquashFS attributes";
const SET_BYTES: usize = 16;
/// The value stands elsewhere, and here only its place.
const VALUE_ELSEWHERE: u16 = 0x100;
/// Linux has no longer values.
const VALUE_BYTES_MAX: u32 = 64 << 10;
/// Linux has no longer lists of names.
const NAMES_BYTES_MAX: usize = 64 << 10;
/// Values can be shared, so that few bytes could claim to be very many.
const VALUES_BYTES_MAX: usize = 16 << 20;

/// The sets of attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Xattrs {
    /// Where names and values stand.
    content: u64,
    sets: Table,
}

impl Xattrs {
    /// Those of the table at `start`.
    pub(super) fn read(start: u64, source: &Source) -> Result<Xattrs> {
        let mut header = [0; 16];
        crate::disk::BlockSource::read_at(source, start, &mut header)?;
        let fields = Fields::new(&header, WHAT, start);
        let sets = Table {
            what: WHAT,
            start: start.saturating_add(header.len() as u64),
            count: fields.u32(8)?.into(),
            entry_bytes: SET_BYTES,
        };
        Ok(Xattrs { content: fields.u64(0)?, sets })
    }

    /// The attributes of set `index`, sorted.
    pub(super) fn set(&self, index: u32, source: &Source, metadata: &mut Metadata) -> Result<Vec<Xattr>> {
        let set = self.sets.entry(index.into(), source, metadata)?;
        let set = Fields::new(&set, WHAT, self.sets.start);
        let mut place = Place::from_reference(self.content, set.u64(0)?)?;
        let (mut names, mut values) = (0usize, 0usize);
        let mut found = Vec::new();
        for _ in 0..set.u32(8)? {
            let xattr = self.one(&mut place, metadata)?;
            names = names.saturating_add(xattr.name.len() + 1);
            values = values.saturating_add(xattr.value.len());
            if names > NAMES_BYTES_MAX || values > VALUES_BYTES_MAX {
                return Err(set.damaged("there are more than any system holds"));
            }
            found.push(xattr);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn one(&self, place: &mut Place, metadata: &mut Metadata) -> Result<Xattr> {
        let head = metadata.read(place, 4)?;
        let head = Fields::new(&head, WHAT, place.block);
        let (kind, name_len) = (head.u16(0)?, head.u16(2)?);
        let prefix: &[u8] = match kind & 0xff {
            0 => b"user.",
            1 => b"trusted.",
            2 => b"security.",
            other => return Err(Error::unsupported(format!("SquashFS attribute prefix {other}"))),
        };
        if usize::from(name_len) > NAMES_BYTES_MAX {
            return Err(head.damaged("a name is too long"));
        }
        let name = [prefix, &metadata.read(place, name_len.into())?].concat();
        let mut value = value(place, metadata)?;
        if kind & VALUE_ELSEWHERE != 0 {
            let reference = Fields::new(&value, WHAT, place.block).u64(0)?;
            value = self::value(&mut Place::from_reference(self.content, reference)?, metadata)?;
        }
        Ok(Xattr { name, value })
    }
}

fn value(place: &mut Place, metadata: &mut Metadata) -> Result<Vec<u8>> {
    let len = metadata.read(place, 4)?;
    let fields = Fields::new(&len, WHAT, place.block);
    let len = fields.u32(0)?;
    if len > VALUE_BYTES_MAX {
        return Err(fields.damaged("a value is too long"));
    }
    metadata.read(place, len as usize)
}
