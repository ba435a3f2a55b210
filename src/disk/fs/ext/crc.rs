//! The three checksums of the family, as running values without a final inversion.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Checksums; CRC-32C is that of RFC 3720.

/// Tables of CRC-32C for eight bytes at a time.
static CASTAGNOLI: [[u32; 256]; 8] = sliced(0x82f6_3b78);

const fn sliced(polynomial: u32) -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut n = 0;
    while n < 256 {
        let mut value = n as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ polynomial } else { value >> 1 };
            bit += 1;
        }
        tables[0][n] = value;
        n += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut n = 0;
        while n < 256 {
            let before = tables[slice - 1][n];
            tables[slice][n] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            n += 1;
        }
        slice += 1;
    }
    tables
}

/// CRC-32C of `bytes`, continuing from `crc`.
pub(super) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    let t = &CASTAGNOLI;
    let at = |table: usize, value: u32, shift: u32| t[table][((value >> shift) & 0xff) as usize];
    let mut crc = crc;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let low = u32::from_le_bytes([word[0], word[1], word[2], word[3]]) ^ crc;
        let high = u32::from_le_bytes([word[4], word[5], word[6], word[7]]);
        crc = at(7, low, 0) ^ at(6, low, 8) ^ at(5, low, 16) ^ at(4, low, 24);
        crc ^= at(3, high, 0) ^ at(2, high, 8) ^ at(1, high, 16) ^ at(0, high, 24);
    }
    rest.iter().fold(crc, |crc, byte| (crc >> 8) ^ at(0, crc ^ u32::from(*byte), 0))
}

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
        assert_eq!(!crc32c(!0, CHECK), 0xe306_9283);
        assert_eq!(crc16(0xffff, CHECK), 0x4b37); // CRC-16/MODBUS
        assert_eq!(crc32_high_first(!0, CHECK), 0x0376_e6e7); // CRC-32/MPEG-2
    }

    #[test]
    fn any_cut_gives_the_same() {
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 0..100 {
            assert_eq!(crc32c(crc32c(7, &bytes[..cut]), &bytes[cut..]), crc32c(7, &bytes));
        }
    }
}
