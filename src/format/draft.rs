//! An object that is being written: each byte of plaintext lies where its sealed segment will lie, so that sealing takes no
//! second copy of it.

use crate::crypto::Keys;
use crate::crypto::aead::Aead;
use crate::crypto::aead::TAG_BYTES;
use crate::crypto::random;
use crate::format::sealed::CHECKSUM_BYTES;
use crate::format::sealed::HEADER_BYTES;
use crate::format::sealed::Header;
use crate::format::sealed::ObjectType;
use crate::format::sealed::SEALED_SEGMENT_BYTES;
use crate::format::sealed::SEGMENT_BYTES;
use crate::format::sealed::TRAILER_BYTES;
use crate::format::sealed::nonce;
use crate::format::sealed::padded_len;
use crate::id::ObjectId;

/// The payload of an object to be.
#[derive(Debug)]
pub struct Draft {
    /// The object as far as it is there, with room for the header and for each tag.
    bytes: Vec<u8>,
    /// Plaintext in it.
    len: usize,
}

/// Where a byte of plaintext lies in the object.
fn place_of(plain: usize) -> usize {
    HEADER_BYTES + plain + plain / SEGMENT_BYTES * TAG_BYTES
}

impl Draft {
    /// Nothing yet. Memory is asked for once for so much plaintext, and taken as it is filled.
    pub fn with_room(plain_len: usize) -> Draft {
        let mut bytes = Vec::with_capacity(place_of(plain_len) + TAG_BYTES + CHECKSUM_BYTES);
        bytes.resize(HEADER_BYTES, 0);
        Draft { bytes, len: 0 }
    }

    /// Bytes appended so far.
    pub fn payload_len(&self) -> usize {
        self.len
    }

    /// Appends to the payload.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = SEGMENT_BYTES - self.len % SEGMENT_BYTES;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.bytes.extend_from_slice(now);
            self.len += now.len();
            self.bytes.resize(place_of(self.len), 0);
            bytes = later;
        }
    }

    /// Seals `payload || directory` into an object of at least `floor` plaintext bytes.
    pub fn seal(
        mut self,
        keys: &Keys,
        object_type: ObjectType,
        object: ObjectId,
        directory: &[u8],
        floor: u64,
    ) -> Vec<u8> {
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..8].copy_from_slice(&(self.len as u64).to_le_bytes());
        trailer[8..].copy_from_slice(&(directory.len() as u64).to_le_bytes());
        self.append(directory);
        let plain_len = padded_len(((self.len + TRAILER_BYTES) as u64).max(floor));
        self.len = plain_len as usize - TRAILER_BYTES;
        self.bytes.resize(place_of(self.len), 0);
        self.append(&trailer);

        let salt = random();
        let key = keys.object(object_type.byte(), object, &salt);
        let repository = keys.repository();
        let header = Header { object_type, repository, object, salt, commitment: key.commitment, plain_len };
        let clear = header.encode();
        let aad = *blake3::hash(&clear).as_bytes();
        let aead = Aead::new(&key.key);
        let mut out = self.bytes;
        out.resize(header.object_len() as usize - CHECKSUM_BYTES, 0);
        let (front, body) = out.split_at_mut(HEADER_BYTES);
        front.copy_from_slice(&clear);
        for (index, segment) in (0..).zip(body.chunks_mut(SEALED_SEGMENT_BYTES)) {
            let (plain, tag) = segment.split_at_mut(header.segment_len(index));
            tag.copy_from_slice(&aead.seal(nonce(index, index + 1 == header.segments()), &aad, plain));
        }
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;
    use crate::format::sealed::open;
    use crate::id::RepositoryId;

    #[test]
    fn pieces_of_every_size_become_one_payload() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]));
        let mut noise = vec![0; 5 * SEGMENT_BYTES];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for piece in [1000, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 3 * SEGMENT_BYTES] {
            for room in [0, noise.len()] {
                let mut draft = Draft::with_room(room);
                noise.chunks(piece).for_each(|piece| draft.append(piece));
                assert_eq!(draft.payload_len(), noise.len());
                let object = draft.seal(&keys, ObjectType::DataPack, ObjectId([9; 16]), b"directory", 0);
                let opened = open(&keys, ObjectType::DataPack, None, &object).unwrap();
                assert_eq!((opened.payload(), opened.directory()), (&noise[..], &b"directory"[..]), "{piece}");
            }
        }
    }
}
