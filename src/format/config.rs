//! The clear object `config`: what everyone must know before a password is asked for. Nothing in it is secret; its
//! hash is kept in every password slot, so a changed one is noticed.

use crate::chunker::Sizes;
use crate::format::FORMAT_VERSION;
use crate::format::MAGIC;
use crate::format::sealed::CHECKSUM_BYTES;
use crate::format::sealed::check_prefix;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::id::RepositoryId;

/// Length of the object.
pub const CONFIG_BYTES: usize = 96;
/// FastCDC with a secret gear table, as in `chunker`.
const CHUNKER_GEAR: u8 = 1;

/// The parameters of a repository, fixed when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Which repository.
    pub repository: RepositoryId,
    /// Chunk sizes for file contents.
    pub sizes: Sizes,
    /// When it was made, seconds since 1970.
    pub created_secs: i64,
    /// True if the store was found to enforce create-only puts.
    pub create_only: bool,
}

impl Config {
    /// The object.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CONFIG_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[CHUNKER_GEAR, u8::from(self.create_only), 0, 0, 0, 0]);
        out.extend_from_slice(&self.repository.0);
        for size in [self.sizes.min, self.sizes.avg, self.sizes.max] {
            out.extend_from_slice(&size.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.created_secs.to_le_bytes());
        out.resize(CONFIG_BYTES - CHECKSUM_BYTES, 0);
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    /// Reads the object. A newer version is recognised before the checksum is looked at.
    pub fn decode(bytes: &[u8]) -> Result<Config> {
        let mut r = Reader::new(bytes);
        check_prefix(&mut r)?;
        if bytes.len() != CONFIG_BYTES {
            return Err(FormatError::Length { expected: CONFIG_BYTES as u64, found: bytes.len() as u64 });
        }
        crate::format::sealed::check_sum(bytes)?;
        let chunker = r.u8("chunker")?;
        if chunker != CHUNKER_GEAR {
            return Err(FormatError::Unknown { what: "chunker", value: chunker.into() });
        }
        let flags = r.u8("probe result")?;
        if flags > 1 {
            return Err(FormatError::Unknown { what: "probe result", value: flags.into() });
        }
        r.reserved(4)?;
        let repository = RepositoryId(r.array("repository")?);
        let sizes = Sizes { min: r.u32("sizes")?, avg: r.u32("sizes")?, max: r.u32("sizes")? };
        if !sizes.is_valid() {
            return Err(FormatError::Unknown { what: "chunk sizes", value: sizes.avg.into() });
        }
        r.reserved(4)?;
        let created_secs = r.u64("creation time")?.cast_signed();
        r.reserved(8)?;
        Ok(Config { repository, sizes, created_secs, create_only: flags == 1 })
    }

    /// What the password slots remember of this object.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.encode()).as_bytes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_byte_is_found() {
        let config = Config {
            repository: RepositoryId([5; 16]),
            sizes: Sizes::DEFAULT,
            created_secs: 1_800_000_000,
            create_only: true,
        };
        let bytes = config.encode();
        assert_eq!(Config::decode(&bytes).unwrap(), config);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Config::decode(&bad).is_err());
            assert!(Config::decode(&bytes[..at]).is_err());
        }
        for reserved in [12, 15, 44, 47, 56, 63] {
            let mut bad = bytes[..CONFIG_BYTES - CHECKSUM_BYTES].to_vec();
            bad[reserved] = 1;
            let checksum = blake3::hash(&bad);
            bad.extend_from_slice(checksum.as_bytes());
            assert_eq!(Config::decode(&bad), Err(FormatError::Unknown { what: "reserved field", value: 1 }));
        }
        // What was found out about the store is a yes or a no.
        let no = Config { create_only: false, ..config };
        assert_eq!(Config::decode(&no.encode()).unwrap(), no);
        let mut bad = bytes[..CONFIG_BYTES - CHECKSUM_BYTES].to_vec();
        bad[11] = 2;
        bad.extend_from_slice(blake3::hash(&bad).as_bytes());
        assert_eq!(Config::decode(&bad), Err(FormatError::Unknown { what: "probe result", value: 2 }));
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Config::decode(&newer), Err(FormatError::Newer { found: 2, known: 1 }));
    }
}
