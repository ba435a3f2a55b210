//! Sparse extent of VMDK: a directory of tables, and they lead to grains, which may be compressed.

use super::SECTOR_BYTES;
use super::sectors;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::container::clusters::Place;
use crate::disk::container::clusters::UNIT_BYTES_MAX;
use crate::disk::container::inflate::Packing;
use crate::disk::container::inflate::inflate;
use crate::disk::fs::Source;
use std::ops::Range;

/// The first bytes.
pub(super) const MAGIC: &[u8; 4] = b"KDMV";

const WHAT: &str = "VMDK header";
const HEADER_BYTES: u64 = 512;
const ZEROED_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const DEFLATE: u16 = 1;
/// The directory is at the end, as the file was written in one go.
const AT_END: u64 = u64::MAX;
/// From the end of such a file: a marker, this copy of the header, a marker.
const FOOTER_FROM_END: u64 = 1024;
const GRAIN_SECTORS_MIN: u64 = 8;
const TABLE_COUNT_MAX: u64 = 1 << 16;
const ENTRIES_AT_ONCE: u64 = 512;
/// What stands before a compressed grain: its first sector and its length.
const GRAIN_HEADER_BYTES: u64 = 12;

/// A sparse extent. What it finds lies in its own file.
pub(super) struct Sparse {
    file: Source,
    pub(super) bytes: u64,
    pub(super) grain_bytes: u64,
    /// Where the descriptor is, in a file that has it inside.
    pub(super) descriptor: Option<Range<u64>>,
    flags: u32,
    table_count: u64,
    directory_at: u64,
    is_unclean: bool,
}

impl Sparse {
    /// In a file that begins with [`MAGIC`]; `file` should be cached.
    pub(super) fn open(file: Source) -> Result<Sparse> {
        let sparse = Sparse::header(file.clone(), 0)?;
        if sparse.directory_at != AT_END {
            return sparse.checked();
        }
        let footer_at = file.len().checked_sub(FOOTER_FROM_END);
        let footer_at = footer_at.ok_or(Error::damaged(WHAT, 0, "there is no footer"))?;
        let footer = Sparse::header(file, footer_at)?;
        if footer.directory_at == AT_END || footer.bytes != sparse.bytes || footer.grain_bytes != sparse.grain_bytes {
            return Err(Error::damaged(WHAT, footer_at, "header and footer contradict each other"));
        }
        Sparse { descriptor: sparse.descriptor, ..footer }.checked()
    }

    fn header(file: Source, at: u64) -> Result<Sparse> {
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_at(at, &mut bytes)?;
        let fields = Fields::new(&bytes, WHAT, at);
        if fields.bytes(0, 4)? != MAGIC {
            return Err(fields.damaged("its mark is missing"));
        }
        if !matches!(fields.u32(4)?, 1..=3) {
            return Err(Error::unsupported(format!("version {} of VMDK", fields.u32(4)?)));
        }
        let flags = fields.u32(8)?;
        if flags & COMPRESSED != 0 && fields.u16(77)? != DEFLATE {
            return Err(Error::unsupported(format!("compression {} of VMDK", fields.u16(77)?)));
        }
        // A transfer as text turns line ends into others; that is what these four bytes are for.
        if fields.bytes(73, 4)? != b"\n \r\n" && flags & 1 != 0 {
            return Err(fields.damaged("it was sent as text"));
        }
        let grain_bytes = sectors(&fields, 20)?;
        let is_right = grain_bytes.is_power_of_two() && grain_bytes >= GRAIN_SECTORS_MIN * SECTOR_BYTES;
        if !is_right || grain_bytes > UNIT_BYTES_MAX {
            return Err(fields.damaged("its grains have a size that cannot be"));
        }
        let table_count = u64::from(fields.u32(44)?);
        if table_count == 0 || table_count > TABLE_COUNT_MAX {
            return Err(fields.damaged("its tables have a length that cannot be"));
        }
        let descriptor_at = sectors(&fields, 28)?;
        let descriptor_end = descriptor_at.saturating_add(sectors(&fields, 36)?);
        let directory = fields.u64(56)?;
        Ok(Sparse {
            bytes: sectors(&fields, 12)?,
            grain_bytes,
            descriptor: (descriptor_at != 0).then_some(descriptor_at..descriptor_end),
            flags,
            table_count,
            directory_at: if directory == AT_END { AT_END } else { sectors(&fields, 56)? },
            is_unclean: fields.u8(72)? != 0,
            file,
        })
    }

    fn checked(self) -> Result<Sparse> {
        let tables = self.bytes.div_ceil(self.table_reach());
        let end = tables.checked_mul(4).and_then(|len| self.directory_at.checked_add(len));
        if self.directory_at == 0 || end.is_none_or(|end| end > self.file.len()) {
            return Err(Error::damaged(WHAT, 0, "its directory is not within the file"));
        }
        Ok(self)
    }

    /// What has to be known of it.
    pub(super) fn notes(&self) -> Option<String> {
        self.is_unclean.then(|| "The VMDK was not closed; what was written last may be missing.".to_owned())
    }

    /// Bytes of the disk that one table covers.
    fn table_reach(&self) -> u64 {
        self.table_count * self.grain_bytes
    }

    fn words(&self, at: u64, count: u64) -> Result<Vec<u8>> {
        let len = count * 4;
        if at.checked_add(len).is_none_or(|end| end > self.file.len()) {
            return Err(Error::damaged("VMDK grain table", at, "it is not within the file"));
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Where byte `at` lies in the file, and for how many bytes the answer goes on.
    pub(super) fn find(&self, at: u64, wanted: u64) -> Result<(Place, u64)> {
        let (table, within_table) = (at / self.table_reach(), at % self.table_reach());
        let word = self.words(self.directory_at + table * 4, 1)?;
        let table_at = u64::from(Fields::new(&word, "VMDK grain directory", self.directory_at).u32(0)?) * SECTOR_BYTES;
        if table_at == 0 {
            return Ok((Place::Zero, self.table_reach() - within_table));
        }
        let first = within_table / self.grain_bytes;
        let enough = (wanted / self.grain_bytes).saturating_add(2).min(ENTRIES_AT_ONCE);
        let count = (self.table_count - first).min(enough);
        let words = self.words(table_at + first * 4, count)?;
        let words = Fields::new(&words, "VMDK grain table", table_at);
        let skipped = at % self.grain_bytes;
        let start = self.place(words.u32(0)?)?;
        let mut len = self.grain_bytes;
        for index in 1..count as usize {
            if len - skipped >= wanted || self.place(words.u32(index * 4)?)? != start.advanced(len) {
                break;
            }
            len += self.grain_bytes;
        }
        Ok((start.advanced(skipped), len - skipped))
    }

    fn place(&self, sector: u32) -> Result<Place> {
        Ok(match sector {
            0 => Place::Zero,
            1 if self.flags & ZEROED_GRAINS != 0 => Place::Zero,
            _ if self.flags & COMPRESSED != 0 => Place::Unit { key: u64::from(sector), within: 0 },
            _ => Place::Below(u64::from(sector) * SECTOR_BYTES),
        })
    }

    /// The grain at a sector of the file.
    pub(super) fn unpack(&self, sector: u64) -> Result<Vec<u8>> {
        let at = sector.saturating_mul(SECTOR_BYTES);
        let mut header = [0; GRAIN_HEADER_BYTES as usize];
        self.file.read_at(at, &mut header)?;
        let fields = Fields::new(&header, "VMDK grain", at);
        let len = u64::from(fields.u32(8)?);
        // Deflate makes nothing much longer than it was.
        if len == 0 || len > 2 * UNIT_BYTES_MAX {
            return Err(fields.damaged("it has a length that cannot be"));
        }
        let mut stored = vec![0; len as usize];
        self.file.read_at(at + GRAIN_HEADER_BYTES, &mut stored)?;
        inflate(Packing::Zlib, &stored, self.grain_bytes as usize, at)
    }
}
