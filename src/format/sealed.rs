//! The one construction of every sealed object: pack, index, record.
//!
//! A clear header of 128 bytes, the plaintext in segments of 64 KiB each sealed under the object's own key, a clear
//! checksum of 32 bytes. Any segment can be opened alone; truncation, reordering, splicing and swapping all fail.

use crate::crypto::Keys;
use crate::crypto::aead::Aead;
use crate::crypto::aead::NONCE_BYTES;
use crate::crypto::aead::TAG_BYTES;
use crate::format::FORMAT_VERSION;
use crate::format::MAGIC;
use crate::format::draft::Draft;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::id::ObjectId;
use crate::id::RepositoryId;
use std::ops::Range;
use subtle::ConstantTimeEq;

/// Length of the clear header.
pub const HEADER_BYTES: usize = 128;
/// Plaintext bytes of a segment (the last one may have fewer).
pub const SEGMENT_BYTES: usize = 64 << 10;
/// Bytes a full segment takes in the object.
pub const SEALED_SEGMENT_BYTES: usize = SEGMENT_BYTES + TAG_BYTES;
/// Length of the clear checksum at the end.
pub const CHECKSUM_BYTES: usize = 32;
/// Bytes that close the plaintext: payload length u64, directory length u64.
pub const TRAILER_BYTES: usize = 16;
/// Longest plaintext of an object.
pub const PLAIN_BYTES_MAX: u64 = 1 << 30;
/// The only algorithm of version 1: AES-256-GCM segments, BLAKE3 key derivation.
const ALGORITHM: u8 = 1;

/// The shortest object whose plaintext reaches at least so far: what is shorter cannot hold it.
pub fn object_len_min(plain_end: u64) -> u64 {
    let tags = plain_end.div_ceil(SEGMENT_BYTES as u64).saturating_mul(TAG_BYTES as u64);
    plain_end.saturating_add(tags).saturating_add((HEADER_BYTES + TRAILER_BYTES + CHECKSUM_BYTES) as u64)
}

/// What a sealed object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// Chunks of file content.
    DataPack,
    /// Pages.
    MetaPack,
    /// Where chunks lie.
    Index,
    /// A link of a writer's chain in the log.
    Record,
}

impl ObjectType {
    /// The byte of the format.
    pub fn byte(self) -> u8 {
        match self {
            ObjectType::DataPack => 1,
            ObjectType::MetaPack => 2,
            ObjectType::Index => 3,
            ObjectType::Record => 4,
        }
    }

    fn from_byte(value: u8) -> Result<ObjectType> {
        [ObjectType::DataPack, ObjectType::MetaPack, ObjectType::Index, ObjectType::Record]
            .into_iter()
            .find(|t| t.byte() == value)
            .ok_or(FormatError::Unknown { what: "object type", value: value.into() })
    }
}

/// The clear header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub object_type: ObjectType,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Its own id; packs and indexes are named by it.
    pub object: ObjectId,
    /// Makes its key unique.
    pub salt: [u8; 32],
    /// Commits it to its key.
    pub commitment: [u8; 32],
    /// Plaintext length, padding and trailer included.
    pub plain_len: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[ALGORITHM, self.object_type.byte(), 0, 0, 0, 0]);
        out.extend_from_slice(&self.repository.0);
        out.extend_from_slice(&self.object.0);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&self.plain_len.to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header[..out.len()].copy_from_slice(&out);
        header
    }

    /// Reads and checks a header. Reserved bytes must be zero.
    pub fn decode(bytes: &[u8]) -> Result<Header> {
        let mut r = Reader::new(bytes);
        check_prefix(&mut r)?;
        let algorithm = r.u8("algorithm")?;
        if algorithm != ALGORITHM {
            return Err(FormatError::Unknown { what: "algorithm", value: algorithm.into() });
        }
        let object_type = ObjectType::from_byte(r.u8("object type")?)?;
        let reserved = r.u32("header")?;
        let header = Header {
            object_type,
            repository: RepositoryId(r.array("header")?),
            object: ObjectId(r.array("header")?),
            salt: r.array("header")?,
            commitment: r.array("header")?,
            plain_len: r.u64("header")?,
        };
        let reserved = u64::from(reserved) | r.u64("header")?;
        if reserved != 0 {
            return Err(FormatError::Unknown { what: "reserved field", value: reserved });
        }
        if header.plain_len > PLAIN_BYTES_MAX {
            return Err(FormatError::Limit { what: "object length", value: header.plain_len, max: PLAIN_BYTES_MAX });
        }
        if header.plain_len < TRAILER_BYTES as u64 {
            return Err(FormatError::Short { what: "object" });
        }
        Ok(header)
    }

    /// Number of segments.
    pub fn segments(&self) -> u64 {
        self.plain_len.div_ceil(SEGMENT_BYTES as u64)
    }

    /// Length of the whole object.
    pub fn object_len(&self) -> u64 {
        self.plain_len + self.segments() * TAG_BYTES as u64 + (HEADER_BYTES + CHECKSUM_BYTES) as u64
    }

    /// Plaintext bytes of a segment.
    pub fn segment_len(&self, index: u64) -> usize {
        let start = index * SEGMENT_BYTES as u64;
        (self.plain_len.saturating_sub(start) as usize).min(SEGMENT_BYTES)
    }

    /// Where these segments lie in the object.
    pub fn segment_range(&self, segments: Range<u64>) -> Range<u64> {
        let at = |index: u64| HEADER_BYTES as u64 + index * SEALED_SEGMENT_BYTES as u64;
        at(segments.start)..at(segments.end).min(self.object_len() - CHECKSUM_BYTES as u64)
    }
}

/// Magic and version, common to everything in a repository that has a clear header.
pub(crate) fn check_prefix(r: &mut Reader<'_>) -> Result<()> {
    if r.array::<8>("magic")? != *MAGIC {
        return Err(FormatError::Magic);
    }
    let found = r.u16("version")?;
    if found != FORMAT_VERSION {
        return Err(FormatError::Newer { found, known: FORMAT_VERSION });
    }
    Ok(())
}

/// Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", 2019):
/// keeps log2(log2(len)) + 1 significant bits, so a length tells little and padding is below 12 %, 3 % at 32 MiB.
pub fn padded_len(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let significant = exponent.ilog2() + 1;
    let mask = (1u64 << exponent.saturating_sub(significant)) - 1;
    (len + mask) & !mask
}

pub(super) fn nonce(index: u64, last: bool) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&index.to_le_bytes());
    nonce[11] = u8::from(last);
    nonce
}

/// Seals `payload || directory` into an object of at least `floor` plaintext bytes.
pub fn seal(
    keys: &Keys,
    object_type: ObjectType,
    object: ObjectId,
    payload: &[u8],
    directory: &[u8],
    floor: u64,
) -> Vec<u8> {
    let mut draft = Draft::with_room(payload.len() + directory.len() + TRAILER_BYTES);
    draft.append(payload);
    draft.seal(keys, object_type, object, directory, floor)
}

/// Opens segments of one object.
pub struct Opener {
    header: Header,
    aad: [u8; 32],
    aead: Aead,
}

impl Opener {
    /// Checks the clear header against what is expected and the key against its commitment.
    pub fn new(keys: &Keys, object_type: ObjectType, object: Option<ObjectId>, header: &[u8]) -> Result<Opener> {
        let clear = header.get(..HEADER_BYTES).ok_or(FormatError::Short { what: "header" })?;
        let header = Header::decode(clear)?;
        if header.repository != keys.repository() {
            return Err(FormatError::Mismatch { what: "repository" });
        }
        if header.object_type != object_type {
            return Err(FormatError::Mismatch { what: "object type" });
        }
        if object.is_some_and(|object| object != header.object) {
            return Err(FormatError::Mismatch { what: "object id" });
        }
        let key = keys.object(object_type.byte(), header.object, &header.salt);
        if !bool::from(key.commitment.ct_eq(&header.commitment)) {
            return Err(FormatError::Commitment);
        }
        Ok(Opener { header, aad: *blake3::hash(clear).as_bytes(), aead: Aead::new(&key.key) })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Opens one sealed segment in place and returns its plaintext.
    pub fn open<'a>(&self, index: u64, sealed: &'a mut [u8]) -> Result<&'a [u8]> {
        if index >= self.header.segments() || sealed.len() != self.header.segment_len(index) + TAG_BYTES {
            return Err(FormatError::Short { what: "segment" });
        }
        let last = index + 1 == self.header.segments();
        match self.aead.open(nonce(index, last), &self.aad, sealed) {
            Ok(plain) => Ok(plain),
            Err(_) => Err(FormatError::Segment { index }),
        }
    }
}

/// The plaintext of a whole object.
pub struct Opened {
    /// Its header.
    pub header: Header,
    plain: Vec<u8>,
    payload_len: usize,
    directory_len: usize,
}

impl Opened {
    /// The content proper.
    pub fn payload(&self) -> &[u8] {
        &self.plain[..self.payload_len]
    }

    /// What lists the content.
    pub fn directory(&self) -> &[u8] {
        &self.plain[self.payload_len..self.payload_len + self.directory_len]
    }
}

/// Checks the clear checksum of a whole object: needs no key.
pub fn check_sum(object: &[u8]) -> Result<()> {
    let (body, checksum) = object.split_last_chunk::<CHECKSUM_BYTES>().ok_or(FormatError::Short { what: "object" })?;
    if blake3::hash(body).as_bytes() != checksum { Err(FormatError::Checksum) } else { Ok(()) }
}

/// Opens a whole object: header, every segment, trailer. The checksum is not looked at: the tags say more.
pub fn open(keys: &Keys, object_type: ObjectType, object: Option<ObjectId>, bytes: &[u8]) -> Result<Opened> {
    let opener = Opener::new(keys, object_type, object, bytes)?;
    let header = opener.header;
    if header.object_len() != bytes.len() as u64 {
        return Err(FormatError::Length { expected: header.object_len(), found: bytes.len() as u64 });
    }
    let body = &bytes[HEADER_BYTES..bytes.len() - CHECKSUM_BYTES];
    let mut plain = Vec::with_capacity(header.plain_len as usize + TAG_BYTES);
    for (index, sealed) in (0..).zip(body.chunks(SEALED_SEGMENT_BYTES)) {
        let start = plain.len();
        plain.extend_from_slice(sealed);
        let len = opener.open(index, &mut plain[start..])?.len();
        plain.truncate(start + len);
    }
    let (front, trailer) = plain.split_last_chunk().ok_or(FormatError::Short { what: "trailer" })?;
    let (payload_len, directory_len) = read_trailer(trailer)?;
    if payload_len.checked_add(directory_len).is_none_or(|total| total > front.len() as u64) {
        return Err(FormatError::Limit { what: "payload length", value: payload_len, max: front.len() as u64 });
    }
    let (payload_len, directory_len) = (payload_len as usize, directory_len as usize);
    Ok(Opened { header, plain, payload_len, directory_len })
}

/// Lengths of payload and directory. The caller bounds them by what is there.
pub fn read_trailer(trailer: &[u8; TRAILER_BYTES]) -> Result<(u64, u64)> {
    let mut r = Reader::new(trailer);
    Ok((r.u64("trailer")?, r.u64("trailer")?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;

    fn keys() -> Keys {
        Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]))
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&(len as u64).to_le_bytes()).finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn round_trip_at_every_boundary() {
        for len in [0, 1, 100, SEGMENT_BYTES - 17, SEGMENT_BYTES - 16, SEGMENT_BYTES, 3 * SEGMENT_BYTES + 5] {
            let payload = noise(len);
            let object = seal(&keys(), ObjectType::DataPack, ObjectId([9; 16]), &payload, b"directory", 0);
            check_sum(&object).unwrap();
            let opened = open(&keys(), ObjectType::DataPack, Some(ObjectId([9; 16])), &object).unwrap();
            assert_eq!(opened.payload(), payload);
            assert_eq!(opened.directory(), b"directory");
            assert_eq!(opened.header.object_len(), object.len() as u64);
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_found() {
        let object = seal(&keys(), ObjectType::Record, ObjectId([9; 16]), &noise(300), b"", 0);
        for at in 0..object.len() {
            let mut bad = object.clone();
            bad[at] ^= 0x10;
            assert!(check_sum(&bad).is_err());
            if at < object.len() - CHECKSUM_BYTES {
                assert!(open(&keys(), ObjectType::Record, None, &bad).is_err(), "byte {at}");
            }
            assert!(open(&keys(), ObjectType::Record, None, &object[..at]).is_err());
        }
        assert!(matches!(
            open(&keys(), ObjectType::Index, None, &object),
            Err(FormatError::Mismatch { what: "object type" })
        ));
        let others = Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([2; 32]));
        assert!(matches!(open(&others, ObjectType::Record, None, &object), Err(FormatError::Commitment)));
    }

    #[test]
    fn segments_cannot_change_places() {
        let mut object = seal(&keys(), ObjectType::DataPack, ObjectId([9; 16]), &noise(3 * SEGMENT_BYTES), b"", 0);
        let (first, second) = object[HEADER_BYTES..].split_at_mut(SEALED_SEGMENT_BYTES);
        first.swap_with_slice(&mut second[..SEALED_SEGMENT_BYTES]);
        assert!(matches!(open(&keys(), ObjectType::DataPack, None, &object), Err(FormatError::Segment { index: 0 })));
        // Nor are there more of them than the header says, or of another length.
        let opener = Opener::new(&keys(), ObjectType::DataPack, None, &object).unwrap();
        let count = opener.header().segments();
        for (index, len) in [(count, TAG_BYTES), (count, SEALED_SEGMENT_BYTES), (0, SEALED_SEGMENT_BYTES - 1), (0, 0)] {
            assert_eq!(opener.open(index, &mut vec![0; len]), Err(FormatError::Short { what: "segment" }));
        }
    }

    #[test]
    fn reserved_bytes_of_the_header_are_zero() {
        let object = seal(&keys(), ObjectType::Record, ObjectId([9; 16]), b"payload", b"", 0);
        assert!(Header::decode(&object).is_ok());
        let (front, back) = (12..16, HEADER_BYTES - 8..HEADER_BYTES);
        // One alone, and one of each that would hide the other.
        let pairs = front.clone().zip(back.clone());
        for at in front.chain(back).map(|at| [at, at]).chain(pairs.map(|(a, b)| [a, b])) {
            let mut bad = object.clone();
            at.iter().for_each(|at| bad[*at] = 1);
            let refused = Header::decode(&bad);
            assert!(matches!(refused, Err(FormatError::Unknown { what: "reserved field", .. })), "{at:?}");
        }
    }

    #[test]
    fn lengths_are_bounded_and_the_last_segment_ends_before_the_checksum() {
        let object = seal(&keys(), ObjectType::Record, ObjectId([9; 16]), &noise(3 * SEGMENT_BYTES), b"", 0);
        let header = Header::decode(&object).unwrap();
        let count = header.plain_len.div_ceil(SEGMENT_BYTES as u64);
        let end = (object.len() - CHECKSUM_BYTES) as u64;
        assert_eq!(header.segment_range(0..count), HEADER_BYTES as u64..end);
        let last = HEADER_BYTES as u64 + (count - 1) * SEALED_SEGMENT_BYTES as u64;
        assert_eq!(header.segment_range(count - 1..count), last..end);
        assert_eq!(header.segment_range(1..2).end, (HEADER_BYTES + 2 * SEALED_SEGMENT_BYTES) as u64);

        let with_len = |plain_len: u64| {
            let mut changed = object.clone();
            changed[HEADER_BYTES - 16..HEADER_BYTES - 8].copy_from_slice(&plain_len.to_le_bytes());
            Header::decode(&changed)
        };
        assert_eq!(with_len(PLAIN_BYTES_MAX).unwrap().plain_len, PLAIN_BYTES_MAX);
        assert!(matches!(with_len(PLAIN_BYTES_MAX + 1), Err(FormatError::Limit { .. })));
        assert_eq!(with_len(TRAILER_BYTES as u64).unwrap().plain_len, TRAILER_BYTES as u64);
        assert!(matches!(with_len(TRAILER_BYTES as u64 - 1), Err(FormatError::Short { .. })));
    }

    #[test]
    fn no_object_is_shorter_than_what_it_holds() {
        for end in [0, 1, 1000, SEGMENT_BYTES, SEGMENT_BYTES + 1, 40 * SEGMENT_BYTES] {
            let object = seal(&keys(), ObjectType::DataPack, ObjectId([9; 16]), &noise(end), b"", 0);
            let least = object_len_min(end as u64);
            let plain_len = (end + TRAILER_BYTES) as u64;
            let unpadded = Header { plain_len, ..Header::decode(&object).unwrap() }.object_len();
            assert!((unpadded - TAG_BYTES as u64..=unpadded).contains(&least), "{end}: {least}, {unpadded}");
            assert!(least <= object.len() as u64);
        }
    }

    #[test]
    fn padding_is_what_padme_says() {
        for (len, padded) in
            [(0, 0), (1, 1), (8, 8), (9, 10), (1000, 1024), (1 << 20, 1 << 20), ((1 << 20) + 1, (1 << 20) + (1 << 15))]
        {
            assert_eq!(padded_len(len), padded, "{len}");
        }
        assert_eq!(padded_len(32 << 20), 32 << 20);
    }
}
