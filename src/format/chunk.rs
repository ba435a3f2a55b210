//! An encoded chunk as it stands in a pack: codec u8, plaintext length u32, stored bytes. And the directory of a pack.

use crate::compress::Codec;
use crate::compress::compress;
use crate::compress::decompress;
use crate::crypto::Keys;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::id::ChunkId;

/// Bytes before the stored bytes of an encoded chunk.
pub const CHUNK_HEADER_BYTES: usize = 5;
/// Longest plaintext of a chunk or page.
pub const CHUNK_BYTES_MAX: u32 = 16 << 20;

/// Longest encoded chunk: what does not shrink is stored as it is.
pub const ENCODED_BYTES_MAX: u32 = CHUNK_BYTES_MAX + CHUNK_HEADER_BYTES as u32;

/// Appends an encoded chunk to `out`. Fails above [`CHUNK_BYTES_MAX`]: nobody could read it.
pub fn encode(plain: &[u8], level: i32, out: &mut Vec<u8>) -> Result<()> {
    let len = plain_len(plain.len() as u64)?;
    let start = out.len();
    out.extend_from_slice(&[0; CHUNK_HEADER_BYTES]);
    let codec = compress(plain, level, out)?;
    out[start] = match codec {
        Codec::Raw => 0,
        Codec::Zstd => 1,
    };
    out[start + 1..start + CHUNK_HEADER_BYTES].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// The plaintext of an encoded chunk, without a look at its id.
pub fn decode(encoded: &[u8]) -> Result<Vec<u8>> {
    let mut r = Reader::new(encoded);
    let codec = match r.u8("codec")? {
        0 => Codec::Raw,
        1 => Codec::Zstd,
        value => return Err(FormatError::Unknown { what: "codec", value: value.into() }),
    };
    let len = plain_len(r.u32("chunk length")?.into())?;
    Ok(decompress(codec, r.rest(), len as usize)?)
}

/// The plaintext of a chunk that must be the one named by `id`. `len` counts the bytes the id covers: all of a data
/// chunk, the front part of a page (what follows are its hints).
pub fn open(keys: &Keys, kind: ChunkKind, id: ChunkId, len: u32, encoded: &[u8]) -> Result<Vec<u8>> {
    let plain = decode(encoded)?;
    let covered = plain.get(..len as usize).ok_or(FormatError::Short { what: "chunk" })?;
    if (kind == ChunkKind::Data && covered.len() != plain.len()) || keys.chunk_id(kind, covered) != id {
        return Err(FormatError::Id);
    }
    Ok(plain)
}

/// A plaintext length within its limit.
pub(crate) fn plain_len(value: u64) -> Result<u32> {
    limited(value, CHUNK_BYTES_MAX, "chunk length")
}

/// The length of an encoded chunk within its limit.
pub(crate) fn encoded_len(value: u64) -> Result<u32> {
    limited(value, ENCODED_BYTES_MAX, "encoded chunk length")
}

fn limited(value: u64, max: u32, what: &'static str) -> Result<u32> {
    match u32::try_from(value) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(FormatError::Limit { what, value, max: max.into() }),
    }
}

/// One line of a pack's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// What the chunk holds.
    pub kind: ChunkKind,
    /// Its id and place; `hint.pack` is the pack itself.
    pub chunk: ChunkRef,
}

const PACKED_BYTES: usize = 1 + 32 + 4 + 4 + 4;

/// Directory of a pack, in the order of its chunks.
pub fn encode_directory(entries: &[Packed]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * PACKED_BYTES + 8);
    out.put_varint(entries.len() as u64);
    for Packed { kind, chunk } in entries {
        out.push(kind.byte());
        out.extend_from_slice(&chunk.id.0);
        out.extend_from_slice(&chunk.len.to_le_bytes());
        out.extend_from_slice(&chunk.hint.offset.to_le_bytes());
        out.extend_from_slice(&chunk.hint.len.to_le_bytes());
    }
    out
}

/// Reads a directory; every chunk must lie within the payload.
pub fn decode_directory(bytes: &[u8], pack: crate::id::ObjectId, payload_len: u64) -> Result<Vec<Packed>> {
    let mut r = Reader::new(bytes);
    let count = r.count(PACKED_BYTES, "pack directory")?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = read_kind(&mut r)?;
        let id = ChunkId(r.array("pack directory")?);
        let len = plain_len(r.u32("pack directory")?.into())?;
        let offset = r.u32("pack directory")?;
        let hint = crate::extent::Locator { pack, offset, len: encoded_len(r.u32("pack directory")?.into())? };
        let end = u64::from(hint.offset) + u64::from(hint.len);
        if end > payload_len {
            return Err(FormatError::Limit { what: "chunk end", value: end, max: payload_len });
        }
        entries.push(Packed { kind, chunk: ChunkRef { id, len, hint } });
    }
    r.end("pack directory")?;
    Ok(entries)
}

/// The byte that says what a chunk holds.
pub(crate) fn read_kind(r: &mut Reader<'_>) -> Result<ChunkKind> {
    let byte = r.u8("chunk kind")?;
    ChunkKind::from_byte(byte).ok_or(FormatError::Unknown { what: "chunk kind", value: byte.into() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;
    use crate::extent::Locator;
    use crate::id::ObjectId;
    use crate::id::RepositoryId;

    #[test]
    fn chunk_is_checked_against_its_id_and_kind() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]));
        let plain = b"some text some text some text some text some text".repeat(9);
        let id = keys.chunk_id(ChunkKind::Data, &plain);
        let mut encoded = Vec::new();
        encode(&plain, 3, &mut encoded).unwrap();
        assert!(encoded.len() < plain.len());
        let len = plain.len() as u32;
        assert_eq!(open(&keys, ChunkKind::Data, id, len, &encoded).unwrap(), plain);
        assert_eq!(open(&keys, ChunkKind::NodePage, id, len, &encoded), Err(FormatError::Id));
        assert_eq!(open(&keys, ChunkKind::Data, id, len - 1, &encoded), Err(FormatError::Id));
        for at in 0..encoded.len() {
            let mut bad = encoded.clone();
            bad[at] ^= 4;
            assert!(open(&keys, ChunkKind::Data, id, len, &bad).is_err(), "byte {at}");
        }
        encoded[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(decode(&encoded), Err(FormatError::Limit { .. })));
        let long = vec![0; CHUNK_BYTES_MAX as usize + 1];
        assert!(matches!(encode(&long, 1, &mut Vec::new()), Err(FormatError::Limit { .. })));
        assert!(encode(&long[1..], 1, &mut Vec::new()).is_ok());
    }

    #[test]
    fn behind_a_page_stand_its_hints_and_behind_a_chunk_stands_nothing() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]));
        let opened = |kind, covered: &[u8], len, plain: &[u8]| {
            let mut encoded = Vec::new();
            encode(plain, 3, &mut encoded).unwrap();
            open(&keys, kind, keys.chunk_id(kind, covered), len, &encoded)
        };
        for kind in [ChunkKind::NodePage, ChunkKind::ExtentPage] {
            assert_eq!(opened(kind, b"page", 4, b"page, hints").unwrap(), b"page, hints");
        }
        assert_eq!(opened(ChunkKind::Data, b"data", 4, b"data").unwrap(), b"data");
        assert_eq!(opened(ChunkKind::Data, b"data", 4, b"data, more"), Err(FormatError::Id));
        assert_eq!(opened(ChunkKind::Data, b"data", 5, b"data"), Err(FormatError::Short { what: "chunk" }));
    }

    #[test]
    fn the_longest_chunk_that_does_not_shrink_is_the_longest_encoded_one() {
        let mut noise = vec![0; CHUNK_BYTES_MAX as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let mut encoded = Vec::new();
        encode(&noise, 1, &mut encoded).unwrap();
        assert_eq!(encoded.len(), ENCODED_BYTES_MAX as usize);
        assert_eq!(encoded_len(encoded.len() as u64), Ok(ENCODED_BYTES_MAX));
        assert!(encoded_len(encoded.len() as u64 + 1).is_err());
        assert!(decode(&encoded).unwrap() == noise);
    }

    #[test]
    fn directory_round_trips_within_its_payload() {
        let pack = ObjectId([3; 16]);
        let hint = Locator { pack, offset: 10, len: 20 };
        let entries = [Packed { kind: ChunkKind::Data, chunk: ChunkRef { id: ChunkId([1; 32]), len: 99, hint } }];
        let bytes = encode_directory(&entries);
        assert_eq!(decode_directory(&bytes, pack, 30).unwrap(), entries);
        assert!(decode_directory(&bytes, pack, 29).is_err());
        assert!(decode_directory(&bytes[..bytes.len() - 1], pack, 30).is_err());
        let mut many = Vec::new();
        many.put_varint(1000);
        many.extend([0; 45 * 44]);
        let told = FormatError::Limit { what: "pack directory", value: 1000, max: 44 };
        assert_eq!(decode_directory(&many, pack, 30), Err(told));
        let mut long = entries;
        long[0].chunk.hint.len = ENCODED_BYTES_MAX + 1;
        let long = encode_directory(&long);
        assert!(matches!(decode_directory(&long, pack, 1 << 30), Err(FormatError::Limit { .. })));
    }
}
