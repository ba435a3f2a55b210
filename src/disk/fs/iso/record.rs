//! Directory records: one for each extent of a file. (ECMA-119, 9.1.)

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::iso::date;
use crate::meta::Time;

/// A record is never longer.
pub(crate) const RECORD_BYTES_MAX: usize = 255;

const WHAT: &str = "ISO 9660 directory record";
const FOLDER: u8 = 0x02;
const ASSOCIATED: u8 = 0x04;
const GOES_ON: u8 = 0x80;
const NAME_AT: usize = 33;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Bytes of the record.
    pub(crate) len: usize,
    /// First logical block of the content.
    pub(crate) block: u32,
    /// Bytes of the content in this extent.
    pub(crate) size: u32,
    pub(crate) time: Option<Time>,
    pub(crate) is_folder: bool,
    /// Not a file of its own, but what belongs to one on other systems.
    pub(crate) is_associated: bool,
    /// The next record is that of the next extent.
    pub(crate) goes_on: bool,
    /// The content is spread over the disc in turns.
    is_interleaved: bool,
    pub(crate) name: Vec<u8>,
    /// What is behind the name, for the System Use Sharing Protocol.
    pub(crate) system_use: Vec<u8>,
}

impl Record {
    /// Reads the record at the start of `bytes`, which begin at byte `at` and end where the record's sector ends. `None`
    /// if the sector has no more records.
    pub(crate) fn read(bytes: &[u8], at: u64) -> Result<Option<Record>> {
        let len = bytes.first().copied().map_or(0, usize::from);
        if len == 0 {
            return Ok(None);
        }
        let fields = Fields::new(bytes, WHAT, at).part(0, len, WHAT)?;
        let (flags, name_len) = (fields.u8(25)?, usize::from(fields.u8(32)?));
        let name = fields.bytes(NAME_AT, name_len)?;
        if name.is_empty() {
            return Err(fields.damaged("it has no name"));
        }
        // A byte of padding makes the length even.
        let behind = (NAME_AT + name_len).next_multiple_of(2);
        Ok(Some(Record {
            len,
            block: fields
                .u32(2)?
                .checked_add(u32::from(fields.u8(1)?))
                .ok_or_else(|| fields.damaged("it leads nowhere"))?,
            size: fields.u32(10)?,
            time: date::short(&fields.array(18)?),
            is_folder: flags & FOLDER != 0,
            is_associated: flags & ASSOCIATED != 0,
            goes_on: flags & GOES_ON != 0,
            is_interleaved: fields.u8(26)? != 0 || fields.u8(27)? != 0,
            name: name.to_vec(),
            system_use: fields.rest(behind.min(len))?.to_vec(),
        }))
    }

    /// The first record of each folder: the folder itself.
    pub(crate) fn is_self(&self) -> bool {
        self.name == [0]
    }

    /// This, if it is the first record of a folder.
    pub(crate) fn into_folder(self) -> Option<Record> {
        (self.is_self() && self.is_folder).then_some(self)
    }

    /// Where in the record system use begins.
    pub(crate) fn system_use_at(&self) -> usize {
        self.len.saturating_sub(self.system_use.len())
    }

    /// The second record of each folder: the one above.
    pub(crate) fn is_parent(&self) -> bool {
        self.name == [1]
    }

    /// The content is where it seems to be.
    pub(crate) fn check_content(&self) -> Result<()> {
        if self.is_interleaved {
            return Err(Error::unsupported("an interleaved file on ISO 9660"));
        }
        Ok(())
    }
}
