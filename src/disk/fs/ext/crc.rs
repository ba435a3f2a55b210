//! The older checksums of the family, as running values without a final inversion. The newer one is
//! [`crc32c_running`](crate::disk::crc32::crc32c_running).
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Checksums.

/// CRC-16 of `bytes`, continuing from `crc`: group descriptors before `metadata_csum`.
pub(super) fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    let step = |crc: u16, _| if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 };
    bytes.iter().fold(crc, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), step))
}

/// CRC-32 of `bytes` with the highest bit first, continuing from `crc`: whole transactions of old journals.
pub(super) fn crc32_high_first(crc: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc >> 31 == 1 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 };
    bytes.iter().fold(crc, |crc, byte| (0..8).fold(crc ^ (u32::from(*byte) << 24), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &[u8] = b"123456789";

    #[test]
    fn check_values_of_the_catalogue() {
        assert_eq!(crc16(0xffff, CHECK), 0x4b37); // CRC-16/MODBUS
        assert_eq!(crc32_high_first(!0, CHECK), 0x0376_e6e7); // CRC-32/MPEG-2
    }
}
