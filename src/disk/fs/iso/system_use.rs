//! System use entries: what extensions keep behind a directory record and where it goes on. (System Use Sharing Protocol,
//! SUSP 1.12, 4 and 5.)

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::iso::descriptor::SECTOR_BYTES;

/// Areas that one record may go on in.
const AREAS_MAX: usize = 128;

const WHAT: &str = "system use entry";

/// Where the entries of a record go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) start: u64,
    pub(crate) len: usize,
}

impl Area {
    /// Reads an entry `CE`.
    pub(crate) fn read(entry: &Fields) -> Result<Area> {
        let (block, offset, len) = (u64::from(entry.u32(4)?), u64::from(entry.u32(12)?), u64::from(entry.u32(20)?));
        // An area lies within one sector.
        if offset + len > SECTOR_BYTES {
            return Err(entry.damaged("it goes on outside of a sector"));
        }
        Ok(Area { start: block * SECTOR_BYTES + offset, len: len as usize })
    }
}

/// Calls `take` with signature and all bytes of each entry in `area`, which begins at byte `at` of the source, and in
/// the areas it goes on in.
pub(crate) fn each(
    source: &Source,
    area: &[u8],
    at: u64,
    take: &mut dyn FnMut([u8; 2], Fields) -> Result<()>,
) -> Result<()> {
    let (mut area, mut at) = (area.to_vec(), at);
    for _ in 0..AREAS_MAX {
        let mut next = None;
        let fields = Fields::new(&area, WHAT, at);
        let mut here = 0;
        // Less than an entry is padding.
        while fields.len().saturating_sub(here) >= 4 && fields.u8(here)? != 0 {
            let len = usize::from(fields.u8(here + 2)?);
            if len < 4 {
                return Err(fields.damaged("it is too short"));
            }
            let entry = fields.part(here, len, WHAT)?;
            here += len;
            match &entry.array::<2>(0)? {
                b"CE" => next = Some(Area::read(&entry)?),
                b"ST" => break,
                _ => {}
            }
            take(entry.array(0)?, entry)?;
        }
        let Some(next) = next else { return Ok(()) };
        at = next.start;
        area = vec![0; next.len];
        source.read_at(at, &mut area)?;
    }
    Err(Error::damaged(WHAT, at, "it goes on too often"))
}
