//! The two checksums of 32 bits that disks are full of, in the forms in which formats keep them.

use crc_fast::CrcAlgorithm;
use crc_fast::Digest;

/// CRC-32 of ISO 3309, as GPT and zip use it.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iso_hdlc(bytes)
}

/// CRC-32C (Castagnoli, RFC 3720), as VHDX, XFS and Btrfs use it.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The same as a running value, which is inverted neither at the start nor at the end, as ext uses it.
pub(crate) fn crc32c_running(crc: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, crc.into());
    digest.update(bytes);
    !(digest.finalize() as u32)
}

/// CRC-32C of bytes that follow others whose CRC-32C is `crc` (0: none do).
pub(crate) fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    !crc32c_running(!crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &[u8] = b"123456789";

    #[test]
    fn check_values() {
        assert_eq!(crc32(CHECK), 0xcbf4_3926);
        assert_eq!(crc32c(CHECK), 0xe306_9283);
        assert_eq!(!crc32c_running(!0, CHECK), 0xe306_9283);
        assert_eq!(crc32c_append(0, CHECK), 0xe306_9283);
        assert_eq!(crc32c_append(0, &[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn any_cut_gives_the_same() {
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 0..100 {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(crc32c_append(crc32c(before), after), crc32c(&bytes));
            assert_eq!(crc32c_running(crc32c_running(7, before), after), crc32c_running(7, &bytes));
        }
    }
}
