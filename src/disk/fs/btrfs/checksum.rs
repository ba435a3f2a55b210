//! Checksums of nodes and data, and the hash of names.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::crc32::crc32c;
use crate::disk::crc32::crc32c_running;
use blake2::Blake2b256;
use blake2::Digest;
use sha2::Sha256;
use twox_hash::XxHash64;

/// Room for every kind of checksum.
pub(super) const LEN_MAX: usize = 32;

/// What a file system computes its checksums with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Crc32c,
    Xxhash64,
    Sha256,
    Blake2b256,
}

impl Checksum {
    /// `csum_type` of the superblock.
    pub(super) fn of_type(number: u16) -> Result<Checksum> {
        match number {
            0 => Ok(Checksum::Crc32c),
            1 => Ok(Checksum::Xxhash64),
            2 => Ok(Checksum::Sha256),
            3 => Ok(Checksum::Blake2b256),
            _ => Err(Error::unsupported(format!("Btrfs checksum type {number}"))),
        }
    }

    /// Bytes of a checksum in the checksum tree.
    pub(super) fn len(self) -> usize {
        match self {
            Checksum::Crc32c => 4,
            Checksum::Xxhash64 => 8,
            Checksum::Sha256 | Checksum::Blake2b256 => 32,
        }
    }

    /// Whether `stored` begins with the checksum of `bytes`.
    pub(super) fn matches(self, bytes: &[u8], stored: &[u8]) -> bool {
        match self {
            Checksum::Crc32c => stored.starts_with(&crc32c(bytes).to_le_bytes()),
            Checksum::Xxhash64 => stored.starts_with(&XxHash64::oneshot(0, bytes).to_le_bytes()),
            Checksum::Sha256 => stored.starts_with(&Sha256::digest(bytes)),
            Checksum::Blake2b256 => stored.starts_with(&Blake2b256::digest(bytes)),
        }
    }
}

/// `btrfs_name_hash`: CRC-32C from another start, not inverted at the end.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    crc32c_running(0xffff_fffe, name).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_as_in_the_format() {
        assert_eq!(name_hash(b"default"), 0x8dbf_c2d2);
        assert_eq!(name_hash(b"vrsvxkqp"), name_hash(b"edknxurb"));
    }

    #[test]
    fn every_type_knows_its_own() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        for (number, sum) in [
            (0, "839206e3"),
            (1, "990977adf52cbc44"),
            (2, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (3, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"),
        ] {
            let checksum = Checksum::of_type(number).unwrap();
            let text: &[u8] = if number == 0 { b"123456789" } else { b"abc" };
            assert_eq!(hex(sum).len(), checksum.len());
            assert!(checksum.matches(text, &hex(sum)), "{number}");
            assert!(!checksum.matches(b"other", &hex(sum)));
        }
        assert!(Checksum::of_type(4).is_err());
    }
}
