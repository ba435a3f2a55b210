//! The two checksums of 32 bits that disks are full of.

/// CRC-32 of ISO 3309, as GPT and zip use it.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !go_on(&ISO, !0, bytes)
}

/// CRC-32C (Castagnoli), as VHDX uses it.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !go_on(&CASTAGNOLI, !0, bytes)
}

static ISO: [u32; 256] = table(0xedb8_8320);
static CASTAGNOLI: [u32; 256] = table(0x82f6_3b78);

const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (polynomial & (value & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

fn go_on(table: &[u32; 256], start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
