//! Update sequence arrays: how a torn write of a record is noticed.
//!
//! The last two bytes of every 512 of a record are replaced by one number when it is written; the array after the
//! record's header holds that number and then the true bytes. (Linux-NTFS documentation, concept "Fixup".)

use crate::disk::Fields;
use crate::disk::Result;

/// Bytes that each array entry protects, whatever the size of a sector is.
const STRIDE_BYTES: usize = 512;

/// Puts the true bytes back. `what` lies at byte `at` of the source.
pub(super) fn undo(record: &mut [u8], what: &'static str, at: u64) -> Result<()> {
    let fields = Fields::new(record, what, at);
    let (offset, count) = (usize::from(fields.u16(4)?), usize::from(fields.u16(6)?));
    if !record.len().is_multiple_of(STRIDE_BYTES) || count != record.len() / STRIDE_BYTES + 1 {
        return Err(fields.damaged("its update sequence array does not fit its length"));
    }
    if !offset.is_multiple_of(2) || offset < 8 || offset + 2 * count > record.len() - 2 {
        return Err(fields.damaged("its update sequence array lies outside"));
    }
    let array = fields.bytes(offset, 2 * count)?.to_vec();
    let (number, originals) = array.split_at(2);
    for (stride, original) in record.chunks_exact_mut(STRIDE_BYTES).zip(originals.chunks_exact(2)) {
        let end = &mut stride[STRIDE_BYTES - 2..];
        if end != number {
            return Err(Fields::new(&[], what, at).damaged("part of it was not written"));
        }
        end.copy_from_slice(original);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let mut record = vec![7; 1024];
        record[4..8].copy_from_slice(&[0x30, 0, 3, 0]);
        record[0x30..0x36].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        record[510..512].copy_from_slice(&[1, 2]);
        record[1022..].copy_from_slice(&[1, 2]);
        record
    }

    #[test]
    fn true_bytes_come_back() {
        let mut bytes = record();
        undo(&mut bytes, "record", 0).unwrap();
        assert_eq!((&bytes[510..512], &bytes[1022..]), (&[3, 4][..], &[5, 6][..]));
    }

    #[test]
    fn a_torn_write_is_damage() {
        let mut bytes = record();
        bytes[511] = 9;
        assert!(undo(&mut bytes, "record", 0).unwrap_err().to_string().contains("not written"));
    }

    #[test]
    fn arrays_that_do_not_fit() {
        for (at, value) in [(4, 0xff), (5, 0xff), (4, 0x31), (4, 2), (6, 2), (7, 0xff)] {
            let mut bytes = record();
            bytes[at] = value;
            assert!(undo(&mut bytes, "record", 0).is_err(), "{at} {value}");
        }
        assert!(undo(&mut [0; 7], "record", 0).is_err());
        assert!(undo(&mut [0; 512], "record", 0).is_err());
    }
}
