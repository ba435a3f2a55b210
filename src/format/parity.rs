//! Parity of a pack: what it takes to compute damaged stretches of the stored object anew. Works on the sealed bytes as
//! they lie in the store, so it needs no key and tells nothing that the pack does not.
//!
//! A pack is cut into shards of equal length, all of them one Reed-Solomon code: of so many damaged shards as there is
//! parity, wherever they lie, each one comes back. A hash of every shard tells which ones are damaged. What was rebuilt is
//! only given out if the checksum that closes the pack is right; who has the keys checks more.

use crate::format::FORMAT_VERSION;
use crate::format::MAGIC;
use crate::format::sealed::CHECKSUM_BYTES;
use crate::format::sealed::PLAIN_BYTES_MAX;
use crate::format::sealed::check_prefix;
use crate::format::sealed::check_sum;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::id::ObjectId;
use crate::id::RepositoryId;
use reed_solomon_simd::ReedSolomonDecoder;
use reed_solomon_simd::ReedSolomonEncoder;
use std::ops::Range;

const ALGORITHM: u8 = 1;
/// Length of the front of the object, before the hashes.
const FRONT_BYTES: usize = 80;
/// Part of a BLAKE3 that tells a damaged shard.
const HASH_BYTES: usize = 8;
/// A shard of a pack up to [`SMALL_PACK_BYTES`]: what a disk loses at once.
const SHARD_BYTES_MIN: usize = 4 << 10;
/// A shard of a longer pack.
const SHARD_BYTES_TYPICAL: usize = 16 << 10;
const SMALL_PACK_BYTES: usize = 8 << 20;
/// Shards are a multiple of this, so that a code over long shards is one over their columns.
const SHARD_BYTES_STEP: usize = 64;
const SHARD_BYTES_MAX: usize = 1 << 20;
/// Damaged shards of a small pack that can be rebuilt, at the least.
const SPARE_MIN: usize = 4;
/// Shards of a pack, and as many of parity, at the most.
const SHARDS_MAX: usize = 32 << 10;
/// Columns of shards that are worked on at once: bounds the memory to this for each shard.
const COLUMN_BYTES: usize = 2 << 10;

/// How much parity there is: thousandths of the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerMille(pub u16);

impl PerMille {
    /// What a folder gets unless something else is asked for.
    pub const TYPICAL: PerMille = PerMille(20);
}

/// Why a pack cannot be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParityError {
    /// The parity object itself is damaged.
    #[error("its parity is damaged, too")]
    Parity(#[source] FormatError),
    /// More is damaged than there is parity for.
    #[error("{damaged} stretches of it are damaged, and there is parity for {spare}")]
    TooMuch {
        /// Shards that are damaged.
        damaged: usize,
        /// Shards of parity that are whole.
        spare: usize,
    },
    /// What came out is not the pack that went in.
    #[error("what its parity gives is not the pack")]
    Rebuilt(#[source] FormatError),
}

/// Makes the parity object of a pack.
pub fn encode(repository: RepositoryId, pack: ObjectId, object: &[u8], amount: PerMille) -> Vec<u8> {
    let layout = Layout::of(object.len(), amount);
    let recovery = layout.recovery(object);
    let mut out = Vec::with_capacity(layout.table_end() + recovery.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&[ALGORITHM, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&repository.0);
    out.extend_from_slice(&pack.0);
    out.extend_from_slice(&(object.len() as u64).to_le_bytes());
    for number in [layout.shard, layout.count, layout.spare] {
        out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    out.resize(FRONT_BYTES, 0);
    for index in 0..layout.count {
        out.extend_from_slice(&layout.hash(object, index));
    }
    recovery.chunks(layout.shard).for_each(|bytes| out.extend_from_slice(&hash_of(bytes)));
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    out.extend_from_slice(&recovery);
    out
}

/// Checks a parity object by itself: every byte of it.
pub fn check(repository: Option<RepositoryId>, pack: ObjectId, parity: &[u8]) -> Result<()> {
    let table = Table::read(repository, pack, parity)?;
    let expected = table.layout.table_end() + table.layout.spare * table.layout.shard;
    if parity.len() > expected {
        return Err(FormatError::Length { expected: expected as u64, found: parity.len() as u64 });
    }
    if table.spares().count() < table.layout.spare { Err(FormatError::Checksum) } else { Ok(()) }
}

/// Computes a pack anew from what is left of it. What could not be read is zeros, or missing at the end.
pub fn rebuild(
    repository: RepositoryId,
    pack: ObjectId,
    damaged: &[u8],
    parity: &[u8],
) -> std::result::Result<Vec<u8>, ParityError> {
    let table = Table::read(Some(repository), pack, parity).map_err(ParityError::Parity)?;
    let layout = table.layout;
    let mut object = damaged.to_vec();
    object.resize(layout.len, 0);
    let is_bad = |index: &usize| table.hash(*index) != Some(&layout.hash(&object, *index)[..]);
    let bad: Vec<usize> = (0..layout.count).filter(is_bad).collect();
    let spares: Vec<usize> = table.spares().take(bad.len()).collect();
    if spares.len() < bad.len() {
        return Err(ParityError::TooMuch { damaged: bad.len(), spare: table.spares().count() });
    }
    if !bad.is_empty() {
        table.restore(&mut object, &bad, &spares);
    }
    check_sum(&object).map_err(ParityError::Rebuilt)?;
    Ok(object)
}

/// How a pack is cut.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Bytes of the pack.
    len: usize,
    /// Bytes of a shard.
    shard: usize,
    /// Shards of the pack; the last is filled up with zeros.
    count: usize,
    /// Shards of parity.
    spare: usize,
}

impl Layout {
    /// How a pack of this length is cut.
    fn of(len: usize, amount: PerMille) -> Layout {
        let mut shard = if len <= SMALL_PACK_BYTES { SHARD_BYTES_MIN } else { SHARD_BYTES_TYPICAL };
        while len.div_ceil(shard) > SHARDS_MAX {
            shard *= 2;
        }
        let count = len.div_ceil(shard).max(1);
        let spare = (count * usize::from(amount.0)).div_ceil(1000).clamp(SPARE_MIN, SHARDS_MAX);
        Layout { len, shard, count, spare }
    }

    fn table_end(&self) -> usize {
        FRONT_BYTES + (self.count + self.spare) * HASH_BYTES + CHECKSUM_BYTES
    }

    fn columns(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.shard).step_by(COLUMN_BYTES).map(move |at| at..(at + COLUMN_BYTES).min(self.shard))
    }

    /// Columns of a shard, as far as the pack has them.
    fn piece(self, index: usize, columns: &Range<usize>) -> Range<usize> {
        let at = |column: usize| (index * self.shard + column).min(self.len);
        at(columns.start)..at(columns.end)
    }

    fn hash(&self, object: &[u8], index: usize) -> [u8; HASH_BYTES] {
        let there = object.get(self.piece(index, &(0..self.shard))).unwrap_or_default();
        if there.len() == self.shard {
            return hash_of(there);
        }
        let mut whole = there.to_vec();
        whole.resize(self.shard, 0);
        hash_of(&whole)
    }

    fn recovery(self, object: &[u8]) -> Vec<u8> {
        let mut out = vec![0; self.spare * self.shard];
        let mut buffer = Vec::with_capacity(COLUMN_BYTES);
        for columns in self.columns() {
            let encoder = ReedSolomonEncoder::new(self.count, self.spare, columns.len());
            let mut encoder = encoder.expect("counts and lengths are within what the code supports");
            for index in 0..self.count {
                fill(&mut buffer, object.get(self.piece(index, &columns)), columns.len());
                encoder.add_original_shard(&buffer).expect("as many and as long as was said");
            }
            let encoded = encoder.encode().expect("all shards are there");
            for (index, bytes) in encoded.recovery_iter().enumerate() {
                let start = index * self.shard + columns.start;
                out[start..start + bytes.len()].copy_from_slice(bytes);
            }
        }
        out
    }
}

fn fill(buffer: &mut Vec<u8>, bytes: Option<&[u8]>, len: usize) {
    buffer.clear();
    buffer.extend_from_slice(bytes.unwrap_or_default());
    buffer.resize(len, 0);
}

fn hash_of(shard: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&blake3::hash(shard).as_bytes()[..HASH_BYTES]);
    hash
}

/// A parity object whose front and hashes are whole.
struct Table<'a> {
    layout: Layout,
    hashes: &'a [u8],
    recovery: &'a [u8],
}

impl<'a> Table<'a> {
    fn read(repository: Option<RepositoryId>, pack: ObjectId, bytes: &'a [u8]) -> Result<Table<'a>> {
        let mut r = Reader::new(bytes);
        check_prefix(&mut r)?;
        let algorithm = r.u8("algorithm")?;
        if algorithm != ALGORITHM {
            return Err(FormatError::Unknown { what: "algorithm", value: algorithm.into() });
        }
        let mut reserved = r.array::<5>("parity")?.iter().fold(0, |sum, byte| sum | u64::from(*byte));
        let (of, id) = (RepositoryId(r.array("parity")?), ObjectId(r.array("parity")?));
        let len = r.u64("parity")?;
        let (shard, count, spare) = (r.u32("parity")?, r.u32("parity")?, r.u32("parity")?);
        reserved |= r.array::<12>("parity")?.iter().fold(0, |sum, byte| sum | u64::from(*byte));
        if reserved != 0 {
            return Err(FormatError::Unknown { what: "reserved field", value: reserved });
        }
        if repository.is_some_and(|repository| repository != of) {
            return Err(FormatError::Mismatch { what: "repository" });
        }
        if id != pack {
            return Err(FormatError::Mismatch { what: "object id" });
        }
        let layout = Layout::checked(len, shard, count, spare)?;
        let table = bytes.get(..layout.table_end()).ok_or(FormatError::Short { what: "parity" })?;
        check_sum(table)?;
        let hashes = &table[FRONT_BYTES..table.len() - CHECKSUM_BYTES];
        Ok(Table { layout, hashes, recovery: &bytes[table.len()..] })
    }

    fn hash(&self, index: usize) -> Option<&[u8]> {
        self.hashes.get(index * HASH_BYTES..(index + 1) * HASH_BYTES)
    }

    fn spare(&self, index: usize) -> Option<&[u8]> {
        self.recovery.get(index * self.layout.shard..(index + 1) * self.layout.shard)
    }

    /// Shards of parity that are whole.
    fn spares(&self) -> impl Iterator<Item = usize> + '_ {
        let is_whole = |index: &usize| {
            let hash = self.spare(*index).map(hash_of);
            hash.is_some_and(|hash| self.hash(self.layout.count + index) == Some(&hash[..]))
        };
        (0..self.layout.spare).filter(is_whole)
    }

    /// Puts the bad shards right. There are as many spares as bad ones.
    fn restore(&self, object: &mut [u8], bad: &[usize], spares: &[usize]) {
        let layout = self.layout;
        let mut buffer = Vec::with_capacity(COLUMN_BYTES);
        for columns in layout.columns() {
            let decoder = ReedSolomonDecoder::new(layout.count, layout.spare, columns.len());
            let mut decoder = decoder.expect("counts and lengths are within what the code supports");
            for index in (0..layout.count).filter(|index| bad.binary_search(index).is_err()) {
                fill(&mut buffer, object.get(layout.piece(index, &columns)), columns.len());
                decoder.add_original_shard(index, &buffer).expect("each once, and as long as was said");
            }
            for index in spares {
                let bytes = self.spare(*index).and_then(|shard| shard.get(columns.clone())).unwrap_or_default();
                decoder.add_recovery_shard(*index, bytes).expect("each once, and as long as was said");
            }
            let restored = decoder.decode().expect("as many shards as the pack has");
            for (index, bytes) in restored.restored_original_iter() {
                let piece = layout.piece(index, &columns);
                let there = bytes.get(..piece.len()).unwrap_or_default();
                object[piece].copy_from_slice(there);
            }
        }
    }
}

impl Layout {
    fn checked(len: u64, shard: u32, count: u32, spare: u32) -> Result<Layout> {
        let limit = |what, value: u64, max: u64| match value > max {
            true => Err(FormatError::Limit { what, value, max }),
            false => Ok(value as usize),
        };
        let layout = Layout {
            len: limit("length of the pack", len, PLAIN_BYTES_MAX)?,
            shard: limit("length of a shard", shard.into(), SHARD_BYTES_MAX as u64)?,
            count: limit("number of shards", count.into(), SHARDS_MAX as u64)?,
            spare: limit("shards of parity", spare.into(), SHARDS_MAX as u64)?,
        };
        let is_even = layout.shard > 0 && layout.shard.is_multiple_of(SHARD_BYTES_STEP);
        if !is_even || layout.spare == 0 || layout.len.div_ceil(layout.shard).max(1) != layout.count {
            return Err(FormatError::Mismatch { what: "number of shards" });
        }
        Ok(layout)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const REPOSITORY: RepositoryId = RepositoryId([7; 16]);
    const PACK: ObjectId = ObjectId([9; 16]);

    /// Something that ends as every object does.
    fn pack(len: usize) -> Vec<u8> {
        let mut out = vec![0; len - CHECKSUM_BYTES];
        blake3::Hasher::new().update(&(len as u64).to_le_bytes()).finalize_xof().fill(&mut out);
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    fn parity(object: &[u8]) -> Vec<u8> {
        encode(REPOSITORY, PACK, object, PerMille::TYPICAL)
    }

    fn rebuilt(object: &[u8], parity: &[u8]) -> std::result::Result<Vec<u8>, ParityError> {
        rebuild(REPOSITORY, PACK, object, parity)
    }

    #[test]
    fn as_much_as_there_is_parity_for_comes_back_wherever_it_is() {
        for len in [32, 100, 4096, 5000, 70_000, 3 << 20, (9 << 20) + 5] {
            let object = pack(len);
            let parity = parity(&object);
            check(Some(REPOSITORY), PACK, &parity).unwrap();
            assert_eq!(rebuilt(&object, &parity).unwrap(), object);
            let layout = Table::read(None, PACK, &parity).unwrap().layout;
            for step in [1, 7, 31] {
                let mut bad = object.clone();
                let shards: std::collections::BTreeSet<usize> =
                    (0..layout.spare).map(|n| (n * step + 3) % layout.count).collect();
                shards.iter().for_each(|index| bad[layout.piece(*index, &(0..1)).start] ^= 1);
                assert!(rebuilt(&bad, &parity).unwrap() == object, "{len} {step}");
            }
            let cut = object.len() - object.len().min(layout.shard * (layout.spare - 1));
            assert!(rebuilt(&object[..cut], &parity).unwrap() == object, "{len} cut");
            assert!(rebuilt(&[&object[..], b"more"].concat(), &parity).unwrap() == object);
        }
    }

    /// Programs of different age must agree on it.
    #[test]
    fn the_last_shard_is_hashed_with_the_zeros_that_fill_it_up() {
        let object = pack(5000);
        let whole = parity(&object);
        let hashes = Table::read(None, PACK, &whole).unwrap().hashes;
        let last = [&object[4096..], &[0; 3192]].concat();
        assert_eq!(hashes[..16], [hash_of(&object[..4096]), hash_of(&last)].concat());
    }

    #[test]
    fn every_pack_is_cut_into_as_many_shards_as_a_reader_takes() {
        let cut = |len: usize| {
            let Layout { shard, count, spare, .. } = Layout::of(len, PerMille::TYPICAL);
            let number = |number: usize| u32::try_from(number).unwrap();
            assert!(Layout::checked(len as u64, number(shard), number(count), number(spare)).is_ok(), "{len}");
            (shard >> 10, count, spare)
        };
        assert_eq!((cut(0), cut(8 << 20)), ((4, 1, 4), (4, 2048, 41)));
        assert_eq!((cut((8 << 20) + 1), cut(32 << 20)), ((16, 513, 11), (16, 2048, 41)));
        // Longer shards, and not more of them.
        assert_eq!((cut(512 << 20), cut((512 << 20) + 1)), ((16, 32_768, 656), (32, 16_385, 328)));
        assert_eq!(cut(1 << 30), (32, 32_768, 656));
    }

    #[test]
    fn more_damage_than_parity_is_told() {
        let object = pack(3 << 20);
        let parity = parity(&object);
        let layout = Table::read(None, PACK, &parity).unwrap().layout;
        assert_eq!((layout.shard, layout.count, layout.spare), (4096, 768, 16));
        let mut bad = object.clone();
        (0..=16).for_each(|n| bad[n * 40_960] ^= 1);
        assert_eq!(rebuilt(&bad, &parity), Err(ParityError::TooMuch { damaged: 17, spare: 16 }));
        // Parity that is damaged itself helps as far as it is whole.
        let mut worn = parity.clone();
        worn[layout.table_end()] ^= 1;
        assert_eq!(check(None, PACK, &worn), Err(FormatError::Checksum));
        bad[0] ^= 1;
        assert_eq!(rebuilt(&bad, &worn), Err(ParityError::TooMuch { damaged: 16, spare: 15 }));
        bad[40_960] ^= 1;
        assert!(rebuilt(&bad, &worn).unwrap() == object);
        // The last shards of parity are missing.
        assert!(rebuilt(&bad, &parity[..parity.len() - 4096]).unwrap() == object);
    }

    #[test]
    fn a_damaged_or_hostile_table_is_refused() {
        let object = pack(20_000);
        let whole = parity(&object);
        let end = Table::read(None, PACK, &whole).unwrap().layout.table_end();
        for at in 0..end {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            assert!(matches!(rebuilt(&object, &bad), Err(ParityError::Parity(_))), "byte {at}");
            assert!(check(Some(REPOSITORY), PACK, &whole[..at]).is_err());
        }
        // What is reserved is zero, and no sum of it hides that it is not.
        for reserved in [11..16, 68..80] {
            for at in [reserved.start..reserved.start + 1, reserved.start..reserved.start + 2, reserved] {
                let mut bad = whole.clone();
                bad[at].fill(1);
                let refused = Table::read(None, PACK, &bad).err();
                assert!(matches!(refused, Some(FormatError::Unknown { what: "reserved field", .. })), "{refused:?}");
            }
        }
        assert!(check(Some(REPOSITORY), ObjectId([8; 16]), &whole).is_err());
        assert!(check(Some(RepositoryId([8; 16])), PACK, &whole).is_err());
        for (len, shard, count, spare) in [
            (1 << 40, 4096, 1, 1),
            (100, 0, 1, 1),
            (100, 65, 2, 1),
            (100, 64, 1, 1),
            (100, 64, 2, 0),
            (1 << 29, 64, 1 << 23, 1),
        ] {
            assert!(Layout::checked(len, shard, count, spare).is_err(), "{len} {shard} {count} {spare}");
        }
        let (shard, most) = (SHARD_BYTES_MAX as u32, SHARDS_MAX as u32);
        let count = PLAIN_BYTES_MAX.div_ceil(shard.into()) as u32;
        assert!(Layout::checked(PLAIN_BYTES_MAX, shard, count, most).is_ok());
        assert!(Layout::checked(PLAIN_BYTES_MAX + 1, shard, count + 1, most).is_err());
        assert!(Layout::checked(100, shard + SHARD_BYTES_STEP as u32, 1, 1).is_err());
        assert!(Layout::checked(64 * u64::from(most), 64, most, 1).is_ok());
        assert!(Layout::checked(64 * u64::from(most + 1), 64, most + 1, 1).is_err());
        assert!(Layout::checked(100, 64, 2, most + 1).is_err());
    }
}
