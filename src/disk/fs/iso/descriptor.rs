//! Volume descriptors: the sectors from 16 on that say where the root folder lies and in which characters names are
//! written. (ECMA-119, 8; the Joliet Specification, "SVD Escape Sequences"; ECMA-167 2/9 for the marks of UDF.)

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;

/// Bytes of a logical sector.
pub(crate) const SECTOR_BYTES: u64 = 2048;

const FIRST_SECTOR: u64 = 16;
/// Descriptors that are looked at.
const DESCRIPTORS_MAX: u64 = 64;

const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;

/// Where descriptors usually end.
pub(crate) const PLACE: std::ops::Range<u64> = FIRST_SECTOR * SECTOR_BYTES..(FIRST_SECTOR + 4) * SECTOR_BYTES;

/// One tree of folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) label: Vec<u8>,
    /// Logical blocks of the volume, a sector each.
    pub(crate) blocks: u32,
    /// First logical block of the root folder, with its extended attributes.
    pub(crate) root_block: u32,
    /// When it was created and changed, as digits.
    dates: [[u8; 16]; 2],
}

impl Volume {
    /// The date of the last change, or of creation: discs have no other identity.
    pub(crate) fn uuid(&self) -> String {
        let is_date = |date: &&[u8; 16]| date.iter().all(u8::is_ascii_digit) && date.iter().any(|digit| *digit != b'0');
        let Some(date) = self.dates.iter().rev().find(is_date) else { return String::new() };
        let mut text = String::new();
        for (digit, at) in date.iter().zip(0..) {
            if matches!(at, 4 | 6 | 8 | 10 | 12 | 14) {
                text.push('-');
            }
            text.push(char::from(*digit));
        }
        text
    }
}

/// What the descriptors say.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    pub(crate) primary: Option<Volume>,
    pub(crate) joliet: Option<Volume>,
    /// There is a UDF file system too.
    pub(crate) has_udf: bool,
}

impl Descriptors {
    /// Reads the descriptors at the beginning of `source`. None at all: neither ISO 9660 nor UDF.
    pub(crate) fn read(source: &Source) -> Result<Descriptors> {
        let mut found = Descriptors::default();
        let mut sector = [0; SECTOR_BYTES as usize];
        for number in FIRST_SECTOR..FIRST_SECTOR + DESCRIPTORS_MAX {
            let at = number * SECTOR_BYTES;
            if at + SECTOR_BYTES > source.len() {
                break;
            }
            source.read_at(at, &mut sector)?;
            let fields = Fields::new(&sector, "ISO 9660 volume descriptor", at);
            match (&fields.array::<5>(1)?, fields.u8(0)?) {
                (b"CD001", PRIMARY) if found.primary.is_none() => found.primary = Some(volume(&fields)?),
                (b"CD001", SUPPLEMENTARY) if found.joliet.is_none() && is_joliet(&fields)? => {
                    found.joliet = Some(volume(&fields)?);
                }
                (b"NSR02" | b"NSR03", 0) => found.has_udf = true,
                (b"CD001" | b"BEA01" | b"BOOT2" | b"CDW02" | b"TEA01", _) => {}
                _ => break,
            }
        }
        Ok(found)
    }
}

/// Names in UCS-2 of one of three levels.
fn is_joliet(fields: &Fields) -> Result<bool> {
    Ok(matches!(&fields.array::<3>(88)?, b"%/@" | b"%/C" | b"%/E"))
}

fn volume(fields: &Fields) -> Result<Volume> {
    let block_bytes = u64::from(fields.u16(128)?);
    if block_bytes != SECTOR_BYTES {
        return Err(Error::unsupported(format!("ISO 9660 with blocks of {block_bytes} bytes")));
    }
    let root = fields.part(156, 34, "ISO 9660 root folder")?;
    if root.u8(0)? != 34 || root.u8(25)? & 2 == 0 {
        return Err(root.damaged("it is not that of a folder"));
    }
    Ok(Volume {
        label: fields.bytes(40, 32)?.to_vec(),
        blocks: fields.u32(80)?,
        root_block: root.u32(2)?.checked_add(u32::from(root.u8(1)?)).ok_or_else(|| root.damaged("it leads nowhere"))?,
        dates: [fields.array(813)?, fields.array(830)?],
    })
}
