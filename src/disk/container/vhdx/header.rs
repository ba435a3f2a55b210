//! Header of VHDX: there are two, and the newer one counts.

use super::summed;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::guid::Guid;

const WHAT: &str = "VHDX header";
const PLACES: [u64; 2] = [64 << 10, 128 << 10];
const BYTES: usize = 4096;
const SIGNATURE: &[u8] = b"head";

/// What is needed of it.
pub(super) struct Header {
    sequence: u64,
    version: u16,
    /// Which entries of the log count; nil: none.
    pub(super) log_id: Guid,
    pub(super) log_version: u16,
    pub(super) log_at: u64,
    pub(super) log_len: u64,
}

impl Header {
    pub(super) fn read(source: &dyn BlockSource) -> Result<Header> {
        let mut newest: Option<Header> = None;
        let mut fault = Error::damaged(WHAT, PLACES[0], "there is none");
        for at in PLACES {
            match Header::at(source, at) {
                Ok(header) if newest.as_ref().is_none_or(|other| other.sequence < header.sequence) => {
                    newest = Some(header);
                }
                Ok(_) => {}
                Err(error) => fault = error,
            }
        }
        let header = newest.ok_or(fault)?;
        if header.version != 1 || !header.log_id.is_nil() && header.log_version != 0 {
            return Err(Error::unsupported(format!("version {} of VHDX", header.version)));
        }
        Ok(header)
    }

    fn at(source: &dyn BlockSource, at: u64) -> Result<Header> {
        let bytes = summed(source, WHAT, at, BYTES)?;
        let fields = Fields::new(&bytes, WHAT, at);
        if fields.bytes(0, 4)? != SIGNATURE {
            return Err(fields.damaged("its signature is missing"));
        }
        Ok(Header {
            sequence: fields.u64(8)?,
            log_id: Guid(fields.array(48)?),
            log_version: fields.u16(64)?,
            version: fields.u16(66)?,
            log_len: u64::from(fields.u32(68)?),
            log_at: fields.u64(72)?,
        })
    }
}
