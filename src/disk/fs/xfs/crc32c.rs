//! CRC-32C as XFS version 5 keeps it: within what it is the checksum of.

use crate::disk::crc32::crc32c;
use crate::disk::crc32::crc32c_append;

/// The sum of `bytes` with zeros in place of the four bytes at `field`, where XFS keeps it.
pub(super) fn without_field(bytes: &[u8], field: usize) -> u32 {
    let (before, rest) = bytes.split_at(field.min(bytes.len()));
    let after = rest.get(4..).unwrap_or_default();
    crc32c_append(crc32c_append(crc32c(before), &[0; 4]), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_field_does_not_count() {
        assert_eq!(without_field(b"1234xxxx9", 4), crc32c(b"1234\0\0\0\x009"));
        assert_eq!(without_field(b"1234", 9), crc32c(b"1234\0\0\0\0"));
    }
}
