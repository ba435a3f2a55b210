//! LUKS, encrypted disks: version 1 after the "LUKS1 On-Disk Format Specification" 1.2.3, version 2 after the "LUKS2
//! On-Disk Format Specification" 1.1.2.
//!
//! Keys stay in memory only as long as they are needed and are wiped afterwards. What a header asks of this machine,
//! memory and time, is bounded, because whoever wrote the disk wrote the header too.

mod antiforensic;
mod header1;
mod header2;
mod json;
mod kdf;
mod plain;
mod slot;
#[cfg(test)]
mod tests;
mod xts;

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::volume::luks::plain::Plain;
use crate::disk::volume::luks::plain::Segment;
use crate::disk::volume::luks::slot::Slot;
use std::sync::Arc;

/// First bytes of a disk with LUKS.
const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
const WHAT: &str = "LUKS header";

/// What is known without a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Version of the format, 1 or 2.
    pub version: u16,
    /// UUID as text.
    pub uuid: String,
    /// Label, if it has one.
    pub label: String,
    /// The cipher of the data, as LUKS calls it: `aes-xts-plain64`.
    pub cipher: String,
    /// Slots that a passphrase may open.
    pub slots: usize,
}

/// A header of either version.
struct Header {
    about: About,
    segment: Result<Segment>,
    slots: Vec<Result<Slot>>,
}

/// True if there is a LUKS header at the beginning of `source`.
pub fn is_luks(source: &Source) -> Result<bool> {
    let mut magic = [0; MAGIC.len()];
    if source.len() < magic.len() as u64 {
        return Ok(false);
    }
    source.read_at(0, &mut magic)?;
    Ok(magic == MAGIC)
}

/// What is known of a LUKS disk without its passphrase.
pub fn about(source: &Source) -> Result<About> {
    Ok(read(source)?.about)
}

/// The plain bytes of a LUKS disk. [`Error::WrongPassphrase`] if the passphrase opens none of its slots.
pub fn unlock(source: Source, passphrase: &[u8]) -> Result<Source> {
    let header = read(&source)?;
    let segment = header.segment?;
    let mut not_tried = None;
    for slot in header.slots {
        match slot.and_then(|slot| slot.open(&source, passphrase)) {
            Ok(Some(key)) => return Ok(Arc::new(Plain::new(source, &segment, &key)?)),
            Ok(None) => {}
            Err(error) => not_tried = not_tried.or(Some(error)),
        }
    }
    // A slot that could not be tried may be the right one, so "wrong passphrase" would not be true.
    Err(not_tried.unwrap_or(Error::WrongPassphrase))
}

fn read(source: &Source) -> Result<Header> {
    let mut start = [0; 8];
    source.read_at(0, &mut start)?;
    if !start.starts_with(&MAGIC) {
        return Err(Error::damaged(WHAT, 0, "it does not begin as one"));
    }
    match start {
        [.., 0, 1] => header1::read(source),
        [.., 0, 2] => header2::read(source),
        [.., high, low] => Err(Error::unsupported(format!("LUKS {}", u16::from(high) << 8 | u16::from(low)))),
    }
}

/// A text in a field that it need not fill.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
